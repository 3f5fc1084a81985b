//! What every writer owes to the garbage collector (F1 to F7 of its protocol; F6 is in `outcome`).
//!
//! The collector is played with a text editor.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use firnline::storage::fault::{Fault, Faulty, Operation};
use firnline::storage::{Local, LocalOptions, Memory, Storage};
use firnline::{CreateOptions, Error, ErrorKind, MoveOp, Ref, Repository};
use futures::TryStreamExt as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::world::{Change, Ticking, branch, key, name, read_everything};

const GC: &str = "gc/state.json";
const NEW: &str = "refs/branches/new.json";

/// A repository in a directory, with one commit on `main`, a branch `other` and a tag `v1`.
struct Directory {
    root: tempfile::TempDir,
    clock: Ticking,
    repository: Repository,
}

impl Directory {
    async fn new() -> Self {
        let (root, clock) = (tempfile::tempdir().unwrap(), Ticking::new());
        let storage = Arc::new(Local::open(root.path(), LocalOptions::default()).unwrap());
        let repository = Repository::create_storage(storage, CreateOptions::from(clock.options())).await.unwrap();
        let directory = Self { root, clock, repository };
        let main = directory.commit("main", "first").await.unwrap();
        directory.repository.create_branch(&name("other"), &main).await.unwrap();
        directory.repository.create_tag(&name("v1"), &main, "a tag").await.unwrap();
        directory
    }

    fn path(&self, register: &str) -> std::path::PathBuf {
        self.root.path().join(register)
    }

    async fn commit(&self, to: &str, what: &str) -> Result<firnline::Snapshot, Error> {
        let session = self.repository.write(to).await?;
        session.set(&key(what), vec![1; 2_000]).await?;
        session.commit(what).await.map_err(|failed| failed.into_error())
    }

    /// A handle through which `plan` sees every request.
    async fn through(&self, plan: impl Fn(Operation, &str) -> Fault + Send + Sync + 'static) -> Repository {
        let local = Local::open(self.root.path(), LocalOptions::default()).unwrap();
        self.clock.open(Arc::new(Faulty::new(Arc::new(local), move |call| plan(call.operation, call.name)))).await
    }

    fn collect(&self, state: &str) {
        collect(self.root.path(), state);
    }

    /// Raises the epoch of a ref, as a collector does.
    fn raise_epoch(&self, register: &str) {
        let text = std::fs::read_to_string(self.path(register)).unwrap();
        assert!(text.contains("\"epoch\": 0"), "{text}");
        std::fs::write(self.path(register), text.replace("\"epoch\": 0", "\"epoch\": 1")).unwrap();
    }

    /// Every call that would change a ref, by name, with its answer.
    async fn writes(&self) -> Vec<(&'static str, Result<(), Error>)> {
        let r = &self.repository;
        let main = r.read("main").await.unwrap();
        vec![
            ("opening for writing", r.write("main").await.map(drop)),
            ("creating a branch", r.create_branch(&name("new"), &main).await.map(drop)),
            ("creating a tag", r.create_tag(&name("v2"), &main, "").await.map(drop)),
            ("resetting", r.reset(&name("other"), &main).await.map(drop)),
            ("deleting a branch", r.delete_branch(&name("other")).await.map(drop)),
            ("deleting a tag", r.delete_tag(&name("v1")).await.map(drop)),
        ]
    }
}

fn collect(root: &Path, state: &str) {
    std::fs::create_dir_all(root.join("gc")).unwrap();
    std::fs::write(root.join(GC), state).unwrap();
}

fn unsupported(answer: Result<impl std::fmt::Debug, Error>, what: &str) {
    let error = answer.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{what}: {error:?}");
}

/// Through delete and re-create, and through commits and resets, a register only ever counts up.
#[tokio::test]
async fn f1_sequence_numbers_never_repeat_and_registers_never_vanish() {
    let directory = Directory::new().await;
    let r = &directory.repository;
    let main = r.read("main").await.unwrap();
    let register = directory.path(NEW);
    let (mut last, mut seen) = (0, BTreeSet::new());
    let mut look = |what: &str| {
        let text = std::fs::read_to_string(&register).unwrap_or_else(|e| panic!("after {what}: {e}"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let seq = value["seq"].as_u64().unwrap();
        assert!(seq > last, "after {what}: {seq} does not follow {last}");
        assert_eq!(value["epoch"], 0, "after {what}");
        assert_eq!((value["v"].as_u64(), value["moves"].is_array(), value.get("older").is_some()), (Some(1), true, true));
        for one in value["moves"].as_array().unwrap() {
            assert!(one["seq"].as_u64().is_some_and(|n| n <= seq), "moves carry the number that wrote them");
        }
        last = seq;
        assert!(seen.insert(text), "the bytes of a register never come back");
    };
    for round in 0..12 {
        r.create_branch(&name("new"), &main).await.unwrap();
        look("create");
        directory.commit("new", &format!("round {round}")).await.unwrap();
        look("commit");
        r.reset(&name("new"), &main).await.unwrap();
        look("reset");
        r.delete_branch(&name("new")).await.unwrap();
        look("delete");
    }
}

#[tokio::test]
async fn f2_a_state_that_this_build_cannot_read_stops_every_writer() {
    let directory = Directory::new().await;
    let newer = [r#"{"v":2,"seq":1,"epoch":0,"phase":"idle","owner":null,"list":null,"lists":[]}"#, r#"{"v":2}"#];
    let damaged = [
        r#"{"v":1,"seq":1,"epoch":0,"phase":"something new"}"#,
        r#"{"v":1,"seq":1,"epoch":1,"phase":"fence","owner":null,"list":null,"lists":[]}"#,
        r#"{"v":1,"phase":"idle"}"#,
        "garbage",
        "",
        "\u{0}\u{0}\u{0}",
    ];
    let kinds = newer.iter().map(|state| (*state, ErrorKind::Unsupported)).chain(damaged.iter().map(|state| (*state, ErrorKind::Corrupt)));
    for (state, kind) in kinds {
        directory.collect(state);
        for (what, answer) in directory.writes().await {
            let error = answer.expect_err(what);
            assert_eq!(error.kind(), kind, "{what} with {state:?}: {error:?}");
        }
        // Readers never read it.
        assert!(directory.repository.read("main").await.unwrap().get(&key("first")).await.unwrap().is_some());
        assert!(directory.repository.read("new").await.is_err_and(|e| e.kind() == ErrorKind::NotFound));
        assert_eq!((directory.repository.branches().await.unwrap().len(), directory.repository.tags().await.unwrap().len()), (2, 1));
    }
    directory.collect(r#"{"v":1,"seq":3,"epoch":1,"phase":"idle","owner":null,"list":null,"lists":[]}"#);
    for (what, answer) in directory.writes().await {
        answer.unwrap_or_else(|e| panic!("{what} is allowed between collections: {e:?}"));
    }
}

/// Every change of a ref but those of a collector carries its epoch unchanged; a ref that is made is of the present epoch.
#[tokio::test]
async fn f2_a_ref_keeps_the_epoch_to_which_it_was_raised() {
    let directory = Directory::new().await;
    let r = &directory.repository;
    let main = r.read("main").await.unwrap();
    let gone = name("gone");
    r.create_branch(&gone, &main).await.unwrap();
    r.delete_branch(&gone).await.unwrap();
    for register in ["main", "other", "gone"] {
        directory.raise_epoch(&format!("refs/branches/{register}.json"));
    }
    directory.raise_epoch("refs/tags/v1.json");
    directory.collect(r#"{"v":1,"seq":2,"epoch":1,"phase":"idle","owner":null,"list":null,"lists":[]}"#);
    directory.commit("main", "late").await.unwrap();
    r.reset(&name("other"), &main).await.unwrap();
    r.create_branch(&gone, &main).await.unwrap();
    r.create_branch(&name("new"), &main).await.unwrap();
    r.delete_branch(&name("other")).await.unwrap();
    r.delete_tag(&name("v1")).await.unwrap();
    r.settle(&name("main"), main.id()).await.unwrap();
    for register in
        ["refs/branches/main.json", "refs/branches/other.json", "refs/branches/gone.json", "refs/branches/new.json", "refs/tags/v1.json"]
    {
        let text = std::fs::read_to_string(directory.path(register)).unwrap();
        assert!(text.contains("\"epoch\": 1"), "{register}: {text}");
    }
}

/// The requests about the ref `new` and the collection, in their order.
#[tokio::test]
async fn f3_a_ref_is_created_in_two_steps_with_the_collection_read_between() {
    let directory = Directory::new().await;
    let calls = Arc::new(Mutex::new(Vec::new()));
    let record = calls.clone();
    let repository = directory
        .through(move |operation, at| {
            if [NEW, GC].contains(&at) {
                record.lock().unwrap().push((operation, at.to_owned()));
            }
            Fault::None
        })
        .await;
    let main = repository.read("main").await.unwrap();
    let of = |calls: Vec<(Operation, String)>| {
        // Only what decides: writes of the ref, and reads of the collection.
        let kept = calls.into_iter().filter(|(op, at)| *op == Operation::Replace || at == GC);
        kept.map(|(op, at)| (op, if at == GC { "gc" } else { "ref" })).collect::<Vec<_>>()
    };
    repository.create_branch(&name("new"), &main).await.unwrap();
    let fresh = std::mem::take(&mut *calls.lock().unwrap());
    assert_eq!(of(fresh), [(Operation::Replace, "ref"), (Operation::Load, "gc"), (Operation::Replace, "ref")]);

    // On a tombstone the register is there already: it is read first, then the collection, then it is replaced.
    repository.delete_branch(&name("new")).await.unwrap();
    calls.lock().unwrap().clear();
    repository.create_branch(&name("new"), &main).await.unwrap();
    let again = std::mem::take(&mut *calls.lock().unwrap());
    let read = again.iter().position(|(op, at)| *op == Operation::Load && at == NEW).expect("the tombstone is read");
    let asked = again.iter().rposition(|(_, at)| at == GC).expect("the collection is read");
    assert!(read < asked, "{again:?}");
    assert_eq!(of(again), [(Operation::Load, "gc"), (Operation::Replace, "ref")]);
}

#[tokio::test]
async fn f3_a_creation_that_was_cut_off_is_invisible_and_can_be_completed() {
    for collected in [false, true] {
        let directory = Directory::new().await;
        let main = directory.repository.read("main").await.unwrap();
        let root = directory.root.path().to_owned();
        let cut = Arc::new(Mutex::new(false));
        let half = directory
            .through(move |operation, at| {
                let mut cut = cut.lock().unwrap();
                match (operation, at) {
                    // A collection begins right after the placeholder was written, or the process dies there.
                    (Operation::Load, GC) if collected => {
                        collect(&root, r#"{"v":2,"seq":1,"epoch":1,"phase":"fence"}"#);
                        Fault::None
                    }
                    (Operation::Load, GC) => {
                        *cut = true;
                        Fault::Before
                    }
                    _ if *cut => Fault::Before,
                    _ => Fault::None,
                }
            })
            .await;
        let target = half.read("main").await.unwrap();
        let error = half.create_branch(&name("new"), &target).await.unwrap_err();
        assert_eq!(error.kind(), if collected { ErrorKind::Unsupported } else { ErrorKind::Unavailable }, "{error:?}");

        let text = std::fs::read_to_string(directory.path(NEW)).expect("the placeholder is there");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["seq"], &value["epoch"], &value["tip"]), (&1.into(), &0.into(), &serde_json::Value::Null), "{text}");
        let r = &directory.repository;
        if collected {
            std::fs::remove_file(directory.path(GC)).unwrap();
        }
        assert_eq!(r.branches().await.unwrap().len(), 2, "no listing shows it");
        assert!(r.moves(&branch("new")).await.is_ok_and(|moves| moves.is_empty()) || r.moves(&branch("new")).await.is_err());
        let not_found = |answer: Result<(), Error>| assert_eq!(answer.unwrap_err().kind(), ErrorKind::NotFound);
        not_found(r.read("new").await.map(drop));
        not_found(r.read("branch:new@now").await.map(drop));
        not_found(r.write("new").await.map(drop));
        not_found(r.delete_branch(&name("new")).await.map(drop));
        not_found(r.reset(&name("new"), &main).await.map(drop));

        let done = r.create_branch(&name("new"), &main).await.unwrap();
        assert_eq!((done.seq > 1, done.op, done.to), (true, MoveOp::Create, Some(main.id())));
        assert_eq!(r.read("new").await.unwrap().id(), main.id());
    }
}

/// The first step shows nobody anything, so a creation that ends there has failed for certain.
#[tokio::test]
async fn f3_a_creation_whose_first_step_was_not_answered_has_not_happened() {
    for landed in [false, true] {
        let directory = Directory::new().await;
        let gone = Mutex::new(false);
        let half = directory
            .through(move |operation, at| {
                let mut gone = gone.lock().unwrap();
                let first = operation == Operation::Replace && at == NEW && !*gone;
                *gone |= first;
                match (first, landed, *gone) {
                    (true, true, _) => Fault::After,
                    (_, _, true) => Fault::Before,
                    _ => Fault::None,
                }
            })
            .await;
        let main = half.read("main").await.unwrap();
        let error = half.create_branch(&name("new"), &main).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains("branch new was not created"), "{error}");
        assert!(directory.repository.read("new").await.is_err_and(|e| e.kind() == ErrorKind::NotFound));
        directory.repository.create_branch(&name("new"), &main).await.unwrap();
    }
}

/// A later release has put a register of its own on top of a commit whose answer was lost: what this build cannot read it
/// cannot settle, and must not call lost.
#[tokio::test]
async fn f6_a_ref_that_this_build_cannot_read_leaves_the_outcome_unknown() {
    const MAIN: &str = "refs/branches/main.json";
    let directory = Directory::new().await;
    let (path, sent) = (directory.path(MAIN), Mutex::new(false));
    let repository = directory
        .through(move |operation, at| {
            let mut sent = sent.lock().unwrap();
            match (operation, at, *sent) {
                (Operation::Replace, MAIN, false) => {
                    *sent = true;
                    Fault::After
                }
                (Operation::Load, MAIN, true) => {
                    let text = std::fs::read_to_string(&path).unwrap();
                    std::fs::write(&path, text.replace("\"v\": 1", "\"v\": 9")).unwrap();
                    Fault::None
                }
                _ => Fault::None,
            }
        })
        .await;
    let session = repository.write("main").await.unwrap();
    session.set(&key("ours"), "x").await.unwrap();
    let failed = session.commit("ours").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::OutcomeUnknown, "{failed:?}");
    let pending = failed.pending().unwrap().clone();
    unsupported(directory.repository.settle(&pending.branch, pending.id).await, "settling what cannot be read");
    // The release that wrote it can tell.
    let text = std::fs::read_to_string(directory.path(MAIN)).unwrap();
    std::fs::write(directory.path(MAIN), text.replace("\"v\": 9", "\"v\": 1")).unwrap();
    assert_eq!(directory.repository.settle(&pending.branch, pending.id).await.unwrap(), firnline::Settlement::Committed);
}

#[tokio::test]
async fn f4_refs_are_pointed_only_at_what_a_ref_keeps() {
    let directory = Directory::new().await;
    let r = &directory.repository;
    // A commit whose last step never arrived: its snapshot is in the store, and no ref has ever held it.
    let broken = directory
        .through(
            |operation, at| {
                if operation == Operation::Replace && at.starts_with("refs/branches/main") { Fault::Before } else { Fault::None }
            },
        )
        .await;
    let session = broken.write("main").await.unwrap();
    session.set(&key("orphan"), "x").await.unwrap();
    let orphan = session.commit("orphan").await.unwrap_err().pending().unwrap().id;
    let orphan = r.read(&orphan.to_string()).await.unwrap();
    for answer in
        [r.create_branch(&name("new"), &orphan).await, r.create_tag(&name("v2"), &orphan, "").await, r.reset(&name("main"), &orphan).await]
    {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        assert!(error.to_string().contains(&orphan.id().to_string()), "{error}");
    }
    // What was moved away, and what only a tombstone remembers, is kept.
    let main = r.read("main").await.unwrap();
    let second = directory.commit("main", "second").await.unwrap();
    r.reset(&name("main"), &main).await.unwrap();
    r.create_branch(&name("new"), &second).await.unwrap();
    let third = directory.commit("new", "third").await.unwrap();
    r.delete_branch(&name("new")).await.unwrap();
    r.create_tag(&name("v3"), &third, "").await.unwrap();
}

/// A name is linked without being written only when it was read from the ref. Everything else is written, also when an
/// object of that name is there.
#[tokio::test]
async fn f4_only_what_was_read_from_the_ref_is_linked_unwritten() {
    let directory = Directory::new().await;
    let puts = Arc::new(Mutex::new(Vec::<String>::new()));
    let record = puts.clone();
    let repository = directory
        .through(move |operation, at| {
            if operation == Operation::Put {
                record.lock().unwrap().push(at.to_owned());
            }
            Fault::None
        })
        .await;
    let chunks = || puts.lock().unwrap().drain(..).filter(|at| at.starts_with("chunks/")).count();
    let session = repository.write("main").await.unwrap();
    session.set(&key("first"), vec![1; 2_000]).await.unwrap();
    session.flush().await.unwrap();
    assert_eq!(chunks(), 0, "the base holds these bytes under this key");
    session.set(&key("elsewhere"), vec![1; 2_000]).await.unwrap();
    session.flush().await.unwrap();
    assert_eq!(chunks(), 1, "under another key they are written, although the object exists");
    let made = session.commit("elsewhere").await.unwrap();
    assert!(puts.lock().unwrap().iter().any(|at| at.starts_with("snapshots/")));
    puts.lock().unwrap().clear();

    // A branch that lacks the commit: each object of the same content is written again.
    let session = repository.write("other").await.unwrap();
    session.set(&key("elsewhere"), vec![1; 2_000]).await.unwrap();
    let same = session.commit("elsewhere").await.unwrap();
    assert_eq!(same.record().manifest, made.record().manifest);
    let puts = puts.lock().unwrap().clone();
    for folder in ["chunks/", "manifests/", "snapshots/", "history/"] {
        assert!(puts.iter().any(|at| at.starts_with(folder)), "{folder} in {puts:?}");
    }
}

/// After a rebase, what the first attempt wrote and the new tip lacks is written again on top of the new tip.
#[tokio::test]
async fn f5_a_rebase_writes_what_the_new_tip_lacks() {
    let directory = Directory::new().await;
    let puts = Arc::new(Mutex::new(Vec::<String>::new()));
    let record = puts.clone();
    let repository = directory
        .through(move |operation, at| {
            if matches!(operation, Operation::Put | Operation::Replace) {
                record.lock().unwrap().push(at.to_owned());
            }
            Fault::None
        })
        .await;
    let session = repository.write("main").await.unwrap();
    session.set(&key("ours"), vec![5; 2_000]).await.unwrap();
    directory.commit("main", "theirs").await.unwrap();
    let made = session.commit("ours").await.unwrap();
    let puts = puts.lock().unwrap().clone();
    let first = puts.iter().position(|at| at.starts_with("refs/")).expect("a first attempt");
    let second: Vec<_> = puts[first + 1..].iter().take_while(|at| !at.starts_with("refs/")).collect();
    for folder in ["manifests/", "history/", "snapshots/"] {
        assert!(second.iter().any(|at| at.starts_with(folder)), "{folder} after the rebase: {puts:?}");
    }
    let manifest = made.record().manifest.to_string();
    assert!(second.iter().any(|at| at.ends_with(&manifest)), "the root of the rebased commit is written: {puts:?}");
}

/// No writer removes anything: over a long and clumsy history, what was listed once is listed for ever.
#[tokio::test]
async fn f7_no_object_ever_vanishes() {
    let (memory, clock) = (Memory::new(), Ticking::new());
    let clear = Repository::create_storage(Arc::new(memory.clone()), CreateOptions::from(clock.options())).await.unwrap();
    let rates = firnline::storage::fault::Rates { before: 20, after: 20, twice: 20, wait: 0 };
    let faulty = Faulty::new(Arc::new(memory.clone()), firnline::storage::fault::seeded(11, rates));
    let storage: Arc<dyn Storage> = Arc::new(faulty);
    let mut random = SmallRng::seed_from_u64(7);
    let names = ["main", "one", "two"];
    let mut known = BTreeSet::new();
    let mut committed = 0;
    for step in 0..400_u32 {
        let at = names[random.random_range(0..3)];
        let target = clear.read("branch:main").await.unwrap();
        let what = random.random_range(0..10);
        if let Ok(repository) = Repository::open_storage(storage.clone(), clock.options()).await {
            match what {
                0 => drop(repository.create_branch(&name(at), &target).await),
                1 if at != "main" => drop(repository.delete_branch(&name(at)).await),
                2 => drop(repository.reset(&name(at), &target).await),
                3 => drop(repository.create_tag(&name("tag"), &target, "").await),
                4 => drop(repository.delete_tag(&name("tag")).await),
                _ => {
                    if let Ok(mut session) = repository.write(at).await {
                        let change = match random.random_range(0..6) {
                            0 => Change::DeletePrefix("a/"),
                            1 => Change::Delete("a/x"),
                            _ => Change::bytes(["a/x", "a/y", "b"][random.random_range(0..3)], random.random_range(0..200), 1_500),
                        };
                        if change.stage(&mut session).await.is_ok() && session.commit(format!("{step}")).await.is_ok() {
                            committed += 1;
                        }
                    }
                }
            }
        }
        let now: BTreeSet<_> = memory.list("").map_ok(|meta| meta.name).try_collect().await.unwrap();
        assert!(known.is_subset(&now), "step {step}: vanished: {:?}", known.difference(&now));
        known = now;
    }
    assert!(committed > 50 && known.len() > 150, "{committed} commits, {} objects", known.len());
    let refs = [branch("main"), branch("one"), branch("two"), Ref::tag(name("tag"))];
    read_everything(&clock.open(Arc::new(memory)).await, &refs).await;
}
