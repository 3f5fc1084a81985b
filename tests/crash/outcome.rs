//! Commits whose answer was lost: what the writer is told, whatever others did to the branch meanwhile.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use firnline::storage::fault::{Call, Fault, Faulty, Operation};
use firnline::storage::{Memory, Storage};
use firnline::{CreateOptions, ErrorKind, Pending, Repository, Settlement, SnapshotId, WriteSession};
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use super::world::{Ticking, branch, key, log, name, read_everything, settle_down};

const MAIN: &str = "refs/branches/main.json";

/// What others do before the writer looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    /// One commit on top.
    Commit,
    /// The branch is pointed at where it was before.
    Reset,
    /// It is deleted.
    Delete,
    /// It is deleted, and made again where it was before.
    Recreate,
    /// It is moved so often that the first moves have left the register.
    ManyMoves,
}

const ALL: [Meanwhile; 6] =
    [Meanwhile::Nothing, Meanwhile::Commit, Meanwhile::Reset, Meanwhile::Delete, Meanwhile::Recreate, Meanwhile::ManyMoves];

impl Meanwhile {
    /// Happens while a request is on its way, in a thread of its own.
    fn while_waiting(self, others: &Repository, before: SnapshotId) -> Fault {
        let others = others.clone();
        let happen = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(self.happen(&others, before));
        };
        Fault::Wait(Box::pin(async move { std::thread::spawn(happen).join().unwrap() }))
    }

    /// Does it to `main`, which was at `before` when the writer began.
    async fn happen(self, others: &Repository, before: SnapshotId) {
        let main = name("main");
        let target = others.read(&before.to_string()).await.unwrap();
        match self {
            Self::Nothing => {}
            Self::Commit => {
                let session = others.write("main").await.unwrap();
                session.set(&key("theirs"), vec![7; 2_000]).await.unwrap();
                session.commit("theirs").await.unwrap();
            }
            Self::Reset => drop(others.reset(&main, &target).await.unwrap()),
            Self::Delete => drop(others.delete_branch(&main).await.unwrap()),
            Self::Recreate => {
                others.delete_branch(&main).await.unwrap();
                others.create_branch(&main, &target).await.unwrap();
            }
            Self::ManyMoves => {
                for _ in 0..40 {
                    others.reset(&main, &target).await.unwrap();
                }
            }
        }
    }
}

/// A repository with one commit on `main`, and a branch that keeps it.
struct Stage {
    memory: Memory,
    clock: Ticking,
    others: Repository,
    before: SnapshotId,
}

impl Stage {
    async fn new() -> Self {
        let (memory, clock) = (Memory::new(), Ticking::new());
        let others = Repository::create_storage(Arc::new(memory.clone()), CreateOptions::from(clock.options())).await.unwrap();
        let session = others.write("main").await.unwrap();
        session.set(&key("first"), "first").await.unwrap();
        let first = session.commit("first").await.unwrap();
        others.create_branch(&name("keeps"), &first).await.unwrap();
        let before = first.id();
        Self { memory, clock, others, before }
    }

    /// A session that is about to commit through a network that `plan` breaks.
    async fn session(&self, plan: impl Fn(Operation, &str) -> Fault + Send + Sync + 'static) -> WriteSession {
        let storage: Arc<dyn Storage> = Arc::new(Faulty::new(Arc::new(self.memory.clone()), move |call| plan(call.operation, call.name)));
        let session = self.clock.open(storage).await.write("main").await.unwrap();
        session.set(&key("ours"), vec![8; 3_000]).await.unwrap();
        session
    }

    async fn summaries(&self) -> Vec<String> {
        let main = self.others.read("branch:main").await.unwrap();
        log(&main).await.into_iter().rev().skip(1).map(|entry| entry.summary).collect()
    }

    async fn check(&self) {
        let fresh = self.clock.open(Arc::new(self.memory.clone())).await;
        read_everything(&fresh, &[branch("main"), branch("keeps")]).await;
    }
}

/// The answer to the replace is lost, by breaking off or by the client sending it twice; before the writer reads the ref
/// back, others change it. It landed, so it was acknowledged: the commit is in the history or was moved away.
#[tokio::test]
async fn a_lost_answer_is_settled_whatever_happened_meanwhile() {
    for twice in [false, true] {
        for meanwhile in ALL {
            let stage = Stage::new().await;
            let (sent, looked) = (AtomicBool::new(false), AtomicBool::new(false));
            let (others, before) = (stage.others.clone(), stage.before);
            let session = stage.session(move |operation, at| {
                if operation == Operation::Replace && at == MAIN && !sent.swap(true, Ordering::Relaxed) {
                    return if twice { Fault::Twice } else { Fault::After };
                }
                if operation == Operation::Load && at == MAIN && sent.load(Ordering::Relaxed) && !looked.swap(true, Ordering::Relaxed) {
                    return meanwhile.while_waiting(&others, before);
                }
                Fault::None
            });
            let made = session.await.commit("ours").await.unwrap_or_else(|e| panic!("{meanwhile:?}: {e:?}"));
            assert_eq!(made.record().parents, [stage.before], "{meanwhile:?}");
            assert_eq!(stage.others.settle(&name("main"), made.id()).await.unwrap(), Settlement::Committed, "{meanwhile:?}");
            match meanwhile {
                Meanwhile::Nothing => assert_eq!(stage.summaries().await, ["first", "ours"]),
                Meanwhile::Commit => assert_eq!(stage.summaries().await, ["first", "ours", "theirs"], "built upon, not done twice"),
                Meanwhile::Delete => {
                    let moves = stage.others.moves(&branch("main")).await.unwrap();
                    assert_eq!(moves.last().unwrap().from, Some(made.id()), "it was there when the branch was deleted");
                }
                _ => assert_eq!(stage.summaries().await, ["first"], "moved away, not done again"),
            }
            stage.check().await;
        }
    }
}

/// The replace never arrived, and others change the ref before the writer reads it back: lost, and done again on top.
#[tokio::test]
async fn a_lost_request_is_rebased_once() {
    for meanwhile in ALL {
        let stage = Stage::new().await;
        let (sent, looked) = (AtomicBool::new(false), AtomicBool::new(false));
        let (others, before) = (stage.others.clone(), stage.before);
        let session = stage.session(move |operation, at| {
            if operation == Operation::Replace && at == MAIN && !sent.swap(true, Ordering::Relaxed) {
                return Fault::Before;
            }
            if operation == Operation::Load && at == MAIN && sent.load(Ordering::Relaxed) && !looked.swap(true, Ordering::Relaxed) {
                return meanwhile.while_waiting(&others, before);
            }
            Fault::None
        });
        let answer = session.await.commit("ours").await;
        match meanwhile {
            Meanwhile::Delete => assert_eq!(answer.unwrap_err().kind(), ErrorKind::NotFound),
            Meanwhile::Commit => {
                assert_eq!(answer.unwrap().id(), stage.others.read("main").await.unwrap().id());
                assert_eq!(stage.summaries().await, ["first", "theirs", "ours"]);
            }
            _ => {
                assert_eq!(answer.unwrap().id(), stage.others.read("main").await.unwrap().id());
                assert_eq!(stage.summaries().await, ["first", "ours"], "{meanwhile:?}");
            }
        }
        stage.check().await;
    }
}

/// What becomes of the one request that was sent before the store was gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Landed,
    Nowhere,
    /// On its way until the end of the test.
    OnItsWay,
}

struct Unknown {
    stage: Stage,
    pending: Pending,
    session: WriteSession,
    gate: Arc<Semaphore>,
}

/// A commit after whose replace the store cannot be asked until `OutcomeUnknown` is given.
async fn unknown(sent: Sent) -> Unknown {
    let stage = Stage::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let (out, open) = (Arc::new(Mutex::new(Some(true))), gate.clone());
    let network = out.clone();
    let session = stage.session(move |operation, at| {
        let mut network = network.lock().unwrap();
        match *network {
            Some(true) if operation == Operation::Replace && at == MAIN => {
                *network = Some(false);
                let open = open.clone();
                match sent {
                    Sent::Landed => Fault::After,
                    Sent::Nowhere => Fault::Before,
                    Sent::OnItsWay => Fault::Late(Box::pin(async move { drop(open.acquire().await) }) as BoxFuture<'static, ()>),
                }
            }
            Some(true) | None => Fault::None,
            Some(false) => Fault::Before,
        }
    });
    let failed = session.await.commit("ours").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::OutcomeUnknown, "{sent:?}: {failed:?}");
    *out.lock().unwrap() = None;
    let pending = failed.pending().expect("an unknown outcome says what to ask for").clone();
    assert!(failed.to_string().contains(&pending.id.to_string()), "{failed}");
    let session = failed.into_session();
    assert!(!session.is_unchanged(), "staged work is intact");
    Unknown { stage, pending, session, gate }
}

/// `settle` tells the truth and makes it last: in the same process or in another one that has only the id, whatever
/// happened to the branch, and wherever the request was.
#[tokio::test]
async fn an_unknown_outcome_is_settled_for_ever() {
    for sent in [Sent::Landed, Sent::Nowhere, Sent::OnItsWay] {
        for meanwhile in ALL {
            for by_others in [false, true] {
                let what = format!("{sent:?}, {meanwhile:?}, by others: {by_others}");
                let Unknown { stage, pending, session, gate } = unknown(sent).await;
                meanwhile.happen(&stage.others, stage.before).await;
                let asked = if by_others { stage.others.clone() } else { session.base().repository().clone() };
                let truth = if sent == Sent::Landed { Settlement::Committed } else { Settlement::Lost };
                assert_eq!(asked.settle(&pending.branch, pending.id).await.unwrap(), truth, "{what}");
                let moves = stage.others.moves(&branch("main")).await.unwrap();
                gate.add_permits(1);
                settle_down().await;
                assert_eq!(asked.settle(&pending.branch, pending.id).await.unwrap(), truth, "{what}: asked again");
                assert_eq!(stage.others.moves(&branch("main")).await.unwrap(), moves, "{what}: settling is no move");

                // Committing again does what is not done yet, once.
                let again = session.commit("ours").await;
                match (meanwhile, again) {
                    (Meanwhile::Delete, answer) => assert_eq!(answer.unwrap_err().kind(), ErrorKind::NotFound, "{what}"),
                    (_, answer) => {
                        assert_eq!(answer.unwrap().id(), stage.others.read("main").await.unwrap().id(), "{what}");
                        let ours = stage.summaries().await.iter().filter(|summary| *summary == "ours").count();
                        assert_eq!(ours, 1, "{what}");
                    }
                }
                stage.check().await;
            }
        }
    }
}

/// The request lands between the look of `settle` and the replace by which it makes its answer definite.
#[tokio::test]
async fn a_request_that_lands_while_it_is_settled_is_committed() {
    let Unknown { stage, pending, gate, .. } = unknown(Sent::OnItsWay).await;
    let opened = gate.clone();
    let storage = Faulty::new(Arc::new(stage.memory.clone()), move |call| {
        let gate = opened.clone();
        match call.operation {
            Operation::Replace => Fault::Wait(Box::pin(async move {
                gate.add_permits(1);
                settle_down().await;
            })),
            _ => Fault::None,
        }
    });
    let asked = stage.clock.open(Arc::new(storage)).await;
    assert_eq!(asked.settle(&pending.branch, pending.id).await.unwrap(), Settlement::Committed);
    assert_eq!(stage.others.read("main").await.unwrap().id(), pending.id);
}

/// The expected sequence number travels with the error; burning it raises it and changes nothing else.
#[tokio::test]
async fn f6_settlement_carries_the_expected_version() {
    let Unknown { stage, pending, .. } = unknown(Sent::Nowhere).await;
    let created = stage.others.moves(&branch("main")).await.unwrap()[0].seq;
    assert_eq!(pending.expected, created + 1, "the commit was sent on top of the first one, which followed the creation");
    assert_eq!(pending.branch, name("main"));
    assert_eq!(stage.others.read(&pending.id.to_string()).await.unwrap().record().time, pending.time);
    assert_eq!(stage.others.settle(&pending.branch, pending.id).await.unwrap(), Settlement::Lost);
    assert_eq!(stage.others.read("main").await.unwrap().id(), stage.before);
    // The next move shows how far the number has come: one burn, and one reset, which may raise it by more than one.
    let target = stage.others.read("main").await.unwrap();
    assert!(stage.others.reset(&name("main"), &target).await.unwrap().seq >= pending.expected + 2);
}

#[tokio::test]
async fn a_snapshot_that_never_arrived_cannot_have_been_committed() {
    let (stage, other) = (Stage::new().await, unknown(Sent::Landed).await);
    let error = stage.others.settle(&name("main"), other.pending.id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(&other.pending.id.to_string()), "{error}");
}

/// While the store cannot be asked there is no answer, and none is made up.
#[tokio::test]
async fn an_outage_settles_nothing() {
    let Unknown { stage, pending, .. } = unknown(Sent::Landed).await;
    let out = Arc::new(AtomicBool::new(false));
    let network = out.clone();
    let plan = move |_: &Call<'_>| if network.load(Ordering::Relaxed) { Fault::Before } else { Fault::None };
    let asked = stage.clock.open(Arc::new(Faulty::new(Arc::new(stage.memory.clone()), plan))).await;
    out.store(true, Ordering::Relaxed);
    let error = asked.settle(&pending.branch, pending.id).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::OutcomeUnknown), "{error:?}");
    out.store(false, Ordering::Relaxed);
    assert_eq!(asked.settle(&pending.branch, pending.id).await.unwrap(), Settlement::Committed);
}
