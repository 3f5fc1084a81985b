//! What a store reads from: a snapshot, or a session or a fork of one with what is staged in it.

use std::ops::Range;

use bytes::Bytes;
use firnline::{Child, Entry, ForkSession, Key, Prefix, Result, Snapshot, WriteSession};
use futures::TryStreamExt as _;

/// What a store can read from: a [`Snapshot`], a [`WriteSession`] or a [`ForkSession`]. Only these implement it.
pub trait StoreSource: reads::Reads {}

impl StoreSource for Snapshot {}
impl StoreSource for WriteSession {}
impl StoreSource for ForkSession {}

/// What a store can also write to: a [`WriteSession`] or a [`ForkSession`].
pub trait StoreTarget: StoreSource + AsRef<WriteSession> {}

impl StoreTarget for WriteSession {}
impl StoreTarget for ForkSession {}

/// The reads that stores need, which snapshots and sessions have in common.
pub(crate) mod reads {
    use super::{Bytes, Child, Entry, Key, Prefix, Range, Result};

    #[expect(unnameable_types, reason = "seals StoreSource")]
    pub trait Reads: Send + Sync + 'static {
        fn entry(&self, key: &Key) -> impl Future<Output = Result<Option<Entry>>> + Send;
        fn value(&self, key: &Key) -> impl Future<Output = Result<Option<Bytes>>> + Send;
        /// Ranges within entries that were found.
        fn ranges(&self, parts: &[(Key, Option<Entry>, Range<u64>)]) -> impl Future<Output = Result<Vec<Option<Bytes>>>> + Send;
        fn children(&self, prefix: &Prefix) -> impl Future<Output = Result<Vec<Child>>> + Send;
        /// Calls `each` for every key below `prefix`.
        fn visit(&self, prefix: &Prefix, each: impl FnMut(Key, Entry) + Send) -> impl Future<Output = Result<()>> + Send;
    }
}

impl reads::Reads for Snapshot {
    async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        self.entry(key).await
    }

    async fn value(&self, key: &Key) -> Result<Option<Bytes>> {
        self.get(key).await
    }

    async fn ranges(&self, parts: &[(Key, Option<Entry>, Range<u64>)]) -> Result<Vec<Option<Bytes>>> {
        self.get_ranges_of(parts).await
    }

    async fn children(&self, prefix: &Prefix) -> Result<Vec<Child>> {
        self.children(prefix).await
    }

    async fn visit(&self, prefix: &Prefix, mut each: impl FnMut(Key, Entry) + Send) -> Result<()> {
        let mut entries = std::pin::pin!(self.list(prefix));
        while let Some((key, entry)) = entries.try_next().await? {
            each(key, entry);
        }
        Ok(())
    }
}

impl reads::Reads for WriteSession {
    async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        self.entry(key).await
    }

    async fn value(&self, key: &Key) -> Result<Option<Bytes>> {
        self.get(key).await
    }

    async fn ranges(&self, parts: &[(Key, Option<Entry>, Range<u64>)]) -> Result<Vec<Option<Bytes>>> {
        self.get_ranges_of(parts).await
    }

    async fn children(&self, prefix: &Prefix) -> Result<Vec<Child>> {
        self.children(prefix).await
    }

    async fn visit(&self, prefix: &Prefix, mut each: impl FnMut(Key, Entry) + Send) -> Result<()> {
        self.list(prefix).await?.into_iter().for_each(|(key, entry)| each(key, entry));
        Ok(())
    }
}

impl reads::Reads for ForkSession {
    async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        reads::Reads::entry(self.as_ref(), key).await
    }

    async fn value(&self, key: &Key) -> Result<Option<Bytes>> {
        reads::Reads::value(self.as_ref(), key).await
    }

    async fn ranges(&self, parts: &[(Key, Option<Entry>, Range<u64>)]) -> Result<Vec<Option<Bytes>>> {
        reads::Reads::ranges(self.as_ref(), parts).await
    }

    async fn children(&self, prefix: &Prefix) -> Result<Vec<Child>> {
        reads::Reads::children(self.as_ref(), prefix).await
    }

    async fn visit(&self, prefix: &Prefix, each: impl FnMut(Key, Entry) + Send) -> Result<()> {
        reads::Reads::visit(self.as_ref(), prefix, each).await
    }
}
