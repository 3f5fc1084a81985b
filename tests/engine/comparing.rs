//! What differs between snapshots, what became of a key, what a snapshot is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use firnline::storage::Observed;
use firnline::{
    Access, Change, Container, DiffSummary, Entry, EntryKind, ErrorKind, Group, Key, KeyEvent, KeyOrPrefix, OpenOptions, Prefix,
    Repository, Snapshot, Validator, VirtualOptions,
};
use futures::TryStreamExt;

use crate::support::{World, key};

fn prefix(text: &str) -> Prefix {
    Prefix::new(text).unwrap()
}

async fn entries(snapshot: &Snapshot, below: &Prefix) -> BTreeMap<Key, Entry> {
    snapshot.list(below).try_collect().await.unwrap()
}

/// Few digits are enough: a small generator keeps the test the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

#[tokio::test]
async fn a_diff_is_the_difference_of_two_listings() {
    let world = World::new().await;
    let mut dice = Dice(1);
    let mut versions = vec![world.repository.read("main").await.unwrap()];
    for n in 0..30 {
        let session = world.repository.write("main").await.unwrap();
        for _ in 0..=dice.roll(60) {
            let name = key(&format!("{}/{}", ["a", "a/b", "c"][dice.roll(3)], dice.roll(40)));
            match dice.roll(3) {
                0 => drop(session.delete(&name).await.unwrap()),
                1 => session.set_virtual(&name, "s3://bucket/x", dice.roll(9) as u64..10).await.unwrap(),
                _ => session.set(&name, vec![n; dice.roll(2) * 1500]).await.unwrap(),
            }
        }
        versions.push(session.commit("more").await.unwrap());
    }
    let mut seen = 0;
    for _ in 0..200 {
        let [old, new] = [0, 1].map(|_| &versions[dice.roll(versions.len())]);
        let below = prefix(["", "a", "a/b", "c", "none"][dice.roll(5)]);
        let changes: Vec<Change> = old.diff(new, &below).try_collect().await.unwrap();
        let (before, after) = (entries(old, &below).await, entries(new, &below).await);
        let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let expected: Vec<_> = keys
            .into_iter()
            .map(|key| Change::Key { key: key.clone(), old: before.get(key).cloned(), new: after.get(key).cloned() })
            .filter(|change| !matches!(change, Change::Key { old, new, .. } if old == new))
            .collect();
        let found: Vec<_> = changes.into_iter().filter(|change| matches!(change, Change::Key { .. })).collect();
        seen += found.len();
        assert_eq!(found, expected, "{below:?}");
    }
    assert!(seen > 1000, "{seen}");
}

fn container(template: &str) -> Container {
    let (defaults, options) = (BTreeMap::new(), BTreeMap::new());
    Container { name: "nemo".to_owned(), template: template.to_owned(), defaults, options }
}

#[tokio::test]
async fn containers_and_pins_differ_where_no_key_does() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set_container(container("s3://bucket/{}")).unwrap();
    let pinned = |size| {
        let mut options = VirtualOptions::default();
        options.validator = Some(Validator { size: Some(size), ..Validator::staged_at(firnline::Timestamp::from_micros(1)) });
        options.repin = true;
        options
    };
    session.set_virtual_with(&key("a"), "s3://bucket/x", 0..5, &pinned(10)).await.unwrap();
    let first = session.commit("first").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.set_container(container("s3://other/{}")).unwrap();
    let moved = session.commit("moved").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual_with(&key("a"), "s3://other/x", 0..5, &pinned(11)).await.unwrap();
    let repinned = session.commit("repinned").await.unwrap();
    world.put("b", "unrelated").await;

    let all = Prefix::all();
    let changes: Vec<_> = first.diff(&repinned, &all).try_collect().await.unwrap();
    let [Change::Container { name, .. }, Change::File { old, new, .. }] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((name.as_str(), old.size, new.size), ("nemo", Some(10), Some(11)));
    assert!(first.diff(&first, &all).try_collect::<Vec<_>>().await.unwrap().is_empty());

    let tip = world.repository.read("main").await.unwrap();
    let name = key("a");
    let versions: Vec<_> = tip.key_history(&name).try_collect().await.unwrap();
    let told: Vec<_> = versions.iter().map(|v| (v.id, v.event, v.url.as_deref().unwrap())).collect();
    let expected = [
        (repinned.id(), KeyEvent::Repinned, "s3://other/x"),
        (moved.id(), KeyEvent::Repinned, "s3://other/x"),
        (first.id(), KeyEvent::Set, "s3://bucket/x"),
    ];
    assert_eq!(told, expected);
    let source = tip.origin(&name).await.unwrap().unwrap().source.unwrap();
    assert_eq!((source.url.as_str(), source.record.size, source.container.template.as_str()), ("s3://other/x", Some(11), "s3://other/{}"));
}

#[tokio::test]
async fn the_history_of_a_key_is_every_commit_that_changed_it() {
    let world = World::new().await;
    let mut expected = Vec::new();
    for n in 0..40 {
        world.put(&format!("noise/{n}"), "x").await;
        let at = match n {
            10 | 25 => Some((world.put("k", &format!("value {n}")).await, KeyEvent::Set)),
            20 => {
                let session = world.repository.write("main").await.unwrap();
                assert!(session.delete(&key("k")).await.unwrap());
                Some((session.commit("gone").await.unwrap(), KeyEvent::Deleted))
            }
            _ => None,
        };
        expected.extend(at.map(|(snapshot, event)| (snapshot.id(), event)));
    }
    expected.reverse();
    let tip = world.repository.read("main").await.unwrap();
    let (name, never) = (key("k"), key("never"));
    let versions: Vec<_> = tip.key_history(&name).try_collect().await.unwrap();
    assert_eq!(versions.iter().map(|v| (v.id, v.event)).collect::<Vec<_>>(), expected);
    assert!(versions.iter().all(|v| v.entry.is_none() == (v.event == KeyEvent::Deleted)));
    assert!(tip.key_history(&never).try_collect::<Vec<_>>().await.unwrap().is_empty());
}

const ARRAY: &str = r#"{"zarr_format":3,"node_type":"array"}"#;
const GROUP: &str = r#"{"zarr_format":3,"node_type":"group"}"#;

async fn zarr(world: &World) -> Snapshot {
    let session = world.repository.write("main").await.unwrap();
    for (name, value) in
        [("zarr.json", GROUP), ("air/zarr.json", GROUP), ("air/t/zarr.json", ARRAY), ("old/.zarray", "{}"), ("notes/a.txt", "x")]
    {
        session.set(&key(name), value).await.unwrap();
    }
    for n in 0..500_u64 {
        session.set_virtual(&key(&format!("air/t/c/{}/{}", n / 20, n % 20)), "s3://bucket/x", n * 10..n * 10 + 10).await.unwrap();
    }
    session.set(&key("old/0.0"), vec![7; 5000]).await.unwrap();
    session.commit("a small store").await.unwrap()
}

#[tokio::test]
async fn stats_count_everything_once() {
    let world = World::new().await;
    let snapshot = zarr(&world).await;
    let stats = world.reopen(Access::default()).await.read("main").await.unwrap().stats().await.unwrap();
    let kinds: Vec<_> = stats.kinds.iter().map(|(kind, counts)| (*kind, counts.keys, counts.bytes)).collect();
    let small = [GROUP, GROUP, ARRAY, "{}", "x"].map(str::len).iter().sum::<usize>() as u64;
    assert_eq!(kinds, [(EntryKind::Inline, 5, small), (EntryKind::Chunk, 1, 5000), (EntryKind::Virtual, 500, 5000)]);
    let arrays: Vec<_> = stats.arrays.iter().map(|(prefix, counts)| (prefix.as_str(), counts.keys)).collect();
    assert_eq!(arrays, [("air/t/", 501), ("old/", 2)]);
    assert_eq!((stats.other.keys, stats.containers, stats.files.entries, stats.history.entries), (3, 1, 1, 1));
    assert_eq!(stats.manifest.entries, snapshot.totals().await.unwrap().keys);

    let listed = |folder: &'static str| {
        let storage = world.storage.clone();
        async move { storage.list(folder).try_collect::<Vec<_>>().await.unwrap().len() as u64 }
    };
    // Each map has one older root, that of the empty map.
    assert_eq!((stats.manifest.nodes, stats.files.nodes), (listed("manifests/").await - 1, listed("files/").await - 1));
    assert!(stats.manifest.depth >= 1 && stats.manifest.stored > 0 && stats.manifest.stored_per_entry().unwrap() > 0.0);
}

#[tokio::test]
async fn changes_are_counted_by_array_or_directory() {
    let world = World::new().await;
    let old = zarr(&world).await;
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("air/t/c/0/0"), "now here").await.unwrap();
    session.set(&key("air/t/c/99/0"), "new").await.unwrap();
    session.delete_prefix(&prefix("old"));
    session.set(&key("notes/a.txt"), "xy").await.unwrap();
    let new = session.commit("changed").await.unwrap();
    let mut summary = DiffSummary::new([&old, &new]);
    let mut changes = std::pin::pin!(old.diff(&new, &Prefix::all()));
    while let Some(change) = changes.try_next().await.unwrap() {
        if let Change::Key { key, old, new } = change {
            summary.add(&key, old.map(|e| e.size()), new.map(|e| e.size())).await.unwrap();
        }
    }
    let groups: Vec<_> = summary.into_groups().into_iter().map(|g| (g.group, g.counts)).collect();
    let counts = groups.iter().map(|(group, c)| (group.clone(), [c.added, c.changed, c.removed, c.old_bytes, c.new_bytes]));
    let expected = [
        (Group::Array(prefix("air/t")), [1, 1, 0, 10, 11]),
        (Group::Array(prefix("old")), [0, 0, 2, 5002, 0]),
        (Group::Directory(prefix("notes")), [0, 1, 0, 1, 2]),
    ];
    assert_eq!(counts.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn content_ids_do_not_depend_on_the_name() {
    let world = World::new().await;
    let snapshot = zarr(&world).await;
    let id = snapshot.content_id(&prefix("air")).await.unwrap();
    assert_eq!(snapshot.content_id(&Prefix::all()).await.unwrap(), snapshot.record().manifest);
    let other = World::new().await;
    let session = other.repository.write("main").await.unwrap();
    for (name, entry) in entries(&snapshot, &prefix("air")).await {
        let name = key(&format!("9/elsewhere/{}", name.as_str().strip_prefix("air/").unwrap()));
        match entry {
            Entry::Virtual { offset, length, .. } => session.set_virtual(&name, "s3://bucket/x", offset..offset + length).await.unwrap(),
            Entry::Inline(bytes) => session.set(&name, bytes).await.unwrap(),
            Entry::Chunk { .. } => unreachable!(),
        }
    }
    let elsewhere = session.commit("under another name").await.unwrap();
    assert_eq!(elsewhere.content_id(&prefix("9/elsewhere")).await.unwrap(), id);
    assert_ne!(elsewhere.record().manifest, snapshot.record().manifest);
    assert_eq!(snapshot.content_id(&prefix("none")).await.unwrap_err().kind(), ErrorKind::NotFound);

    // What `ipfs block put` gives one byte, "x".
    let value = snapshot.value_id(&key("notes/a.txt")).await.unwrap().unwrap();
    assert_eq!(value.to_string(), "bafkreibnoelefnzgwbcacyt4vh52ymxvzbjq7mmqhtcnwarfq4lzegsiqe");
    assert_eq!(snapshot.value_id(&key("air/t/c/0/0")).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(snapshot.value_id(&key("none")).await.unwrap(), None);
    assert_eq!(snapshot.find_named("old").await.unwrap(), KeyOrPrefix::Prefix(prefix("old")));
    assert_eq!(snapshot.find_named("notes/a.txt").await.unwrap(), KeyOrPrefix::Key(key("notes/a.txt")));
    assert_eq!(snapshot.find_named("notes/a.txt/").await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// A map of some hundred nodes, and versions of it that differ in a few keys far apart.
#[tokio::test]
async fn what_versions_share_is_not_read() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    for n in 0..40_000_u64 {
        session.set_virtual(&key(&format!("big/{}/{}", n / 200, n % 200)), "s3://bucket/x", n * 7..n * 7 + 5).await.unwrap();
    }
    let old = session.commit("many").await.unwrap();
    for n in 0..20 {
        world.put(&format!("big/{}/3", n * 10), "changed").await;
    }
    let nodes = world.repository.read("main").await.unwrap().stats().await.unwrap().manifest.nodes;
    assert!(nodes > 40, "{nodes}");

    let counted = |storage: &Arc<Observed>| storage.counts().gets;
    let cold = || async {
        let storage = Arc::new(Observed::new(world.storage.clone()));
        let options = OpenOptions::default().clock(world.clock.clone()).without_pauses();
        let repository = Repository::open_storage(storage.clone(), options).await.unwrap();
        let snapshots = (repository.read(&old.id().to_string()).await.unwrap(), repository.read("main").await.unwrap());
        (storage, snapshots)
    };
    let (storage, (before, after)) = cold().await;
    let start = counted(&storage);
    assert_eq!(before.diff(&after, &prefix("big/50")).try_collect::<Vec<_>>().await.unwrap().len(), 1);
    let part = counted(&storage) - start;
    assert!(part <= 6, "{part} reads for one key below a prefix");

    let (storage, (before, after)) = cold().await;
    let start = counted(&storage);
    assert_eq!(before.diff(&after, &Prefix::all()).try_collect::<Vec<_>>().await.unwrap().len(), 20);
    let whole = counted(&storage) - start;
    // The files map, and twice the nodes that changed.
    assert!(whole <= 2 + 2 * (20 + 2), "{whole} reads for 20 keys in {nodes} nodes");

    // One snapshot for each commit, and the nodes on the way to the key that differ: the root mostly.
    let (storage, (_, after)) = cold().await;
    let (start, name) = (counted(&storage), key("big/0/3"));
    assert_eq!(after.key_history(&name).try_collect::<Vec<_>>().await.unwrap().len(), 2);
    let history = counted(&storage) - start;
    assert!(history <= 2 + 22 + 22 + 8, "{history} reads for 22 commits of {nodes} nodes");
}
