//! Chunks of many blocks, put together as their blocks arrive.

use std::collections::HashMap;

use bytes::Bytes;

use super::blocks::{Blocks, Place, Role};
use crate::car::distinct::Name;
use crate::chunk::Assembler;
use crate::error::{Error, Result};
use crate::id::{ChunkForm, ChunkId, cid_from_bytes};

/// The trees of a version, complete or not.
#[derive(Debug, Default)]
pub(super) struct Trees {
    all: Vec<Tree>,
    /// Which trees go on with a block that has not arrived.
    waiting: HashMap<Name, Vec<usize>>,
    /// Blocks inside incomplete trees, by name, because another may want them too.
    pieces: HashMap<Name, Bytes>,
    /// Payload of incomplete trees.
    open: HashMap<usize, u64>,
}

#[derive(Debug)]
struct Tree {
    id: ChunkId,
    size: u64,
    assembler: Option<Assembler>,
    leaves: u64,
    /// What it took, and where that lies once the tree is stored.
    took: Vec<(Name, Option<u64>)>,
}

impl Trees {
    pub(super) fn open(&mut self, id: ChunkId, size: u64, assembler: Assembler) -> usize {
        self.all.push(Tree { id, size, assembler: Some(assembler), leaves: 0, took: Vec::new() });
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

    pub(super) fn keep_piece(&mut self, name: Name, data: Bytes) {
        self.pieces.insert(name, data);
    }

    /// Payload in incomplete trees besides the largest, looked at only when there could be more than `room`.
    pub(super) fn open_bytes_but_largest(&self, room: u64) -> u64 {
        let sum: u64 = self.open.values().sum();
        if sum <= room { 0 } else { sum - self.open.values().max().unwrap_or(&0) }
    }
}

impl Blocks<'_> {
    /// Gives a tree every block it wants next that is here, and stores it when it is complete.
    pub(super) async fn pump(&mut self, at: usize) -> Result<()> {
        loop {
            let Some(assembler) = self.trees.all.get(at).and_then(|tree| tree.assembler.as_ref()) else { return Ok(()) };
            let Some(want) = assembler.wanted() else { return self.complete(at).await };
            let name = want.to_bytes();
            let Some(data) = self.piece(name).await? else {
                self.trees.waiting.entry(name).or_default().push(at);
                return Ok(());
            };
            let Some(tree) = self.trees.all.get_mut(at) else { return Ok(()) };
            let Some(assembler) = tree.assembler.as_mut() else { return Ok(()) };
            *self.trees.open.entry(at).or_default() += data.len() as u64;
            assembler.push(data)?;
            let leaf = (want.form() == ChunkForm::Raw).then_some(tree.leaves);
            tree.leaves += u64::from(leaf.is_some());
            tree.took.push((name, leaf));
        }
    }

    /// A block for a tree, if it has arrived.
    async fn piece(&mut self, name: Name) -> Result<Option<Bytes>> {
        if let Some(data) = self.trees.pieces.get(&name) {
            return Ok(Some(data.clone()));
        }
        if let Some(data) = self.release(&name) {
            self.trees.keep_piece(name, data.clone());
            match self.known.get(&name).and_then(|known| known.role) {
                // It was about to be stored by itself.
                Some(Role::Chunk(size)) => self.take_chunk(name, size, data.clone()).await?,
                _ => self.arrived(name, Place::Piece),
            }
            return Ok(Some(data));
        }
        if self.known.get(&name).is_none_or(|known| known.place.is_none()) {
            return Ok(None);
        }
        let data = self.fetch(name).await?;
        self.trees.keep_piece(name, data.clone());
        Ok(Some(data))
    }

    /// Reads a block back that has arrived, from wherever it was stored.
    pub(super) async fn fetch(&mut self, name: Name) -> Result<Bytes> {
        if let Some(data) = self.trees.pieces.get(&name) {
            return Ok(data.clone());
        }
        self.uploads.finish().await?;
        let chunks = self.repository.chunks();
        let id = ChunkId::from_cid(&cid_from_bytes(&name)?)?;
        let lost = || Error::internal(format!("block {id} arrived and is nowhere"));
        let stored = |tree: usize| self.trees.all.get(tree).map(|tree| (tree.id, tree.size)).ok_or_else(lost);
        match self.known.get(&name).and_then(|known| known.place) {
            Some(Place::Chunk(size)) => chunks.read(&id, size).await,
            Some(Place::Leaf(tree, index)) => {
                let (chunk, size) = stored(tree)?;
                chunks.leaf(&chunk, size, index).await
            }
            Some(Place::Interior(tree)) => {
                let (chunk, size) = stored(tree)?;
                let nodes = chunks.interior(&chunk, size).await?;
                nodes.into_iter().find(|(cid, _)| *cid == id.cid()).map(|(_, bytes)| bytes).ok_or_else(lost)
            }
            Some(Place::Object | Place::Piece) | None => Err(lost()),
        }
    }

    /// Stores a tree that has all its blocks.
    async fn complete(&mut self, at: usize) -> Result<()> {
        let Some(tree) = self.trees.all.get_mut(at) else { return Ok(()) };
        let Some(assembler) = tree.assembler.take() else { return Ok(()) };
        let took = std::mem::take(&mut tree.took);
        let chunk = assembler.finish()?;
        // Not in the background: a large chunk is the one thing that there must not be many of.
        self.repository.chunks().put(&chunk).await?;
        self.trees.open.remove(&at);
        for (name, leaf) in took {
            self.trees.pieces.remove(&name);
            let known = self.known.entry(name).or_default();
            if matches!(known.place, Some(Place::Piece) | None) {
                known.place = Some(leaf.map_or(Place::Interior(at), |leaf| Place::Leaf(at, leaf)));
            }
        }
        Ok(())
    }
}
