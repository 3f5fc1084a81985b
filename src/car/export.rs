//! Writes a version as a CAR file: first all blocks are counted, then the bytes of chunks are read.

use std::sync::Arc;

use tokio::io::AsyncWrite;

use super::ahead::{BlockBatch, BlockReads};
use super::distinct::{Distinct, Firsts, LIMIT};
use super::trees::ChunkTrees;
use super::walk::CarWalk;
use crate::carfile::{self, CarWriter};
use crate::error::{Error, Result};
use crate::id::SnapshotId;
use crate::snapshot::Snapshot;

/// What a CAR file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CarSummary {
    /// The only root: the commit.
    pub root: SnapshotId,
    /// How many blocks, that of the root included.
    pub blocks: u64,
    /// The length of the whole file, in bytes.
    pub bytes: u64,
}

/// The layout of a CAR file that has not been written yet.
#[derive(Debug)]
pub struct CarPlan {
    snapshot: Snapshot,
    firsts: Firsts,
    trees: Arc<ChunkTrees>,
    summary: CarSummary,
}

impl Snapshot {
    /// Writes this version as a CAR file of version 1: the same bytes on every run and machine.
    ///
    /// The root is the commit. Chunks are included, virtual data stays a reference, and the history is left out. `out` is flushed, not shut
    /// down. Versions of any size are written, also those that [`import_car`](crate::Repository::import_car) refuses for their size.
    ///
    /// `Unavailable`, naming the offset, when writing fails; `NotFound` or `Corrupt` when an object is missing or damaged. After an error, and when the
    /// future is dropped, `out` holds an incomplete file; delete it.
    pub async fn export_car<W: AsyncWrite + Unpin + Send>(&self, out: W) -> Result<CarSummary> {
        self.plan_car().await?.write(out).await
    }

    /// Lays out the CAR file of this version without reading the bytes of chunks, so that its length is known before it is written.
    ///
    /// Names of blocks beyond a million go to scratch files ([`OpenOptions::scratch`](crate::OpenOptions::scratch)). Dropping the future
    /// cancels the call and removes them.
    pub async fn plan_car(&self) -> Result<CarPlan> {
        self.plan_car_within(LIMIT).await
    }

    /// Plans with at most `limit` names of blocks in memory.
    pub(super) async fn plan_car_within(&self, limit: usize) -> Result<CarPlan> {
        let mut distinct = Distinct::new(limit, self.repository().scratch());
        let trees = Arc::<ChunkTrees>::default();
        let mut walk = self.car_walk(&trees);
        while let Some(link) = walk.next().await? {
            let section = u32::try_from(carfile::section_len(&link.cid, link.len));
            let section = section.map_err(|e| Error::corrupt(format!("block {} is too long for a CAR file", link.cid)).caused_by(e))?;
            if distinct.push(link.name()?, section) {
                distinct = distinct.spill().await?;
            }
        }
        let firsts = distinct.finish().await?;
        let bytes = carfile::header_len(&[self.id().cid()])? + firsts.size;
        let summary = CarSummary { root: self.id(), blocks: firsts.count, bytes };
        Ok(CarPlan { snapshot: self.clone(), firsts, trees, summary })
    }

    fn car_walk(&self, trees: &Arc<ChunkTrees>) -> CarWalk {
        CarWalk::new(self.repository().objects(), self.repository().chunks(), trees, self.id(), self.record())
    }
}

impl CarPlan {
    /// What the file will hold.
    pub const fn summary(&self) -> CarSummary {
        self.summary
    }

    /// Writes the file, as [`Snapshot::export_car`] does, and is cancelled like it. Chunks are read and verified a bounded number of bytes
    /// ahead, whatever their sizes.
    pub async fn write<W: AsyncWrite + Unpin + Send>(&self, out: W) -> Result<CarSummary> {
        let mut writer = CarWriter::start(out, &[self.summary.root.cid()]).await?;
        let repository = self.snapshot.repository();
        repository.expect(self.summary.blocks, self.firsts.size);
        let (mut walk, mut place) = (self.snapshot.car_walk(&self.trees), 0);
        let (mut ahead, mut is_more, mut blocks) = (BlockReads::default(), true, 0);
        while is_more || !ahead.is_empty() {
            while is_more && ahead.has_room() {
                let mut batch = BlockBatch::default();
                while is_more && !batch.is_full() {
                    match walk.next().await? {
                        Some(link) if self.firsts.holds(place) => batch.push(link),
                        Some(_) => {}
                        None => is_more = false,
                    }
                    place += 1;
                }
                ahead.start(batch, repository.chunks().clone());
            }
            if let Some(sections) = ahead.next().await? {
                writer.write(&sections).await?;
                blocks += sections.count();
                repository.advance(sections.count(), sections.len());
                ahead.reuse(sections);
            }
        }
        let (_, bytes) = writer.finish().await?;
        let written = CarSummary { blocks, bytes, ..self.summary };
        if written == self.summary {
            return Ok(written);
        }
        Err(Error::internal(format!("the CAR file of {} has {bytes} bytes, not the planned {}", self.summary.root, self.summary.bytes)))
    }
}
