//! Keeping a repository healthy: telling whether everything in it is what it should be, and what it is made of.

mod arrays;
mod changes;
mod stats;
mod verify;

pub use arrays::Group;
pub use changes::{ChangeCounts, DiffSummary, GroupChanges};
pub use stats::{KeyCounts, MapStats, Stats};
pub use verify::{Finding, FindingKind, Verified, VerifyScope};
