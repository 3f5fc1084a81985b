//! The nodes that others have not, against sets of the nodes of random maps, and how little is loaded for them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::support::*;
use crate::format::{Entry, Node};
use crate::id::NodeId;
use crate::map::load::CONCURRENT;
use crate::map::{Lacked, Lacking};

/// The new nodes in their order, and the ids of the old leaves.
fn lacking(store: &Arc<Store<Entry>>, root: NodeId, others: &[NodeId], gives_old: bool) -> (Vec<NodeId>, HashSet<NodeId>) {
    block(async {
        let mut found = Lacking::<Entry, _>::open(Arc::clone(store), root, others, gives_old).await.unwrap();
        let (mut new, mut old) = (Vec::new(), HashSet::new());
        while let Some(node) = found.next().await.unwrap() {
            match node {
                Lacked::New(id, node) => {
                    assert_eq!(node.id(root.digest().hash()), id);
                    new.push(id);
                }
                Lacked::Old(node) => {
                    assert!(matches!(&*node, Node::Leaf(_)));
                    assert!(!new.iter().any(|id| matches!(&*store.get(*id).unwrap(), Node::Leaf(_))), "old leaves come before new ones");
                    old.insert(node.id(root.digest().hash()));
                }
            }
        }
        (new, old)
    })
}

#[test]
fn what_is_lacking_is_the_difference_of_the_sets_of_nodes() {
    let mut rng = rng(91);
    let (mut small, mut many) = (0, 0);
    for _ in 0..cases(3_000) {
        let shape = small_shape(&mut rng);
        let store = Arc::new(Store::new());
        let len = rng.random_range(0..200);
        let mut model = random_model::<Entry>(&mut rng, len, 1000);
        let mut roots: Vec<NodeId> = Vec::new();
        for _ in 0..rng.random_range(1..6) {
            let batch = random_batch(&mut rng, &model, 1000);
            let keep = rng.random_range(1..=batch.len().max(1));
            apply(&mut model, &batch.into_iter().take(keep).collect());
            let (built, sink) = build(&model, shape);
            store.absorb(sink);
            roots.push(built.root);
        }
        let root = *roots.choose(&mut rng).unwrap();
        let others: Vec<NodeId> = roots.iter().copied().filter(|_| rng.random_bool(0.4)).collect();
        let reach: HashMap<NodeId, u8> = store.reach(root);
        let theirs: HashMap<NodeId, u8> = others.iter().flat_map(|other| store.reach(*other)).collect();
        let expected: HashSet<NodeId> = reach.keys().copied().filter(|id| !theirs.contains_key(id)).collect();
        store.take_loads();
        let (new, old) = lacking(&store, root, &others, true);
        let loads = store.take_loads();
        assert_eq!(new.len(), expected.len(), "each once");
        assert_eq!(new.iter().copied().collect::<HashSet<_>>(), expected);
        assert!(new.is_sorted_by_key(|id| u8::MAX - reach[id]) || others.is_empty(), "parents come before children");
        // Of several others, one may have a leaf under another parent than the map and the rest.
        assert!(old.iter().all(|id| theirs.contains_key(id) && (others.len() > 1 || !reach.contains_key(id))));
        // Values of new leaves that the others have under the same key are in the old leaves.
        if !others.is_empty() {
            let differ = theirs.keys().filter(|id| !reach.contains_key(*id)).count();
            let most = if others.len() > 1 { theirs.len() } else { differ };
            assert!(loads <= expected.len() + most + others.len() + 1, "{loads}");
            small += usize::from(loads < reach.len());
            many += usize::from(others.len() > 1);
        }
        let (again, none) = lacking(&store, root, &others, false);
        assert_eq!((again, none), (new, HashSet::new()));
    }
    assert!(small > cases(3_000) / 10 && many > cases(3_000) / 10, "{small} {many}");
}

/// A version that changes most leaves of a large map does not bring all of the old ones into memory.
#[test]
fn old_leaves_are_read_as_they_are_taken() {
    let mut rng = rng(92);
    let shape = small_shape(&mut rng);
    let store = Arc::new(Store::new());
    let mut made = || {
        let (built, sink) = build(&random_model::<Entry>(&mut rng, 5_000, 100_000), shape);
        store.absorb(sink);
        built.root
    };
    let (root, other) = (made(), made());
    let levels = store.reach(root).into_values().chain(store.reach(other).into_values());
    let (leaves, branches): (Vec<u8>, Vec<u8>) = levels.partition(|level| *level == 0);
    assert!(leaves.len() > 20 * CONCURRENT, "{}", leaves.len());
    block(async {
        store.take_loads();
        let mut found = Lacking::<Entry, _>::open(Arc::clone(&store), root, &[other], true).await.unwrap();
        while !matches!(found.next().await.unwrap().unwrap(), Lacked::Old(_)) {}
        let loads = store.take_loads();
        assert!(loads <= branches.len() + CONCURRENT, "{loads} of {}", leaves.len() + branches.len());
    });
}
