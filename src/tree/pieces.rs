//! Values larger than memory, piece by piece.

use std::ops::Range;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use crate::error::{Error, Result};
use crate::format::Entry;
use crate::key::Key;
use crate::snapshot::Snapshot;

/// How many bytes of a value are held at once; a multiple of the leaves of a large chunk.
const PIECE: u64 = 8 << 20;

impl Snapshot {
    /// The value of `key`, or the bytes `range` of it, in pieces of at most 8 MiB: each verified before it is given.
    ///
    /// `NotFound` when there is no such key, `Invalid` when the range lies past its end.
    pub async fn stream<'a>(&'a self, key: &'a Key, range: Option<Range<u64>>) -> Result<impl Stream<Item = Result<Bytes>> + 'a> {
        let entry = self.entry(key).await?.ok_or_else(|| Error::not_found(format!("{key} is not in snapshot {}", self.id())))?;
        let range = range.unwrap_or(0..entry.size());
        if range.start > range.end || range.end > entry.size() {
            return Err(Error::invalid(format!("{key} has {} bytes; {} to {} lie past its end", entry.size(), range.start, range.end)));
        }
        Ok(self.pieces_of(key, entry, range))
    }

    /// The bytes `range` of an entry, which must lie inside it.
    pub(super) fn pieces_of<'a>(&'a self, key: &'a Key, entry: Entry, range: Range<u64>) -> impl Stream<Item = Result<Bytes>> + 'a {
        stream::iter(pieces(range)).then(move |piece| {
            let entry = entry.clone();
            async move { self.value_of(key, &entry, Some(piece)).await }
        })
    }
}

/// Cuts a range at the multiples of [`PIECE`]. An empty one is a piece too: reading it tells whether it may be read.
fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let mut next = Some(range.start);
    std::iter::from_fn(move || {
        let start = next?;
        let end = (start / PIECE + 1).saturating_mul(PIECE).min(range.end);
        next = (end < range.end).then_some(end);
        Some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_range_once_and_are_cut_at_multiples() {
        let cut = |range| pieces(range).map(|piece| (piece.start, piece.end)).collect::<Vec<_>>();
        assert_eq!(cut(5..5), [(5, 5)]);
        assert_eq!(cut(0..PIECE), [(0, PIECE)]);
        assert_eq!(cut(1..2 * PIECE + 1), [(1, PIECE), (PIECE, 2 * PIECE), (2 * PIECE, 2 * PIECE + 1)]);
        assert_eq!(cut(PIECE..PIECE), [(PIECE, PIECE)]);
    }
}
