//! Decoded nodes and commits in memory, bounded by an estimate of their weight.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::flight::Flights;
use crate::error::Result;
use crate::format::{Commit, Container, Entry, HistoryEntry, Node, Value, VirtualFile};
use crate::id::{NodeId, SnapshotId};

/// What a decoded entry takes in memory, roughly, without its texts: the places of key and value, their allocations.
const ENTRY_WEIGHT: u64 = 160;
/// What a name and a value of a commit take in memory, roughly, without their texts.
const PAIR_WEIGHT: usize = 96;
/// How many nodes the cache is prepared for; its weight bounds it, not this.
const EXPECTED_NODES: usize = 4096;

#[derive(Debug, Clone, Copy)]
pub(crate) struct ByWeight;

impl<V: CachedValue> Weighter<NodeId, Arc<Node<V>>> for ByWeight {
    fn weight(&self, _: &NodeId, node: &Arc<Node<V>>) -> u64 {
        node_weight(node)
    }
}

/// What a node takes in memory, roughly.
pub(super) fn node_weight<V: CachedValue>(node: &Node<V>) -> u64 {
    let (entries, texts) = match node {
        Node::Leaf(leaf) => (leaf.entries.len(), leaf.entries.iter().map(|(key, value)| key.as_str().len() + value.held()).sum::<usize>()),
        Node::Branch(branch) => (branch.children.len(), branch.children.iter().map(|child| child.last.as_str().len()).sum()),
    };
    (entries as u64 + 1) * ENTRY_WEIGHT + texts as u64
}

impl Weighter<SnapshotId, Arc<Commit>> for ByWeight {
    fn weight(&self, _: &SnapshotId, commit: &Arc<Commit>) -> u64 {
        let pairs =
            |pairs: &BTreeMap<String, String>| pairs.iter().map(|(name, value)| PAIR_WEIGHT + name.len() + value.len()).sum::<usize>();
        let container = |found: &Container| 256 + found.name.len() + found.template.len() + pairs(&found.defaults) + pairs(&found.options);
        let texts = commit.message.len() + commit.author.as_ref().map_or(0, String::len) + pairs(&commit.meta);
        let places = commit.places.iter().map(|place| PAIR_WEIGHT / 2 + place.len()).sum::<usize>();
        let containers = commit.containers.iter().map(container).sum::<usize>();
        (1024 + texts + places + containers) as u64
    }
}

/// The nodes of one kind of map: those kept, and those being read.
pub(crate) struct NodeCache<V: CachedValue> {
    kept: Cache<NodeId, Arc<Node<V>>, ByWeight>,
    flights: Flights<Arc<Node<V>>>,
}

impl<V: CachedValue> NodeCache<V> {
    fn new(nodes: usize, bytes: u64) -> Self {
        Self { kept: Cache::with_weighter(nodes, bytes, ByWeight), flights: Flights::default() }
    }

    pub(super) fn get(&self, id: &NodeId) -> Option<Arc<Node<V>>> {
        self.kept.get(id)
    }

    pub(super) fn insert(&self, id: NodeId, node: Arc<Node<V>>) {
        self.kept.insert(id, node);
    }

    /// Waits for a node that is not in the cache. Callers that need it at the same time share one read; `read` starts it if there is none.
    pub(super) async fn read<F>(&self, id: NodeId, read: impl Fn() -> F + Send + Sync) -> Result<Arc<Node<V>>>
    where
        F: Future<Output = Result<Arc<Node<V>>>> + Send + 'static,
    {
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

    /// How many bytes of text the value holds in memory, beside its key.
    fn held(&self) -> usize {
        self.text_len()
    }
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

    fn held(&self) -> usize {
        let bytes = |text: &Option<Vec<u8>>| text.as_ref().map_or(0, Vec::len);
        bytes(&self.etag) + self.version.as_ref().map_or(0, String::len) + bytes(&self.digest)
    }
}

impl CachedValue for HistoryEntry {
    fn cache(caches: &Caches) -> &NodeCache<Self> {
        &caches.history
    }
}
