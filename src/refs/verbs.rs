//! Making, pointing and deleting refs: every change that is not a commit, each recorded as a move.

use super::{
    Changeable, Move, MoveOp, Ref, RefRecord, RefState, Refs, Settled, TagInfo, absent, future_limit, is_lost_main, require_known_epoch,
    require_no_collection, unreadable,
};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SnapshotId;
use crate::time::{Timestamp, recordable};

/// How often a lost race is run again before the ref is called too busy.
const ATTEMPTS: u32 = 100;

/// What a move does.
#[derive(Debug, Clone)]
pub(crate) struct MoveTo {
    /// Where the ref points afterwards; `None` deletes it.
    pub(crate) to: Option<SnapshotId>,
    /// The operation that is recorded.
    pub(crate) op: MoveOp,
    /// What a tag says of itself.
    pub(crate) about: Option<TagInfo>,
    /// The move may not be earlier than this; a creation may carry the time of the snapshot that it shows.
    pub(crate) not_before: Timestamp,
}

impl Refs {
    /// Makes a ref that does not exist, also where one was deleted.
    ///
    /// In two writes, with the state of garbage collection read in between: after the first the collector's list of
    /// refs holds the name, after the second readers see it. A crash between them leaves an invisible placeholder.
    ///
    /// The record of a lost `main` is begun with a sequence number above every one that it can have had. Whether another ref was lost or
    /// never existed is not known.
    pub(crate) async fn create(&self, name: &Ref, to: MoveTo) -> Result<Move> {
        let lost = is_lost_main(name, None).then(|| RefRecord::salvaged(&[], self.latest_clock()));
        self.create_from(name, to, &lost.unwrap_or_else(RefRecord::placeholder)).await
    }

    /// Makes the first ref of a new repository.
    pub(crate) async fn create_main(&self, name: &Ref, to: MoveTo) -> Result<Move> {
        self.create_from(name, to, &RefRecord::placeholder()).await
    }

    async fn create_from(&self, name: &Ref, to: MoveTo, placeholder: &RefRecord) -> Result<Move> {
        name.name.require_unlike_an_id()?;
        self.require_unlike_others(name).await?;
        for attempt in 0..ATTEMPTS {
            let before = match self.try_read(name).await.map_err(|e| unreadable(name, e))? {
                Some(state) => state,
                None => match self.place(name, placeholder).await? {
                    Some(state) => state,
                    None => continue,
                },
            };
            if before.record.tip.is_some() {
                return Err(Error::conflict(format!("{name} exists already")));
            }
            require_no_collection(&*self.storage).await?;
            if let Some(done) = self.try_move(name, &before, &to).await? {
                return Ok(done);
            }
            self.patience.wait(attempt.min(3)).await;
        }
        Err(Error::unavailable(format!("{name} changes too fast to be created")))
    }

    /// Writes the placeholder of a ref and reads it back; `None` when the race for it must be run again.
    async fn place(&self, name: &Ref, placeholder: &RefRecord) -> Result<Option<RefState>> {
        self.replace_settled(name, None, placeholder, |_| async { Ok(false) }).await.map_err(|e| match e.kind() {
            // A placeholder is not visible to readers, so it does not matter whether it was written.
            ErrorKind::OutcomeUnknown => Error::unavailable(format!("{name} was not created: the store cannot be asked")).caused_by(e),
            _ => e,
        })?;
        self.try_read(name).await
    }

    /// Points an existing ref elsewhere, or deletes it. `check` may refuse the change, and is called again before every attempt.
    ///
    /// A ref whose record is damaged is replaced, and the move is recorded as a repair.
    pub(crate) async fn change<F: Future<Output = Result<()>> + Send>(
        &self,
        name: &Ref,
        to: MoveTo,
        check: impl Fn() -> F + Send + Sync,
    ) -> Result<Move> {
        for attempt in 0..ATTEMPTS {
            let mut to = to.clone();
            let before = match self.read_to_change(name).await? {
                Some(Changeable { state, is_damaged: true }) => {
                    to.op = MoveOp::Repair;
                    state
                }
                Some(Changeable { state, .. }) if state.record.tip.is_some() => state,
                found => return Err(absent(name, found.as_ref().map(|found| &found.state.record))),
            };
            require_no_collection(&*self.storage).await?;
            check().await?;
            if let Some(done) = self.try_move(name, &before, &to).await? {
                return Ok(done);
            }
            self.patience.wait(attempt.min(3)).await;
        }
        Err(Error::unavailable(format!("{name} changes too fast to be moved")))
    }

    /// One attempt; `None` when another writer changed the ref first.
    async fn try_move(&self, name: &Ref, before: &RefState, to: &MoveTo) -> Result<Option<Move>> {
        require_known_epoch(name, &before.record)?;
        let now = recordable(self.clock.now())?;
        // A stamp far in the future was made by a clock that was wrong. The ref must be movable away from it to the
        // present, and that changes no answer about the past: at every time until now the ref showed what came before.
        let last = self.last_event_until(&before.record, future_limit(now)).await?;
        let time = now.max(to.not_before).max(last.map_or(Timestamp::MIN, Timestamp::next));
        let mut next = before.record.successor();
        let done = Move { seq: next.seq, time, from: before.record.tip, to: to.to, op: to.op };
        next.tip = to.to;
        next.about.clone_from(&to.about);
        self.record_move(&mut next, done.clone()).await?;
        // A move is in a ref's past exactly if it is among its moves.
        let ours = &done;
        let landed = |now: RefRecord| async move {
            let moves = self.moves_back_to(&now, |m| m.seq <= ours.seq).await?;
            Ok(moves.contains(ours))
        };
        match self.replace_settled(name, Some(before), &next, landed).await? {
            Settled::Won => Ok(Some(done)),
            Settled::Lost(_) => Ok(None),
        }
    }

    /// Refuses a name that differs from an existing one only in case: some file systems take them for one.
    async fn require_unlike_others(&self, name: &Ref) -> Result<()> {
        let lower = name.name.as_str().to_ascii_lowercase();
        for other in self.names(name.kind).await? {
            if other != name.name && other.as_str().to_ascii_lowercase() == lower {
                return Err(Error::invalid(format!("{name} differs only in case from {other}, which exists or existed")));
            }
        }
        Ok(())
    }
}
