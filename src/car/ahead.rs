//! Blocks on their way into a file: read and verified many at a time, some batches ahead of the one being written.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::walk::{Link, LinkSource};
use crate::carfile::Sections;
use crate::chunk::{ChunkStore, Sized};
use crate::error::{Error, Result};
use crate::unixfs::Tree;

/// How many bytes of blocks are read together, about. Little, because every thread that reads keeps as much for its next batch.
const BATCH_BYTES: u64 = 1 << 20;
/// How many blocks are read together.
const BATCH_BLOCKS: usize = 1024;
/// How many batches are on their way, at most: some for the processors to work on, and some for the disk.
const BATCHES: usize = 6;

/// Blocks that are read together.
#[derive(Debug, Default)]
pub(super) struct BlockBatch {
    links: Vec<Link>,
    bytes: u64,
}

/// Consecutive blocks that one read brings.
enum BlockRun {
    Here(Bytes),
    Chunks(Vec<Sized>),
    Leaves(Arc<Tree>, std::ops::Range<u64>),
}

impl BlockBatch {
    pub(super) fn push(&mut self, link: Link) {
        self.bytes += link.len;
        self.links.push(link);
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.links.len() >= BATCH_BLOCKS
    }

    /// Reads the blocks into `sections`, which is empty, and verifies every one that comes from the store.
    async fn read(self, chunks: ChunkStore, mut sections: Sections) -> Result<Sections> {
        let mut cids = self.links.iter().map(|link| link.cid);
        let mut put = |data: Bytes| {
            let cid = cids.next().ok_or_else(|| Error::internal("more blocks were read than were asked for"))?;
            sections.push(&cid, &data)
        };
        for run in runs(&self.links) {
            match run {
                BlockRun::Here(bytes) => put(bytes)?,
                BlockRun::Chunks(together) => chunks.read_many(&together).await.into_iter().try_for_each(|data| put(data?))?,
                BlockRun::Leaves(tree, range) => chunks.leaves_of(&tree, range).await?.into_iter().try_for_each(&mut put)?,
            }
        }
        Ok(sections)
    }
}

/// Joins neighbours that one read can bring.
fn runs(links: &[Link]) -> Vec<BlockRun> {
    let mut runs = Vec::new();
    for link in links {
        match (&link.source, runs.last_mut()) {
            (LinkSource::Bytes(bytes), _) => runs.push(BlockRun::Here(bytes.clone())),
            (LinkSource::Chunk(id, size), Some(BlockRun::Chunks(together))) => together.push((*id, *size)),
            (LinkSource::Chunk(id, size), _) => runs.push(BlockRun::Chunks(vec![(*id, *size)])),
            (LinkSource::Leaf(tree, index), Some(BlockRun::Leaves(of, range))) if Arc::ptr_eq(tree, of) && range.end == *index => {
                range.end += 1;
            }
            (LinkSource::Leaf(tree, index), _) => runs.push(BlockRun::Leaves(tree.clone(), *index..*index + 1)),
        }
    }
    runs
}

/// Batches that are being read, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct BlockReads {
    under_way: VecDeque<JoinHandle<Result<Sections>>>,
    /// What earlier batches were in, for later ones.
    spare: Vec<Sections>,
}

impl BlockReads {
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.under_way.len() < BATCHES
    }

    /// Begins to read a batch, on a task of its own: it goes on while the one before is being written.
    pub(super) fn start(&mut self, batch: BlockBatch, chunks: ChunkStore) {
        let sections = self.spare.pop().unwrap_or_default();
        self.under_way.push_back(tokio::spawn(batch.read(chunks, sections)));
    }

    /// Takes back what a batch was in, once it is written.
    pub(super) fn reuse(&mut self, mut sections: Sections) {
        sections.clear();
        self.spare.push(sections);
    }

    /// The batch that was begun first.
    pub(super) async fn next(&mut self) -> Result<Option<Sections>> {
        let Some(first) = self.under_way.pop_front() else { return Ok(None) };
        first.await.map_err(|e| Error::internal("reading ahead did not run to its end").caused_by(e))?.map(Some)
    }
}

impl Drop for BlockReads {
    fn drop(&mut self) {
        self.under_way.iter().for_each(JoinHandle::abort);
    }
}
