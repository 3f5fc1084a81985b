//! A chunk put together from its blocks, as a CAR file holds them, and written while they arrive.

use std::collections::HashMap;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::id::{ChunkForm, ChunkId, Digest};
use crate::storage::{ObjectName, ObjectWriter};
use crate::unixfs::{self, FileShape, LEAF, Tree};

use super::write::interior_parts;
use super::{ChunkPlan, ChunkStore, Hashed};

/// Puts one chunk of more than one block together from its blocks in depth-first order, the root first.
///
/// Ask which block is [`wanted`](Self::wanted), [`push`](Self::push) its bytes, and [`finish`](Self::finish) when none is wanted any
/// more. A block that occurs in several places is wanted each time. Leaves go to the store as they come, so that the memory
/// this takes is that of the interior nodes; only for a store that takes objects whole is the payload held to the end.
#[derive(Debug)]
pub(crate) struct Assembler {
    chunks: ChunkStore,
    id: ChunkId,
    size: u64,
    /// What is still to come, the next last; at most 1,024 for each level.
    stack: Vec<(ChunkId, FileShape)>,
    leaves: Vec<Digest>,
    nodes: HashMap<ChunkId, Bytes>,
    payload: ChunkPayload,
}

/// Where the leaves are that have come.
#[derive(Debug)]
enum ChunkPayload {
    None,
    Stored(Box<dyn ObjectWriter>),
    Held(Vec<Bytes>),
}

impl ChunkStore {
    /// Begins chunk `id`, whose entry says that it has `size` bytes; `Corrupt` when no tree has that size. Nothing is
    /// written before the first leaf.
    ///
    /// A few blocks can say that they make up a huge file by being linked many times: the caller decides which sizes it accepts.
    pub(crate) fn assemble(&self, id: ChunkId, size: u64) -> Result<Assembler> {
        let ChunkPlan::Tree(layout) = ChunkPlan::of(&id, size)? else {
            return Err(Error::internal(format!("chunk {id} is one block, which needs no assembling")));
        };
        let stack = vec![(id, layout.root())];
        Ok(Assembler { chunks: self.clone(), id, size, stack, leaves: Vec::new(), nodes: HashMap::new(), payload: ChunkPayload::None })
    }
}

impl Assembler {
    /// The block to push next; `None` when the chunk is complete.
    pub(crate) fn wanted(&self) -> Option<ChunkId> {
        self.stack.last().map(|(id, _)| *id)
    }

    /// How many leaves have come: the index of the next.
    pub(crate) const fn leaves(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Whether a part of the chunk is in the store or held for it.
    pub(crate) const fn has_begun(&self) -> bool {
        !matches!(self.payload, ChunkPayload::None)
    }

    /// How many bytes of interior nodes have come, all of which are in memory.
    pub(crate) fn interior(&self) -> u64 {
        self.nodes.values().map(|node| node.len() as u64).sum()
    }

    /// How many bytes of payload are in memory.
    pub(crate) fn held(&self) -> u64 {
        match &self.payload {
            ChunkPayload::None | ChunkPayload::Stored(_) => 0,
            ChunkPayload::Held(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
        }
    }

    /// Takes the block that was wanted: bytes that the caller has found to hash to that id.
    ///
    /// `Corrupt` when a leaf has not the length that its node says; `Unsupported` when an interior node is of another profile. `Invalid`
    /// when no block is wanted. After another error the chunk is lost.
    pub(crate) async fn push(&mut self, bytes: Bytes) -> Result<()> {
        let &(want, shape) = self.stack.last().ok_or_else(|| Error::invalid(format!("chunk {} is already complete", self.id)))?;
        let digest = *want.digest();
        debug_assert_eq!(digest.hash().digest(&bytes), digest, "chunk {}: the caller verifies block {want}", self.id);
        if shape.height > 0 {
            let children = unixfs::children(shape, digest.hash(), &bytes).map_err(|e| e.context(format!("chunk {}", self.id)))?;
            self.stack.pop();
            self.stack.extend(children.into_iter().rev());
            self.nodes.insert(want, bytes);
            return Ok(());
        }
        if bytes.len() as u64 != shape.size {
            let message = format!("chunk {}: its leaf {want} has {} bytes, not {}", self.id, bytes.len(), shape.size);
            return Err(Error::corrupt(message));
        }
        if !self.has_begun() {
            self.payload = match self.chunks.storage.writer() {
                Some(writer) => ChunkPayload::Stored(writer),
                None => ChunkPayload::Held(Vec::new()),
            };
        }
        match &mut self.payload {
            ChunkPayload::Stored(writer) => writer.write(bytes).await.map_err(|e| e.context(format!("chunk {}", self.id)))?,
            ChunkPayload::Held(pieces) => pieces.push(bytes),
            ChunkPayload::None => {}
        }
        self.stack.pop();
        self.leaves.push(digest);
        Ok(())
    }

    /// Reads a block back that has been pushed: leaf `index`, or an interior node.
    pub(crate) async fn read(&mut self, block: &ChunkId, index: Option<u64>) -> Result<Bytes> {
        let lost = |id| Error::internal(format!("chunk {id} has lost its block {block}"));
        let Some(index) = index else { return self.nodes.get(block).cloned().ok_or_else(|| lost(self.id)) };
        let bytes = match &mut self.payload {
            ChunkPayload::None => return Err(lost(self.id)),
            ChunkPayload::Stored(writer) => writer.read(index * LEAF..((index + 1) * LEAF).min(self.size)).await?,
            ChunkPayload::Held(pieces) => {
                let at = usize::try_from(index).unwrap_or(usize::MAX);
                pieces.get(at).cloned().ok_or_else(|| lost(self.id))?
            }
        };
        super::read::check(
            &self.id,
            &format!("its leaf {index}"),
            ChunkId::new(ChunkForm::Raw, block.digest().hash().digest(&bytes)),
            *block,
        )?;
        Ok(bytes)
    }

    /// Stores the finished chunk; durable after [`Storage::barrier`](crate::storage::Storage::barrier). `Corrupt` when a block is
    /// still wanted.
    pub(crate) async fn finish(self) -> Result<()> {
        if let Some(want) = self.wanted() {
            return Err(Error::corrupt(format!("chunk {} lacks its block {want}", self.id)));
        }
        let tree = Tree::of(self.id.digest().hash(), self.size, self.leaves)?;
        debug_assert_eq!(tree.root(), self.id, "every node was checked to have its only encoding");
        match self.payload {
            ChunkPayload::None => Err(Error::internal(format!("chunk {} has no leaves", self.id))),
            ChunkPayload::Held(pieces) => self.chunks.put(&Hashed::from_tree(tree, pieces)).await,
            ChunkPayload::Stored(mut writer) => {
                writer.write(interior_parts(&tree).concat().into()).await?;
                writer.finish(&ObjectName::chunk(&self.id)).await
            }
        }
    }
}
