//! A chunk put together from its blocks, as a CAR file holds them.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::id::{ChunkForm, ChunkId, Digest};
use crate::unixfs::{self, Shape, Tree};

use super::{Hashed, Plan};

/// Puts one chunk together from its blocks in depth-first order, the root first.
///
/// Ask which block is [`wanted`](Self::wanted), [`push`](Self::push) its bytes, and [`finish`](Self::finish) when none is wanted any
/// more. A block that occurs in several places is wanted each time. Every block is hashed; the payload is held in
/// memory until the end, pieces that are pushed twice once.
#[derive(Debug)]
pub(crate) struct Assembler {
    id: ChunkId,
    size: u64,
    /// What is still to come, the next last; at most 1,024 for each level.
    stack: Vec<(ChunkId, Shape)>,
    leaves: Vec<Digest>,
    payload: Vec<Bytes>,
}

impl Assembler {
    /// Begins chunk `id`, whose entry says that it has `size` bytes; `Corrupt` when no chunk of this form has that size.
    ///
    /// A few blocks can say that they make up a huge file by being linked many times: the caller decides which sizes it accepts.
    pub(crate) fn new(id: ChunkId, size: u64) -> Result<Self> {
        let shape = match Plan::of(&id, size)? {
            Plan::Raw => Shape { height: 0, size },
            Plan::Tree(layout) => layout.root(),
        };
        Ok(Self { id, size, stack: vec![(id, shape)], leaves: Vec::new(), payload: Vec::new() })
    }

    /// The block to push next; `None` when the chunk is complete.
    pub(crate) fn wanted(&self) -> Option<ChunkId> {
        self.stack.last().map(|(id, _)| *id)
    }

    /// Takes the block that was wanted.
    ///
    /// `Corrupt` when its bytes do not hash to the wanted id or a leaf has not the length that its node says; `Unsupported` when an interior
    /// node is right but of another profile. `Invalid` when no block is wanted. An error leaves the assembler as it was.
    pub(crate) fn push(&mut self, bytes: Bytes) -> Result<()> {
        let &(want, shape) = self.stack.last().ok_or_else(|| Error::invalid(format!("chunk {} is already complete", self.id)))?;
        let digest = want.digest().hash().digest(&bytes);
        if digest != *want.digest() {
            let found = ChunkId::new(want.form(), digest);
            return Err(Error::corrupt(format!("chunk {}: its block {want} has bytes that hash to {found}", self.id)));
        }
        if shape.height > 0 {
            let children = unixfs::children(shape, digest.hash(), &bytes).map_err(|e| e.context(format!("chunk {}", self.id)))?;
            self.stack.pop();
            self.stack.extend(children.into_iter().rev());
            return Ok(());
        }
        if bytes.len() as u64 != shape.size {
            let message = format!("chunk {}: its leaf {want} has {} bytes, not {}", self.id, bytes.len(), shape.size);
            return Err(Error::corrupt(message));
        }
        self.stack.pop();
        self.leaves.push(digest);
        self.payload.push(bytes);
        Ok(())
    }

    /// The finished chunk, ready to be [`put`](super::ChunkStore::put); `Corrupt` when a block is still wanted.
    pub(crate) fn finish(mut self) -> Result<Hashed> {
        if let Some(want) = self.wanted() {
            return Err(Error::corrupt(format!("chunk {} lacks its block {want}", self.id)));
        }
        if self.id.form() == ChunkForm::Raw {
            return Ok(Hashed::raw(*self.id.digest(), self.payload.pop().unwrap_or_default()));
        }
        let tree = Tree::of(self.id.digest().hash(), self.size, self.leaves)?;
        debug_assert_eq!(tree.root(), self.id, "every node was checked to have its only encoding");
        Ok(Hashed::from_tree(tree, self.payload))
    }
}
