//! How much is loaded, and how much of it at a time.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use rand::RngExt as _;

use super::support::*;
use crate::error::Result;
use crate::format::{Entry, Node, Value};
use crate::id::{HashAlgorithm, NodeId};
use crate::key::{MapKey, Prefix};
use crate::map::span::Edge;
use crate::map::{Map, NodeSource, Shape, Span};

const SHAPE: Shape = Shape { hash: HashAlgorithm::Blake3, target: 9, limit: 1 << 19 };

/// 100,000 virtual entries under `big/`, a few before and after.
fn big_map() -> (Model<Entry>, Store<Entry>, NodeId, usize) {
    let mut rng = rng(31);
    let file = file_key(&mut rng, 10);
    let keys =
        (0..100_000).map(|n| format!("big/c/{}/{}", n / 300, n % 300)).chain((0..50).flat_map(|n| [format!("a/{n}"), format!("z/{n}")]));
    let entry = |n: u64| Entry::Virtual { file: file.clone(), offset: n * 100, length: 100 };
    let model: Model<Entry> = keys.zip(0..).map(|(key, n)| (MapKey::new(key), entry(n))).collect();
    let (built, sink) = build(&model, SHAPE);
    let levels = usize::from(sink.nodes.last().unwrap().1.level()) + 1;
    assert!(levels >= 4, "{levels}");
    let store = Store::new();
    store.absorb(sink);
    (model, store, built.root, levels)
}

/// The ids of the nodes on the paths to `keys`.
fn paths(store: &Store<Entry>, root: NodeId, keys: &[&MapKey]) -> HashSet<NodeId> {
    let mut touched = HashSet::new();
    for key in keys {
        let mut id = root;
        loop {
            touched.insert(id);
            match &*store.get(id).unwrap() {
                Node::Leaf(_) => break,
                Node::Branch(branch) => id = branch.children.iter().find(|c| c.last >= **key).unwrap_or(branch.children.last().unwrap()).id,
            }
        }
    }
    touched
}

#[test]
fn edits_load_the_touched_paths_and_little_more() {
    let (model, store, root, levels) = big_map();
    let mut rng = rng(32);
    let keys: Vec<_> = model.keys().collect();
    let (mut loads, mut touched, mut stored) = (0, 0, 0);
    for _ in 0..300 {
        let len = rng.random_range(1..40);
        let mut batch = Model::new();
        for _ in 0..len {
            let key = keys[rng.random_range(0..keys.len())];
            let key = if rng.random() { key.clone() } else { MapKey::new(format!("{key}x")) };
            batch.insert(key, rng.random_ratio(2, 3).then(|| Entry::random(&mut rng)));
        }
        let batch: Batch<Entry> = batch.into_iter().collect();
        let mut sink = Taken::new();
        block(store.map(root).edit(&batch, SHAPE, &mut sink)).unwrap();
        let paths = paths(&store, root, &batch.iter().map(|(key, _)| key).collect::<Vec<_>>()).len();
        let now = store.take_loads();
        assert!(now <= 2 * paths + levels, "{now} loads for paths of {paths} nodes");
        (loads, touched, stored) = (loads + now, touched + paths, stored + sink.nodes.len());
    }
    println!("edits: {loads} loads and {stored} stores for {touched} nodes on touched paths");
    assert!(loads * 10 <= touched * 14 && stored * 10 <= touched * 14, "{loads} {stored} {touched}");
}

#[test]
fn one_edit_of_one_value_loads_one_path() {
    let (model, store, root, levels) = big_map();
    // A replaced virtual entry cuts where the old one did, so nothing is run into.
    let key = model.keys().nth(54_321).unwrap();
    let Some(Entry::Virtual { file, .. }) = model.get(key) else { panic!("all entries are virtual") };
    let batch = vec![(key.clone(), Some(Entry::Virtual { file: file.clone(), offset: 1, length: 1 }))];
    let mut sink = Taken::new();
    let edited = block(store.map(root).edit(&batch, SHAPE, &mut sink)).unwrap();
    assert_eq!((store.take_loads(), sink.nodes.len()), (levels, levels));
    store.absorb(sink);
    // And the diff loads the same path in both.
    let mut diff = block(store.map(root).diff(&store.map(edited.root))).unwrap();
    assert_eq!(block(diff.next()).unwrap().unwrap().key, *key);
    assert!(block(diff.next()).unwrap().is_none());
    assert_eq!(store.take_loads(), 2 * levels);
}

#[test]
fn reads_load_the_paths_they_need() {
    let (model, store, root, levels) = big_map();
    let map = store.map(root);
    let mut rng = rng(33);
    let keys: Vec<_> = model.keys().collect();
    for _ in 0..200 {
        let key = keys[rng.random_range(0..keys.len())];
        assert!(block(map.find(key.as_str())).unwrap().is_some());
        assert_eq!(store.take_loads(), levels);
        assert!(block(map.floor(&format!("{key}/"))).unwrap().is_some());
        assert!(store.take_loads() < 2 * levels);
        assert!(block(map.scan(range(Some(key), None)).next()).unwrap().is_some());
        assert_eq!(store.take_loads(), levels);
        // The leaf in which the range ends may hold nothing of it, and then two leaves further back are sent for.
        assert!(block(map.scan_back(range(None, Some(key))).next()).unwrap().is_some() || key.as_str() == "a/0");
        assert!(store.take_loads() <= 2 * levels);
        let some: Vec<_> =
            (0..20).map(|i| (*keys[(i * 4999 + 17) % keys.len()]).clone()).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        assert!(block(map.find_many(&some)).unwrap().iter().all(Option::is_some));
        assert_eq!(store.take_loads(), paths(&store, root, &some.iter().collect::<Vec<_>>()).len());
    }
}

#[test]
fn directories_are_passed_without_loading_them() {
    let (_, store, root, levels) = big_map();
    for back in [false, true] {
        let mut scan = if back { store.map(root).scan_back(Span::all()) } else { store.map(root).scan(Span::all()) };
        let mut listed = Vec::new();
        while let Some((key, _)) = block(scan.next()).unwrap() {
            let dir = key.as_str().split('/').next().unwrap().to_owned();
            scan.skip(&Prefix::new(&dir).unwrap());
            listed.push(dir);
        }
        assert_eq!(listed, if back { ["z", "big", "a"] } else { ["a", "big", "z"] });
        let loads = store.take_loads();
        assert!(loads <= if back { 6 } else { 3 } * levels, "{loads}");
    }
    // A seek that is far into the read-ahead of a scan under way.
    let mut scan = store.map(root).scan(Span::all());
    for _ in 0..5000 {
        block(scan.next()).unwrap();
    }
    store.take_loads();
    scan.seek(Edge::Before(MapKey::new("big/c/300/")));
    assert_eq!(block(scan.next()).unwrap().unwrap().0.as_str(), "big/c/300/0");
    assert!(store.take_loads() <= levels);
}

/// A source in which every load takes a few turns.
struct Slow<'s, V> {
    store: &'s Store<V>,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl<V: Value> NodeSource<V> for Slow<'_, V> {
    async fn load(&self, id: NodeId) -> Result<Arc<Node<V>>> {
        let now = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        let mut turns = 5;
        std::future::poll_fn(|cx| {
            turns -= 1;
            cx.waker().wake_by_ref();
            if turns == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.store.load(id).await
    }
}

#[test]
fn siblings_are_loaded_together_but_not_without_bound() {
    let (model, store, root, _) = big_map();
    let slow = Slow { store: &store, under_way: AtomicUsize::new(0), most: AtomicUsize::new(0) };
    let map: Map<'_, Entry, _> = Map::new(&slow, root);
    let some: Vec<MapKey> = model.keys().step_by(997).cloned().collect();
    let batch: Batch<Entry> = some.iter().map(|key| (key.clone(), None)).collect();
    let mut sink = Taken::new();
    let most = |what: &str, least: usize, limit: usize| {
        let most = slow.most.swap(0, Ordering::Relaxed);
        assert!((least..=limit).contains(&most), "{what}: {most} at a time");
    };
    for back in [false, true] {
        let mut scan = if back { map.scan_back(Span::all()) } else { map.scan(Span::all()) };
        let mut count = 0;
        while block(scan.next()).unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, model.len());
        most("scan", 16, 17);
    }
    block(map.find_many(&some)).unwrap();
    most("find", 16, 16);
    let edited = block(map.edit(&batch, SHAPE, &mut sink)).unwrap();
    assert!(edited.replaced.iter().all(Option::is_some));
    most("edit", 16, 17);
    store.absorb(sink);
    let mut diff = block(map.diff(&Map::new(&slow, edited.root))).unwrap();
    let mut count = 0;
    while let Some(change) = block(diff.next()).unwrap() {
        assert_eq!((change.old.is_some(), change.new), (true, None));
        count += 1;
    }
    assert_eq!(count, some.len());
    most("diff", 16, 32);
    assert_eq!(block(map.check(SHAPE)).unwrap().found, 0);
    most("check", 16, 17);
}
