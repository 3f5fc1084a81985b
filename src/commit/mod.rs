//! Making staged changes a snapshot of a branch.
//!
//! [`WriteSession::prepare`] writes the snapshot and everything it needs, durably, where no reader sees it.
//! [`Prepared::publish`] makes it visible by one conditional replace of the branch. A crash before the replace leaves
//! unreferenced objects, a crash after it leaves the commit; there is no third case.

mod collection;
mod counts;
mod draft;
mod failed;
mod invariants;
mod options;
mod prepare;
mod publish;
mod recorded;
mod recount;
mod saves;
mod settle;

use crate::conflict::Conflict;
use crate::snapshot::Snapshot;

pub(crate) use collection::WrittenAlone;
pub use failed::CommitError;
pub use options::{BranchMoved, CommitOptions, EmptyCommit};
pub(crate) use prepare::with_roots;
pub use publish::Prepared;
pub(crate) use recount::{Wrong, recount};
pub(crate) use saves::SavesBranch;
pub use saves::{ImportSaves, ImportSteps};
pub use settle::Settlement;

/// How often a commit that loses the race for its branch is rebased and tried again.
const ATTEMPTS: u32 = 200;

/// The result of a commit.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Committed {
    /// The new snapshot; when nothing was left to commit, the tip of the branch.
    pub snapshot: Snapshot,
    /// Whether the snapshot is new.
    pub is_new: bool,
    /// Conflicts that [`CommitOptions::on_conflict`] resolved: at most the first 10,000. Under every policy there are also the files
    /// that were to be locked or pinned anew, and of which nothing is recorded because the other side dropped the last reference.
    pub settled: Vec<Conflict>,
}
