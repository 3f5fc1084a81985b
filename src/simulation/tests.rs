//! Many worlds; the same world twice; worlds without a rule.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use super::coverage::Coverage;
use super::{Emphasis, simulate, simulate_with};
use crate::refs::collection::rules::{GcRule, without};
use crate::testing::count;

/// Runs the worlds from 0 on several threads until one is wrong.
fn simulate_many(worlds: u64) -> Coverage {
    let (next, is_wrong) = (AtomicU64::new(0), AtomicBool::new(false));
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let run = || {
        let mut coverage = Coverage::default();
        let mut wrong = Vec::new();
        while !is_wrong.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= worlds {
                break;
            }
            let ended = simulate(seed, false);
            coverage.add(&ended.coverage);
            if let Some(violation) = ended.violation {
                is_wrong.store(true, Ordering::Relaxed);
                wrong.push(violation);
            }
        }
        (coverage, wrong)
    };
    let ended: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut coverage = Coverage::default();
    for (part, wrong) in ended {
        coverage.add(&part);
        assert!(wrong.is_empty(), "run FIRN_SIMULATION_SEED={} to see it again: {wrong:#?}", wrong[0].split([' ', ',']).nth(1).unwrap());
    }
    coverage
}

#[test]
fn nothing_is_lost_in_any_world() {
    if let Ok(seed) = std::env::var("FIRN_SIMULATION_SEED") {
        let ended = simulate(seed.parse().unwrap(), true);
        assert_eq!(ended.violation, None);
        return;
    }
    let coverage = simulate_many(count("FIRN_SIMULATIONS", 400, 20_000));
    println!("{coverage}");
    // A few hundred worlds have each kind of trouble, but not each of them at each moment.
    let is_enough = coverage.worlds < 2_000 || coverage.missing().is_empty();
    assert!(is_enough, "these never happened while a commit or a collection was under way: {:?}", coverage.missing());
}

#[test]
fn a_world_can_be_run_again() {
    for seed in 0..12 {
        let (one, other) = (simulate(seed, false), simulate(seed, false));
        assert_eq!((one.trace, one.violation), (other.trace, other.violation), "seed {seed}");
    }
}

/// Rules whose absence a world shows, the emphasis with which it does soonest, and how many worlds are tried: many times as many as it took.
///
/// Those of `LateRemovals`, `CreateInEpoch`, `Lease` and `Blocks` take too long. Not to be seen: `TargetRaised`, because a ref that keeps the target keeps it for ever as long as nothing expires; `KnowRefs`, for which a
/// single read would have to take longer than a whole collection.
const NOTICED: &[(GcRule, Emphasis, u64)] = &[
    (GcRule::Raise, Emphasis::Everything, 100),
    (GcRule::MarkAgain, Emphasis::Everything, 100),
    (GcRule::ListAgain, Emphasis::Everything, 100),
    (GcRule::NeverLower, Emphasis::TakeOvers, 600),
    (GcRule::EpochAtFence, Emphasis::Everything, 100),
    (GcRule::OwnLists, Emphasis::TakeOvers, 600),
    (GcRule::Check, Emphasis::Everything, 300),
    (GcRule::WaitForEnd, Emphasis::Everything, 800),
    (GcRule::KnowFinished, Emphasis::Everything, 600),
    (GcRule::CountChunks, Emphasis::Everything, 300),
];

#[test]
fn without_a_rule_a_world_shows_the_loss() {
    // The world that all begin as is made with all rules.
    simulate(0, false);
    let next = AtomicUsize::new(0);
    let look = || {
        let mut lines = Vec::new();
        while let Some((rule, emphasis, worlds)) = NOTICED.get(next.fetch_add(1, Ordering::Relaxed)) {
            let _off = without(*rule);
            let found = (0..*worlds).find_map(|seed| Some((seed, simulate_with(seed, *emphasis, false).violation?)));
            lines.push((rule, found));
        }
        lines
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let found: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(look)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for (rule, found) in &found {
        let found = found.as_ref().unwrap_or_else(|| panic!("no world shows that {rule:?} is missing"));
        println!("{rule:?}: {:.160}", found.1);
    }
    assert_eq!(found.len(), NOTICED.len());
}

/// Looks for the worlds in which the absence of the rules that `FIRN_RULES` names is noticed first.
#[test]
#[ignore = "looks for seeds"]
fn explore_rules() {
    simulate(0, false);
    let worlds = count("FIRN_SIMULATIONS", 300, 300);
    let wanted = std::env::var("FIRN_RULES").unwrap_or_default();
    for rule in GcRule::ALL.iter().filter(|rule| wanted.is_empty() || wanted.split(',').any(|name| name == format!("{rule:?}"))) {
        let _off = without(*rule);
        for emphasis in [Emphasis::Everything, Emphasis::TakeOvers, Emphasis::Moves, Emphasis::Lateness] {
            let found = (0..worlds).find_map(|seed| Some((seed, simulate_with(seed, emphasis, false).violation?)));
            println!("{rule:?} {emphasis:?}: {found:.300?}");
        }
    }
}
