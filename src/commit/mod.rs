//! Making staged changes a snapshot of a branch.
//!
//! *Prepare* makes everything durable and visible to nobody; *publish* is one conditional replace of the branch. A
//! crash before it leaves garbage, a crash after it leaves the commit, and there is no third case.

mod counts;
mod draft;
mod invariants;
mod prepare;
mod publish;
mod recount;

use std::collections::BTreeMap;
use std::fmt;

use crate::conflict::{self, Conflict, Conflicts, OnConflict, Rebased};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SnapshotId;
use crate::refs::RefName;
use crate::session::WriteSession;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

pub(crate) use prepare::with_roots;
pub use publish::Settlement;
pub(crate) use recount::{Wrong, recount};

/// How often a commit that loses the race for its branch is rebased and tried again.
const ATTEMPTS: u32 = 200;

/// What a commit says of itself. A plain string is a message.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CommitOptions {
    /// What was done, for people; the first 72 bytes of its first line are the summary in the log.
    pub message: String,
    /// Who did it. Default: nobody is named.
    pub author: Option<String>,
    /// Anything else, by name. Default: nothing.
    pub meta: BTreeMap<String, String>,
    /// What becomes of a commit that changes nothing. Default: none is made.
    pub empty: EmptyCommit,
    /// What happens when another writer changed the same. Default: the commit fails.
    pub on_conflict: OnConflict,
}

/// What becomes of a commit that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EmptyCommit {
    /// None is made, and the tip is returned.
    #[default]
    Skip,
    /// It is made all the same, as a marker.
    Make,
}

impl<T: Into<String>> From<T> for CommitOptions {
    fn from(message: T) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

impl CommitOptions {
    /// Names the author.
    #[must_use]
    pub fn author(mut self, author: impl Into<String>) -> Self {
        self.author = Some(author.into());
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn meta(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(name.into(), value.into());
        self
    }

    /// Makes a commit even if it changes nothing.
    #[must_use]
    pub fn allow_empty(mut self) -> Self {
        self.empty = EmptyCommit::Make;
        self
    }

    /// Settles conflicts over keys and arrays in favour of one side.
    #[must_use]
    pub fn on_conflict(mut self, policy: OnConflict) -> Self {
        self.on_conflict = policy;
        self
    }
}

/// What a commit came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Committed {
    /// The tip of the branch: the new snapshot, or the one that was there when nothing was left to commit.
    pub snapshot: Snapshot,
    /// Whether the snapshot is new.
    pub is_new: bool,
    /// What both sides changed and [`CommitOptions::on_conflict`] settled: at most the first 10,000.
    pub settled: Vec<Conflict>,
}

/// A commit that did not happen, or of which it is not known whether it did. The session is in it, with everything
/// that was staged.
pub struct CommitError {
    error: Error,
    session: Box<WriteSession>,
    pending: Option<Pending>,
    conflicts: Vec<Conflict>,
}

/// A commit whose outcome could not be learnt: give it to [`Repository::settle`](crate::Repository::settle) later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The branch it was sent to.
    pub branch: RefName,
    /// The snapshot it would make.
    pub id: SnapshotId,
    /// When that snapshot was stamped.
    pub time: Timestamp,
    /// The branch's sequence number on top of which it was sent.
    pub expected: u64,
}

impl CommitError {
    pub(crate) fn new(error: Error, session: WriteSession) -> Box<Self> {
        Box::new(Self { error, session: Box::new(session), pending: None, conflicts: Vec::new() })
    }

    /// What went wrong.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    /// The session, staged work intact: it can be committed again, or changed first.
    pub fn into_session(self) -> WriteSession {
        *self.session
    }

    /// The commit that may have happened, when the kind is `OutcomeUnknown`.
    pub fn pending(&self) -> Option<&Pending> {
        self.pending.as_ref()
    }

    /// What was changed on both sides, when the kind is `Conflict`, by kind and name: at most the first 10,000.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }
}

impl From<Box<CommitError>> for Error {
    fn from(failed: Box<CommitError>) -> Self {
        failed.error
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl fmt::Debug for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl std::error::Error for CommitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.error)
    }
}

/// What one attempt came to.
#[expect(clippy::large_enum_variant, reason = "one for each attempt, and none is kept")]
enum Attempt {
    Committed(Snapshot),
    Unchanged,
    /// Another writer was first.
    Moved(crate::refs::RefState),
}

/// Why an attempt failed.
struct Failed {
    error: Error,
    pending: Option<Pending>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, pending: None }
    }
}

impl WriteSession {
    /// Publishes the staged changes as one snapshot on the session's branch, and returns it.
    ///
    /// If the branch has moved, the changes are applied to its new tip, unless both sides changed the same things:
    /// that is a `Conflict`, or settled as [`CommitOptions::on_conflict`] says. Nothing staged: nothing is committed, and
    /// the snapshot at the tip of the session is returned. Every error carries the session; what a policy dropped from it
    /// before a later error stays dropped.
    pub async fn commit(self, options: impl Into<CommitOptions>) -> Result<Snapshot, Box<CommitError>> {
        self.commit_settling(options).await.map(|committed| committed.snapshot)
    }

    /// Like [`commit`](Self::commit), and tells which conflicts were settled.
    pub async fn commit_settling(mut self, options: impl Into<CommitOptions>) -> Result<Committed, Box<CommitError>> {
        let options = options.into();
        let mut settled = Conflicts::default();
        for attempt in 0..ATTEMPTS {
            let moved = match self.attempt(&options).await {
                Ok(Attempt::Committed(snapshot)) => return Ok(Committed { snapshot, is_new: true, settled: settled.into_list() }),
                Ok(Attempt::Unchanged) => return Ok(Committed { snapshot: self.base, is_new: false, settled: settled.into_list() }),
                Ok(Attempt::Moved(state)) => state,
                Err(Failed { error, pending }) => {
                    let mut failed = CommitError::new(error, self);
                    failed.pending = pending;
                    return Err(failed);
                }
            };
            tracing::debug!(branch = %self.branch, attempt, "the branch moved; rebasing");
            // Wait first and look again: what was true before the pause is not worth a rebase, and a writer that always
            // went on from there would lose to every faster one for as long as there are any.
            let repository = self.base.repository().clone();
            repository.pause_after_lost_race(attempt).await;
            let moved = match repository.refs().try_read(&self.branch).await {
                Ok(now) => now.unwrap_or(moved),
                Err(error) => return Err(CommitError::new(error, self)),
            };
            match conflict::rebase(&mut self, moved, options.on_conflict).await {
                Ok(Rebased::Moved(more)) => settled.extend(more),
                Ok(Rebased::Refused(conflicts)) => {
                    let mut failed = CommitError::new(conflicts.to_error(&self), self);
                    failed.conflicts = conflicts.into_list();
                    return Err(failed);
                }
                Err(error) => return Err(CommitError::new(error, self)),
            }
        }
        let error = Error::unavailable(format!("{} moved {ATTEMPTS} times while this commit was made; try again", self.branch));
        Err(CommitError::new(error, self))
    }

    async fn attempt(&mut self, options: &CommitOptions) -> Result<Attempt, Failed> {
        let draft = self.draft().await?;
        if options.empty == EmptyCommit::Skip && draft.is_unchanged(self.base.commit()) {
            return Ok(Attempt::Unchanged);
        }
        let prepared = self.prepare(draft, options).await?;
        self.publish(prepared).await
    }
}
