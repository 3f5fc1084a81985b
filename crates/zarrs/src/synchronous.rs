//! The synchronous store.

use std::sync::Arc;

use bytes::Bytes;
use firnline::block_on;
use tokio::runtime::Handle;
use zarrs_storage::byte_range::ByteRangeIterator;
use zarrs_storage::{
    ListableStorageTraits, MaybeBytes, MaybeBytesIterator, OffsetBytesIterator, ReadableStorageTraits, StorageError, StoreKey, StoreKeys,
    StoreKeysPrefixes, StorePrefix, WritableStorageTraits,
};

use crate::asynchronous::AsyncFirnlineStore;
use crate::shared::StillShared;
use crate::source::{StoreSource, StoreTarget};
use crate::{read, write};

/// A synchronous store over a [`Snapshot`](firnline::Snapshot), which can be read, or a
/// [`WriteSession`](firnline::WriteSession) or a
/// [`ForkSession`](firnline::ForkSession), which can also be written.
///
/// Every call runs on the thread that makes it, as by [`firnline::block_on`]: local files are read without a switch of threads. It must
/// not be called from an async function.
///
/// What is written is staged in the session, where only stores of the same session read it, until the session is
/// [taken out](Self::into_session) and [committed](firnline::WriteSession::commit).
#[derive(Debug)]
pub struct FirnlineStore<S> {
    store: AsyncFirnlineStore<S>,
    runtime: Handle,
}

impl<S: StoreSource> FirnlineStore<S> {
    /// A store over a snapshot or a session.
    ///
    /// `runtime` does what cannot be done on the calling thread: requests to servers, uploads, hashing of large values. It must be
    /// a runtime of several threads, or one whose only thread is kept running.
    pub fn new(source: S, runtime: Handle) -> Self {
        Self::shared(Arc::new(source), runtime)
    }

    /// A store over a snapshot or a session that others hold as well, such as other stores and tasks that write without zarrs.
    pub fn shared(source: Arc<S>, runtime: Handle) -> Self {
        Self { store: AsyncFirnlineStore::shared(source), runtime }
    }

    /// The snapshot or session.
    pub fn source(&self) -> &Arc<S> {
        self.store.source()
    }
}

impl<S: StoreTarget> FirnlineStore<S> {
    /// Takes the session out of the store, to commit it; a fork, to [finish](firnline::ForkSession::finish) it.
    ///
    /// Fails if the store or the session has other holders, and gives the store back. Arrays and groups hold their store: drop them
    /// first.
    pub fn into_session(self: Arc<Self>) -> Result<S, StillShared<Self>> {
        let Self { store, runtime } = Arc::try_unwrap(self).map_err(StillShared::of)?;
        store.take().map_err(|(store, holders)| StillShared::new(Arc::new(Self { store, runtime }), holders))
    }
}

impl<S: StoreSource> ReadableStorageTraits for FirnlineStore<S> {
    fn get(&self, key: &StoreKey) -> Result<MaybeBytes, StorageError> {
        block_on(&self.runtime, read::get(&**self.source(), key))
    }

    fn get_partial_many<'a>(&'a self, key: &StoreKey, byte_ranges: ByteRangeIterator<'a>) -> Result<MaybeBytesIterator<'a>, StorageError> {
        let ranges: Vec<_> = byte_ranges.collect();
        let values = block_on(&self.runtime, read::get_ranges(&**self.source(), key, &ranges))?;
        Ok(values.map(|values| Box::new(values.into_iter().map(Ok)) as _))
    }

    fn size_key(&self, key: &StoreKey) -> Result<Option<u64>, StorageError> {
        block_on(&self.runtime, read::size_key(&**self.source(), key))
    }

    fn supports_get_partial(&self) -> bool {
        true
    }
}

impl<S: StoreSource> ListableStorageTraits for FirnlineStore<S> {
    fn list(&self) -> Result<StoreKeys, StorageError> {
        self.list_prefix(&StorePrefix::root())
    }

    fn list_prefix(&self, prefix: &StorePrefix) -> Result<StoreKeys, StorageError> {
        block_on(&self.runtime, read::list(&**self.source(), prefix))
    }

    fn list_dir(&self, prefix: &StorePrefix) -> Result<StoreKeysPrefixes, StorageError> {
        block_on(&self.runtime, read::list_dir(&**self.source(), prefix))
    }

    fn size_prefix(&self, prefix: &StorePrefix) -> Result<u64, StorageError> {
        block_on(&self.runtime, read::size_prefix(&**self.source(), prefix))
    }
}

impl<S: StoreTarget> WritableStorageTraits for FirnlineStore<S> {
    fn set(&self, key: &StoreKey, value: Bytes) -> Result<(), StorageError> {
        block_on(&self.runtime, write::set((**self.source()).as_ref(), key, value))
    }

    fn set_partial_many(&self, key: &StoreKey, offset_values: OffsetBytesIterator) -> Result<(), StorageError> {
        let parts: Vec<_> = offset_values.collect();
        block_on(&self.runtime, self.store.set_parts(key, parts))
    }

    fn erase(&self, key: &StoreKey) -> Result<(), StorageError> {
        block_on(&self.runtime, write::erase((**self.source()).as_ref(), key))
    }

    fn erase_prefix(&self, prefix: &StorePrefix) -> Result<(), StorageError> {
        write::erase_prefix((**self.source()).as_ref(), prefix);
        Ok(())
    }

    /// No: a stored value is never changed, so a part costs as much as the whole.
    fn supports_set_partial(&self) -> bool {
        false
    }
}
