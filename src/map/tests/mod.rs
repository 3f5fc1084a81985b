//! Tests of the map over a hash map of nodes, with small targets so that small maps are deep.

mod calculator;
mod corrupt;
mod diff;
mod edit;
mod lacking;
mod loads;
mod support;
mod sweep;
mod union;
