//! The command line as a shell sees it: the built program, its standard streams and its exit status.

#![cfg(test)]

mod support;

mod car;
mod doctor;
mod locating;
mod reading;
mod refs;
mod revisions;
mod trees;
mod virtuals;
mod writing;
