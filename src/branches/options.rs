//! How versions are applied to a branch.

use std::collections::BTreeMap;

use crate::commit::CommitOptions;
use crate::conflict::OnConflict;
use crate::key::Prefix;
use crate::snapshot::Snapshot;

/// How a version, or a commit, is applied to a branch, and what the new commit says of itself. A plain string is a message.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct MergeOptions {
    /// The message of the commit. Default: a merge says what was merged, the application of a commit has the message of that commit, and
    /// a revert says what it undoes.
    pub message: Option<String>,
    /// Who does it. Default: nobody; for the application of a commit, its author.
    pub author: Option<String>,
    /// Further fields by name. Default: none.
    pub meta: BTreeMap<String, String>,
    /// What happens to keys and arrays that both sides changed. [`Ours`](OnConflict::Ours) is what the branch has,
    /// [`Theirs`](OnConflict::Theirs) what is applied. Default: nothing is applied.
    pub on_conflict: OnConflict,
    /// The same below some prefixes, and at the keys of their names; the longest prefix decides. What is settled as a whole, an array or
    /// a deleted group, is settled by the policy of its own prefix. Default: none.
    pub on_conflict_below: Vec<(Prefix, OnConflict)>,
    /// The version from which the changes of both sides are counted. Default: of a merge the latest common ancestor; of a single commit its
    /// parent. Required where there are several.
    pub base: Option<Snapshot>,
}

impl<T: Into<String>> From<T> for MergeOptions {
    fn from(message: T) -> Self {
        Self { message: Some(message.into()), ..Self::default() }
    }
}

impl MergeOptions {
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

    /// Settles conflicts over keys and arrays in favour of one side.
    #[must_use]
    pub fn on_conflict(mut self, policy: OnConflict) -> Self {
        self.on_conflict = policy;
        self
    }

    /// Settles those below `prefix` by this policy.
    #[must_use]
    pub fn on_conflict_below(mut self, prefix: Prefix, policy: OnConflict) -> Self {
        self.on_conflict_below.push((prefix, policy));
        self
    }

    /// Counts the changes of both sides from here.
    #[must_use]
    pub fn base(mut self, base: Snapshot) -> Self {
        self.base = Some(base);
        self
    }

    /// What the commit says, and whose changes it keeps: what is staged in its session is what is applied, so "ours" of a merge is "theirs"
    /// of the commit.
    pub(super) fn for_commit(&self, message: impl FnOnce() -> String) -> CommitOptions {
        let mut options = CommitOptions::from(self.message.clone().unwrap_or_else(message));
        options.author.clone_from(&self.author);
        options.meta.clone_from(&self.meta);
        options.on_conflict = turned(self.on_conflict);
        options.on_conflict_below = self.on_conflict_below.iter().map(|(prefix, policy)| (prefix.clone(), turned(*policy))).collect();
        options
    }
}

fn turned(policy: OnConflict) -> OnConflict {
    match policy {
        OnConflict::Ours => OnConflict::Theirs,
        OnConflict::Theirs => OnConflict::Ours,
        OnConflict::Refuse => OnConflict::Refuse,
    }
}
