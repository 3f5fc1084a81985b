//! One session that many tasks and threads use at once, as libraries for Zarr do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firnline::storage::fault::{Fault, Faulty, Operation};
use firnline::storage::{Memory, Storage};
use firnline::{CreateOptions, Key, KeyColumn, OpenOptions, Prefix, Repository, Snapshot, VirtualOptions, VirtualRefs, WriteSession};
use futures::future::{join_all, try_join_all};
use futures::{FutureExt as _, TryStreamExt as _};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Semaphore;

use crate::support::key;

async fn created(storage: Arc<dyn Storage>, options: OpenOptions) -> Repository {
    Repository::create_storage(storage, CreateOptions::from(options)).await.unwrap()
}

fn threads(count: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(count).enable_all().build().unwrap()
}

#[test]
fn sessions_and_their_futures_move_between_threads() {
    fn is_shared<T: Send + Sync + 'static>(_: &T) {}
    fn is_sent<T: Send>(_: T) {}
    threads(1).block_on(async {
        let session = created(Arc::new(Memory::new()), OpenOptions::default()).await.write("main").await.unwrap();
        is_shared(&session);
        let (at, all) = (key("a"), Prefix::all());
        is_sent(session.set(&at, "x"));
        is_sent(session.get(&at));
        is_sent(session.delete(&at));
        is_sent(session.list(&all));
        is_sent(session.children(&all));
        is_sent(session.changes());
        is_sent(session.rename("a", "b", firnline::Existing::Refuse));
        is_sent(session.set_virtual(&at, "file:///x", 0..1));
        is_sent(session.flush());
    });
}

/// What one task does below its own prefix, and what the session must show there after each step.
async fn work(session: &WriteSession, task: u64, steps: u32) -> BTreeMap<Key, Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(task);
    let (mut model, home) = (BTreeMap::<Key, Vec<u8>>::new(), Prefix::new(&format!("t{task}")).unwrap());
    for step in 0..steps {
        let at = key(&format!("t{task}/{}/{}", random.random_range(0..3), random.random_range(0..20)));
        match random.random_range(0..12) {
            0..=5 => {
                // Inline values, chunks, and the same chunk under many keys.
                let value = vec![u8::try_from(random.random_range(0..200)).unwrap(); [10, 900, 3000, 20_000][random.random_range(0..4)]];
                session.set(&at, value.clone()).await.unwrap();
                model.insert(at, value);
            }
            6 | 7 => {
                let is_there = session.delete(&at).await.unwrap();
                assert_eq!(is_there, model.remove(&at).is_some(), "task {task}, step {step}: {at}");
            }
            8 => {
                let below = Prefix::new(&format!("t{task}/{}", random.random_range(0..3))).unwrap();
                session.delete_prefix(&below);
                model.retain(|key, _| !below.contains(key.as_str()));
            }
            9 => {
                let all = session.list(&home).await.unwrap();
                assert_eq!(
                    all.iter().map(|(key, _)| key).collect::<std::collections::BTreeSet<_>>(),
                    model.keys().collect(),
                    "step {step}"
                );
            }
            _ => {
                let found = session.get(&at).await.unwrap();
                assert_eq!(found.as_deref(), model.get(&at).map(Vec::as_slice), "task {task}, step {step}: {at}");
            }
        }
    }
    model
}

async fn values(snapshot: &Snapshot) -> BTreeMap<Key, Vec<u8>> {
    let keys: Vec<Key> = snapshot.list(&Prefix::all()).map_ok(|(key, _)| key).try_collect().await.unwrap();
    let values = snapshot.get_many(&keys).await.unwrap();
    keys.into_iter().zip(values).map(|(key, value)| (key, value.unwrap().to_vec())).collect()
}

/// Each task sees what it staged, whatever the others do, and the commit has all of it. Little memory, so that runs are written, moved
/// and merged, and uploads wait for each other.
#[test]
fn tasks_that_share_a_session_see_their_own_changes_and_lose_none() {
    for seed in 0..3_u64 {
        threads(4).block_on(async {
            let place = tempfile::tempdir().unwrap();
            let storage: Arc<dyn Storage> = Arc::new(Memory::new());
            let options = OpenOptions::default()
                .staged_bytes([0, 2000, 100_000][usize::try_from(seed).unwrap()])
                .upload_bytes(50_000)
                .scratch(place.path());
            let repository = created(storage, options).await;
            let session = Arc::new(repository.write("main").await.unwrap());
            let tasks = (0..12).map(|task| {
                let session = Arc::clone(&session);
                tokio::spawn(async move { work(&session, 100 * seed + task, 250).await })
            });
            let models = tokio::time::timeout(Duration::from_mins(5), try_join_all(tasks)).await.expect("no task waits for ever").unwrap();
            let session = Arc::into_inner(session).expect("every task has ended");
            let expected: BTreeMap<_, _> = models.into_iter().flatten().collect();
            let snapshot = session.commit("together").await.unwrap();
            assert_eq!(values(&snapshot).await, expected);
        });
    }
}

/// References by columns, a delete of their prefix and single values, all at once: each call is there as a whole or not at all.
#[test]
fn calls_that_stage_much_are_seen_as_a_whole() {
    threads(4).block_on(async {
        let repository = created(Arc::new(Memory::new()), OpenOptions::default().staged_bytes(200_000)).await;
        for round in 0..20_u64 {
            let session = repository.write("main").await.unwrap();
            let count = 3000_usize;
            let (url, offset, length): (Vec<u32>, Vec<u64>, Vec<u64>) = (vec![0; count], (0..count as u64).collect(), vec![1; count]);
            let (region, options) = (0..count as u64, VirtualOptions::default());
            let refs = |prefix| VirtualRefs {
                keys: KeyColumn::Grid { prefix, region: std::slice::from_ref(&region), separator: '/' },
                urls: &["https://example.org/a.nc"],
                url: &url,
                offset: &offset,
                length: &length,
                validators: &[],
            };
            let (a, b, below) = (refs("a/c/"), refs("b/c/"), Prefix::new("a").unwrap());
            let watch = async {
                for _ in 0..50 {
                    let seen = session.list(&below).await.unwrap().len();
                    assert!(seen == 0 || seen == count, "{seen}");
                    tokio::task::yield_now().await;
                }
            };
            let delete = async {
                if round % 2 == 0 {
                    tokio::task::yield_now().await;
                    session.delete_prefix(&below);
                }
            };
            let sets = async {
                for n in 0..100 {
                    session.set(&key(&format!("b/c/{n}")), "later or earlier").await.unwrap();
                }
            };
            let (first, second) = (session.set_virtual_many(&a, &options), session.set_virtual_many(&b, &options));
            let (first, second, ..) = futures::join!(first, second, watch, delete, sets);
            first.unwrap();
            second.unwrap();
            assert_eq!(session.list(&Prefix::new("b").unwrap()).await.unwrap().len(), count);
            let left = session.list(&below).await.unwrap().len();
            assert!(left == count || (left == 0 && round % 2 == 0), "{left} after round {round}");
        }
    });
}

/// Lets chunks through one at a time, as the gate says.
fn gated(gate: &Arc<Semaphore>) -> Arc<dyn Storage> {
    let gate = Arc::clone(gate);
    Arc::new(Faulty::new(Arc::new(Memory::new()), move |call| {
        if call.operation == Operation::Put && call.name.starts_with("chunks/") {
            let gate = Arc::clone(&gate);
            return Fault::Wait(Box::pin(async move { gate.acquire().await.unwrap().forget() }));
        }
        Fault::None
    }))
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_waits_for_room_holds_up_no_other() {
    let gate = Arc::new(Semaphore::new(0));
    let repository = created(gated(&gate), OpenOptions::default().upload_bytes(10 << 10)).await;
    let session = repository.write("main").await.unwrap();
    session.set(&key("a/0"), vec![1; 10_000]).await.unwrap();
    let (one, two) = (key("a/1"), key("a/2"));
    let mut leaves = session.set(&one, vec![2; 10_000]).boxed();
    let mut stays = session.set(&two, vec![3; 10_000]).boxed();
    assert!((&mut leaves).now_or_never().is_none() && (&mut stays).now_or_never().is_none(), "there is no room");
    drop(leaves);
    gate.add_permits(2);
    tokio::time::timeout(Duration::from_mins(1), stays).await.expect("it has the room").unwrap();
    let snapshot = session.commit("without the one that left").await.unwrap();
    assert_eq!(values(&snapshot).await.into_keys().collect::<Vec<_>>(), [key("a/0"), key("a/2")]);
}

/// The first of two callers that waited for room was told that an upload had failed; the second was told nothing, and waited for ever.
#[tokio::test]
async fn every_caller_that_waits_for_room_hears_of_a_failure_or_goes_on() {
    let (gate, open) = tokio::sync::oneshot::channel::<()>();
    let gate_of_first = std::sync::Mutex::new(Some(open));
    let storage = Faulty::new(Arc::new(Memory::new()), move |call| {
        let is_chunk = call.operation == Operation::Put && call.name.starts_with("chunks/");
        match is_chunk.then(|| gate_of_first.lock().unwrap().take()).flatten() {
            Some(open) => Fault::Wait(Box::pin(async move {
                let _ = open.await;
                panic!("the store breaks down");
            })),
            None => Fault::None,
        }
    });
    let repository = created(Arc::new(storage), OpenOptions::default().upload_bytes(10 << 10)).await;
    let session = repository.write("main").await.unwrap();
    session.set(&key("a/0"), vec![1; 10_000]).await.unwrap();
    let (one, two) = (key("a/1"), key("a/2"));
    let mut first = session.set(&one, vec![2; 10_000]).boxed();
    let mut second = session.set(&two, vec![3; 10_000]).boxed();
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none(), "there is no room");
    gate.send(()).unwrap();
    let both = tokio::time::timeout(Duration::from_mins(1), async { (first.await, second.await) });
    let (first, second) = both.await.expect("neither waits for ever");
    assert!(first.is_err() && second.is_ok(), "{first:?} {second:?}");
    let snapshot = session.commit("what was staged").await.unwrap();
    assert_eq!(values(&snapshot).await.into_keys().collect::<Vec<_>>(), [key("a/0"), key("a/2")]);
}

/// A value that was set while a move had listed what it renames was deleted with the old names.
#[test]
fn a_move_takes_along_what_other_calls_stage_meanwhile() {
    threads(4).block_on(async {
        let repository = created(Arc::new(Memory::new()), OpenOptions::default()).await;
        let session = repository.write("main").await.unwrap();
        for n in 0..300 {
            session.set(&key(&format!("src/{n}")), "old").await.unwrap();
        }
        session.commit("before").await.unwrap();
        for round in 0..30 {
            let session = Arc::new(repository.write("main").await.unwrap());
            let sets = (0..4).map(|task| {
                let session = Arc::clone(&session);
                tokio::spawn(async move {
                    for n in 0..3 {
                        session.set(&key(&format!("src/new-{task}-{n}")), "new").await.unwrap();
                        tokio::task::yield_now().await;
                    }
                })
            });
            let renames = ["one", "two"].map(|to| {
                let session = Arc::clone(&session);
                tokio::spawn(async move { session.rename("src/", to, firnline::Existing::Refuse).await })
            });
            try_join_all(sets).await.unwrap();
            let moved: Vec<_> = try_join_all(renames).await.unwrap();
            let all: Vec<String> = session.list(&Prefix::all()).await.unwrap().iter().map(|(key, _)| key.to_string()).collect();
            let names: std::collections::BTreeSet<&str> = all.iter().filter_map(|key| key.rsplit_once('/')).map(|(_, name)| name).collect();
            assert_eq!((names.len(), all.len()), (312, 312), "round {round}: nothing is lost or there twice: {moved:?}");
        }
    });
}

#[tokio::test]
async fn a_dry_run_stores_no_file_of_a_directory() {
    let place = tempfile::tempdir().unwrap();
    let (repo, files) = (place.path().join("repo"), place.path().join("files"));
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("large"), vec![7; 9 << 20]).unwrap();
    std::fs::write(files.join("small"), vec![7; 9 << 10]).unwrap();
    let repository = Repository::create(repo.to_str().unwrap()).await.unwrap();
    let session = repository.dry_run("main").await.unwrap();
    session.import_tree(&files, &firnline::TreeOptions::default()).await.unwrap();
    session.set_file(&key("again"), files.join("large")).await.unwrap();
    session.set_reader(&key("read"), std::io::Cursor::new(vec![8; 9 << 20])).await.unwrap();
    assert_eq!(session.changes().await.unwrap().set, 4);
    let refused = session.commit("no").await.unwrap_err();
    assert_eq!(refused.kind(), firnline::ErrorKind::Invalid);
    assert!(!repo.join("chunks").exists() || std::fs::read_dir(repo.join("chunks")).unwrap().next().is_none());
}

/// Reading any chunk waited until all uploads had arrived, also those that have nothing to do with it.
#[tokio::test]
async fn a_chunk_is_read_while_others_are_on_their_way() {
    let gate = Arc::new(Semaphore::new(1));
    let repository = created(gated(&gate), OpenOptions::default()).await;
    let session = repository.write("main").await.unwrap();
    session.set(&key("a/0"), vec![1; 10_000]).await.unwrap();
    session.flush().await.unwrap();
    session.set(&key("a/1"), vec![2; 10_000]).await.unwrap();
    tokio::task::yield_now().await;
    let found = session.get(&key("a/0")).now_or_never().expect("it has arrived").unwrap();
    assert_eq!(found.map(|value| value.len()), Some(10_000));
    let at = key("a/1");
    let mut under_way = session.get(&at).boxed();
    assert!((&mut under_way).now_or_never().is_none(), "it has not");
    gate.add_permits(1);
    assert_eq!(under_way.await.unwrap().map(|value| value.len()), Some(10_000));
}

/// Two threads, each with a runtime of its own, and one that began uploads and does not run any more.
#[test]
fn threads_with_runtimes_of_their_own_share_a_session() {
    let resting = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let repository = threads(1).block_on(created(Arc::new(Memory::new()), OpenOptions::default().upload_bytes(30_000)));
    let session = resting.block_on(async {
        let session = repository.write("main").await.unwrap();
        session.set(&key("resting"), vec![9; 10_000]).await.unwrap();
        session
    });
    let models = std::thread::scope(|scope| {
        let session = &session;
        let works = [1, 2].map(|task| {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let ends = async { tokio::time::timeout(Duration::from_mins(2), work(session, task, 300)).await };
                runtime.block_on(ends).expect("neither waits for another runtime")
            })
        });
        works.map(|work| work.join().unwrap())
    });
    let mut expected: BTreeMap<_, _> = models.into_iter().flatten().collect();
    expected.insert(key("resting"), vec![9; 10_000]);
    let found = threads(1).block_on(async { values(&session.commit("both").await.unwrap()).await });
    assert_eq!(found, expected);
}

/// When the store fails, each caller is told or goes on, nothing that was staged is lost, and a commit comes through when the store is
/// back.
#[test]
fn failures_reach_callers_and_lose_nothing() {
    threads(4).block_on(async {
        let fails = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let count = Arc::clone(&fails);
        let storage = Faulty::new(Arc::new(Memory::new()), move |call| {
            let is_chunk = call.operation == Operation::Put && call.name.starts_with("chunks/");
            let n = if is_chunk { count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) } else { 0 };
            if is_chunk && n % 3 == 0 { Fault::Before } else { Fault::None }
        });
        let repository = created(Arc::new(storage), OpenOptions::default().upload_bytes(40_000)).await;
        let session = Arc::new(repository.write("main").await.unwrap());
        let tasks = (0..8_u32).map(|task| {
            let session = Arc::clone(&session);
            tokio::spawn(async move {
                let mut staged = Vec::new();
                for n in 0..50_u32 {
                    let at = key(&format!("{task}/{n}"));
                    let value = [task.to_le_bytes(), n.to_le_bytes()].concat().repeat(1000);
                    // A caller that is told of a failure tries again.
                    while session.set(&at, value.clone()).await.is_err() {
                        tokio::task::yield_now().await;
                    }
                    staged.push((at, value));
                }
                staged
            })
        });
        let staged = tokio::time::timeout(Duration::from_mins(2), join_all(tasks)).await.expect("no task waits for ever");
        let expected: BTreeMap<_, _> = staged.into_iter().flat_map(Result::unwrap).collect();
        while session.flush().await.is_err() {}
        let snapshot = Arc::into_inner(session).unwrap().commit("all of it").await.unwrap();
        assert_eq!(values(&snapshot).await, expected);
    });
}

#[test]
fn what_is_set_if_absent_replaces_nothing() {
    threads(4).block_on(async {
        let storage = Arc::new(Memory::new());
        let session = Arc::new(created(storage, OpenOptions::default()).await.write("main").await.unwrap());
        let at = key("k");
        assert!(session.set_if_absent(&at, "1").await.unwrap());
        assert!(!session.set_if_absent(&at, "2").await.unwrap());
        assert_eq!(session.get(&at).await.unwrap().as_deref(), Some(&b"1"[..]));
        let base = Arc::into_inner(session).unwrap().commit("one value").await.unwrap();
        let session = Arc::new(base.repository().write("main").await.unwrap());
        assert!(!session.set_if_absent(&at, "3").await.unwrap(), "the base has it");
        session.delete(&at).await.unwrap();
        assert!(session.set_if_absent(&at, "4").await.unwrap(), "its deletion is staged");

        for n in 0..200 {
            let at = key(&format!("c/{n}"));
            let default = |byte: u8| {
                let (session, at) = (Arc::clone(&session), at.clone());
                tokio::spawn(async move { session.set_if_absent(&at, vec![byte; 50_000]).await.unwrap() })
            };
            let set = {
                let (session, at) = (Arc::clone(&session), at.clone());
                tokio::spawn(async move {
                    if n % 2 == 0 {
                        session.set(&at, "set").await.unwrap();
                    }
                })
            };
            let (one, two) = (default(1), default(2));
            set.await.unwrap();
            let staged = [one.await.unwrap(), two.await.unwrap()];
            let value = session.get(&at).await.unwrap().unwrap();
            if n % 2 == 0 {
                assert_eq!(&value[..], b"set", "key {n}");
            } else {
                assert_eq!((staged, value[0]), if staged[0] { ([true, false], 1) } else { ([false, true], 2) }, "key {n}");
            }
        }
    });
}
