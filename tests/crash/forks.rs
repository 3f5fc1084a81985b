//! Forks under faults and as real processes: a call that fails can be repeated, a fork that is killed leaves nothing but garbage, and one
//! commit has what was merged and nothing else.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firnline::storage::fault::{Crashing, Fault, Faulty};
use firnline::storage::{Memory, Storage};
use firnline::{CreateOptions, ErrorKind, ForkSession, OpenOptions, Prefix, Repository, Snapshot, VerifyScope, WriteSession};
use futures::TryStreamExt as _;

use super::world::{Ticking, key};

async fn values(snapshot: &Snapshot) -> BTreeMap<String, Vec<u8>> {
    let keys: Vec<_> = snapshot.list(&Prefix::all()).map_ok(|(key, _)| key).try_collect().await.unwrap();
    let values = snapshot.get_many(&keys).await.unwrap();
    keys.into_iter().zip(values).map(|(key, value)| (key.to_string(), value.unwrap().to_vec())).collect()
}

/// How many keys a fork sets. So many that its changes are stored in the repository.
const MANY: usize = 1500;

fn work_of(fork: usize) -> impl Iterator<Item = (String, Vec<u8>)> {
    let small = (0..MANY).map(move |n| (format!("a/c/{fork}/{n}"), format!("{fork} {n} ").repeat(10).into_bytes()));
    small.chain([(format!("a/large/{fork}"), vec![7; 5000 + fork])])
}

async fn stage(session: &WriteSession, fork: usize) {
    for (at, value) in work_of(fork) {
        session.set(&key(&at), value).await.unwrap();
    }
}

/// Which request goes wrong, and how.
#[derive(Debug, Clone, Copy)]
struct Wrong {
    at: u64,
    is_done: bool,
    /// Whether all requests fail from then on, until the caller is told.
    outage: bool,
}

/// Calls until it works.
async fn until_done<T>(wrong: Wrong, out: &AtomicBool, call: impl AsyncFn() -> firnline::Result<T>) -> T {
    for _ in 0..4 {
        match call().await {
            Ok(done) => return done,
            Err(e) => assert!(matches!(e.kind(), ErrorKind::Unavailable), "{wrong:?}: {e:?}"),
        }
        out.store(false, Ordering::Relaxed);
    }
    panic!("{wrong:?}: one fault must not fail four calls");
}

/// Plays the whole of it, with one thing going wrong; says whether there was such a request.
async fn play(wrong: Wrong) -> bool {
    let (memory, clock) = (Memory::new(), Ticking::new());
    Repository::create_storage(Arc::new(memory.clone()), CreateOptions::from(clock.options())).await.unwrap();
    let (fired, out) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let plan = {
        let (fired, out) = (fired.clone(), out.clone());
        move |number| {
            if number != wrong.at {
                return if out.load(Ordering::Relaxed) { Fault::Before } else { Fault::None };
            }
            fired.store(true, Ordering::Relaxed);
            out.store(wrong.outage, Ordering::Relaxed);
            if wrong.is_done { Fault::After } else { Fault::Before }
        }
    };
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new(Arc::new(memory.clone()), move |call| plan(call.number)));
    let repository = until_done(wrong, &out, async || Repository::open_storage(storage.clone(), clock.options()).await).await;
    let session = until_done(wrong, &out, async || repository.write("main").await).await;
    // So much that the fork itself is stored in the repository.
    stage(&session, 0).await;
    let bytes = until_done(wrong, &out, async || session.fork().await).await;
    let fork: ForkSession = until_done(wrong, &out, async || repository.resume_fork(&bytes).await).await;
    stage(&fork, 1).await;
    fork.delete_prefix(&Prefix::new("a/c/0").unwrap());
    let changes = until_done(wrong, &out, async || fork.finish().await).await;
    drop(fork);
    let merge = async || {
        let merged = session.merge(&changes).await;
        if merged.is_err() {
            assert_eq!(session.list(&Prefix::all()).await.unwrap().len(), MANY + 1, "{wrong:?}: a merge that failed staged nothing");
        }
        merged
    };
    until_done(wrong, &out, merge).await;
    out.store(false, Ordering::Relaxed);
    let snapshot = match session.commit("together").await {
        Ok(snapshot) => snapshot,
        Err(failed) => {
            assert!(failed.kind() == ErrorKind::Unavailable || failed.pending().is_some(), "{wrong:?}: {failed:?}");
            out.store(false, Ordering::Relaxed);
            failed.into_session().commit("again").await.unwrap()
        }
    };
    drop(snapshot);
    // Past the faults: what was acknowledged is there.
    let clear = clock.open(Arc::new(memory)).await;
    let expected: BTreeMap<_, _> = work_of(1).chain(work_of(0).skip(MANY)).collect();
    assert_eq!(values(&clear.read("main").await.unwrap()).await, expected, "{wrong:?}");
    assert_eq!(clear.verify(VerifyScope::Everything).await.unwrap().findings, [], "{wrong:?}");
    fired.load(Ordering::Relaxed)
}

#[test]
fn whatever_goes_wrong_at_any_request_of_a_fork_it_can_be_repeated() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut requests = 0;
    for at in 0.. {
        let mut fired = false;
        for (is_done, outage) in [(false, false), (true, false), (false, true)] {
            fired |= runtime.block_on(play(Wrong { at, is_done, outage }));
        }
        if !fired {
            break;
        }
        requests = at;
        assert!(at < 500, "the scenario does not end");
    }
    println!("{requests} requests");
    assert!(requests > 15, "only {requests} requests");
}

/// The barrier of the session covers only what its own process wrote, so a fork must pass one of its own.
#[tokio::test]
async fn a_power_loss_after_the_commit_takes_nothing_that_a_fork_wrote() {
    for seed in 0..8 {
        let (machine, clock) = (Arc::new(Crashing::new()), Ticking::new());
        let repository = Repository::create_storage(machine.clone(), CreateOptions::from(clock.options())).await.unwrap();
        let session = repository.write("main").await.unwrap();
        session.set(&key("own"), vec![1; 4000]).await.unwrap();
        let bytes = session.fork().await.unwrap();
        let elsewhere = clock.open(Arc::new(machine.another_handle())).await;
        let fork = elsewhere.resume_fork(&bytes).await.unwrap();
        stage(&fork, 1).await;
        let changes = fork.finish().await.unwrap();
        session.merge(&changes).await.unwrap();
        session.commit("together").await.unwrap();
        machine.crash();
        let found = clock.open(Arc::new(machine.survivors(seed))).await;
        let expected: BTreeMap<_, _> = work_of(1).chain([("own".to_owned(), vec![1; 4000])]).collect();
        assert_eq!(values(&found.read("main").await.unwrap()).await, expected);
    }
}

const PLACE: &str = "FIRNLINE_TEST_FORK_PLACE";
const FORK: &str = "FIRNLINE_TEST_FORK";

/// Runs `child` below in another process.
fn spawn(place: &Path, fork: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "forks::child", "--nocapture", "--test-threads=1"])
        .env(PLACE, place)
        .env(FORK, fork)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// What another process does. Nothing, when it is run as a test.
#[tokio::test]
async fn child() {
    let (Ok(place), Ok(fork)) = (std::env::var(PLACE), std::env::var(FORK)) else { return };
    let place = Path::new(&place);
    let options = OpenOptions::default().staged_bytes(50_000);
    let repository = Repository::open_with(place.join("repository").to_str().unwrap(), options).await.unwrap();
    let session = repository.resume_fork(&std::fs::read(place.join("fork")).unwrap()).await.unwrap();
    assert_eq!(session.get(&key("a/zarr.json")).await.unwrap().unwrap(), "{}");
    if fork == "endless" {
        // Killed at some moment.
        for n in 0.. {
            session.set(&key(&format!("endless/{n}")), n.to_string().repeat(3000)).await.unwrap();
            if n == 20 {
                std::fs::write(place.join("begun"), b"").unwrap();
            }
            if n % 50 == 49 {
                drop(session.finish().await.unwrap());
            }
        }
    }
    stage(&session, fork.parse().unwrap()).await;
    session.set(&key("shared"), "equal").await.unwrap();
    if matches!(fork.as_str(), "2" | "3") {
        session.set(&key("disputed"), fork.clone()).await.unwrap();
    }
    std::fs::write(place.join(format!("changes-{fork}")), session.finish().await.unwrap()).unwrap();
}

#[tokio::test]
async fn processes_write_one_commit_together_and_a_killed_one_leaves_garbage() {
    let place = tempfile::tempdir().unwrap();
    let repository = Repository::create(place.path().join("repository").to_str().unwrap()).await.unwrap();
    let session = repository.write("main").await.unwrap();
    session.set(&key("a/zarr.json"), "{}").await.unwrap();
    std::fs::write(place.path().join("fork"), session.fork().await.unwrap()).unwrap();

    let children = ["0", "1", "2", "3"].map(|fork| spawn(place.path(), fork));
    let mut endless = spawn(place.path(), "endless");
    while !place.path().join("begun").exists() {
        assert!(endless.try_wait().unwrap().is_none(), "it works for ever");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    endless.kill().unwrap();
    endless.wait().unwrap();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }

    let changes = |fork: usize| std::fs::read(place.path().join(format!("changes-{fork}"))).unwrap();
    for fork in [3, 0, 1] {
        session.merge(&changes(fork)).await.unwrap();
    }
    let error = session.merge(&changes(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("both changed disputed;"), "{error}");
    let snapshot = session.commit("by processes").await.unwrap();

    let mut expected: BTreeMap<_, _> = [0, 1, 3].into_iter().flat_map(work_of).collect();
    expected.extend([("a/zarr.json", "{}"), ("shared", "equal"), ("disputed", "3")].map(|(k, v)| (k.to_owned(), v.as_bytes().to_vec())));
    assert_eq!(values(&snapshot).await, expected);
    assert_eq!(repository.verify(VerifyScope::Everything).await.unwrap().findings, []);
}
