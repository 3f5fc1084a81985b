//! The asynchronous store.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::lock::Mutex;
use futures::{StreamExt as _, stream};
use zarrs_storage::byte_range::ByteRangeIterator;
use zarrs_storage::{
    AsyncListableStorageTraits, AsyncMaybeBytesIterator, AsyncReadableStorageTraits, AsyncWritableStorageTraits, MaybeBytes,
    OffsetBytesIterator, StorageError, StoreKey, StoreKeys, StoreKeysPrefixes, StorePrefix,
};

use crate::shared::{StillShared, others};
use crate::source::{StoreSource, StoreTarget};
use crate::{read, write};

/// An asynchronous store over a [`Snapshot`](firnline::Snapshot), which can be read, or a
/// [`WriteSession`](firnline::WriteSession) or a
/// [`ForkSession`](firnline::ForkSession), which can also be written.
///
/// Runs on a Tokio runtime. Every call can be cancelled by dropping its future: calls that read change nothing, calls that write leave
/// what the method of [`WriteSession`](firnline::WriteSession) of the same meaning leaves.
///
/// What is written is staged in the session, where only stores of the same session read it, until the session is
/// [taken out](Self::into_session) and [committed](firnline::WriteSession::commit).
#[derive(Debug)]
pub struct AsyncFirnlineStore<S> {
    source: Arc<S>,
    /// Held while a value is read, changed and written again.
    partial: Mutex<()>,
}

impl<S: StoreSource> AsyncFirnlineStore<S> {
    /// A store over a snapshot or a session.
    pub fn new(source: S) -> Self {
        Self::shared(Arc::new(source))
    }

    /// A store over a snapshot or a session that others hold as well, such as other stores and tasks that write without zarrs.
    pub fn shared(source: Arc<S>) -> Self {
        Self { source, partial: Mutex::default() }
    }

    /// The snapshot or session.
    pub fn source(&self) -> &Arc<S> {
        &self.source
    }
}

impl<S: StoreTarget> AsyncFirnlineStore<S> {
    /// Takes the session out of the store, to commit it; a fork, to [finish](firnline::ForkSession::finish) it.
    ///
    /// Fails if the store or the session has other holders, and gives the store back. Arrays and groups hold their store: drop them
    /// first. Writes that have returned are staged; a write that is still running holds the store.
    pub fn into_session(self: Arc<Self>) -> Result<S, StillShared<Self>> {
        let store = Arc::try_unwrap(self).map_err(StillShared::of)?;
        store.take().map_err(|(store, holders)| StillShared::new(Arc::new(store), holders))
    }

    /// The session; or the store again, and the number of the other holders of the session.
    pub(crate) fn take(self) -> Result<S, (Self, usize)> {
        let Self { source, partial } = self;
        Arc::try_unwrap(source).map_err(|source| {
            let holders = others(&source);
            (Self { source, partial }, holders)
        })
    }

    /// Writes parts of a value, one call after the other.
    pub(crate) async fn set_parts(&self, key: &StoreKey, parts: Vec<(u64, Bytes)>) -> Result<(), StorageError> {
        let _turn = self.partial.lock().await;
        write::set_parts((*self.source).as_ref(), key, parts).await
    }
}

#[async_trait]
impl<S: StoreSource> AsyncReadableStorageTraits for AsyncFirnlineStore<S> {
    async fn get(&self, key: &StoreKey) -> Result<MaybeBytes, StorageError> {
        read::get(&*self.source, key).await
    }

    async fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        byte_ranges: ByteRangeIterator<'a>,
    ) -> Result<AsyncMaybeBytesIterator<'a>, StorageError> {
        let ranges: Vec<_> = byte_ranges.collect();
        let values = read::get_ranges(&*self.source, key, &ranges).await?;
        Ok(values.map(|values| stream::iter(values.into_iter().map(Ok)).boxed()))
    }

    async fn size_key(&self, key: &StoreKey) -> Result<Option<u64>, StorageError> {
        read::size_key(&*self.source, key).await
    }

    fn supports_get_partial(&self) -> bool {
        true
    }
}

#[async_trait]
impl<S: StoreSource> AsyncListableStorageTraits for AsyncFirnlineStore<S> {
    async fn list(&self) -> Result<StoreKeys, StorageError> {
        read::list(&*self.source, &StorePrefix::root()).await
    }

    async fn list_prefix(&self, prefix: &StorePrefix) -> Result<StoreKeys, StorageError> {
        read::list(&*self.source, prefix).await
    }

    async fn list_dir(&self, prefix: &StorePrefix) -> Result<StoreKeysPrefixes, StorageError> {
        read::list_dir(&*self.source, prefix).await
    }

    async fn size_prefix(&self, prefix: &StorePrefix) -> Result<u64, StorageError> {
        read::size_prefix(&*self.source, prefix).await
    }
}

#[async_trait]
impl<S: StoreTarget> AsyncWritableStorageTraits for AsyncFirnlineStore<S> {
    async fn set(&self, key: &StoreKey, value: Bytes) -> Result<(), StorageError> {
        write::set((*self.source).as_ref(), key, value).await
    }

    async fn set_partial_many<'a>(&'a self, key: &StoreKey, offset_values: OffsetBytesIterator<'a>) -> Result<(), StorageError> {
        let parts: Vec<_> = offset_values.collect();
        self.set_parts(key, parts).await
    }

    async fn erase(&self, key: &StoreKey) -> Result<(), StorageError> {
        write::erase((*self.source).as_ref(), key).await
    }

    async fn erase_prefix(&self, prefix: &StorePrefix) -> Result<(), StorageError> {
        write::erase_prefix((*self.source).as_ref(), prefix);
        Ok(())
    }

    /// No: a stored value is never changed, so a part costs as much as the whole.
    fn supports_set_partial(&self) -> bool {
        false
    }
}
