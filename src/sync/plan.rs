//! What becomes of each branch and tag, decided before anything is copied.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::SyncRun;
use super::clone::is_blank;
use super::options::{RefOutcome, SyncRef, SyncedRef};
use crate::commit::SavesBranch;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SnapshotId;
use crate::refs::{READS, Ref, RefKind, RefName, TagInfo, future_limit, lower_case, require_unlike, unreadable_tip};
use crate::time::Timestamp;

/// How many refused branches and tags are named.
const NAMED: usize = 8;

/// A branch or a tag that is copied.
#[derive(Debug)]
pub(super) struct PlannedRef {
    pub(super) names: SyncRef,
    /// What the source shows, and when that was committed.
    pub(super) tip: SnapshotId,
    pub(super) time: Timestamp,
    pub(super) about: Option<TagInfo>,
    /// What the target shows.
    pub(super) found: Option<SnapshotId>,
    outcome: RefOutcome,
}

/// What is to be done with one, or why it is refused.
type Decision = std::result::Result<RefOutcome, String>;

impl PlannedRef {
    /// Whether the target has to be changed.
    pub(super) const fn is_change(&self) -> bool {
        matches!(self.outcome, RefOutcome::Created | RefOutcome::Moved)
    }

    /// Whether the target shows what the source shows.
    pub(super) const fn is_unchanged(&self) -> bool {
        matches!(self.outcome, RefOutcome::Unchanged)
    }

    pub(super) fn outcome(&self) -> SyncedRef {
        let SyncRef { source, target } = self.names.clone();
        SyncedRef { source, target, outcome: self.outcome, from: self.found, to: self.tip }
    }
}

impl SyncRun<'_> {
    /// Reads the branches and tags on both sides. `Conflict` when one of them may not be moved; it names all of those. `Invalid` when two
    /// become one, or a new one has a name that the target refuses.
    pub(super) async fn plan(&self) -> Result<Vec<PlannedRef>> {
        let names = if self.options.refs.is_empty() { self.all_refs().await? } else { self.options.refs.clone() };
        let names = each_once(names)?;
        if let Some(mixed) = names.iter().find(|names| names.source.kind != names.target.kind) {
            return Err(Error::invalid(format!("{} cannot become {}: the one is a branch, the other a tag", mixed.source, mixed.target)));
        }
        let mut reads = stream::iter(names).map(|names| self.plan_one(names)).buffered(READS);
        let (mut planned, mut refused) = (Vec::new(), Vec::new());
        while let Some((one, why)) = reads.try_next().await? {
            refused.extend(why);
            planned.push(one);
        }
        if refused.is_empty() {
            self.require_names(&planned).await?;
            return Ok(planned);
        }
        let more = if refused.len() > NAMED { format!("; and {} more", refused.len() - NAMED) } else { String::new() };
        refused.truncate(NAMED);
        Err(Error::conflict(format!("nothing was copied: {}{more}", refused.join("; "))))
    }

    /// Refuses names that cannot be given to what is to be made.
    async fn require_names(&self, planned: &[PlannedRef]) -> Result<()> {
        for kind in [RefKind::Branch, RefKind::Tag] {
            let is_new = |one: &&PlannedRef| one.outcome == RefOutcome::Created && one.names.target.kind == kind;
            let made: Vec<&Ref> = planned.iter().filter(is_new).map(|one| &one.names.target).collect();
            if made.is_empty() {
                continue;
            }
            let there = self.to.refs().names(kind).await?;
            let mut by_lower: HashMap<String, RefName> = there.into_iter().map(|name| (lower_case(&name), name)).collect();
            for new in made {
                new.name.require_unlike_an_id()?;
                let other = by_lower.entry(lower_case(&new.name)).or_insert_with(|| new.name.clone());
                require_unlike(new, other)?;
            }
        }
        Ok(())
    }

    /// All branches and tags of the source, without the branches of saves.
    async fn all_refs(&self) -> Result<Vec<SyncRef>> {
        let (branches, tags) = futures::try_join!(self.from.refs().names(RefKind::Branch), self.from.refs().names(RefKind::Tag))?;
        let branches = branches.into_iter().filter(|name| !SavesBranch::is_one(name)).map(SyncRef::branch);
        let all: Vec<_> = branches.chain(tags.into_iter().map(SyncRef::tag)).collect();
        let there = stream::iter(all).map(|names| async move {
            let state = self.from.refs().try_read(&names.source).await.map_err(|e| e.context(self.from.storage()))?;
            Ok::<_, Error>(state.and_then(|state| state.record.tip).map(|_| names))
        });
        there.buffered(READS).try_filter_map(|names| async { Ok(names) }).try_collect().await
    }

    /// What becomes of one, and why it is refused if it is.
    async fn plan_one(&self, names: SyncRef) -> Result<(PlannedRef, Option<String>)> {
        let source = async { self.from.refs().read(&names.source).await.map_err(|e| e.context(self.from.storage())) };
        let target = async { self.to.refs().try_read(&names.target).await.map_err(|e| e.context(self.to.storage())) };
        let ((state, tip), found) = futures::try_join!(source, target)?;
        let found = found.and_then(|state| state.record.tip);
        let commit = self.from.objects().commit(&tip).await.map_err(|e| unreadable_tip(&names.source, e))?;
        let (time, now) = (commit.time, self.to.clock().now());
        if time > future_limit(now) {
            return Err(Error::invalid(format!(
                "{} shows snapshot {tip}, which is stamped {time}, more than 10 minutes after this machine's {now}",
                names.source
            )));
        }
        let decision = self.decide(&names.target, tip, found).await?;
        let (outcome, why) = match decision {
            Ok(outcome) => (outcome, None),
            Err(why) => (RefOutcome::Unchanged, Some(why)),
        };
        Ok((PlannedRef { names, tip, time, about: state.record.about, found, outcome }, why))
    }

    async fn decide(&self, name: &Ref, tip: SnapshotId, found: Option<SnapshotId>) -> Result<Decision> {
        let Some(found) = found else { return Ok(Ok(RefOutcome::Created)) };
        if found == tip {
            return Ok(Ok(RefOutcome::Unchanged));
        }
        if self.options.force {
            return Ok(Ok(RefOutcome::Moved));
        }
        let place = self.to.storage();
        if name.kind == RefKind::Tag {
            return Ok(Err(format!("{name} of {place} shows another version, {found}")));
        }
        if self.is_forward(found, tip).await? || is_blank(self.to, found).await? {
            return Ok(Ok(RefOutcome::Moved));
        }
        if self.is_ahead(found, tip).await? {
            return Ok(Ok(RefOutcome::Ahead));
        }
        Ok(Err(format!("{name} of {place} has commits that are not behind {tip}")))
    }

    /// Whether the source knows that `found` is behind `tip`.
    async fn is_forward(&self, found: SnapshotId, tip: SnapshotId) -> Result<bool> {
        if self.from.objects().try_commit(&found).await?.is_none() {
            return Ok(false);
        }
        let (found, tip) = (self.from.read_record(&found.into()).await?, self.from.read_record(&tip.into()).await?);
        or_unknown(found.is_behind(&tip).await)
    }

    /// Whether the target knows that `tip` is behind `found`.
    async fn is_ahead(&self, found: SnapshotId, tip: SnapshotId) -> Result<bool> {
        if self.to.objects().try_commit(&tip).await?.is_none() {
            return Ok(false);
        }
        let (found, tip) = (self.to.read_record(&found.into()).await?, self.to.read_record(&tip.into()).await?);
        or_unknown(tip.is_behind(&found).await)
    }
}

/// Leaves out what is named twice.
fn each_once(names: Vec<SyncRef>) -> Result<Vec<SyncRef>> {
    let mut sources = HashMap::new();
    let mut once = Vec::new();
    for names in names {
        match sources.insert(names.target.clone(), names.source.clone()) {
            None => once.push(names),
            Some(source) if source == names.source => {}
            Some(source) => {
                return Err(Error::invalid(format!("{source} and {} cannot both become {}", names.source, names.target)));
            }
        }
    }
    Ok(once)
}

/// What is not known because versions were left out does not hold.
fn or_unknown(known: Result<bool>) -> Result<bool> {
    match known {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        known => known,
    }
}
