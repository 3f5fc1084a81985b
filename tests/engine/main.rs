//! What a transaction means, through the public interface.

#![cfg(test)]

mod ancestors;
mod archives;
mod blame;
mod bulk;
mod comparing;
mod conflicts;
mod copies;
mod dependencies;
mod forks;
mod forks_random;
mod forks_references;
#[path = "../support/mod.rs"]
mod limits;
mod many;
mod meanwhile;
mod merging;
mod merging_files;
mod merging_races;
mod progress;
mod publishing;
mod recorded;
mod refs;
mod repair;
mod round_trips;
mod sessions;
mod sharing;
mod stored;
mod support;
mod syncing;
mod syncing_beside;
mod syncing_expired;
mod syncing_random;
mod syncing_shallow;
mod undoing;
mod uploads;
mod virtuals;
mod waiting;
mod walk;
