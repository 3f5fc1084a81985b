//! Decoded nodes and commits in memory, bounded by an estimate of their weight.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::flight::Flights;
use crate::error::Result;
use crate::format::{Commit, Entry, HistoryEntry, Node, Value, VirtualFile};
use crate::id::{NodeId, SnapshotId};

/// What a decoded entry takes in memory, roughly: the key, its allocation, the value.
const ENTRY_WEIGHT: u64 = 160;
/// How many nodes the cache is prepared for; its weight bounds it, not this.
const EXPECTED_NODES: usize = 4096;

#[derive(Debug, Clone, Copy)]
pub(crate) struct ByWeight;

impl<V: Value> Weighter<NodeId, Arc<Node<V>>> for ByWeight {
    fn weight(&self, _: &NodeId, node: &Arc<Node<V>>) -> u64 {
        let entries = match &**node {
            Node::Leaf(leaf) => leaf.entries.len(),
            Node::Branch(branch) => branch.children.len(),
        };
        (entries as u64 + 1) * ENTRY_WEIGHT
    }
}

impl Weighter<SnapshotId, Arc<Commit>> for ByWeight {
    fn weight(&self, _: &SnapshotId, commit: &Arc<Commit>) -> u64 {
        let text = commit.message.len() + commit.places.iter().map(String::len).sum::<usize>();
        (text as u64 + 1024) + commit.containers.len() as u64 * 256
    }
}

/// The nodes of one kind of map: those kept, and those being read.
pub(crate) struct NodeCache<V: Value> {
    kept: Cache<NodeId, Arc<Node<V>>, ByWeight>,
    flights: Flights<Arc<Node<V>>>,
}

impl<V: Value> NodeCache<V> {
    fn new(nodes: usize, bytes: u64) -> Self {
        Self { kept: Cache::with_weighter(nodes, bytes, ByWeight), flights: Flights::default() }
    }

    pub(super) fn get(&self, id: &NodeId) -> Option<Arc<Node<V>>> {
        self.kept.get(id)
    }

    pub(super) fn insert(&self, id: NodeId, node: Arc<Node<V>>) {
        self.kept.insert(id, node);
    }

    /// Waits for a node that is not kept: one read for all who want it at once, `read` if there is none yet.
    pub(super) async fn read(&self, id: NodeId, read: impl Future<Output = Result<Arc<Node<V>>>> + Send + 'static) -> Result<Arc<Node<V>>> {
        self.flights.join(id, read).await
    }
}

pub(crate) struct Caches {
    manifest: NodeCache<Entry>,
    files: NodeCache<VirtualFile>,
    history: NodeCache<HistoryEntry>,
    pub(super) commits: Cache<SnapshotId, Arc<Commit>, ByWeight>,
}

impl Caches {
    /// Most of the weight goes to the manifest, which is by far the largest of the maps.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            manifest: NodeCache::new(EXPECTED_NODES, bytes / 8 * 5),
            files: NodeCache::new(EXPECTED_NODES / 4, bytes / 8),
            history: NodeCache::new(EXPECTED_NODES / 4, bytes / 8),
            commits: Cache::with_weighter(EXPECTED_NODES / 4, bytes / 8, ByWeight),
        }
    }
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caches")
    }
}

/// A value whose nodes have a cache.
pub(crate) trait CachedValue: Value {
    /// The cache of such nodes.
    fn cache(caches: &Caches) -> &NodeCache<Self>;
}

impl CachedValue for Entry {
    fn cache(caches: &Caches) -> &NodeCache<Self> {
        &caches.manifest
    }
}

impl CachedValue for VirtualFile {
    fn cache(caches: &Caches) -> &NodeCache<Self> {
        &caches.files
    }
}

impl CachedValue for HistoryEntry {
    fn cache(caches: &Caches) -> &NodeCache<Self> {
        &caches.history
    }
}
