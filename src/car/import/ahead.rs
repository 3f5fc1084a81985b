//! The blocks of a file in order, cut out by one reader and hashed by several threads, some batches ahead.

use std::collections::VecDeque;
use std::vec::IntoIter;

use tokio::io::AsyncRead;

use crate::blocking::{Blocking, blocking};
use crate::carfile::{CarBlock, CarReader, Section};
use crate::error::Result;

/// How many bytes of blocks are hashed together, about: little enough to spread large blocks over the processors.
const BATCH_BYTES: usize = 2 << 20;
/// How many blocks are hashed together.
const BATCH_BLOCKS: usize = 1024;
/// How many batches are being hashed or wait to be taken.
const BATCHES: usize = 4;

/// Blocks that are good, up to the first that is not.
#[derive(Debug)]
struct HashedBatch {
    blocks: Vec<CarBlock>,
    wrong: Result<()>,
}

/// Reads ahead. Holds [`BATCHES`] batches and one that is being taken.
#[derive(Debug)]
pub(super) struct SectionsAhead<R> {
    reader: CarReader<R>,
    under_way: VecDeque<Blocking<HashedBatch>>,
    ready: IntoIter<CarBlock>,
    /// What comes after the blocks that are ready.
    wrong: Result<()>,
    /// Why nothing more is read: the file has ended, or its framing is broken.
    ended: Option<Result<()>>,
}

impl<R: AsyncRead + Unpin> SectionsAhead<R> {
    pub(super) fn new(reader: CarReader<R>) -> Self {
        Self { reader, under_way: VecDeque::new(), ready: Vec::new().into_iter(), wrong: Ok(()), ended: None }
    }

    /// The next block; `None` at the end of the file. Of several errors the first in the file is the one that is told. After an
    /// error there is nothing more to ask for.
    pub(super) async fn next(&mut self) -> Result<Option<CarBlock>> {
        loop {
            if let Some(block) = self.ready.next() {
                return Ok(Some(block));
            }
            std::mem::replace(&mut self.wrong, Ok(()))?;
            while self.ended.is_none() && self.under_way.len() < BATCHES {
                self.start().await;
            }
            let Some(first) = self.under_way.pop_front() else {
                return self.ended.replace(Ok(())).unwrap_or(Ok(())).map(|()| None);
            };
            let checked = first.await?;
            self.ready = checked.blocks.into_iter();
            self.wrong = checked.wrong;
        }
    }

    /// How far the file has been read, in bytes: to its end once there is no next block.
    pub(super) fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Cuts out a batch and begins to hash it.
    async fn start(&mut self) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES && batch.len() < BATCH_BLOCKS && self.ended.is_none() {
            match self.reader.next_section().await {
                Ok(Some(section)) => {
                    bytes += section.len();
                    batch.push(section);
                }
                Ok(None) => self.ended = Some(Ok(())),
                Err(e) => self.ended = Some(Err(e)),
            }
        }
        self.under_way.push_back(blocking("hashing blocks", || Ok(verify(batch))));
    }
}

fn verify(sections: Vec<Section>) -> HashedBatch {
    let mut blocks = Vec::with_capacity(sections.len());
    let wrong = sections.into_iter().try_for_each(|section| section.verify().map(|block| blocks.push(block)));
    HashedBatch { blocks, wrong }
}
