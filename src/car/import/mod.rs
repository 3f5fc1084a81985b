//! Reading a version from a CAR file: every byte is verified before a branch or a tag shows any of it.
//!
//! 1. Blocks are taken as they come. [`ahead`] checks hashes, some blocks ahead; [`blocks`] checks that each block that is linked from the
//!    root is of the kind and size that its link demands, and puts it into the store, where it is unreferenced until the end.
//! 2. When the file ends no linked block may be missing. The maps are checked as wholes, and the counts of the virtual-file manifest against
//!    the manifest. [`origin`] checks what the commit says of the commits before it.
//! 3. Everything is made durable. Last the branch or tag is pointed at the commit.

mod ahead;
mod blocks;
mod chunks;
mod collection;
mod finish;
mod origin;
mod puts;

use std::collections::BTreeMap;

use tokio::io::AsyncRead;

use crate::carfile::CarReader;
use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::{Move, MoveOp, MoveTo, Ref, RefKind, RefName, TagInfo, future_limit};

use ahead::SectionsAhead;
use blocks::{Blocks, CarVersion};
use collection::Links;

/// What an import names the version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportTarget {
    /// A branch. It is created if it does not exist, else it is pointed at the version, and what it showed before stays readable at its
    /// times.
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
    /// How many blocks the file held, repeated ones as often as they are in it.
    pub blocks: u64,
    /// How many different blocks of the file are not a part of the version. They were verified and left out.
    pub unlinked: u64,
    /// How long the file was, in bytes.
    pub bytes: u64,
    /// Whether the commits before the version are not in this repository, or not proved to be its own: its log ends with it.
    pub is_shallow: bool,
}

/// How a version is imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportOptions {
    /// How many bytes the chunks of the version may have together, equal chunks counted once. Default: 16 times the length of the file, but
    /// at least 256 MiB.
    ///
    /// A few blocks can describe chunks of any size, because a chunk may link one block many times: a file of 1 MB can describe 64 GB of zeros.
    /// Raise this for files that are known to hold such data.
    pub max_bytes: Option<u64>,
    /// The length of the file in bytes. Default: not known; then the default limit grows with the bytes that have been read, and a file beyond it
    /// is refused later, after as many bytes as the limit allows have been written.
    pub file_len: Option<u64>,
}

impl ImportOptions {
    /// Sets how many bytes the chunks of the version may have together.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets the length of the file.
    #[must_use]
    pub const fn file_len(mut self, bytes: u64) -> Self {
        self.file_len = Some(bytes);
        self
    }
}

/// How much a file may ask of memory and disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of blocks that came before anything linked them.
    pub(super) held: u64,
    /// Bytes of one chunk: stores that take objects whole have it in memory.
    pub(super) chunk: u64,
    /// Bytes of all chunks together; `None`: by [`least`](Self::least) and [`multiple`](Self::multiple).
    pub(super) total: Option<u64>,
    /// How many bytes of chunks are allowed whatever the length of the file.
    pub(super) least: u64,
    /// How many bytes of chunks each byte of the file may become.
    pub(super) multiple: u64,
    /// The length of the file, if it is known.
    pub(super) file_len: Option<u64>,
    /// Chunks of several blocks that have begun and not ended, which take a file each.
    pub(super) open: usize,
    /// How many blocks there may be; each takes about 100 bytes.
    pub(super) blocks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { held: 64 << 20, chunk: 4 << 30, total: None, least: 256 << 20, multiple: 16, file_len: None, open: 64, blocks: 1 << 25 }
    }
}

impl Limits {
    fn of(options: ImportOptions) -> Self {
        Self { total: options.max_bytes, file_len: options.file_len, ..Self::default() }
    }

    /// How many bytes of chunks a file may have of which `taken` bytes have been read, and whether that is final.
    pub(super) fn bytes(&self, taken: u64) -> (u64, bool) {
        let is_final = self.total.is_some() || self.file_len.is_some();
        let by_length = self.file_len.unwrap_or(taken).saturating_mul(self.multiple).max(self.least);
        (self.total.unwrap_or(by_length), is_final)
    }
}

impl Repository {
    /// Imports the version in a CAR file of version 1 or 2, and points a branch or a tag at it: [`import_car_with`](Self::import_car_with)
    /// with default options.
    pub async fn import_car<R: AsyncRead + Unpin + Send>(&self, reader: R, target: ImportTarget) -> Result<Imported> {
        self.import_car_with(reader, target, ImportOptions::default()).await
    }

    /// Imports the version in a CAR file of version 1 or 2, and points a branch or a tag at it.
    ///
    /// All of the file is verified first. Blocks may come in any order and more than once. Blocks that are not a part of the version are
    /// verified, counted and left out.
    ///
    /// # Errors
    ///
    /// After an error no branch or tag has changed. Objects that were written stay as unreferenced garbage.
    ///
    /// - `Corrupt`, naming the offset where there is one: the file is truncated or damaged, a block is missing, the maps are not canonical, or the
    ///   commit contradicts itself or a parent that is in this repository.
    /// - `Invalid`: the file is compressed, its chunks are larger than [`ImportOptions::max_bytes`] allows, or the version is stamped in the future.
    /// - `Unsupported`: several roots, a version of another hash or format, an order of blocks that would need more than 64 MiB of memory to sort
    ///   out or begins more than 64 chunks of several blocks before it ends one, a chunk of more than 4 GiB, or more than 2^25 blocks.
    /// - `Conflict`: the tag exists; or a garbage collection that began during the import removes what it wrote: import the file again.
    ///
    /// # Cancellation
    ///
    /// Dropping the future before it is ready leaves unreferenced garbage. If it was dropped while the branch or the tag was being replaced, that may
    /// still have happened: read the branch or the tag to find out.
    pub async fn import_car_with<R>(&self, reader: R, target: ImportTarget, options: ImportOptions) -> Result<Imported>
    where
        R: AsyncRead + Unpin + Send,
    {
        self.import_car_within(reader, target, Limits::of(options)).await
    }

    pub(super) async fn import_car_within<R>(&self, reader: R, target: ImportTarget, limits: Limits) -> Result<Imported>
    where
        R: AsyncRead + Unpin + Send,
    {
        self.require_writable()?;
        let name = target.name();
        let (before, collection) = futures::try_join!(self.refs().try_read(&name), self.refs().collection())?;
        let epoch = before.as_ref().filter(|state| state.record.tip.is_some()).map_or(u64::MAX, |state| state.record.epoch);
        let known = collection.state.finished().min(epoch);
        if matches!(target, ImportTarget::Tag(_)) && before.is_some_and(|state| state.record.tip.is_some()) {
            return Err(Error::conflict(format!("{name} exists already")));
        }
        let reader = CarReader::open(reader).await?;
        let root = self.only_root(&reader)?;
        let mut blocks = Blocks::new(self, root, limits);
        let (mut reader, mut count, mut told) = (SectionsAhead::new(reader), 0, 0);
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
        let links = self.complete(&version, known).await?;
        let moved = self.point(&name, &version, &links).await?;
        let is_shallow = !links.has_history;
        Ok(Imported { id: root, moved, blocks: count, unlinked: version.unlinked, bytes: reader.position(), is_shallow })
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

    /// Points `name` at the version: the only step that readers can see.
    async fn point(&self, name: &Ref, version: &CarVersion, links: &Links) -> Result<Move> {
        let (id, time) = (version.id, version.commit.time);
        let vouch = |state| self.vouch_for_import(version, links, state);
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
            (true, RefKind::Branch) => {
                let not_before = self.after_sure_events(name).await?;
                self.refs().change(name, to(not_before), vouch).await
            }
            _ => self.refs().create(name, to(time), vouch).await,
        }
    }
}
