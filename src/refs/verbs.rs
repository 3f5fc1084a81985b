//! Making, pointing and deleting refs: every change that is not a commit, each recorded as a move.

use super::collection::{CollectionWait, GcState, Vouched, epoch_of_created};
use super::{
    Changeable, MAIN, Move, MoveOp, Ref, RefName, RefRecord, RefState, Refs, Settled, TagInfo, absent, future_limit, is_lost_main,
    unreadable,
};
use crate::ambient::random;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SnapshotId;
use crate::time::{Timestamp, recordable};

/// How often a lost race is run again before the ref is called too busy.
pub(super) const ATTEMPTS: u32 = 100;

/// By how much a move raises the sequence number of its ref, at most. Small enough that the number stays below the microseconds since 1970,
/// on which the repair of a damaged record relies, for tens of thousands of millions of moves.
const SEQ_STEPS: u64 = 1 << 16;

/// What one attempt to move a ref came to.
enum MoveTried {
    Done(Move),
    /// Another writer changed the ref first.
    Lost,
    /// Something that it needs is being removed.
    Wait,
}

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
    /// `vouch` says whether the target is safe, given that state: it looks at the refs after the state was read. It is called before every
    /// attempt.
    ///
    /// The record of a lost `main` is begun with a sequence number above every one that it can have had. Whether another ref was lost or
    /// never existed is not known.
    pub(crate) async fn create<F: Future<Output = Result<Vouched>> + Send>(
        &self,
        name: &Ref,
        to: MoveTo,
        vouch: impl Fn(GcState) -> F + Send + Sync,
    ) -> Result<Move> {
        let lost = is_lost_main(name, None).then(|| RefRecord::salvaged(&[], self.latest_clock()));
        self.create_from(name, to, &lost.unwrap_or_else(RefRecord::placeholder), vouch).await
    }

    /// Makes the first ref of a new repository, in which nothing was collected since `known`.
    pub(crate) async fn create_main(&self, name: &Ref, to: MoveTo, known: u64) -> Result<Move> {
        let vouch = |state: GcState| async move {
            // Where nothing was ever collected, nothing was since.
            if !state.is_running() && (state.epoch == known || state.seq == 0) {
                return Ok(Vouched::Safe);
            }
            Err(Error::unavailable("garbage was collected while the repository was made; try again"))
        };
        self.create_from(name, to, &RefRecord::placeholder(), vouch).await
    }

    async fn create_from<F: Future<Output = Result<Vouched>> + Send>(
        &self,
        name: &Ref,
        to: MoveTo,
        placeholder: &RefRecord,
        vouch: impl Fn(GcState) -> F + Send + Sync,
    ) -> Result<Move> {
        name.name.require_unlike_an_id()?;
        self.require_unlike_others(name).await?;
        let (mut attempt, mut waiting) = (0, CollectionWait::new());
        while attempt < ATTEMPTS {
            // A ref that is new knows of no collection, but `main` does, which every repository has.
            let (found, epoch_of_main) = futures::join!(self.try_read(name), self.epoch_of_main());
            let found = found.map_err(|e| unreadable(name, e))?;
            if found.is_none() {
                // A target that is refused leaves no placeholder behind.
                vouch(GcState::absent()).await?;
            }
            let found = if found.is_none() { self.place(name, placeholder).await? } else { found };
            let Some(before) = found else {
                attempt += 1;
                continue;
            };
            if before.record.tip.is_some() {
                return Err(Error::conflict(format!("{name} exists already")));
            }
            // The register is known to exist: from here on a collector raises it, or it is of the epoch that is read now.
            let state = self.collection_after(before.record.epoch.max(epoch_of_main)).await?.state;
            let epoch = epoch_of_created(before.record.epoch, &state);
            let tried = match vouch(state.clone()).await? {
                Vouched::Safe => self.try_move(name, &before, &to, epoch, &state).await?,
                Vouched::Wait => MoveTried::Wait,
            };
            match tried {
                MoveTried::Done(done) => return Ok(done),
                MoveTried::Wait => waiting.pause(self, &state).await?,
                MoveTried::Lost => {
                    self.patience.wait(attempt.min(3)).await;
                    attempt += 1;
                }
            }
        }
        Err(Error::unavailable(format!("{name} changes too fast to be created")))
    }

    /// The last collection of which `main` knows; 0 where it cannot be read.
    pub(crate) async fn epoch_of_main(&self) -> u64 {
        let Ok(name) = MAIN.parse() else { return 0 };
        match self.try_read(&Ref::branch(name)).await {
            Ok(Some(main)) => main.record.epoch,
            _ => 0,
        }
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

    /// Points an existing ref elsewhere, or deletes it. `check` may refuse the change, and is called again before every attempt, with the
    /// state of garbage collection; it looks at the refs after that was read.
    ///
    /// A ref whose record is damaged is replaced, and the move is recorded as a repair.
    pub(crate) async fn change<F: Future<Output = Result<Vouched>> + Send>(
        &self,
        name: &Ref,
        to: MoveTo,
        check: impl Fn(GcState) -> F + Send + Sync,
    ) -> Result<Move> {
        let (mut attempt, mut waiting) = (0, CollectionWait::new());
        while attempt < ATTEMPTS {
            let mut to = to.clone();
            let before = match self.read_to_change(name).await? {
                Some(Changeable { state, is_damaged: true }) => {
                    to.op = MoveOp::Repair;
                    state
                }
                Some(Changeable { state, .. }) if state.record.tip.is_some() => state,
                found => return Err(absent(name, found.as_ref().map(|found| &found.state.record))),
            };
            let state = self.collection_after(before.record.epoch).await?.state;
            // The epoch of a damaged record is not known, but it is none after the present one.
            let epoch = if to.op == MoveOp::Repair { before.record.epoch.max(state.epoch) } else { before.record.epoch };
            let tried = match check(state.clone()).await? {
                Vouched::Safe => self.try_move(name, &before, &to, epoch, &state).await?,
                Vouched::Wait => MoveTried::Wait,
            };
            match tried {
                MoveTried::Done(done) => return Ok(done),
                MoveTried::Wait => waiting.pause(self, &state).await?,
                MoveTried::Lost => {
                    self.patience.wait(attempt.min(3)).await;
                    attempt += 1;
                }
            }
        }
        Err(Error::unavailable(format!("{name} changes too fast to be moved")))
    }

    /// One attempt, which gives the ref the epoch `epoch`. `state` was read after `before`.
    async fn try_move(&self, name: &Ref, before: &RefState, to: &MoveTo, epoch: u64, state: &GcState) -> Result<MoveTried> {
        let now = recordable(self.clock.now())?;
        // A stamp far in the future was made by a clock that was wrong. The ref must be movable away from it to the
        // present, and that changes no answer about the past: at every time until now the ref showed what came before.
        let last = self.last_event_until(&before.record, future_limit(now)).await?;
        let time = now.max(to.not_before).max(last.map_or(Timestamp::MIN, Timestamp::next));
        // Two writers that make the same move at the same time, by clocks that are behind the last event, would write the same bytes, and
        // both take it for theirs. The number tells them apart.
        let (mut next, done) = before.record.moved(epoch, to, time, random()? % SEQ_STEPS);
        if !self.record_move(&mut next, done.clone(), state).await? {
            return Ok(MoveTried::Wait);
        }
        // A move is in a ref's past exactly if it is among its moves.
        let ours = &done;
        let landed = |now: RefRecord| async move {
            let moves = self.moves_back_to(&now, |m| m.seq <= ours.seq).await?;
            Ok(moves.contains(ours))
        };
        match self.replace_settled(name, Some(before), &next, landed).await? {
            Settled::Won => Ok(MoveTried::Done(done)),
            Settled::Lost(_) => Ok(MoveTried::Lost),
        }
    }

    /// Refuses a name that differs from an existing one only in case: some file systems take them for one.
    async fn require_unlike_others(&self, name: &Ref) -> Result<()> {
        let lower = lower_case(&name.name);
        let others = self.names(name.kind).await?;
        others.iter().filter(|other| lower_case(other) == lower).try_for_each(|other| require_unlike(name, other))
    }
}

/// What names have in common that differ only in case.
pub(crate) fn lower_case(name: &RefName) -> String {
    name.as_str().to_ascii_lowercase()
}

/// Refuses a name that differs from `other`, which is of the same kind and the same in lower case.
pub(crate) fn require_unlike(name: &Ref, other: &RefName) -> Result<()> {
    if *other == name.name {
        return Ok(());
    }
    Err(Error::invalid(format!("{name} differs only in case from {other}, which exists or existed")))
}
