//! A repository's directory, with its requests counted, in all and in sequence, timed, and made slower on demand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use firnline::storage::{
    Collecting, Counts, Expected, Extent, Local, LocalOptions, Object, ObjectMeta, ObjectName, ObjectWriter, Observed, RegisterName,
    RemovalPermit, Replaced, Storage, Versioned, WholeObject,
};
use firnline::{CreateOptions, OpenOptions, Repository, Result};
use futures::stream::BoxStream;

use super::figures::{Figures, Traffic};

/// What becomes of the bytes of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunks {
    Keep,
    /// They are hashed and counted as written, and let go: for what only the metadata of a million chunks shows.
    LetGo,
}

/// A directory that holds a repository.
pub(crate) struct Store {
    observed: Arc<Observed>,
    probe: Arc<Probe>,
}

impl Store {
    pub(crate) fn open(root: &str) -> Self {
        Self::with(root, Chunks::Keep)
    }

    pub(crate) fn with(root: &str, chunks: Chunks) -> Self {
        let probe = Arc::new(Probe::at(root, chunks));
        Self { observed: Arc::new(Observed::new(Arc::clone(&probe) as Arc<dyn Storage>)), probe }
    }

    pub(crate) async fn create(&self) -> Repository {
        Repository::create_storage(self.storage(), CreateOptions::default()).await.unwrap()
    }

    /// A repository without anything cached.
    pub(crate) async fn repository(&self) -> Repository {
        Repository::open_storage(self.storage(), OpenOptions::default()).await.unwrap()
    }

    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.observed) as Arc<dyn Storage>
    }

    /// Begins to count.
    pub(crate) fn meter(&self) -> Meter<'_> {
        self.probe.forget();
        Meter { store: self, before: self.observed.counts() }
    }

    /// Makes every request to objects and registers last this much longer.
    pub(crate) fn delay(&self, delay: Duration) {
        self.probe.delay.store(u64::try_from(delay.as_nanos()).unwrap(), Ordering::Relaxed);
    }
}

/// What has gone through a store since some moment.
pub(crate) struct Meter<'a> {
    store: &'a Store,
    before: Counts,
}

impl Meter<'_> {
    pub(crate) fn traffic(&self) -> Traffic {
        let counts = self.store.observed.counts().since(&self.before);
        Traffic {
            bytes_written: counts.bytes_written,
            objects_written: counts.objects_written + counts.registers_replaced,
            bytes_read: counts.bytes_read,
            // A barrier of a disk is no request of a store over the network.
            requests: counts.requests() - counts.barriers,
        }
    }

    /// Requests that waited for the answer to an earlier one, and the first.
    pub(crate) fn round_trips(&self) -> u64 {
        self.store.probe.answered.load(Ordering::SeqCst)
    }

    /// Time spent in requests that end with a sync.
    pub(crate) fn syncs(&self) -> Duration {
        Duration::from_nanos(self.store.probe.syncs.load(Ordering::Relaxed))
    }

    pub(crate) fn report(&self, figures: &mut Figures, what: &str, times: u64) {
        figures.traffic(what, self.traffic(), times);
    }
}

/// Looks at every request on its way to the disk.
#[derive(Debug)]
struct Probe {
    inner: Local,
    chunks: Chunks,
    /// Nanoseconds that are added to each request.
    delay: AtomicU64,
    /// Nanoseconds spent in barriers and replaces.
    syncs: AtomicU64,
    /// The longest chain of requests that were each sent after the answer to the one before.
    answered: AtomicU64,
}

impl Probe {
    fn at(root: &str, chunks: Chunks) -> Self {
        let inner = Local::open(root, LocalOptions::default()).unwrap();
        Self { inner, chunks, delay: AtomicU64::default(), syncs: AtomicU64::default(), answered: AtomicU64::default() }
    }

    fn forget(&self) {
        self.syncs.store(0, Ordering::Relaxed);
        self.answered.store(0, Ordering::SeqCst);
    }

    /// Waits for one request as long as it takes over the network.
    async fn request<T>(&self, request: impl Future<Output = T>) -> T {
        let turn = self.answered.load(Ordering::SeqCst) + 1;
        let delay = self.delay.load(Ordering::Relaxed);
        if delay > 0 {
            tokio::time::sleep(Duration::from_nanos(delay)).await;
        }
        let answer = request.await;
        self.answered.fetch_max(turn, Ordering::SeqCst);
        answer
    }

    async fn sync<T>(&self, request: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let answer = request.await;
        self.syncs.fetch_add(u64::try_from(start.elapsed().as_nanos()).unwrap(), Ordering::Relaxed);
        answer
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait::async_trait]
impl Storage for Probe {
    async fn get(&self, name: &ObjectName, extent: Extent) -> Result<Option<Bytes>> {
        self.request(self.inner.get(name, extent)).await
    }

    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<()> {
        if self.chunks == Chunks::LetGo && name.to_string().starts_with("chunks/") {
            return self.request(std::future::ready(Ok(()))).await;
        }
        self.request(self.inner.put(name, parts)).await
    }

    async fn get_many(&self, wanted: &[WholeObject]) -> Vec<Result<Option<Bytes>>> {
        self.request(self.inner.get_many(wanted)).await
    }

    async fn put_many(&self, objects: &[Object]) -> Vec<Result<()>> {
        if self.chunks == Chunks::LetGo && objects.iter().all(|(name, _)| name.to_string().starts_with("chunks/")) {
            return self.request(std::future::ready(objects.iter().map(|_| Ok(())).collect())).await;
        }
        self.request(self.inner.put_many(objects)).await
    }

    fn writer(&self) -> Option<Box<dyn ObjectWriter>> {
        // What is written at a distance or let go is put whole.
        let as_it_is = self.chunks == Chunks::Keep && self.delay.load(Ordering::Relaxed) == 0;
        as_it_is.then(|| self.inner.writer())?
    }

    async fn delete_many(&self, names: &[ObjectName], permit: &RemovalPermit) -> Vec<Result<()>> {
        self.request(self.inner.delete_many(names, permit)).await
    }

    async fn collecting(&self) -> Result<Collecting> {
        self.inner.collecting().await
    }

    async fn barrier(&self) -> Result<()> {
        self.sync(self.inner.barrier()).await
    }

    fn list<'a>(&'a self, prefix: &str) -> BoxStream<'a, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn load(&self, name: &RegisterName) -> Result<Option<Versioned>> {
        self.request(self.inner.load(name)).await
    }

    async fn replace(&self, name: &RegisterName, expected: &Expected, value: Bytes) -> Replaced {
        self.request(self.sync(self.inner.replace(name, expected, value))).await
    }
}
