//! Checks a repository for damage, gives up the data of old versions, removes garbage, and counts what a snapshot or a difference consists of.

mod changes;
mod expire;
mod gc;
mod stats;
mod verify;

pub use changes::{ChangeCounts, DiffSummary, GroupChanges};
pub use expire::{ExpireOptions, ExpirePlan, ExpireReason, ExpiredVersions, ExpiringVersion, KeepFor, KeptVersion};
#[cfg(test)]
pub(crate) use gc::SimulatedGcClock;
pub use gc::{CountsByKind, GcActivity, GcHandle, GcOptions, GcPlan, GcRepaired, GcReport, GcStatus, ObjectCounts, PlannedGc, StoredUsage};
pub use stats::{KeyCounts, MapStats, Stats};
pub use verify::{Finding, FindingKind, Verified, VerifyScope};
