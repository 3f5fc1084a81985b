//! The command line as a shell sees it: the built program, its standard streams and its exit status.

#![cfg(test)]

#[path = "../../../../tests/support/mod.rs"]
mod skipping;
mod support;
mod syncing;

mod archives;
mod branching;
mod car;
mod collection;
mod comparing;
mod copies;
mod dependencies;
mod doctor;
mod documented;
mod expiry;
mod kerchunk;
mod locating;
mod lost;
mod netcdf;
mod progress;
mod reading;
mod readme;
mod refs;
#[cfg(feature = "http")]
mod remote;
mod repair;
mod revisions;
mod trees;
mod virtualize;
mod virtuals;
#[cfg(feature = "http")]
#[expect(dead_code, reason = "a part of what it can answer is used here")]
#[path = "../../../../tests/support/web.rs"]
mod web;
mod writing;
