//! The command line as a shell sees it: the built program, its standard streams and its exit status.

#![cfg(test)]

#[path = "../support/mod.rs"]
mod skipping;
mod support;

mod car;
mod comparing;
mod copies;
mod documented;
mod doctor;
mod locating;
mod progress;
mod reading;
mod refs;
mod revisions;
mod trees;
mod virtuals;
mod writing;
