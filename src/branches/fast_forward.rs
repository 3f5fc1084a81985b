//! Moving a branch forward to a descendant of its tip.

use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::{Move, MoveOp, Ref, RefName};
use crate::repository::MoveTarget;
use crate::snapshot::Snapshot;

impl Repository {
    /// Points `branch` at `target`, a descendant of its tip, and records the move; `None`, and nothing is done, if the branch has `target`
    /// already.
    ///
    /// No merge commit is made: the line of the branch becomes that of `target`. What the branch showed at times before the move stays as
    /// it was. `Conflict` when the tip is no ancestor of `target`, so that a merge is needed, and when the branch moves meanwhile.
    /// Otherwise fails, and is cancelled, as [`reset`](Self::reset) is.
    pub async fn fast_forward(&self, branch: &RefName, target: &Snapshot) -> Result<Option<Move>> {
        self.require_writable()?;
        let Some(tip) = self.forward_from(branch, target).await? else { return Ok(None) };
        let moved = self.move_branch_at(branch, tip, MoveTarget::Kept(target), MoveOp::FastForward).await?;
        moved.map(Some).ok_or_else(|| Error::conflict(format!("branch {branch} moved meanwhile; do it again")))
    }
    /// Whether [`fast_forward`](Self::fast_forward) would move the branch now; `false` if the branch has `target` already. `Conflict` when
    /// a merge is needed. Only reads.
    pub async fn can_fast_forward(&self, branch: &RefName, target: &Snapshot) -> Result<bool> {
        Ok(self.forward_from(branch, target).await?.is_some())
    }

    /// The tip of the branch, if `target` is a descendant of it; `None` if the branch has `target`.
    async fn forward_from(&self, branch: &RefName, target: &Snapshot) -> Result<Option<SnapshotId>> {
        let (_, tip) = self.refs().read(&Ref::branch(branch.clone())).await?;
        let ours = self.read_record(&tip.into()).await?;
        if target.is_behind(&ours).await? {
            return Ok(None);
        }
        if !ours.is_behind(target).await? {
            let id = target.id();
            return Err(Error::conflict(format!("branch {branch} has commits that snapshot {id} has not behind it; merge it instead")));
        }
        Ok(Some(tip))
    }
}
