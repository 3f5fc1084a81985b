//! Three-way merges: what leads from a base to another version is applied to the tip of a branch.
//!
//! It is the rebase of a commit turned round. A session is opened on the base, the changes are staged in it, and the tip of the
//! branch becomes its base by the same rules by which a commit follows a branch that has moved.

use super::MergeOptions;
use crate::commit::{CommitError, CommitOptions, Committed};
use crate::conflict::{Conflict, Rebased, rebase};
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::RefName;
use crate::session::{AppliedVersions, MergedMeanwhile, WriteSession};
use crate::snapshot::Snapshot;

/// Changes of other versions, staged on the tip of a branch and not yet committed.
///
/// Look at the [`session`](Self::session), stage more in it, and [`commit`](Self::commit), or commit the session with options of your own.
/// Nothing is in the store before. A branch that moves meanwhile is followed as by every commit.
#[derive(Debug)]
#[must_use = "nothing is applied before `commit`"]
#[non_exhaustive]
pub struct StagedMerge {
    /// The session of the branch.
    pub session: WriteSession,
    /// What the commit will say, and whose changes it keeps if the branch moves meanwhile. Here, as for every session, "ours" is what is
    /// staged.
    pub options: CommitOptions,
    /// The version from which the changes of both sides were counted.
    pub base: SnapshotId,
    /// Conflicts that [`MergeOptions::on_conflict`] settled: at most the first 10,000.
    pub settled: Vec<Conflict>,
}

impl StagedMerge {
    /// Commits what is staged. A merge is committed even if it changes nothing, unless the branch has the version already.
    ///
    /// Fails, and is cancelled, as [`WriteSession::commit`] is.
    pub async fn commit(self) -> Result<Committed, Box<CommitError>> {
        self.session.commit_settling(self.options).await
    }
}

/// What is applied to a branch.
pub(super) struct Application<'a> {
    /// What is applied leads from this version...
    pub(super) from: &'a Snapshot,
    /// ...to this one.
    pub(super) to: &'a Snapshot,
    /// The further parents of the commit.
    pub(super) parents: Vec<Snapshot>,
    /// The one latest common ancestor, if `from` was taken because it is that.
    pub(super) common: Option<SnapshotId>,
    /// The version that messages name.
    pub(super) about: SnapshotId,
}

impl Repository {
    /// Stages a merge of `theirs` into `branch`: what changed between their latest common ancestor and `theirs`, on the tip of the branch.
    /// The commit has the tip as its first parent, so it continues the line of the branch, and `theirs` as its second one.
    ///
    /// Both sides' changes are compared as those of two writers of one branch, see [`OnConflict`](crate::OnConflict). Costs the two
    /// differences, and as much as a commit of what is staged. If the branch has `theirs` already, nothing is staged.
    ///
    /// `Conflict` when both sides changed something in different ways and no policy settles it: [`Error::detail`] lists it. `Conflict` also
    /// when there are several latest common ancestors, which the message names, and `Invalid` when there is none: name a base then.
    /// `Invalid` when no branch or tag keeps `theirs`, or the base, and when `theirs` is stamped more than 10 minutes after this machine's
    /// clock. Dropping the future leaves nothing.
    pub async fn merge(&self, branch: &RefName, theirs: &Snapshot, options: impl Into<MergeOptions>) -> Result<StagedMerge> {
        let options: MergeOptions = options.into();
        let message = || format!("Merge {} into {branch}", short(theirs.id()));
        let commit = options.for_commit(message);
        commit.check()?;
        let session = self.write(branch.as_str()).await?;
        session.require_kept(theirs).await?;
        self.require_present(theirs)?;
        let ours = session.base().clone();
        let base = match &options.base {
            Some(base) => {
                require_base_kept(&session, base, theirs).await?;
                base.clone()
            }
            None => self.merge_base(&ours, theirs).await?,
        };
        if options.base.is_none() && base.id() == theirs.id() {
            return Ok(StagedMerge { session, options: commit, base: base.id(), settled: Vec::new() });
        }
        let common = options.base.is_none().then(|| base.id());
        let application = Application { from: &base, to: theirs, parents: vec![theirs.clone()], common, about: theirs.id() };
        let (session, settled) = apply(session, application, &commit).await?;
        Ok(StagedMerge { session, options: commit, base: base.id(), settled })
    }

    /// The one latest common ancestor.
    async fn merge_base(&self, ours: &Snapshot, theirs: &Snapshot) -> Result<Snapshot> {
        match ours.common_ancestors(theirs).await?.as_slice() {
            [base] => {
                let read = self.read_revision(&(*base).into()).await;
                read.map_err(|e| e.context("the latest common ancestor, from which a merge begins unless another base is named"))
            }
            [] => Err(Error::invalid(format!("snapshots {} and {} have no common ancestor; name a base", ours.id(), theirs.id()))),
            several => {
                let named: Vec<_> = several.iter().map(ToString::to_string).collect();
                Err(Error::conflict(format!(
                    "snapshots {} and {} have {} latest common ancestors, and what each side changed depends on which is taken; name one as \
                     the base: {}",
                    ours.id(),
                    theirs.id(),
                    several.len(),
                    named.join(", ")
                )))
            }
        }
    }
}

/// `Invalid` when nothing keeps a base, of which values may be linked where changes are undone: a garbage collection may have removed a part
/// of it. An ancestor of `kept`, or of the tip of the branch, is kept with that.
pub(super) async fn require_base_kept(session: &WriteSession, base: &Snapshot, kept: &Snapshot) -> Result<()> {
    let error = match session.require_kept(base).await {
        Err(error) if error.kind() == ErrorKind::Invalid && session.base.repository().is_same(base.repository()) => error,
        done => return done,
    };
    for of in [kept, &session.base] {
        match base.is_behind(of).await {
            // What has expired is kept without its data.
            Ok(true) if of.repository().has_expired(base.id(), base.record().time).await? => {}
            Ok(true) => return Ok(()),
            // Their histories are not known far enough to tell.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Ok(false) => {}
            Err(e) => return Err(e),
        }
    }
    Err(error)
}

/// Stages an application in a session in which nothing is staged yet.
pub(super) async fn apply(
    mut session: WriteSession,
    application: Application<'_>,
    options: &CommitOptions,
) -> Result<(WriteSession, Vec<Conflict>)> {
    let Application { from, to, parents, common, about } = application;
    let now = session.state.clone();
    session.stage_changes(from, to).await?;
    session.applied = Some(AppliedVersions { parents, common, meanwhile: MergedMeanwhile::default() });
    match Box::pin(rebase(&mut session, now, &options.policies()?)).await? {
        Rebased::Moved(settled) => Ok((session, settled.into_list())),
        Rebased::Refused(conflicts) => Err(conflicts.to_applied_error(&session.branch, &format!("snapshot {about}"))),
    }
}

/// The beginning of an id, long enough to name it.
pub(super) fn short(id: SnapshotId) -> String {
    id.to_string().chars().take(16).collect()
}
