//! Every edit yields exactly the map that building anew yields, and every way of reading agrees with a `BTreeMap`.

use std::collections::{HashMap, HashSet};

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::support::*;
use crate::error::{ErrorKind, Result};
use crate::format::{Entry, HistoryEntry, Node, Value, VirtualFile};
use crate::id::{HashAlgorithm, NodeId};
use crate::key::{MapKey, Prefix};
use crate::map::build::Built;
use crate::map::edit::{Edited, Edits};
use crate::map::span::Edge;
use crate::map::{Map, MapTotals, Shape, Span, build};

/// How often the interesting things happened.
#[derive(Default, Debug)]
struct Tally {
    cases: usize,
    deep: usize,
    splits: usize,
    merges: usize,
    collapses: usize,
    growths: usize,
    emptied: usize,
    unchanged: usize,
}

fn totals<V: Value>(model: &Model<V>) -> MapTotals {
    MapTotals { entries: model.len() as u64, bytes: model.values().map(Value::size).sum() }
}

/// Random maps, each edited a number of times.
fn edits<V: Random>(seed: u64, cases: usize) -> Tally {
    let mut rng = rng(seed);
    let mut tally = Tally::default();
    while tally.cases < cases {
        let shape = small_shape(&mut rng);
        let spread = *[4, 12, 60, 1000].choose(&mut rng).unwrap();
        let most = if rng.random_ratio(1, 40) { 2000 } else { 8 << (shape.target - 4) };
        let len = rng.random_range(0..most);
        let mut model = random_model::<V>(&mut rng, len, spread);
        let store = Store::new();
        let (built, sink) = build_twice(&model, shape);
        let mut ids: HashSet<NodeId> = sink.nodes.iter().map(|(id, _)| *id).collect();
        let mut leaves = count_leaves(&sink);
        let mut level = sink.nodes.last().unwrap().1.level();
        store.absorb(sink);
        let mut root = built.root;
        for _ in 0..16 {
            let before = model.clone();
            let batch = random_batch(&mut rng, &model, spread);
            let replaced = apply(&mut model, &batch);
            let mut sink = Taken::new();
            let edited = if rng.random() {
                block(store.map(root).edit(&batch, shape, &mut sink)).unwrap()
            } else {
                let most = rng.random_range(1..=batch.len().max(1));
                edit_in_pieces(&store.map(root), Pieces { rest: batch.clone(), most }, shape, &mut sink)
            };
            let (built, anew) = super::support::build(&model, shape);
            assert_eq!(edited.root, built.root, "shape {shape:?}\nmodel {before:?}\nbatch {batch:?}");
            assert_eq!(edited.replaced, replaced);
            assert_eq!(edited.totals, built.totals);
            // Stored: all that is new, nothing else, nothing twice, children before parents.
            let new_ids: HashSet<NodeId> = anew.nodes.iter().map(|(id, _)| *id).collect();
            let stored: HashSet<NodeId> = sink.nodes.iter().map(|(id, _)| *id).collect();
            assert_eq!(stored.len(), sink.nodes.len());
            assert_eq!(stored, new_ids.difference(&ids).copied().collect(), "shape {shape:?}\nmodel {before:?}\nbatch {batch:?}");
            assert_children_first(&sink);
            let (leaves_now, level_now) = (count_leaves(&anew), anew.nodes.last().unwrap().1.level());
            tally.cases += 1;
            tally.deep += usize::from(level.max(level_now) >= 2);
            tally.splits += usize::from(leaves_now > leaves);
            tally.merges += usize::from(leaves_now < leaves);
            tally.collapses += usize::from(level_now < level);
            tally.growths += usize::from(level_now > level);
            tally.emptied += usize::from(model.is_empty() && !before.is_empty());
            tally.unchanged += usize::from(edited.root == root);
            (ids, leaves, level, root) = (new_ids, leaves_now, level_now, edited.root);
            store.absorb(sink);
            read_a_little(&mut rng, &store.map(root), &model, spread);
        }
        read_everything(&mut rng, &store.map(root), &model, spread);
        let checked = block(store.map(root).check(shape)).unwrap();
        assert!(checked.findings.is_empty(), "{:?}", checked.findings);
        assert_eq!((checked.nodes, checked.totals), (ids.len() as u64, totals(&model)));
    }
    tally
}

/// A batch that comes in pieces of at most so many edits.
struct Pieces<V> {
    rest: Batch<V>,
    most: usize,
}

impl<V: Value> Edits<V> for Pieces<V> {
    async fn next_batch(&mut self) -> Result<Batch<V>> {
        let most = self.most.min(self.rest.len());
        Ok(self.rest.drain(..most).collect())
    }
}

/// Edits by a stream, and holds what it shows against the edits.
fn edit_in_pieces<V: Value>(map: &Map<'_, V, Store<V>>, edits: Pieces<V>, shape: Shape, sink: &mut Taken<V>) -> Edited<V> {
    let batch = edits.rest.clone();
    let mut replaced = Vec::new();
    let seen = |key: &MapKey, old: Option<&V>, new: Option<&V>| {
        assert_eq!((key, new), (&batch[replaced.len()].0, batch[replaced.len()].1.as_ref()));
        replaced.push(old.cloned());
        Ok(())
    };
    let Built { root, totals } = block(map.edit_stream(edits, seen, shape, sink)).unwrap();
    Edited { root, totals, replaced }
}

/// Builds from a stream and through the builder, which must agree.
fn build_twice<V: Random>(model: &Model<V>, shape: Shape) -> (Built, Taken<V>) {
    let (built, sink) = super::support::build(model, shape);
    assert_eq!(built.totals, totals(model));
    let entries = futures::stream::iter(model.iter().map(|(k, v)| Ok((k.clone(), v.clone()))));
    assert_eq!(block(build(entries, shape, &mut Taken::new())).unwrap(), built);
    (built, sink)
}

fn assert_children_first<V: Value>(sink: &Taken<V>) {
    let places: HashMap<NodeId, usize> = sink.nodes.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
    for (at, (_, node)) in sink.nodes.iter().enumerate() {
        if let Node::Branch(branch) = &**node {
            assert!(branch.children.iter().all(|c| places.get(&c.id).is_none_or(|child| *child < at)));
        }
    }
}

fn count_leaves<V: Value>(sink: &Taken<V>) -> usize {
    sink.nodes.iter().filter(|(_, node)| node.level() == 0).count()
}

/// A key of the map, or near one, or anywhere.
fn some_key<V: Random>(rng: &mut StdRng, model: &Model<V>, spread: u32) -> MapKey {
    if model.is_empty() || rng.random_ratio(1, 2) {
        return V::random_key(rng, spread);
    }
    let key = model.keys().nth(rng.random_range(0..model.len())).unwrap();
    if rng.random_ratio(1, 3) { MapKey::new(format!("{key}!")) } else { key.clone() }
}

fn read_a_little<V: Random>(rng: &mut StdRng, map: &Map<'_, V, Store<V>>, model: &Model<V>, spread: u32) {
    for _ in 0..2 {
        let key = some_key(rng, model, spread);
        assert_eq!(block(map.find(key.as_str())).unwrap(), model.get(&key).cloned());
        let floor = model.range(..=key.clone()).next_back().map(|(k, v)| (k.clone(), v.clone()));
        assert_eq!(block(map.floor(key.as_str())).unwrap(), floor, "floor of {key:?}");
    }
}

fn collect<V: Random>(map: &Map<'_, V, Store<V>>, part: Span, back: bool) -> Vec<(MapKey, V)> {
    let mut scan = if back { map.scan_back(part) } else { map.scan(part) };
    block(async {
        let mut all = Vec::new();
        while let Some(entry) = scan.next().await.unwrap() {
            all.push(entry);
        }
        assert_eq!(scan.next().await.unwrap(), None);
        all
    })
}

fn read_everything<V: Random>(rng: &mut StdRng, map: &Map<'_, V, Store<V>>, model: &Model<V>, spread: u32) {
    use futures::TryStreamExt as _;
    let all: Vec<_> = model.clone().into_iter().collect();
    let reversed = |mut entries: Vec<_>| {
        entries.reverse();
        entries
    };
    assert_eq!(block(map.scan(Span::all()).into_stream().try_collect::<Vec<_>>()).unwrap(), all);
    assert_eq!(collect(map, Span::all(), true), reversed(all.clone()));
    assert_eq!(block(map.totals()).unwrap(), totals(model));

    let mut keys: Vec<_> = (0..rng.random_range(0..60)).map(|_| some_key(rng, model, spread)).collect();
    keys.sort();
    let found: Vec<_> = keys.iter().map(|k| model.get(k).cloned()).collect();
    assert_eq!(block(map.find_many(&keys)).unwrap(), found);

    for _ in 0..6 {
        let (a, b) = (some_key(rng, model, spread), some_key(rng, model, spread));
        let (a, b) = if a <= b { (a, b) } else { (b, a) };
        let [from, to] = [&a, &b].map(|key| rng.random_ratio(4, 5).then_some(key));
        let is_inside = |key: &MapKey| from.is_none_or(|from| key >= from) && to.is_none_or(|to| key < to);
        let expected: Vec<_> = model.iter().filter(|(k, _)| is_inside(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(collect(map, range(from, to), false), expected, "{from:?} to {to:?}");
        assert_eq!(collect(map, range(from, to), true), reversed(expected));
        assert!(collect(map, range(Some(&b), Some(&a)), rng.random()).is_empty());
    }
    directories(rng, map, model);
    jumps(rng, map, model, spread);
}

/// A directory that some key lies in.
fn directory<V: Random>(rng: &mut StdRng, model: &Model<V>) -> Option<Prefix> {
    let dirs: Vec<_> = model.keys().filter_map(|k| k.as_str().split_once('/')).filter_map(|(dir, _)| Prefix::new(dir).ok()).collect();
    dirs.choose(rng).cloned()
}

fn directories<V: Random>(rng: &mut StdRng, map: &Map<'_, V, Store<V>>, model: &Model<V>) {
    assert_eq!(collect(map, Span::prefix(&Prefix::all()), false).len(), model.len());
    if let Some(prefix) = directory(rng, model) {
        let expected: Vec<_> = model.iter().filter(|(k, _)| prefix.contains(k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(collect(map, Span::prefix(&prefix), false), expected, "{prefix:?}");
        assert_eq!(collect(map, Span::prefix(&prefix), true).len(), expected.len());
    }
    // Listing the top directory: the first key of each, or the last when going backwards.
    for back in [false, true] {
        let mut scan = if back { map.scan_back(Span::all()) } else { map.scan(Span::all()) };
        let (mut listed, mut expected) = (Vec::new(), Vec::<MapKey>::new());
        while let Some((key, _)) = block(scan.next()).unwrap() {
            if let Some(prefix) = key.as_str().split_once('/').and_then(|(dir, _)| Prefix::new(dir).ok()) {
                scan.skip(&prefix);
            }
            listed.push(key);
        }
        let keys: Vec<_> = if back { model.keys().rev().collect() } else { model.keys().collect() };
        for key in keys {
            let dir = key.as_str().split_once('/').filter(|(dir, _)| Prefix::new(dir).is_ok());
            let is_listed = |(dir, _): (&str, &str)| expected.last().is_some_and(|last| last.as_str().starts_with(&format!("{dir}/")));
            if !dir.is_some_and(is_listed) {
                expected.push(key.clone());
            }
        }
        assert_eq!(listed, expected, "back: {back}");
    }
}

/// Seeks at random places, also to places that are behind.
fn jumps<V: Random>(rng: &mut StdRng, map: &Map<'_, V, Store<V>>, model: &Model<V>, spread: u32) {
    let back = rng.random();
    let mut scan = if back { map.scan_back(Span::all()) } else { map.scan(Span::all()) };
    let mut rest: Vec<_> = model.keys().cloned().collect();
    if back {
        rest.reverse();
    }
    let mut rest = rest.into_iter().peekable();
    for _ in 0..30 {
        if rng.random_ratio(1, 4) {
            let key = some_key(rng, model, spread);
            scan.seek(Edge::Before(key.clone()));
            while rest.next_if(|k| if back { *k >= key } else { *k < key }).is_some() {}
        }
        assert_eq!(block(scan.next()).unwrap().map(|(k, _)| k), rest.next());
    }
}

fn report(name: &str, tally: &Tally) {
    let share = 100 * tally.deep / tally.cases;
    println!("{name}: {} cases, {share} % with three levels or more; {tally:?}", tally.cases);
    assert!(tally.deep * 2 >= tally.cases, "too few deep maps: {tally:?}");
    for count in [tally.splits, tally.merges, tally.collapses, tally.growths] {
        assert!(count * 40 >= tally.cases, "{tally:?}");
    }
    assert!(tally.emptied * 300 >= tally.cases && tally.unchanged * 300 >= tally.cases, "{tally:?}");
}

#[test]
fn edits_of_manifests_equal_building_anew() {
    report("manifest", &edits::<Entry>(1, cases(60_000)));
}

#[test]
fn edits_of_files_equal_building_anew() {
    report("files", &edits::<VirtualFile>(2, cases(25_000)));
}

#[test]
fn edits_of_histories_equal_building_anew() {
    report("history", &edits::<HistoryEntry>(3, cases(25_000)));
}

#[test]
fn a_batch_or_a_stream_out_of_order_is_invalid() {
    let shape = Shape { hash: HashAlgorithm::Sha2_256, target: 6, limit: 400 };
    let mut rng = rng(4);
    let value = Entry::random(&mut rng);
    let store = Store::<Entry>::new();
    let (built, sink) = super::support::build(&random_model::<Entry>(&mut rng, 50, 60), shape);
    store.absorb(sink);
    for keys in [["b", "a"], ["a", "a"], ["a10", "a9"]] {
        let batch: Batch<Entry> = keys.map(|k| (MapKey::new(k), Some(value.clone()))).to_vec();
        let mut sink = Taken::new();
        let error = block(store.map(built.root).edit(&batch, shape, &mut sink)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{keys:?}");
        let pieces = Pieces { rest: batch, most: 1 };
        let edited = block(store.map(built.root).edit_stream(pieces, |_, _, _| Ok(()), shape, &mut sink));
        assert_eq!(edited.unwrap_err().kind(), ErrorKind::Invalid, "{keys:?}, one at a time");
        let mut sink = Taken::new();
        let entries = futures::stream::iter(keys.map(|k| Ok((MapKey::new(k), value.clone()))));
        assert_eq!(block(build(entries, shape, &mut sink)).unwrap_err().kind(), ErrorKind::Invalid, "{keys:?}");
        assert!(sink.nodes.is_empty());
    }
    assert_eq!(block(store.map(built.root).find_many(&["b", "a"].map(MapKey::new))).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn sizes_past_the_counter_are_invalid() {
    let shape = Shape::v1(HashAlgorithm::Sha2_256);
    let file = file_key(&mut rng(5), 4);
    let entry = |length| Entry::Virtual { file: file.clone(), offset: 0, length };
    let key = |k: &str| MapKey::new(k);
    let mut sink = Taken::new();
    let entries = || vec![Ok((key("a"), entry(i64::MAX.unsigned_abs()))), Ok((key("b"), entry(1)))];
    assert_eq!(block(build(futures::stream::iter(entries()), shape, &mut sink)).unwrap_err().kind(), ErrorKind::Invalid);
    let store = Store::<Entry>::new();
    let built = block(build(futures::stream::iter(entries().into_iter().take(1)), shape, &mut sink)).unwrap();
    store.absorb(sink);
    let batch = vec![(key("b"), Some(entry(1)))];
    assert_eq!(block(store.map(built.root).edit(&batch, shape, &mut Taken::new())).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(matches!(&*store.get(built.root).unwrap(), Node::Leaf(leaf) if leaf.entries.len() == 1));
}
