//! What the markers of a repository say of its versions, asked as rarely as can be.

use tokio::sync::OnceCell;

use crate::error::{Error, ErrorKind, Result};
use crate::handle::Repository;
use crate::history::{ListedMarks, PastMark};
use crate::id::SnapshotId;

/// The markers of a repository, listed when the first version is asked for. Where they cannot be listed, on a web server, each version is
/// asked for its own.
#[derive(Debug)]
pub(super) struct SyncMarks<'a> {
    of: &'a Repository,
    listed: OnceCell<Option<ListedMarks>>,
}

impl<'a> SyncMarks<'a> {
    pub(super) fn of(repository: &'a Repository) -> Self {
        Self { of: repository, listed: OnceCell::new() }
    }

    /// What is known to be missing before a version.
    pub(super) async fn before(&self, id: SnapshotId) -> Result<PastMark> {
        let listed = self.listed.get_or_try_init(|| self.list()).await?;
        if listed.as_ref().is_some_and(|listed| !listed.has(id)) {
            return Ok(PastMark::Whole);
        }
        match PastMark::read(&**self.of.storage(), id).await {
            // Some stores refuse to tell a reader that an object does not exist. If it does, a parent is missing, and that is an error.
            Err(e) if is_refused(&e) => Ok(PastMark::Whole),
            mark => mark.map_err(|e| e.context(self.of.storage())),
        }
    }

    async fn list(&self) -> Result<Option<ListedMarks>> {
        match ListedMarks::list(&**self.of.storage(), self.of.hash()).await {
            Err(e) if e.kind() == ErrorKind::Unsupported || is_refused(&e) => Ok(None),
            listed => listed.map(Some).map_err(|e| e.context(self.of.storage())),
        }
    }
}

fn is_refused(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NoPermission | ErrorKind::Denied)
}
