//! The outcome of a commit that was not known.

use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::history::Line;
use crate::id::SnapshotId;
use crate::objects::Objects;
use crate::refs::{Move, MoveOp, Ref, RefName, RefRecord, Refs, Settled, absent, future_limit};
use crate::time::Timestamp;

/// The outcome of a commit that was not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It is in the history of its branch, or was moved away by a recorded move.
    Committed,
    /// It never happened, and cannot happen any more.
    Lost,
}

/// Whether a ref holds `id`, or held it after sequence number `since`: its tip is it or descends from it, or a newer
/// move came from it or from a descendant.
pub(super) async fn holds(refs: &Refs, objects: &Objects, record: &RefRecord, id: SnapshotId, time: Timestamp, since: u64) -> Result<bool> {
    let moves = refs.moves_back_to(record, |m| m.seq <= since).await?;
    for end in record.ends_since(&moves, since) {
        let commit = objects.commit(&end).await?;
        if (Line { objects, id: end, commit: &commit }).contains(id, time).await? {
            return Ok(true);
        }
    }
    // What a damaged record showed before its repair is not known, so its absence proves nothing.
    let repair = |m: &&Move| m.seq > since && m.op == MoveOp::Repair && time <= future_limit(m.time);
    if let Some(repair) = moves.iter().find(repair) {
        return Err(Error::corrupt(format!(
            "whether {id} was on the branch is not known: the branch's record was damaged, and was replaced at {}",
            repair.time
        )));
    }
    Ok(false)
}

impl Repository {
    /// Finds out whether a commit whose outcome was unknown happened, and makes the answer definite.
    ///
    /// If the branch does not hold the snapshot, it is replaced by itself with a higher sequence number, so that a
    /// request still on its way can never succeed. `NotFound` when the snapshot itself never arrived in the
    /// repository (then nothing can have been committed).
    ///
    /// Dropping the future cancels the call; it can be made again.
    pub async fn settle(&self, branch: &RefName, id: SnapshotId) -> Result<Settlement> {
        let name = Ref::branch(branch.clone());
        let time = self.objects().commit(&id).await?.time;
        self.require_writable()?;
        for attempt in 0..super::ATTEMPTS {
            let before = self.refs().try_read(&name).await?.ok_or_else(|| absent(&name, None))?;
            if holds(self.refs(), self.objects(), &before.record, id, time, 0).await? {
                return Ok(Settlement::Committed);
            }
            let burnt = before.record.successor();
            // A replace of a ref by itself changes only its sequence number. A higher number by another writer prevents the late
            // request as well.
            let landed = |now: RefRecord| futures::future::ready(Ok(now.seq == burnt.seq && now == burnt));
            if let Settled::Won = self.refs().replace_settled(&name, Some(&before), &burnt, landed).await? {
                return Ok(Settlement::Lost);
            }
            self.pause_after_lost_race(attempt).await;
        }
        Err(Error::unavailable(format!("{name} changes too fast to settle {id}")))
    }
}
