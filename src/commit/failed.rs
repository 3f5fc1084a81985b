//! Why a commit failed, with the session and the commit that may still be published.

use std::fmt;

use crate::conflict::{Conflict, Conflicts};
use crate::error::{Error, ErrorKind};
use crate::session::{Pending, WriteSession};

/// A commit that failed, or whose outcome is not known. Holds the session with everything that was staged.
///
/// It does not turn into an [`Error`] by `?`, because that would drop the session and, after
/// [`ErrorKind::OutcomeUnknown`], the id that has to be settled. Call [`into_session`](Self::into_session) to commit
/// again, or [`into_error`](Self::into_error) to drop both. In functions that return a boxed error, `?` keeps it whole.
pub struct CommitError {
    error: Error,
    session: Box<WriteSession>,
    pending: Option<Pending>,
    conflicts: Vec<Conflict>,
}

impl CommitError {
    pub(super) fn new(error: Error, session: WriteSession) -> Box<Self> {
        Box::new(Self { error, session: Box::new(session), pending: None, conflicts: Vec::new() })
    }

    /// As [`new`](Self::new); where a part of the base is missing because the base has expired, that is the error.
    pub(super) async fn explained(error: Error, session: WriteSession) -> Box<Self> {
        Self::new(session.base.explained(error).await, session)
    }

    /// The error of a replace that was sent; `pending` if its outcome is not known.
    pub(super) fn sent(error: Error, pending: Option<Pending>, session: WriteSession) -> Box<Self> {
        Box::new(Self { error, session: Box::new(session), pending, conflicts: Vec::new() })
    }

    pub(super) fn refused(conflicts: Conflicts, session: WriteSession) -> Box<Self> {
        let error = conflicts.to_error(&session);
        Box::new(Self { error, session: Box::new(session), pending: None, conflicts: conflicts.into_list() })
    }

    /// Why the commit failed.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    /// Whether the same commit may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.error.is_retryable()
    }

    /// The session with everything that was staged: it can be committed again, or changed first.
    pub fn into_session(self) -> WriteSession {
        *self.session
    }

    /// The error alone. Drops the session, and with it everything that was staged.
    pub fn into_error(self) -> Error {
        self.error
    }

    /// The commit that may have been published, when the kind is `OutcomeUnknown`.
    pub fn pending(&self) -> Option<&Pending> {
        self.pending.as_ref()
    }

    /// What was changed on both sides, when the kind is `Conflict`, by kind and name: at most the first 10,000.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
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
