//! What processes that write together hand each other: a session for a fork of it, and the changes of that fork.
//!
//! Both are documents: a header, and blocks of rows. Blocks lie in the document, or, where they are many, in the repository as chunks,
//! which the document names. The bytes come from other processes, so nothing in them is believed before it is checked.

mod block;
mod file;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::limits;
use crate::dagcbor::{Malformed, Reader, Writer};
use crate::error::{Error, Result};
use crate::id::{ChunkId, Cid, SnapshotId, cid_from_bytes};
use crate::time::Timestamp;

pub(crate) use block::{BLOCK_ROWS, BLOCK_TARGET, ContainerRow, FileRow, ForkBlock, ForkEdit};
pub(crate) use file::{ForkFile, ForkUnpinned};

/// The version that this build reads and writes.
pub(super) const VERSION: u64 = 1;
/// The longest binary CID that is read, in bytes.
const CID: usize = 128;

/// Which of the two documents it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForkKind {
    /// A session, for another process.
    Fork,
    /// The changes of a fork, for the session that it was taken from.
    Changes,
}

impl ForkKind {
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Fork => "firnline fork",
            Self::Changes => "firnline changes",
        }
    }

    /// Names the document in messages.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Fork => "the description of a fork",
            Self::Changes => "the changes of a fork",
        }
    }
}

/// What a fork and its parent have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForkOrigin {
    /// When the repository was created, which together with the base identifies it.
    pub(crate) created: Timestamp,
    /// The branch.
    pub(crate) branch: String,
    /// The snapshot on which both stage.
    pub(crate) base: SnapshotId,
    /// The sequence number of the branch when it was read.
    pub(crate) seq: u64,
    /// The epoch of the branch when it was read.
    pub(crate) epoch: u64,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForkDocument {
    pub(crate) kind: ForkKind,
    pub(crate) origin: ForkOrigin,
    /// The last garbage collection that the session knows of.
    pub(crate) known: u64,
    /// Objects that were written or linked and that no row names. A later release needs them; this one writes none.
    pub(crate) touched: Vec<Cid>,
    /// The record of the branch, and its version in the store: of a [`ForkKind::Fork`] only.
    pub(crate) state: Option<(Bytes, Bytes)>,
    pub(crate) pieces: Vec<ForkPiece>,
}

/// A block, or where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ForkPiece {
    /// Its bytes.
    Inline(Bytes),
    /// The chunk that holds it, and its length in bytes.
    Stored(ChunkId, u64),
}

impl ForkDocument {
    /// The document as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = self.encode_body();
        let mut w = Writer::with_capacity(body.len() + 40);
        w.array(4);
        w.text(self.kind.title());
        w.uint(VERSION);
        w.bytes(&xxh3_64(&body).to_be_bytes());
        w.bytes(&body);
        w.finish()
    }

    fn encode_body(&self) -> Vec<u8> {
        let inline: usize = self.pieces.iter().map(|piece| if let ForkPiece::Inline(bytes) = piece { bytes.len() + 5 } else { 60 }).sum();
        let mut w = Writer::with_capacity(inline + 512);
        w.map(if self.state.is_some() { 10 } else { 8 });
        w.text("seq");
        w.uint(self.origin.seq);
        w.text("base");
        w.bytes(&self.origin.base.to_bytes());
        w.text("epoch");
        w.uint(self.origin.epoch);
        w.text("known");
        w.uint(self.known);
        if let Some((state, _)) = &self.state {
            w.text("state");
            w.bytes(state);
        }
        w.text("branch");
        w.text(&self.origin.branch);
        w.text("pieces");
        w.array(self.pieces.len());
        for piece in &self.pieces {
            match piece {
                ForkPiece::Inline(bytes) => w.bytes(bytes),
                ForkPiece::Stored(id, size) => {
                    w.array(2);
                    w.link(&id.to_bytes());
                    w.uint(*size);
                }
            }
        }
        w.text("created");
        w.int(self.origin.created.micros());
        w.text("touched");
        w.array(self.touched.len());
        self.touched.iter().for_each(|cid| w.bytes(&cid.to_bytes()));
        if let Some((_, version)) = &self.state {
            w.text("version");
            w.bytes(version);
        }
        w.finish()
    }

    /// Reads a document of this kind. `Unsupported` for another version, `Invalid` for the other kind, `Corrupt` for everything else
    /// that [`encode`](Self::encode) would not have written.
    pub(crate) fn decode(bytes: &[u8], kind: ForkKind) -> Result<Self> {
        Self::read(bytes, kind).map_err(|e| e.context(kind.words()))
    }

    fn read(bytes: &[u8], kind: ForkKind) -> Result<Self> {
        if bytes.len() > limits::FORK {
            return Err(Error::corrupt(format!("it has {} bytes; at most {} are allowed", bytes.len(), limits::FORK)));
        }
        let mut r = Reader::new(bytes);
        r.tuple(4)?;
        let other = if kind == ForkKind::Fork { ForkKind::Changes } else { ForkKind::Fork };
        match r.text(32)? {
            title if title == kind.title() => {}
            title if title == other.title() => return Err(Error::invalid(format!("these bytes are {}", other.words()))),
            _ => return Err(Error::corrupt("these bytes are something else")),
        }
        let version = r.uint()?;
        if version != VERSION {
            return Err(Error::unsupported(format!("it has version {version}; this build knows {VERSION}")));
        }
        let sum = r.bytes(8)?;
        let body = r.bytes(limits::FORK)?;
        r.end()?;
        if sum != xxh3_64(body).to_be_bytes() {
            return Err(Error::corrupt("its checksum is wrong"));
        }
        Self::read_body(&mut Reader::new(body), kind)
    }

    fn read_body(r: &mut Reader<'_>, kind: ForkKind) -> Result<Self> {
        let is_fork = kind == ForkKind::Fork;
        let fields = if is_fork { 10 } else { 8 };
        if r.map(10)? != fields {
            return Err(Error::corrupt(format!("it has other than {fields} fields")));
        }
        r.field("seq")?;
        let seq = r.uint()?;
        r.field("base")?;
        let base = SnapshotId::from_cid(&cid_from_bytes(r.bytes(CID)?)?)?;
        r.field("epoch")?;
        let epoch = r.uint()?;
        r.field("known")?;
        let known = r.uint()?;
        let optional = |r: &mut Reader<'_>, name| {
            if !is_fork {
                return Ok::<_, Malformed>(None);
            }
            r.field(name)?;
            Ok(Some(Bytes::copy_from_slice(r.bytes(limits::REGISTER)?)))
        };
        let state = optional(r, "state")?;
        r.field("branch")?;
        let branch = r.text(limits::NAME)?.to_owned();
        r.field("pieces")?;
        let pieces = (0..r.array(limits::FORK_PIECES, 1)?).map(|_| read_piece(r)).collect::<Result<_>>()?;
        r.field("created")?;
        let created = Timestamp::from_micros(r.int()?);
        r.field("touched")?;
        let touched = read_touched(r)?;
        let version = optional(r, "version")?;
        r.end()?;
        Ok(Self { kind, origin: ForkOrigin { created, branch, base, seq, epoch }, known, touched, state: state.zip(version), pieces })
    }
}

fn read_piece(r: &mut Reader<'_>) -> Result<ForkPiece> {
    if r.major()? == 2 {
        return Ok(ForkPiece::Inline(Bytes::copy_from_slice(r.bytes(limits::FORK_BLOCK)?)));
    }
    r.tuple(2)?;
    let id = ChunkId::from_cid(&cid_from_bytes(r.link()?)?)?;
    let at = r.at();
    match r.uint()? {
        size if size <= limits::FORK_BLOCK as u64 => Ok(ForkPiece::Stored(id, size)),
        size => Err(Malformed { at, wrong: format!("a block of {size} bytes; at most {} are allowed", limits::FORK_BLOCK) }.into()),
    }
}

/// Reads ids, in ascending order of their bytes.
fn read_touched(r: &mut Reader<'_>) -> Result<Vec<Cid>> {
    let mut touched = Vec::new();
    let mut last: Option<&[u8]> = None;
    for _ in 0..r.array(limits::FORK_TOUCHED, 37)? {
        let at = r.at();
        let bytes = r.bytes(CID)?;
        if last.is_some_and(|last| last >= bytes) {
            return Err(Malformed { at, wrong: "an id that is out of order".to_owned() }.into());
        }
        last = Some(bytes);
        touched.push(cid_from_bytes(bytes)?);
    }
    Ok(touched)
}
