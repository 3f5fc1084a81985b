//! Checks a repository for damage, and counts what a snapshot or a difference consists of.

mod changes;
mod stats;
mod verify;

pub use changes::{ChangeCounts, DiffSummary, GroupChanges};
pub use stats::{KeyCounts, MapStats, Stats};
pub use verify::{Finding, FindingKind, Verified, VerifyScope};
