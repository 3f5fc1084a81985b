//! The step that readers can observe: one conditional replace of the branch, again after every lost race.

use std::sync::Arc;
use std::time::Duration;

use super::failed::CommitError;
use super::prepare::Written;
use super::settle::holds;
use super::{ATTEMPTS, BranchMoved, CommitOptions, Committed};
use crate::conflict::{self, Conflicts, Rebased};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SnapshotId;
use crate::refs::collection::rules::{self, GcRule};
use crate::refs::{RefRecord, RefState, Settled};
use crate::session::{MergedMeanwhile, Pending, PublishHandle, PublishState, WriteSession};
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// A commit that waited longer than this between its stamp and its publication is stamped anew.
const RESTAMP_AFTER: Duration = Duration::from_mins(1);

/// A commit whose snapshot is durable and that no reader sees yet.
///
/// Dropping it leaves unreferenced objects in the store, and the branch as it is.
#[derive(Debug)]
#[must_use = "no reader sees the commit before `publish`"]
pub struct Prepared {
    session: WriteSession,
    options: CommitOptions,
    /// `None` when nothing changed and no commit is to be made.
    written: Option<Written>,
}

impl Prepared {
    /// The snapshot that [`publish`](Self::publish) sends first. It becomes another if the branch has moved, or if the
    /// commit waits for more than a minute: [`handle`](Self::handle) tells the one that was sent last.
    ///
    /// When nothing changed, the tip of the session.
    pub fn id(&self) -> SnapshotId {
        self.written.as_ref().map_or(self.session.base().id(), |written| written.id)
    }

    /// When that snapshot is stamped.
    pub fn time(&self) -> Timestamp {
        self.written.as_ref().map_or(self.session.base().record().time, |written| written.commit.time)
    }

    /// The snapshot on which the changes were staged: the parent of the new one.
    pub fn base(&self) -> &Snapshot {
        self.session.base()
    }

    /// Whether there is anything to publish. `false` when nothing changed and
    /// [`EmptyCommit::Skip`](crate::EmptyCommit::Skip) holds.
    pub fn is_new(&self) -> bool {
        self.written.is_some()
    }

    /// Tells how far the publication has come, also after its future was dropped.
    pub fn handle(&self) -> PublishHandle {
        self.session.publish_handle()
    }

    /// Gives the session back, to stage more.
    pub fn into_session(self) -> WriteSession {
        self.session
    }

    /// Replaces the tip of the branch by the prepared snapshot.
    ///
    /// If the branch has moved, the changes are applied to its new tip, prepared and sent again. If both sides changed the
    /// same things, the call fails with `Conflict`, or resolves it as [`CommitOptions::on_conflict`] says. Every error
    /// carries the session; what a policy dropped from it before a later error stays dropped. A merge that the branch got from another
    /// writer meanwhile is not made once more; `Conflict` if it would change what that one made of it. After `OutcomeUnknown` the
    /// error also carries what has to be [settled](crate::Repository::settle).
    ///
    /// Dropping the future cancels the publication and drops the session. If no replace was sent by then, nothing was
    /// published; otherwise the outcome is not known. [`handle`](Self::handle), taken before, tells which, and the id.
    pub async fn publish(self) -> Result<Committed, Box<CommitError>> {
        let Self { mut session, options, mut written } = self;
        let mut settled = Conflicts::default();
        for attempt in 0..ATTEMPTS {
            if let Some(ready) = written {
                written = match Box::pin(session.cleared(ready, &options)).await {
                    Ok(ready) => ready,
                    Err(error) => return Err(CommitError::explained(error, session).await),
                };
            }
            let Some(ready) = written else {
                return Ok(Committed { snapshot: session.base, is_new: false, settled: settled.into_list() });
            };
            let moved = match Box::pin(session.replace_tip(ready.clone())).await {
                Ok(Sent::Committed(snapshot)) => return Ok(Committed { snapshot, is_new: true, settled: settled.into_list() }),
                Ok(Sent::Lost(state)) => state,
                Err((error, pending)) => return Err(CommitError::sent(error, pending, session)),
            };
            if moved.record.shows_the_same(&session.state.record) {
                // It was only raised by a garbage collection, or replaced by itself to settle a commit, perhaps this one: then somebody was
                // told that this snapshot is lost for ever. So another one is sent.
                session.state = moved;
                session.base.repository().pause_after_lost_race(attempt).await;
                written = match Box::pin(session.again(ready)).await {
                    Ok(written) => Some(written),
                    Err(error) => return Err(CommitError::explained(error, session).await),
                };
                continue;
            }
            if options.moved == BranchMoved::Refuse {
                let (branch, base) = (&session.branch, session.base.id());
                let error = Error::conflict(format!("{branch} has moved since the session was opened at {base}, and a rebase was refused"));
                return Err(CommitError::new(error, session));
            }
            tracing::debug!(branch = %session.branch, attempt, "the branch moved; rebasing");
            match Box::pin(session.follow(moved, attempt, &options)).await {
                Ok(Rebased::Moved(more)) => settled.extend(more),
                Ok(Rebased::Refused(conflicts)) => return Err(CommitError::refused(conflicts, session)),
                Err(error) => return Err(CommitError::explained(error, session).await),
            }
            written = match Box::pin(session.write_snapshot(&options)).await {
                Ok(written) => written,
                Err(error) => return Err(CommitError::explained(error, session).await),
            };
        }
        let error = Error::unavailable(format!("{} moved {ATTEMPTS} times while this commit was made; try again", session.branch));
        Err(CommitError::new(error, session))
    }
}

/// The answer to one replace.
#[expect(clippy::large_enum_variant, reason = "one for each attempt, and none is kept")]
enum Sent {
    Committed(Snapshot),
    /// Another writer was first.
    Lost(RefState),
}

impl WriteSession {
    /// Makes the staged changes durable as a snapshot that no reader sees yet.
    ///
    /// Fails as [`commit`](Self::commit) does, except for conflicts, which only publishing meets. Every error carries the
    /// session. Dropping the future cancels the call and drops the session; it leaves unreferenced objects in the store.
    pub async fn prepare(mut self, options: impl Into<CommitOptions>) -> Result<Prepared, Box<CommitError>> {
        let options = options.into();
        match Box::pin(self.write_snapshot(&options)).await {
            Ok(written) => Ok(Prepared { session: self, options, written }),
            Err(error) => Err(CommitError::explained(error, self).await),
        }
    }

    /// Publishes the staged changes as one snapshot on the session's branch, and returns it.
    ///
    /// [Prepares](Self::prepare) the snapshot and [publishes](Prepared::publish) it. Nothing staged: nothing is committed,
    /// and the snapshot at the tip of the session is returned.
    ///
    /// Dropping the future cancels the commit and drops the session. [`publish_handle`](Self::publish_handle), taken
    /// before, tells whether the commit may have been published, and its id.
    pub async fn commit(self, options: impl Into<CommitOptions>) -> Result<Snapshot, Box<CommitError>> {
        self.commit_settling(options).await.map(|committed| committed.snapshot)
    }

    /// Like [`commit`](Self::commit), and tells which conflicts were resolved. Cancelled like it.
    pub async fn commit_settling(self, options: impl Into<CommitOptions>) -> Result<Committed, Box<CommitError>> {
        // Boxed, so that callers do not carry the state of both on their stack.
        let prepared = Box::pin(self.prepare(options)).await?;
        Box::pin(prepared.publish()).await
    }

    /// Waits a little and moves the session onto the tip that the branch has then.
    ///
    /// It waits first and reads again: a writer that rebased onto the tip of before the pause would lose to every faster
    /// one for as long as there are any.
    async fn follow(&mut self, moved: RefState, attempt: u32, options: &CommitOptions) -> Result<Rebased> {
        let repository = self.base.repository().clone();
        repository.pause_after_lost_race(attempt).await;
        let now = repository.refs().try_read(&self.branch).await?.unwrap_or(moved);
        let before = self.base.clone();
        let rebased = conflict::rebase(self, now, &options.policies()?).await?;
        if matches!(rebased, Rebased::Moved(_)) {
            self.compare_parents(&before).await?;
        }
        Ok(rebased)
    }

    /// Notes whether the branch, which was at `before`, got what is merged here from another writer.
    async fn compare_parents(&mut self, before: &Snapshot) -> Result<()> {
        let Some(applied) = self.applied.as_mut() else { return Ok(()) };
        for parent in &applied.parents {
            let common = match self.base.common_ancestors(parent).await {
                // A base was named because the histories do not tell it.
                Err(e) if e.kind() == ErrorKind::NotFound && applied.common.is_none() => continue,
                common => common?,
            };
            let is_there = common == [parent.id()];
            let is_new = match applied.common {
                Some(base) => common != [base],
                None => is_there && !parent.is_behind(before).await?,
            };
            applied.meanwhile = match (is_new, is_there) {
                (false, _) => continue,
                (true, true) if applied.meanwhile != MergedMeanwhile::Partly => MergedMeanwhile::Wholly,
                (true, _) => MergedMeanwhile::Partly,
            };
        }
        Ok(())
    }

    /// Sends one replace of the branch and finds out what became of it.
    async fn replace_tip(&self, written: Written) -> Result<Sent, (Error, Option<Pending>)> {
        let repository = self.base.repository().clone();
        let Written { id, commit, .. } = written;
        let next = self.state.record.committed(id);
        let (expected, time) = (self.state.record.seq, commit.time);
        let (refs, objects) = (repository.refs(), repository.objects());
        let landed = |now: RefRecord| async move { holds(refs, objects, &now, id, time, expected).await };
        let pending = Pending { branch: self.branch.name.clone(), id, time, expected };
        self.publishing.set(PublishState::Sent(pending.clone()));
        let sent = refs.replace_settled(&self.branch, Some(&self.state), &next, landed).await;
        match sent {
            Ok(Settled::Won) => {
                self.publishing.set(PublishState::Committed(id));
                let commit = Arc::new(commit);
                // The next session of this handle begins at this tip, and needs no request to know it.
                objects.keep_commit(id, &commit);
                return Ok(Sent::Committed(Snapshot::new(repository.clone(), id, commit)));
            }
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                let error = error.context(format!("whether snapshot {id} was committed is not known"));
                return Err((error, Some(pending)));
            }
            _ => self.publishing.set(PublishState::NotSent),
        }
        match sent {
            Ok(Settled::Lost(Some(state))) => Ok(Sent::Lost(state)),
            Ok(_) => Err((Error::internal("a ref that was read has never existed"), None)),
            Err(error) => Err((error, None)),
        }
    }

    /// The same snapshot under another id.
    async fn again(&mut self, written: Written) -> Result<Written> {
        if rules::holds(GcRule::SendOnce) { self.restamp(written).await } else { Ok(written) }
    }

    /// The snapshot to send: stamped anew if it has waited for too long.
    pub(super) async fn current(&mut self, written: Written) -> Result<Written> {
        let waited = self.base.repository().clock().now().since(written.commit.time);
        if waited > RESTAMP_AFTER { self.restamp(written).await } else { Ok(written) }
    }
}
