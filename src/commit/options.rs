//! What a commit says of itself, and how conflicts are resolved.

use std::collections::BTreeMap;

use crate::conflict::OnConflict;
use crate::error::Result;
use crate::format::Commit;

/// What a commit says of itself, and what happens when it changes nothing or conflicts. A plain string is a message.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CommitOptions {
    /// What was done, for people. The log shows the first 72 bytes of the first line.
    pub message: String,
    /// Who did it. Default: none.
    pub author: Option<String>,
    /// Further fields by name. Default: none.
    pub meta: BTreeMap<String, String>,
    /// What happens when nothing changed. Default: no commit is made.
    pub empty: EmptyCommit,
    /// How conflicts with another writer are resolved. Default: the commit fails.
    pub on_conflict: OnConflict,
    /// What happens when another writer was first. Default: the changes are applied to the new tip.
    pub moved: BranchMoved,
}

/// What happens when the branch is no longer where it was when the session was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum BranchMoved {
    /// The staged changes are applied to the new tip. Conflicts are resolved as [`CommitOptions::on_conflict`] says.
    #[default]
    Rebase,
    /// The commit fails with `Conflict`, also if both sides changed different things.
    Refuse,
}

/// What happens when nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EmptyCommit {
    /// No commit is made, and the tip is returned.
    #[default]
    Skip,
    /// A commit is made, as a marker.
    Make,
}

impl<T: Into<String>> From<T> for CommitOptions {
    fn from(message: T) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

impl CommitOptions {
    /// Sets the author.
    #[must_use]
    pub fn author(mut self, author: impl Into<String>) -> Self {
        self.author = Some(author.into());
        self
    }

    /// Adds a field by name.
    #[must_use]
    pub fn meta(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(name.into(), value.into());
        self
    }

    /// Refuses as `Invalid` a message, an author or metadata that are longer than a commit may have. Every commit checks this before it
    /// uploads anything; [`WriteSession::check`](crate::WriteSession::check) also checks the branch.
    pub fn check(&self) -> Result<()> {
        Commit::check_texts(&self.message, self.author.as_deref(), &self.meta)
    }

    /// Makes a commit even if it changes nothing.
    #[must_use]
    pub fn allow_empty(mut self) -> Self {
        self.empty = EmptyCommit::Make;
        self
    }

    /// Fails with `Conflict` if another writer was first, whatever was changed.
    #[must_use]
    pub fn without_rebase(mut self) -> Self {
        self.moved = BranchMoved::Refuse;
        self
    }

    /// Resolves conflicts over keys and arrays in favour of one side.
    #[must_use]
    pub fn on_conflict(mut self, policy: OnConflict) -> Self {
        self.on_conflict = policy;
        self
    }
}
