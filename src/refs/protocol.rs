//! The rules of commits and of garbage collection, as functions of values alone, for the model that checks them (`crates/protocol-model`).
//!
//! Everything here calls what the engine itself calls. For tests; no promise of stability.

use super::collection::rules::{self, GcRule};
use super::collection::{self, GcPhase, GcState, ListsSince};
use super::doubt;
use super::{MoveOp, MoveTo, RefRecord};
use crate::id::{Digest, HashAlgorithm, SnapshotId};
use crate::time::Timestamp;

/// A rule of garbage collection that can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule(GcRule);

#[expect(missing_docs, reason = "each is documented where it is defined")]
impl Rule {
    pub const RAISE: Self = Self(GcRule::Raise);
    pub const MARK_AGAIN: Self = Self(GcRule::MarkAgain);
    pub const MARK_RAISED: Self = Self(GcRule::MarkRaised);
    pub const LIST_AGAIN: Self = Self(GcRule::ListAgain);
    pub const NEVER_LOWER: Self = Self(GcRule::NeverLower);
    pub const EPOCH_AT_FENCE: Self = Self(GcRule::EpochAtFence);
    pub const OWN_LISTS: Self = Self(GcRule::OwnLists);
    pub const CHECK: Self = Self(GcRule::Check);
    pub const WAIT_FOR_END: Self = Self(GcRule::WaitForEnd);
    pub const KNOW_FINISHED: Self = Self(GcRule::KnowFinished);
    pub const KNOW_REFS: Self = Self(GcRule::KnowRefs);
    pub const COUNT_CHUNKS: Self = Self(GcRule::CountChunks);
    pub const LATE_REMOVALS: Self = Self(GcRule::LateRemovals);
    pub const LEASE: Self = Self(GcRule::Lease);
    pub const CREATE_IN_EPOCH: Self = Self(GcRule::CreateInEpoch);
    pub const TARGET_RAISED: Self = Self(GcRule::TargetRaised);
    pub const OTHER_PARENTS: Self = Self(GcRule::OtherParents);
    pub const SEND_ONCE: Self = Self(GcRule::SendOnce);
}

impl Rule {
    /// Whether it holds on this thread.
    pub fn holds(self) -> bool {
        rules::holds(self.0)
    }

    /// Switches it off on this thread until what is returned is dropped.
    #[must_use]
    pub fn without(self) -> impl Drop {
        rules::without(self.0)
    }
}

/// The register of garbage collection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CollectionState(GcState);

/// How far a collection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the model knows all phases")]
pub enum Phase {
    /// None is under way.
    Idle,
    /// The refs are being raised.
    Fence,
    /// Objects are being removed.
    Sweep,
}

impl CollectionState {
    /// Nothing was ever collected.
    pub const fn absent() -> Self {
        Self(GcState::absent())
    }

    /// How often it was replaced.
    pub const fn seq(&self) -> u64 {
        self.0.seq
    }

    /// The number of the last collection that has begun.
    pub const fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// How far it has come.
    pub const fn phase(&self) -> Phase {
        match self.0.phase {
            GcPhase::Idle => Phase::Idle,
            GcPhase::Fence => Phase::Fence,
            GcPhase::Sweep => Phase::Sweep,
        }
    }

    /// The collector.
    pub fn owner(&self) -> Option<&str> {
        self.0.owner.as_deref()
    }

    /// The list of the collection under way.
    pub fn list(&self) -> Option<&str> {
        self.0.list.as_deref()
    }

    /// The lists of collections that have finished.
    pub fn finished_lists(&self) -> impl Iterator<Item = &str> {
        self.0.lists.iter().map(|list| list.id.as_str())
    }

    /// The lists that a writer looks through that knows of no collection after `known`; `None` when one was forgotten.
    pub fn lists_since(&self, known: u64) -> Option<Vec<String>> {
        match self.0.lists_since(known) {
            ListsSince::These(lists) => Some(lists),
            ListsSince::Forgotten => None,
        }
    }

    /// A collection begins.
    #[must_use]
    pub fn fenced(&self, owner: &str, list: &str) -> Self {
        Self(self.0.fenced(owner, list))
    }

    /// Removing begins.
    #[must_use]
    pub fn sweeping(&self, list: &str) -> Self {
        Self(self.0.sweeping(list))
    }

    /// Another collector goes on.
    #[must_use]
    pub fn taken_over(&self, owner: &str) -> Self {
        Self(self.0.taken_over(owner))
    }

    /// It ends and has removed nothing.
    #[must_use]
    pub fn given_up(&self) -> Self {
        Self(self.0.given_up())
    }

    /// It has finished.
    #[must_use]
    pub fn done(&self) -> Self {
        Self(self.0.done())
    }
}

/// The register of a branch or a tag. Versions are numbers here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RefRegister(RefRecord);

/// A recorded move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "the model reads all fields")]
pub struct RecordedMove {
    /// The sequence number that it wrote.
    pub seq: u64,
    /// Where the ref pointed.
    pub from: Option<u8>,
    /// Where it points.
    pub to: Option<u8>,
}

fn id(version: u8) -> SnapshotId {
    SnapshotId::from_digest(Digest::new(HashAlgorithm::Sha2_256, [version; 32]))
}

fn number(id: SnapshotId) -> u8 {
    let [first, ..] = *id.digest().as_bytes();
    first
}

impl RefRegister {
    /// The first value of a register.
    pub fn placeholder() -> Self {
        Self(RefRecord::placeholder())
    }

    /// How often it was replaced.
    pub const fn seq(&self) -> u64 {
        self.0.seq
    }

    /// The last collection that has raised it.
    pub const fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// The version it points at.
    pub fn tip(&self) -> Option<u8> {
        self.0.tip.map(number)
    }

    /// Its moves, oldest first.
    pub fn moves(&self) -> impl Iterator<Item = RecordedMove> {
        self.0.moves.iter().map(|m| RecordedMove { seq: m.seq, from: m.from.map(number), to: m.to.map(number) })
    }

    /// The same ref one write later.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self(self.0.successor())
    }

    /// The same ref with this sequence number, for a model in which they repeat.
    #[must_use]
    pub fn numbered(&self, seq: u64) -> Self {
        Self(RefRecord { seq, ..self.0.clone() })
    }

    /// What a commit makes of it.
    #[must_use]
    pub fn committed(&self, tip: u8) -> Self {
        Self(self.0.committed(id(tip)))
    }

    /// What a collection makes of it; `None` if nothing.
    #[must_use]
    pub fn raised(&self, epoch: u64) -> Option<Self> {
        self.0.raised(epoch).map(Self)
    }

    /// What a move to a version, or a deletion, makes of it. The move is recorded with it.
    #[must_use]
    pub fn moved(&self, epoch: u64, to: Option<u8>) -> Self {
        let op = if to.is_some() { MoveOp::Reset } else { MoveOp::Delete };
        let to = MoveTo { to: to.map(id), op, about: None, not_before: Timestamp::MIN };
        let (mut next, done) = self.0.moved(epoch, &to, Timestamp::MIN, 0);
        next.add_move(done);
        Self(next)
    }

    /// Whether it has shown the same ever since.
    pub fn shows_the_same(&self, earlier: &Self) -> bool {
        self.0.shows_the_same(&earlier.0)
    }

    /// Of which versions one has a commit in its history if the ref ever held it after sequence number `since`.
    pub fn ends_since(&self, since: u64) -> impl Iterator<Item = u8> {
        self.0.ends_since(&self.0.moves, since).map(number)
    }
}

/// See `refs/collection/decide.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the model knows all of them")]
pub enum LookOutcome {
    /// It publishes.
    Clear {
        /// The last collection that it knows of.
        known: u64,
    },
    /// It looks again later.
    Wait,
    /// It writes again, and publishes.
    WriteAgain {
        /// The last collection that it knows of then.
        known: u64,
    },
}

fn word(is_safe: bool) -> collection::Vouched {
    if is_safe { collection::Vouched::Safe } else { collection::Vouched::Wait }
}

/// The last collection that a session knows of.
pub fn known_at_open(state: &CollectionState, of_ref: u64) -> u64 {
    collection::known_at_open(&state.0, of_ref)
}

/// Whether a writer must look at lists.
pub fn must_look(of_ref: u64, known: u64) -> bool {
    collection::must_look(of_ref, known)
}

/// What a writer does that has looked; `others` tells whether the further parents are safe.
pub fn looked(state: &CollectionState, is_condemned: bool, others: bool) -> LookOutcome {
    match collection::looked(&state.0, is_condemned, word(others)) {
        collection::AfterLook::Clear { known } => LookOutcome::Clear { known },
        collection::AfterLook::Wait => LookOutcome::Wait,
        collection::AfterLook::WriteAgain { known } => LookOutcome::WriteAgain { known },
    }
}

/// Whether a ref may be pointed at a version that some ref keeps.
pub fn is_vouched(state: &CollectionState, by_raised: bool) -> bool {
    collection::vouched(&state.0, by_raised) == collection::Vouched::Safe
}

/// The epoch of a ref that is made.
pub fn epoch_of_created(before: u64, state: &CollectionState) -> u64 {
    collection::epoch_of_created(before, &state.0)
}

/// What is known of a replace that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SentReplace(doubt::Doubt);

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the model knows all of them")]
pub enum SentOutcome {
    /// It happened.
    Won,
    /// The register is read.
    Ask,
    /// It is sent again.
    SendAgain,
    /// It did not happen.
    Failed,
}

impl SentReplace {
    /// Nothing was sent yet.
    #[expect(clippy::new_without_default, reason = "nothing asks for a default")]
    pub const fn new() -> Self {
        Self(doubt::Doubt::new())
    }

    fn next(next: doubt::AfterAnswer) -> SentOutcome {
        match next {
            doubt::AfterAnswer::Won => SentOutcome::Won,
            doubt::AfterAnswer::Ask => SentOutcome::Ask,
            doubt::AfterAnswer::SendAgain => SentOutcome::SendAgain,
            doubt::AfterAnswer::Failed => SentOutcome::Failed,
        }
    }

    /// It was done.
    pub fn done(&mut self) -> SentOutcome {
        Self::next(self.0.answered(doubt::Answered::Done))
    }

    /// It was refused.
    pub fn refused(&mut self) -> SentOutcome {
        Self::next(self.0.answered(doubt::Answered::Refused))
    }

    /// No answer came.
    pub fn unanswered(&mut self) -> SentOutcome {
        Self::next(self.0.answered(doubt::Answered::Unanswered))
    }

    /// The register is what the replace expects.
    pub fn unchanged(&mut self) -> SentOutcome {
        Self::next(self.0.unchanged())
    }
}
