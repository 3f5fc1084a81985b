//! Reading a large chunk piece by piece, each verified before it is given.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use super::read::check_leaves;
use super::split::digests_of;
use super::{ChunkStore, PIECE};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::unixfs::{LEAF, Tree};

/// How many pieces of one chunk are read at once.
const AHEAD: usize = 2;
/// How many bytes of memory it takes to read a chunk of any length and keep no piece of it.
pub(crate) const CHECK_COST: u64 = (AHEAD * PIECE) as u64;

impl ChunkStore {
    /// The bytes in `range`, which lies inside the chunk, in pieces of at most 8 MiB that end at multiples of 8 MiB. The interior nodes
    /// are read once, and two pieces are read at a time.
    ///
    /// An empty range is one empty piece. Errors are those of [`read_range`](Self::read_range).
    pub(crate) fn pieces(&self, id: ChunkId, size: u64, range: Range<u64>) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
        let chunks = self.clone();
        let begun = async move {
            let is_one = cut(range.clone()).nth(1).is_none();
            let tree = if is_one { None } else { chunks.tree(&id, size).await?.map(Arc::new) };
            Ok::<_, Error>(match tree {
                Some(tree) => chunks.pieces_of(tree, range).boxed(),
                None => stream::once(async move { chunks.read_range(&id, size, range).await }).boxed(),
            })
        };
        stream::once(begun).try_flatten()
    }

    /// The same of the chunk with this tree.
    pub(super) fn pieces_of(&self, tree: Arc<Tree>, range: Range<u64>) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
        let chunks = self.clone();
        let reads = cut(range).map(move |piece| {
            let (chunks, tree) = (chunks.clone(), Arc::clone(&tree));
            async move { chunks.payload_of(&tree, piece).await }
        });
        stream::iter(reads).buffered(AHEAD)
    }

    /// The bytes in `range` of the chunk with this tree, by one read of the leaves they lie in.
    pub(super) async fn payload_of(&self, tree: &Tree, range: Range<u64>) -> Result<Bytes> {
        let id = tree.root();
        let first = range.start / LEAF;
        let aligned = first * LEAF..range.end.next_multiple_of(LEAF).min(tree.layout().size());
        let bytes = self.fetch_part(&id, aligned.clone()).await?;
        check_leaves(&id, tree, first, &digests_of(id.digest().hash(), &bytes).await?)?;
        let within = |at: u64| usize::try_from(at - aligned.start).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.slice(within(range.start)..within(range.end)))
    }
}

/// Cuts a range at the multiples of [`PIECE`]. An empty one is a piece too: reading it tells whether it may be read.
pub(crate) fn cut(range: Range<u64>) -> impl Iterator<Item = Range<u64>> + Send {
    let mut next = Some(range.start);
    std::iter::from_fn(move || {
        let start = next?;
        let end = (start / PIECE as u64 + 1).saturating_mul(PIECE as u64).min(range.end);
        next = (end < range.end).then_some(end);
        Some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_range_once_and_are_cut_at_multiples() {
        const PIECE: u64 = super::PIECE as u64;
        let pieces = |range| cut(range).map(|piece| (piece.start, piece.end)).collect::<Vec<_>>();
        assert_eq!(pieces(5..5), [(5, 5)]);
        assert_eq!(pieces(0..PIECE), [(0, PIECE)]);
        assert_eq!(pieces(1..2 * PIECE + 1), [(1, PIECE), (PIECE, 2 * PIECE), (2 * PIECE, 2 * PIECE + 1)]);
        assert_eq!(pieces(PIECE..PIECE), [(PIECE, PIECE)]);
    }
}
