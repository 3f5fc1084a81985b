//! Reading a snapshot, and staging changes on top of one.
//!
//! A [`Snapshot`] never changes. A [`WriteSession`] belongs to one branch: its changes are seen by nobody else until
//! [`commit`](WriteSession::commit), and a session that is dropped leaves at most garbage behind.

mod bulk;
mod columns;
mod content;
mod copy;
mod many;
mod origin;
mod read;
mod staged;
mod totals;
mod virtuals;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::error::Result;
use crate::format::{Commit, Entry, VirtualFile};
use crate::history::Revision;
use crate::id::SnapshotId;
use crate::map::Map;
use crate::objects::{Objects, Uploads};
use crate::refs::{Ref, RefName, RefState, require_known_epoch, require_no_collection};
use crate::repository::Repository;

pub use columns::{KeyColumn, VirtualRefs};
pub use copy::{Copied, Existing};
pub use origin::{EntryKind, KeyOrPrefix, Origin, Source};
pub use read::{Child, Dependency};
pub(crate) use staged::{Lookup, Staged, StagedEdits, StagedFile};
pub use totals::Totals;
pub(crate) use virtuals::Naming;
pub use virtuals::VirtualOptions;

/// One stored state of a repository, together with the repository it was read from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshot {
    repository: Repository,
    id: SnapshotId,
    commit: Arc<Commit>,
}

impl Snapshot {
    pub(crate) fn new(repository: Repository, id: SnapshotId, commit: Arc<Commit>) -> Self {
        Self { repository, id, commit }
    }

    /// Its id.
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// Everything the commit says.
    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// The repository it was read from.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    pub(crate) fn manifest(&self) -> Map<'_, Entry, Objects> {
        Map::new(self.repository.objects(), self.commit.manifest)
    }

    pub(crate) fn file_map(&self) -> Map<'_, VirtualFile, Objects> {
        Map::new(self.repository.objects(), self.commit.files)
    }
}

/// Changes staged on top of the tip of one branch, and not yet committed.
///
/// Isolation is snapshot isolation: reads see the tip at which the session was opened and the session's own changes;
/// a commit fails if another writer changed a key that this session changed, not if one changed a key it read. Of a Zarr
/// array more belongs together than single keys: see [`ConflictKind`](crate::ConflictKind).
#[derive(Debug)]
#[must_use = "a session that is dropped without `commit` abandons its changes"]
pub struct WriteSession {
    pub(crate) branch: Ref,
    pub(crate) base: Snapshot,
    /// The branch as it was when `base` was its tip.
    pub(crate) state: RefState,
    pub(crate) staged: Staged,
    /// Chunks on their way to the store.
    pub(crate) uploads: Uploads,
    /// Finds containers for URLs; made when first needed, and again when the containers change.
    pub(crate) naming: Option<Naming>,
}

impl WriteSession {
    /// The snapshot on which the changes are staged.
    pub fn base(&self) -> &Snapshot {
        &self.base
    }

    /// The branch that a commit will advance.
    pub fn branch(&self) -> &RefName {
        &self.branch.name
    }

    /// Whether a commit would have nothing to write.
    pub fn is_unchanged(&self) -> bool {
        self.staged.is_empty()
    }
}

impl Repository {
    /// Opens the snapshot that `revision` means, for reading: `repo.read("main@2025-03-01")`.
    pub async fn read(&self, revision: &str) -> Result<Snapshot> {
        self.read_revision(&revision.parse()?).await
    }

    /// Opens the snapshot that a parsed revision means.
    pub async fn read_revision(&self, revision: &Revision) -> Result<Snapshot> {
        let resolved = self.resolve(revision).await?;
        Ok(Snapshot::new(self.clone(), resolved.id, resolved.commit))
    }

    /// Opens a session that will advance `branch`; `NotFound` if there is no such branch.
    pub async fn write(&self, branch: &str) -> Result<WriteSession> {
        let branch = Ref::branch(branch.parse()?);
        self.require_writable()?;
        // In parallel: writers pay for the coming collector with one request and no round trip.
        let (found, ()) = futures::try_join!(self.refs().read(&branch), require_no_collection(&**self.storage()))?;
        let (state, tip) = found;
        require_known_epoch(&branch, &state.record)?;
        let commit = self.objects().commit(&tip).await?;
        let base = Snapshot::new(self.clone(), tip, commit);
        let staged = self.empty_staging();
        Ok(WriteSession { branch, base, state, staged, uploads: Uploads::new(self.objects()), naming: None })
    }
}
