//! Stored chunks: the bytes of a value too large to lie in the manifest, each chunk one object under its own id.
//!
//! A chunk of at most 1 MiB is one raw block, and its object is exactly its bytes. A larger one is a `UnixFS` file
//! ([`unixfs`](crate::unixfs)); its object holds, end to end:
//!
//! ```text
//! payload          P bytes     the chunk itself
//! interior nodes   I bytes     dag-pb blocks: those over the leaves, left to right, then the next level; the root last
//! node lengths     4 · N       u32 each, in the order of the nodes
//! tail             40 bytes    0  magic "FIRNTREE"
//!                              8  u16 version = 1
//!                              10 u16 kind = 1: profile unixfs-v1-2025
//!                              12 u32 N, the number of nodes
//!                              16 u64 P
//!                              24 u64 I
//!                              32 u64 XXH3-64 of the node lengths and the first 32 bytes of the tail
//! ```
//!
//! All numbers are little-endian. For this kind P decides I, N and every length, so a reader that knows P from the
//! manifest finds leaves and nodes without reading the trailer (lengths and tail). The trailer serves a reader that finds the object without
//! a manifest, and leaves room for other kinds. A whole read checks it, byte for byte.
//!
//! Every read is verified: a raw block is hashed, leaves are checked against their nodes, and nodes against their parents up to the id.

mod batch;
mod check;
mod copy;
mod import;
mod pieces;
mod read;
mod split;
mod stream;
mod trees;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::{ChunkForm, ChunkId, HashAlgorithm};
use crate::storage::Storage;
use crate::unixfs::{LEAF, Layout, MAX_SIZE};

pub(crate) use batch::Sized;
pub(crate) use import::Assembler;
pub(crate) use pieces::{CHECK_COST, cut};
pub(crate) use split::{Hashed, object_len};
pub(crate) use stream::{Keep, PIECE, STREAM_COST, StreamedChunk, pieces_in, read_piece};

/// Reads and writes the chunks of one repository. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ChunkStore {
    storage: Arc<dyn Storage>,
    hash: HashAlgorithm,
    trees: trees::KnownTrees,
}

impl ChunkStore {
    /// Chunks in `storage`, hashed with `hash` when written.
    pub(crate) fn new(storage: Arc<dyn Storage>, hash: HashAlgorithm) -> Self {
        Self { storage, hash, trees: trees::KnownTrees::default() }
    }
}

/// Refuses, as `Corrupt`, a size that no chunk of this form has: for ids and sizes that come from elsewhere.
pub(crate) fn check_shape(id: &ChunkId, size: u64) -> Result<()> {
    ChunkPlan::of(id, size).map(drop)
}

/// Length of the trailer of an object with `nodes` interior nodes, in bytes.
const fn trailer_len(nodes: u64) -> u64 {
    4 * nodes + write::TAIL as u64
}

/// Where the parts of a chunk's object lie.
#[derive(Debug)]
enum ChunkPlan {
    /// The object is the block.
    Raw,
    /// Payload, interior nodes, trailer.
    Tree(Layout),
}

impl ChunkPlan {
    /// Lays out chunk `id` of `size` bytes; `Corrupt` when no chunk of this form has that size.
    fn of(id: &ChunkId, size: u64) -> Result<Self> {
        match (id.form(), size) {
            (ChunkForm::Raw, ..=LEAF) => Ok(Self::Raw),
            (ChunkForm::UnixFs, size) if (LEAF + 1..=MAX_SIZE).contains(&size) => Ok(Self::Tree(Layout::of(size)?)),
            (form, _) => {
                let what = match form {
                    ChunkForm::Raw => "one raw block",
                    ChunkForm::UnixFs => "a tree of blocks",
                };
                Err(Error::corrupt(format!("chunk {id} is {what}, which does not have the {size} bytes that its entry says")))
            }
        }
    }
}
