//! What flatc makes of `schema/*.fbs`: written by `schema/generate.sh`, never by hand.

pub(crate) mod snapshot_generated;

pub(crate) use snapshot_generated::firnline::fbs as snapshot;
