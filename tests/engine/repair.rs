//! Damaged refs, tips and descriptions: what still works beside them, and how they are repaired.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firnline::storage::fault::{Fault, Faulty, Operation};
use firnline::storage::{Local, LocalOptions, Storage};
use firnline::{
    Clock, CommitOptions, CreateOptions, Entry, ErrorDetail, ErrorKind, FoundIn, HashAlgorithm, MoveOp, OpenOptions, Ref, RefName,
    Repository, Settlement, Snapshot, SnapshotId, SystemClock, Timestamp,
};

use crate::support::key;

const MAIN: &str = "refs/branches/main.json";

fn name(text: &str) -> RefName {
    text.parse().unwrap()
}

/// A repository in a directory, with three commits on `main` and a branch and a tag at the first.
struct Disk {
    folder: tempfile::TempDir,
    commits: Vec<SnapshotId>,
}

impl Disk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::create(folder.path().to_str().unwrap()).await.unwrap();
        let mut commits = Vec::new();
        for n in 1..=3 {
            commits.push(put(&repository, "main", &format!("{n}")).await.id());
        }
        let first = repository.read("main~2").await.unwrap();
        repository.create_branch(&name("other"), &first).await.unwrap();
        repository.create_tag(&name("v1"), &first, "the first").await.unwrap();
        Self { folder, commits }
    }

    async fn open(&self) -> Repository {
        Repository::open(self.folder.path().to_str().unwrap()).await.unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn snapshot(&self, id: SnapshotId) -> PathBuf {
        let id = id.to_string();
        self.path("snapshots").join(&id[8..10]).join(id)
    }
}

async fn put(repository: &Repository, branch: &str, value: &str) -> Snapshot {
    let session = repository.write(branch).await.unwrap();
    session.set(&key("k"), value.to_owned()).await.unwrap();
    session.commit(value.to_owned()).await.unwrap()
}

fn overwrite(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Changes the bytes of a file.
type Damage = fn(&mut Vec<u8>);

/// Ways in which a file is damaged.
fn damages() -> Vec<(&'static str, Damage)> {
    vec![
        ("a byte", |bytes| bytes[40] ^= 0xff),
        ("the version", |bytes| bytes[9] ^= 0xff),
        ("cut short", |bytes| bytes.truncate(bytes.len() / 2)),
        ("empty", Vec::clear),
        ("another file", |bytes| *bytes = b"<html>not found</html>".to_vec()),
    ]
}

/// One damaged tip used to stop the listing of all branches, and the branch could neither be moved nor deleted.
#[tokio::test]
async fn a_damaged_tip_stops_nothing() {
    for (what, damage) in damages() {
        let disk = Disk::new().await;
        let (good, lost) = (disk.commits[1], disk.commits[2]);
        overwrite(&disk.snapshot(lost), damage);
        let repository = disk.open().await;
        let branches = repository.branches().await.unwrap();
        let shown: Vec<_> = branches.iter().map(|b| (b.name.as_str(), b.tip, b.time.is_some(), b.damage.is_some())).collect();
        assert_eq!(shown, [("main", Some(lost), false, true), ("other", Some(disk.commits[0]), true, false)], "{what}");
        let error = repository.read("main").await.unwrap_err();
        assert_eq!(error.detail(), Some(&ErrorDetail::UnreadableRef { reference: "branch main".to_owned() }), "{what}: {error}");
        let error = repository.write("main").await.unwrap_err();
        assert_eq!(error.detail(), Some(&ErrorDetail::UnreadableRef { reference: "branch main".to_owned() }), "{what}: {error}");

        // Nothing that can be read names the good one, so it is found by a listing.
        let readable = repository.readable_snapshots(&Ref::branch(name("main")), 10).await.unwrap();
        assert_eq!((readable[0].id, readable[0].found_in), (good, FoundIn::Listing), "{what}: {readable:?}");
        assert_eq!(readable.len(), 3, "{what}: the good one, the first, and the root");
        let target = repository.read_snapshot_id(good).await;
        repository.create_branch(&name("rescue"), &target).await.unwrap();
        repository.create_tag(&name("rescued"), &target, "").await.unwrap();
        repository.reset(&name("main"), &target).await.unwrap();
        put(&repository, "main", "4").await;
        repository.delete_branch(&name("main")).await.unwrap();
    }
}

#[tokio::test]
async fn a_branch_with_a_damaged_tip_can_be_deleted() {
    let disk = Disk::new().await;
    overwrite(&disk.snapshot(disk.commits[2]), Vec::clear);
    let repository = disk.open().await;
    assert_eq!(repository.delete_branch(&name("main")).await.unwrap().from, Some(disk.commits[2]));
    assert_eq!(repository.branches().await.unwrap().len(), 1);
    let target = repository.read_snapshot_id(disk.commits[1]).await;
    repository.create_branch(&name("main"), &target).await.unwrap();
    put(&repository, "main", "4").await;
}

/// A damaged ref file used to stop the creation of every branch and tag, and could not be repaired by any verb.
#[tokio::test]
async fn a_damaged_record_stops_nothing_and_is_replaced() {
    for (what, damage) in damages() {
        for file in ["refs/branches/main.json", "refs/tags/v1.json"] {
            let disk = Disk::new().await;
            overwrite(&disk.path(file), damage);
            let repository = disk.open().await;
            let reference = if file.contains("tags") { Ref::tag(name("v1")) } else { Ref::branch(name("main")) };
            let listed = repository.branches().await.unwrap().into_iter().chain(repository.tags().await.unwrap());
            let damaged: Vec<_> = listed.filter(|info| info.damage.is_some()).map(|info| info.name).collect();
            assert_eq!(damaged, std::slice::from_ref(&reference.name), "{what} of {file}");
            assert!(repository.ref_info(&reference).await.unwrap().damage.is_some());
            let error = repository.read(reference.name.as_str()).await.unwrap_err();
            assert_eq!(error.detail(), Some(&ErrorDetail::UnreadableRef { reference: reference.to_string() }), "{what}: {error}");
            put(&repository, "other", "beside it").await;
            let target = repository.read_snapshot_id(disk.commits[1]).await;
            repository.create_branch(&name("rescue"), &target).await.unwrap();

            let readable = repository.readable_snapshots(&reference, 10).await.unwrap();
            assert!(readable.iter().any(|found| found.id == disk.commits[1]), "{what} of {file}: {readable:?}");
            if file.contains("tags") {
                let moved = repository.delete_tag(&name("v1")).await.unwrap();
                assert_eq!((moved.op, moved.to), (MoveOp::Repair, None));
                repository.create_tag(&name("v1"), &target, "again").await.unwrap();
                continue;
            }
            let moved = repository.reset(&name("main"), &target).await.unwrap();
            assert_eq!((moved.op, moved.to), (MoveOp::Repair, Some(disk.commits[1])));
            put(&repository, "main", "4").await;
            let error = repository.as_of(&name("main"), firnline::Timestamp::from_micros(moved.time.micros() - 1)).await.unwrap_err();
            assert!(error.to_string().contains("is not known: its record was damaged"), "{error}");
            assert_eq!(repository.moves(&reference).await.unwrap(), [moved]);
        }
    }
}

/// A sequence number that repeats would let a delayed replace of the time before succeed (gc.md: seq never repeats).
#[tokio::test]
async fn a_replaced_record_never_lowers_its_sequence_number() {
    let disk = Disk::new().await;
    let first = disk.open().await.reset(&name("main"), &disk.open().await.read("main~1").await.unwrap()).await.unwrap();
    overwrite(&disk.path("refs/branches/main.json"), |bytes| bytes.truncate(30));
    let target = disk.open().await.read_snapshot_id(disk.commits[1]).await;
    let second = target.repository().reset(&name("main"), &target).await.unwrap();
    overwrite(&disk.path("refs/branches/main.json"), |bytes| bytes.retain(|byte| *byte != b'}'));
    let third = target.repository().reset(&name("main"), &target).await.unwrap();
    assert!(first.seq < second.seq && second.seq < third.seq, "{first:?} {second:?} {third:?}");
    assert_eq!(third.from, Some(disk.commits[1]), "what the damaged record still told");
}

/// A record that a newer release wrote is not damage: it is refused, and never replaced.
#[tokio::test]
async fn a_record_of_a_newer_release_is_left_alone() {
    let disk = Disk::new().await;
    let path = disk.path("refs/branches/main.json");
    let newer = fs::read_to_string(&path).unwrap().replace("\"v\": 1", "\"v\": 3");
    overwrite(&path, |bytes| *bytes = newer.clone().into_bytes());
    let repository = disk.open().await;
    let target = repository.read("other").await.unwrap();
    assert_eq!(repository.reset(&name("main"), &target).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(repository.delete_branch(&name("main")).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
    assert_eq!(repository.branches().await.unwrap().len(), 2);
}

/// Without a readable description of what the refs keep, a snapshot must at least be whole to be pointed at.
#[tokio::test]
async fn no_branch_is_pointed_at_half_a_snapshot() {
    let disk = Disk::new().await;
    overwrite(&disk.snapshot(disk.commits[2]), Vec::clear);
    let repository = disk.open().await;
    let target = repository.read_snapshot_id(disk.commits[1]).await;
    let manifest = target.record().manifest.to_string();
    overwrite(&disk.path("manifests").join(&manifest[8..10]).join(&manifest), Vec::clear);
    // Past the copy of the root that the snapshot object carries.
    let mut options = OpenOptions::default();
    options.cache_bytes = 0;
    let repository = Repository::open_with(disk.folder.path().to_str().unwrap(), options).await.unwrap();
    let target = repository.read_snapshot_id(target.id()).await;
    assert_eq!(repository.reset(&name("main"), &target).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// A writer that was interrupted may have stored a snapshot and not all of its chunks; its maps alone passed for a whole.
#[tokio::test]
async fn no_branch_is_pointed_at_a_snapshot_without_all_its_chunks() {
    let disk = Disk::new().await;
    let repository = disk.open().await;
    let session = repository.write("main").await.unwrap();
    for n in 0..100_u8 {
        session.set(&key(&format!("a/{n}")), vec![n; 5000]).await.unwrap();
    }
    let target = session.commit("many").await.unwrap();
    let last = put(&repository, "main", "5").await;
    overwrite(&disk.snapshot(last.id()), Vec::clear);
    let Some(Entry::Chunk { id, .. }) = target.entry(&key("a/77")).await.unwrap() else { panic!("it is inline") };
    let (chunk, away) = (disk.path("chunks").join(&id.to_string()[8..10]).join(id.to_string()), disk.path("away"));
    fs::rename(&chunk, &away).unwrap();
    let repository = disk.open().await;
    let target = repository.read_snapshot_id(target.id()).await;
    let error = repository.reset(&name("main"), &target).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("is not whole") && error.to_string().contains(&id.to_string()), "{error}");
    fs::rename(&away, &chunk).unwrap();
    repository.reset(&name("main"), &target).await.unwrap();
}

/// Replaces the record of `main` by nothing that tells a tip, and points the branch at `target`.
async fn lose_and_repair_main(disk: &Disk, target: SnapshotId) {
    overwrite(&disk.path(MAIN), |bytes| *bytes = b"<html>not found</html>".to_vec());
    let target = disk.open().await.read_snapshot_id(target).await;
    assert_eq!(target.repository().reset(&name("main"), &target).await.unwrap().op, MoveOp::Repair);
}

/// `settle` said that a commit never happened, which had been acknowledged before the branch's record was damaged.
#[tokio::test]
async fn a_commit_from_before_a_repair_is_not_called_lost() {
    let disk = Disk::new().await;
    lose_and_repair_main(&disk, disk.commits[1]).await;
    let repository = disk.open().await;
    let error = repository.settle(&name("main"), disk.commits[2]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("is not known: the branch's record was damaged"), "{error}");
    assert_eq!(repository.settle(&name("main"), disk.commits[1]).await.unwrap(), Settlement::Committed);
    // One that is younger than the repair was not on the branch before it.
    let options = OpenOptions::default().clock(Arc::new(Ahead));
    let ahead = Repository::open_with(disk.folder.path().to_str().unwrap(), options).await.unwrap();
    let prepared = ahead.write("main").await.unwrap();
    let later = prepared.prepare(CommitOptions::from("later").allow_empty()).await.unwrap().id();
    assert_eq!(repository.settle(&name("main"), later).await.unwrap(), Settlement::Lost);
}

/// A clock that is an hour ahead.
#[derive(Debug)]
struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(Duration::from_hours(1))
    }
}

/// The same where the writer itself looks what became of its commit.
#[tokio::test]
async fn a_commit_whose_branch_was_repaired_before_it_was_looked_for_is_unknown() {
    let disk = Arc::new(Disk::new().await);
    let (sent, looked) = (AtomicBool::new(false), AtomicBool::new(false));
    let local = Local::open(disk.folder.path(), LocalOptions::default()).unwrap();
    let others = disk.clone();
    let storage = Faulty::new(Arc::new(local), move |call| {
        if call.name != MAIN {
            return Fault::None;
        }
        match call.operation {
            Operation::Replace if !sent.swap(true, Ordering::Relaxed) => Fault::After,
            Operation::Load if sent.load(Ordering::Relaxed) && !looked.swap(true, Ordering::Relaxed) => {
                let others = others.clone();
                Fault::Wait(Box::pin(async move { lose_and_repair_main(&others, others.commits[1]).await }))
            }
            _ => Fault::None,
        }
    });
    let repository = Repository::open_storage(Arc::new(storage), OpenOptions::default().without_pauses()).await.unwrap();
    let session = repository.write("main").await.unwrap();
    session.set(&key("k"), "4").await.unwrap();
    let failed = session.commit("4").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::OutcomeUnknown, "{failed:?}");
    let pending = failed.pending().unwrap();
    assert_eq!(repository.settle(&pending.branch, pending.id).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// One damaged block of earlier moves hid them all.
#[tokio::test]
async fn the_moves_that_can_be_read_are_told() {
    let disk = Disk::new().await;
    let (repository, main) = (disk.open().await, Ref::branch(name("main")));
    let target = repository.read("main").await.unwrap();
    for _ in 0..40 {
        repository.reset(&name("main"), &target).await.unwrap();
    }
    let all = repository.moves(&main).await.unwrap();
    let whole = repository.readable_moves(&main).await.unwrap();
    assert!(whole.damage.is_none() && whole.moves == all, "{whole:?}");
    for damaged in [true, false] {
        for block in fs::read_dir(disk.path("moves")).unwrap().flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap()) {
            let path = block.unwrap().path();
            if damaged { overwrite(&path, Vec::clear) } else { fs::remove_file(path).unwrap() }
        }
        let readable = repository.readable_moves(&main).await.unwrap();
        assert!(readable.moves.len() >= 8 && all.ends_with(&readable.moves), "{readable:?}");
        let damage = readable.damage.unwrap();
        assert!(damage.kind() == ErrorKind::Corrupt && damage.to_string().contains("moves/"), "{damage}");
        assert_eq!(repository.moves(&main).await.unwrap_err().to_string(), damage.to_string());
    }
}

/// `firn init` over a repository whose `repo.json` was lost used to write one with another hash before it refused.
#[tokio::test]
async fn a_refused_creation_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let repository = Repository::create_with(place, CreateOptions::default().hash(HashAlgorithm::Blake3)).await.unwrap();
    put(&repository, "main", "1").await;
    fs::remove_file(folder.path().join("repo.json")).unwrap();
    let before = files(folder.path());
    let lost = ErrorDetail::LostConfig { hash: Some("blake3") };
    for error in [Repository::create(place).await.unwrap_err(), Repository::open(place).await.unwrap_err()] {
        assert_eq!((error.kind(), error.detail()), (ErrorKind::Conflict, Some(&lost)), "{error}");
        assert!(error.to_string().contains("blake3"), "{error}");
    }
    assert_eq!(files(folder.path()), before);
    let reader = Repository::open_with(place, OpenOptions::default().read_only()).await.unwrap();
    assert_eq!(reader.read("main").await.unwrap().get(&key("k")).await.unwrap().unwrap(), "1");
}

/// Nothing else in a directory is taken for a lost repository.
#[tokio::test]
async fn a_directory_with_other_files_can_hold_a_repository() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["snapshots/monday.img", "files/a.nc", "refs/papers.bib", "data.zarr/zarr.json"] {
        fs::create_dir_all(folder.path().join(file).parent().unwrap()).unwrap();
        fs::write(folder.path().join(file), "x").unwrap();
    }
    let repository = Repository::create(folder.path().to_str().unwrap()).await.unwrap();
    put(&repository, "main", "1").await;
}

/// A creation that was interrupted is finished only with the hash it began with.
#[tokio::test]
async fn an_interrupted_creation_keeps_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let store = || -> Arc<dyn Storage> { Arc::new(Local::open(folder.path(), LocalOptions::default()).unwrap()) };
    Repository::create_storage(store(), CreateOptions::default().hash(HashAlgorithm::Blake3)).await.unwrap();
    fs::remove_dir_all(folder.path().join("refs")).unwrap();
    fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    let before = files(folder.path());
    let error = Repository::create_storage(store(), CreateOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(files(folder.path()), before);
    let made = Repository::create_storage(store(), CreateOptions::default().hash(HashAlgorithm::Blake3)).await.unwrap();
    assert_eq!(made.hash(), HashAlgorithm::Blake3);
    // One that has other refs was whole, and `main` was lost.
    let first = made.read("main").await.unwrap();
    made.create_branch(&name("other"), &first).await.unwrap();
    fs::remove_file(folder.path().join("refs/branches/main.json")).unwrap();
    let error = Repository::create_storage(store(), CreateOptions::default().hash(HashAlgorithm::Blake3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    // A lost register is made again at any whole snapshot.
    let repository = Repository::open_storage(store(), OpenOptions::default()).await.unwrap();
    let target = repository.read_snapshot_id(first.id()).await;
    repository.create_branch(&name("main"), &target).await.unwrap();
    put(&repository, "main", "2").await;
}

/// With the `repo.json` of another repository, a commit used to mix hashes with its parent.
#[tokio::test]
async fn hashes_are_never_mixed() {
    let disk = Disk::new().await;
    let other = tempfile::tempdir().unwrap();
    Repository::create_with(other.path().to_str().unwrap(), CreateOptions::default().hash(HashAlgorithm::Blake3)).await.unwrap();
    fs::remove_file(disk.path("repo.json")).unwrap();
    fs::copy(other.path().join("repo.json"), disk.path("repo.json")).unwrap();
    let before = files(disk.folder.path());
    let repository = disk.open().await;
    assert_eq!(repository.write("main").await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(repository.read("main").await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(files(disk.folder.path()), before);
}

/// Every file below a directory and its length, without locks.
fn files(root: &Path) -> Vec<(PathBuf, u64)> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let length = path.metadata().unwrap().len();
                found.push((path, length));
            }
        }
    }
    found.sort();
    found
}

trait ReadId {
    async fn read_snapshot_id(&self, id: SnapshotId) -> Snapshot;
}

impl ReadId for Repository {
    async fn read_snapshot_id(&self, id: SnapshotId) -> Snapshot {
        self.read_revision(&id.into()).await.unwrap()
    }
}

/// A branch with the name of a short id, made by an earlier release: the short id means the snapshot all the same.
#[tokio::test]
async fn a_branch_named_like_a_short_id_is_reached_by_its_full_name() {
    let disk = Disk::new().await;
    let short = disk.commits[0].to_string().get(..13).unwrap().to_owned();
    fs::copy(disk.path("refs/branches/main.json"), disk.path(&format!("refs/branches/{short}.json"))).unwrap();
    let repository = disk.open().await;
    assert_eq!(repository.read(&short).await.unwrap().id(), disk.commits[0]);
    assert_eq!(repository.read(&format!("branch:{short}")).await.unwrap().id(), disk.commits[2]);
    put(&repository, &short, "4").await;
    repository.delete_branch(&name(&short)).await.unwrap();
}
