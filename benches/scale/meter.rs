//! What a measurement costs, as the operating system and the store tell.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use firnline::Result;
use firnline::storage::{
    Counts, Expected, Local, LocalOptions, ObjectMeta, ObjectName, Observed, RegisterName, Replaced, Storage, Versioned,
};
use futures::stream::BoxStream;

/// A moment, with the time that all threads of this process have run until then.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    wall: Instant,
    cpu: Duration,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let cpu = Duration::new(cpu.tv_sec.try_into().unwrap(), cpu.tv_nsec.try_into().unwrap());
        Self { wall: Instant::now(), cpu }
    }

    pub(crate) fn elapsed(&self) -> Spent {
        let now = Self::now();
        Spent { wall: now.wall - self.wall, cpu: now.cpu.saturating_sub(self.cpu) }
    }
}

/// Time spent: by the clock, and by all threads of this process (user and system).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

impl Spent {
    /// The share of one of `n`.
    pub(crate) fn each(&self, n: u64) -> Self {
        let share = |d: Duration| Duration::from_nanos(u64::try_from(d.as_nanos()).unwrap() / n.max(1));
        Self { wall: share(self.wall), cpu: share(self.cpu) }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wall, {} CPU", short(self.wall), short(self.cpu))
    }
}

/// A duration with three digits.
pub(crate) fn short(d: Duration) -> String {
    let ns = d.as_nanos() as f64;
    match ns {
        _ if ns >= 1e9 => format!("{:.2} s", ns / 1e9),
        _ if ns >= 1e6 => format!("{:.2} ms", ns / 1e6),
        _ if ns >= 1e3 => format!("{:.2} µs", ns / 1e3),
        _ => format!("{ns:.0} ns"),
    }
}

/// The middle one.
pub(crate) fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// The most memory that this process has held at once, in bytes.
pub(crate) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// How many files lie below a directory, and their lengths together.
pub(crate) fn on_disk(root: impl AsRef<Path>) -> (u64, u64) {
    let Ok(listing) = std::fs::read_dir(root) else { return (0, 0) };
    listing.fold((0, 0), |(files, bytes), found| {
        let found = found.unwrap();
        let meta = found.metadata().unwrap();
        let (f, b) = if meta.is_dir() { on_disk(found.path()) } else { (1, meta.len()) };
        (files + f, bytes + b)
    })
}

/// A repository's directory, counting requests and timing those that wait for the disk.
pub(crate) struct Store {
    pub(crate) observed: Arc<Observed>,
    pub(crate) waits: Arc<Waits>,
}

impl Store {
    pub(crate) fn open(root: &str) -> Self {
        let waits = Arc::<Waits>::default();
        let local = Local::open(root, LocalOptions::default()).unwrap();
        let timed = Timed { inner: local, waits: Arc::clone(&waits) };
        Self { observed: Arc::new(Observed::new(Arc::new(timed))), waits }
    }

    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.observed) as Arc<dyn Storage>
    }

    pub(crate) fn counts(&self) -> Counts {
        self.observed.counts()
    }
}

/// Nanoseconds spent in requests that end with a sync.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    barriers: AtomicU64,
    replaces: AtomicU64,
}

impl Waits {
    /// What barriers and replaces took since this was last asked.
    pub(crate) fn take(&self) -> (Duration, Duration) {
        let take = |n: &AtomicU64| Duration::from_nanos(n.swap(0, Ordering::Relaxed));
        (take(&self.barriers), take(&self.replaces))
    }
}

fn add(counter: &AtomicU64, since: Instant) {
    counter.fetch_add(u64::try_from(since.elapsed().as_nanos()).unwrap(), Ordering::Relaxed);
}

#[derive(Debug)]
struct Timed {
    inner: Local,
    waits: Arc<Waits>,
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait::async_trait]
impl Storage for Timed {
    async fn get(&self, name: &ObjectName, range: Option<Range<u64>>) -> Result<Option<Bytes>> {
        self.inner.get(name, range).await
    }

    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<()> {
        self.inner.put(name, parts).await
    }

    async fn barrier(&self) -> Result<()> {
        let start = Instant::now();
        let done = self.inner.barrier().await;
        add(&self.waits.barriers, start);
        done
    }

    fn list<'a>(&'a self, prefix: &str) -> BoxStream<'a, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn load(&self, name: &RegisterName) -> Result<Option<Versioned>> {
        self.inner.load(name).await
    }

    async fn replace(&self, name: &RegisterName, expected: &Expected, value: Bytes) -> Result<Replaced> {
        let start = Instant::now();
        let done = self.inner.replace(name, expected, value).await;
        add(&self.waits.replaces, start);
        done
    }
}
