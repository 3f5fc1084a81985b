//! Checks a repository for damage, removes garbage, and counts what a snapshot or a difference consists of.

mod changes;
mod gc;
mod stats;
mod verify;

pub use changes::{ChangeCounts, DiffSummary, GroupChanges};
#[cfg(test)]
pub(crate) use gc::SimulatedGcClock;
pub use gc::{CountsByKind, GcActivity, GcHandle, GcOptions, GcPlan, GcReport, GcStatus, ObjectCounts, PlannedGc};
pub use stats::{KeyCounts, MapStats, Stats};
pub use verify::{Finding, FindingKind, Verified, VerifyScope};
