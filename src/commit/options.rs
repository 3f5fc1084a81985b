//! What a commit says of itself, and how conflicts are resolved.

use std::collections::BTreeMap;

use crate::conflict::{OnConflict, Policies};
use crate::error::Result;
use crate::format::Commit;
use crate::key::Prefix;

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
    /// How they are resolved below some prefixes, and at the keys of their names; the longest prefix decides. What is settled as a whole,
    /// an array or a deleted group, is settled by the policy of its own prefix. Default: none, so `on_conflict` holds everywhere.
    pub on_conflict_below: Vec<(Prefix, OnConflict)>,
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
    /// uploads anything; [`WriteSession::check`](crate::WriteSession::check) also checks the branch. Two policies for one prefix are
    /// `Invalid` too.
    pub fn check(&self) -> Result<()> {
        self.policies()?;
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

    /// Resolves those below `prefix` by this policy.
    #[must_use]
    pub fn on_conflict_below(mut self, prefix: Prefix, policy: OnConflict) -> Self {
        self.on_conflict_below.push((prefix, policy));
        self
    }

    /// The policies by prefix; `Invalid` when one prefix is given two.
    pub(crate) fn policies(&self) -> Result<Policies> {
        Policies::new(self.on_conflict, &self.on_conflict_below)
    }
}
