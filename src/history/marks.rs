//! Markers of versions that are here without a part of what was before them.

use std::collections::HashSet;

use futures::TryStreamExt as _;

use crate::error::Result;
use crate::id::{HashAlgorithm, SnapshotId};
use crate::refs::collection::{CondemnedRow, row_of};
use crate::seeded::Seeded;
use crate::storage::layout::{ObjectKind, SHALLOW};
use crate::storage::{Extent, ObjectName, Storage};

/// What a marker holds whose version came with its history. Others are empty.
const WITH_HISTORY: &[u8] = b"history";
/// What it holds when everything has come since.
const WHOLE: &[u8] = b"whole";
/// The longest marker that is read, in bytes.
const LONGEST: u64 = 64;

/// What is known to be missing before a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PastMark {
    /// Nothing: there is no marker, or what was missing has come since.
    Whole,
    /// A parent that is not the first, and what is before that.
    OtherParents,
    /// Anything. That the history is here does not say that what it lists is whole: a version beside this one has the same history, and may
    /// have been copied in part.
    History,
}

impl PastMark {
    /// Reads the marker of a version.
    pub(crate) async fn read(storage: &dyn Storage, id: SnapshotId) -> Result<Self> {
        let found = storage.get(&ObjectName::shallow(&id), Extent::Whole { at_most: LONGEST }).await?;
        Ok(match found.as_deref() {
            None | Some(WHOLE) => Self::Whole,
            Some(WITH_HISTORY) => Self::OtherParents,
            Some(_) => Self::History,
        })
    }

    /// Writes the marker of a version. One that is whole has none, unless it had another: a marker is replaced and never removed.
    pub(crate) async fn write(self, storage: &dyn Storage, id: SnapshotId) -> Result<()> {
        let parts: &[bytes::Bytes] = match self {
            Self::Whole => &[bytes::Bytes::from_static(WHOLE)],
            Self::OtherParents => &[bytes::Bytes::from_static(WITH_HISTORY)],
            Self::History => &[],
        };
        storage.put(&ObjectName::shallow(&id), parts).await
    }
}

/// The versions of a store that have a marker.
#[derive(Debug, Default)]
pub(crate) struct ListedMarks(HashSet<CondemnedRow, Seeded>);

impl ListedMarks {
    /// Lists them.
    pub(crate) async fn list(storage: &dyn Storage, hash: HashAlgorithm) -> Result<Self> {
        let mut listed = storage.list(SHALLOW);
        let mut marked = HashSet::default();
        while let Some(meta) = listed.try_next().await? {
            if let Some((kind, digest)) = ObjectName::parse(&meta.name, hash) {
                marked.insert(row_of(kind, &digest));
            }
        }
        Ok(Self(marked))
    }

    /// Whether a version has one.
    pub(crate) fn has(&self, id: SnapshotId) -> bool {
        self.0.contains(&row_of(ObjectKind::Shallow, id.digest()))
    }
}
