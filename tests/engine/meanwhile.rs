//! What becomes of copies, other names and moves of external files when another writer changes what is recorded of them meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firnline::storage::fault::{Call, Fault, Faulty, Operation};
use firnline::{
    Container, Dependency, ErrorKind, ImportSaves, ImportSteps, LockOptions, OpenOptions, Prefix, RelocateOptions, Repository,
    VendorOptions, WriteSession,
};
use futures::TryStreamExt as _;

use crate::support::{World, conflicts, key};
use crate::virtuals::Source;

/// A world with a file of 10 bytes that two keys point into.
async fn pinned(source: &Source) -> (World, String) {
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a/0.nc", b"0123456789", 10);
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x/0"), &url, 0..5).await.unwrap();
    session.set_virtual(&key("y/0"), &url, 5..10).await.unwrap();
    session.commit("pinned").await.unwrap();
    (world, url)
}

async fn lock(repository: &Repository) {
    let session = repository.write("main").await.unwrap();
    assert_eq!(session.lock(LockOptions::default()).await.unwrap().files.len(), 1);
    session.commit("lock").await.unwrap();
}

async fn repin(repository: &Repository) {
    let session = repository.write("main").await.unwrap();
    assert_eq!(session.repin_all().await.unwrap().len(), 1);
    session.commit("repin").await.unwrap();
}

/// The file of the branch.
async fn file(world: &World) -> Dependency {
    let mut all: Vec<_> = world.repository.read("main").await.unwrap().dependencies().try_collect().await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// The commit is refused because of the file, and a session opened after it can do the same.
async fn is_refused(session: WriteSession, why: &str) {
    let failed = session.commit("ours").await.unwrap_err();
    assert!(failed.kind() == ErrorKind::Conflict && failed.to_string().contains(why), "{failed}");
    assert!(conflicts(&failed).iter().all(|named| named.starts_with("file ")), "{failed}");
}

#[tokio::test]
async fn a_copy_of_a_state_that_is_no_longer_accepted_is_refused() {
    for prefix in ["", "x"] {
        let source = Source::new();
        let (world, _) = pinned(&source).await;
        let options = VendorOptions::default().prefix(Prefix::new(prefix).unwrap());
        let copied = world.repository.vendor("main", &options).await.unwrap().session;
        source.write("a/0.nc", b"9876543210", 5);
        repin(&world.repository).await;
        is_refused(copied, "recorded another state of it").await;
        let session = world.repository.vendor("main", &options).await.unwrap().session;
        let after = session.commit("copied").await.unwrap();
        assert_eq!(after.get(&key("x/0")).await.unwrap().unwrap().as_ref(), b"98765");
    }
}

/// A digest of the state that was copied contradicts nothing.
#[tokio::test]
async fn a_copy_goes_with_a_lock_and_with_one_more_reference() {
    let source = Source::new();
    let (world, url) = pinned(&source).await;
    let options = VendorOptions::default().prefix(Prefix::new("x").unwrap());
    let copied = world.repository.vendor("main", &options).await.unwrap().session;
    lock(&world.repository).await;
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("z/0"), &url, 1..2).await.unwrap();
    session.commit("one more").await.unwrap();
    copied.commit("copied").await.unwrap();
    let left = file(&world).await.record;
    assert!(left.refs == 2 && left.digest.is_some(), "{left:?}");
}

#[tokio::test]
async fn other_names_do_not_undo_a_lock_or_a_new_pin() {
    for is_locked in [true, false] {
        let source = Source::new();
        let (world, url) = pinned(&source).await;
        let container = Container::new("nc", format!("{}a/{{}}.nc", source.place()));
        let renamed = world.repository.write("main").await.unwrap();
        assert_eq!(renamed.rename_files(std::slice::from_ref(&container)).await.unwrap().files, 1);
        if is_locked {
            lock(&world.repository).await;
        } else {
            source.write("a/0.nc", b"9876543210", 5);
            repin(&world.repository).await;
        }
        let theirs = file(&world).await.record;
        is_refused(renamed, "recorded another state of it").await;
        let renamed = world.repository.write("main").await.unwrap();
        renamed.rename_files(&[container]).await.unwrap();
        // One more reference in the old name is in nobody's way.
        let session = world.repository.write("main").await.unwrap();
        session.set_virtual(&key("z/0"), &url, 1..2).await.unwrap();
        session.commit("one more").await.unwrap();
        renamed.commit("renamed").await.unwrap();
        let all: Vec<Dependency> = world.repository.read("main").await.unwrap().dependencies().try_collect().await.unwrap();
        let found: Vec<_> = all.iter().map(|found| (found.file.container(), found.record.digest == theirs.digest)).collect();
        assert!(found.len() == 2 && found.contains(&("nc", true)), "{found:?}");
    }
}

#[tokio::test]
async fn a_move_does_not_undo_a_lock_and_leaves_no_reference_behind() {
    for by_template in [true, false] {
        let source = Source::new();
        let place = source.place();
        let (world, url) = pinned(&source).await;
        if by_template {
            let session = world.repository.write("main").await.unwrap();
            session.rename_files(&[Container::new("nc", format!("{place}a/{{}}.nc"))]).await.unwrap();
            session.commit("in a container").await.unwrap();
        }
        source.write("b/0.nc", b"0123456789", 10);
        let moved = async || {
            let session = world.repository.write("main").await.unwrap();
            session.relocate(&format!("{place}a"), &format!("{place}b"), RelocateOptions::default()).await.unwrap();
            session
        };
        let ours = moved().await;
        lock(&world.repository).await;
        is_refused(ours, "recorded another state of it").await;
        let ours = moved().await;
        let session = world.repository.write("main").await.unwrap();
        session.set_virtual(&key("z/0"), &url, 1..2).await.unwrap();
        session.commit("one more").await.unwrap();
        if by_template {
            let failed = ours.commit("ours").await.unwrap_err();
            assert_eq!(conflicts(&failed), ["container nc"], "{failed}");
        } else {
            is_refused(ours, "added a reference into it in its old place").await;
        }
        moved().await.commit("moved").await.unwrap();
        let found = file(&world).await;
        assert!(found.url.ends_with("/b/0.nc") && found.record.refs == 3 && found.record.digest.is_some(), "{found:?}");
    }
}

/// Callers run these calls as tasks of their own, with more files than are asked at once.
#[tokio::test]
async fn many_files_are_repinned_locked_and_moved_by_tasks() {
    let source = Source::new();
    let place = source.place();
    let world = World::allowing(source.access.clone()).await;
    let session = world.repository.write("main").await.unwrap();
    for n in 0..40 {
        let url = source.write(&format!("a/{n}.nc"), b"0123456789", 10);
        source.write(&format!("b/{n}.nc"), b"0123456789", 10);
        session.set_virtual(&key(&format!("x/{n}")), &url, 0..5).await.unwrap();
    }
    session.commit("pinned").await.unwrap();
    for n in 0..40 {
        source.write(&format!("a/{n}.nc"), b"9876543210", 5);
    }
    let repository = world.repository.clone();
    let done = tokio::spawn(async move {
        let session = repository.write("main").await.unwrap();
        let repinned = session.repin_all().await.unwrap().len();
        session.commit("repin").await.unwrap();
        let session = repository.write("main").await.unwrap();
        let locked = session.lock(LockOptions::default()).await.unwrap().files;
        session.commit("lock").await.unwrap();
        let session = repository.write("main").await.unwrap();
        let moved = session.relocate(&format!("{place}a"), &format!("{place}b"), RelocateOptions::default()).await.unwrap();
        (repinned, locked, moved.files)
    });
    let (repinned, locked, moved) = done.await.unwrap();
    assert_eq!((repinned, locked.len(), moved.len()), (40, 40, 40));
    assert!(locked.iter().zip(&moved).all(|(locked, moved)| locked.url == moved.from), "in the order of the files map");
}

/// A second run that saved between a look at the branch and its deletion once lost its branch.
#[tokio::test]
async fn a_branch_of_saves_on_which_another_run_saves_meanwhile_stays() {
    let source = Source::new();
    let (world, _) = pinned(&source).await;
    let options = VendorOptions::default().steps(ImportSteps::default().keys(1));
    let saves = world.repository.vendor("main", &options).await.unwrap().saves.unwrap();
    let other = world.reopen(source.access.clone()).await;
    // At the first look at the branch, which shows what this run saved, the other one saves.
    let (register, branch) = (format!("refs/branches/{}", saves.branch), saves.branch.clone());
    let begun = Arc::new(AtomicBool::new(false));
    let is_begun = begun.clone();
    let plan = move |call: &Call<'_>| {
        if call.operation != Operation::Replace || !call.name.starts_with(&register) || is_begun.swap(true, Ordering::Relaxed) {
            return Fault::None;
        }
        let (other, branch) = (other.clone(), branch.clone());
        Fault::Wait(Box::pin(async move {
            let session = other.write(branch.as_str()).await.unwrap();
            session.set(&key("of/another"), "1").await.unwrap();
            session.commit("saved by another run").await.unwrap();
        }))
    };
    let store = Arc::new(Faulty::new(world.storage.clone(), plan));
    let opened = OpenOptions::default().clock(world.clock.clone()).without_pauses();
    let slow = Repository::open_storage(store, opened).await.unwrap();
    slow.delete_saves(&saves).await.unwrap();
    assert!(begun.load(Ordering::Relaxed), "it was about to be deleted");
    let left = world.repository.read(saves.branch.as_str()).await.unwrap();
    assert!(left.get(&key("of/another")).await.unwrap().is_some());
    world.repository.delete_saves(&ImportSaves { branch: saves.branch, tip: left.id() }).await.unwrap();
    assert_eq!(world.repository.branches().await.unwrap().len(), 1);
}

/// What was saved of a bucket is read again when the bucket is looked for at another server since.
#[tokio::test]
async fn saved_copies_are_those_of_the_server_that_the_container_names() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let session = world.repository.write("main").await.unwrap();
    let mut container = Container::new("nc", format!("{}a/{{}}.nc", source.place()));
    session.add_container(container.clone()).unwrap();
    for n in 0..2 {
        let url = source.write(&format!("a/{n}.nc"), b"0123456789", 10);
        session.set_virtual(&key(&format!("x/{n}")), &url, 0..5).await.unwrap();
    }
    session.commit("pinned").await.unwrap();
    let options = VendorOptions::default().steps(ImportSteps::default().keys(1));
    world.repository.vendor("main", &options).await.unwrap();
    assert_eq!(world.repository.vendor("main", &options).await.unwrap().summary.reused, 2);
    container.options.insert("region".to_owned(), "elsewhere".to_owned());
    let session = world.repository.write("main").await.unwrap();
    session.change_container(container).await.unwrap();
    session.commit("elsewhere").await.unwrap();
    assert_eq!(world.repository.vendor("main", &options).await.unwrap().summary.reused, 0);
}
