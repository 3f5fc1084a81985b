//! The record of an opened repository: its shared handles and its options.
//!
//! The record lies below every layer that works on a repository, so the methods of [`Repository`] are in the modules of
//! their verbs: `read` in `history`, `write` in `session`, `commit` in `commit`, `create` and `open` in `repository`.

mod options;

use std::path::PathBuf;
use std::sync::Arc;

use crate::chunk::ChunkStore;
use crate::error::{Error, Result};
use crate::format::RepoConfig;
use crate::id::HashAlgorithm;
use crate::objects::Objects;
use crate::progress::{Amount, Progress};
use crate::refs::{Patience, Refs};
use crate::storage::Storage;
use crate::time::{Clock, Timestamp};
use crate::virtuals::Virtuals;

pub use options::{CreateOptions, OpenOptions};

/// A repository that has been opened. Cheap to clone; clones share caches.
///
/// Methods that only read change nothing, and can be cancelled at any moment by dropping the future: opening, reading, resolving
/// revisions, listing branches and tags, [`write`](Self::write), [`verify`](Self::verify). The methods that change the repository
/// say what a cancelled call leaves.
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
    /// Puts the handles together that work on `storage`.
    pub(crate) fn assemble(storage: Arc<dyn Storage>, config: RepoConfig, options: OpenOptions) -> Self {
        let objects = Objects::new(storage.clone(), config.hash, options.cache_bytes).with_upload_bytes(options.upload_bytes);
        let chunks = ChunkStore::new(storage, config.hash);
        let refs = Refs::new(objects.clone(), options.clock.clone(), options.patience);
        let virtuals = Virtuals::beside(options.access.clone(), options.cloud.clone());
        Self { inner: Arc::new(Inner { config, objects, chunks, refs, virtuals, options }) }
    }

    /// The same repository, whose long operations report to `progress` from now on. Shares caches with this handle.
    #[must_use]
    pub fn with_progress(&self, progress: Arc<dyn Progress>) -> Self {
        let Inner { config, objects, chunks, refs, virtuals, options } = &*self.inner;
        let (objects, chunks, refs, virtuals) = (objects.clone(), chunks.clone(), refs.clone(), virtuals.clone());
        let options = options.clone().progress(progress);
        Self { inner: Arc::new(Inner { config: *config, objects, chunks, refs, virtuals, options }) }
    }

    /// What long operations report to, if anything was given: for a long operation that is built on this crate.
    pub fn progress(&self) -> Option<&Arc<dyn Progress>> {
        self.inner.options.progress.as_ref()
    }

    /// The hash of every id in the repository.
    pub fn hash(&self) -> HashAlgorithm {
        self.inner.config.hash
    }

    /// When the repository was created.
    pub(crate) fn created(&self) -> Timestamp {
        self.inner.config.created
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

    pub(crate) fn options(&self) -> &OpenOptions {
        &self.inner.options
    }

    pub(crate) fn patience(&self) -> Patience {
        self.inner.options.patience
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.options.clock
    }

    /// Reports how much there will be, if progress is reported.
    pub(crate) fn expect(&self, items: u64, bytes: u64) {
        if let Some(progress) = &self.inner.options.progress {
            progress.expect(Amount { items, bytes });
        }
    }

    /// Reports that so much more is done, if progress is reported.
    pub(crate) fn advance(&self, items: u64, bytes: u64) {
        if let Some(progress) = &self.inner.options.progress {
            progress.advance(Amount { items, bytes });
        }
    }

    /// Whether both are clones of one opened repository, so that a writer of one may rely on what a reader of the other found.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The directory for scratch files.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.inner.options.scratch.clone().unwrap_or_else(std::env::temp_dir)
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
