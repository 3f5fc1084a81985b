//! One commit in place of many.

use crate::commit::CommitOptions;
use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::history::Line;
use crate::refs::{Move, MoveOp, RefName};
use crate::repository::MoveTarget;
use crate::snapshot::Snapshot;

/// The field of a commit that names the last of those in whose place it is.
const SQUASHED: &str = "squashed-from";

/// What [`Repository::squash`] did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Squashed {
    /// The new commit.
    pub snapshot: Snapshot,
    /// The move of the branch to it.
    pub moved: Move,
}

impl Repository {
    /// Makes one commit on top of `onto`, with exactly what the tip of `branch` holds, and points the branch at it: the commits after
    /// `onto` become one. The commit names the former tip in the field `squashed-from`.
    ///
    /// The former commits stay readable, by their ids and at the times at which the branch showed them, as after every recorded move;
    /// [`undo`](Self::undo) brings them back. No chunk and no node of the manifest is written.
    ///
    /// `Invalid` when `onto` is the tip, or not on the first-parent line behind it, and when the options are wrong. `Conflict` when the
    /// branch moves meanwhile; then it is as it was. Cancelled as [`reset`](Self::reset) is.
    pub async fn squash(&self, branch: &RefName, onto: &Snapshot, options: impl Into<CommitOptions>) -> Result<Squashed> {
        let mut options: CommitOptions = options.into();
        let session = self.write(branch.as_str()).await?;
        let tip = session.base().clone();
        let (id, time) = (onto.id(), onto.record().time);
        if id == tip.id() || !Line::of(&tip).contains(id, time).await? {
            return Err(Error::invalid(format!("snapshot {id} is not before the tip of branch {branch} on its first-parent line")));
        }
        options.meta.insert(SQUASHED.to_owned(), tip.id().to_string());
        let written = session.write_like_tip(onto, &options).await?;
        let moved = self.move_branch_at(branch, tip.id(), MoveTarget::Written(&written), MoveOp::Squash).await?;
        let moved = moved.ok_or_else(|| Error::conflict(format!("branch {branch} moved meanwhile; nothing was squashed")))?;
        Ok(Squashed { snapshot: written.snapshot, moved })
    }
}
