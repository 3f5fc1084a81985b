//! What is measured of each map: its nodes at rest, what changes rewrite, what a lookup reads.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::data::{Layout, Set};
use crate::error::{Error, Result};
use crate::format::{Entry, HistoryEntry, Node, Value};
use crate::id::{HashAlgorithm, NodeId, SnapshotId};
use crate::key::MapKey;
use crate::map::build::Builder;
use crate::map::tests::support::block;
use crate::map::{Map, NodeSink, NodeSource, Shape};

/// Nodes as they lie at rest, counting the bytes that are loaded.
#[derive(Default)]
struct AtRest {
    nodes: HashMap<NodeId, Vec<u8>>,
    loaded: AtomicU64,
}

impl AtRest {
    /// Keeps what an edit wrote; returns its cost.
    fn absorb(&mut self, written: Written) -> Cost {
        let cost = written.cost();
        self.nodes.extend(written.0);
        cost
    }
}

impl<V: Value> NodeSource<V> for AtRest {
    async fn load(&self, id: NodeId) -> Result<Arc<Node<V>>> {
        let bytes = self.nodes.get(&id).ok_or_else(|| Error::not_found(format!("node {id}")))?;
        self.loaded.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Node::decode_verified(bytes, id).map(Arc::new)
    }
}

/// What a build or an edit wrote.
#[derive(Default)]
struct Written(Vec<(NodeId, Vec<u8>)>);

impl<V: Value> NodeSink<V> for Written {
    async fn store(&mut self, id: NodeId, node: Arc<Node<V>>) -> Result<()> {
        self.0.push((id, node.encode_at_rest()));
        Ok(())
    }
}

impl Written {
    fn cost(&self) -> Cost {
        Cost { bytes: self.0.iter().map(|(_, bytes)| bytes.len() as f64).sum(), nodes: self.0.len() as f64 }
    }
}

/// Bytes and nodes, in the mean.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) bytes: f64,
    pub(super) nodes: f64,
}

fn mean(costs: impl ExactSizeIterator<Item = Cost>) -> Cost {
    let n = costs.len() as f64;
    let sum = costs.fold(Cost::default(), |sum, c| Cost { bytes: sum.bytes + c.bytes, nodes: sum.nodes + c.nodes });
    Cost { bytes: sum.bytes / n, nodes: sum.nodes / n }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.1} KB / {:.1}", self.bytes / 1e3, self.nodes))
    }
}

/// The figures of one map of one target.
pub(super) struct Row {
    set: Set,
    target: u32,
    bytes: usize,
    pub(super) nodes: usize,
    levels: usize,
    /// The largest node.
    largest: usize,
    /// A change of one entry.
    pub(super) one: Cost,
    /// A change of 1,000 entries anywhere.
    thousand: Cost,
    /// One more step in each of 20 arrays.
    append: Option<Cost>,
    /// What a lookup reads with nothing cached, in bytes.
    pub(super) lookup: f64,
}

impl Row {
    pub(super) const HEADER: &'static str = "\
| map | target | MB at rest | bytes/ref | nodes | levels | largest node, KB | 1 change, KB / nodes | 1,000 changes | append a step to 20 arrays | cold lookup, KB |
|---|---|---|---|---|---|---|---|---|---|---|";

    pub(super) fn measure(set: Set, shape: Shape) -> Self {
        let mut store = AtRest::default();
        let (root, written) = build(&set, set.steps(), shape);
        store.absorb(written);
        let bytes = store.nodes.values().map(Vec::len).sum();
        let largest = store.nodes.values().map(Vec::len).max().unwrap();
        let nodes = store.nodes.len();
        let top = block(NodeSource::<Entry>::load(&store, root)).unwrap();
        let mut random = SmallRng::seed_from_u64(1);
        let one = mean((0..200).map(|_| changes(&store, root, &set, shape, 1, &mut random)));
        let thousand = mean((0..3).map(|_| changes(&store, root, &set, shape, 1000, &mut random)));
        let lookup = lookups(&store, root, &set, 1000, &mut random);
        let append = (set.layout == Layout::TwentyArrays).then(|| appends(&mut store, root, &set, shape, 20));
        Self { set, target: shape.target, bytes, nodes, levels: usize::from(top.level()) + 1, largest, one, thousand, append, lookup }
    }
}

fn build(set: &Set, steps: u64, shape: Shape) -> (NodeId, Written) {
    let mut written = Written::default();
    let built = block(async {
        let mut builder = Builder::new(shape, &mut written);
        for (key, entry) in set.entries(steps) {
            builder.push(key, entry).await?;
        }
        builder.finish().await
    });
    (built.unwrap().root, written)
}

fn changes(store: &AtRest, root: NodeId, set: &Set, shape: Shape, count: usize, random: &mut SmallRng) -> Cost {
    let mut batch = BTreeMap::new();
    while batch.len() < count {
        let (key, entry) = set.change(random);
        batch.insert(key, Some(entry));
    }
    let batch: Vec<_> = batch.into_iter().collect();
    let mut written = Written::default();
    let edited = block(Map::<Entry, _>::new(store, root).edit(&batch, shape, &mut written)).unwrap();
    assert!(edited.replaced.iter().all(Option::is_some), "the changes replace entries that are there");
    written.cost()
}

/// One step after another; the last root is what building everything anew gives.
fn appends(store: &mut AtRest, mut root: NodeId, set: &Set, shape: Shape, count: u64) -> Cost {
    let mut costs = Vec::new();
    let mut totals = None;
    for step in set.steps()..set.steps() + count {
        let mut written = Written::default();
        let batch = set.append(step);
        let edited = block(Map::<Entry, _>::new(store, root).edit(&batch, shape, &mut written)).unwrap();
        costs.push(store.absorb(written));
        (root, totals) = (edited.root, Some(edited.totals));
    }
    assert_eq!(totals.unwrap().entries, set.refs + 200 * count, "every step adds 200 entries");
    mean(costs.into_iter())
}

fn lookups(store: &AtRest, root: NodeId, set: &Set, count: u32, random: &mut SmallRng) -> f64 {
    store.loaded.store(0, Ordering::Relaxed);
    for _ in 0..count {
        let (key, _) = set.change(random);
        let found = block(Map::<Entry, _>::new(store, root).find(key.as_str())).unwrap();
        assert!(found.is_some(), "{key} is there");
    }
    store.loaded.load(Ordering::Relaxed) as f64 / f64::from(count)
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let append = self.append.map_or_else(String::new, |cost| cost.to_string());
        write!(
            f,
            "| {} | 2^{} | {:.2} | {:.2} | {} | {} | {:.1} | {} | {} | {append} | {:.1} |",
            self.set,
            self.target,
            self.bytes as f64 / 1e6,
            self.bytes as f64 / self.set.refs as f64,
            self.nodes,
            self.levels,
            self.largest as f64 / 1e3,
            self.one,
            self.thousand,
            self.lookup / 1e3,
        )
    }
}

/// The figures of a history map that grew by one commit after another.
pub(super) struct History {
    target: u32,
    commits: u32,
    /// Bytes written for each commit, in the mean over all of them.
    pub(super) written: f64,
    /// The same over the last tenth.
    last: f64,
    /// Bytes of the nodes of the last map alone.
    bytes: usize,
    levels: usize,
    /// What a floor reads with nothing cached, in bytes.
    pub(super) floor: f64,
}

impl History {
    pub(super) const HEADER: &'static str = "\
| history of | target | KB written per commit | over the last tenth | KB of the last map | levels | cold floor, KB |
|---|---|---|---|---|---|---|";

    pub(super) fn measure(commits: u32, shape: Shape) -> Self {
        let mut store = AtRest::default();
        let mut root = block(Builder::<HistoryEntry, _>::new(shape, &mut Written::default()).finish()).unwrap().root;
        let empty = Node::Leaf(crate::format::Leaf::<HistoryEntry> { entries: Vec::new() });
        store.nodes.insert(root, empty.encode_at_rest());
        let mut costs = Vec::new();
        for n in 0..commits {
            let batch = [(time(n), Some(entry(n)))];
            let mut written = Written::default();
            root = block(Map::<HistoryEntry, _>::new(&store, root).edit(&batch, shape, &mut written)).unwrap().root;
            costs.push(store.absorb(written));
        }
        let mut whole = Written::default();
        let anew = block(async {
            let mut builder = Builder::new(shape, &mut whole);
            for n in 0..commits {
                builder.push(time(n), entry(n)).await?;
            }
            builder.finish().await
        });
        assert_eq!(anew.unwrap().root, root, "one by one and all at once give the same map");
        store.loaded.store(0, Ordering::Relaxed);
        for n in (0..commits).step_by(7) {
            let asked = MapKey::new((micros(n) + 1).to_string());
            let found = block(Map::<HistoryEntry, _>::new(&store, root).floor(asked.as_str())).unwrap();
            assert_eq!(found, Some((time(n), entry(n))));
        }
        let floor = store.loaded.load(Ordering::Relaxed) as f64 / f64::from(commits.div_ceil(7));
        let top = block(NodeSource::<HistoryEntry>::load(&store, root)).unwrap();
        let tail = costs.split_off(costs.len() - costs.len() / 10);
        let last = mean(tail.iter().copied()).bytes;
        let written = mean(costs.into_iter().chain(tail).collect::<Vec<_>>().into_iter()).bytes;
        let bytes = whole.0.iter().map(|(_, bytes)| bytes.len()).sum();
        Self { target: shape.target, commits, written, last, bytes, levels: usize::from(top.level()) + 1, floor }
    }
}

/// A commit every ten minutes or so.
fn micros(n: u32) -> u64 {
    1_700_000_000_000_000 + u64::from(n) * 613_000_007
}

fn time(n: u32) -> MapKey {
    MapKey::new(micros(n).to_string())
}

fn entry(n: u32) -> HistoryEntry {
    HistoryEntry { id: SnapshotId::of(HashAlgorithm::Sha2_256, &n.to_be_bytes()), summary: format!("append step {n} of the reanalysis") }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| {} commits | 2^{} | {:.2} | {:.2} | {:.1} | {} | {:.1} |",
            self.commits,
            self.target,
            self.written / 1e3,
            self.last / 1e3,
            self.bytes as f64 / 1e3,
            self.levels,
            self.floor / 1e3
        )
    }
}
