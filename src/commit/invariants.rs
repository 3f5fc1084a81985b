//! What must be true of a commit, checked right before it is published.

use crate::error::{Error, Result};
use crate::format::Commit;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

type Check = fn(next: &Commit, parent: &Snapshot) -> Result<(), String>;

/// The history map orders by time, so a child is strictly later than its parent.
fn time_runs_forward(next: &Commit, parent: &Snapshot) -> Result<(), String> {
    let before = parent.record().time;
    if next.time > before { Ok(()) } else { Err(format!("is stamped {}, its parent {before}", next.time)) }
}

/// The first parent is the tip that the replace will expect.
fn follows_the_tip(next: &Commit, parent: &Snapshot) -> Result<(), String> {
    if next.parents.first() == Some(&parent.id()) { Ok(()) } else { Err(format!("does not follow {}", parent.id())) }
}

/// What a line has ever pointed at stays known.
fn places_only_grow(next: &Commit, parent: &Snapshot) -> Result<(), String> {
    match parent.record().places.iter().find(|place| !next.places.contains(place)) {
        None => Ok(()),
        Some(place) => Err(format!("forgets the place {place}")),
    }
}

/// Names find containers by binary search, and equal sets have equal bytes.
fn containers_are_sorted(next: &Commit, _: &Snapshot) -> Result<(), String> {
    if next.containers.is_sorted_by(|a, b| a.name < b.name) { Ok(()) } else { Err("has its containers out of order".to_owned()) }
}

/// A child's history reaches back as far as its parent's, or begins with the parent.
fn horizon_is_kept(next: &Commit, parent: &Snapshot) -> Result<(), String> {
    let parent = parent.record();
    if next.since == parent.since || next.since == Some(parent.time) {
        return Ok(());
    }
    let shown = |time: Option<Timestamp>| time.map_or_else(|| "its beginning".to_owned(), |time| time.to_string());
    Err(format!("has a history back to {}, its parent back to {}", shown(next.since), shown(parent.since)))
}

/// Every id in a repository has the repository's hash.
fn hashes_are_not_mixed(next: &Commit, parent: &Snapshot) -> Result<(), String> {
    let hash = parent.repository().hash();
    let nodes = [next.manifest, next.files, next.history].map(|id| (id.digest().hash(), id.to_string()));
    let parents = next.parents.iter().map(|id| (id.digest().hash(), id.to_string()));
    match nodes.into_iter().chain(parents).find(|(other, _)| *other != hash) {
        None => Ok(()),
        Some((other, id)) => Err(format!("names {id} of hash {other} in a repository of hash {hash}")),
    }
}

const PUBLISH: &[Check] =
    &[hashes_are_not_mixed, time_runs_forward, follows_the_tip, places_only_grow, containers_are_sorted, horizon_is_kept];

/// Refuses a commit that breaks a rule: always a bug of this crate.
pub(super) fn check(next: &Commit, parent: &Snapshot) -> Result<()> {
    for rule in PUBLISH {
        rule(next, parent).map_err(|why| Error::internal(format!("a commit that {why} was about to be published")))?;
    }
    Ok(())
}
