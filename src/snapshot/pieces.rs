//! Values larger than memory, piece by piece.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::Snapshot;
use crate::chunk::cut;
use crate::error::{Error, Result};
use crate::format::Entry;
use crate::key::Key;

impl Snapshot {
    /// The value of `key`, or the bytes `range` of it, in pieces of at most 8 MiB, each verified before it is given. Holds at most
    /// three pieces in memory.
    ///
    /// `NotFound` when there is no such key, `Invalid` when the range lies past its end. The stream ends after its first error.
    /// Dropping it cancels the reads that are under way.
    pub async fn stream(&self, key: &Key, range: Option<Range<u64>>) -> Result<BoxStream<'static, Result<Bytes>>> {
        let entry = self.entry(key).await?.ok_or_else(|| Error::not_found(format!("{key} is not in snapshot {}", self.id())))?;
        let range = super::read::within(key, &entry, range)?;
        Ok(self.pieces_of(key, entry, range))
    }

    /// The bytes `range` of an entry, which must lie inside it.
    pub(crate) fn pieces_of(&self, key: &Key, entry: Entry, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        let key = key.clone();
        if let Entry::Chunk { id, size } = entry {
            let pieces = self.repository().chunks().pieces(id, size, range).map_err(move |e| e.context(&key));
            return super::read::explained(self.clone(), pieces).boxed();
        }
        let reads = stream::iter(cut(range)).zip(stream::repeat((self.clone(), key, entry)));
        reads.then(|(piece, (snapshot, key, entry))| async move { snapshot.value_of(&key, &entry, Some(piece)).await }).boxed()
    }
}
