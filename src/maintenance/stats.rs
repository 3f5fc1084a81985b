//! Statistics of a snapshot, by one scan of its maps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryStreamExt;

use crate::error::Result;
use crate::format::{Entry, HistoryEntry, Node, VirtualFile};
use crate::history::Line;
use crate::id::NodeId;
use crate::key::{Key, Prefix};
use crate::map::{Map, NodeSource, Span};
use crate::objects::{CachedValue, Objects};
use crate::snapshot::{Arrays, Group};
use crate::snapshot::{EntryKind, Snapshot};

/// How many keys there are of some kind, and how large their values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KeyCounts {
    /// Keys.
    pub keys: u64,
    /// The sum of the sizes of their values, in bytes; of equal chunks as often as they are named.
    pub bytes: u64,
}

impl KeyCounts {
    fn add(&mut self, entry: &Entry) {
        self.keys += 1;
        self.bytes = self.bytes.saturating_add(entry.size());
    }
}

/// How a map is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MapStats {
    /// Its entries.
    pub entries: u64,
    /// Its nodes, each an object of the store.
    pub nodes: u64,
    /// From the root to a leaf, both counted; 0 when the map is not in this repository.
    pub depth: u64,
    /// The lengths of those objects, in bytes.
    pub stored: u64,
}

impl MapStats {
    /// How many bytes are stored for each entry, the nodes above included; `None` when there are no entries.
    #[expect(clippy::cast_precision_loss, reason = "a mean that is printed with a few digits")]
    pub fn stored_per_entry(&self) -> Option<f64> {
        (self.entries > 0).then(|| self.stored as f64 / self.entries as f64)
    }
}

/// What a snapshot is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys by how their values are kept; kinds that do not occur are left out.
    pub kinds: BTreeMap<EntryKind, KeyCounts>,
    /// Zarr arrays by where they lie, with all keys below, metadata included.
    pub arrays: Vec<(Prefix, KeyCounts)>,
    /// Keys outside of arrays.
    pub other: KeyCounts,
    /// The manifest.
    pub manifest: MapStats,
    /// The virtual-file manifest.
    pub files: MapStats,
    /// The commits before it; empty and without depth when it was imported alone.
    pub history: MapStats,
    /// Containers.
    pub containers: u64,
}

impl Snapshot {
    /// Counts what the snapshot is made of. Reads every node of its maps once, from the store; those on the way to Zarr
    /// metadata, which is looked for in every directory outside of arrays, may be read once more.
    pub async fn stats(&self) -> Result<Stats> {
        let objects = self.repository().objects();
        let source = Measured::over(objects);
        let mut arrays = Arrays::of([self]);
        let mut counted = BTreeMap::<Prefix, KeyCounts>::new();
        let (mut kinds, mut other) = (BTreeMap::<EntryKind, KeyCounts>::new(), KeyCounts::default());
        let mut entries = std::pin::pin!(Map::<Entry, _>::new(&source, self.record().manifest).scan(Span::all()).into_stream());
        while let Some((key, entry)) = entries.try_next().await? {
            kinds.entry(entry.kind()).or_default().add(&entry);
            match arrays.group_of(&Key::new(key.as_str())?).await? {
                Group::Array(prefix) => counted.entry(prefix).or_default().add(&entry),
                Group::Directory(_) => other.add(&entry),
            }
        }
        let manifest = source.taken(kinds.values().map(|counts| counts.keys).sum());
        let files = measure::<VirtualFile>(objects, self.record().files).await?;
        let is_known = !Line::of(self).is_shallow().await?;
        let history = if is_known { measure::<HistoryEntry>(objects, self.record().history).await? } else { MapStats::default() };
        let containers = self.record().containers.len() as u64;
        Ok(Stats { kinds, arrays: counted.into_iter().collect(), other, manifest, files, history, containers })
    }
}

async fn measure<V: CachedValue>(objects: &Objects, root: NodeId) -> Result<MapStats> {
    let source = Measured::over(objects);
    let mut scan = Map::<V, _>::new(&source, root).scan(Span::all());
    let mut entries = 0;
    while scan.next_ref().await?.is_some() {
        entries += 1;
    }
    Ok(source.taken(entries))
}

/// Nodes as they lie in the store, counted.
struct Measured<'a> {
    objects: &'a Objects,
    nodes: AtomicU64,
    stored: AtomicU64,
    depth: AtomicU64,
}

impl<'a> Measured<'a> {
    fn over(objects: &'a Objects) -> Self {
        Self { objects, nodes: AtomicU64::new(0), stored: AtomicU64::new(0), depth: AtomicU64::new(0) }
    }

    fn taken(&self, entries: u64) -> MapStats {
        let [nodes, depth, stored] = [&self.nodes, &self.depth, &self.stored].map(|count| count.load(Ordering::Relaxed));
        MapStats { entries, nodes, depth, stored }
    }
}

impl<V: CachedValue> NodeSource<V> for Measured<'_> {
    async fn load(&self, id: NodeId) -> Result<Arc<Node<V>>> {
        let (node, len) = self.objects.read_node_sized::<V>(id).await?;
        self.nodes.fetch_add(1, Ordering::Relaxed);
        self.stored.fetch_add(len, Ordering::Relaxed);
        self.depth.fetch_max(u64::from(node.level()) + 1, Ordering::Relaxed);
        Ok(Arc::new(node))
    }
}
