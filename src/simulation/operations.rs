//! What processes do, what they were told became of it, and whether that is what happened.

use super::oracle::{Content, Landed, Oracle, require};
use crate::id::SnapshotId;
use crate::refs::Move;

/// The kinds of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operating {
    Commit,
    Fork,
    Merge,
    Reset,
    Undo,
    Create,
    Delete,
    Tag,
    DeleteTag,
    Settle,
    Collect,
}

/// What an operation may publish.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Staged {
    /// Nothing: it only moves a ref.
    Nothing,
    /// These values, on any tip.
    Values(Content),
    /// The changes that lead to this version.
    Version(SnapshotId),
}

/// What its process was told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// Nothing yet, or its process has ended.
    None,
    /// Committed as this version.
    Committed(SnapshotId),
    /// There was nothing to commit.
    Unchanged,
    /// The ref was moved.
    Moved(Move),
    /// An error after which it did not happen and never will.
    Refused,
    /// The outcome is not known.
    Unknown,
    /// Settling has said that it was committed.
    SettledCommitted,
}

/// An operation, and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Operated {
    pub(super) what: Operating,
    pub(super) register: String,
    pub(super) staged: Staged,
    pub(super) answer: Answer,
}

impl Operated {
    pub(super) const fn word(&self) -> &'static str {
        match self.what {
            Operating::Commit => "commit",
            Operating::Fork => "fork",
            Operating::Merge => "merge",
            Operating::Reset => "reset",
            Operating::Undo => "undo",
            Operating::Create => "create",
            Operating::Delete => "delete",
            Operating::Tag => "tag",
            Operating::DeleteTag => "delete-tag",
            Operating::Settle => "settle",
            Operating::Collect => "collect",
        }
    }
}

impl Oracle {
    pub(super) fn is_commit(&self, at: usize) -> bool {
        self.operations.get(at).is_some_and(|done| matches!(done.what, Operating::Commit | Operating::Fork | Operating::Merge))
    }

    pub(super) fn is_collection(&self, at: usize) -> bool {
        self.operations.get(at).is_some_and(|done| done.what == Operating::Collect)
    }

    /// What an operation has changed that readers can see.
    fn landings(&self, at: usize) -> Vec<&Landed> {
        self.landed.iter().filter(|landed| landed.operation == Some(at)).collect()
    }

    /// A change has landed: its operation may do that, and has not done it before.
    pub(super) fn check_landing(&self, landed: &Landed) -> Result<(), String> {
        let Some(at) = landed.operation else { return Ok(()) };
        let Some(done) = self.operations.get(at) else { return Ok(()) };
        require(self.landings(at).is_empty(), || format!("{done:?} happened twice"))?;
        require(done.register == landed.register, || format!("{done:?} changed {}", landed.register))?;
        let is_moving = done.staged == Staged::Nothing;
        require(is_moving == landed.moved.is_some(), || format!("{done:?} made {landed:?}"))?;
        require(!matches!(done.answer, Answer::Refused | Answer::Unchanged), || format!("{landed:?} landed after {done:?}"))?;
        require(!matches!(done.what, Operating::Settle | Operating::Collect), || format!("{done:?} made {landed:?}"))
    }

    /// A process is told what became of its operation: that must be what has happened until now.
    pub(super) fn answered(&mut self, at: usize, answer: Answer) {
        let happened = self.landings(at).into_iter().cloned().collect::<Vec<_>>();
        let done = &mut self.operations[at];
        done.answer = answer;
        let is_right = match (&done.answer, happened.as_slice()) {
            (Answer::None | Answer::Unknown, _) | (Answer::Unchanged | Answer::Refused, []) | (Answer::SettledCommitted, [_]) => true,
            (Answer::Committed(id), [landed]) => landed.to == Some(*id),
            (Answer::Moved(moved), [landed]) => landed.moved.as_ref() == Some(moved),
            _ => false,
        };
        if !is_right {
            let why = format!("operation {at}: {done:?}, but {happened:?} has happened");
            self.violated(why);
        }
    }
}
