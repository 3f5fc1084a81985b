//! Push and pull beside collections of garbage, and beside other writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use firnline::storage::Memory;
use firnline::storage::fault::{Fault, Faulty, Operation};
use firnline::{ErrorKind, ImportSteps, RefOutcome, Repository};
use tokio::sync::Semaphore;

use super::syncing::{collect, name, only, require_clean, require_same};
use crate::support::{World, key};

/// Garbage that is collected on both sides between and during runs.
#[tokio::test]
async fn collections_take_nothing_that_was_copied() {
    let world = World::new().await;
    let (memory, target) = world.target().await;
    let mut removed = 0;
    for round in 0..4 {
        world.chunks(&format!("r{round}"), 12, 2_000, round).await;
        // One that is stopped leaves garbage, and saves.
        let passed = AtomicU64::new(0);
        let limited = Faulty::new(Arc::new(memory.clone()), move |call| {
            let is_chunk = call.operation == Operation::Put && call.name.starts_with("chunks/");
            if is_chunk && passed.fetch_add(1, Ordering::Relaxed) >= 8 { Fault::Rejected(ErrorKind::Denied) } else { Fault::None }
        });
        let options = only("main").steps(ImportSteps::default().keys(5));
        world.repository.push(&world.open(Arc::new(limited)).await, &options).await.unwrap_err();
        removed += collect(Arc::new(memory.clone())).await;
        let (pushed, more) = futures::join!(world.repository.push(&target, &options), collect(Arc::new(memory.clone())));
        assert!(pushed.unwrap().reused >= 5);
        removed += more + collect(Arc::new(memory.clone())).await;
        collect(world.storage.clone()).await;
        require_same(&world.repository, &target, "branch:main").await;
        require_clean(&world.open(Arc::new(memory.clone())).await).await;
    }
    assert!(removed > 10, "{removed}");
}

/// The target through a network on which its first replace of `main` waits until the gate opens, and whether it has come there.
async fn held(world: &World, memory: &Memory) -> (Repository, Arc<Semaphore>, Arc<Semaphore>) {
    let (reached, opened) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (there, gate, passed) = (reached.clone(), opened.clone(), AtomicU64::new(0));
    let store = Faulty::new(Arc::new(memory.clone()), move |call| {
        let is_it = call.operation == Operation::Replace && call.name == "refs/branches/main.json";
        if !is_it || passed.fetch_add(1, Ordering::Relaxed) > 0 {
            return Fault::None;
        }
        there.add_permits(1);
        let gate = gate.clone();
        Fault::Wait(Box::pin(async move { gate.acquire().await.unwrap().forget() }))
    });
    (world.open(Arc::new(store)).await, reached, opened)
}

/// Everything that was sent is garbage until the branch moves. A collection right before that removes it: the run notices, and sends it again.
#[tokio::test]
async fn what_is_collected_before_the_branch_moves_is_sent_again() {
    let world = World::new().await;
    let (memory, _) = world.target().await;
    world.chunks("a", 20, 2_000, 1).await;
    let (target, reached, opened) = held(&world, &memory).await;
    let collecting = async {
        reached.acquire().await.unwrap().forget();
        let removed = collect(Arc::new(memory.clone())).await;
        opened.add_permits(1);
        removed
    };
    let options = only("main");
    let (pushed, removed) = futures::join!(world.repository.push(&target, &options), collecting);
    assert_eq!(pushed.unwrap().chunks, 40, "twice");
    assert!(removed > 20, "{removed}");
    let calm = world.open(Arc::new(memory)).await;
    require_same(&world.repository, &calm, "branch:main").await;
    require_clean(&calm).await;
}

/// Another writer is first: the branch is looked at again, and what was forward is so no more.
#[tokio::test]
async fn a_branch_that_moves_meanwhile_is_looked_at_again() {
    let world = World::new().await;
    let (memory, calm) = world.target().await;
    world.put("a", "1").await;
    world.repository.push(&calm, &only("main")).await.unwrap();
    world.put("a", "2").await;
    let (target, reached, opened) = held(&world, &memory).await;
    let commit = async {
        reached.acquire().await.unwrap().forget();
        let session = calm.write("main").await.unwrap();
        session.set(&key("b"), "theirs").await.unwrap();
        let made = session.commit("theirs").await.unwrap();
        opened.add_permits(1);
        made
    };
    let options = only("main");
    let (pushed, made) = futures::join!(world.repository.push(&target, &options), commit);
    assert_eq!(pushed.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(world.open(Arc::new(memory)).await.read("main").await.unwrap().id(), made.id());
}

/// Stores some chunks of a push that is stopped, without naming them on a branch.
async fn leave_garbage(world: &World, memory: &Memory) {
    let passed = AtomicU64::new(0);
    let limited = Faulty::new(Arc::new(memory.clone()), move |call| {
        let is_chunk = call.operation == Operation::Put && call.name.starts_with("chunks/");
        if is_chunk && passed.fetch_add(1, Ordering::Relaxed) >= 8 { Fault::Rejected(ErrorKind::Denied) } else { Fault::None }
    });
    world.repository.push(&world.open(Arc::new(limited)).await, &only("main")).await.unwrap_err();
}

/// What is sent before the first save is garbage until then. A collection in between removes it; the save must not name it, and the run sends it again.
#[tokio::test]
async fn what_is_collected_before_the_first_save_is_sent_again() {
    const STEP: u64 = 10;
    let world = World::new().await;
    let (memory, _) = world.target().await;
    world.chunks("a", 25, 2_000, 1).await;
    leave_garbage(&world, &memory).await;
    let (reached, opened) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (there, gate, passed) = (reached.clone(), opened.clone(), AtomicU64::new(0));
    let store = Faulty::new(Arc::new(memory.clone()), move |call| {
        let is_chunk = call.operation == Operation::Put && call.name.starts_with("chunks/");
        // The last one of the first step.
        if !is_chunk || passed.fetch_add(1, Ordering::Relaxed) + 1 != STEP {
            return Fault::None;
        }
        there.add_permits(1);
        let gate = gate.clone();
        Fault::Wait(Box::pin(async move { gate.acquire().await.unwrap().forget() }))
    });
    let target = world.open(Arc::new(store)).await;
    let collecting = async {
        reached.acquire().await.unwrap().forget();
        let removed = collect(Arc::new(memory.clone())).await;
        opened.add_permits(1);
        removed
    };
    let options = only("main").steps(ImportSteps::default().keys(STEP));
    let (pushed, removed) = futures::join!(world.repository.push(&target, &options), collecting);
    assert!(removed + 1 >= STEP, "{removed}");
    let report = pushed.unwrap();
    assert_eq!((report.chunks, report.reused), (25, 0), "{report:?}");
    let calm = world.open(Arc::new(memory)).await;
    require_clean(&calm).await;
    require_same(&world.repository, &calm, "branch:main").await;
    assert_eq!(calm.branches().await.unwrap().len(), 1, "the saves are gone");
}

/// A run that needs what a collection is removing waits for its end, and sends everything once more and not again and again.
#[tokio::test]
async fn a_run_waits_for_the_end_of_a_collection() {
    let world = World::new().await;
    let (memory, _) = world.target().await;
    world.chunks("a", 20, 2_000, 1).await;
    leave_garbage(&world, &memory).await;
    // A collection that stands still at its first removal.
    let (reached, opened) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (there, gate) = (reached.clone(), opened.clone());
    let slow = Faulty::new(Arc::new(memory.clone()), move |call| {
        if call.operation != Operation::Delete {
            return Fault::None;
        }
        there.add_permits(1);
        let gate = gate.clone();
        Fault::Wait(Box::pin(async move { drop(gate.acquire().await.unwrap()) }))
    });
    let (asked, sent, open) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)), opened.clone());
    let counted = sent.clone();
    let store = Faulty::new(Arc::new(memory.clone()), move |call| {
        let is_chunk = call.operation == Operation::Put && call.name.starts_with("chunks/");
        counted.fetch_add(u64::from(is_chunk), Ordering::Relaxed);
        // Longer than many runs would last.
        if call.name == "gc/state.json" && asked.fetch_add(1, Ordering::Relaxed) == 300 {
            open.add_permits(1);
        }
        Fault::None
    });
    let target = world.open(Arc::new(store)).await;
    let pushing = async {
        reached.acquire().await.unwrap().forget();
        let pushed = world.repository.push(&target, &only("main")).await;
        opened.add_permits(1);
        pushed
    };
    let (pushed, removed) = futures::join!(pushing, collect(Arc::new(slow)));
    assert_eq!(pushed.unwrap().refs[0].outcome, RefOutcome::Moved);
    assert!(removed >= 8, "{removed}");
    assert_eq!(sent.load(Ordering::Relaxed), 40);
    let calm = world.open(Arc::new(memory)).await;
    require_clean(&calm).await;
    require_same(&world.repository, &calm, "branch:main").await;
}

/// A branch of the target that is damaged keeps nothing, and says nothing of the others: what was once collected can be sent again.
#[tokio::test]
async fn a_damaged_branch_of_the_target_stops_no_other() {
    let world = World::new().await;
    let (memory, calm) = world.target().await;
    world.chunks("a", 20, 2_000, 1).await;
    leave_garbage(&world, &memory).await;
    assert!(collect(Arc::new(memory.clone())).await >= 8);
    calm.create_branch(&name("old"), &calm.read("main").await.unwrap()).await.unwrap();
    let damaged = |call: &firnline::storage::fault::Call<'_>| {
        let is_it = call.operation == Operation::Load && call.name == "refs/branches/old.json";
        if is_it { Fault::Rejected(ErrorKind::Corrupt) } else { Fault::None }
    };
    let target = world.open(Arc::new(Faulty::new(Arc::new(memory.clone()), damaged))).await;
    assert_eq!(world.repository.push(&target, &only("main")).await.unwrap().chunks, 20);
    require_same(&world.repository, &calm, "branch:main").await;
    require_clean(&calm).await;
    // It is named where it is to be moved.
    world.repository.create_branch(&name("old"), &world.repository.read("main").await.unwrap()).await.unwrap();
    let refused = world.repository.push(&target, &only("old")).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Corrupt && refused.to_string().contains("old"), "{refused}");
}
