//! Many chunks in one request, so that the cost of a chunk is its bytes and not a request.

use std::ops::Range;

use bytes::Bytes;

use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::id::{ChunkForm, ChunkId};
use crate::storage::{Object, ObjectName};
use crate::unixfs::{LEAF, Tree};

use super::read::{check, check_leaves, whole};
use super::split::{INLINE, digests_of};
use super::write::object_parts;
use super::{ChunkPlan, ChunkStore, Hashed};

/// A chunk and how many bytes its entry gives it.
pub(crate) type Sized = (ChunkId, u64);

impl ChunkStore {
    /// Reads whole chunks and verifies them, as [`read`](Self::read) does: an answer for each, in order. Those of one block are read
    /// together. All of them are in memory at once, so the caller bounds them.
    pub(crate) async fn read_many(&self, chunks: &[Sized]) -> Vec<Result<Bytes>> {
        let is_block = |chunk: &&Sized| matches!(ChunkPlan::of(&chunk.0, chunk.1), Ok(ChunkPlan::Raw));
        let blocks: Vec<Sized> = chunks.iter().filter(is_block).copied().collect();
        let wanted: Vec<_> = blocks.iter().map(|(id, size)| (ObjectName::chunk(id), *size)).collect();
        let found = self.storage.get_many(&wanted).await;
        let mut together = verified(blocks, found).await.into_iter();
        let mut answers = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            answers.push(if is_block(&chunk) {
                together.next().unwrap_or_else(|| Err(Error::internal(format!("chunk {} was not answered", chunk.0))))
            } else {
                self.read(&chunk.0, chunk.1).await
            });
        }
        answers
    }

    /// Stores chunks, as [`put`](Self::put) does; the first error of any, after all have been tried.
    pub(crate) async fn put_many(&self, chunks: &[Hashed]) -> Result<()> {
        let objects: Vec<Object> = chunks.iter().map(|chunk| (ObjectName::chunk(&chunk.id()), object_parts(chunk))).collect();
        self.storage.put_many(&objects).await.into_iter().collect()
    }

    /// The leaves in `range` of the chunk with this tree, by one read of nothing but them, each checked against its digest.
    pub(crate) async fn leaves_of(&self, tree: &Tree, range: Range<u64>) -> Result<Vec<Bytes>> {
        let (id, leaves) = (tree.root(), tree.layout().leaves());
        if range.start >= range.end || range.end > leaves {
            return Err(Error::invalid(format!("chunk {id} of {leaves} leaves has no leaves {} to {}", range.start, range.end)));
        }
        let end = (range.end * LEAF).min(tree.layout().size());
        let mut bytes = self.fetch_part(&id, range.start * LEAF..end).await?;
        check_leaves(&id, tree, range.start, &digests_of(id.digest().hash(), &bytes).await?)?;
        let leaf = usize::try_from(LEAF).expect("1 MiB fits into usize");
        Ok(range.map(|_| bytes.split_to(bytes.len().min(leaf))).collect())
    }
}

/// Compares what was found with the ids: much of it on a thread that may block.
async fn verified(chunks: Vec<Sized>, found: Vec<Result<Option<Bytes>>>) -> Vec<Result<Bytes>> {
    let bytes: usize = found.iter().flatten().flatten().map(Bytes::len).sum();
    let ids: Vec<ChunkId> = chunks.iter().map(|chunk| chunk.0).collect();
    let judge = move || chunks.iter().zip(found).map(|(chunk, found)| judge(chunk, found)).collect();
    if bytes <= INLINE {
        return judge();
    }
    let stopped = |id, e: &Error| Err(Error::new(e.kind(), format!("chunk {id}: {e}")));
    blocking("hashing chunks", move || Ok(judge())).await.unwrap_or_else(|e| ids.iter().map(|id| stopped(id, &e)).collect())
}

/// Checks a chunk that is one block.
fn judge((id, size): &Sized, found: Result<Option<Bytes>>) -> Result<Bytes> {
    let bytes = whole(id, *size, found)?;
    check(id, "it", ChunkId::new(ChunkForm::Raw, id.digest().hash().digest(&bytes)), *id)?;
    Ok(bytes)
}
