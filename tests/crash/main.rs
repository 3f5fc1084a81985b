//! What a crash, a lost answer, another writer or a collector of a later release can do to a repository: nothing that was
//! acknowledged is lost, nothing that was refused appears, and nobody has to repair anything.

#![cfg(test)]

mod answers;
mod branching;
mod collector;
mod faults;
mod forks;
mod outcome;
mod power;
#[path = "../support/mod.rs"]
mod support;
mod syncing;
mod world;
