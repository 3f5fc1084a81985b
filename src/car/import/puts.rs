//! Chunks on their way to the store: many in one request, a bounded number of bytes at a time.

use tokio::task::JoinSet;

use crate::chunk::{ChunkStore, Hashed};
use crate::error::{Error, Result};

/// How many bytes are sent together, about.
const BATCH_BYTES: u64 = 4 << 20;
/// How many chunks are sent together.
const BATCH_CHUNKS: usize = 1024;
/// How many batches are on their way.
const BATCHES: usize = 4;

/// Gathers chunks and sends them. After an error some of the chunks are not stored, and it cannot be used any more.
#[derive(Debug)]
pub(super) struct Puts {
    chunks: ChunkStore,
    gathered: Vec<Hashed>,
    bytes: u64,
    under_way: JoinSet<Result<()>>,
}

impl Puts {
    pub(super) fn new(chunks: &ChunkStore) -> Self {
        Self { chunks: chunks.clone(), gathered: Vec::new(), bytes: 0, under_way: JoinSet::new() }
    }

    /// Takes a chunk; waits while too many are under way.
    pub(super) async fn push(&mut self, chunk: Hashed) -> Result<()> {
        self.bytes += chunk.size();
        self.gathered.push(chunk);
        if self.bytes < BATCH_BYTES && self.gathered.len() < BATCH_CHUNKS {
            return Ok(());
        }
        while self.under_way.len() >= BATCHES {
            self.join_one().await?;
        }
        self.send();
        Ok(())
    }

    /// Waits until every chunk is in the store.
    pub(super) async fn finish(&mut self) -> Result<()> {
        self.send();
        while !self.under_way.is_empty() {
            self.join_one().await?;
        }
        Ok(())
    }

    fn send(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let (chunks, batch) = (self.chunks.clone(), std::mem::take(&mut self.gathered));
        self.bytes = 0;
        self.under_way.spawn(async move { chunks.put_many(&batch).await });
    }

    async fn join_one(&mut self) -> Result<()> {
        match self.under_way.join_next().await {
            None => Ok(()),
            Some(Ok(done)) => done,
            Some(Err(e)) => Err(Error::internal("the storing of chunks did not run to its end").caused_by(e)),
        }
    }
}
