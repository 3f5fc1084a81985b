//! Expiry: gives up the data of old versions. Their ids, their dates and the log remain.
//!
//! What expires is chosen and shown first, and then recorded in one act. Nothing is removed before the next garbage collection, which
//! counts the data of expired versions as garbage unless other versions share it.

mod graph;
mod plan;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::RefName;
use crate::refs::retention::Retiring;
use crate::time::{CalendarPeriod, Timestamp, recordable};

pub use plan::{ExpirePlan, ExpiringVersion, KeptVersion};
pub use rules::KeepFor;
use rules::{KeepRules, shown};

/// How long what a move took away stays unless options say otherwise.
const KEEP_MOVES: Duration = Duration::from_hours(30 * 24);

/// Which versions expire. At least one rule must say what is kept.
///
/// The rules are applied to the first-parent line of each branch. A version stays if any rule keeps it on any branch. Whatever the rules
/// say, these stay: what a branch or a tag points at; everything that a branch which was not [named](Self::branch) leads to; everything
/// that only tags lead to; the versions at which branches part, where a merge of them begins. Versions that were merged into a branch are
/// not on its line and stay by [`keep_within`](Self::keep_within) only. What has expired already counts for no rule.
///
/// A session that is open on a version that expires can no longer commit once garbage was collected: let
/// [`keep_within`](Self::keep_within) keep the versions of a day where sessions are long.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExpireOptions {
    rules: KeepRules,
    /// The branches whose versions may expire. Default: all.
    pub branches: Option<Vec<RefName>>,
    /// How long versions stay to which only recorded moves lead any more, because a branch was reset or deleted, counted from that move:
    /// for so long it can be undone. Default: 30 days.
    pub keep_moves: Duration,
}

impl Default for ExpireOptions {
    fn default() -> Self {
        Self { rules: KeepRules::default(), branches: None, keep_moves: KEEP_MOVES }
    }
}

impl ExpireOptions {
    /// Keeps the latest `n` versions of each branch.
    #[must_use]
    pub const fn keep_last(mut self, n: u64) -> Self {
        self.rules.last = Some(n);
        self
    }

    /// Keeps versions that are no older than this.
    #[must_use]
    pub const fn keep_within(mut self, span: Duration) -> Self {
        self.rules.within = Some(span);
        self
    }

    /// Keeps the last version of each period, in UTC, for so many periods or so long. Replaces what was said of that period before.
    #[must_use]
    pub fn keep_each(mut self, period: CalendarPeriod, keep_for: KeepFor) -> Self {
        self.rules.periods.retain(|(known, _)| *known != period);
        self.rules.periods.push((period, keep_for));
        self.rules.periods.sort_by_key(|(period, _)| *period);
        self
    }

    /// Names a branch whose versions may expire; those of branches that are not named stay.
    #[must_use]
    pub fn branch(mut self, name: RefName) -> Self {
        self.branches.get_or_insert_default().push(name);
        self
    }

    /// Keeps for so long what moves took away.
    #[must_use]
    pub const fn keep_moves(mut self, span: Duration) -> Self {
        self.keep_moves = span;
        self
    }

    /// What is kept, in words.
    fn words(&self) -> String {
        let branches = self.branches.iter().flatten().map(RefName::as_str).collect::<Vec<_>>();
        let of = if branches.is_empty() { String::new() } else { format!("; of {}", branches.join(", ")) };
        format!("{}; moves {}{of}", self.rules, shown(self.keep_moves))
    }

    fn check(&self) -> Result<()> {
        if self.rules.is_empty() {
            return Err(Error::invalid("say what is kept: without a rule that keeps something every version but the tips would expire"));
        }
        if self.branches.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid("no branch is named whose versions may expire"));
        }
        Ok(())
    }
}

/// Why versions are made to expire. A plain string is the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpireReason {
    /// Why, for people: everybody who asks for such a version reads it. At most 4,096 bytes.
    pub reason: String,
    /// Who does it. Default: not said.
    pub author: Option<String>,
}

impl<T: Into<String>> From<T> for ExpireReason {
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), author: None }
    }
}

impl ExpireReason {
    /// Names the author.
    #[must_use]
    pub fn author(mut self, author: impl Into<String>) -> Self {
        self.author = Some(author.into());
        self
    }
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiredVersions {
    /// The number of the act; 0 when nothing was left to expire.
    pub act: u32,
    /// The versions that have expired.
    pub versions: Vec<SnapshotId>,
    /// Versions of the plan that stay, because a branch or a tag has been pointed at them since.
    pub shown_again: Vec<SnapshotId>,
}

impl Repository {
    /// Finds out which versions would expire, and changes nothing.
    ///
    /// Reads every snapshot that the branches and tags lead to, and the lists of those that have expired already. `Invalid` when the options
    /// keep nothing or this machine's clock is far from the store's, `NotFound` when a branch that they name does not exist, `Corrupt` when a branch or a tag, or something that it leads
    /// to, cannot be read. Only reads, so it can be cancelled at any moment.
    pub async fn plan_expire(&self, options: &ExpireOptions) -> Result<ExpirePlan> {
        options.check()?;
        plan::plan(self, options).await
    }

    /// Gives up the data of the versions that the plan names, in one recorded act.
    ///
    /// From then on, to read one of them is [`Expired`](crate::ErrorKind::Expired), and nothing can be copied or merged from it, nor a
    /// branch or a tag pointed at it. Their data stays until the next garbage collection. There is no way back: tag a version first to keep
    /// it. What was committed since the plan was made is not touched.
    ///
    /// `Invalid` when a text is too long or the clock shows a time that cannot be recorded. `Unavailable` when the store cannot be asked: it
    /// may have been recorded; to call again does no harm. If the future is dropped, it is recorded as a whole or not at all.
    pub async fn expire(&self, plan: &ExpirePlan, reason: impl Into<ExpireReason>) -> Result<ExpiredVersions> {
        self.require_writable()?;
        let ExpireReason { reason, author } = reason.into();
        let time = recordable(self.clock().now())?;
        let tips: HashSet<_> = self.tips().await?.into_iter().map(|(_, tip)| tip).collect();
        let (shown_again, versions): (Vec<_>, Vec<_>) = plan.expire.iter().partition(|version| tips.contains(&version.id));
        let ids = |versions: Vec<&ExpiringVersion>| versions.iter().map(|version| version.id).collect::<Vec<_>>();
        let latest = versions.iter().map(|version| version.time).max().unwrap_or(Timestamp::MIN);
        let (versions, shown_again) = (ids(versions), ids(shown_again));
        if versions.is_empty() {
            return Ok(ExpiredVersions { act: 0, versions, shown_again });
        }
        let retiring = Retiring { author, reason, rules: plan.rules.clone(), time, versions: versions.clone(), latest };
        let act = self.refs().retire(&retiring).await?;
        Ok(ExpiredVersions { act, versions, shown_again })
    }
}
