use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use rustix::io::Errno;

use crate::ErrorKind;
use crate::storage::local::{FileSystem, Hazard, MOST, lock_path};
use crate::storage::{Expected, Extent, Local, LocalOptions, RegisterName, Replaced, Storage};

use super::{chunk, create, local, not_sent, put};

async fn names(store: &dyn Storage, prefix: &str) -> Vec<String> {
    let mut names: Vec<_> = store.list(prefix).map_ok(|meta| meta.name).try_collect().await.unwrap();
    names.sort();
    names
}

/// Every file below a directory, locks and temporaries too.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn reading_creates_nothing_and_absence_is_not_unreachable() {
    let parent = tempfile::tempdir().unwrap();
    let store = local(&parent.path().join("repo"));
    assert_eq!(store.get(&chunk(b"x"), Extent::ANY_LENGTH).await.unwrap(), None);
    assert_eq!(store.load(&RegisterName::repo()).await.unwrap(), None);
    assert!(names(&*store, "").await.is_empty());
    store.barrier().await.unwrap();
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0, "nothing may be created");

    create(&*store, &RegisterName::repo(), "{}").await;
    assert_eq!(store.get(&chunk(b"x"), Extent::ANY_LENGTH).await.unwrap(), None);
    fs::rename(parent.path().join("repo"), parent.path().join("away")).unwrap();
    for error in [
        store.get(&chunk(b"x"), Extent::ANY_LENGTH).await.unwrap_err(),
        store.load(&RegisterName::repo()).await.unwrap_err(),
        store.list("").try_collect::<Vec<_>>().await.unwrap_err(),
        store.put(&chunk(b"x"), &["x".into()]).await.unwrap_err(),
        not_sent(store.replace(&RegisterName::branch("a"), &Expected::Absent, "x".into()).await),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("vanished"), "{error}");
    }
    assert!(!parent.path().join("repo").exists(), "a vanished repository is not made anew");
    fs::create_dir(parent.path().join("repo")).unwrap();
    assert_eq!(store.load(&RegisterName::repo()).await.unwrap_err().kind(), ErrorKind::Unavailable, "another directory in its place");
}

#[tokio::test]
async fn leftover_temporaries_and_locks_are_nobodys_objects() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    let name = put(&*store, b"object").await;
    create(&*store, &RegisterName::branch("main"), "tip").await;
    let beside = directory.path().join(name.as_str()).with_file_name(".~99-0-00000000000000aa");
    fs::write(&beside, b"cut sho").unwrap();
    fs::write(directory.path().join("refs/branches/.~99-1-00000000000000aa"), b"{").unwrap();
    assert_eq!(names(&*store, "").await, [name.as_str(), "refs/branches/main.json"]);
    assert_eq!(names(&*store, "refs/").await, ["refs/branches/main.json"]);
    assert!(names(&*store, "refs/.lock/").await.is_empty());
    put(&*store, b"object").await;
    store.barrier().await.unwrap();
    assert!(beside.exists(), "it may be another process's, at work");
    assert!(directory.path().join(lock_path("refs/branches/main.json")).exists());
    assert_eq!(lock_path("gc/state.json"), "refs/.lock/gc/state.json");
    assert_eq!(lock_path("repo.json"), "refs/.lock/repo.json");
    for prefix in ["../", "refs/../", "/etc/", "refs//branches/"] {
        assert!(names(&*store, prefix).await.is_empty(), "{prefix}");
    }
}

#[tokio::test]
async fn nothing_of_ours_is_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    let name = put(&*store, b"one").await;
    store.put(&name, &["torn".into()]).await.unwrap();
    put(&*store, b"one").await;
    create(&*store, &RegisterName::repo(), "{}").await;
    assert!(matches!(store.replace(&RegisterName::repo(), &Expected::Absent, "x".into()).await, Replaced::Refused));
    let mut found = files(directory.path());
    found.sort();
    let path = |name: &str| directory.path().join(name);
    assert_eq!(found, [path(name.as_str()), path("refs/.lock/repo.json"), path("repo.json")]);
}

#[tokio::test]
async fn an_equal_object_is_written_in_place_and_another_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    let name = put(&*store, b"content").await;
    let path = directory.path().join(name.as_str());
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let first = inode(&path);
    fs::File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let other = local(directory.path());
    put(&*other, b"content").await;
    assert_eq!(inode(&path), first, "an equal object keeps its file, which may be durable already");
    assert!(fs::metadata(&path).unwrap().mtime() > 0, "and has been written to: a collector sees that it is young");
    for torn in [&b"conten"[..], b"", b"cont\0\0\0", b"content and more"] {
        fs::write(&path, torn).unwrap();
        put(&*other, b"content").await;
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }
    other.barrier().await.unwrap();
}

#[tokio::test]
async fn a_failed_barrier_demands_that_its_objects_are_put_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = Local::open(directory.path(), LocalOptions::default().sync_individually(1)).unwrap();
    store.disk.directories.never_sync_whole();
    put(&store, b"safe").await;
    store.barrier().await.unwrap();
    let (one, two) = (put(&store, b"one").await, put(&store, b"two").await);
    // Of two files one is open; the other has to be found again, and has gone: as good as a failed sync.
    fs::remove_file(directory.path().join(one.as_str())).unwrap();
    fs::remove_file(directory.path().join(two.as_str())).unwrap();
    assert_eq!(store.barrier().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let error = store.barrier().await.unwrap_err();
    assert!(error.to_string().contains("2 objects") && error.to_string().contains("must be put again"), "{error}");
    put(&store, b"three").await;
    assert!(store.barrier().await.is_err(), "other objects do not make up for it");
    put(&store, b"one").await;
    assert!(store.barrier().await.unwrap_err().to_string().contains("1 objects"));
    put(&store, b"two").await;
    store.barrier().await.unwrap();
    store.barrier().await.unwrap();
    for bytes in [&b"one"[..], b"two", b"three"] {
        assert_eq!(store.get(&chunk(bytes), Extent::ANY_LENGTH).await.unwrap().unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_doubtful_object_gets_a_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    let name = put(&*store, b"doubt").await;
    let path = directory.path().join(name.as_str());
    let before = fs::metadata(&path).unwrap().ino();
    store.disk.doubt(&path);
    assert!(store.barrier().await.is_err());
    let keep = fs::File::open(&path).unwrap(); // so that its inode is not given away again
    put(&*store, b"doubt").await;
    assert_ne!(fs::metadata(&path).unwrap().ino(), before, "the pages of the old file may be clean and wrong");
    store.barrier().await.unwrap();
    drop(keep);
}

#[tokio::test]
async fn a_doubtful_object_gets_a_new_file_also_piece_by_piece() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    let name = put(&*store, b"doubt").await;
    let path = directory.path().join(name.as_str());
    let before = fs::metadata(&path).unwrap().ino();
    store.disk.doubt(&path);
    let keep = fs::File::open(&path).unwrap(); // so that its inode is not given away again
    let mut writer = store.writer().unwrap();
    writer.write(Bytes::from_static(b"dou")).await.unwrap();
    writer.write(Bytes::from_static(b"bt")).await.unwrap();
    assert!(store.barrier().await.is_err(), "it is not there yet");
    writer.finish(&name).await.unwrap();
    assert_ne!(fs::metadata(&path).unwrap().ino(), before);
    assert_eq!(fs::read(&path).unwrap(), b"doubt");
    store.barrier().await.unwrap();
    drop(keep);
}

#[tokio::test]
async fn a_writer_that_is_given_up_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    let mut writer = store.writer().unwrap();
    writer.write(Bytes::from_static(b"given")).await.unwrap();
    assert_eq!(writer.read(1..3).await.unwrap(), "iv", "the piece has reached its file");
    let folder = directory.path().join("chunks");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "under a name that no listing shows");
    drop(writer);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

/// A piece is written by a thread that goes on when the writer is dropped, and that alone knew the file: a process that was interrupted
/// ended before that thread did, and left gigabytes under a name that nobody looks for.
#[tokio::test]
async fn a_writer_that_is_given_up_in_the_middle_of_a_piece_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    let mut writer = store.writer().unwrap();
    writer.write(Bytes::from_static(b"first")).await.unwrap();
    assert_eq!(writer.read(0..5).await.unwrap(), "first");
    let folder = directory.path().join("chunks");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    writer.write(Bytes::from(vec![1; 64 << 20])).await.unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "at once, whatever the thread is doing");
}

/// The same of a file that is only about to be made, wherever its thread is.
#[test]
fn a_writer_that_is_given_up_before_its_file_is_made_leaves_none() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..50 {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = local(directory.path());
            let mut writer = store.writer().unwrap();
            writer.write(Bytes::from_static(b"piece")).await.unwrap();
        });
        // Waits for the threads that are at work.
        drop(runtime);
        assert_eq!(files(directory.path()), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn an_unsettled_register_is_written_again_before_it_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    let main = RegisterName::branch("main");
    create(&*store, &main, "tip").await;
    let path = directory.path().join(main.as_str());
    let keep = fs::File::open(&path).unwrap();
    let before = keep.metadata().unwrap().ino();
    store.disk.unsettle(&path);
    assert_eq!(store.load(&main).await.unwrap().unwrap().value, "tip");
    let after = fs::metadata(&path).unwrap().ino();
    assert_ne!(after, before);
    assert_eq!(store.load(&main).await.unwrap().unwrap().value, "tip");
    assert_eq!(fs::metadata(&path).unwrap().ino(), after, "once is enough");
}

/// A rename that a disk broke down on counted as not done or as durable: readers saw a value that a power loss could take back. The server
/// of a network file system that was asked twice, because its first answer was lost, says that the old name is not there.
#[tokio::test]
async fn a_register_whose_rename_broke_down_is_written_again_before_it_is_shown() {
    for answer in [Errno::IO, Errno::NOENT] {
        let directory = tempfile::tempdir().unwrap();
        let store = local(directory.path());
        let main = RegisterName::branch("main");
        create(&*store, &main, "one").await;
        let path = directory.path().join(main.as_str());
        let before = store.load(&main).await.unwrap().unwrap().version;
        store.disk.break_rename(&path, answer);
        let answer = store.replace(&main, &Expected::Is(before), "two".into()).await;
        assert!(matches!(&answer, Replaced::Unanswered(e) if e.kind() == ErrorKind::Unavailable), "{answer:?}");
        let keep = fs::File::open(&path).unwrap(); // so that its inode is not given away again
        let broken = keep.metadata().unwrap().ino();
        assert_eq!(store.load(&main).await.unwrap().unwrap().value, "two");
        assert_ne!(fs::metadata(&path).unwrap().ino(), broken, "it was shown as it was");
    }
}

#[tokio::test]
async fn puts_without_a_barrier_do_not_pile_up() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    let mut most = 0;
    for n in 0..u16::try_from(3 * MOST).unwrap() {
        let bytes = n.to_be_bytes().to_vec();
        store.put(&chunk(&bytes), &[bytes.into()]).await.unwrap();
        most = most.max(store.disk.unsynced());
    }
    assert_eq!(most, MOST);
    store.barrier().await.unwrap();
    assert_eq!(store.disk.unsynced(), 0);
}

#[tokio::test]
async fn removed_directories_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    put(&*store, b"x").await;
    store.barrier().await.unwrap();
    fs::remove_dir_all(directory.path().join("chunks")).unwrap();
    put(&*store, b"x").await;
    store.barrier().await.unwrap();
    assert_eq!(store.get(&chunk(b"x"), Extent::ANY_LENGTH).await.unwrap().unwrap(), "x");
}

#[tokio::test]
async fn what_is_in_the_way_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"").unwrap();
    let store = local(&file);
    for error in [store.load(&RegisterName::repo()).await.unwrap_err(), store.put(&chunk(b"x"), &[]).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    }
    let store = local(directory.path());
    fs::write(directory.path().join("chunks"), b"").unwrap();
    let error = store.get(&chunk(b"x"), Extent::ANY_LENGTH).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("chunks is a file and not a directory"), "{error}");
    let error = store.put(&chunk(b"x"), &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(chunk(b"x").as_str()), "{error}");
    fs::create_dir_all(directory.path().join("refs/branches/d.json")).unwrap();
    assert!(store.load(&RegisterName::branch("d")).await.is_err());
    fs::remove_file(directory.path().join("chunks")).unwrap();
    fs::create_dir_all(directory.path().join(chunk(b"y").as_str())).unwrap();
    assert_eq!(store.get(&chunk(b"y"), Extent::ANY_LENGTH).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn refusals_of_the_system_are_said_in_words() {
    let store = local(Path::new("/repo"));
    for (errno, kind, words) in [
        (Errno::NOSPC, ErrorKind::StorageFull, "x in /repo cannot be written: the disk is full"),
        (Errno::DQUOT, ErrorKind::StorageFull, "x in /repo cannot be written: the disk quota is used up"),
        (Errno::ROFS, ErrorKind::NoPermission, "x in /repo cannot be written: the file system is mounted read-only"),
        (Errno::ACCESS, ErrorKind::NoPermission, "x in /repo cannot be written: this process lacks the permission"),
        (Errno::IO, ErrorKind::Unavailable, "x in /repo cannot be written"),
        (Errno::NOTDIR, ErrorKind::Invalid, "x in /repo cannot be written: a file lies where a directory is needed"),
        (Errno::NAMETOOLONG, ErrorKind::Invalid, "x in /repo cannot be written: the name is too long for the file system"),
    ] {
        let error = store.disk.trouble("x", "be written", errno.into());
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, words));
        assert!(std::error::Error::source(&error).is_some(), "the system's own words follow");
    }
    // One file that cannot be read says nothing of the others; the same error of a listing or of the root would.
    for (errno, is_of_one) in [(Errno::ACCESS, true), (Errno::IO, true), (Errno::LOOP, true), (Errno::NFILE, false), (Errno::NOMEM, false)]
    {
        assert_eq!(store.disk.unread("x", errno.into()).is_of_one_object(), is_of_one, "{errno}");
    }
    assert!(!store.disk.trouble("x", "be listed", Errno::IO.into()).is_of_one_object());
}

#[tokio::test]
async fn a_register_too_large_to_be_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    let huge = Bytes::from(vec![b' '; (16 << 20) + 1]);
    let error = not_sent(store.replace(&RegisterName::repo(), &Expected::Absent, huge.clone()).await);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    fs::write(directory.path().join("repo.json"), &huge).unwrap();
    assert_eq!(store.load(&RegisterName::repo()).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// A kind that nobody had looked at was written to as if it were a local disk.
#[test]
fn only_local_file_systems_are_written_to_unasked() {
    for (magic, name, hazard) in [
        (0x6969, "NFS", Hazard::Nfs),
        (0x0bd0_0bd0, "Lustre", Hazard::Lustre),
        (0x4750_4653, "GPFS", Hazard::Cluster),
        (0x1983_0326, "BeeGFS", Hazard::Cluster),
        (0x00c3_6400, "CephFS", Hazard::Cluster),
        (0xff53_4d42, "SMB", Hazard::Smb),
        (0x6573_5546, "FUSE", Hazard::Fuse),
        (0x0102_1997, "9p", Hazard::Host),
    ] {
        assert_eq!(FileSystem::of(magic), FileSystem::Refused(name, hazard));
    }
    for (magic, name) in [
        (0xef53, "ext4"),
        (0x5846_5342, "XFS"),
        (0x9123_683e, "Btrfs"),
        (0x0102_1994, "tmpfs"),
        (0x794c_7630, "overlayfs"),
        (0x2fc1_2fc1, "ZFS"),
        (0xf2f5_2010, "F2FS"),
    ] {
        assert_eq!(FileSystem::of(magic), FileSystem::Local(name));
    }
    assert_eq!(FileSystem::of(0x1234_5678), FileSystem::Unknown(0x1234_5678));
}

/// On a kind of file system that no repository can be on, and that every Linux has.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_system_of_an_unknown_kind_is_refused_by_its_number_and_changes_nothing() {
    let store = local(Path::new("/proc/self/repository"));
    let refused = [
        not_sent(store.replace(&RegisterName::repo(), &Expected::Absent, "x".into()).await),
        store.put(&chunk(b"x"), &[]).await.unwrap_err(),
        store.collecting().await.unwrap_err(),
    ];
    for error in refused {
        let words = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{words}");
        assert!(
            words.starts_with("/proc/self/repository lies on a file system that this program does not know (proc, number 0x9fa0)"),
            "{words}"
        );
        assert!(words.contains("on a local disk or in an object store"), "{words}");
    }
    assert_eq!(store.load(&RegisterName::repo()).await.unwrap(), None, "reading is not refused");
}

/// The thread that listed waited for its reader on one of the runtime's threads for blocking work. With one such thread, a
/// reader that read each object as it was listed waited for ever, as soon as there were more names than fit between them.
#[test]
fn a_listing_leaves_the_only_blocking_thread_to_its_reader() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    let read = runtime.block_on(async {
        let store = local(directory.path());
        let name = put(&*store, b"x").await;
        let folder = directory.path().join(name.as_str()).parent().unwrap().to_owned();
        for n in 0..3000 {
            fs::write(folder.join(format!("other-{n}")), b"").unwrap();
        }
        let reading = store.list("chunks/").try_fold(0, |count, _| {
            let (store, name) = (Arc::clone(&store), name.clone());
            async move { store.get(&name, Extent::ANY_LENGTH).await.map(|found| count + usize::from(found.is_some())) }
        });
        tokio::time::timeout(Duration::from_mins(1), reading).await
    });
    runtime.shutdown_background();
    assert_eq!(read.expect("a listing must not wait for its reader").unwrap(), 3001);
}

#[tokio::test]
async fn a_lock_that_cannot_be_taken_is_named_at_once_and_nothing_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    let main = RegisterName::branch("main");
    create(&*store, &main, "tip").await;
    let lock = directory.path().join(lock_path("refs/branches/main.json"));
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let expected = Expected::Is(store.load(&main).await.unwrap().unwrap().version);
    let error = not_sent(store.replace(&main, &expected, "next".into()).await);
    assert!(error.to_string().contains("refs/.lock/branches/main.json"), "{error}");
    assert_eq!(store.load(&main).await.unwrap().unwrap().value, "tip");
    let words = store.disk.not_locked("refs/.lock/branches/main.json", Errno::ACCESS.into());
    assert_eq!(words.kind(), ErrorKind::NoPermission);
    assert!(!words.is_retryable() && words.to_string().contains("write permission"), "{words}");
}
