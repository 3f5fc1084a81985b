//! Chunks of many blocks, put together and stored as their blocks arrive.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::blocks::{BlockPlace, Blocks, Role};
use crate::car::distinct::Name;
use crate::chunk::Assembler;
use crate::error::{Error, Result};
use crate::id::{ChunkForm, ChunkId, cid_from_bytes};

/// More than the interior nodes of one chunk have: 50 bytes for each MiB of at most 4 GiB.
const INTERIOR: u64 = 1 << 20;

/// The trees of a version, complete or not.
#[derive(Debug, Default)]
pub(super) struct OpenTrees {
    all: Vec<OpenTree>,
    /// Which trees go on with a block that has not arrived.
    waiting: HashMap<Name, Vec<usize>>,
    /// Trees that have some of their leaves and not all.
    open: HashSet<usize>,
    /// Bytes of interior nodes of trees that are not complete.
    interior: u64,
    /// The block that was used last, because the same content often comes again at once.
    at_hand: Option<(Name, Bytes)>,
}

#[derive(Debug)]
struct OpenTree {
    id: ChunkId,
    size: u64,
    assembler: Option<Assembler>,
}

impl OpenTrees {
    pub(super) fn add(&mut self, id: ChunkId, size: u64, assembler: Assembler) -> usize {
        self.all.push(OpenTree { id, size, assembler: Some(assembler) });
        self.all.len() - 1
    }

    pub(super) fn size(&self, tree: usize) -> Option<u64> {
        self.all.get(tree).map(|tree| tree.size)
    }

    pub(super) fn take_waiting(&mut self, name: &Name) -> Vec<usize> {
        self.waiting.remove(name).unwrap_or_default()
    }

    /// What incomplete trees wait for.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Name> {
        self.waiting.keys().copied()
    }

    pub(super) fn keep_at_hand(&mut self, name: Name, data: Bytes) {
        self.at_hand = Some((name, data));
    }

    fn at_hand(&self, name: &Name) -> Option<Bytes> {
        self.at_hand.as_ref().filter(|(at_hand, _)| at_hand == name).map(|(_, data)| data.clone())
    }

    /// How many trees have begun and are not complete.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Bytes in memory of incomplete trees, without those that one tree may have: its interior nodes, and for a store that takes
    /// objects whole the payload of the largest.
    pub(super) fn loose(&self) -> u64 {
        let held = |at: &usize| self.all.get(*at).and_then(|tree| tree.assembler.as_ref()).map_or(0, Assembler::held);
        let (sum, largest) = self.open.iter().map(held).fold((0, 0), |(sum, largest), held| (sum + held, held.max(largest)));
        sum - largest + self.interior.saturating_sub(INTERIOR)
    }

    fn assembler(&mut self, at: usize) -> Option<&mut Assembler> {
        self.all.get_mut(at).and_then(|tree| tree.assembler.as_mut())
    }
}

impl Blocks<'_> {
    /// Gives a tree every block it wants next that is here, and stores it when it is complete.
    pub(super) async fn pump(&mut self, at: usize) -> Result<()> {
        loop {
            let Some(assembler) = self.trees.assembler(at) else { return Ok(()) };
            let Some(want) = assembler.wanted() else { return self.complete(at).await };
            let leaf = (want.form() == ChunkForm::Raw).then_some(assembler.leaves());
            let name = want.to_bytes();
            let Some(data) = self.piece(name).await? else {
                self.trees.waiting.entry(name).or_default().push(at);
                return Ok(());
            };
            if leaf.is_some() {
                self.count_leaf(data.len() as u64)?;
            }
            let Some(assembler) = self.trees.assembler(at) else { return Ok(()) };
            let before = assembler.interior();
            assembler.push(data).await?;
            let (came, has_begun) = (assembler.interior() - before, assembler.has_begun());
            self.trees.interior += came;
            if has_begun {
                self.trees.open.insert(at);
            }
            let known = self.known.entry(name).or_default();
            known.place.get_or_insert(leaf.map_or(BlockPlace::Interior(at), |leaf| BlockPlace::Leaf(at, leaf)));
            self.require_room()?;
        }
    }

    /// A block for a tree, if it has arrived.
    async fn piece(&mut self, name: Name) -> Result<Option<Bytes>> {
        if let Some(data) = self.trees.at_hand(&name) {
            return Ok(Some(data));
        }
        let data = if let Some(data) = self.release(&name) {
            if let Some(Role::Chunk(size)) = self.known.get(&name).and_then(|known| known.role) {
                // It was about to be stored by itself.
                self.take_chunk(name, size, data.clone()).await?;
            }
            data
        } else if self.known.get(&name).is_some_and(|known| known.place.is_some()) {
            self.fetch(name).await?
        } else {
            return Ok(None);
        };
        self.trees.keep_at_hand(name, data.clone());
        Ok(Some(data))
    }

    /// Reads a block back that has arrived, from wherever it was stored.
    pub(super) async fn fetch(&mut self, name: Name) -> Result<Bytes> {
        if let Some(data) = self.trees.at_hand(&name) {
            return Ok(data);
        }
        let id = ChunkId::from_cid(&cid_from_bytes(&name)?)?;
        let lost = || Error::internal(format!("block {id} arrived and is nowhere"));
        let (at, index) = match self.known.get(&name).and_then(|known| known.place) {
            Some(BlockPlace::Chunk(size)) => {
                self.puts.finish().await?;
                return self.repository.chunks().read(&id, size).await;
            }
            Some(BlockPlace::Leaf(at, index)) => (at, Some(index)),
            Some(BlockPlace::Interior(at)) => (at, None),
            Some(BlockPlace::Object) | None => return Err(lost()),
        };
        let tree = self.trees.all.get_mut(at).ok_or_else(lost)?;
        if let Some(assembler) = tree.assembler.as_mut() {
            return assembler.read(&id, index).await;
        }
        let chunks = self.repository.chunks();
        if let Some(index) = index {
            return chunks.leaf(&tree.id, tree.size, index).await;
        }
        let nodes = chunks.interior(&tree.id, tree.size).await?;
        nodes.into_iter().find(|(cid, _)| *cid == id.cid()).map(|(_, bytes)| bytes).ok_or_else(lost)
    }

    /// Stores a tree that has all its blocks.
    async fn complete(&mut self, at: usize) -> Result<()> {
        let Some(assembler) = self.trees.all.get_mut(at).and_then(|tree| tree.assembler.take()) else { return Ok(()) };
        self.trees.open.remove(&at);
        self.trees.interior -= assembler.interior();
        assembler.finish().await
    }
}
