//! The trees of large chunks, kept for the next part that is read of them.
//!
//! A part is checked against the interior nodes of its chunk. Readers of a Zarr shard read its index and then inner chunks, one part
//! after the other: with the tree in memory, each of them takes one request instead of two.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::id::ChunkId;
use crate::unixfs::Tree;

/// How much memory trees may take, in bytes, roughly: those of 13,000 MiB of chunks.
const MEMORY: u64 = 1 << 20;
/// What a leaf takes: its digest, and its link in the node above.
const LEAF_WEIGHT: u64 = 80;
/// How many trees the cache is prepared for; their weight bounds it, not this.
const EXPECTED: usize = 64;

#[derive(Debug, Clone, Copy)]
struct ByLeaves;

impl Weighter<ChunkId, Arc<Tree>> for ByLeaves {
    fn weight(&self, _: &ChunkId, tree: &Arc<Tree>) -> u64 {
        (tree.layout().leaves() + 4) * LEAF_WEIGHT
    }
}

/// Trees that were checked up to their ids. Clones share them.
#[derive(Clone)]
pub(super) struct KnownTrees(Arc<Cache<ChunkId, Arc<Tree>, ByLeaves>>);

impl Default for KnownTrees {
    fn default() -> Self {
        Self(Arc::new(Cache::with_weighter(EXPECTED, MEMORY, ByLeaves)))
    }
}

impl fmt::Debug for KnownTrees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownTrees")
    }
}

impl KnownTrees {
    /// The tree of a chunk of this size, if it is kept.
    pub(super) fn get(&self, id: &ChunkId, size: u64) -> Option<Arc<Tree>> {
        self.0.get(id).filter(|tree| tree.layout().size() == size)
    }

    pub(super) fn keep(&self, tree: Tree) {
        self.0.insert(tree.root(), Arc::new(tree));
    }
}
