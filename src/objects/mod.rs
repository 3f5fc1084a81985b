//! Typed objects over bytes: nodes and snapshots, verified when read, cached by weight.
//!
//! Every object that is read hashes to the id by which it was asked for; only the list of changed keys beside a snapshot is what its writer
//! said. An object that is written is durable only after the storage's
//! barrier, which a commit passes before it publishes.

mod cache;
mod flight;
mod read;
mod unacknowledged;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::id::HashAlgorithm;
use crate::map::Shape;
use crate::storage::Storage;

pub(crate) use cache::CachedValue;
pub(crate) use write::Uploads;

use cache::Caches;

/// How many bytes may be on their way to the store at once, unless [`OpenOptions`](crate::OpenOptions) say otherwise.
pub(crate) const UPLOAD_BYTES: u64 = 256 << 20;

/// The object database of one repository. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub(crate) struct Objects {
    storage: Arc<dyn Storage>,
    hash: HashAlgorithm,
    caches: Arc<Caches>,
    /// The byte budget of each [`Uploads`].
    upload_bytes: u64,
}

impl Objects {
    /// Opens the objects in `storage`, with at most `cache_bytes` of decoded nodes kept in memory.
    pub(crate) fn new(storage: Arc<dyn Storage>, hash: HashAlgorithm, cache_bytes: u64) -> Self {
        Self { storage, hash, caches: Arc::new(Caches::new(cache_bytes)), upload_bytes: UPLOAD_BYTES }
    }

    /// The same, with another byte budget for uploads.
    #[must_use]
    pub(crate) fn with_upload_bytes(mut self, bytes: u64) -> Self {
        self.upload_bytes = bytes;
        self
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// The hash of every id in the repository.
    pub(crate) fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    /// The shape of its maps.
    pub(crate) fn shape(&self) -> Shape {
        Shape::v1(self.hash)
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "objects({}, {})", self.storage, self.hash)
    }
}
