//! A merge, steps back and forth, a squash and a move forward, while any single request of them fails or is not answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firnline::storage::Memory;
use firnline::storage::fault::{Fault, Faulty};
use firnline::{CreateOptions, Error, ErrorKind, MergeOptions, Ref, Repository, SnapshotId, VerifyScope};

use super::world::{Ticking, key, name};

/// One step of the scenario, on the branches `main`, `side` and `behind`.
async fn step(repository: &Repository, n: usize) -> Result<(), Error> {
    match n {
        0 => {
            let side = repository.read("side").await?;
            let merge = repository.merge(&name("main"), &side, MergeOptions::default()).await?;
            merge.commit().await.map(drop).map_err(|failed| failed.into_error())
        }
        1 => repository.undo(&name("main")).await.map(drop),
        2 => repository.redo(&name("main")).await.map(drop),
        3 => repository.squash(&name("main"), &repository.read("behind").await?, "squashed").await.map(drop),
        4 => repository.fast_forward(&name("behind"), &repository.read("main").await?).await.map(drop),
        _ => repository.undo(&name("behind")).await.map(drop),
    }
}

/// What the refs say: tips, and how many moves there are.
async fn state(repository: &Repository) -> Vec<(Option<SnapshotId>, usize)> {
    let mut all = Vec::new();
    for branch in ["main", "behind"] {
        let reference = Ref::branch(name(branch));
        let tip = repository.ref_info(&reference).await.unwrap().tip;
        all.push((tip, repository.moves(&reference).await.unwrap().len()));
    }
    all
}

/// Plays the scenario with one request gone wrong; whether the scenario has that request.
async fn play(at: u64, is_answer_lost: bool) -> bool {
    let (memory, clock) = (Memory::new(), Ticking::new());
    let calm = Repository::create_storage(Arc::new(memory.clone()), CreateOptions::from(clock.options())).await.unwrap();
    let start = calm.read("main").await.unwrap();
    calm.create_branch(&name("side"), &start).await.unwrap();
    calm.create_branch(&name("behind"), &start).await.unwrap();
    for (branch, count) in [("main", 2_u8), ("side", 2)] {
        for n in 0..count {
            let session = calm.write(branch).await.unwrap();
            session.set(&key(&format!("{branch}/{n}")), vec![n; 2000]).await.unwrap();
            session.commit(format!("{branch} {n}")).await.unwrap();
        }
    }
    let fired = Arc::new(AtomicBool::new(false));
    let seen = fired.clone();
    let weather = Faulty::new(Arc::new(memory), move |call| {
        if call.number != at {
            return Fault::None;
        }
        seen.store(true, Ordering::Relaxed);
        if is_answer_lost { Fault::After } else { Fault::Before }
    });
    let Ok(repository) = Repository::open_storage(Arc::new(weather), clock.options()).await else { return true };
    for n in 0..6 {
        let before = state(&calm).await;
        let done = step(&repository, n).await;
        let after = state(&calm).await;
        if let Err(e) = done {
            assert!(before == after || e.kind() == ErrorKind::OutcomeUnknown, "request {at}, step {n}: {e}");
            if before == after {
                step(&calm, n).await.unwrap_or_else(|e| panic!("request {at}, step {n}, again: {e}"));
            }
        }
        assert_ne!(state(&calm).await, before, "request {at}, step {n} did something, and once");
    }
    let main = calm.read("main").await.unwrap();
    let side = calm.read("side").await.unwrap();
    assert_eq!(main.record().parents, [start.id(), side.id()], "request {at}");
    assert_eq!(calm.read("behind").await.unwrap().id(), start.id(), "request {at}");
    assert_eq!(main.totals().await.unwrap().keys, 4, "request {at}");
    let moves = calm.moves(&Ref::branch(name("main"))).await.unwrap();
    assert_eq!(moves.iter().map(|one| one.op.word()).collect::<Vec<_>>(), ["create", "undo", "redo", "squash"], "request {at}");
    assert_eq!(calm.verify(VerifyScope::Everything).await.unwrap().found, 0, "request {at}");
    fired.load(Ordering::Relaxed)
}

#[tokio::test]
async fn work_on_branches_happens_once_or_not_at_all_whatever_request_fails() {
    for is_answer_lost in [false, true] {
        let mut at = 0;
        while play(at, is_answer_lost).await {
            at += 1;
            assert!(at < 2_000, "the scenario does not end");
        }
        assert!(at > 40, "{at} requests");
    }
}
