//! Reading one stored state of a repository. A [`Snapshot`] never changes.

mod arrays;
mod content;
mod expired;
mod many;
mod origin;
mod pieces;
mod read;
mod withdrawn;

use std::sync::Arc;

use crate::format::{Commit, Entry, VirtualFile};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::map::Map;
use crate::objects::Objects;

pub(crate) use arrays::Arrays;
pub use arrays::Group;
pub use expired::{Expiration, Retention};
pub(crate) use many::{Asked, PartReader, ReadPlan};
pub use origin::{EntryKind, KeyOrPrefix, Origin, Source};
pub(crate) use read::within;
pub use read::{Child, Dependency};
pub use withdrawn::Withdrawal;

/// One stored state of a repository, together with the repository it was read from. Cheap to clone.
///
/// Every method only reads the repository. Calls can be cancelled, and streams dropped, at any moment: nothing changes, except that
/// [`checkout`](Self::checkout) and [`export_car`](Self::export_car) say what a cancelled call leaves of the files that they write.
#[derive(Debug, Clone)]
pub struct Snapshot {
    repository: Repository,
    id: SnapshotId,
    commit: Arc<Commit>,
    withdrawn: Option<Arc<Withdrawal>>,
}

impl Snapshot {
    pub(crate) fn new(repository: Repository, id: SnapshotId, commit: Arc<Commit>) -> Self {
        Self { repository, id, commit, withdrawn: None }
    }

    /// The same snapshot with what is on record about its withdrawal.
    pub(crate) fn noting(self, withdrawn: Option<Withdrawal>) -> Self {
        Self { withdrawn: withdrawn.map(Arc::new), ..self }
    }

    /// By whom, when and why the version was withdrawn, as it was when the snapshot was opened by a revision or an id; `None` if it was not.
    pub fn withdrawn(&self) -> Option<&Withdrawal> {
        self.withdrawn.as_deref()
    }

    /// Its id.
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// The stored record: time, message, author, parents, containers.
    pub fn record(&self) -> &Commit {
        &self.commit
    }

    /// The repository it was read from.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The nodes of its maps, for readers that outlive this handle.
    pub(crate) fn nodes(&self) -> Arc<Objects> {
        Arc::new(self.repository.objects().clone())
    }

    pub(crate) fn manifest(&self) -> Map<'_, Entry, Objects> {
        Map::new(self.repository.objects(), self.commit.manifest)
    }

    pub(crate) fn file_map(&self) -> Map<'_, VirtualFile, Objects> {
        Map::new(self.repository.objects(), self.commit.files)
    }
}
