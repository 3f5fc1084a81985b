//! Collections beside writers: each rule of the protocol where it matters, and both at random.

mod basic;
mod expired;
mod forged;
mod hazards;
mod left;
mod letting_go;
mod owners;
mod random;
mod repair;
mod rules;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::lease::GcClock;
use super::{GcOptions, GcReport};
use crate::chunk::ChunkStore;
use crate::error::Result;
use crate::handle::{CreateOptions, OpenOptions, Repository};
use crate::id::{ChunkId, HashAlgorithm};
use crate::key::Key;
use crate::maintenance::VerifyScope;
use crate::refs::{Ref, RefName};
use crate::snapshot::Snapshot;
use crate::storage::fault::{Fault, Faulty, Operation};
use crate::storage::{Memory, ObjectName, Storage};

const GC: &str = "gc/state.json";
const MAIN: &str = "refs/branches/main.json";

/// A clock that only tests move. Whoever waits for it moves it.
#[derive(Debug, Default)]
struct Hand {
    micros: AtomicU64,
    slept: Mutex<Vec<Duration>>,
}

impl Hand {
    fn turn(&self, time: Duration) {
        self.micros.fetch_add(u64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl GcClock for Hand {
    fn now(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::SeqCst))
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.turn(time);
        self.slept.lock().unwrap().push(time);
        Box::pin(tokio::task::yield_now())
    }
}

/// A place in the requests of one handle at which a test holds it.
#[derive(Clone)]
struct Gate {
    reached: Arc<Semaphore>,
    opened: Arc<Semaphore>,
}

impl Gate {
    /// Waits until the handle is there.
    async fn reached(&self) {
        let reached = tokio::time::timeout(Duration::from_secs(20), self.reached.acquire()).await;
        reached.expect("the place is never reached").unwrap().forget();
    }

    fn open(&self) {
        self.opened.add_permits(1);
    }
}

struct World {
    memory: Memory,
    clock: Arc<Hand>,
    repository: Repository,
}

impl World {
    /// A repository with one commit on `main`.
    async fn new() -> Self {
        let memory = Memory::new();
        let options = CreateOptions::from(OpenOptions::default().without_pauses());
        let repository = Repository::create_storage(Arc::new(memory.clone()), options).await.unwrap();
        let world = Self { memory, clock: Arc::default(), repository };
        world.commit("main", "first", 1).await;
        world
    }

    fn options(&self) -> GcOptions {
        let clock: Arc<dyn GcClock> = self.clock.clone();
        GcOptions::default().grace(Duration::ZERO).clock(clock)
    }

    async fn gc(&self) -> GcReport {
        self.repository.gc(&self.options()).await.unwrap()
    }

    async fn through(&self, plan: impl Fn(Operation, &str) -> Fault + Send + Sync + 'static) -> Repository {
        let faulty = Faulty::new(Arc::new(self.memory.clone()), move |call| plan(call.operation, call.name));
        Repository::open_storage(Arc::new(faulty), OpenOptions::default().without_pauses()).await.unwrap()
    }

    /// A handle that is held at the first request for which `is_there` holds.
    async fn held_at(&self, is_there: impl Fn(Operation, &str) -> bool + Send + Sync + 'static) -> (Repository, Gate) {
        let gate = Gate { reached: Arc::new(Semaphore::new(0)), opened: Arc::new(Semaphore::new(0)) };
        let (there, passed) = (gate.clone(), AtomicBool::new(false));
        let plan = move |operation, name: &str| {
            if !is_there(operation, name) || passed.swap(true, Ordering::SeqCst) {
                return Fault::None;
            }
            there.reached.add_permits(1);
            let opened = Arc::clone(&there.opened);
            Fault::Wait(Box::pin(async move { opened.acquire().await.unwrap().forget() }))
        };
        (self.through(plan).await, gate)
    }

    /// The same at the request number `n` of those for which `is_there` holds, counted from 0.
    async fn held_at_nth(&self, n: u64, is_there: impl Fn(Operation, &str) -> bool + Send + Sync + 'static) -> (Repository, Gate) {
        let count = AtomicU64::new(0);
        self.held_at(move |operation, name| is_there(operation, name) && count.fetch_add(1, Ordering::SeqCst) == n).await
    }

    /// A collection in a task of its own.
    fn collect(&self, repository: Repository) -> JoinHandle<Result<GcReport>> {
        let options = self.options();
        tokio::spawn(async move { repository.gc(&options).await })
    }

    async fn commit(&self, branch: &str, name: &str, byte: u8) -> Snapshot {
        commit(&self.repository, branch, name, byte).await.unwrap()
    }

    /// Leaves the chunk `value(byte)` behind, which nothing leads to.
    async fn leave(&self, byte: u8) {
        let session = self.repository.write("main").await.unwrap();
        session.set(&key("left"), value(byte)).await.unwrap();
        session.flush().await.unwrap();
        assert!(self.is_there(byte).await);
    }

    async fn is_there(&self, byte: u8) -> bool {
        self.names().await.contains(chunk(byte).await.as_str())
    }

    async fn names(&self) -> BTreeSet<String> {
        self.memory.list("").map_ok(|meta| meta.name).try_collect().await.unwrap()
    }

    async fn epoch_of(&self, name: &str) -> u64 {
        let name = Ref::branch(name.parse::<RefName>().unwrap());
        self.repository.refs().try_read(&name).await.unwrap().unwrap().record.epoch
    }

    /// Everything that any ref leads to can be read, and nothing is damaged.
    async fn verify(&self) {
        let fresh = Repository::open_storage(Arc::new(self.memory.clone()), OpenOptions::default()).await.unwrap();
        let verified = fresh.verify(VerifyScope::Everything).await.unwrap();
        assert!(verified.findings.is_empty(), "{:#?}", verified.findings);
    }

    /// The value is under the key, in a handle that has read nothing before.
    async fn holds(&self, branch: &str, name: &str, byte: u8) {
        let fresh = Repository::open_storage(Arc::new(self.memory.clone()), OpenOptions::default()).await.unwrap();
        let found = fresh.read(branch).await.unwrap().get(&key(name)).await.unwrap();
        assert_eq!(found.as_deref(), Some(value(byte).as_slice()), "{branch}: {name}");
    }
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

fn value(byte: u8) -> Vec<u8> {
    vec![byte; 5_000]
}

async fn chunk(byte: u8) -> ObjectName {
    let chunks = ChunkStore::new(Arc::new(Memory::new()), HashAlgorithm::Sha2_256);
    let id: ChunkId = chunks.hash(value(byte).into()).await.unwrap().id();
    ObjectName::chunk(&id)
}

async fn commit(repository: &Repository, branch: &str, name: &str, byte: u8) -> Result<Snapshot> {
    let session = repository.write(branch).await?;
    session.set(&key(name), value(byte)).await?;
    session.commit(name).await.map_err(|failed| failed.into_error())
}

/// Lets every other task run for a while.
async fn settle() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}
