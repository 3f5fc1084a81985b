//! What lies in a repository's directory is taken for what its name says only if it can be that: a regular file, no longer than
//! such an object is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use firnline::{ErrorKind, Prefix, RefName, Repository, Snapshot, VerifyScope};
use futures::TryStreamExt as _;

use super::support::key;

/// A repository with an object of every kind: a tree of several levels, small and large chunks, earlier moves, a tag.
async fn repository(root: &Path) -> Repository {
    let repository = Repository::create(root.to_str().unwrap()).await.unwrap();
    let session = repository.write("main").await.unwrap();
    for n in 0..250_u32 {
        let value: Vec<u8> = n.to_le_bytes().into_iter().cycle().take(2_000).collect();
        session.set(&key(&format!("a/c/{n}")), value).await.unwrap();
    }
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).take(3 << 20).collect();
    session.set(&key("large"), large).await.unwrap();
    let first = session.commit("first").await.unwrap();
    let session = repository.write("main").await.unwrap();
    session.set(&key("b"), "second").await.unwrap();
    session.commit("second").await.unwrap();
    let side = RefName::new("side").unwrap();
    repository.create_branch(&side, &first).await.unwrap();
    for _ in 0..20 {
        repository.reset(&side, &first).await.unwrap();
    }
    repository
}

/// One file of every folder, as a path from the root.
fn samples(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("repo.json"), PathBuf::from("refs/branches/side.json")];
    for folder in ["snapshots", "manifests", "history", "moves", "chunks"] {
        let mut files = Vec::new();
        for shard in fs::read_dir(root.join(folder)).unwrap() {
            files.extend(fs::read_dir(shard.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()));
        }
        files.sort();
        // The largest, so that a chunk with a tree is among them, and the first.
        let largest = files.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
        for path in [largest, &files[0]] {
            found.push(path.strip_prefix(root).unwrap().to_owned());
        }
    }
    found
}

/// Everything that is wrong, by reading all values and by `verify`, which reads copies and histories besides.
async fn trouble(root: &Path) -> Vec<ErrorKind> {
    let mut errors = read_all(root).await;
    if let Ok(repository) = Repository::open(root.to_str().unwrap()).await {
        match repository.verify(VerifyScope::Everything).await {
            Ok(report) => errors.extend(report.findings.iter().map(|_| ErrorKind::Corrupt)),
            Err(e) => errors.push(e.kind()),
        }
    }
    errors
}

/// Reads all values, as a new process does.
async fn read_all(root: &Path) -> Vec<ErrorKind> {
    let mut errors = Vec::new();
    let repository = match Repository::open(root.to_str().unwrap()).await {
        Ok(repository) => repository,
        Err(e) => return vec![e.kind()],
    };
    for revision in ["main", "main~1", "side"] {
        match repository.read(revision).await {
            Ok(snapshot) => errors.extend(read_snapshot(&snapshot).await),
            Err(e) => errors.push(e.kind()),
        }
    }
    if let Err(e) = repository.moves(&firnline::Ref::branch(RefName::new("side").unwrap())).await {
        errors.push(e.kind());
    }
    errors
}

async fn read_snapshot(snapshot: &Snapshot) -> Vec<ErrorKind> {
    let listed: Vec<_> = match snapshot.list(&Prefix::all()).try_collect().await {
        Ok(listed) => listed,
        Err(e) => return vec![firnline::Error::kind(&e)],
    };
    let mut errors = Vec::new();
    for (key, _) in listed {
        errors.extend(snapshot.get(&key).await.err().map(|e| e.kind()));
    }
    errors
}

/// A sparse file of 2 GiB in place of an object cost 2.1 GB of memory, and one of 50 GiB aborted the process: it was read before
/// its length was compared with anything.
#[tokio::test]
async fn an_object_that_is_longer_than_its_name_allows_is_corrupt_and_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("repository");
    repository(&root).await;
    assert_eq!(read_all(&root).await, []);
    for sample in samples(&root) {
        let path = root.join(&sample);
        let kept = fs::read(&path).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(50 << 30).unwrap();
        let errors = trouble(&root).await;
        assert!(!errors.is_empty() && errors.iter().all(|kind| *kind == ErrorKind::Corrupt), "{}: {errors:?}", sample.display());
        fs::write(&path, kept).unwrap();
    }
    assert_eq!(trouble(&root).await, []);
}

/// A symbolic link in place of a file or a directory was followed: for a lock file, that truncated the file it pointed to.
#[tokio::test]
async fn a_symbolic_link_inside_a_repository_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("repository");
    repository(&root).await;
    for sample in samples(&root) {
        let (path, away) = (root.join(&sample), directory.path().join("away"));
        fs::rename(&path, &away).unwrap();
        symlink(&away, &path).unwrap();
        let errors = trouble(&root).await;
        assert!(!errors.is_empty() && errors.iter().all(|kind| *kind == ErrorKind::Corrupt), "{}: {errors:?}", sample.display());
        fs::rename(&away, &path).unwrap();
    }
    for folder in ["snapshots", "manifests", "chunks", "refs", "refs/branches"] {
        let (path, away) = (root.join(folder), directory.path().join("away"));
        fs::rename(&path, &away).unwrap();
        symlink(&away, &path).unwrap();
        let errors = trouble(&root).await;
        assert!(errors.contains(&ErrorKind::Corrupt), "{folder}: {errors:?}");
        fs::remove_file(&path).unwrap();
        fs::rename(&away, &path).unwrap();
    }
    assert_eq!(read_all(&root).await, []);
}

/// Writes one value on `main`.
async fn commit(root: &Path, value: &str) -> Result<(), ErrorKind> {
    let repository = Repository::open(root.to_str().unwrap()).await.map_err(|e| e.kind())?;
    let session = repository.write("main").await.map_err(|e| e.kind())?;
    session.set(&key("value"), value.repeat(2_000)).await.map_err(|e| e.kind())?;
    session.commit(value).await.map(drop).map_err(|e| e.kind())
}

#[tokio::test]
async fn nothing_is_written_through_a_symbolic_link() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("repository");
    repository(&root).await;
    let victim = directory.path().join("victim");
    fs::write(&victim, "precious").unwrap();

    let lock = root.join("refs/.lock/branches/main.json");
    fs::remove_file(&lock).unwrap();
    symlink(&victim, &lock).unwrap();
    assert_eq!(commit(&root, "one").await, Err(ErrorKind::Corrupt), "a lock file");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    fs::remove_file(&lock).unwrap();

    // A directory of locks that leads to somebody else's files.
    let (locks, theirs) = (root.join("refs/.lock/branches"), directory.path().join("theirs"));
    fs::remove_dir_all(&locks).unwrap();
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("main.json"), "precious").unwrap();
    symlink(&theirs, &locks).unwrap();
    assert_eq!(commit(&root, "two").await, Err(ErrorKind::Corrupt), "a directory of locks");
    assert_eq!(fs::read_to_string(theirs.join("main.json")).unwrap(), "precious");
    fs::remove_file(&locks).unwrap();

    // Objects: the link is replaced, not what it points to.
    commit(&root, "three").await.unwrap();
    let found = samples(&root).into_iter().find(|path| path.starts_with("chunks")).unwrap();
    let kept = fs::read(root.join(&found)).unwrap();
    fs::remove_file(root.join(&found)).unwrap();
    fs::write(&victim, &kept).unwrap();
    symlink(&victim, root.join(&found)).unwrap();
    let repository = Repository::open(root.to_str().unwrap()).await.unwrap();
    let session = repository.write("main").await.unwrap();
    session.set(&key("again"), kept[..3 << 20].to_vec()).await.unwrap();
    session.commit("again").await.unwrap();
    assert!(fs::symlink_metadata(root.join(&found)).unwrap().is_file(), "the object is a file again");
    assert_eq!(fs::read(&victim).unwrap(), kept);

    // The root itself may be a link.
    let link = directory.path().join("link");
    symlink(&root, &link).unwrap();
    commit(&link, "four").await.unwrap();
}
