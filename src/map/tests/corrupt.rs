//! Nodes that do not fit together: an error, never a panic, an endless walk or a quiet wrong answer of `check`.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::support::*;
use crate::error::{ErrorKind, Result};
use crate::format::{Branch, Entry, Leaf, Node};
use crate::id::{HashAlgorithm, NodeId};
use crate::key::MapKey;
use crate::map::{Shape, Span};

const KINDS: [ErrorKind; 3] = [ErrorKind::Corrupt, ErrorKind::NotFound, ErrorKind::Invalid];

fn allow<T>(result: Result<T>) -> Option<T> {
    result.map_err(|e| assert!(KINDS.contains(&e.kind()), "{e:?}")).ok()
}

/// A node that cannot stand where `node` stood.
fn damage(rng: &mut StdRng, node: &Node<Entry>, all: &[NodeId], root: NodeId) -> Node<Entry> {
    let mut node = node.clone();
    let level = node.level();
    match &mut node {
        Node::Leaf(leaf) => match rng.random_range(0..6) {
            0 => leaf.entries.clear(),
            1 => return Node::Branch(Branch { level: 0, children: Vec::new() }),
            2 => leaf.entries.truncate(leaf.entries.len() / 2),
            3 => leaf.entries.push((MapKey::new("\u{10ffff}"), Entry::random(rng))),
            4 => leaf.entries.extend(leaf.entries.clone()),
            _ => leaf.entries.insert(0, (MapKey::new(""), Entry::random(rng))),
        },
        Node::Branch(branch) => {
            let at = rng.random_range(0..branch.children.len());
            let child = &mut branch.children[at];
            match rng.random_range(0..12) {
                0 => branch.children.clear(),
                1 => return Node::Leaf(Leaf { entries: Vec::new() }),
                2 => branch.level = *[0, 255, level.saturating_add(1), 70].choose(rng).unwrap(),
                3 => child.entries = *[0, u64::MAX, child.entries ^ 1].choose(rng).unwrap(),
                4 => child.bytes = if child.bytes == u64::MAX { 0 } else { u64::MAX },
                5 => child.last = MapKey::new(format!("{}!", child.last)),
                6 => child.id = root,
                7 => child.id = *all.iter().filter(|id| **id != child.id).collect::<Vec<_>>().choose(rng).unwrap().to_owned(),
                8 => child.id = NodeId::of(HashAlgorithm::Sha2_256, b"nowhere"),
                9 if branch.children.len() > 1 => branch.children.reverse(),
                10 if branch.children.len() > 1 => drop(branch.children.remove(at)),
                _ => {
                    let twice = branch.children.clone();
                    branch.children.extend(twice);
                    if rng.random() {
                        branch.children.shuffle(rng);
                    }
                }
            }
        }
    }
    node
}

#[test]
fn damaged_maps_give_errors() {
    let mut rng = rng(41);
    let (mut failed, mut passed, mut wholes) = (0, 0, 0);
    let cases = cases(3_000);
    for case in 0..cases {
        let shape = small_shape(&mut rng);
        let len = rng.random_range(30..300);
        let mut model = random_model::<Entry>(&mut rng, len, 60);
        let (built, sink) = build(&model, shape);
        let ids: Vec<NodeId> = sink.nodes.iter().map(|(id, _)| *id).collect();
        if ids.len() < 3 {
            continue;
        }
        let store = Store::new();
        store.absorb(sink);
        let root = built.root;
        for _ in 0..rng.random_range(1..=2) {
            let id = if case % 4 == 0 { root } else { *ids.choose(&mut rng).unwrap() };
            let node = store.get(id).unwrap();
            if node.last_key().is_some() {
                store.insert(id, damage(&mut rng, &node, &ids, root));
            }
        }
        if ids.iter().all(|id| store.get(*id).unwrap().id(shape.hash) == *id) {
            continue; // The second damage undid the first.
        }
        let map = store.map(root);
        let mut count = |is_ok: bool| if is_ok { passed += 1 } else { failed += 1 };
        let batch = random_batch(&mut rng, &model, 60);
        count(allow(block(map.edit(&batch, shape, &mut Taken::new()))).is_some());
        for key in model.keys().step_by(7) {
            count(allow(block(map.find(key.as_str()))).is_some());
            count(allow(block(map.floor(&format!("{key}!")))).is_some());
        }
        count(allow(block(map.find_many(&model.keys().cloned().collect::<Vec<_>>()))).is_some());
        for mut scan in [map.scan(Span::all()), map.scan_back(Span::all())] {
            let mut seen = 0;
            while let Some(entry) = allow(block(scan.next())) {
                seen += 1;
                assert!(seen < 100_000);
                if entry.is_none() {
                    break;
                }
            }
        }
        apply(&mut model, &batch);
        let (other, sink) = build(&model, shape);
        // Nodes that both maps have are damaged for both: keep the damage.
        for (id, node) in sink.nodes {
            if store.get(id).is_none() {
                store.insert(id, (*node).clone());
            }
        }
        let other = store.map(other.root);
        for (a, b) in [(map, other), (other, map)] {
            if let Some(mut diff) = allow(block(a.diff(&b))) {
                let mut seen = 0;
                while let Some(Some(_)) = allow(block(diff.next())) {
                    seen += 1;
                    assert!(seen < 100_000);
                }
            }
        }
        let checked = block(map.check(shape)).unwrap();
        // A root has no parent to contradict: a damaged one may be that of another map, whole in itself.
        if checked.found == 0 {
            let mut scan = map.scan(Span::all());
            let mut entries = Model::new();
            while let Some((key, value)) = block(scan.next()).unwrap() {
                entries.insert(key, value);
            }
            assert_eq!(build(&entries, shape).0.root, store.get(root).unwrap().id(shape.hash), "case {case}, shape {shape:?}");
            wholes += 1;
        }
        assert!(checked.findings.iter().all(|e| KINDS.contains(&e.kind())));
    }
    println!("damaged maps: {failed} calls failed, {passed} did not meet the damage");
    assert!(failed > 3 * cases && passed > 3 * cases && wholes * 4 < cases, "{failed} {passed} {wholes}");
}

#[test]
fn check_finds_every_way_to_cut_differently() {
    let mut rng = rng(42);
    let (mut tried, wanted) = (0, cases(2_000));
    while tried < wanted {
        let shape = small_shape(&mut rng);
        let len = rng.random_range(5..200);
        let model = random_model::<Entry>(&mut rng, len, 60);
        let (built, sink) = build(&model, shape);
        let store = Store::new();
        store.absorb(sink);
        // The same entries cut by another rule: whole nodes, right sums, right order, another root.
        let other = Shape { target: shape.target + 1, ..shape };
        let (cut, sink) = build(&model, other);
        store.absorb(sink);
        if cut.root == built.root {
            continue;
        }
        tried += 1;
        assert!(block(store.map(cut.root).check(shape)).unwrap().found > 0);
        assert_eq!(block(store.map(cut.root).check(other)).unwrap().found, 0);
    }
}

#[test]
fn a_root_above_a_single_child_is_found() {
    let mut rng = rng(43);
    let shape = Shape { hash: HashAlgorithm::Sha2_256, target: 7, limit: 1 << 19 };
    let (built, sink) = build(&random_model::<Entry>(&mut rng, 100, 60), shape);
    let (_, top) = sink.nodes.last().unwrap().clone();
    let child = crate::format::NodeChild {
        last: top.last_key().unwrap().clone(),
        id: built.root,
        entries: built.totals.entries,
        bytes: built.totals.bytes,
    };
    let above = Node::<Entry>::Branch(Branch { level: top.level() + 1, children: vec![child] });
    let id = above.id(shape.hash);
    let store = Store::new();
    store.absorb(sink);
    store.insert(id, above);
    let checked = block(store.map(id).check(shape)).unwrap();
    assert_eq!((checked.found, checked.findings[0].kind()), (1, ErrorKind::Corrupt));
    assert!(checked.findings[0].to_string().contains(&id.to_string()));
}

/// A value's own arithmetic is checked where it is summed.
#[test]
fn sums_past_the_counter_are_corrupt() {
    let entry = |n: u64| Entry::Virtual { file: file_key(&mut rng(44), 3), offset: 0, length: n };
    let entries = vec![(MapKey::new("a"), entry(u64::MAX)), (MapKey::new("b"), entry(1))];
    let node = Node::Leaf(Leaf { entries });
    let id = node.id(HashAlgorithm::Sha2_256);
    let store = Store::new();
    store.insert(id, node);
    let shape = Shape::v1(HashAlgorithm::Sha2_256);
    assert_eq!(block(store.map(id).totals()).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(block(store.map(id).edit(&[], shape, &mut Taken::new())).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(block(store.map(id).check(shape)).unwrap().found, 1);
    assert_eq!(entry(7).size(), 7);
}
