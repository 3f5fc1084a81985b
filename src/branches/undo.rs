//! Undoing what happened to a branch last, and doing it again.
//!
//! The *events* of a branch are its moves and the plain commits between them. Undoing an event is a move of its own, back to what the
//! branch showed before. Read backwards, every undo skips one earlier event, and every redo takes one skip away: so that repeated undos go
//! further and further back, as in an editor, and redo goes the same way forward until something else happens to the branch.

use futures::TryStreamExt as _;

use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::{Move, MoveOp, Ref, RefName, RefRecord, absent};
use crate::repository::MoveTarget;

/// Something that happened to a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BranchEvent {
    /// A commit onto its tip.
    Commit(SnapshotId),
    /// A recorded move.
    Move(Move),
}

/// A step back or forth: [`Repository::undo_step`] and [`Repository::redo_step`] find it, [`Repository::take_step`] takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BranchStep {
    /// The branch.
    pub branch: RefName,
    /// [`MoveOp::Undo`] or [`MoveOp::Redo`].
    pub op: MoveOp,
    /// What is undone; of a redo, the undo that is taken back.
    pub event: BranchEvent,
    /// What the branch shows; `None`: it is deleted.
    pub from: Option<SnapshotId>,
    /// What it will show; `None`: it will be deleted.
    pub to: Option<SnapshotId>,
    /// The last move of the branch when the step was found. The branch may have been moved away and back since, which is another state of
    /// what there is to undo.
    last: Option<Move>,
}

impl Repository {
    /// Takes back what happened to `branch` last: a commit, a merge, or a recorded move, deletion included. Undone again, what happened
    /// before that. The branch then shows what it showed before, and the move is recorded.
    ///
    /// Nothing is lost: [`redo`](Self::redo) brings it back, and it stays readable by its id and at its times. `NotFound` when nothing is
    /// left to undo, `Invalid` for the creation of a branch, and `Conflict` when the branch changes meanwhile. Cancelled as
    /// [`reset`](Self::reset) is.
    pub async fn undo(&self, branch: &RefName) -> Result<Move> {
        self.take_step(&self.undo_step(branch).await?).await
    }

    /// Takes back the last [`undo`](Self::undo) of `branch` that was not taken back, unless something else happened to the branch since:
    /// `NotFound`. Otherwise fails, and is cancelled, as `undo`.
    pub async fn redo(&self, branch: &RefName) -> Result<Move> {
        self.take_step(&self.redo_step(branch).await?).await
    }

    /// What [`undo`](Self::undo) would do now. Only reads.
    pub async fn undo_step(&self, branch: &RefName) -> Result<BranchStep> {
        let (record, moves) = self.events_of(branch).await?;
        let last = moves.last().cloned();
        let step = |event, to| BranchStep { branch: branch.clone(), op: MoveOp::Undo, event, from: record.tip, to, last: last.clone() };
        // How many of the next events were undone already.
        let (mut skip, mut end) = (0_i64, record.tip);
        for done in moves.iter().rev() {
            match self.commits_between(done.to, end, skip).await? {
                Between::Found { commit, before } => return Ok(step(BranchEvent::Commit(commit), Some(before))),
                Between::Passed(passed) => skip -= passed,
            }
            match done.op {
                MoveOp::Undo => skip += 1,
                MoveOp::Redo => skip -= 1,
                _ if skip > 0 => skip -= 1,
                // A deleted branch comes back; one that never was does not go away by this.
                _ if done.from.is_some() => return Ok(step(BranchEvent::Move(done.clone()), done.from)),
                op => {
                    return Err(Error::invalid(format!(
                        "branch {branch} began with the {} at {}, which cannot be undone",
                        op.word(),
                        done.time
                    )));
                }
            }
            end = done.from;
        }
        Err(Error::not_found(format!("nothing is left to undo on branch {branch}")))
    }

    /// What [`redo`](Self::redo) would do now. Only reads.
    pub async fn redo_step(&self, branch: &RefName) -> Result<BranchStep> {
        let (record, moves) = self.events_of(branch).await?;
        let (mut skip, mut end) = (0_u64, record.tip);
        for done in moves.iter().rev().take_while(|done| matches!(done.op, MoveOp::Undo | MoveOp::Redo)) {
            if done.to != end {
                // A commit came in between.
                break;
            }
            match done.op {
                MoveOp::Redo => skip += 1,
                _ if skip > 0 => skip -= 1,
                _ => {
                    let event = BranchEvent::Move(done.clone());
                    let (from, to, last) = (record.tip, done.from, moves.last().cloned());
                    return Ok(BranchStep { branch: branch.clone(), op: MoveOp::Redo, event, from, to, last });
                }
            }
            end = done.from;
        }
        Err(Error::not_found(format!("nothing is left to redo on branch {branch}")))
    }

    /// Takes a step that was found before; `Conflict` if anything happened to the branch since, even if it shows the same again. Otherwise fails, and is cancelled, as
    /// [`reset`](Self::reset) is.
    pub async fn take_step(&self, step: &BranchStep) -> Result<Move> {
        let BranchStep { branch, op, from, to, last, .. } = step;
        let changed = || Error::conflict(format!("branch {branch} has changed meanwhile; look again what its last change is"));
        let target = match to {
            Some(id) => Some(self.read_revision(&(*id).into()).await?),
            None => None,
        };
        match (from, target) {
            (Some(from), target) => {
                let target = target.as_ref().map_or(MoveTarget::Nothing, MoveTarget::Kept);
                let is_expected = |now: &RefRecord| now.tip == Some(*from) && now.moves.last() == last.as_ref();
                self.move_branch_if(branch, &is_expected, target, *op).await?.ok_or_else(changed)
            }
            (None, Some(target)) => self.create_branch_again(branch, &target, *op, last.as_ref()).await,
            (None, None) => Err(Error::internal(format!("a step of branch {branch} that leads nowhere"))),
        }
    }

    /// The record of a branch that exists or existed, and its moves, oldest first.
    async fn events_of(&self, branch: &RefName) -> Result<(RefRecord, Vec<Move>)> {
        let name = Ref::branch(branch.clone());
        let state = self.refs().try_read(&name).await?.ok_or_else(|| absent(&name, None))?;
        let moves = self.refs().moves_back_to(&state.record, |_| false).await?;
        Ok((state.record, moves))
    }

    /// Looks at the plain commits that led from `start`, to which a move pointed the branch, to `end`: the latest of them after the first
    /// `skip`, or how many there are.
    async fn commits_between(&self, start: Option<SnapshotId>, end: Option<SnapshotId>, skip: i64) -> Result<Between> {
        let (Some(start), Some(end)) = (start, end) else { return Ok(Between::Passed(0)) };
        let (mut passed, mut newer) = (0, None);
        let end = self.read_record(&end.into()).await?;
        let mut line = std::pin::pin!(end.log());
        while let Some(entry) = line.try_next().await? {
            if let Some(commit) = newer.filter(|_| passed > skip) {
                return Ok(Between::Found { commit, before: entry.id });
            }
            if entry.id == start {
                return Ok(Between::Passed(passed));
            }
            (passed, newer) = (passed + 1, Some(entry.id));
        }
        Err(Error::corrupt(format!("snapshot {start}, to which a branch was pointed, is not before {}", end.id())))
    }
}

/// What lies between two moves of a branch.
enum Between {
    /// A commit, and the one before it.
    Found { commit: SnapshotId, before: SnapshotId },
    /// So many commits, all of them undone already.
    Passed(i64),
}
