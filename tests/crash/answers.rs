//! What is answered to the replace of a ref, and what the caller is then told, for every operation that replaces one.
//!
//! A gateway that applied a replace and answered it with 400, 401 or 403 made operations fail as denied or invalid for commits
//! that were on the branch: only answers that looked like a lost connection were settled by reading back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use firnline::storage::Memory;
use firnline::storage::fault::{Call, Fault, Faulty, Operation};
use firnline::{Clock, CreateOptions, ErrorKind, OpenOptions, Repository, Settlement, SnapshotId, Timestamp};

use super::world::{Ticking, branch, key, log, name, read_everything};

const KINDS: [ErrorKind; 7] = [
    ErrorKind::Denied,
    ErrorKind::Invalid,
    ErrorKind::NotFound,
    ErrorKind::Unsupported,
    ErrorKind::Conflict,
    ErrorKind::Corrupt,
    ErrorKind::Unavailable,
];

/// Everything that replaces a ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Commit,
    CreateBranch,
    CreateTag,
    Reset,
    Delete,
}

const ALL: [Doing; 5] = [Doing::Commit, Doing::CreateBranch, Doing::CreateTag, Doing::Reset, Doing::Delete];

/// Two commits on `main`, and a branch `old` on the first.
struct Stage {
    memory: Memory,
    clock: Ticking,
    direct: Repository,
    first: SnapshotId,
    second: SnapshotId,
}

impl Stage {
    async fn new() -> Self {
        let (memory, clock) = (Memory::new(), Ticking::new());
        let direct = Repository::create_storage(Arc::new(memory.clone()), CreateOptions::from(clock.options())).await.unwrap();
        let mut ids = Vec::new();
        for text in ["first", "second"] {
            let session = direct.write("main").await.unwrap();
            session.set(&key(text), text).await.unwrap();
            ids.push(session.commit(text).await.unwrap().id());
        }
        let first = direct.read(&ids[0].to_string()).await.unwrap();
        direct.create_branch(&name("old"), &first).await.unwrap();
        Self { memory, clock, direct, first: ids[0], second: ids[1] }
    }

    /// A handle through a network that `plan` breaks, told of each replace by its number.
    async fn through(&self, plan: impl Fn(u32) -> Fault + Send + Sync + 'static) -> Repository {
        let replaces = AtomicU32::new(0);
        let plan = move |call: &Call<'_>| match call.operation {
            Operation::Replace => plan(replaces.fetch_add(1, Ordering::Relaxed)),
            _ => Fault::None,
        };
        self.clock.open(Arc::new(Faulty::new(Arc::new(self.memory.clone()), plan))).await
    }

    /// Does it, and says how it ended.
    async fn run(&self, doing: Doing, repository: &Repository) -> Result<(), ErrorKind> {
        let first = repository.read(&self.first.to_string()).await.unwrap();
        let told = match doing {
            Doing::Commit => {
                let session = repository.write("main").await.unwrap();
                session.set(&key("ours"), vec![8; 3_000]).await.unwrap();
                return session.commit("ours").await.map(drop).map_err(|failed| failed.kind());
            }
            Doing::CreateBranch => repository.create_branch(&name("new"), &first).await.map(drop),
            Doing::CreateTag => repository.create_tag(&name("new"), &first, firnline::TagOptions::default()).await.map(drop),
            Doing::Reset => repository.reset(&name("main"), &first).await.map(drop),
            Doing::Delete => repository.delete_branch(&name("old")).await.map(drop),
        };
        told.map_err(|e| e.kind())
    }

    /// Whether readers see that it was done.
    async fn is_done(&self, doing: Doing) -> bool {
        let fresh = self.clock.open(Arc::new(self.memory.clone())).await;
        let shown = |revision: &'static str| {
            let fresh = fresh.clone();
            async move { fresh.read(revision).await.ok().map(|snapshot| snapshot.id()) }
        };
        let done = match doing {
            Doing::Commit => log(&fresh.read("main").await.unwrap()).await.iter().any(|entry| entry.summary == "ours"),
            Doing::CreateBranch => shown("branch:new").await == Some(self.first),
            Doing::CreateTag => shown("tag:new").await == Some(self.first),
            Doing::Reset => shown("branch:main").await == Some(self.first),
            Doing::Delete => shown("branch:old").await.is_none(),
        };
        let names = [branch("main"), branch("old"), branch("new"), firnline::Ref::tag(name("new"))];
        read_everything(&fresh, &names).await;
        done
    }
}

#[tokio::test]
async fn what_was_done_counts_as_done_whatever_the_answer_was() {
    for doing in ALL {
        for kind in KINDS {
            let stage = Stage::new().await;
            let through = stage.through(move |_| Fault::DoneAndRejected(kind)).await;
            assert_eq!(stage.run(doing, &through).await, Ok(()), "{doing:?} answered with {kind:?}");
            assert!(stage.is_done(doing).await, "{doing:?} answered with {kind:?}");
        }
    }
}

/// The store answers every replace, and does none of them: nothing can be on its way, so the error is definite.
#[tokio::test]
async fn what_was_rejected_and_not_done_fails_as_it_was_rejected() {
    for doing in ALL {
        for kind in [ErrorKind::Denied, ErrorKind::Invalid, ErrorKind::Unsupported] {
            let stage = Stage::new().await;
            let through = stage.through(move |_| Fault::Rejected(kind)).await;
            assert_eq!(stage.run(doing, &through).await, Err(kind), "{doing:?}");
            assert!(!stage.is_done(doing).await, "{doing:?} answered with {kind:?}");
        }
    }
}

/// The first request was not answered, and its repetition is denied: the first may still be on its way.
#[tokio::test]
async fn an_unanswered_replace_whose_repetition_is_denied_has_no_definite_outcome() {
    for doing in [Doing::Commit, Doing::Reset, Doing::Delete] {
        let stage = Stage::new().await;
        let through = stage.through(|n| if n == 0 { Fault::Before } else { Fault::Rejected(ErrorKind::Denied) }).await;
        assert_eq!(stage.run(doing, &through).await, Err(ErrorKind::OutcomeUnknown), "{doing:?}");
        assert!(!stage.is_done(doing).await, "{doing:?}");

        // The same, but the first one landed.
        let stage = Stage::new().await;
        let through = stage.through(|n| if n == 0 { Fault::After } else { Fault::Rejected(ErrorKind::Denied) }).await;
        assert_eq!(stage.run(doing, &through).await, Ok(()), "{doing:?}");
        assert!(stage.is_done(doing).await, "{doing:?}");
    }
}

/// After a rejection the store denies to read, too.
#[tokio::test]
async fn a_store_that_cannot_be_asked_afterwards_leaves_the_outcome_unknown() {
    for applied in [true, false] {
        let stage = Stage::new().await;
        let sent = AtomicU32::new(0);
        let plan = move |call: &Call<'_>| match call.operation {
            Operation::Replace => {
                sent.store(1, Ordering::Relaxed);
                if applied { Fault::DoneAndRejected(ErrorKind::Denied) } else { Fault::Rejected(ErrorKind::Denied) }
            }
            Operation::Load if sent.load(Ordering::Relaxed) == 1 => Fault::Rejected(ErrorKind::Denied),
            _ => Fault::None,
        };
        let through = stage.clock.open(Arc::new(Faulty::new(Arc::new(stage.memory.clone()), plan))).await;
        assert_eq!(stage.run(Doing::Commit, &through).await, Err(ErrorKind::OutcomeUnknown), "applied: {applied}");
        assert_eq!(stage.is_done(Doing::Commit).await, applied);
    }
}

/// A read-only mount, a full disk and a held lock ended as "outcome unknown" after seconds or minutes, although nothing had
/// been sent.
#[tokio::test]
async fn what_was_never_sent_is_definite_without_a_look() {
    for doing in ALL {
        let stage = Stage::new().await;
        let loads = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&loads);
        let sent = AtomicU32::new(0);
        let plan = move |call: &Call<'_>| match call.operation {
            Operation::Replace => {
                sent.fetch_add(1, Ordering::Relaxed);
                Fault::NotSent
            }
            Operation::Load => {
                seen.fetch_add(sent.load(Ordering::Relaxed), Ordering::Relaxed);
                Fault::None
            }
            _ => Fault::None,
        };
        let through = stage.clock.open(Arc::new(Faulty::new(Arc::new(stage.memory.clone()), plan))).await;
        assert_eq!(stage.run(doing, &through).await, Err(ErrorKind::Unavailable), "{doing:?}");
        assert_eq!(loads.load(Ordering::Relaxed), 0, "{doing:?}: there is nothing to ask for");
        assert!(!stage.is_done(doing).await, "{doing:?}");
    }
}

/// Not sent after an attempt that was not answered: that one counts.
#[tokio::test]
async fn a_repetition_that_is_not_sent_says_nothing_of_the_first_attempt() {
    let stage = Stage::new().await;
    let through = stage.through(|n| if n == 0 { Fault::Before } else { Fault::NotSent }).await;
    assert_eq!(stage.run(Doing::Commit, &through).await, Err(ErrorKind::OutcomeUnknown));
}

/// `settle` makes its answer definite by a replace, which a gateway may answer wrongly, too.
#[tokio::test]
async fn settling_through_such_a_gateway_tells_the_truth() {
    for kind in KINDS {
        let stage = Stage::new().await;
        // A commit that never arrived.
        let lost = stage.through(|_| Fault::Before).await;
        let session = lost.write("main").await.unwrap();
        session.set(&key("ours"), vec![8; 3_000]).await.unwrap();
        let failed = session.commit("ours").await.unwrap_err();
        let pending = failed.pending().expect("an unanswered commit is pending").clone();
        let through = stage.through(move |_| Fault::DoneAndRejected(kind)).await;
        assert_eq!(through.settle(&pending.branch, pending.id).await.unwrap(), Settlement::Lost, "{kind:?}");
        assert_eq!(stage.direct.read("main").await.unwrap().id(), stage.second, "{kind:?}");
        assert_eq!(through.settle(&name("main"), stage.second).await.unwrap(), Settlement::Committed, "{kind:?}");
    }
}

/// A clock that stands, behind everything that was ever committed.
#[derive(Debug)]
struct Behind(Timestamp);

impl Clock for Behind {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// Two writers whose clocks are behind stamp the same creation with the same time, one microsecond after the last event or that of its
/// target. They wrote the same bytes, and the one that lost took the other's creation for its own.
#[tokio::test]
async fn of_two_writers_that_make_the_same_move_one_is_told_so() {
    let stage = Stage::new().await;
    let second = stage.direct.read(&stage.second.to_string()).await.unwrap();
    let clock = Arc::new(Behind(Timestamp::from_micros(second.record().time.micros() - 1_000_000)));
    let options = move || OpenOptions::default().without_pauses().clock(clock.clone());
    let other = Repository::open_storage(Arc::new(stage.memory.clone()), options()).await.unwrap();
    let id = stage.second.to_string();
    // The other creation happens between what this one has read and what it sends: after its placeholder.
    let replaces = AtomicU32::new(0);
    let plan = move |call: &Call<'_>| {
        let is_second = call.operation == Operation::Replace && replaces.fetch_add(1, Ordering::Relaxed) == 1;
        if !is_second {
            return Fault::None;
        }
        let (other, id) = (other.clone(), id.clone());
        Fault::Wait(Box::pin(async move {
            let target = other.read(&id).await.unwrap();
            other.create_branch(&name("new"), &target).await.unwrap();
        }))
    };
    let faulty = Faulty::new(Arc::new(stage.memory.clone()), plan);
    let repository = Repository::open_storage(Arc::new(faulty), options()).await.unwrap();
    let target = repository.read(&stage.second.to_string()).await.unwrap();
    let error = repository.create_branch(&name("new"), &target).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(stage.direct.moves(&branch("new")).await.unwrap().len(), 1);
}
