//! Many values at once are what each would be alone, for fewer requests.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use firnline::storage::{Memory, Observed};
use firnline::{Access, Allow, CreateOptions, ErrorKind, Key, OpenOptions, Repository, Snapshot, file_url};

use crate::support::key;

const LARGE: usize = (3 << 20) + 5;

struct World {
    storage: Arc<Observed>,
    repository: Repository,
    snapshot: Snapshot,
    folder: tempfile::TempDir,
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| at.wrapping_mul(seed * 2 + 0x9e37_79b9_7f4a_7c15).to_le_bytes()[5]).collect()
}

/// Values of every kind: two inline, three stored (two of them the same bytes, one large), 40 ranges of two files.
async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let allow: Allow = file_url(folder.path()).unwrap().parse().unwrap();
    let storage = Arc::new(Observed::new(Arc::new(Memory::new())));
    let options = OpenOptions::default().access(Access::new([allow]));
    let repository = Repository::create_storage(storage.clone(), CreateOptions::from(options)).await.unwrap();
    let session = repository.write("main").await.unwrap();
    for (name, value) in [("zarr.json", noise(1, 30)), ("a/zarr.json", noise(2, 200)), ("a/0", noise(3, 5000)), ("a/1", noise(4, LARGE))] {
        session.set(&key(name), value).await.unwrap();
    }
    session.set(&key("a/2"), noise(3, 5000)).await.unwrap();
    for (name, first) in [("x.nc", 0), ("y.nc", 20)] {
        let path = folder.path().join(name);
        std::fs::write(&path, noise(first + 5, 10_000)).unwrap();
        let url = file_url(&path).unwrap();
        for i in 0..20 {
            session.set_virtual(&key(&format!("v/{}", first + i)), &url, i * 400..i * 450 + 100).await.unwrap();
        }
    }
    let snapshot = session.commit("values").await.unwrap();
    World { storage, repository, snapshot, folder }
}

fn asked() -> Vec<Key> {
    let mut keys = ["nothing", "a/1", "v/39", "zarr.json", "a/0", "a/zarr.json", "a/2", "v/0", "a/1", "v/39", "z"].map(key).to_vec();
    keys.extend((0..40).rev().map(|i| key(&format!("v/{i}"))));
    keys
}

#[tokio::test]
async fn many_values_come_in_the_order_asked() {
    let World { snapshot, folder: _folder, .. } = world().await;
    let keys = asked();
    let found = snapshot.get_many(&keys).await.unwrap();
    assert_eq!(found.len(), keys.len());
    for (name, value) in keys.iter().zip(found) {
        assert_eq!(value, snapshot.get(name).await.unwrap(), "{name}");
    }
    assert_eq!(snapshot.get_many(&[]).await.unwrap(), Vec::<Option<Bytes>>::new());
    let entries = snapshot.entries(&keys).await.unwrap();
    for (name, entry) in keys.iter().zip(entries) {
        assert_eq!(entry, snapshot.entry(name).await.unwrap(), "{name}");
    }
}

#[tokio::test]
async fn parts_of_many_values_come_in_the_order_asked() {
    let World { snapshot, folder: _folder, .. } = world().await;
    let ranges: [Range<u64>; 5] = [0..0, 3..20, 7..7, 0..30, 29..30];
    let parts: Vec<_> = asked().into_iter().flat_map(|key| ranges.clone().map(|range| (key.clone(), range))).collect();
    let found = snapshot.get_ranges(&parts).await.unwrap();
    for ((name, range), value) in parts.iter().zip(found) {
        assert_eq!(value, snapshot.get_range(name, range.clone()).await.unwrap(), "{name} {range:?}");
    }
    let far = [(key("a/1"), LARGE as u64 - 2..LARGE as u64), (key("a/1"), 5..7), (key("a/1"), 1 << 20..2 << 20)];
    for ((name, range), value) in far.iter().zip(snapshot.get_ranges(&far).await.unwrap()) {
        assert_eq!(value, snapshot.get_range(name, range.clone()).await.unwrap());
    }
    let past = [(key("a/0"), 0..5), (key("v/3"), 0..100_000)];
    let error = snapshot.get_ranges(&past).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("v/3"), "{error}");
}

#[tokio::test]
async fn what_is_asked_twice_is_read_once() {
    let World { storage, folder: _folder, .. } = world().await;
    let again = Repository::open_storage(storage.clone(), OpenOptions::default()).await.unwrap();
    let snapshot = again.read("main").await.unwrap();
    let keys = ["a/0", "a/2", "a/0", "a/1", "a/1", "zarr.json"].map(key);
    snapshot.entries(&keys).await.unwrap();
    let before = storage.counts();
    snapshot.get_many(&keys).await.unwrap();
    let spent = storage.counts().since(&before);
    assert_eq!(spent.gets, 2, "equal bytes have one object");
    let before = storage.counts();
    snapshot.get_ranges(&[(key("a/1"), 0..1), (key("a/1"), 2 << 20..(2 << 20) + 1), (key("a/1"), 5..6)]).await.unwrap();
    let spent = storage.counts().since(&before);
    assert_eq!(spent.gets, 2, "two leaves far apart; their nodes are known from the reads before");
}

#[tokio::test]
async fn a_session_reads_what_it_staged() {
    let World { repository, folder, .. } = world().await;
    let session = repository.write("main").await.unwrap();
    session.set(&key("a/0"), noise(9, 7000)).await.unwrap();
    session.set(&key("new"), noise(9, 70)).await.unwrap();
    session.delete(&key("zarr.json")).await.unwrap();
    session.set_virtual(&key("v/7"), &file_url(&folder.path().join("y.nc")).unwrap(), 1..9).await.unwrap();
    let mut keys = asked();
    keys.push(key("new"));
    let found = session.get_many(&keys).await.unwrap();
    for (name, value) in keys.iter().zip(found) {
        assert_eq!(value, session.get(name).await.unwrap(), "{name}");
    }
}

#[tokio::test]
async fn ranges_are_read_of_what_was_found_whatever_is_staged_meanwhile() {
    let World { repository, snapshot, folder: _folder, .. } = world().await;
    let session = repository.write("main").await.unwrap();
    let names = [key("a/0"), key("inline"), key("v/1"), key("none")];
    session.set(&names[0], noise(9, 7000)).await.unwrap();
    session.set(&names[1], noise(9, 70)).await.unwrap();
    let found = session.entries(&names).await.unwrap();
    let ends = |entry: &Option<firnline::Entry>| entry.as_ref().map_or(0..0, |entry| entry.size() - 5..entry.size());
    let parts: Vec<_> = names.iter().zip(&found).map(|(name, entry)| (name.clone(), entry.clone(), ends(entry))).collect();
    let virtual_value = session.get(&names[2]).await.unwrap().unwrap();
    for name in &names[..2] {
        session.set(name, noise(10, 20)).await.unwrap();
    }
    session.delete(&names[2]).await.unwrap();
    session.set(&names[3], "something").await.unwrap();
    let read = session.get_ranges_of(&parts).await.unwrap();
    let expected = [Some(&noise(9, 7000)[6995..]), Some(&noise(9, 70)[65..]), Some(&virtual_value[virtual_value.len() - 5..]), None];
    assert_eq!(read.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    let past = [(names[1].clone(), found[1].clone(), 60..71)];
    assert_eq!(session.get_ranges_of(&past).await.unwrap_err().kind(), ErrorKind::Invalid);

    let entry = snapshot.entry(&names[2]).await.unwrap();
    let end = [(names[2].clone(), entry.clone(), ends(&entry)), (names[3].clone(), None, 0..9)];
    assert_eq!(snapshot.get_ranges_of(&end).await.unwrap(), [Some(virtual_value.slice(virtual_value.len() - 5..)), None]);
}

#[tokio::test]
async fn an_error_names_the_key_that_has_it() {
    let World { snapshot, folder, .. } = world().await;
    let path = folder.path().join("y.nc");
    let whole = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let error = snapshot.get_many(&[key("v/1"), key("v/25"), key("a/0")]).await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("v/25") && error.to_string().contains("y.nc"), "{error}");
    std::fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
    let error = snapshot.get_many(&[key("v/1"), key("v/25")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SourceChanged, "{error}");
    assert_eq!(snapshot.get_many(&[key("v/1"), key("v/2")]).await.unwrap().len(), 2, "the other file is as it was");
}
