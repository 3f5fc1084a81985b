//! Diffs against `BTreeMap`s, and how little they load.

use std::collections::BTreeSet;

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::support::*;
use crate::format::{Entry, HistoryEntry, Value, VirtualFile};
use crate::id::{ChunkForm, ChunkId, HashAlgorithm};
use crate::key::{MapKey, Prefix};
use crate::map::{Map, MapChange, Spans};

fn collect<V: Random>(old: &Map<'_, V, Store<V>>, new: &Map<'_, V, Store<V>>) -> Vec<MapChange<V>> {
    let mut diff = block(old.diff(new)).unwrap();
    std::iter::from_fn(|| block(diff.next()).unwrap()).collect()
}

fn model_diff<V: Value>(old: &Model<V>, new: &Model<V>) -> Vec<MapChange<V>> {
    let keys: BTreeSet<&MapKey> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .map(|key| MapChange { key: key.clone(), old: old.get(key).cloned(), new: new.get(key).cloned() })
        .filter(|change| change.old != change.new)
        .collect()
}

fn diffs<V: Random>(seed: u64, cases: usize) {
    let mut rng = rng(seed);
    let mut heights_differ = 0;
    for _ in 0..cases {
        let shape = small_shape(&mut rng);
        let spread = *[4, 60, 1000].choose(&mut rng).unwrap();
        let (len, other) = (rng.random_range(0..200), rng.random_range(0..100));
        let old = random_model::<V>(&mut rng, len, spread);
        let mut new = if rng.random_ratio(1, 8) { random_model::<V>(&mut rng, other, spread) } else { old.clone() };
        let batch = random_batch(&mut rng, &new, spread);
        apply(&mut new, &batch);
        let (a, b) = (build(&old, shape), build(&new, shape));
        heights_differ += usize::from(a.1.nodes.last().unwrap().1.level() != b.1.nodes.last().unwrap().1.level());
        let store = Store::new();
        store.absorb(a.1);
        store.absorb(b.1);
        let (a, b) = (a.0.root, b.0.root);
        assert_eq!(collect(&store.map(a), &store.map(b)), model_diff(&old, &new));
        // Each node that only one side has is loaded once. A root may turn out to be a lower node of the other map.
        let (in_a, in_b) = (store.reach(a), store.reach(b));
        let alone = in_a.keys().filter(|id| !in_b.contains_key(*id)).count() + in_b.keys().filter(|id| !in_a.contains_key(*id)).count();
        let loads = store.take_loads();
        assert!(loads <= alone + 1, "{loads} loads for {alone} nodes");
        // A part of it: what the whole says of that part.
        let mut bounds = [0, 1].map(|_| V::random_key(&mut rng, spread));
        bounds.sort();
        let [from, to] = bounds;
        let mut part = block(store.map(a).diff_in(&store.map(b), range(Some(&from), Some(&to)))).unwrap();
        let part: Vec<_> = std::iter::from_fn(|| block(part.next()).unwrap()).collect();
        let expected: Vec<_> = model_diff(&old, &new).into_iter().filter(|c| (&from..&to).contains(&&c.key)).collect();
        assert_eq!(part, expected);
        let loads = store.take_loads();
        assert!(loads <= alone + 1, "{loads} loads of a part for {alone} nodes");
    }
    assert!(heights_differ > cases / 50, "{heights_differ}");
}

#[test]
fn diffs_equal_those_of_the_models() {
    diffs::<Entry>(11, cases(10_000));
    diffs::<VirtualFile>(12, cases(5_000));
    diffs::<HistoryEntry>(13, cases(5_000));
}

#[test]
fn equal_maps_are_compared_without_loading() {
    let mut rng = rng(17);
    let shape = small_shape(&mut rng);
    let (built, sink) = build(&random_model::<Entry>(&mut rng, 300, 60), shape);
    let store = Store::new();
    store.absorb(sink);
    assert!(collect(&store.map(built.root), &store.map(built.root)).is_empty());
    assert_eq!(store.take_loads(), 0);
}

/// In some spans, with everything below a directory passed over after its first change: that change of each directory, in few loads.
#[test]
fn a_diff_passes_over_what_is_skipped() {
    let mut rng = rng(19);
    let (mut all, mut skipped) = (0, 0);
    for _ in 0..cases(500) {
        let shape = small_shape(&mut rng);
        let entry =
            |n: u32| Entry::Chunk { id: ChunkId::new(ChunkForm::Raw, HashAlgorithm::Sha2_256.digest(&n.to_le_bytes())), size: 2000 };
        let key = |array: u32, n: u32| MapKey::new(format!("a{array}/c/{n}"));
        let old: Model<Entry> = (0..12).flat_map(|a| (0..60).map(move |n| (a, n))).map(|(a, n)| (key(a, n), entry(n))).collect();
        let mut new = old.clone();
        for _ in 0..rng.random_range(1..200) {
            new.insert(key(rng.random_range(0..12), rng.random_range(0..70)), entry(1000 + rng.random_range(0..9)));
        }
        let wanted: Vec<_> = (0..12).filter(|_| rng.random_ratio(2, 3)).map(|a| format!("a{a}/")).collect();
        let (a, b) = (build(&old, shape), build(&new, shape));
        let store = Store::new();
        store.absorb(a.1);
        store.absorb(b.1);
        let (a, b) = (store.map(a.0.root), store.map(b.0.root));
        let spans = || Spans::beginnings(wanted.clone());
        let directory = |key: &MapKey| key.as_str().split_inclusive('/').next().unwrap().to_owned();
        let is_wanted = |change: &&MapChange<Entry>| wanted.contains(&directory(&change.key));
        let whole: Vec<_> = model_diff(&old, &new).iter().filter(is_wanted).cloned().collect();
        let mut diff = block(a.diff_in_all(&b, spans())).unwrap();
        let found: Vec<_> = std::iter::from_fn(|| block(diff.next()).unwrap()).collect();
        assert_eq!(found, whole);
        all += store.take_loads();
        let mut firsts = whole;
        firsts.dedup_by_key(|change| directory(&change.key));
        let mut diff = block(a.diff_in_all(&b, spans())).unwrap();
        let mut found = Vec::new();
        while let Some(change) = block(diff.next()).unwrap() {
            diff.skip(&Prefix::new(&directory(&change.key)).unwrap());
            found.push(change);
        }
        assert_eq!(found, firsts);
        skipped += store.take_loads();
    }
    assert!(skipped < all, "{skipped} loads of {all}");
}
