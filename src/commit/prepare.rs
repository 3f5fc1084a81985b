//! Writes everything that a commit needs, and makes it durable before any reader can see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::collection::WrittenAlone;
use super::draft::Draft;
use super::{CommitOptions, EmptyCommit, invariants};
use crate::error::{Error, ErrorDetail, Result};
use crate::format::{Commit, Node, Roots, SnapshotObject};
use crate::handle::Repository;
use crate::history::{Behind, Line};
use crate::id::{NodeId, SnapshotId};
use crate::map::NodeSource;
use crate::objects::{CachedValue, Objects, Uploads};
use crate::refs::{Ref, future_limit};
use crate::session::{MergedMeanwhile, WriteSession};
use crate::snapshot::Snapshot;
use crate::time::{Timestamp, recordable};

/// A snapshot that is durable together with everything it needs.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) id: SnapshotId,
    pub(super) commit: Commit,
    /// The list of the keys that it changed, as it is stored.
    changes: Option<Bytes>,
}

/// When, why and by whom.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    pub(crate) time: Timestamp,
    pub(crate) message: String,
    pub(crate) author: Option<String>,
    pub(crate) meta: BTreeMap<String, String>,
}

impl WriteSession {
    /// Refuses what a commit with these options would be refused for, whatever is staged: call it before staging large values.
    ///
    /// `Invalid` when the options fail [`CommitOptions::check`], when the last event of the branch, or a version that is merged, is stamped
    /// more than 10 minutes after this machine's clock, and when that clock shows a time that cannot be recorded. Reads at most one snapshot.
    pub async fn check(&self, options: &CommitOptions) -> Result<()> {
        options.check()?;
        self.next_time().await.map(drop)
    }

    /// Writes the snapshot on top of the session's base, waits for every upload, and passes the barrier; `None` when
    /// nothing changed and no commit is to be made.
    pub(super) async fn write_snapshot(&mut self, options: &CommitOptions) -> Result<Option<Written>> {
        if !self.stores {
            return Err(Error::invalid("a dry run cannot be committed: its chunks were not stored"));
        }
        // What would be refused at the end is refused before anything is uploaded.
        options.check()?;
        if options.empty == EmptyCommit::Make || !self.is_unchanged() {
            self.next_time().await?;
        }
        let mut draft = self.draft().await?;
        if options.empty == EmptyCommit::Skip && draft.is_unchanged(self.base.record()) && !self.has_other_parents() {
            return Ok(None);
        }
        let is_stale = match self.applied.as_ref().map(|applied| applied.meanwhile) {
            None | Some(MergedMeanwhile::Not) => false,
            // What was changed since the other writer's merge would be set back.
            Some(MergedMeanwhile::Wholly) => !draft.is_unchanged(self.base.record()),
            Some(MergedMeanwhile::Partly) => true,
        };
        if is_stale {
            return Err(merged_meanwhile(&self.branch));
        }
        let time = self.next_time().await?;
        let stamp = Stamp { time, message: options.message.clone(), author: options.author.clone(), meta: options.meta.clone() };
        let others = self.other_parents().to_vec();
        let changes = draft.changes.take().and_then(|list| list.encode()).map(Bytes::from);
        // A commit is made with its history; only moves of the branch lead to versions that came without.
        let is_committed = self.state.record.moves.last().is_some_and(|last| last.to != Some(self.base.id()));
        let has_history = if is_committed { !Line::of(&self.base).is_shallow().await? } else { Line::of(&self.base).vouches().await? };
        let commit = child_of(&self.base, has_history, &others, draft, stamp, &mut self.uploads).await?;
        invariants::check(&commit, &self.base)?;
        self.upload(commit, changes).await.map(Some)
    }

    /// Writes a snapshot with exactly what the session's base holds, the tip of its branch, as the child of `parent` and of `others`, which
    /// all lie behind that tip; durable, and in no ref. Nothing may be staged.
    pub(crate) async fn write_like_tip(mut self, parent: &Snapshot, others: &[Snapshot], options: &CommitOptions) -> Result<WrittenAlone> {
        options.check()?;
        let time = self.next_time().await?;
        let stamp = Stamp { time, message: options.message.clone(), author: options.author.clone(), meta: options.meta.clone() };
        let has_history = Line::of(parent).vouches().await?;
        let commit = child_of(parent, has_history, others, Draft::of(self.base.record()), stamp, &mut self.uploads).await?;
        invariants::check(&commit, parent)?;
        // What `parent` lacks is not what was staged.
        let Written { id, commit, .. } = self.upload(commit, None).await?;
        let snapshot = Snapshot::new(parent.repository().clone(), id, Arc::new(commit));
        Ok(WrittenAlone { snapshot, known: self.known.get(), touched: self.touched()? })
    }

    async fn upload(&mut self, commit: Commit, changes: Option<Bytes>) -> Result<Written> {
        let objects = self.base.repository().objects();
        commit.check()?;
        let id = commit.id(objects.hash());
        let object = with_roots(objects, commit.clone(), &mut self.uploads).await?;
        if let Some(list) = &changes {
            self.uploads.changes(id, list.clone()).await?;
        }
        self.uploads.snapshot(id, &object).await?;
        self.uploads.finish().await?;
        objects.storage().barrier().await?;
        Ok(Written { id, commit, changes })
    }

    /// Stamps a prepared commit anew, later than before: too long has passed since it was stamped, or it must not be sent again.
    pub(super) async fn restamp(&mut self, mut written: Written) -> Result<Written> {
        written.commit.time = self.next_time().await?.max(written.commit.time.next());
        self.upload(written.commit, written.changes).await
    }

    /// The time of the next commit: now, but later than every parent and than the last event of the branch.
    async fn next_time(&self) -> Result<Timestamp> {
        let repository = self.base.repository();
        let last = repository.refs().last_event(&self.state.record).await?;
        let last = last.map_or(self.base.record().time, |last| last.max(self.base.record().time));
        let now = recordable(repository.clock().now())?;
        require_not_in_future(&self.branch, last, now)?;
        let mut latest = last;
        for parent in self.other_parents() {
            repository.require_present(parent)?;
            latest = latest.max(parent.record().time);
        }
        Ok(now.max(latest.next()))
    }
}

/// The error of a merge of which the branch got a part from another writer.
fn merged_meanwhile(branch: &Ref) -> Error {
    Error::conflict(format!(
        "{branch} got the version that is merged here, or has another latest common ancestor with it, since its changes were staged; \
         merge it again"
    ))
}

impl Repository {
    /// Refuses a target that would stop every commit on its branch until its time has come.
    pub(crate) fn require_present(&self, target: &Snapshot) -> Result<()> {
        let (id, time, now) = (target.id(), target.record().time, self.clock().now());
        if time <= future_limit(now) {
            return Ok(());
        }
        let error = Error::invalid(format!(
            "snapshot {id} is stamped {time}, more than 10 minutes after this machine's {now}; \
             set the clock that is wrong, or choose the last snapshot from before"
        ));
        Err(error.about(ErrorDetail::FutureSnapshot { id: id.to_string() }))
    }
}

fn require_not_in_future(branch: &Ref, last: Timestamp, now: Timestamp) -> Result<()> {
    if last <= future_limit(now) {
        return Ok(());
    }
    let error = Error::invalid(format!(
        "{branch} was last changed at {last}, more than 10 minutes after this machine's {now}; \
         set the clock that is wrong, or reset the branch to {}@now",
        branch.name
    ));
    Err(error.about(ErrorDetail::FutureBranch { branch: branch.name.to_string() }))
}

/// The commit that makes `draft` the child of `parent`, the first parent, and of `others`; its history begins with the parent unless that
/// has one.
async fn child_of(
    parent: &Snapshot,
    has_history: bool,
    others: &[Snapshot],
    draft: Draft,
    stamp: Stamp,
    uploads: &mut Uploads,
) -> Result<Commit> {
    let line = Line::of(parent);
    let behind = if has_history { line.extended(uploads).await? } else { line.restarted(uploads).await? };
    let Behind { root: history, since } = behind;
    let Draft { manifest, files, containers, mut places, .. } = draft;
    let Stamp { time, message, author, meta } = stamp;
    let mut parents = vec![parent.id()];
    for other in others {
        // The branch may have been moved to the other parent meanwhile.
        if !parents.contains(&other.id()) {
            parents.push(other.id());
        }
        places.extend(other.record().places.iter().cloned());
    }
    places.sort_unstable();
    places.dedup();
    Ok(Commit { manifest, files, history, parents, since, containers, places, time, message, author, meta })
}

/// The snapshot object: the commit and copies of the small roots, which save a reader a round trip.
pub(crate) async fn with_roots(objects: &Objects, commit: Commit, uploads: &mut Uploads) -> Result<SnapshotObject> {
    let manifest = Some(root_of(objects, commit.manifest, uploads).await?);
    let files = Some(root_of(objects, commit.files, uploads).await?);
    let history = Some(root_of(objects, commit.history, uploads).await?);
    Ok(SnapshotObject { commit, roots: Roots { manifest, files, history } })
}

/// A root that was just made: usually in the cache; else it is read back, which must wait until it has arrived.
async fn root_of<V: CachedValue>(objects: &Objects, root: NodeId, uploads: &mut Uploads) -> Result<Arc<Node<V>>> {
    if let Some(node) = objects.cached(root) {
        return Ok(node);
    }
    uploads.finish().await?;
    objects.load(root).await
}
