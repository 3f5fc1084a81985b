//! The stores under the conformance tests of zarrs, and what they promise beyond these.

#![cfg(test)]

mod conformance;
mod failures;
mod keys;
mod requests;
mod sessions;
mod support;
