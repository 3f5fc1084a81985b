//! A repository: the handle from which everything starts.

mod create;
mod open;
mod options;
mod refs;

use std::sync::Arc;

use crate::chunk::ChunkStore;
use crate::error::{Error, Result};
use crate::format::RepoConfig;
use crate::id::HashAlgorithm;
use crate::objects::Objects;
use crate::progress::Amount;
use crate::refs::Refs;
use crate::session::Staged;
use crate::storage::Storage;
use crate::time::Clock;
use crate::virtuals::Virtuals;

pub use options::{CreateOptions, OpenOptions};
pub use refs::{RefInfo, TagOptions};

/// A repository that has been opened. Cheap to clone; clones share caches.
#[derive(Debug, Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: RepoConfig,
    objects: Objects,
    chunks: ChunkStore,
    refs: Refs,
    virtuals: Virtuals,
    options: OpenOptions,
}

impl Repository {
    /// The hash of every id in the repository.
    pub fn hash(&self) -> HashAlgorithm {
        self.inner.config.hash
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        self.inner.objects.storage()
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.inner.objects
    }

    pub(crate) fn chunks(&self) -> &ChunkStore {
        &self.inner.chunks
    }

    pub(crate) fn refs(&self) -> &Refs {
        &self.inner.refs
    }

    pub(crate) fn virtuals(&self) -> &Virtuals {
        &self.inner.virtuals
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.options.clock
    }

    /// Tells whoever looks on how much there will be.
    pub(crate) fn expect(&self, items: u64, bytes: u64) {
        if let Some(progress) = &self.inner.options.progress {
            progress.expect(Amount { items, bytes });
        }
    }

    /// Tells whoever looks on that so much more is done.
    pub(crate) fn advance(&self, items: u64, bytes: u64) {
        if let Some(progress) = &self.inner.options.progress {
            progress.advance(Amount { items, bytes });
        }
    }

    /// Whether both are one opened repository: what a reader of one found, a writer of the other may rely on.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Room for the changes of one session.
    pub(crate) fn empty_staging(&self) -> Staged {
        let options = &self.inner.options;
        Staged::new(options.staged_bytes, options.scratch.clone().unwrap_or_else(std::env::temp_dir))
    }

    /// Waits a little before a lost race is run again, so that many writers do not keep meeting.
    pub(crate) async fn pause_after_lost_race(&self, attempt: u32) {
        self.inner.options.patience.wait(attempt.min(2)).await;
    }

    /// Refuses to change a repository that was opened for reading.
    pub(crate) fn require_writable(&self) -> Result<()> {
        if self.inner.options.is_read_only() {
            return Err(Error::invalid(format!("{} was opened for reading", self.storage())));
        }
        Ok(())
    }
}
