//! What there is, and what of it no ref leads to.

use std::collections::BTreeMap;
use std::path::Path;

use futures::TryStreamExt as _;

use crate::error::Result;
use crate::handle::Repository;
use crate::refs::collection::{CondemnedRow, row_of};
use crate::scratch::partitions::Partitions;
use crate::storage::ObjectName;
use crate::storage::layout::{self, ObjectKind, SHARDS, shard_of};
use crate::time::Timestamp;

use super::mark::Marker;

/// How many bytes of what was listed lie in memory.
const IN_MEMORY: usize = 32 << 20;
/// An object on the listing: kind, digest, and length in bytes.
const LISTED: usize = 41;

/// Objects and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ObjectCounts {
    /// How many objects.
    pub objects: u64,
    /// Their lengths together, in bytes.
    pub bytes: u64,
}

impl ObjectCounts {
    pub(super) fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn join(self, other: Self) -> Self {
        Self { objects: self.objects + other.objects, bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// Objects by kind: `snapshots`, `manifests`, `files`, `history`, `chunks`, `moves`, `shallow`, `changes`.
pub type CountsByKind = BTreeMap<&'static str, ObjectCounts>;

/// What a collection found, and what it would remove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct GcPlan {
    /// Everything that is stored, by kind.
    pub stored: CountsByKind,
    /// What no branch and no tag leads to, and is old enough: it would be removed.
    pub garbage: CountsByKind,
    /// What no branch and no tag leads to, and is too young: a writer may be about to need it.
    pub young: ObjectCounts,
    /// Objects whose names are none that this repository gives: they stay.
    pub foreign: ObjectCounts,
    /// How many branches and tags there are, deleted ones included, because what they showed is kept.
    pub refs: u64,
    /// How many versions they lead to.
    pub versions: u64,
    /// How many of these have expired, so that their data is garbage unless other versions have it.
    pub expired: u64,
    /// How many snapshots and nodes were read.
    pub reads: u64,
}

impl GcPlan {
    /// All garbage together.
    pub fn garbage_total(&self) -> ObjectCounts {
        self.garbage.values().fold(ObjectCounts::default(), |sum, counts| sum.join(*counts))
    }

    /// All that is stored together.
    pub fn stored_total(&self) -> ObjectCounts {
        self.stored.values().fold(ObjectCounts::default(), |sum, counts| sum.join(*counts))
    }
}

/// Everything that was stored when a collection began.
pub(super) struct Listing {
    rows: Partitions<LISTED>,
}

impl Listing {
    /// Lists everything. What was written after `until` is counted as young if no ref leads to it.
    pub(super) async fn read(repository: &Repository, scratch: &Path, until: Timestamp, plan: &mut GcPlan) -> Result<(Self, Self)> {
        let new = || Self { rows: Partitions::new(SHARDS, IN_MEMORY, scratch) };
        let (mut old, mut young) = (new(), new());
        for folder in layout::OBJECT_FOLDERS {
            let mut listed = repository.storage().list(folder);
            while let Some(meta) = listed.try_next().await? {
                let Some((kind, digest)) = ObjectName::parse(&meta.name, repository.hash()) else {
                    plan.foreign.add(meta.size);
                    continue;
                };
                plan.stored.entry(kind.word()).or_default().add(meta.size);
                let mut row = [0; LISTED];
                let (name, size) = row.split_at_mut(LISTED - 8);
                name.copy_from_slice(&row_of(kind, &digest));
                size.copy_from_slice(&meta.size.to_le_bytes());
                let listing = if meta.modified <= until { &mut old } else { &mut young };
                listing.rows.add(shard_of(digest.as_bytes()), row)?;
            }
        }
        Ok((old, young))
    }

    /// What of one shard no ref leads to, as far as `marker` knows, with lengths in bytes.
    pub(super) fn unreached(&self, shard: usize, marker: &Marker) -> Result<Vec<(CondemnedRow, u64)>> {
        let mut listed = self.rows(shard)?;
        if !listed.is_empty() {
            let reached = marker.reached(shard)?;
            listed.retain(|(name, _)| reached.binary_search(name).is_err());
        }
        Ok(listed)
    }

    /// Everything of one shard, with lengths in bytes.
    pub(super) fn rows(&self, shard: usize) -> Result<Vec<(CondemnedRow, u64)>> {
        let listed = self.rows.read(shard)?;
        let parts = |row: &[u8; LISTED]| Some((*row.first_chunk::<33>()?, u64::from_le_bytes(*row.last_chunk::<8>()?)));
        let mut rows: Vec<_> = listed.iter().filter_map(parts).collect();
        // A store may list an object twice, with two lengths.
        rows.dedup_by_key(|(name, _)| *name);
        Ok(rows)
    }

    /// The shards in which anything lies.
    pub(super) fn shards(&self) -> Vec<usize> {
        self.rows.filled()
    }
}

/// The kind in a row; `None` for a number that no kind has.
pub(super) fn kind_of(row: &CondemnedRow) -> Option<ObjectKind> {
    ObjectKind::ALL.get(usize::from(*row.first()?)).copied()
}
