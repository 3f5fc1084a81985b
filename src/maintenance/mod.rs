//! Checks a repository for damage, and counts what a snapshot or a difference consists of.

mod arrays;
mod changes;
mod stats;
mod verify;

pub use arrays::Group;
pub use changes::{ChangeCounts, DiffSummary, GroupChanges};
pub use stats::{KeyCounts, MapStats, Stats};
pub use verify::{Finding, FindingKind, Verified, VerifyScope};
