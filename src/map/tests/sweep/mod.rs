//! What each node size costs: the figures behind the target of the cut rule.
//!
//! Bytes and nodes are exact, the same on every machine and in every profile; nothing here is timed.

#![expect(clippy::cast_precision_loss, reason = "figures are for people")]

mod data;
mod figures;

use crate::id::HashAlgorithm;
use crate::map::Shape;
use data::{Kind, Layout, Set};
use figures::{History, Row};

const TARGETS: [u32; 4] = [12, 13, 14, 15];

fn shape(target: u32) -> Shape {
    Shape { target, ..Shape::v1(HashAlgorithm::Sha2_256) }
}

fn sets(refs: u64, kinds: &[Kind]) -> Vec<Set> {
    let layouts = [Layout::OneArray, Layout::TwentyArrays];
    kinds.iter().flat_map(|kind| layouts.map(|layout| Set { kind: *kind, layout, refs })).collect()
}

#[test]
#[ignore = "takes minutes; prints the tables of the decision on node sizes"]
fn node_size_sweep() {
    let few: Option<u64> = std::env::var("FIRN_SWEEP_REFS").ok().and_then(|n| n.parse().ok());
    let mut all = sets(few.unwrap_or(1_000_000), &Kind::ALL);
    if few.is_none() {
        all.extend(sets(10_000_000, &[Kind::Native, Kind::Random]));
    }
    println!("{}", Row::HEADER);
    for set in all {
        for target in TARGETS {
            println!("{}", Row::measure(set, shape(target)));
        }
    }
    println!("\n{}", History::HEADER);
    for target in [10, 11, 12, 13, 14, 15] {
        println!("{}", History::measure(if few.is_some() { 1000 } else { 10_000 }, shape(target)));
    }
}

/// The sweep in small, so that its figures can be trusted when it is run.
#[test]
fn larger_nodes_are_fewer_and_cost_more_to_change() {
    for set in sets(40_000, &[Kind::Native, Kind::Random]) {
        let small = Row::measure(set, shape(10));
        let large = Row::measure(set, shape(13));
        assert!(large.nodes < small.nodes, "{set}: {} nodes, {} with the small target", large.nodes, small.nodes);
        assert!(large.one.bytes > small.one.bytes, "{set}: a change of one entry");
        assert!(large.lookup > small.lookup, "{set}: a cold lookup");
    }
    let (small, large) = (History::measure(1000, shape(10)), History::measure(1000, shape(13)));
    assert!(large.written > small.written && large.floor > small.floor);
}
