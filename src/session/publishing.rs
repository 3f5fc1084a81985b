//! The state of a publication, visible outside of the future that publishes.

use std::sync::{Arc, Mutex, PoisonError};

use crate::id::SnapshotId;
use crate::refs::RefName;
use crate::time::Timestamp;

/// A commit whose outcome is not known: give it to [`Repository::settle`](crate::Repository::settle) later.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending {
    /// The branch it was sent to.
    pub branch: RefName,
    /// The snapshot it would make.
    pub id: SnapshotId,
    /// When that snapshot was stamped.
    pub time: Timestamp,
    /// The branch's sequence number on top of which it was sent.
    pub expected: u64,
}

/// How far a publication has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PublishState {
    /// No replace of the branch was sent, or the one that was sent is known to have failed. No reader sees the commit.
    #[default]
    NotSent,
    /// A replace of the branch was sent and its outcome is not known: settle it if the publication was cancelled.
    Sent(Pending),
    /// The commit is on the branch.
    Committed(SnapshotId),
}

/// Tells how far a publication has come, also after the future that publishes was dropped. Clones share the state.
///
/// Take it before the call: from a [`Prepared`](crate::Prepared), or from the session that is about to be committed. The
/// id changes when a lost race is rebased, so ask for it when it is needed.
#[derive(Debug, Clone, Default)]
pub struct PublishHandle {
    state: Arc<Mutex<PublishState>>,
}

impl PublishHandle {
    /// How far the publication has come.
    pub fn state(&self) -> PublishState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The commit that may have been published, when a replace was sent and its outcome is not known.
    pub fn pending(&self) -> Option<Pending> {
        match self.state() {
            PublishState::Sent(pending) => Some(pending),
            PublishState::NotSent | PublishState::Committed(_) => None,
        }
    }

    pub(crate) fn set(&self, state: PublishState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}
