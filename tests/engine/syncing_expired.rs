//! Push and pull of versions that have expired, on the one side or on the other.

use std::sync::Arc;
use std::time::Duration;

use firnline::storage::fault::{Fault, Faulty, Operation};
use firnline::storage::{Memory, Storage};
use firnline::{
    CreateOptions, ErrorKind, ExpireOptions, GcOptions, MergeOptions, OpenOptions, RefName, Repository, Snapshot, SyncOptions, SyncRef,
    VerifyScope,
};
use futures::TryStreamExt as _;

use crate::support::{World, key};

const LEN: usize = 2_000;

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

fn only(text: &str) -> SyncOptions {
    SyncOptions::default().with(SyncRef::branch(name(text)))
}

/// An empty repository.
async fn empty(world: &World) -> (Arc<dyn Storage>, Repository) {
    let memory: Arc<dyn Storage> = Arc::new(Memory::new());
    let options = OpenOptions::default().clock(world.clock.clone()).without_pauses();
    let made = Repository::create_storage(memory.clone(), CreateOptions::from(options)).await.unwrap();
    (memory, made)
}

/// Commits one chunk of its own under `k`, and one under its own key.
async fn put(world: &World, branch: &str, salt: u8) -> Snapshot {
    world.clock.advance(Duration::from_secs(1));
    let session = world.repository.write(branch).await.unwrap();
    session.set(&key("k"), vec![salt; LEN]).await.unwrap();
    session.set(&key(&format!("own/{salt}")), [salt, 1].repeat(LEN)).await.unwrap();
    session.commit(format!("commit {salt}")).await.unwrap()
}

async fn expire(repository: &Repository) {
    let plan = repository.plan_expire(&ExpireOptions::default().keep_last(1)).await.unwrap();
    repository.expire(&plan, "too old").await.unwrap();
}

/// Removes all garbage, by the clock of the machine, by which a store in memory dates what it holds.
async fn collect(storage: &Arc<dyn Storage>) {
    let repository = Repository::open_storage(storage.clone(), OpenOptions::default().without_pauses()).await.unwrap();
    repository.gc(&GcOptions::default().grace(Duration::ZERO)).await.unwrap();
}

async fn require_clean(storage: &Arc<dyn Storage>) {
    let fresh = Repository::open_storage(storage.clone(), OpenOptions::default().without_pauses()).await.unwrap();
    assert_eq!(fresh.verify(VerifyScope::Everything).await.unwrap().findings, []);
}

/// What a revision has under `k`, in a handle that has read nothing before.
async fn value(storage: &Arc<dyn Storage>, revision: &str) -> firnline::Result<u8> {
    let fresh = Repository::open_storage(storage.clone(), OpenOptions::default().without_pauses()).await.unwrap();
    let found = fresh.read(revision).await?.get(&key("k")).await?.unwrap();
    assert_eq!(found, vec![found[0]; LEN]);
    Ok(found[0])
}

async fn log(storage: &Arc<dyn Storage>) -> usize {
    let fresh = Repository::open_storage(storage.clone(), OpenOptions::default().without_pauses()).await.unwrap();
    fresh.read("main").await.unwrap().log().try_collect::<Vec<_>>().await.unwrap().len()
}

/// What has expired in the source, and the target lacks, comes without its data and with the reason; what follows it is whole.
#[tokio::test]
async fn what_has_expired_is_copied_as_expired() {
    let world = World::new().await;
    let first = put(&world, "main", 1).await;
    put(&world, "main", 2).await;
    put(&world, "main", 3).await;
    expire(&world.repository).await;
    for is_collected in [false, true] {
        if is_collected {
            collect(&world.storage).await;
        }
        let (memory, target) = empty(&world).await;
        world.repository.push(&target, &SyncOptions::default()).await.unwrap();
        assert_eq!((value(&memory, "main").await.unwrap(), log(&memory).await), (3, log(&world.storage).await));
        let error = value(&memory, &first.id().to_string()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Expired, "{error:?}");
        assert!(error.to_string().contains("too old"), "{error}");
        require_clean(&memory).await;
        collect(&memory).await;
        require_clean(&memory).await;
        // A second run has nothing to copy and records nothing.
        let acts = target.retention().await.unwrap().expirations().len();
        assert_eq!(world.repository.push(&target, &SyncOptions::default()).await.unwrap().versions, 0);
        assert_eq!((acts, target.retention().await.unwrap().expirations().len()), (1, 1));
    }
}

/// A descendant of what has expired in the target is sent with everything that the target has given up; so is a version itself when a
/// branch is to show it.
#[tokio::test]
async fn what_the_target_has_given_up_is_sent_with_what_rests_on_it() {
    for is_itself in [false, true] {
        let world = World::new().await;
        put(&world, "main", 1).await;
        let second = put(&world, "main", 2).await;
        put(&world, "main", 3).await;
        let (memory, target) = empty(&world).await;
        world.repository.push(&target, &SyncOptions::default()).await.unwrap();
        expire(&target).await;
        collect(&memory).await;
        assert_eq!(value(&memory, &second.id().to_string()).await.unwrap_err().kind(), ErrorKind::Expired);

        world.repository.create_branch(&name("old"), &second).await.unwrap();
        let shown = if is_itself {
            2
        } else {
            let session = world.repository.write("old").await.unwrap();
            session.set(&key("more"), "small").await.unwrap();
            session.commit("more").await.unwrap();
            2
        };
        let report = world.repository.push(&target, &only("old")).await.unwrap();
        assert_eq!((report.versions, report.chunks), (1, 3), "k, and one for each of two versions");
        assert_eq!((value(&memory, "old").await.unwrap(), value(&memory, "main").await.unwrap()), (shown, 3));
        require_clean(&memory).await;
        collect(&memory).await;
        assert_eq!((value(&memory, "old").await.unwrap(), value(&memory, "main").await.unwrap()), (shown, 3));
        require_clean(&memory).await;
    }
}

/// What the target keeps stays whole there, whatever has expired in the source, also on the side of a merge.
#[tokio::test]
async fn what_expires_in_the_source_stays_in_the_target() {
    let world = World::new().await;
    let first = put(&world, "main", 1).await;
    world.repository.create_branch(&name("side"), &first).await.unwrap();
    let side = put(&world, "side", 2).await;
    let last = put(&world, "side", 3).await;
    let staged = world.repository.merge(&name("main"), &last, MergeOptions::default()).await.unwrap();
    staged.commit().await.unwrap();
    let (memory, target) = empty(&world).await;
    world.repository.push(&target, &only("main")).await.unwrap();
    put(&world, "main", 4).await;
    expire(&world.repository).await;
    let expired = world.repository.retention().await.unwrap();
    assert!(!expired.is_expired(first.id()) && expired.is_expired(side.id()), "where the branches part stays");
    collect(&world.storage).await;
    put(&world, "main", 5).await;
    put(&world, "side", 6).await;

    world.repository.push(&target, &SyncOptions::default()).await.unwrap();
    assert_eq!((value(&memory, "main").await.unwrap(), value(&memory, "side").await.unwrap()), (5, 6));
    for (version, of) in [(&first, 1), (&side, 2), (&last, 3)] {
        assert_eq!(value(&memory, &version.id().to_string()).await.unwrap(), of);
    }
    assert!(target.retention().await.unwrap().expirations().is_empty());
    require_clean(&memory).await;
    collect(&memory).await;
    require_clean(&memory).await;
    assert_eq!(value(&memory, &side.id().to_string()).await.unwrap(), 2);
}

/// Somebody else pushed the same version whole while the copy was made, which took hours; then it was recorded as expired by what had been
/// seen before, and the next collection removed it.
#[tokio::test]
async fn what_somebody_else_brings_meanwhile_does_not_expire_by_a_copy() {
    let world = World::new().await;
    let first = put(&world, "main", 1).await;
    put(&world, "main", 2).await;
    let (_, whole) = empty(&world).await;
    world.repository.push(&whole, &SyncOptions::default()).await.unwrap();
    expire(&world.repository).await;

    let (memory, other_way) = empty(&world).await;
    let is_first = std::sync::atomic::AtomicBool::new(true);
    let faulty = Faulty::new(memory.clone(), move |call| {
        let is_it = call.operation == Operation::Put && call.name.starts_with("snapshots/");
        if !is_it || !is_first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return Fault::None;
        }
        let (whole, target) = (whole.clone(), other_way.clone());
        Fault::Wait(Box::pin(async move {
            let mut renamed = SyncRef::branch(name("main"));
            renamed.target.name = name("other");
            whole.push(&target, &SyncOptions::default().with(renamed)).await.unwrap();
        }))
    });
    let options = OpenOptions::default().clock(world.clock.clone()).without_pauses();
    let target = Repository::open_storage(Arc::new(faulty), options).await.unwrap();
    world.repository.push(&target, &SyncOptions::default()).await.unwrap();
    assert!(!target.retention().await.unwrap().is_expired(first.id()));
    collect(&memory).await;
    assert_eq!(value(&memory, &first.id().to_string()).await.unwrap(), 1);
    assert_eq!((value(&memory, "main").await.unwrap(), value(&memory, "other").await.unwrap()), (2, 2));
    require_clean(&memory).await;
}

/// The same with what lies on the side of a merge there.
#[tokio::test]
async fn nor_does_what_lies_on_the_side_of_a_merge() {
    let world = World::new().await;
    let first = put(&world, "main", 1).await;
    world.repository.create_branch(&name("side"), &first).await.unwrap();
    let side = put(&world, "side", 2).await;
    let last = put(&world, "side", 3).await;
    let (_, whole) = empty(&world).await;
    world.repository.push(&whole, &SyncOptions::default()).await.unwrap();
    let staged = whole.merge(&name("main"), &whole.read("side").await.unwrap(), MergeOptions::default()).await.unwrap();
    staged.commit().await.unwrap();
    expire(&world.repository).await;
    assert!(world.repository.retention().await.unwrap().is_expired(side.id()));

    let (memory, other_way) = empty(&world).await;
    let is_first = std::sync::atomic::AtomicBool::new(true);
    let faulty = Faulty::new(memory.clone(), move |call| {
        let is_it = call.operation == Operation::Put && call.name.starts_with("snapshots/");
        if !is_it || !is_first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return Fault::None;
        }
        let (whole, target) = (whole.clone(), other_way.clone());
        Fault::Wait(Box::pin(async move {
            whole.push(&target, &only("main")).await.unwrap();
        }))
    });
    let options = OpenOptions::default().clock(world.clock.clone()).without_pauses();
    let target = Repository::open_storage(Arc::new(faulty), options).await.unwrap();
    world.repository.push(&target, &only("side")).await.unwrap();
    assert!(!target.retention().await.unwrap().is_expired(side.id()));
    collect(&memory).await;
    for (version, of) in [(&side, 2), (&last, 3)] {
        assert_eq!(value(&memory, &version.id().to_string()).await.unwrap(), of);
    }
    require_clean(&memory).await;
}

/// Each merge handed on what both sides had handed on, so that a run ended for want of memory.
#[tokio::test]
async fn branches_that_merge_each_other_all_the_time_cost_no_more_when_they_expire() {
    let world = World::new().await;
    let first = put(&world, "main", 1).await;
    world.repository.create_branch(&name("dev"), &first).await.unwrap();
    put(&world, "dev", 2).await;
    let (memory, target) = empty(&world).await;
    world.repository.push(&target, &SyncOptions::default()).await.unwrap();
    for round in 0..30 {
        for (into, from) in [("main", "dev"), ("dev", "main")] {
            world.clock.advance(Duration::from_secs(1));
            let session = world.repository.write(into).await.unwrap();
            session.set(&key(&format!("{into}/{round}")), "small").await.unwrap();
            session.commit("more").await.unwrap();
            let other = world.repository.read(from).await.unwrap();
            world.repository.merge(&name(into), &other, MergeOptions::default()).await.unwrap().commit().await.unwrap();
        }
    }
    expire(&world.repository).await;
    world.repository.push(&target, &SyncOptions::default()).await.unwrap();
    assert_eq!(value(&memory, "main").await.unwrap(), 2);
    require_clean(&memory).await;
}
