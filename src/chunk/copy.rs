//! Chunks from one store to another: whole objects, each verified before it is sent.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use super::batch::Sized;
use super::write::interior_parts;
use super::{ChunkPlan, ChunkStore, PIECE};
use crate::error::{Error, Result};
use crate::storage::{Object, ObjectName, ObjectSource};
use crate::unixfs::Tree;

/// The object of a chunk in another store.
#[derive(Debug)]
struct CopiedChunk {
    from: ChunkStore,
    tree: Tree,
    /// What follows the payload.
    tail: Bytes,
}

impl ChunkStore {
    /// Whether a chunk of this size is copied piece by piece, and never in memory as a whole.
    pub(crate) const fn is_large(size: u64) -> bool {
        size > PIECE as u64
    }

    /// Copies chunks to `to`, many together: the first error of any. All of them are in memory at once, so the caller bounds them, and
    /// leaves out [large](Self::is_large) ones.
    pub(crate) async fn copy_many(&self, to: &Self, chunks: &[Sized]) -> Result<()> {
        let mut blocks = Vec::new();
        let mut objects: Vec<Object> = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            match ChunkPlan::of(&chunk.0, chunk.1)? {
                ChunkPlan::Tree(layout) => objects.push((ObjectName::chunk(&chunk.0), vec![self.read_object(&chunk.0, &layout).await?])),
                ChunkPlan::Raw => blocks.push(*chunk),
            }
        }
        for ((id, _), bytes) in blocks.iter().zip(self.read_many(&blocks).await) {
            objects.push((ObjectName::chunk(id), vec![bytes?]));
        }
        let sent: Result<()> = to.storage.put_many(&objects).await.into_iter().collect();
        sent.map_err(|e| e.context(format!("writing to {}", to.storage)))
    }

    /// Copies one chunk of several blocks to `to`, piece by piece where that store takes pieces.
    pub(crate) async fn copy_large(&self, to: &Self, (id, size): Sized) -> Result<()> {
        let tree = self.tree(&id, size).await?.ok_or_else(|| Error::internal(format!("chunk {id} is one block")))?;
        let tail = interior_parts(&tree).concat().into();
        to.storage.put_from(&ObjectName::chunk(&id), &CopiedChunk { from: self.clone(), tree, tail }).await
    }
}

#[async_trait]
impl ObjectSource for CopiedChunk {
    fn size(&self) -> u64 {
        self.tree.layout().size() + self.tail.len() as u64
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let payload = self.tree.layout().size();
        let end = range.end.min(payload);
        let front = if range.start < end { self.from.payload_of(&self.tree, range.start..end).await? } else { Bytes::new() };
        let within = |at: u64| usize::try_from(at.saturating_sub(payload)).unwrap_or(usize::MAX).min(self.tail.len());
        let back = self.tail.slice(within(range.start)..within(range.end));
        Ok(match (front.is_empty(), back.is_empty()) {
            (_, true) => front,
            (true, false) => back,
            (false, false) => [front, back].concat().into(),
        })
    }
}
