//! What becomes of copies, other names and moves of external files when another writer changes what is recorded of them meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firnline::storage::fault::{Call, Fault, Faulty, Operation};
use firnline::{
    ConflictKind, Container, Dependency, ErrorKind, ImportSaves, ImportSteps, LockOptions, OpenOptions, Prefix, RelocateOptions,
    Repository, Timestamp, Validator, VendorOptions, VirtualOptions, WriteSession,
};
use futures::TryStreamExt as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

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

/// The new file stayed where all files were moved from, without a word.
#[tokio::test]
async fn a_move_leaves_no_new_file_behind() {
    for (name, is_below) in [("a/new.nc", true), ("c/new.nc", false)] {
        let source = Source::new();
        let place = source.place();
        let (world, _) = pinned(&source).await;
        source.write("b/0.nc", b"0123456789", 10);
        let ours = world.repository.write("main").await.unwrap();
        ours.relocate(&format!("{place}a"), &format!("{place}b"), RelocateOptions::default()).await.unwrap();
        let session = world.repository.write("main").await.unwrap();
        session.set_virtual(&key("z/0"), &source.write(name, b"new", 10), 0..3).await.unwrap();
        session.commit("a new file").await.unwrap();
        if is_below {
            is_refused(ours, "in the place from which all files are moved").await;
        } else {
            ours.commit("moved").await.unwrap();
        }
    }
}

/// They were staged under the old name, into which no reference is left, and success was reported.
#[tokio::test]
async fn files_with_a_new_name_are_not_locked_or_repinned_before_the_commit() {
    let source = Source::new();
    let (world, url) = pinned(&source).await;
    let session = world.repository.write("main").await.unwrap();
    session.rename_files(&[Container::new("nc", format!("{}a/{{}}.nc", source.place()))]).await.unwrap();
    source.write("a/0.nc", b"abcdefghij", 20);
    let error = session.repin(&[url.as_str()]).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("another name or place of it"), "{error}");
    let error = session.lock(LockOptions::default()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("has staged changes of it"), "{error}");
    // What follows from the base's record has no word in a fork.
    let error = session.fork().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("cannot go into a fork"), "{error}");
    session.commit("renamed").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    assert_eq!(session.repin(&[url.as_str()]).await.unwrap().len(), 1);
    session.commit("accepted").await.unwrap();
    // A second call, of files that the first has locked, has nothing to do.
    let session = world.repository.write("main").await.unwrap();
    assert_eq!(session.lock(LockOptions::default()).await.unwrap().files.len(), 1);
    let again = session.lock(LockOptions::default()).await.unwrap();
    assert_eq!((again.files.len(), again.already), (0, 1));
    session.commit("locked").await.unwrap();
    assert!(file(&world).await.record.digest.is_some());
}

/// The fork's document said nothing of the records that its moves follow from, so a lock of another writer was undone.
#[tokio::test]
async fn a_fork_that_moves_files_is_not_finished() {
    let source = Source::new();
    let place = source.place();
    let (world, _) = pinned(&source).await;
    source.write("b/0.nc", b"0123456789", 10);
    let session = world.repository.write("main").await.unwrap();
    let fork = world.repository.resume_fork(&session.fork().await.unwrap()).await.unwrap();
    fork.relocate(&format!("{place}a"), &format!("{place}b"), RelocateOptions::default()).await.unwrap();
    let error = fork.finish().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("cannot go into a fork"), "{error}");
}

/// The lock of a fork was recorded under a name that had no reference any more, and its references stayed where all files were moved from.
#[tokio::test]
async fn a_fork_does_not_bring_back_what_the_session_gave_another_name_or_place() {
    let source = Source::new();
    let place = source.place();
    let (world, url) = pinned(&source).await;
    // It stays where it is, and so does the container of both.
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("other"), &source.write("other.nc", b"other", 10), 0..1).await.unwrap();
    session.commit("another file").await.unwrap();
    source.write("b/0.nc", b"0123456789", 10);
    let new = source.write("a/new.nc", b"new", 10);
    for (does_lock, is_named) in [(true, true), (true, false), (false, false)] {
        let session = world.repository.write("main").await.unwrap();
        let fork = world.repository.resume_fork(&session.fork().await.unwrap()).await.unwrap();
        if does_lock {
            let mut options = LockOptions::default();
            options.places.push(url.clone());
            assert_eq!(fork.lock(options).await.unwrap().files.len(), 1);
        } else {
            fork.set_virtual(&key("new"), &new, 0..1).await.unwrap();
        }
        let changes = fork.finish().await.unwrap();
        if is_named {
            session.rename_files(&[Container::new("nc", format!("{place}a/{{}}.nc"))]).await.unwrap();
        } else {
            session.relocate(&format!("{place}a"), &format!("{place}b"), RelocateOptions::default()).await.unwrap();
        }
        let error = session.merge(&changes).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("the session has"), "{error}");
    }
}

/// The file had been named, and was staged under that name after its container had got another definition.
#[tokio::test]
async fn a_reference_is_not_staged_under_a_name_that_means_another_file_by_then() {
    let source = Source::new();
    let (place, url) = (source.place(), source.write("x/0.nc", b"0123456789", 10));
    source.write("y/0.nc", b"abcdefghij", 10);
    let world = World::allowing(source.access.clone()).await;
    // The thread that looks may have answered before it is asked for the first time.
    for _ in 0..1000 {
        let session = world.repository.write("main").await.unwrap();
        session.set_container(Container::new("c", format!("{place}x/{{}}"))).unwrap();
        let (name, stage) = (key("k"), async || session.set_virtual(&key("k"), &url, 0..5).await);
        let mut staging = Box::pin(stage());
        if futures::poll!(staging.as_mut()).is_ready() {
            continue;
        }
        session.change_container(Container::new("c", format!("{place}y/{{}}"))).await.unwrap();
        let error = staging.await.unwrap_err();
        assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("given another definition"), "{error}");
        stage().await.unwrap();
        let snapshot = session.commit("staged").await.unwrap();
        assert_eq!(snapshot.get(&name).await.unwrap().as_deref(), Some(&b"01234"[..]));
        return;
    }
    panic!("no look at the file ever took time");
}

/// What another task staged while files were looked at was written over, or locked under a name that was lost.
#[tokio::test]
async fn a_move_is_refused_when_something_is_staged_while_it_looks_at_files() {
    let source = Source::new();
    let place = source.place();
    let (world, url) = pinned(&source).await;
    source.write("b/0.nc", b"0123456789", 10);
    let (from, to) = (format!("{place}a"), format!("{place}b"));
    // The thread that looks may have answered before it is asked for the first time.
    for _ in 0..1000 {
        let session = world.repository.write("main").await.unwrap();
        let mut moving = Box::pin(session.relocate(&from, &to, RelocateOptions::default()));
        if futures::poll!(moving.as_mut()).is_ready() {
            continue;
        }
        session.set_virtual(&key("x/0"), &url, 1..2).await.unwrap();
        let error = moving.await.unwrap_err();
        assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("another call has staged changes"), "{error}");
        return;
    }
    panic!("no look at the file ever took time");
}

/// A session that locks or repins the only file; the file changes before a repin.
async fn recording(world: &World, source: &Source, is_lock: bool) -> WriteSession {
    let session = world.repository.write("main").await.unwrap();
    if is_lock {
        assert_eq!(session.lock(LockOptions::default()).await.unwrap().files.len(), 1);
    } else {
        source.write("a/0.nc", b"9876543210", 5);
        assert_eq!(session.repin_all().await.unwrap().len(), 1);
    }
    session
}

/// The commit once succeeded, and recorded nothing.
#[tokio::test]
async fn a_lock_or_a_repin_of_a_file_that_got_another_name_is_refused() {
    for (is_lock, by_moving) in [(true, true), (true, false), (false, true), (false, false)] {
        let source = Source::new();
        let (world, _) = pinned(&source).await;
        let place = source.place();
        source.write("b/0.nc", b"0123456789", 10);
        let ours = recording(&world, &source, is_lock).await;
        let theirs = world.repository.write("main").await.unwrap();
        if by_moving {
            theirs.relocate(&format!("{place}a"), &format!("{place}b"), RelocateOptions::default()).await.unwrap();
        } else {
            theirs.rename_files(&[Container::new("nc", format!("{place}a/{{}}.nc"))]).await.unwrap();
        }
        theirs.commit("another name").await.unwrap();
        let failed = ours.commit("ours").await.unwrap_err();
        // The automatic container of the old name may be gone as well.
        assert!(conflicts(&failed).iter().any(|named| named.starts_with("file file://")), "{failed}");
        assert!(failed.to_string().contains("point into"), "{failed}");
        if is_lock {
            lock(&world.repository).await;
            assert!(file(&world).await.record.digest.is_some());
        }
    }
}

/// The container of a file was given another template, and the file itself another name: it was left behind.
#[tokio::test]
async fn a_move_by_template_of_a_file_that_got_another_name_is_refused() {
    let source = Source::new();
    let place = source.place();
    let (world, url) = pinned(&source).await;
    let session = world.repository.write("main").await.unwrap();
    session.rename_files(&[Container::new("nc", format!("{place}a/{{}}.nc"))]).await.unwrap();
    session.commit("in a container").await.unwrap();
    source.write("b/0.nc", b"0123456789", 10);
    let ours = world.repository.write("main").await.unwrap();
    ours.relocate(&format!("{place}a"), &format!("{place}b"), RelocateOptions::default()).await.unwrap();
    let theirs = world.repository.write("main").await.unwrap();
    theirs.rename_files(&[Container::new("whole", url)]).await.unwrap();
    theirs.commit("another name").await.unwrap();
    is_refused(ours, "point into").await;
}

/// It is as if the reference were dropped after the lock; the commit says so.
#[tokio::test]
async fn a_lock_or_a_repin_of_a_file_without_a_reference_records_nothing_and_says_so() {
    for is_lock in [true, false] {
        let source = Source::new();
        let (world, _) = pinned(&source).await;
        let ours = recording(&world, &source, is_lock).await;
        ours.set(&key("z"), "beside").await.unwrap();
        let session = world.repository.write("main").await.unwrap();
        session.delete_prefix(&Prefix::new("x").unwrap());
        session.set(&key("y/0"), "bytes").await.unwrap();
        session.commit("dropped").await.unwrap();
        let done = ours.commit_settling("ours").await.unwrap();
        let told: Vec<_> = done.settled.iter().map(|file| (file.kind, file.why.as_deref())).collect();
        assert_eq!(told, [(ConflictKind::File, Some("no reference into it is left"))]);
        let left: Vec<_> = done.snapshot.dependencies().try_collect().await.unwrap();
        assert!(done.is_new && left.is_empty(), "{left:?}");
    }
}

/// What another writer found out of one state of a file is kept, whoever commits first.
#[tokio::test]
async fn a_lock_and_a_repin_of_one_state_are_both_kept() {
    // The date is less than two seconds old when the file is pinned.
    let racy = async |source: &Source| {
        let world = World::allowing(source.access.clone()).await;
        let url = source.write("a/0.nc", b"0123456789", 10);
        let date = std::fs::metadata(source.path("a/0.nc")).unwrap().modified().unwrap();
        let date = Timestamp::from_micros(i64::try_from(date.duration_since(std::time::UNIX_EPOCH).unwrap().as_micros()).unwrap());
        let session = world.repository.write("main").await.unwrap();
        let mut options = VirtualOptions::default();
        options.validator = Some(Validator { size: Some(10), modified: Some(date), ..Validator::staged_at(date) });
        session.set_virtual_with(&key("x/0"), &url, 0..5, &options).await.unwrap();
        session.commit("pinned").await.unwrap();
        assert!(file(&world).await.record.is_racy());
        world
    };
    for is_lock_first in [true, false] {
        let source = Source::new();
        let world = racy(&source).await;
        let ours = world.repository.write("main").await.unwrap();
        if is_lock_first {
            assert_eq!(ours.repin_all().await.unwrap().len(), 1);
            lock(&world.repository).await;
        } else {
            assert_eq!(ours.lock(LockOptions::default()).await.unwrap().files.len(), 1);
            repin(&world.repository).await;
        }
        ours.commit("ours").await.unwrap();
        let record = file(&world).await.record;
        assert!(record.digest.is_some() && !record.is_racy(), "lock first: {is_lock_first}, {record:?}");
    }
}

/// Nothing shows that the file that was locked is the one that is accepted.
#[tokio::test]
async fn a_repin_of_another_state_than_the_locked_one_is_refused() {
    let source = Source::new();
    let (world, _) = pinned(&source).await;
    let ours = recording(&world, &source, false).await;
    lock_after(&world, &source).await;
    is_refused(ours, "modified").await;
}

/// Accepts a third state of the file and locks it.
async fn lock_after(world: &World, source: &Source) {
    source.write("a/0.nc", b"abcdefghij", 3);
    repin(&world.repository).await;
    lock(&world.repository).await;
}

/// What two writers do to the only file, in any order: a commit that succeeds has had its effect, or says that it had none.
#[tokio::test]
async fn a_digest_is_kept_or_the_commit_is_refused() {
    let (mut kept, mut refused, mut dropped) = (0, 0, 0);
    for seed in 0..100 {
        let mut random = SmallRng::seed_from_u64(seed);
        let source = Source::new();
        let (world, url) = pinned(&source).await;
        let states: [(&[u8], u64); 3] = [(b"0123456789", 10), (b"9876543210", 5), (b"abcdefghijkl", 3)];
        let is_lock = random.random_bool(0.5);
        if !is_lock {
            if random.random_bool(0.5) {
                lock(&world.repository).await;
            }
            source.write("a/0.nc", states[1].0, states[1].1);
        }
        let ours = world.repository.write("main").await.unwrap();
        let locked = if is_lock { ours.lock(LockOptions::default()).await.unwrap().files.len() } else { 0 };
        let repinned = if is_lock { 0 } else { ours.repin_all().await.unwrap().len() };
        assert_eq!(locked + repinned, 1);
        let accepted = std::fs::metadata(source.path("a/0.nc")).unwrap().len();
        for _ in 0..random.random_range(1..4) {
            let theirs = world.repository.write("main").await.unwrap();
            match random.random_range(0..7) {
                0 | 1 => drop(theirs.lock(LockOptions::default()).await),
                2 => drop(theirs.repin_all().await),
                3 => theirs.delete_prefix(&Prefix::new(["x", "y", ""][random.random_range(0..3)]).unwrap()),
                4 => drop(theirs.rename_files(&[Container::new("nc", format!("{}a/{{}}.nc", source.place()))]).await),
                5 => drop(theirs.set_virtual(&key("z/0"), &url, 1..2).await),
                _ => {
                    let (bytes, age) = states[random.random_range(0..3)];
                    source.write("a/0.nc", bytes, age);
                }
            }
            drop(theirs.commit("theirs").await);
        }
        let before: Vec<Dependency> = world.repository.read("main").await.unwrap().dependencies().try_collect().await.unwrap();
        let done = match ours.commit_settling("ours").await {
            Err(failed) => {
                assert_eq!(failed.kind(), ErrorKind::Conflict, "seed {seed}: {failed}");
                refused += 1;
                continue;
            }
            Ok(done) => done,
        };
        let after: Vec<Dependency> = done.snapshot.dependencies().try_collect().await.unwrap();
        assert_eq!(done.settled.is_empty(), !after.is_empty(), "seed {seed}: {:?}", done.settled);
        let Some(now) = after.first() else {
            dropped += 1;
            continue;
        };
        let was = before.first().unwrap();
        let is_locked = is_lock || (was.record.digest.is_some() && was.record.modified == now.record.modified);
        assert!(!is_locked || now.record.digest.is_some(), "seed {seed}: {was:?} became {now:?}");
        assert!(is_lock || now.record.size == Some(accepted), "seed {seed}: the repin has had its effect: {now:?}");
        kept += 1;
    }
    assert!(kept > 20 && refused > 20 && dropped > 3, "{kept} {refused} {dropped}");
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
