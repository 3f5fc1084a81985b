//! Staging values that are larger than memory.

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use tokio::io::AsyncRead;

use super::WriteSession;
use crate::chunk::{Keep, PIECE, STREAM_COST, StreamedChunk, pieces_in};
use crate::error::Result;
use crate::format::Entry;
use crate::key::Key;

impl WriteSession {
    /// Stages everything that `reader` gives as the value of `key`, and returns its length in bytes.
    ///
    /// A value of less than 8 MiB is staged as by [`set`](Self::set). A longer one is hashed and stored while it is read, in at most
    /// 24 MiB of memory: directly into a repository on local disk; for an object store through scratch space on local disk
    /// ([`OpenOptions::scratch`](crate::OpenOptions::scratch)), because a store has to know the id before the bytes.
    ///
    /// Waits for room as [`set`](Self::set) does. Nothing is staged when the call fails or is cancelled; what was stored already stays
    /// as unreferenced garbage. `Unavailable` when the reader fails, and when there is no room on the disk or in memory.
    pub async fn set_reader<R: AsyncRead + Send + Unpin>(&self, key: &Key, mut reader: R) -> Result<u64> {
        let pieces = pieces_in(&mut reader).map_err(|e| e.context(key));
        self.set_pieces(key, std::pin::pin!(pieces)).await
    }

    /// Stages a value that comes in pieces of 8 MiB, of which only the last is shorter, and whose errors name the key. Otherwise as
    /// [`set_reader`](Self::set_reader).
    pub(crate) async fn set_pieces<S>(&self, key: &Key, mut pieces: S) -> Result<u64>
    where
        S: Stream<Item = Result<Bytes>> + Send + Unpin,
    {
        let head = pieces.try_next().await?.unwrap_or_default();
        if head.len() < PIECE {
            let size = head.len() as u64;
            self.set(key, head).await?;
            return Ok(size);
        }
        let _share = self.uploads.reserve(STREAM_COST).await?;
        let chunks = self.base.repository().chunks();
        let keep = if self.stores { chunks.keep(None, &self.base.repository().scratch()) } else { Keep::Nothing };
        let chunk = chunks.read_pieces(head, &mut pieces, keep).await?;
        self.set_streamed(key, chunk).await
    }

    /// Stores a chunk that was read from a stream, unless the base has it under `key`, and stages it. Returns its length.
    pub(crate) async fn set_streamed(&self, key: &Key, chunk: StreamedChunk) -> Result<u64> {
        let size = chunk.size();
        let entry = Entry::Chunk { id: chunk.id(), size };
        // What the base holds was read from a ref, so it is safe to link without writing it again.
        if self.stores && self.base.manifest().find(key.as_str()).await?.as_ref() != Some(&entry) {
            self.base.repository().chunks().put_streamed(chunk).await.map_err(|e| e.context(key))?;
        }
        self.staged.put(key.as_map_key().clone(), Some(entry)).await?;
        Ok(size)
    }

    /// Stages an entry whose chunk, if it has one, is in the store already.
    pub(crate) async fn set_stored(&self, key: &Key, entry: Entry) -> Result<()> {
        self.staged.put(key.as_map_key().clone(), Some(entry)).await
    }
}
