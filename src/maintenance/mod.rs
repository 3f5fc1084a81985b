//! Keeping a repository healthy: telling whether everything in it is what it should be.

mod verify;

pub use verify::{Finding, FindingKind, Verified, VerifyScope};
