//! Copies without what is before a version: what is left out stays out, and what is missing by accident does not pass for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use firnline::storage::fault::{Fault, Faulty, Operation};
use firnline::storage::{Local, LocalOptions, Memory, Storage};
use firnline::{ErrorKind, ImportTarget, MergeOptions, Ref, RefOutcome, Repository, Snapshot, SyncOptions, SyncRef};
use futures::TryStreamExt as _;

use super::syncing::{branch, collect, contents, name, only, require_clean, require_same};
use crate::support::{World, key};

/// A version without its history stays so.
#[tokio::test]
async fn what_was_left_out_stays_out() {
    let world = World::new().await;
    for n in 0..5 {
        world.put("a", &n.to_string()).await;
    }
    let (_, target) = world.target().await;
    let mut file = Vec::new();
    world.repository.read("main").await.unwrap().export_car(&mut file).await.unwrap();
    target.import_car(file.as_slice(), ImportTarget::Branch(name("main"))).await.unwrap();
    world.put("b", "1").await;
    let report = target.pull(&world.repository, &only("main")).await.unwrap();
    assert_eq!((report.refs[0].outcome, report.versions), (RefOutcome::Moved, 1));
    assert_eq!(contents(&target, "main").await, contents(&world.repository, "main").await);
    require_clean(&target).await;
    // What is committed there comes back to where the history is.
    world.clock.advance(Duration::from_secs(1));
    let session = target.write("main").await.unwrap();
    session.set(&key("c"), "1").await.unwrap();
    session.commit("in the shallow one").await.unwrap();
    let back = target.push(&world.repository, &only("main")).await.unwrap();
    assert_eq!((back.refs[0].outcome, back.versions), (RefOutcome::Moved, 1));
    require_clean(&world.repository).await;
    // And from a repository that has no history itself.
    let (_, third) = world.target().await;
    target.push(&third, &only("main")).await.unwrap();
    assert_eq!(contents(&target, "main").await, contents(&third, "main").await);
    require_clean(&third).await;
}

#[tokio::test]
async fn a_shallow_clone_has_what_branches_show_and_grows() {
    let world = World::new().await;
    let first = world.put("a", "1").await;
    world.chunks("c", 5, 2_000, 1).await;
    world.repository.create_tag(&name("v1"), &first, "").await.unwrap();
    let memory: Arc<dyn Storage> = Arc::new(Memory::new());
    let (clone, report) =
        world.repository.clone_to_storage(memory.clone(), world.options(), &SyncOptions::default().shallow()).await.unwrap();
    assert_eq!((report.versions, report.chunks), (2, 5), "what the branch and the tag show");
    assert_eq!(contents(&clone, "main").await, contents(&world.repository, "main").await);
    let mut log = Box::pin(clone.read("main").await.unwrap().log());
    assert_eq!(log.try_next().await.unwrap().unwrap().id, world.repository.read("main").await.unwrap().id());
    assert_eq!(log.try_next().await.unwrap_err().kind(), ErrorKind::NotFound);
    collect(memory.clone()).await;
    require_clean(&clone).await;
    // One more version there, without the two before it.
    world.chunks("d", 3, 2_000, 2).await;
    world.chunks("e", 3, 2_000, 3).await;
    let report = clone.pull(&world.repository, &only("main").shallow()).await.unwrap();
    assert_eq!((report.versions, report.chunks), (1, 11), "{report:?}");
    // On what is there, only the difference.
    world.chunks("f", 3, 2_000, 4).await;
    let report = clone.pull(&world.repository, &only("main").shallow()).await.unwrap();
    assert_eq!((report.versions, report.chunks), (1, 3), "{report:?}");
    require_clean(&clone).await;
    // What was left out comes with a branch that shows it; the shallow ones stay so.
    world.repository.create_branch(&name("old"), &world.repository.read("main~2").await.unwrap()).await.unwrap();
    let report = clone.pull(&world.repository, &only("old")).await.unwrap();
    assert_eq!((report.refs[0].outcome, report.versions), (RefOutcome::Created, 1), "{report:?}");
    require_clean(&clone).await;
    world.put("last", "1").await;
    clone.pull(&world.repository, &only("main")).await.unwrap();
    assert_eq!(contents(&clone, "main").await, contents(&world.repository, "main").await);
    collect(memory.clone()).await;
    require_clean(&world.open(memory).await).await;
}

/// What the source has lost is damage: the copy must not look as if it had been left out on purpose.
#[tokio::test]
async fn a_lost_ancestor_is_not_taken_for_one_that_was_left_out() {
    let world = World::new().await;
    world.put("a", "1").await;
    let lost = world.put("a", "2").await;
    world.put("a", "3").await;
    let directory = tempfile::tempdir().unwrap();
    let store = || Arc::new(Local::open(directory.path(), LocalOptions::default()).unwrap());
    world.repository.clone_to_storage(store(), world.options(), &SyncOptions::default()).await.unwrap();
    let shards: Vec<_> = std::fs::read_dir(directory.path().join("snapshots")).unwrap().map(|shard| shard.unwrap().path()).collect();
    let found = shards.iter().map(|shard| shard.join(lost.id().to_string())).find(|path| path.exists()).unwrap();
    std::fs::remove_file(found).unwrap();
    let damaged = world.open(store()).await;
    let refused = damaged.clone_to_storage(Arc::new(Memory::new()), world.options(), &SyncOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert!(refused.to_string().contains(&lost.id().to_string()), "{refused}");
}

/// A run that was stopped may leave a part of a history, which must not pass for the whole: the version is not marked beside it.
#[tokio::test]
async fn a_version_is_not_marked_beside_parts_of_its_history() {
    let world = World::new().await;
    world.put("a", "1").await;
    world.put("a", "2").await;
    let (memory, calm) = world.target().await;
    let limited = Faulty::new(Arc::new(memory.clone()), |call| {
        let is_it = call.operation == Operation::Replace && call.name == "refs/branches/main.json";
        if is_it { Fault::Rejected(ErrorKind::Denied) } else { Fault::None }
    });
    world.repository.push(&world.open(Arc::new(limited)).await, &only("main")).await.unwrap_err();
    let refused = world.repository.push(&calm, &only("main").shallow()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("firn gc"), "{refused}");
    assert!(collect(Arc::new(memory)).await > 5);
    world.repository.push(&calm, &only("main").shallow()).await.unwrap();
    assert_eq!(contents(&calm, "main").await, contents(&world.repository, "main").await);
    require_clean(&calm).await;
}

/// Commits many inline values below two folders, so that the manifest has many nodes.
async fn many(world: &World, branch: &str, folder: &str, salt: u32) -> Snapshot {
    world.clock.advance(Duration::from_secs(1));
    let session = world.repository.write(branch).await.unwrap();
    session.set_many((0..1_200).map(|n| (key(&format!("{folder}/{n:04}")), format!("value {n} of {salt}")))).await.unwrap();
    session.commit(format!("{folder} {salt}")).await.unwrap()
}

/// A source of which a shallow copy has `main`, and in which `feature` has the same parent as `main`; that copy, after a pull of `feature` of
/// which the node number `refused` did not arrive. `None` if there are fewer nodes.
async fn stopped_beside(refused: u64) -> Option<(World, Memory)> {
    let world = World::new().await;
    many(&world, "main", "a", 1).await;
    let base = many(&world, "main", "b", 1).await;
    world.repository.create_branch(&name("feature"), &base).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    let session = world.repository.write("feature").await.unwrap();
    session.set(&key("a/0007"), "of feature").await.unwrap();
    session.commit("feature").await.unwrap();
    many(&world, "main", "a", 2).await;
    let shown = many(&world, "main", "b", 2).await;
    // One version, beside the other child of its parent.
    world.repository.create_branch(&name("one"), &base).await.unwrap();
    let session = world.repository.write("one").await.unwrap();
    session.copy_from(&shown, &firnline::KeyOrPrefix::Prefix(firnline::Prefix::all()), "", firnline::Existing::Replace).await.unwrap();
    session.commit("everything anew").await.unwrap();
    let memory = Memory::new();
    let shallow = SyncOptions::default().with(branch("one")).shallow();
    world.repository.clone_to_storage(Arc::new(memory.clone()), world.options(), &shallow).await.unwrap();
    let (passed, fired) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
    let seen = fired.clone();
    let limited = Faulty::new(Arc::new(memory.clone()), move |call| {
        let is_it = call.operation == Operation::Put && call.name.starts_with("manifests/");
        if is_it && passed.fetch_add(1, Ordering::Relaxed) == refused {
            seen.fetch_add(1, Ordering::Relaxed);
            return Fault::Rejected(ErrorKind::Denied);
        }
        Fault::None
    });
    let pulled = world.open(Arc::new(limited)).await.pull(&world.repository, &only("feature")).await;
    if fired.load(Ordering::Relaxed) == 0 {
        pulled.unwrap();
        return None;
    }
    pulled.unwrap_err();
    let history = world.repository.read("one").await.unwrap().record().history.to_string();
    let stored: Vec<_> = memory.list("history/").try_collect().await.unwrap();
    assert!(stored.iter().any(|object| object.name.ends_with(&history)), "the history of the shallow version came with its sibling");
    Some((world, memory))
}

/// Siblings have the same history. A pull of one that is stopped leaves the history of the other, beside versions that are not whole: they must
/// not pass for what the shallow version keeps.
#[tokio::test]
async fn a_stopped_pull_of_a_sibling_completes_no_shallow_version() {
    let mut refused = 0;
    while let Some((world, memory)) = stopped_beside(refused).await {
        let target = world.open(Arc::new(memory.clone())).await;
        // What is committed on the shallow version does not have the history, either.
        if refused.is_multiple_of(2) {
            world.clock.advance(Duration::from_secs(1));
            let session = target.write("one").await.unwrap();
            session.set(&key("more"), "1").await.unwrap();
            let made = session.commit("on top").await.unwrap();
            assert_eq!(made.record().since, Some(session_base_time(&target, &made).await), "{refused}");
        } else {
            // And neither does what comes from the source.
            world.clock.advance(Duration::from_secs(1));
            let session = world.repository.write("one").await.unwrap();
            session.set(&key("more"), "1").await.unwrap();
            session.commit("on top").await.unwrap();
            target.pull(&world.repository, &only("one")).await.unwrap();
        }
        // A copy of the copy needs nothing of what is left there.
        let (third, copy) = world.target().await;
        target.push(&copy, &SyncOptions::default().with(branch("one"))).await.unwrap();
        require_clean(&world.open(Arc::new(third)).await).await;
        target.pull(&world.repository, &only("feature")).await.unwrap();
        let fresh = world.open(Arc::new(memory)).await;
        require_same(&world.repository, &fresh, "feature").await;
        require_clean(&fresh).await;
        refused += 1;
    }
    assert!(refused > 4, "{refused}");
}

async fn session_base_time(repository: &Repository, made: &Snapshot) -> firnline::Timestamp {
    repository.read(&made.record().parents[0].to_string()).await.unwrap().record().time
}

/// A merge of which one side is left out is copied with the history of its first parent where that is, also when another version there has the
/// same history.
#[tokio::test]
async fn a_merge_without_one_side_is_copied_onto_its_history() {
    for (has_sibling, is_marked) in [(false, false), (true, false), (false, true), (true, true)] {
        let world = World::new().await;
        let first = world.put("a", "1").await;
        world.repository.create_branch(&name("side"), &first).await.unwrap();
        world.put("a", "2").await;
        let (memory, target) = world.target().await;
        world.repository.push(&target, &only("main")).await.unwrap();
        if has_sibling {
            world.clock.advance(Duration::from_secs(1));
            let session = target.write("main").await.unwrap();
            session.set(&key("theirs"), "1").await.unwrap();
            session.commit("theirs").await.unwrap();
        }
        let session = world.repository.write("side").await.unwrap();
        session.set(&key("side"), "1").await.unwrap();
        let side = session.commit("side").await.unwrap();
        world.clock.advance(Duration::from_secs(1));
        world.repository.merge(&name("main"), &side, MergeOptions::default()).await.unwrap().commit().await.unwrap();
        let aside = SyncRef { source: Ref::branch(name("main")), target: Ref::branch(name("theirs")) };
        let options = SyncOptions::default().with(aside);
        if is_marked {
            // The source itself has one side of the merge only.
            let (_, between) = world.target().await;
            let old = SyncRef { source: Ref::branch(name("main")), target: Ref::branch(name("main")) };
            target.push(&between, &only("main")).await.unwrap();
            world.repository.push(&between, &SyncOptions::default().with(old).shallow().force()).await.unwrap();
            target.pull(&between, &options).await.unwrap();
        } else {
            target.pull(&world.repository, &options.shallow()).await.unwrap();
        }
        let fresh = world.open(Arc::new(memory.clone())).await;
        assert_eq!(contents(&fresh, "theirs").await, contents(&world.repository, "main").await);
        let log = |snapshot: Snapshot| async move { snapshot.log().map_ok(|entry| entry.id).try_collect::<Vec<_>>().await.unwrap() };
        let ours = log(world.repository.read("main").await.unwrap()).await;
        assert_eq!(log(fresh.read("theirs").await.unwrap()).await, ours, "{has_sibling} {is_marked}");
        // What follows goes on from there.
        world.clock.advance(Duration::from_secs(1));
        let session = fresh.write("theirs").await.unwrap();
        session.set(&key("next"), "1").await.unwrap();
        let next = session.commit("next").await.unwrap();
        assert_eq!(log(next).await[1..], ours, "{has_sibling} {is_marked}");
        require_clean(&fresh).await;
        collect(Arc::new(memory.clone())).await;
        require_clean(&world.open(Arc::new(memory)).await).await;
    }
}

/// A shallow copy that was stopped leaves a marker; the version is whole when it has been copied whole.
#[tokio::test]
async fn a_marker_that_was_left_does_not_outlive_the_whole_copy() {
    let world = World::new().await;
    for n in 0..4 {
        world.put("a", &n.to_string()).await;
    }
    let (memory, calm) = world.target().await;
    let limited = Faulty::new(Arc::new(memory.clone()), |call| {
        let is_it = call.operation == Operation::Replace && call.name == "refs/branches/main.json";
        if is_it { Fault::Rejected(ErrorKind::Denied) } else { Fault::None }
    });
    world.repository.push(&world.open(Arc::new(limited)).await, &only("main").shallow()).await.unwrap_err();
    assert_eq!(memory.list("shallow/").try_collect::<Vec<_>>().await.unwrap().len(), 1);
    world.repository.push(&calm, &only("main")).await.unwrap();
    let session = calm.write("main").await.unwrap();
    session.set(&key("b"), "1").await.unwrap();
    let made = session.commit("on top").await.unwrap();
    assert_eq!((made.record().since, made.log().try_collect::<Vec<_>>().await.unwrap().len()), (None, 6));
    world.repository.create_branch(&name("old"), &world.repository.read("main~2").await.unwrap()).await.unwrap();
    assert_eq!(world.repository.push(&calm, &only("old")).await.unwrap().versions, 0, "it is kept");
    require_clean(&calm).await;
}

/// Commits on both sides of a merge, and merges.
async fn merged(world: &World) -> [Snapshot; 3] {
    let first = world.put("a", "1").await;
    world.repository.create_branch(&name("side"), &first).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    let session = world.repository.write("side").await.unwrap();
    session.set(&key("b"), "1").await.unwrap();
    let side = session.commit("side").await.unwrap();
    let main = world.put("a", "2").await;
    let staged = world.repository.merge(&name("main"), &side, MergeOptions::default()).await.unwrap();
    [side, main, staged.commit().await.unwrap().snapshot]
}

/// A shallow run was stopped after it had marked the merge, and a whole one brought everything. The marker then said that a parent may be
/// missing, and copies from there left out the line that was merged, without a word.
#[tokio::test]
async fn what_came_whole_in_the_end_is_copied_whole() {
    let world = World::new().await;
    let [side, ..] = merged(&world).await;
    let (memory, target) = world.target().await;
    let limited = Faulty::new(Arc::new(memory.clone()), |call| match (call.operation, call.name.starts_with("snapshots/")) {
        (Operation::Put, true) => Fault::Rejected(ErrorKind::NoPermission),
        _ => Fault::None,
    });
    let refused = world.open(Arc::new(limited)).await;
    refused.pull(&world.repository, &only("main").shallow()).await.unwrap_err();
    target.pull(&world.repository, &only("main")).await.unwrap();
    let (_, third) = world.target().await;
    target.push(&third, &only("main")).await.unwrap();
    assert_eq!(contents(&third, &side.id().to_string()).await, contents(&world.repository, "side").await);
    require_clean(&third).await;
    let session = third.write("main").await.unwrap();
    session.set(&key("c"), "1").await.unwrap();
    session.commit("on it").await.unwrap();
    require_clean(&third).await;
}

/// The source has its branch without what was before it, the target has that, and another child of it. The run was refused for ever,
/// because the history was there.
#[tokio::test]
async fn what_the_source_was_left_without_is_found_in_the_target() {
    let world = World::new().await;
    world.put("a", "1").await;
    world.put("a", "2").await;
    let (memory, target) = world.target().await;
    target.pull(&world.repository, &only("main")).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    let session = target.write("main").await.unwrap();
    session.set(&key("own"), "1").await.unwrap();
    session.commit("another child").await.unwrap();
    world.put("a", "3").await;
    let cut: Arc<dyn Storage> = Arc::new(Memory::new());
    let (cut, _) = world.repository.clone_to_storage(cut, world.options(), &SyncOptions::default().shallow()).await.unwrap();
    let mut renamed = SyncRef::branch(name("main"));
    renamed.target.name = name("theirs");
    target.pull(&cut, &SyncOptions::default().with(renamed)).await.unwrap();
    assert_eq!(contents(&target, "theirs").await, contents(&world.repository, "main").await);
    let theirs = target.read("theirs").await.unwrap();
    assert_eq!(theirs.log().try_collect::<Vec<_>>().await.unwrap().len(), 4, "three, and the empty one");
    require_clean(&world.open(Arc::new(memory)).await).await;
    // It is whole there, so what is built on it is, too.
    world.put("a", "4").await;
    let mut renamed = SyncRef::branch(name("main"));
    renamed.target.name = name("theirs");
    target.pull(&world.repository, &SyncOptions::default().with(renamed)).await.unwrap();
    assert_eq!(target.read("theirs").await.unwrap().log().try_collect::<Vec<_>>().await.unwrap().len(), 5);
}
