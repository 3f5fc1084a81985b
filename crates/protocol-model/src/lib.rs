//! A model of commits, moves of refs, their settlement, and garbage collection, which is checked exhaustively.
//!
//! The registers of the model are those of the engine, and whatever the engine decides from what it has read, it decides here by the same
//! functions (`firnline::protocol`). The order of the requests is written down again, because in the engine it is code that waits. What is
//! covered, and what is not, is told in `docs/concurrency.md`.
//!
//! There are only tests here: `cargo test -p firnline_protocol_model`.

#[cfg(test)]
mod collector;
#[cfg(test)]
mod mover;
#[cfg(test)]
mod necessary;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod settler;
#[cfg(test)]
#[path = "../../../tests/support/mod.rs"]
mod support;
#[cfg(test)]
mod whole;
#[cfg(test)]
mod world;
#[cfg(test)]
mod writer;
