//! Uploads: nothing that was staged is lost before it is committed, and only so many bytes are under way.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use firnline::storage::fault::{Fault, Faulty, Operation};
use firnline::storage::{Expected, Extent, Memory, ObjectMeta, ObjectName, RegisterName, Replaced, Storage, Versioned};
use firnline::{CreateOptions, ErrorKind, Key, OpenOptions, Repository, TreeOptions, VerifyScope, WriteSession};
use futures::FutureExt as _;
use futures::stream::BoxStream;
use tokio::sync::Semaphore;

use crate::support::key;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn created(storage: Arc<dyn Storage>, options: OpenOptions) -> Repository {
    Repository::create_storage(storage, CreateOptions::from(options)).await.unwrap()
}

async fn holds(repository: &Repository, values: &[(&str, usize)]) {
    let snapshot = repository.read("main").await.unwrap();
    for (name, length) in values {
        assert_eq!(snapshot.get(&key(name)).await.unwrap().map(|bytes| bytes.len()), Some(*length), "{name}");
    }
    let verified = repository.verify(VerifyScope::Everything).await.unwrap();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
}

/// A task that was dropped with its runtime took its chunk with it: the first commit failed, and the second, from the session of the
/// first, published a snapshot whose chunk had never been stored, with `Ok`.
#[test]
fn chunks_whose_runtime_was_dropped_are_sent_by_the_commit() {
    let place = tempfile::tempdir().unwrap();
    let session =
        runtime().block_on(async { Repository::create(place.path().to_str().unwrap()).await.unwrap().write("main").await.unwrap() });
    let names = ["a/0", "a/1", "a/2"];
    for (n, name) in names.into_iter().enumerate() {
        runtime().block_on(session.set(&key(name), vec![u8::try_from(n).unwrap(); 10_000])).unwrap();
    }
    let snapshot = runtime().block_on(session.commit("one runtime for each call")).unwrap();
    runtime().block_on(holds(snapshot.repository(), &names.map(|name| (name, 10_000))));
}

/// As above, with runtimes that exist but do not run: waiting for their tasks would never end.
#[test]
fn chunks_whose_runtime_rests_are_sent_by_the_commit() {
    let (resting, driven) = (runtime(), runtime());
    let repository = driven.block_on(created(Arc::new(Memory::new()), OpenOptions::default()));
    let session = driven.block_on(repository.write("main")).unwrap();
    resting.block_on(session.set(&key("a/0"), vec![7; 10_000])).unwrap();
    let ends = async { tokio::time::timeout(Duration::from_mins(1), session.commit("elsewhere")).await };
    driven.block_on(ends).expect("the commit does not wait for the other runtime").unwrap();
    driven.block_on(holds(&repository, &[("a/0", 10_000)]));
}

/// The first put of every chunk panics; the puts after that go through.
fn panicking(memory: Memory) -> Arc<dyn Storage> {
    let panics = AtomicBool::new(true);
    Arc::new(Faulty::new(Arc::new(memory), move |call| {
        let is_chunk = call.operation == Operation::Put && call.name.starts_with("chunks/");
        assert!(!is_chunk || !panics.swap(false, Ordering::Relaxed), "a bug of the store");
        Fault::None
    }))
}

/// A panic in the task of an upload was `Internal` once, and the chunk was lost with the task.
#[tokio::test]
async fn a_chunk_whose_upload_panics_is_sent_again() {
    let repository = created(panicking(Memory::new()), OpenOptions::default()).await;
    let session = repository.write("main").await.unwrap();
    session.set(&key("a/0"), vec![7; 10_000]).await.unwrap();
    let failed = session.commit("first").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Internal);
    assert!(failed.to_string().contains("chunks/") && failed.to_string().contains("a bug of the store"), "{failed}");
    failed.into_session().commit("second").await.unwrap();
    holds(&repository, &[("a/0", 10_000)]).await;
}

/// Lets chunks through only when the gate is open.
fn gated(memory: Memory, gate: Arc<Semaphore>) -> Arc<dyn Storage> {
    Arc::new(Faulty::new(Arc::new(memory), move |call| {
        if call.operation == Operation::Put && call.name.starts_with("chunks/") {
            let gate = gate.clone();
            return Fault::Wait(Box::pin(async move { drop(gate.acquire().await.unwrap()) }));
        }
        Fault::None
    }))
}

#[tokio::test]
async fn a_flush_or_a_set_that_is_dropped_loses_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let repository = created(gated(Memory::new(), gate.clone()), OpenOptions::default().upload_bytes(10 << 10)).await;
    let session = repository.write("main").await.unwrap();
    session.set(&key("a/0"), vec![1; 10_000]).await.unwrap();
    assert!(session.flush().now_or_never().is_none(), "the store does not answer");
    assert!(session.set(&key("a/1"), vec![2; 10_000]).now_or_never().is_none(), "there is no room");
    gate.add_permits(1);
    assert_eq!(session.entry(&key("a/1")).await.unwrap(), None, "it was not staged");
    session.set(&key("a/1"), vec![3; 9_000]).await.unwrap();
    session.commit("both").await.unwrap();
    holds(&repository, &[("a/0", 10_000), ("a/1", 9_000)]).await;
}

#[tokio::test]
async fn a_commit_that_is_dropped_leaves_the_branch_and_the_store_in_order() {
    let gate = Arc::new(Semaphore::new(0));
    let repository = created(gated(Memory::new(), gate.clone()), OpenOptions::default()).await;
    let stage = async || -> WriteSession {
        let session = repository.write("main").await.unwrap();
        session.set(&key("a/0"), vec![1; 10_000]).await.unwrap();
        session
    };
    let before = repository.read("main").await.unwrap().id();
    assert!(stage().await.commit("dropped").now_or_never().is_none());
    assert_eq!(repository.read("main").await.unwrap().id(), before);
    gate.add_permits(1);
    stage().await.commit("again").await.unwrap();
    holds(&repository, &[("a/0", 10_000)]).await;
}

/// How many bytes of objects a store is being sent at once, and fails every so many puts.
#[derive(Debug)]
struct Peak {
    inner: Memory,
    now: AtomicU64,
    most: AtomicU64,
    puts: AtomicU64,
    /// Every so many puts fail; 0: none.
    fails: AtomicU64,
}

impl Peak {
    fn new(fails: u64) -> Arc<Self> {
        Arc::new(Self {
            inner: Memory::new(),
            now: AtomicU64::new(0),
            most: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            fails: fails.into(),
        })
    }

    fn most(&self) -> u64 {
        self.most.swap(0, Ordering::SeqCst)
    }
}

impl fmt::Display for Peak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("peak")
    }
}

#[async_trait]
impl Storage for Peak {
    async fn get(&self, name: &ObjectName, extent: Extent) -> firnline::Result<Option<Bytes>> {
        self.inner.get(name, extent).await
    }

    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> firnline::Result<()> {
        let bytes = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let now = self.now.fetch_add(bytes, Ordering::SeqCst) + bytes;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.now.fetch_sub(bytes, Ordering::SeqCst);
        let fails = self.fails.load(Ordering::SeqCst);
        if (self.puts.fetch_add(1, Ordering::SeqCst) + 1).checked_rem(fails) == Some(0) {
            return Err(firnline::Error::unavailable(format!("{name} was not taken")));
        }
        self.inner.put(name, parts).await
    }

    async fn barrier(&self) -> firnline::Result<()> {
        self.inner.barrier().await
    }

    fn list<'a>(&'a self, prefix: &str) -> BoxStream<'a, firnline::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn load(&self, name: &RegisterName) -> firnline::Result<Option<Versioned>> {
        self.inner.load(name).await
    }

    async fn replace(&self, name: &RegisterName, expected: &Expected, value: Bytes) -> Replaced {
        self.inner.replace(name, expected, value).await
    }
}

const BUDGET: u64 = 1 << 20;

fn values(count: usize) -> Vec<(Key, Vec<u8>)> {
    let value = |n: usize| n.to_le_bytes().repeat(20_000 + n % 7 * 1000);
    (0..count).map(|n| (key(&format!("a/{n}")), value(n))).collect()
}

/// The number of objects under way was bounded, whatever their size, and calls for many values each had a budget of their own.
#[tokio::test]
async fn the_bytes_under_way_never_exceed_the_budget() {
    for fails in [0, 5_u64] {
        let storage = Peak::new(fails);
        let repository = created(storage.clone(), OpenOptions::default().upload_bytes(BUDGET)).await;
        let session = repository.write("main").await.unwrap();
        let within = |what: &str| {
            let most = storage.most();
            assert!(most > 0 && most <= BUDGET, "{what}, failing {fails}: {most} bytes were under way at once");
            most
        };
        storage.most();
        for (key, value) in values(40) {
            // A chunk that failed before may be told of here.
            while session.set(&key, value.clone()).await.is_err() {}
        }
        within("set");
        // A call for many ends at the first upload that fails, so failures must be rarer for one to succeed.
        storage.fails.store(fails * 14, Ordering::SeqCst);
        while session.set_many(values(60).into_iter().skip(30)).await.is_err() {}
        let most = within("set_many");
        assert!(most > BUDGET / 2, "a call for many sends as much as it may: {most}");
        let folder = tempfile::tempdir().unwrap();
        for (n, (_, value)) in values(100).into_iter().enumerate().skip(50) {
            std::fs::write(folder.path().join(n.to_string()), value).unwrap();
        }
        while session.import_tree(folder.path(), &TreeOptions::default()).await.is_err() {}
        within("import_tree");
        while session.flush().await.is_err() {}
        assert!(storage.most() <= BUDGET);
        assert_eq!(storage.now.load(Ordering::SeqCst), 0);
        let mut committed = session.commit("all").await;
        while let Err(failed) = committed {
            assert_eq!(failed.kind(), ErrorKind::Unavailable, "{failed:?}");
            committed = failed.into_session().commit("all, again").await;
        }
        assert!(storage.most() <= BUDGET);
        let snapshot = repository.read("main").await.unwrap();
        for (key, value) in values(60) {
            assert_eq!(snapshot.get(&key).await.unwrap().unwrap(), value, "{key}");
        }
    }
}

#[tokio::test]
async fn a_value_larger_than_the_budget_is_uploaded_alone() {
    let storage = Peak::new(0);
    let repository = created(storage.clone(), OpenOptions::default().upload_bytes(64 << 10)).await;
    let session = repository.write("main").await.unwrap();
    let large = vec![1; 3 << 20];
    session.set(&key("small"), vec![2; 30_000]).await.unwrap();
    session.set(&key("large"), large.clone()).await.unwrap();
    session.set(&key("after"), vec![3; 30_000]).await.unwrap();
    session.set_many([(key("more"), vec![4; 60_000]), (key("larger"), vec![5; 4 << 20])]).await.unwrap();
    session.flush().await.unwrap();
    let most = storage.most();
    assert!(most > 4 << 20 && most < (4 << 20) + 10_000, "{most} bytes were under way at once");
    session.commit("both").await.unwrap();
    assert_eq!(repository.read("main").await.unwrap().get(&key("large")).await.unwrap().unwrap(), large);
}
