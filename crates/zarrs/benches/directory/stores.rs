//! The stores that are compared, each at a place of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firnline::{CreateOptions, HashAlgorithm, OpenOptions, Repository, block_on};
use tokio::runtime::Handle;
use zarrs_filesystem::FilesystemStore;
use zarrs_storage::storage_adapter::sync_to_async::{SyncToAsyncSpawnBlocking, SyncToAsyncStorageAdapter};
use zarrs_storage::{Bytes, OffsetBytesIterator, StorageError, StoreKey, StorePrefix, WritableStorageTraits};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Firnline(Firnline),
    Directory,
    OneSync,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Firnline {
    Sha256,
    Blake3,
}

/// Where one store keeps its data.
pub(crate) struct Place {
    pub(crate) kind: Kind,
    path: PathBuf,
    pub(crate) runtime: Handle,
}

impl Place {
    pub(crate) fn new(parent: &Path, kind: Kind, runtime: &Handle) -> Self {
        Self { kind, path: parent.join(format!("{kind:?}")), runtime: runtime.clone() }
    }

    /// The same place, filled without a sync for each chunk.
    pub(crate) fn quickly(&self) -> Self {
        let kind = if matches!(self.kind, Kind::Directory) { Kind::OneSync } else { self.kind };
        Self { kind, path: self.path.clone(), runtime: self.runtime.clone() }
    }

    fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Prepares an empty place.
    pub(crate) fn create(&self) {
        match self.kind {
            Kind::Firnline(which) => {
                let hash = match which {
                    Firnline::Sha256 => HashAlgorithm::Sha2_256,
                    Firnline::Blake3 => HashAlgorithm::Blake3,
                };
                let options = CreateOptions::from(OpenOptions::default()).hash(hash);
                block_on(&self.runtime, Repository::create_with(self.text(), options)).unwrap();
            }
            Kind::Directory | Kind::OneSync => fs::create_dir_all(&self.path).unwrap(),
        }
    }

    /// The repository, with nothing of it in memory.
    pub(crate) async fn repository(&self) -> Repository {
        Repository::open(self.text()).await.unwrap()
    }

    pub(crate) fn directory(&self) -> Arc<FilesystemStore> {
        Arc::new(FilesystemStore::new(&self.path).unwrap())
    }

    pub(crate) fn unsynced(&self) -> Arc<Unsynced> {
        Arc::new(Unsynced(self.path.clone()))
    }

    /// Waits until everything on the disk of this place is durable.
    pub(crate) fn sync(&self) {
        rustix::fs::syncfs(fs::File::open(&self.path).unwrap()).unwrap();
    }
}

/// An asynchronous store that calls a synchronous one on threads that may block.
pub(crate) fn on_threads<S: ?Sized>(store: Arc<S>) -> Arc<SyncToAsyncStorageAdapter<S, Threads>> {
    Arc::new(SyncToAsyncStorageAdapter::new(store, Threads))
}

pub(crate) struct Threads;

impl SyncToAsyncSpawnBlocking for Threads {
    async fn spawn_blocking<F, R>(&self, work: F) -> R
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        tokio::task::spawn_blocking(work).await.unwrap()
    }
}

/// A directory in which values are written and nothing is synced.
pub(crate) struct Unsynced(PathBuf);

impl WritableStorageTraits for Unsynced {
    fn set(&self, key: &StoreKey, value: Bytes) -> Result<(), StorageError> {
        let path = self.0.join(key.as_str());
        if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
            fs::create_dir_all(parent)?;
        }
        Ok(fs::write(path, value)?)
    }

    fn set_partial_many(&self, key: &StoreKey, _: OffsetBytesIterator) -> Result<(), StorageError> {
        Err(StorageError::Unsupported(format!("a part of {key}")))
    }

    fn erase(&self, key: &StoreKey) -> Result<(), StorageError> {
        Ok(fs::remove_file(self.0.join(key.as_str()))?)
    }

    fn erase_prefix(&self, prefix: &StorePrefix) -> Result<(), StorageError> {
        Ok(fs::remove_dir_all(self.0.join(prefix.as_str()))?)
    }

    fn supports_set_partial(&self) -> bool {
        false
    }
}
