//! The only step that others can observe: one conditional replace of the branch.

use std::sync::Arc;
use std::time::Duration;

use super::prepare::Prepared;
use super::{Attempt, Failed, Pending};
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Repository;
use crate::history::Line;
use crate::id::SnapshotId;
use crate::objects::Objects;
use crate::refs::{Ref, RefName, RefRecord, Refs, Settled, require_known_epoch};
use crate::session::WriteSession;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// A commit that waited longer than this between its stamp and its publication is stamped anew.
const RESTAMP_AFTER: Duration = Duration::from_mins(1);

/// What became of a commit whose outcome was unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It is in the history of its branch, or was moved away by a recorded move.
    Committed,
    /// It never happened, and cannot happen any more.
    Lost,
}

impl WriteSession {
    pub(super) async fn publish(&mut self, prepared: Prepared) -> Result<Attempt, Failed> {
        let repository = self.base.repository().clone();
        let mut prepared = prepared;
        if repository.clock().now().since(prepared.commit.time) > RESTAMP_AFTER {
            prepared = self.restamp(prepared).await?;
        }
        let Prepared { id, commit } = prepared;
        require_known_epoch(&self.branch, &self.state.record)?;
        let mut next = self.state.record.successor();
        next.tip = Some(id);
        let expected = self.state.record.seq;
        let (refs, objects, time) = (repository.refs(), repository.objects(), commit.time);
        let landed = |now: RefRecord| async move { holds(refs, objects, &now, id, time, expected).await };
        match repository.refs().replace_settled(&self.branch, Some(&self.state), &next, landed).await {
            Ok(Settled::Won) => {
                let commit = Arc::new(commit);
                // The next session of this handle begins at this tip, and needs no request to know it.
                objects.keep_commit(id, &commit);
                Ok(Attempt::Committed(Snapshot::new(repository.clone(), id, commit)))
            }
            Ok(Settled::Lost(Some(state))) => Ok(Attempt::Moved(state)),
            Ok(Settled::Lost(None)) => Err(Error::internal("a ref that was read has never existed").into()),
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                let pending = Pending { branch: self.branch.name.clone(), id, time: commit.time, expected };
                let error = error.context(format!("whether snapshot {id} was committed to {} is not known", self.branch));
                Err(Failed { error, pending: Some(pending) })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a ref holds `id`, or held it after sequence number `since`: its tip is it or descends from it, or a newer
/// move came from it or from a descendant.
async fn holds(refs: &Refs, objects: &Objects, record: &RefRecord, id: SnapshotId, time: Timestamp, since: u64) -> Result<bool> {
    let moves = refs.moves_back_to(record, |m| m.seq <= since).await?;
    let left = moves.iter().filter(|m| m.seq > since).filter_map(|m| m.from);
    for end in record.tip.into_iter().chain(left) {
        let commit = objects.commit(&end).await?;
        if (Line { objects, id: end, commit: &commit }).contains(id, time).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Repository {
    /// Finds out what became of a commit whose outcome was unknown, and makes the answer definite.
    ///
    /// If the branch does not hold the snapshot, it is replaced by itself with a higher sequence number, so that a
    /// request still on its way can never succeed. `NotFound` when the snapshot itself never arrived in the
    /// repository (then nothing can have been committed).
    pub async fn settle(&self, branch: &RefName, id: SnapshotId) -> Result<Settlement> {
        let name = Ref::branch(branch.clone());
        let time = self.objects().commit(&id).await?.time;
        self.require_writable()?;
        for attempt in 0..super::ATTEMPTS {
            let before = self.refs().try_read(&name).await?.ok_or_else(|| Error::not_found(format!("{name} does not exist")))?;
            require_known_epoch(&name, &before.record)?;
            if holds(self.refs(), self.objects(), &before.record, id, time, 0).await? {
                return Ok(Settlement::Committed);
            }
            let burnt = before.record.successor();
            // A replace of a ref by itself leaves no trace but its number; whoever wrote a higher one has burnt it too.
            let landed = |now: RefRecord| futures::future::ready(Ok(now.seq == burnt.seq && now == burnt));
            if let Settled::Won = self.refs().replace_settled(&name, Some(&before), &burnt, landed).await? {
                return Ok(Settlement::Lost);
            }
            self.pause_after_lost_race(attempt).await;
        }
        Err(Error::unavailable(format!("{name} changes too fast to settle {id}")))
    }
}
