//! What each damage becomes: a finding of the right kind, an error of the right kind, or, as `docs/testing.md` says, neither.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use firnline::storage::fault::{Call, Fault, Faulty, Operation};
use firnline::storage::{Memory, Storage};
use firnline::{CreateOptions, Error, ErrorKind, ExpireOptions, FindingKind, GcOptions, OpenOptions, Prefix, Repository, VerifyScope};
use futures::TryStreamExt as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::limits::count;
use crate::{bytes, filled, findings, key, objects, only_about};

/// The folders of immutable objects.
const FOLDERS: [&str; 6] = ["snapshots", "manifests", "files", "history", "chunks", "moves"];

/// Another process: nothing of it is cached.
async fn reopened(root: &Path) -> Repository {
    Repository::open(root.to_str().unwrap()).await.unwrap()
}

/// A small repository with every kind of object: two commits, a merge, a long value, references and blocks of moves.
async fn small(root: &Path) -> Repository {
    let repository = Repository::create(root.to_str().unwrap()).await.unwrap();
    let put = async |branch: &str, name: &str, value: Vec<u8>| {
        let session = repository.write(branch).await.unwrap();
        session.set(&key(name), value).await.unwrap();
        if name == "one" {
            session.set_virtual(&key("v/0"), "file:///data/a.nc", 0..10).await.unwrap();
        }
        session.commit(name).await.unwrap()
    };
    let first = put("main", "one", bytes(1, 5000)).await;
    repository.create_branch(&"side".parse().unwrap(), &first).await.unwrap();
    let theirs = put("side", "two", bytes(2, (1 << 20) + 9)).await;
    put("main", "three", bytes(3, 6000)).await;
    let staged = repository.merge(&"main".parse().unwrap(), &theirs, "a merge").await.unwrap();
    staged.commit().await.unwrap();
    repository.create_branch(&"moved".parse().unwrap(), &first).await.unwrap();
    for turn in 0..20 {
        repository.reset(&"moved".parse().unwrap(), if turn % 2 == 0 { &theirs } else { &first }).await.unwrap();
    }
    repository
}

fn all_objects(root: &Path) -> Vec<PathBuf> {
    FOLDERS.iter().flat_map(|folder| objects(root, folder)).collect()
}

/// The object of an id.
fn object(root: &Path, folder: &str, id: &str) -> PathBuf {
    objects(root, folder).into_iter().find(|path| path.ends_with(id)).unwrap()
}

fn name_of<'p>(root: &Path, path: &'p Path) -> &'p str {
    path.strip_prefix(root).unwrap().to_str().unwrap()
}

#[tokio::test]
async fn an_object_under_the_name_of_another_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let repository = filled(root).await;
    for kind in ["snapshots", "manifests", "files", "history", "chunks"] {
        let all = objects(root, kind);
        let (place, other) = (&all[0], &all[1]);
        let whole = fs::read(place).unwrap();
        assert_ne!(whole, fs::read(other).unwrap(), "{kind}");
        fs::copy(other, place).unwrap();
        only_about(&findings(&repository).await, name_of(root, place), FindingKind::Corrupt);
        fs::write(place, whole).unwrap();
    }
    // One of another kind, whole by its own checksum.
    let (node, snapshot) = (&objects(root, "manifests")[0], &objects(root, "snapshots")[0]);
    fs::copy(snapshot, node).unwrap();
    only_about(&findings(&repository).await, name_of(root, node), FindingKind::Corrupt);
}

#[tokio::test]
async fn what_is_missing_is_told_from_what_is_damaged_and_readers_name_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let tip = small(root).await.read("main").await.unwrap();
    let snapshot = object(root, "snapshots", &tip.id().to_string());
    let firnline::Entry::Chunk { id, .. } = tip.entry(&key("one")).await.unwrap().unwrap() else { panic!("one is a chunk") };
    let chunk = object(root, "chunks", &id.to_string());
    // What a reader says of a missing and of a damaged one.
    let rows = [(&snapshot, ErrorKind::Corrupt, ErrorKind::Corrupt), (&chunk, ErrorKind::NotFound, ErrorKind::Corrupt)];
    for (path, missing, damaged) in rows {
        let whole = fs::read(path).unwrap();
        let id = path.file_name().unwrap().to_str().unwrap();
        for (change, kind, finding) in [(None, missing, FindingKind::Missing), (Some(0x40), damaged, FindingKind::Corrupt)] {
            fs::remove_file(path).unwrap();
            if let Some(flip) = change {
                let mut bad = whole.clone();
                bad[whole.len() / 2] ^= flip;
                fs::write(path, bad).unwrap();
            }
            let repository = reopened(root).await;
            only_about(&findings(&repository).await, name_of(root, path), finding);
            let error = reading(&repository).await.unwrap_err();
            assert!(error.kind() == kind && error.to_string().contains(id), "{:?}: {error}", error.kind());
            fs::write(path, &whole).unwrap();
        }
    }
    reading(&reopened(root).await).await.unwrap();
}

/// Reads a value of the tip, and what lies before it.
async fn reading(repository: &Repository) -> Result<(), Error> {
    let tip = repository.read("main").await?;
    tip.get(&key("one")).await?;
    tip.log().try_collect::<Vec<_>>().await?;
    Ok(())
}

/// A reader that needs a node says `Corrupt`, whether it is gone or damaged: that a version has it is certain. `verify` tells the two apart.
#[tokio::test]
async fn a_node_that_is_missing_is_corrupt_to_readers_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    drop(filled(root).await);
    let all = objects(root, "manifests");
    let mut noticed = 0;
    for path in all.iter().step_by(all.len().div_ceil(12)) {
        let whole = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        let tip = reopened(root).await.read("main").await.unwrap();
        if let Err(error) = tip.list(&Prefix::all()).try_collect::<Vec<_>>().await {
            let id = path.file_name().unwrap().to_str().unwrap();
            assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(id), "{error}");
            noticed += 1;
        }
        fs::write(path, &whole).unwrap();
    }
    // The others are nodes of earlier versions, or roots of which the snapshot has a copy.
    assert!(noticed > 0, "of {}", all.len());
}

#[tokio::test]
async fn a_parent_of_a_merge_is_missed_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let repository = small(root).await;
    assert_eq!(findings(&repository).await, []);
    let merge = repository.read("main").await.unwrap();
    assert_eq!(merge.record().parents.len(), 2);
    let second = object(root, "snapshots", &merge.record().parents[1].to_string());
    let whole = fs::read(&second).unwrap();
    fs::remove_file(&second).unwrap();
    let found = findings(&repository).await;
    only_about(&found, name_of(root, &second), FindingKind::Missing);
    assert!(found[0].versions.contains(&merge.id()), "{found:#?}");
    // Also where only the version is looked at, and not the branch that keeps the parent.
    let one = repository.verify(VerifyScope::Revision(merge.clone())).await.unwrap().findings;
    only_about(&one, name_of(root, &second), FindingKind::Missing);
    assert_eq!(one[0].versions, [merge.id()]);
    fs::write(&second, &whole[1..]).unwrap();
    only_about(&findings(&repository).await, name_of(root, &second), FindingKind::Corrupt);
}

#[tokio::test]
async fn a_damaged_register_of_collections_is_a_finding_and_stops_writers_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let repository = small(root).await;
    fs::create_dir_all(root.join("gc")).unwrap();
    let state = root.join("gc/state.json");
    for (text, kind) in [("{}", ErrorKind::Corrupt), ("", ErrorKind::Corrupt), ("{\"v\": 9}", ErrorKind::Unsupported)] {
        fs::write(&state, text).unwrap();
        only_about(&findings(&repository).await, "gc/state.json", FindingKind::Corrupt);
        for error in [repository.write("main").await.unwrap_err(), repository.gc(&GcOptions::default()).await.unwrap_err()] {
            assert!(error.kind() == kind && error.to_string().contains("gc/state.json"), "{text}: {error}");
        }
        reading(&reopened(root).await).await.unwrap();
    }
    fs::remove_file(&state).unwrap();
    assert_eq!(findings(&repository).await, []);
    let _unused = repository.write("main").await.unwrap();
}

/// No finding, because nobody needs a list as such: one that cannot be read names everything, so a writer does more than it has to.
#[tokio::test]
async fn a_damaged_list_of_a_collection_is_no_finding_and_loses_nothing() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = folder.path();
    let repository = small(root).await;
    let other = Repository::create(elsewhere.path().to_str().unwrap()).await.unwrap();
    let session = other.write("main").await.unwrap();
    session.set(&key("garbage"), bytes(99, 5000)).await.unwrap();
    session.commit("garbage").await.unwrap();
    for path in objects(elsewhere.path(), "chunks") {
        let place = root.join(name_of(elsewhere.path(), &path));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(&path, place).unwrap();
    }
    let session = repository.write("main").await.unwrap();
    let report = repository.gc(&GcOptions::default().grace(Duration::ZERO).hurried()).await.unwrap();
    assert_eq!((report.epoch, report.failed), (1, 0));
    let lists = objects(root, "gc/lists");
    assert!(!lists.is_empty());
    for list in lists {
        fs::write(list, "damaged").unwrap();
    }
    assert_eq!(findings(&repository).await, []);
    session.set(&key("garbage"), bytes(99, 5000)).await.unwrap();
    session.commit("what was garbage").await.unwrap();
    assert_eq!(findings(&reopened(root).await).await, []);
}

/// The finding names the register or the list, whichever is damaged. Readers go on; what depends on knowing what has expired does not.
#[tokio::test]
async fn a_damaged_record_of_expired_versions_is_a_finding_and_stops_no_reader() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let repository = small(root).await;
    let rules = ExpireOptions::default().keep_last(1).keep_moves(Duration::ZERO);
    let plan = repository.plan_expire(&rules).await.unwrap();
    assert!(!repository.expire(&plan, "old").await.unwrap().versions.is_empty());
    let state = root.join("retention/state.json");
    let lists: Vec<_> = objects(root, "retention").into_iter().filter(|path| *path != state && !path.ends_with(".lock")).collect();
    let [list] = lists.try_into().unwrap();
    let flipped = |path: &Path| fs::read(path).unwrap().into_iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == 40)).collect();
    let (corrupt, missing) = (FindingKind::Corrupt, FindingKind::Missing);
    let rows: [(&Path, Option<Vec<u8>>, _, _); 5] = [
        (&state, Some(b"{}".to_vec()), corrupt, ErrorKind::Corrupt),
        (&state, Some(b"{\"v\": 9}".to_vec()), corrupt, ErrorKind::Unsupported),
        (&list, Some(flipped(&list)), corrupt, ErrorKind::Corrupt),
        (&list, Some(Vec::new()), corrupt, ErrorKind::Corrupt),
        (&list, None, missing, ErrorKind::Corrupt),
    ];
    for (path, damage, finding, kind) in rows {
        let whole = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        if let Some(damage) = &damage {
            fs::write(path, damage).unwrap();
        }
        let repository = reopened(root).await;
        only_about(&findings(&repository).await, name_of(root, path), finding);
        let name = path.file_name().unwrap().to_str().unwrap();
        let errors = [repository.retention().await.unwrap_err(), repository.gc(&GcOptions::default()).await.unwrap_err()];
        for error in errors {
            assert!(error.kind() == kind && error.to_string().contains(name), "{damage:?}: {error}");
        }
        if kind == ErrorKind::Corrupt {
            reading(&repository).await.unwrap();
        }
        fs::write(path, &whole).unwrap();
    }
    assert_eq!(findings(&reopened(root).await).await, []);
}

#[tokio::test]
async fn a_description_that_is_damaged_is_told_from_a_newer_one_and_a_lost_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    drop(small(root).await);
    let place = root.join("repo.json");
    let whole = fs::read_to_string(&place).unwrap();
    let newer = whole.replace("\"format\": 1", "\"format\": 2");
    assert_ne!(newer, whole);
    for (text, kind) in [("{", ErrorKind::Corrupt), ("", ErrorKind::Corrupt), (newer.as_str(), ErrorKind::Unsupported)] {
        fs::write(&place, text).unwrap();
        let error = Repository::open(root.to_str().unwrap()).await.unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains("repo.json"), "{text}: {error}");
    }
    fs::remove_file(&place).unwrap();
    assert_eq!(Repository::open(root.to_str().unwrap()).await.unwrap_err().kind(), ErrorKind::Conflict);
    fs::write(&place, whole).unwrap();
    assert_eq!(findings(&reopened(root).await).await, []);
}

#[tokio::test]
async fn a_ref_of_a_newer_release_is_a_finding_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let repository = small(root).await;
    let place = root.join("refs/branches/moved.json");
    let newer = fs::read_to_string(&place).unwrap().replacen("\"v\": 1", "\"v\": 9", 1);
    fs::write(&place, newer).unwrap();
    let found = findings(&repository).await;
    only_about(&found, "refs/branches/moved.json", FindingKind::Corrupt);
    assert!(found[0].message.contains("version 9"), "{}", found[0]);
    assert_eq!(repository.read("moved").await.unwrap_err().kind(), ErrorKind::Unsupported);
}

/// Which folder fails, and how.
async fn failing(storage: &Arc<dyn Storage>, folder: &'static str, kind: ErrorKind) -> Repository {
    let plan = move |call: &Call<'_>| match call.operation {
        Operation::Get | Operation::List if call.name.starts_with(folder) => Fault::Rejected(kind),
        _ => Fault::None,
    };
    let storage = Arc::new(Faulty::new(storage.clone(), plan));
    Repository::open_storage(storage, OpenOptions::default().without_pauses()).await.unwrap()
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_an_error_and_no_finding() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let create = CreateOptions::from(OpenOptions::default().without_pauses());
    let repository = Repository::create_storage(storage.clone(), create).await.unwrap();
    let session = repository.write("main").await.unwrap();
    session.set(&key("one"), bytes(1, 5000)).await.unwrap();
    session.commit("one").await.unwrap();
    for folder in ["snapshots/", "manifests/", "history/", "chunks/", "refs/branches/"] {
        for kind in [ErrorKind::Unavailable, ErrorKind::Denied] {
            let error = failing(&storage, folder, kind).await.verify(VerifyScope::Everything).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{folder}: {error}");
        }
    }
    assert_eq!(failing(&storage, "none/", ErrorKind::Denied).await.verify(VerifyScope::Everything).await.unwrap().findings, []);
}

#[tokio::test]
async fn every_bit_that_flips_in_an_object_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let repository = small(root).await;
    let all = all_objects(root);
    for kind in FOLDERS {
        assert!(all.iter().any(|path| path.starts_with(root.join(kind))), "{kind}");
    }
    let mut rng = SmallRng::seed_from_u64(7);
    for case in 0..count("FIRN_FLIPPED_BITS", 150, 1_500) {
        // Every object in turn, so that small ones are not left out beside large ones.
        let path = &all[usize::try_from(case).unwrap() % all.len()];
        let mut bad = fs::read(path).unwrap();
        let at = rng.random_range(0..bad.len());
        let bit = rng.random_range(0..8);
        bad[at] ^= 1 << bit;
        let whole = fs::read(path).unwrap();
        fs::write(path, bad).unwrap();
        let found = findings(&repository).await;
        assert!(!found.is_empty(), "{}: bit {bit} of byte {at}", path.display());
        only_about(&found, name_of(root, path), FindingKind::Corrupt);
        fs::write(path, whole).unwrap();
    }
    assert_eq!(findings(&repository).await, []);
}
