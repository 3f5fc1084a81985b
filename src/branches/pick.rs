//! Applying one commit to a branch, or undoing it there.

use super::merge::{Application, apply, require_base_kept};
use super::{MergeOptions, StagedMerge};
use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::RefName;
use crate::snapshot::Snapshot;

/// The field of a commit that names the one that was applied.
const PICKED: &str = "cherry-picked-from";
/// The field of a commit that names the one that was undone.
const REVERTS: &str = "reverts";

impl Repository {
    /// Stages what one commit changed, `picked` against its parent, on the tip of `branch`. The new commit has the message and the author
    /// of that one, unless others are given, and names it in the field `cherry-picked-from`.
    ///
    /// Fails as [`merge`](Self::merge) does. A merge has several parents: `Invalid` unless the base names the one against which its
    /// changes count. `Invalid` also for a commit without parents. Dropping the future leaves nothing.
    pub async fn cherry_pick(&self, branch: &RefName, picked: &Snapshot, options: impl Into<MergeOptions>) -> Result<StagedMerge> {
        let mut options: MergeOptions = options.into();
        let base = self.parent_of(picked, &options).await?;
        options.author = options.author.or_else(|| picked.record().author.clone());
        options.meta.insert(PICKED.to_owned(), picked.id().to_string());
        let message = || picked.record().message.clone();
        self.apply_one(branch, picked, (&base, picked), options, message).await
    }

    /// Stages the opposite of what one commit changed, on the tip of `branch`: what it set becomes what it was before. The new commit names
    /// it in the field `reverts`. The history stays as it is.
    ///
    /// Fails as [`cherry_pick`](Self::cherry_pick) does. `Conflict` when what the commit changed was changed again since.
    pub async fn revert(&self, branch: &RefName, reverted: &Snapshot, options: impl Into<MergeOptions>) -> Result<StagedMerge> {
        let mut options: MergeOptions = options.into();
        let base = self.parent_of(reverted, &options).await?;
        let id = reverted.id();
        options.meta.insert(REVERTS.to_owned(), id.to_string());
        let message = || format!("Revert \"{}\"\n\nUndoes snapshot {id}.", reverted.record().summary());
        self.apply_one(branch, reverted, (reverted, &base), options, message).await
    }

    async fn apply_one(
        &self,
        branch: &RefName,
        about: &Snapshot,
        (from, to): (&Snapshot, &Snapshot),
        options: MergeOptions,
        message: impl FnOnce() -> String,
    ) -> Result<StagedMerge> {
        let commit = options.for_commit(message);
        commit.check()?;
        let session = self.write(branch.as_str()).await?;
        session.require_kept(to).await?;
        require_base_kept(&session, from, to).await?;
        let application = Application { from, to, parents: Vec::new(), common: None, about: about.id() };
        let (session, settled) = apply(session, application, &commit).await?;
        Ok(StagedMerge { session, options: commit, base: from.id(), settled })
    }

    /// The version against which the changes of a commit count.
    async fn parent_of(&self, of: &Snapshot, options: &MergeOptions) -> Result<Snapshot> {
        let (id, parents) = (of.id(), &of.record().parents);
        if let Some(base) = &options.base {
            return if parents.contains(&base.id()) { Ok(base.clone()) } else { Err(not_a_parent(base.id(), id)) };
        }
        match parents.as_slice() {
            [] => Err(Error::invalid(format!("snapshot {id} has no parent against which its changes could count"))),
            [parent] => self.read_revision(&(*parent).into()).await,
            several => {
                let named: Vec<_> = several.iter().map(ToString::to_string).collect();
                Err(Error::invalid(format!(
                    "snapshot {id} is a merge; name the parent against which its changes count: {}",
                    named.join(", ")
                )))
            }
        }
    }
}

fn not_a_parent(base: SnapshotId, of: SnapshotId) -> Error {
    Error::invalid(format!("snapshot {base} is no parent of {of}"))
}
