//! Repositories with a clock that tests set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use firnline::storage::{Memory, Storage};
use firnline::{Access, Clock, CreateOptions, Key, OpenOptions, Repository, Timestamp};

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, to: Timestamp) {
        self.0.store(to.micros(), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

pub(crate) struct World {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) repository: Repository,
}

impl World {
    /// A new repository in memory, at noon on a day in 2025.
    pub(crate) async fn new() -> Self {
        Self::allowing(Access::default()).await
    }

    pub(crate) async fn allowing(access: Access) -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(1_750_000_000_000_000)));
        let storage: Arc<dyn Storage> = Arc::new(Memory::new());
        let options = OpenOptions::default().clock(clock.clone()).access(access).without_pauses();
        let repository = Repository::create_storage(storage.clone(), CreateOptions::from(options)).await.unwrap();
        Self { clock, storage, repository }
    }

    /// Another process: the same store, nothing shared in memory.
    pub(crate) async fn reopen(&self, access: Access) -> Repository {
        let options = OpenOptions::default().clock(self.clock.clone()).access(access).without_pauses();
        Repository::open_storage(self.storage.clone(), options).await.unwrap()
    }

    /// Commits one value on `main`, a second later.
    pub(crate) async fn put(&self, key_text: &str, value: &str) -> firnline::Snapshot {
        self.clock.advance(Duration::from_secs(1));
        let session = self.repository.write("main").await.unwrap();
        session.set(&key(key_text), value.to_owned()).await.unwrap();
        session.commit(format!("{key_text} = {value}")).await.unwrap()
    }
}

pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// What a commit says was in conflict.
pub(crate) fn conflicts(failed: &firnline::CommitError) -> Vec<String> {
    failed.conflicts().iter().map(ToString::to_string).collect()
}
