//! A store of nodes in memory, and random keys, values, maps and batches.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::error::{Error, Result};
use crate::format::{Entry, FileKey, HistoryEntry, Node, Value, VirtualFile};
use crate::id::{ChunkForm, ChunkId, HashAlgorithm, NodeId, SnapshotId};
use crate::key::MapKey;
use crate::map::build::{Builder, Built};
use crate::map::span::Edge;
use crate::map::{Map, NodeSink, NodeSource, Shape, Span};
use crate::time::Timestamp;

/// Cases for a random test that tries `whole` of them in a whole run: one variable scales all tests of the map.
pub(super) fn cases(whole: usize) -> usize {
    let share = usize::try_from(crate::testing::count("FIRN_MAP_CASES", 3_000, 60_000)).unwrap();
    (whole * share).div_ceil(60_000)
}

pub(super) type Model<V> = BTreeMap<MapKey, V>;
pub(super) type Batch<V> = Vec<(MapKey, Option<V>)>;

/// The keys from `from` on and before `to`.
pub(super) fn range(from: Option<&MapKey>, to: Option<&MapKey>) -> Span {
    let edge = |key: Option<&MapKey>, open| key.map_or(open, |key| Edge::Before(key.clone()));
    Span { from: edge(from, Edge::Start), to: edge(to, Edge::End) }
}

/// Nodes by id, counting loads.
pub(super) struct Store<V> {
    nodes: Mutex<HashMap<NodeId, Arc<Node<V>>>>,
    pub(super) loads: AtomicUsize,
}

impl<V: Value> Store<V> {
    pub(super) fn new() -> Self {
        Self { nodes: Mutex::new(HashMap::new()), loads: AtomicUsize::new(0) }
    }

    pub(super) fn get(&self, id: NodeId) -> Option<Arc<Node<V>>> {
        self.nodes.lock().unwrap().get(&id).cloned()
    }

    pub(super) fn insert(&self, id: NodeId, node: Node<V>) {
        self.nodes.lock().unwrap().insert(id, Arc::new(node));
    }

    pub(super) fn absorb(&self, sink: Taken<V>) {
        self.nodes.lock().unwrap().extend(sink.nodes);
    }

    /// The loads since this was last asked.
    pub(super) fn take_loads(&self) -> usize {
        self.loads.swap(0, Ordering::Relaxed)
    }

    pub(super) fn map(&self, root: NodeId) -> Map<'_, V, Self> {
        Map::new(self, root)
    }

    /// The ids below a root, with their levels.
    pub(super) fn reach(&self, root: NodeId) -> HashMap<NodeId, u8> {
        let mut all = HashMap::new();
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            let node = self.get(id).unwrap();
            all.insert(id, node.level());
            if let Node::Branch(branch) = &*node {
                open.extend(branch.children.iter().map(|c| c.id));
            }
        }
        all
    }
}

impl<V: Value> NodeSource<V> for Store<V> {
    async fn load(&self, id: NodeId) -> Result<Arc<Node<V>>> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.get(id).ok_or_else(|| Error::not_found(format!("node {id}")))
    }
}

/// What a build or an edit stored, in order.
pub(super) struct Taken<V> {
    pub(super) nodes: Vec<(NodeId, Arc<Node<V>>)>,
}

impl<V: Value> Taken<V> {
    pub(super) fn new() -> Self {
        Self { nodes: Vec::new() }
    }
}

impl<V: Value> NodeSink<V> for Taken<V> {
    async fn store(&mut self, id: NodeId, node: Arc<Node<V>>) -> Result<()> {
        self.nodes.push((id, node));
        Ok(())
    }
}

/// Runs a future that never waits for anything outside.
pub(super) fn block<T>(future: impl Future<Output = T>) -> T {
    futures::executor::block_on(future)
}

pub(super) fn build<V: Value>(model: &Model<V>, shape: Shape) -> (Built, Taken<V>) {
    let mut sink = Taken::new();
    let built = block(async {
        let mut builder = Builder::new(shape, &mut sink);
        for (key, value) in model {
            builder.push(key.clone(), value.clone()).await?;
        }
        builder.finish().await
    });
    (built.unwrap(), sink)
}

pub(super) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// Small targets make deep maps of few entries; small limits end nodes that the hash would let grow.
pub(super) fn small_shape(rng: &mut StdRng) -> Shape {
    let hash = *[HashAlgorithm::Sha2_256, HashAlgorithm::Blake3].choose(rng).unwrap();
    let target = rng.random_range(6..=9);
    let limit = *[160, 400, 1000, 4000, 1 << 19].choose(rng).unwrap();
    Shape { hash, target, limit }
}

/// A value with random instances.
pub(super) trait Random: Value {
    fn random(rng: &mut StdRng) -> Self;
    fn random_key(rng: &mut StdRng, spread: u32) -> MapKey;
}

const WORDS: [&str; 12] = ["a", "air", "b", "c", "temp °C", "höhe", "日本", "zarr.json", "x9y", "007", "~", "c0"];

/// A path with digits, leading zeros and letters beyond ASCII; some are long.
fn path(rng: &mut StdRng, spread: u32) -> String {
    let mut text = String::new();
    for _ in 0..rng.random_range(1..=3) {
        if !text.is_empty() {
            text.push('/');
        }
        match rng.random_range(0..10) {
            0..=4 => text.push_str(&rng.random_range(0..spread).to_string()),
            5 => write!(text, "{:04}", rng.random_range(0..spread)).unwrap(),
            6 => text.push_str(&(u64::from(rng.random_range(0..spread)) * 1_000_000_007).to_string()),
            7 => write!(text, "{}{}", WORDS.choose(rng).unwrap(), rng.random_range(0..spread)).unwrap(),
            _ => text.push_str(WORDS.choose(rng).unwrap()),
        }
    }
    if rng.random_ratio(1, 200) {
        text.push_str(&"0123456789é".repeat(rng.random_range(1..20)));
    }
    text
}

pub(super) fn file_key(rng: &mut StdRng, spread: u32) -> FileKey {
    let container = *["nemo", "era5", "sätze"].choose(rng).unwrap();
    let args: Vec<String> = (0..rng.random_range(0..3)).map(|_| path(rng, spread)).collect();
    FileKey::new(container, args.iter().map(String::as_str)).unwrap()
}

impl Random for Entry {
    fn random(rng: &mut StdRng) -> Self {
        match rng.random_range(0..6) {
            0 => {
                let len = if rng.random_ratio(1, 20) { rng.random_range(0..1024) } else { rng.random_range(0..40) };
                Self::Inline(Bytes::from(vec![rng.random::<u8>(); len]))
            }
            1 | 2 => {
                let form = if rng.random_ratio(1, 4) { ChunkForm::UnixFs } else { ChunkForm::Raw };
                let id = ChunkId::new(form, HashAlgorithm::Sha2_256.digest(&rng.random::<[u8; 2]>()));
                Self::Chunk { id, size: rng.random_range(0..1 << 40) }
            }
            _ => {
                // Few files, so that many entries share one.
                let file = FileKey::new("nemo", [rng.random_range(0..12_u32).to_string().as_str(), "x"]).unwrap();
                Self::Virtual { file, offset: rng.random_range(0..1 << 50), length: rng.random_range(0..1 << 40) }
            }
        }
    }

    fn random_key(rng: &mut StdRng, spread: u32) -> MapKey {
        MapKey::new(path(rng, spread))
    }
}

impl Random for VirtualFile {
    fn random(rng: &mut StdRng) -> Self {
        let maybe = |rng: &mut StdRng| rng.random_ratio(1, 2);
        Self {
            size: maybe(rng).then(|| rng.random_range(0..1 << 50)),
            modified: maybe(rng).then(|| Timestamp::from_micros(rng.random_range(0..1 << 50))),
            etag: maybe(rng).then(|| rng.random::<[u8; 8]>().to_vec()),
            version: maybe(rng).then(|| format!("v{}", rng.random::<u16>())),
            digest: maybe(rng).then(|| rng.random::<[u8; 34]>().to_vec()),
            pinned_at: Timestamp::from_micros(rng.random_range(0..1 << 50)),
            refs: rng.random_range(0..1000),
            bytes: rng.random_range(0..1 << 50),
        }
    }

    fn random_key(rng: &mut StdRng, spread: u32) -> MapKey {
        file_key(rng, spread).as_map_key().clone()
    }
}

impl Random for HistoryEntry {
    fn random(rng: &mut StdRng) -> Self {
        let id = SnapshotId::of(HashAlgorithm::Sha2_256, &rng.random::<[u8; 8]>());
        let mut summary = path(rng, 50);
        summary.truncate(summary.floor_char_boundary(rng.random_range(0..=72)));
        Self { id, summary }
    }

    fn random_key(rng: &mut StdRng, spread: u32) -> MapKey {
        let base: u64 = if rng.random_ratio(1, 3) { 999_000 } else { 1_700_000_000_000_000 };
        MapKey::new((base + u64::from(rng.random_range(0..spread * 40))).to_string())
    }
}

pub(super) fn random_model<V: Random>(rng: &mut StdRng, len: usize, spread: u32) -> Model<V> {
    (0..len).map(|_| (V::random_key(rng, spread), V::random(rng))).collect()
}

/// A batch of one of several habits: scattered, appending, deleting runs, replacing, deleting all, doing nothing.
pub(super) fn random_batch<V: Random>(rng: &mut StdRng, model: &Model<V>, spread: u32) -> Batch<V> {
    let mut batch: BTreeMap<MapKey, Option<V>> = BTreeMap::new();
    let keys: Vec<&MapKey> = model.keys().collect();
    match rng.random_range(0..16) {
        0..=4 => {
            for _ in 0..rng.random_range(1..20) {
                let value = rng.random_ratio(2, 3).then(|| V::random(rng));
                batch.insert(V::random_key(rng, spread), value);
            }
        }
        5..=8 if !keys.is_empty() => {
            // Remove a run, sometimes nearly everything.
            let len = if rng.random_ratio(1, 3) { keys.len() } else { rng.random_range(1..=keys.len()) };
            let start = rng.random_range(0..=keys.len() - len);
            let keep = rng.random_range(0..3);
            let run = &keys[start..start + len];
            batch.extend(run.iter().skip(keep.min(start)).map(|k| ((*k).clone(), None)));
            for _ in 0..rng.random_range(0..4) {
                if !batch.is_empty() {
                    let at = rng.random_range(0..batch.len());
                    let key = batch.keys().nth(at).unwrap().clone();
                    batch.remove(&key);
                }
            }
        }
        9 | 10 if !keys.is_empty() => {
            for _ in 0..rng.random_range(1..6) {
                let key = (*keys.choose(rng).unwrap()).clone();
                let value = if rng.random_ratio(1, 4) { model.get(&key).cloned() } else { rng.random_ratio(1, 2).then(|| V::random(rng)) };
                batch.insert(key, value);
            }
        }
        11 => {
            for n in 0..rng.random_range(1..30) {
                batch.insert(MapKey::new(format!("~~{}", rng.random_range(0..1000) + n)), Some(V::random(rng)));
            }
        }
        12 => {
            for n in 0..rng.random_range(1..10) {
                batch.insert(MapKey::new(format!("!{n}")), rng.random_ratio(1, 2).then(|| V::random(rng)));
            }
        }
        _ => {
            for _ in 0..rng.random_range(20..150) {
                batch.insert(V::random_key(rng, spread), Some(V::random(rng)));
            }
        }
    }
    batch.into_iter().collect()
}

pub(super) fn apply<V: Value>(model: &mut Model<V>, batch: &Batch<V>) -> Vec<Option<V>> {
    batch
        .iter()
        .map(|(key, value)| match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        })
        .collect()
}
