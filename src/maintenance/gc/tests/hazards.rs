//! The traces that lose data where a rule is missing, with writers held at the place where it matters.

use super::*;
use crate::error::ErrorKind;
use crate::session::KnownEpoch;
use crate::storage::RemovalPermit;

/// A session that is opened before the fence and writes a condemned name after it.
#[tokio::test]
pub(super) async fn the_epoch_begins_at_the_fence_and_not_at_the_mark() {
    let world = World::new().await;
    world.leave(7).await;
    let (collector, fence) = world.held_at(|operation, name| (operation, name) == (Operation::Replace, GC)).await;
    let task = world.collect(collector);
    fence.reached().await;
    let session = world.repository.write("main").await.unwrap();
    fence.open();
    task.await.unwrap().unwrap();
    assert!(!world.is_there(7).await);
    // The list of the collection that the session has not seen names the chunk, which is there again.
    session.set(&key("x"), value(7)).await.unwrap();
    session.commit("x").await.unwrap();
    world.holds("main", "x", 7).await;
    world.verify().await;
}

/// A writer that meets a collection waits until it has ended, and writes again, whether its session began before or during it.
#[tokio::test]
pub(super) async fn a_writer_of_a_condemned_name_waits_for_the_end_and_writes_again() {
    for is_older in [true, false] {
        // Held before the final list takes effect; before the first removal; after the removals.
        for phase in 1..=3_u64 {
            let world = World::new().await;
            world.leave(6).await;
            world.gc().await;
            world.leave(7).await;
            let early = world.repository.write("main").await.unwrap();
            let (collector, gate) = match phase {
                1 | 3 => {
                    world.held_at_nth(if phase == 1 { 1 } else { 2 }, |operation, name| (operation, name) == (Operation::Replace, GC)).await
                }
                _ => world.held_at(|operation, _| operation == Operation::Delete).await,
            };
            let task = world.collect(collector);
            gate.reached().await;
            let session = if is_older { early } else { world.repository.write("main").await.unwrap() };
            session.set(&key("x"), value(7)).await.unwrap();
            let commit = tokio::spawn(session.commit("x"));
            settle().await;
            assert!(!commit.is_finished(), "older {is_older}, phase {phase}: what it needs may still be removed");
            // Others are not held up.
            world.commit("main", "y", 8).await;
            gate.open();
            task.await.unwrap().unwrap();
            commit.await.unwrap().unwrap();
            world.holds("main", "x", 7).await;
            world.holds("main", "y", 8).await;
            world.verify().await;
        }
    }
}

/// A replace that is on its way while the refs are marked.
#[tokio::test]
pub(super) async fn raising_a_ref_refuses_a_replace_that_is_on_its_way() {
    let world = World::new().await;
    world.leave(7).await;
    let (writer, sent) = world.held_at(|operation, name| (operation, name) == (Operation::Replace, MAIN)).await;
    let commit = tokio::spawn(async move { commit(&writer, "main", "x", 7).await });
    sent.reached().await;
    let report = world.gc().await;
    assert!(report.removed.contains_key("chunks") && !world.is_there(7).await);
    sent.open();
    let error = commit.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    world.verify().await;
}

/// The same while the chunk can still be read back: the commit succeeds.
#[tokio::test]
pub(super) async fn what_is_condemned_is_read_back_while_it_is_there() {
    let world = World::new().await;
    world.leave(7).await;
    let (writer, sent) = world.held_at(|operation, name| (operation, name) == (Operation::Replace, MAIN)).await;
    let (collector, removal) = world.held_at(|operation, _| operation == Operation::Delete).await;
    let task = tokio::spawn(async move { commit(&writer, "main", "x", 7).await });
    sent.reached().await;
    let collection = world.collect(collector);
    removal.reached().await;
    sent.open();
    settle().await;
    assert!(!task.is_finished());
    removal.open();
    collection.await.unwrap().unwrap();
    task.await.unwrap().unwrap();
    world.holds("main", "x", 7).await;
    world.verify().await;
}

/// A commit between the mark and the fence, on a branch that is there, and on one that is made there.
#[tokio::test]
pub(super) async fn refs_are_listed_and_marked_again_behind_the_fence() {
    let world = World::new().await;
    world.leave(7).await;
    world.leave(8).await;
    world.leave(9).await;
    let (collector, fence) = world.held_at(|operation, name| (operation, name) == (Operation::Replace, GC)).await;
    let task = world.collect(collector);
    fence.reached().await;
    world.commit("main", "x", 7).await;
    world.repository.create_branch(&name("br"), &world.repository.read("main").await.unwrap()).await.unwrap();
    world.commit("br", "y", 8).await;
    fence.open();
    let report = task.await.unwrap().unwrap();
    assert_eq!((report.saved, report.removed["chunks"].objects), (2, 1));
    world.holds("main", "x", 7).await;
    world.holds("br", "y", 8).await;
    assert!(!world.is_there(9).await);
    assert_eq!((world.epoch_of("main").await, world.epoch_of("br").await), (1, 1));
    world.verify().await;
}

/// A branch is made while a collection is under way: it is of the new epoch, so that its writers look at the list.
#[tokio::test]
pub(super) async fn a_branch_that_is_made_during_a_collection_is_of_its_epoch() {
    let world = World::new().await;
    world.leave(7).await;
    let (collector, sweep) = world.held_at_nth(1, |operation, name| (operation, name) == (Operation::Replace, GC)).await;
    let early = world.repository.write("main").await.unwrap();
    let task = world.collect(collector);
    sweep.reached().await;
    world.repository.create_branch(&name("br"), early.base()).await.unwrap();
    assert_eq!(world.epoch_of("br").await, 1);
    let session = world.repository.write("br").await.unwrap();
    session.set(&key("x"), value(7)).await.unwrap();
    let commit = tokio::spawn(session.commit("x"));
    settle().await;
    assert!(!commit.is_finished());
    sweep.open();
    task.await.unwrap().unwrap();
    commit.await.unwrap().unwrap();
    world.holds("br", "x", 7).await;
    world.verify().await;
}

/// A target that only refs keep that were not raised may still be condemned.
#[tokio::test]
pub(super) async fn a_ref_is_pointed_at_nothing_that_only_refs_of_an_earlier_epoch_keep() {
    let world = World::new().await;
    world.leave(7).await;
    let target = world.repository.read("main").await.unwrap();
    let (collector, raise) = world.held_at(|operation, name| (operation, name) == (Operation::Replace, MAIN)).await;
    let task = world.collect(collector);
    raise.reached().await;
    let repository = world.repository.clone();
    let creation = tokio::spawn(async move { repository.create_branch(&name("br"), &target).await });
    settle().await;
    assert!(!creation.is_finished(), "the only ref that keeps the target has not been raised");
    raise.open();
    creation.await.unwrap().unwrap();
    task.await.unwrap().unwrap();
    world.verify().await;
}

/// The state is read after the fence, the ref before it was raised.
#[tokio::test]
pub(super) async fn a_session_knows_no_more_than_the_refs_that_it_has_read() {
    let world = World::new().await;
    world.leave(7).await;
    let (writer, state) = world.held_at(|operation, name| (operation, name) == (Operation::Load, GC)).await;
    let opening = tokio::spawn(async move { writer.write("main").await });
    state.reached().await;
    settle().await;
    world.gc().await;
    state.open();
    let session = opening.await.unwrap().unwrap();
    assert_eq!((session.state.record.epoch, session.known.get()), (0, 0));
    let fresh = world.repository.write("main").await.unwrap();
    assert_eq!(fresh.known.get(), 1);
    // What it borrows from a fork that knows less counts, too.
    let bytes = session.fork().await.unwrap();
    assert_eq!(world.repository.resume_fork(&bytes).await.unwrap().known.get(), 0);
    let mut known = KnownEpoch::new(5);
    known.lower(3);
    known.lower(4);
    assert_eq!(known.get(), 3);
    known.raise(7);
    assert_eq!(known.get(), 7);
}

/// What a fork has written and its parent commits after a collection.
#[tokio::test]
pub(super) async fn the_chunks_of_a_fork_are_looked_for_when_its_parent_commits() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    let fork = world.repository.resume_fork(&session.fork().await.unwrap()).await.unwrap();
    fork.set(&key("x"), value(7)).await.unwrap();
    let changes = fork.finish().await.unwrap();
    session.merge(&changes).await.unwrap();
    assert_eq!(world.gc().await.removed["chunks"].objects, 1);
    let error = world.repository.write("main").await.unwrap().merge(&changes).await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("garbage collection"), "{error}");
    let failed = session.commit("merged").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Conflict, "{failed}");
    assert!(!failed.into_session().is_unchanged(), "staged work is intact");
    world.verify().await;
}

/// A prepared commit whose nodes are removed before it is published.
#[tokio::test]
pub(super) async fn nodes_of_a_prepared_commit_are_made_again() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("small"), "inline").await.unwrap();
    let prepared = session.prepare("small").await.unwrap();
    let report = world.gc().await;
    assert!(report.removed.contains_key("manifests") && report.removed.contains_key("snapshots"), "{report:?}");
    prepared.publish().await.unwrap();
    world.verify().await;
    let fresh = Repository::open_storage(Arc::new(world.memory.clone()), OpenOptions::default()).await.unwrap();
    assert_eq!(fresh.read("main").await.unwrap().get(&key("small")).await.unwrap().as_deref(), Some(&b"inline"[..]));
}

/// A block of moves that an attempt has left behind is being removed while another attempt needs it.
#[tokio::test]
pub(super) async fn a_block_of_moves_is_not_written_while_it_is_removed() {
    let world = World::new().await;
    let first = world.repository.read("main").await.unwrap();
    let second = world.commit("main", "second", 2).await;
    for n in 0..15 {
        world.repository.reset(&name("main"), if n % 2 == 0 { &first } else { &second }).await.unwrap();
    }
    let deaf = world.through(|operation, at| if (operation, at) == (Operation::Replace, MAIN) { Fault::Before } else { Fault::None }).await;
    let target = deaf.read(&first.id().to_string()).await.unwrap();
    assert_eq!(deaf.reset(&name("main"), &target).await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    let (collector, removal) = world.held_at(|operation, at| operation == Operation::Delete && at.starts_with("moves/")).await;
    let task = world.collect(collector);
    removal.reached().await;
    let (repository, target) = (world.repository.clone(), first.clone());
    let reset = tokio::spawn(async move { repository.reset(&name("main"), &target).await });
    settle().await;
    assert!(!reset.is_finished());
    removal.open();
    task.await.unwrap().unwrap();
    reset.await.unwrap().unwrap();
    let fresh = Repository::open_storage(Arc::new(world.memory.clone()), OpenOptions::default()).await.unwrap();
    assert_eq!(fresh.moves(&Ref::branch(name("main"))).await.unwrap().len(), 17);
    world.verify().await;
}

/// Reading back holds no more than the upload budget.
#[tokio::test]
pub(super) async fn a_session_that_is_too_large_to_be_written_again_is_a_conflict() {
    let world = World::new().await;
    let small = OpenOptions::default().without_pauses().upload_bytes(16 << 10);
    let writer = Repository::open_storage(Arc::new(world.memory.clone()), small).await.unwrap();
    let session = writer.write("main").await.unwrap();
    for byte in 10..20 {
        session.set(&key(&format!("k{byte}")), value(byte)).await.unwrap();
    }
    session.flush().await.unwrap();
    let (collector, removal) = world.held_at(|operation, _| operation == Operation::Delete).await;
    let task = world.collect(collector);
    removal.reached().await;
    let failed = session.commit("ten").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Conflict, "{failed}");
    assert!(failed.to_string().contains("older than a garbage collection"), "{failed}");
    removal.open();
    task.await.unwrap().unwrap();
    world.verify().await;
}

/// Writing again fails when the chunk has been removed: the session must not take it for written.
#[tokio::test]
async fn a_session_whose_second_write_failed_looks_again() {
    let world = World::new().await;
    world.leave(7).await;
    let at = chunk(7).await.as_str().to_owned();
    let (puts, broken) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
    let is_broken = Arc::clone(&broken);
    let writer = world
        .through(move |operation, name| {
            let again = operation == Operation::Put && name == at && puts.fetch_add(1, Ordering::SeqCst) > 0;
            if again && is_broken.load(Ordering::SeqCst) { Fault::Before } else { Fault::None }
        })
        .await;
    let session = writer.write("main").await.unwrap();
    let (collector, removal) = world.held_at(|operation, _| operation == Operation::Delete).await;
    let task = world.collect(collector);
    removal.reached().await;
    session.set(&key("x"), value(7)).await.unwrap();
    broken.store(true, Ordering::SeqCst);
    let commit = tokio::spawn(session.commit("x"));
    settle().await;
    removal.open();
    task.await.unwrap().unwrap();
    let failed = commit.await.unwrap().unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable, "{failed}");
    assert!(!world.is_there(7).await, "it was removed, and not written again");
    broken.store(false, Ordering::SeqCst);
    failed.into_session().commit("x").await.unwrap();
    world.holds("main", "x", 7).await;
    world.verify().await;
}

/// The state of collections cannot be asked while a session waits: what it has read back it keeps, for the chunk is gone when it tries again.
#[tokio::test]
async fn what_was_read_back_stays_with_the_session_after_an_error() {
    let world = World::new().await;
    world.leave(7).await;
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let writer = world
        .through(move |operation, name| {
            let asks = (operation, name) == (Operation::Load, GC);
            if asks && is_broken.load(Ordering::SeqCst) { Fault::Before } else { Fault::None }
        })
        .await;
    let session = writer.write("main").await.unwrap();
    let (collector, removal) = world.held_at(|operation, _| operation == Operation::Delete).await;
    let task = world.collect(collector);
    removal.reached().await;
    session.set(&key("x"), value(7)).await.unwrap();
    let commit = tokio::spawn(session.commit("x"));
    settle().await;
    broken.store(true, Ordering::SeqCst);
    let failed = commit.await.unwrap().unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable, "{failed}");
    removal.open();
    task.await.unwrap().unwrap();
    assert!(!world.is_there(7).await, "it was removed while the session was told to try again");
    broken.store(false, Ordering::SeqCst);
    failed.into_session().commit("x").await.unwrap();
    world.holds("main", "x", 7).await;
    world.verify().await;
}

/// A branch that is refused leaves nothing behind.
#[tokio::test]
async fn a_target_that_no_ref_keeps_makes_no_placeholder() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("x"), "inline").await.unwrap();
    let prepared = session.prepare("x").await.unwrap();
    let orphan = world.repository.read(&prepared.id().to_string()).await.unwrap();
    let error = world.repository.create_branch(&name("new"), &orphan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(!world.names().await.contains("refs/branches/new.json"));
}

/// A session that refuses to be rebased need not be, when its branch was only raised.
#[tokio::test]
async fn a_branch_that_was_only_raised_has_not_moved() {
    use crate::commit::CommitOptions;
    let world = World::new().await;
    world.leave(7).await;
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("small"), "inline").await.unwrap();
    world.gc().await;
    assert_eq!(world.epoch_of("main").await, 1);
    session.commit(CommitOptions::from("small").without_rebase()).await.unwrap();
    world.verify().await;
}

/// A version that is imported while everything that the import has written is removed.
#[tokio::test]
async fn an_import_notices_that_what_it_wrote_was_removed() {
    use crate::car::ImportTarget;
    let world = World::new().await;
    let version = world.commit("main", "exported", 3).await;
    let mut file = Vec::new();
    version.export_car(&mut file).await.unwrap();
    for is_collected in [true, false] {
        let world = World::new().await;
        let (importer, placed) = world.held_at(|operation, at| operation == Operation::Replace && at.contains("/imported")).await;
        let bytes = file.clone();
        let import = tokio::spawn(async move { importer.import_car(&bytes[..], ImportTarget::Branch(name("imported"))).await });
        placed.reached().await;
        if is_collected {
            assert!(world.gc().await.removed.contains_key("chunks"));
        }
        placed.open();
        match import.await.unwrap() {
            Err(e) => assert!(is_collected && e.kind() == ErrorKind::Conflict && e.to_string().contains("import it again"), "{e}"),
            Ok(done) => assert!(!is_collected && done.id == version.id()),
        }
        if is_collected {
            world.repository.import_car(&file[..], ImportTarget::Branch(name("imported"))).await.unwrap();
        }
        world.holds("imported", "exported", 3).await;
        world.gc().await;
        world.holds("imported", "exported", 3).await;
        world.verify().await;
    }
}

/// A list that is lost or damaged counts as naming everything: a session that has not seen it writes all of its own again.
#[tokio::test]
async fn a_list_that_was_lost_counts_as_everything() {
    for damage in [None, Some("damaged")] {
        let world = World::new().await;
        world.leave(7).await;
        let puts = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&puts);
        let writer = world
            .through(move |operation, at| {
                if operation == Operation::Put {
                    record.lock().unwrap().push(at.to_owned());
                }
                Fault::None
            })
            .await;
        let session = writer.write("main").await.unwrap();
        world.gc().await;
        for list in world.names().await.into_iter().filter(|at| at.starts_with("gc/lists/")) {
            match damage {
                None => drop(world.memory.delete_many(&[ObjectName::parse_list(&list).unwrap().1], &RemovalPermit::endless()).await),
                Some(damage) => world.memory.insert_object(list, damage.into()),
            }
        }
        session.set(&key("x"), value(9)).await.unwrap();
        session.commit("x").await.unwrap();
        let nine = chunk(9).await;
        let times = |at: &str| puts.lock().unwrap().iter().filter(|put| put.contains(at)).count();
        // Its first snapshot was refused, because the branch was raised; the second is one of those that may be condemned.
        assert_eq!((times(nine.as_str()), times("snapshots/")), (2, 3));
        world.holds("main", "x", 9).await;
        world.verify().await;
    }
}
