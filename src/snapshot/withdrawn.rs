//! Versions that were withdrawn: they can be read, and every reader is told why they should not be used.

use super::Snapshot;
use crate::error::{Error, Result};
use crate::format::Commit;
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::retention::{RetentionState, WithdrawnRecord};
use crate::time::{Timestamp, recordable};

/// By whom, when and why a version was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Withdrawal {
    /// The version.
    pub id: SnapshotId,
    /// When it was withdrawn.
    pub time: Timestamp,
    /// By whom, if that was said.
    pub author: Option<String>,
    /// Why.
    pub reason: String,
}

impl Withdrawal {
    pub(super) fn of(record: &WithdrawnRecord) -> Self {
        let WithdrawnRecord { id, time, author, reason } = record.clone();
        Self { id, time, author, reason }
    }
}

impl Repository {
    /// Withdraws a version: whoever opens it is told why it should not be used. It stays readable, and so does everything that was made of
    /// it. [`reinstate`](Self::reinstate) takes that back. A version that was withdrawn before gets the new reason.
    ///
    /// The reason reaches readers as [`Snapshot::withdrawn`] and as a warning of the crate `tracing`. `Invalid` when it is empty, when a text
    /// is longer than 4,096 bytes, when 1,000 versions are withdrawn, or when the clock shows a time that cannot be recorded or that is far from the store's; `Conflict` when
    /// somebody else changes what is said of the version at the same time. After another error, or if the future is
    /// dropped, it is recorded or not; to call again does no harm.
    pub async fn withdraw(&self, version: &Snapshot, reason: impl Into<String>, author: Option<String>) -> Result<Withdrawal> {
        self.require_writable()?;
        let reason = reason.into();
        if reason.trim().is_empty() {
            return Err(Error::invalid("say why the version is withdrawn: everybody who opens it reads it"));
        }
        let time = recordable(self.clock().now())?;
        let record = WithdrawnRecord { id: version.id(), time, author, reason };
        let withdrawal = Withdrawal::of(&record);
        self.refs().record_withdrawn(version.id(), Some(record)).await?;
        Ok(withdrawal)
    }

    /// Takes a withdrawal back; whether there was one. Fails, and is cancelled, as [`withdraw`](Self::withdraw).
    pub async fn reinstate(&self, version: &Snapshot) -> Result<bool> {
        self.require_writable()?;
        let was_withdrawn = self.refs().retention().await?.state.withdrawn(version.id()).is_some();
        self.refs().record_withdrawn(version.id(), None).await?;
        Ok(was_withdrawn)
    }

    /// Opens a snapshot for a reader, whom it tells of a withdrawal.
    pub(crate) fn noted(&self, id: SnapshotId, commit: std::sync::Arc<Commit>, state: &RetentionState) -> Snapshot {
        let withdrawn = state.withdrawn(id).map(Withdrawal::of);
        if let Some(Withdrawal { reason, .. }) = &withdrawn {
            tracing::warn!(storage = %self.storage(), version = %id, reason, "this version was withdrawn");
        }
        Snapshot::new(self.clone(), id, commit).noting(withdrawn)
    }
}
