//! The engine against a model: random histories of sessions, branches, resets and time travel, compared after every
//! step with maps of maps and with what readers were seen to see.

#![cfg(test)]

mod collect;
mod files;
mod history;
mod merges;
mod oracle;
#[path = "../support/mod.rs"]
mod support;
mod zarr;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use firnline::storage::Memory;
use history::History;

/// How many histories a whole run plays.
const HISTORIES: u64 = 20_000;

#[test]
fn random_histories_match_the_model() {
    let histories = support::count("FIRN_MODEL_HISTORIES", 400, HISTORIES);
    let next = AtomicU64::new(0);
    let coverage = history::Seen::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= histories {
                        break;
                    }
                    runtime.block_on(History::play(seed, &coverage, Arc::new(Memory::new())));
                }
            });
        }
    });
    println!("{histories} histories: {coverage}");
    // A model that never meets the hard cases proves nothing.
    if histories >= HISTORIES {
        coverage.require_coverage();
    }
}
