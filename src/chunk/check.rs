//! Verifying a stored chunk without holding it.

use std::sync::Arc;

use futures::TryStreamExt as _;

use super::read::in_chunk;
use super::write::trailer;
use super::{ChunkPlan, ChunkStore, PIECE, trailer_len};
use crate::error::{Error, ErrorKind, Result};
use crate::id::ChunkId;
use crate::storage::{Extent, ObjectName};
use crate::unixfs::Tree;

impl ChunkStore {
    /// Reads every byte of the object of a chunk and verifies it, as [`read`](Self::read) does. A chunk of more than 8 MiB is read by
    /// ranges: its tree and trailer, then pieces of 8 MiB, two at a time.
    pub(crate) async fn check(&self, id: &ChunkId, size: u64) -> Result<()> {
        let layout = match ChunkPlan::of(id, size)? {
            ChunkPlan::Tree(layout) if size > PIECE as u64 => layout,
            ChunkPlan::Tree(_) | ChunkPlan::Raw => return self.read(id, size).await.map(drop),
        };
        let interior = layout.interior_len();
        let end = size + interior + trailer_len(layout.nodes());
        let mut nodes = self.fetch_part(id, size..end).await?;
        let found = nodes.split_off(usize::try_from(interior).unwrap_or(usize::MAX).min(nodes.len()));
        let tree = Tree::read(id, size, &nodes).map_err(|e| in_chunk(id, e))?;
        if found != trailer(&layout) {
            return Err(Error::corrupt(format!("chunk {id} has a wrong trailer")));
        }
        self.pieces_of(Arc::new(tree), 0..size).try_for_each(|_| std::future::ready(Ok(()))).await?;
        self.check_end(id, end).await
    }

    /// Makes sure that an object of at least `end` bytes has no more: a range behind its end is `Corrupt` to any store.
    async fn check_end(&self, id: &ChunkId, end: u64) -> Result<()> {
        match self.storage.get(&ObjectName::chunk(id), Extent::Range(end..end + 1)).await {
            Ok(Some(_)) => Err(Error::corrupt(format!("chunk {id} has an object of more than the {end} bytes that its size allows"))),
            Err(e) if e.kind() != ErrorKind::Corrupt => Err(in_chunk(id, e)),
            Ok(None) | Err(_) => Ok(()),
        }
    }
}
