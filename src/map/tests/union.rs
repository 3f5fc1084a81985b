//! The union of many versions of a map, against lists of maps, and how little it loads.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::TryStreamExt as _;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::support::*;
use crate::format::{Node, VirtualFile};
use crate::id::NodeId;
use crate::key::MapKey;
use crate::map::{Spans, Union};

/// For every key: the values, each with the numbers of the maps that have it.
type Told = BTreeMap<MapKey, BTreeMap<String, BTreeSet<usize>>>;

fn told(store: &Arc<Store<VirtualFile>>, roots: &[NodeId], spans: Spans) -> Told {
    let found: Vec<_> = block(async {
        let union = Union::open(Arc::clone(store), roots.iter().copied(), spans, Box::new(|_, _| true)).await.unwrap();
        union.into_stream().try_collect().await.unwrap()
    });
    assert!(found.is_sorted_by(|(a, _), (b, _)| a < b), "keys come in order, each once");
    let values = |values: Vec<(VirtualFile, crate::map::MapNumbers)>| {
        let each = values.into_iter().map(|(value, numbers)| {
            let ranges = numbers.ranges();
            assert!(ranges.is_sorted_by(|a, b| a.end < b.start) && !ranges.is_empty(), "{ranges:?}");
            (format!("{value:?}"), ranges.iter().cloned().flatten().collect())
        });
        each.collect()
    };
    found.into_iter().map(|(key, list)| (key, values(list))).collect()
}

fn expected(models: &[Model<VirtualFile>], is_wanted: impl Fn(&MapKey) -> bool) -> Told {
    let mut all = Told::new();
    for (number, model) in models.iter().enumerate() {
        for (key, value) in model.iter().filter(|(key, _)| is_wanted(key)) {
            all.entry(key.clone()).or_default().entry(format!("{value:?}")).or_default().insert(number);
        }
    }
    all
}

#[test]
fn unions_equal_those_of_the_models_and_load_every_node_once() {
    let mut rng = rng(71);
    let mut shared = 0;
    for _ in 0..cases(3_000) {
        let shape = small_shape(&mut rng);
        let spread = *[4, 60, 1000].choose(&mut rng).unwrap();
        let store = Arc::new(Store::new());
        let len = rng.random_range(0..150);
        let mut model = random_model::<VirtualFile>(&mut rng, len, spread);
        let (mut models, mut roots): (Vec<Model<VirtualFile>>, Vec<NodeId>) = (Vec::new(), Vec::new());
        for _ in 0..rng.random_range(0..10) {
            match rng.random_range(0..6) {
                // An older version again, as after a reset.
                0 if !models.is_empty() => model = models.choose(&mut rng).unwrap().clone(),
                1 => {}
                _ => {
                    let batch = random_batch(&mut rng, &model, spread);
                    apply(&mut model, &batch);
                }
            }
            let (built, sink) = build(&model, shape);
            store.absorb(sink);
            models.push(model.clone());
            roots.push(built.root);
        }
        assert_eq!(told(&store, &roots, Spans::all()), expected(&models, |_| true));
        let nodes: HashMap<NodeId, u8> = roots.iter().flat_map(|root| store.reach(*root)).collect();
        // A leaf that is the whole of one map and a part of another is loaded for both.
        let tops: HashSet<_> = roots.iter().filter(|root| nodes[*root] == 0).collect();
        let inner = |id: &NodeId| match &*store.get(*id).unwrap() {
            Node::Branch(branch) => branch.children.iter().map(|child| child.id).collect(),
            Node::Leaf(_) => Vec::new(),
        };
        let children: HashSet<NodeId> = nodes.keys().flat_map(inner).collect();
        let twice = tops.into_iter().filter(|root| children.contains(*root)).count();
        let loads = store.take_loads();
        assert_eq!(loads, nodes.len() + twice);
        shared += usize::from(nodes.len() < roots.iter().map(|root| store.reach(*root).len()).sum());
        // Parts of the maps: what the whole says of them.
        let some = models.iter().flat_map(Model::keys).map(|key| key.as_str().to_owned()).collect::<Vec<_>>();
        let texts: Vec<String> = (0..rng.random_range(0..4))
            .filter_map(|_| {
                let key = some.choose(&mut rng)?;
                Some(key.chars().take(rng.random_range(0..=key.chars().count())).collect())
            })
            .collect();
        let found = told(&store, &roots, Spans::beginnings(texts.clone()));
        let begins = |key: &MapKey, trim: bool| {
            texts.iter().any(|text| {
                let text = if trim { text.trim_end_matches(|c: char| c.is_ascii_digit()) } else { text };
                key.as_str().starts_with(text)
            })
        };
        assert_eq!(found, expected(&models, |key| begins(key, true)), "{texts:?}");
        assert!(expected(&models, |key| begins(key, false)).keys().all(|key| found.contains_key(key)));
        assert!(store.take_loads() <= nodes.len() + twice);
    }
    assert!(shared > cases(3_000) / 3, "{shared}: versions share nodes");
}

#[test]
fn a_node_that_is_gone_is_an_error() {
    let mut rng = rng(72);
    let model = random_model::<VirtualFile>(&mut rng, 100, 1000);
    let (built, sink) = build(&model, small_shape(&mut rng));
    let store = Arc::new(Store::<VirtualFile>::new());
    let gone = sink.nodes[0].0;
    assert_ne!(gone, built.root);
    for (id, node) in sink.nodes.iter().skip(1) {
        store.insert(*id, (**node).clone());
    }
    let outcome = block(async {
        let union = Union::open(store, [built.root], Spans::all(), Box::new(|_, _| true)).await?;
        union.into_stream().try_collect::<Vec<_>>().await
    });
    assert!(outcome.unwrap_err().to_string().contains(&gone.to_string()));
}
