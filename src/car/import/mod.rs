//! Reading a version from a CAR file: every byte is verified before a branch or a tag shows any of it.
//!
//! 1. Blocks are taken as they come. [`ahead`] checks hashes, some blocks ahead; [`blocks`] checks that each block is linked from the root and is what its
//!    place demands, and puts it into the store, where it is garbage until the end.
//! 2. When the file ends nothing may be missing or left over. The maps are checked as wholes, and the counts of the
//!    virtual-file manifest against the manifest.
//! 3. Everything is made durable. Last the branch or tag is pointed at the commit.

mod ahead;
mod blocks;
mod chunks;
mod finish;
mod origin;
mod puts;

use std::collections::BTreeMap;

use tokio::io::AsyncRead;

use crate::carfile::CarReader;
use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::{Move, MoveOp, MoveTo, Ref, RefKind, RefName, TagInfo, future_limit, require_no_collection};
use crate::time::Timestamp;

use ahead::Ahead;
use blocks::Blocks;

/// What an import names the version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportTarget {
    /// A branch: made if there is none, otherwise pointed at the version; what it showed before stays readable at its times.
    Branch(RefName),
    /// A tag, which must not exist.
    Tag(RefName),
}

impl ImportTarget {
    fn name(&self) -> Ref {
        match self {
            Self::Branch(name) => Ref::branch(name.clone()),
            Self::Tag(name) => Ref::tag(name.clone()),
        }
    }
}

/// A version that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The version, under the id that it had where it was exported.
    pub id: SnapshotId,
    /// What now points at it, and since when.
    pub moved: Move,
    /// How many blocks the file held.
    pub blocks: u64,
    /// How long the file was, in bytes.
    pub bytes: u64,
    /// Whether what came before the version is not in this repository: its log ends with it.
    pub is_shallow: bool,
}

/// How much a file may ask of memory and disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of blocks that came before anything linked them.
    pub(super) held: u64,
    /// Bytes of one chunk. A few blocks can say that they make up a huge one, which would then be written.
    pub(super) chunk: u64,
    /// Bytes of all chunks of several blocks together, beyond what [`repeats`](Self::repeats) grants.
    pub(super) assembled: u64,
    /// How many bytes of such chunks each byte of the file may become, since equal leaves are in it once.
    pub(super) repeats: u64,
    /// Chunks of several blocks that have begun and not ended, which take a file each.
    pub(super) open: usize,
    /// How many blocks there may be; each takes about 100 bytes.
    pub(super) blocks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { held: 64 << 20, chunk: 4 << 30, assembled: 64 << 30, repeats: 256, open: 64, blocks: 1 << 25 }
    }
}

impl Repository {
    /// Imports the version in a CAR file of version 1 or 2, and points a branch or a tag at it.
    ///
    /// All of the file is verified first. `Corrupt`, naming the offset where there is one, when it is truncated or damaged, when
    /// a block is missing, there twice or linked by nothing, or when the maps are not canonical; `Unsupported` for several roots, for a version
    /// of another hash or format, and for an order of blocks that would need more than 64 MiB of memory to sort out, or that begins more than
    /// 64 chunks of several blocks before it ends one; `Conflict` when the tag exists.
    ///
    /// Some files are `Unsupported` although they are whole, and [`export_car`](crate::Snapshot::export_car) writes such files: those with
    /// a chunk of more than 4 GiB, those that have or link more than 2^25 blocks, and those whose chunks of several blocks
    /// repeat their leaves so often that together they are longer than 64 GiB and 256 times the file up to there.
    ///
    /// After an error no branch or tag has changed; what was written is garbage.
    pub async fn import_car<R: AsyncRead + Unpin + Send>(&self, reader: R, target: ImportTarget) -> Result<Imported> {
        self.import_car_within(reader, target, Limits::default()).await
    }

    pub(super) async fn import_car_within<R>(&self, reader: R, target: ImportTarget, limits: Limits) -> Result<Imported>
    where
        R: AsyncRead + Unpin + Send,
    {
        self.require_writable()?;
        let name = target.name();
        let before = futures::try_join!(self.refs().try_read(&name), require_no_collection(&**self.storage()))?.0;
        if matches!(target, ImportTarget::Tag(_)) && before.is_some_and(|state| state.record.tip.is_some()) {
            return Err(Error::conflict(format!("{name} exists already")));
        }
        let reader = CarReader::open(reader).await?;
        let root = self.only_root(&reader)?;
        let mut blocks = Blocks::new(self, root, limits);
        let (mut reader, mut count, mut told) = (Ahead::new(reader), 0, 0);
        while let Some(block) = reader.next().await? {
            blocks.take(block).await?;
            count += 1;
            self.advance(1, reader.position().saturating_sub(told));
            told = reader.position();
        }
        let version = blocks.finish(reader.position()).await?;
        let (time, now) = (version.commit.time, self.clock().now());
        if time > future_limit(now) {
            return Err(Error::invalid(format!(
                "version {root} is stamped {time}, more than 10 minutes after this machine's {now}; pointing {name} at it would stop every commit there"
            )));
        }
        let is_shallow = self.complete(&version).await?;
        let moved = self.point(&name, root, version.commit.time).await?;
        Ok(Imported { id: root, moved, blocks: count, bytes: reader.position(), is_shallow })
    }

    fn only_root<R: AsyncRead + Unpin>(&self, reader: &CarReader<R>) -> Result<SnapshotId> {
        let [root] = reader.roots() else {
            return Err(Error::unsupported(format!("the CAR file has {} roots; a version has one", reader.roots().len())));
        };
        let id = SnapshotId::from_cid(root).map_err(|e| e.context("the root of the CAR file is not a version"))?;
        if id.digest().hash() != self.hash() {
            return Err(Error::unsupported(format!(
                "version {id} has ids of hash {}; {} has {}, and hashes are never mixed",
                id.digest().hash(),
                self.storage(),
                self.hash()
            )));
        }
        Ok(id)
    }

    /// Points `name` at the version: the only step that others can see.
    async fn point(&self, name: &Ref, id: SnapshotId, time: Timestamp) -> Result<Move> {
        let about = match name.kind {
            RefKind::Branch => None,
            RefKind::Tag => {
                let time = self.clock().now().max(time);
                Some(TagInfo { message: String::new(), time, author: None, meta: BTreeMap::new() })
            }
        };
        let to = |not_before| MoveTo { to: Some(id), op: MoveOp::Import, about: about.clone(), not_before };
        let exists = self.refs().try_read(name).await?.is_some_and(|state| state.record.tip.is_some());
        match (exists, name.kind) {
            // Everything was written anew, so nothing has to be asked of what the branch shows now.
            (true, RefKind::Branch) => self.refs().change(name, to(Timestamp::MIN), || async { Ok(()) }).await,
            _ => self.refs().create(name, to(time)).await,
        }
    }
}
