//! Read and verify: whole chunks, ranges, single blocks.

use std::ops::Range;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkForm, ChunkId, Cid, Digest};
use crate::storage::{Extent, ObjectName};
use crate::unixfs::{LEAF, Layout, Tree};

use super::split::{digests_of, leaf_digests};
use super::write::trailer;
use super::{ChunkPlan, ChunkStore, trailer_len};

impl ChunkStore {
    /// Reads a whole chunk, whose entry says that it has `size` bytes.
    ///
    /// `NotFound` when it is not there; `Corrupt` when its object has another length, or any byte of it is wrong.
    pub(crate) async fn read(&self, id: &ChunkId, size: u64) -> Result<Bytes> {
        match ChunkPlan::of(id, size)? {
            ChunkPlan::Raw => self.read_raw(id, size).await,
            ChunkPlan::Tree(layout) => self.read_tree(id, &layout).await,
        }
    }

    /// Reads the bytes in `range`, fetching no more than the leaves they lie in and, unless they are known from an earlier part, the
    /// interior nodes, in one round trip. `Invalid` when the range does not lie inside the chunk; else as [`read`](Self::read).
    pub(crate) async fn read_range(&self, id: &ChunkId, size: u64, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > size {
            return Err(Error::invalid(format!("bytes {}..{} do not lie in chunk {id} of {size} bytes", range.start, range.end)));
        }
        let plan = ChunkPlan::of(id, size)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let layout = match plan {
            ChunkPlan::Raw => return Ok(self.read_raw(id, size).await?.slice(to_memory(range)?)),
            ChunkPlan::Tree(layout) => layout,
        };
        if let Some(tree) = self.trees.get(id, size) {
            return self.payload_of(&tree, range).await;
        }
        let first = range.start / LEAF;
        let aligned = first * LEAF..range.end.next_multiple_of(LEAF).min(size);
        let nodes = size..size + layout.interior_len();
        let (leaves, interior) = if aligned.end == size {
            let both = self.fetch_part(id, aligned.start..nodes.end).await?;
            let cut = to_memory(0..size - aligned.start)?.end;
            (both.slice(..cut), both.slice(cut..))
        } else {
            futures::try_join!(self.fetch_part(id, aligned.clone()), self.fetch_part(id, nodes))?
        };
        let tree = Tree::read(id, size, &interior).map_err(|e| in_chunk(id, e))?;
        let digests = digests_of(id.digest().hash(), &leaves).await?;
        check_leaves(id, &tree, first, &digests)?;
        self.trees.keep(tree);
        Ok(leaves.slice(to_memory(range.start - aligned.start..range.end - aligned.start)?))
    }

    /// The tree of a chunk above 1 MiB, checked up to its id and read without the payload; `None` for one raw block.
    pub(crate) async fn tree(&self, id: &ChunkId, size: u64) -> Result<Option<Tree>> {
        let ChunkPlan::Tree(layout) = ChunkPlan::of(id, size)? else { return Ok(None) };
        let interior = self.fetch_part(id, size..size + layout.interior_len()).await?;
        Tree::read(id, size, &interior).map(Some).map_err(|e| in_chunk(id, e))
    }

    /// The interior nodes of a chunk, checked up to its id and read without the payload: level by level, the root
    /// last; empty for one raw block.
    pub(crate) async fn interior(&self, id: &ChunkId, size: u64) -> Result<Vec<(Cid, Bytes)>> {
        let tree = self.tree(id, size).await?;
        Ok(tree.iter().flat_map(Tree::nodes).map(|node| (node.id.cid(), node.bytes.clone())).collect())
    }

    /// Leaf `index` of a chunk, checked. For one leaf; for many, get the [`tree`](Self::tree) once and
    /// call [`leaves_of`](Self::leaves_of).
    pub(crate) async fn leaf(&self, id: &ChunkId, size: u64, index: u64) -> Result<Bytes> {
        let start = index.saturating_mul(LEAF).min(size);
        if start == size && (index, size) != (0, 0) {
            return Err(Error::invalid(format!("chunk {id} of {size} bytes has no leaf {index}")));
        }
        match ChunkPlan::of(id, size)? {
            ChunkPlan::Raw => self.read_raw(id, size).await,
            ChunkPlan::Tree(_) => self.read_range(id, size, start..(start + LEAF).min(size)).await,
        }
    }

    async fn read_raw(&self, id: &ChunkId, size: u64) -> Result<Bytes> {
        let bytes = self.fetch_whole(id, size).await?;
        let digests = digests_of(id.digest().hash(), &bytes).await?;
        let digest = digests.first().copied().unwrap_or_else(|| id.digest().hash().digest(&[]));
        check(id, "it", ChunkId::new(ChunkForm::Raw, digest), *id)?;
        Ok(bytes)
    }

    async fn read_tree(&self, id: &ChunkId, layout: &Layout) -> Result<Bytes> {
        Ok(self.read_object(id, layout).await?.slice(to_memory(0..layout.size())?))
    }

    /// The object of a chunk of several blocks: the payload and what follows it, every byte verified.
    pub(super) async fn read_object(&self, id: &ChunkId, layout: &Layout) -> Result<Bytes> {
        let (size, interior) = (layout.size(), layout.interior_len());
        let object = self.fetch_whole(id, size + interior + trailer_len(layout.nodes())).await?;
        let payload = object.slice(to_memory(0..size)?);
        let tree = Tree::read(id, size, &object.slice(to_memory(size..size + interior)?)).map_err(|e| in_chunk(id, e))?;
        check_leaves(id, &tree, 0, &digests_of(id.digest().hash(), &payload).await?)?;
        if object.slice(to_memory(size + interior..object.len() as u64)?) != trailer(layout) {
            return Err(Error::corrupt(format!("chunk {id} has a wrong trailer")));
        }
        Ok(object)
    }

    /// The whole object, which must have `len` bytes.
    async fn fetch_whole(&self, id: &ChunkId, len: u64) -> Result<Bytes> {
        whole(id, len, self.storage.get(&ObjectName::chunk(id), Extent::Whole { at_most: len }).await)
    }

    /// A part of the object.
    pub(super) async fn fetch_part(&self, id: &ChunkId, range: Range<u64>) -> Result<Bytes> {
        let len = range.end - range.start;
        let found = self.storage.get(&ObjectName::chunk(id), Extent::Range(range)).await;
        let bytes = found.map_err(|e| in_chunk(id, e))?.ok_or_else(|| missing(id))?;
        if bytes.len() as u64 == len {
            Ok(bytes)
        } else {
            Err(Error::corrupt(format!("chunk {id} gave {} bytes where {len} were asked for", bytes.len())))
        }
    }
}

/// The whole object as the store answered, which must have `len` bytes.
pub(super) fn whole(id: &ChunkId, len: u64, found: Result<Option<Bytes>>) -> Result<Bytes> {
    let bytes = found.map_err(|e| in_chunk(id, e))?.ok_or_else(|| missing(id))?;
    if bytes.len() as u64 == len {
        return Ok(bytes);
    }
    let found = match (id.form(), leaf_digests(id.digest().hash(), &bytes).as_slice()) {
        (ChunkForm::Raw, [digest]) => format!(", and it hashes to {}", ChunkId::new(ChunkForm::Raw, *digest)),
        _ => String::new(),
    };
    let have = bytes.len();
    Err(Error::corrupt(format!("chunk {id} has an object of {have} bytes; by its size it should have {len}{found}")))
}

/// Checks the digests of leaves, of which the first has index `first`, against the tree.
pub(super) fn check_leaves(id: &ChunkId, tree: &Tree, first: u64, digests: &[Digest]) -> Result<()> {
    let skip = to_memory(0..first)?.end;
    let wanted = tree.leaves().get(skip..).and_then(|rest| rest.get(..digests.len()));
    let wanted = wanted.ok_or_else(|| Error::internal(format!("chunk {id} has no {} leaves from leaf {first}", digests.len())))?;
    for (index, (found, want)) in (first..).zip(digests.iter().zip(wanted)) {
        check(id, &format!("its leaf {index}"), ChunkId::new(ChunkForm::Raw, *found), ChunkId::new(ChunkForm::Raw, *want))?;
    }
    Ok(())
}

pub(super) fn check(id: &ChunkId, part: &str, found: ChunkId, want: ChunkId) -> Result<()> {
    if found == want {
        return Ok(());
    }
    Err(Error::corrupt(format!("chunk {id} is damaged: {part} hashes to {found}, not to {want}")))
}

fn missing(id: &ChunkId) -> Error {
    Error::not_found(format!("chunk {id} is not in the repository"))
}

/// Names the chunk.
pub(super) fn in_chunk(id: &ChunkId, e: Error) -> Error {
    match e.kind() {
        ErrorKind::Corrupt => e.context(format!("chunk {id} is damaged")),
        _ => e.context(format!("chunk {id}")),
    }
}

fn to_memory(range: Range<u64>) -> Result<Range<usize>> {
    let too_large = |_| Error::unsupported("the chunk does not fit into this machine's memory");
    Ok(usize::try_from(range.start).map_err(too_large)?..usize::try_from(range.end).map_err(too_large)?)
}
