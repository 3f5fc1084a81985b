//! Staged changes, wherever they lie, against a map that keeps everything in memory.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::FutureExt as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::run::Stored;
use super::*;
use crate::error::ErrorKind;
use crate::id::{ChunkForm, ChunkId, HashAlgorithm};
use crate::key::Key;

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    Prefix::new(text).unwrap()
}

fn staged(limit: usize) -> SharedStaged {
    SharedStaged::new(Staged::new(limit, std::env::temp_dir()))
}

#[tokio::test]
async fn a_prefix_delete_covers_what_came_before_and_nothing_that_comes_after() {
    for limit in [0, 1 << 20] {
        let mut staged = staged(limit);
        let lookup = |staged: &SharedStaged, text| staged.lookup(key(text).as_map_key()).unwrap();
        let entry = Entry::Inline(Bytes::from_static(b"x"));
        staged.put(key("a/b/1").into(), Some(entry.clone())).await.unwrap();
        staged.get_mut().delete_prefix(&prefix("a/b"));
        staged.put(key("a/b/2").into(), Some(entry.clone())).await.unwrap();
        assert_eq!(lookup(&staged, "a/b/1"), Lookup::Deleted);
        assert_eq!(lookup(&staged, "a/b/2"), Lookup::Set(entry));
        assert_eq!(lookup(&staged, "a/c"), Lookup::Untouched);
        staged.get_mut().delete_prefix(&prefix("a"));
        assert_eq!(staged.lock().layers().deleted(), [&prefix("a")], "the outer prefix swallows the inner one");
        assert_eq!(lookup(&staged, "a/b/2"), Lookup::Deleted);
        staged.get_mut().delete_prefix(&prefix("a/b"));
        assert_eq!(staged.lock().layers().deleted(), [&prefix("a")], "a prefix inside a deleted one adds nothing");
        staged.get_mut().delete_prefix(&Prefix::all());
        assert_eq!(lookup(&staged, "z"), Lookup::Deleted);
    }
}

/// What a session stages, in the plainest way.
#[derive(Default)]
struct Model {
    entries: BTreeMap<MapKey, Option<Entry>>,
    deleted: BTreeSet<Prefix>,
}

impl Model {
    fn delete_prefix(&mut self, prefix: &Prefix) {
        self.entries.retain(|key, _| !prefix.contains(key.as_str()));
        self.deleted.insert(prefix.clone());
    }

    fn lookup(&self, key: &MapKey) -> Lookup {
        match self.entries.get(key) {
            Some(Some(entry)) => Lookup::Set(entry.clone()),
            Some(None) => Lookup::Deleted,
            None if self.deleted.iter().any(|prefix| prefix.contains(key.as_str())) => Lookup::Deleted,
            None => Lookup::Untouched,
        }
    }

    fn below(&self, prefix: &Prefix) -> Vec<(MapKey, Option<Entry>)> {
        self.entries.iter().filter(|(key, _)| prefix.contains(key.as_str())).map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }
}

fn random_key(random: &mut SmallRng) -> Key {
    let directory = ["", "a/", "a/b/", "a/b/c/", "a1/", "é/ü", "é/ö"][random.random_range(0..7)];
    key(&format!("{directory}{}", random.random_range(0..40)))
}

fn random_prefix(random: &mut SmallRng) -> Prefix {
    prefix(["", "a", "a/b", "a/b/c", "a1", "é", "none"][random.random_range(0..7)])
}

fn random_virtual(random: &mut SmallRng) -> Entry {
    let file = FileKey::new("files", [["one", "two", "three"][random.random_range(0..3)]]).unwrap();
    let offset = [0, 10, 20, u64::MAX - 10][random.random_range(0..4)];
    Entry::Virtual { file, offset, length: 10 }
}

fn random_entry(random: &mut SmallRng) -> Entry {
    match random.random_range(0..4) {
        0 => Entry::Inline(vec![random.random(); random.random_range(0..50)].into()),
        1 => {
            let form = if random.random() { ChunkForm::Raw } else { ChunkForm::UnixFs };
            Entry::Chunk { id: ChunkId::new(form, HashAlgorithm::Sha2_256.digest(&[random.random()])), size: random.random() }
        }
        _ => random_virtual(random),
    }
}

/// References into one piece of columns.
fn piece(staged: &mut Staged, refs: &[(&str, &FileKey, u64, u64)]) -> BulkPiece {
    let (mut text, mut ends, mut files) = (String::new(), Vec::new(), Vec::new());
    for (key, file, ..) in refs {
        text.push_str(key);
        ends.push(text.len());
        files.push(Some(staged.number(file)));
    }
    BulkPiece {
        keys: BulkKeys::Keys { text, ends },
        url: (0..u32::try_from(refs.len()).unwrap()).collect(),
        offset: refs.iter().map(|(.., offset, _)| *offset).collect(),
        length: refs.iter().map(|(.., length)| *length).collect(),
        files: files.into(),
    }
}

/// Stages references, as the calls for many do: in any order, the last of equal keys counts.
async fn stage_run(random: &mut SmallRng, staged: &mut SharedStaged, model: &mut Model) {
    let mut bulk = Bulk::begin(staged.get_mut());
    for _ in 0..random.random_range(1..4) {
        let refs: Vec<_> = (0..random.random_range(0..20)).map(|_| (random_key(random), random_virtual(random))).collect();
        let refs: Vec<_> = refs
            .iter()
            .map(|(key, entry)| {
                let Entry::Virtual { file, offset, length } = entry else { panic!("{entry:?}") };
                model.entries.insert(key.clone().into(), Some(entry.clone()));
                (key.as_str(), file, *offset, *length)
            })
            .collect();
        let piece = piece(staged.get_mut(), &refs);
        bulk = bulk.take(piece).await.unwrap();
    }
    bulk.finish(staged.get_mut());
}

fn compare(random: &mut SmallRng, staged: &SharedStaged, model: &Model, context: &str) {
    let all = |below: Option<&Prefix>| {
        let now = staged.below(below.unwrap_or(&Prefix::all()));
        let mut edits = now.edits(below).unwrap();
        let mut found = Vec::new();
        while let Some(edit) = edits.next().unwrap() {
            found.push(edit);
        }
        found
    };
    assert_eq!(all(None), model.below(&Prefix::all()), "{context}");
    let below = random_prefix(random);
    assert_eq!(all(Some(&below)), model.below(&below), "{context}: below {below:?}");
    let keys: BTreeSet<_> = (0..20).map(|_| MapKey::from(random_key(random))).collect();
    let now = staged.below(&Prefix::all());
    let mut in_order = now.edits(None).unwrap();
    for key in keys {
        assert_eq!(staged.lookup(&key).unwrap(), model.lookup(&key), "{context}: {key}");
        assert_eq!(in_order.look(&key).unwrap(), model.lookup(&key), "{context}: {key}, asked in order");
    }
    for prefix in now.deleted() {
        assert!(model.deleted.contains(prefix), "{context}: {prefix:?}");
    }
}

/// What the entries in the map, and the runs, take in memory.
fn held(staged: &SharedStaged) -> (usize, usize) {
    let staged = staged.lock();
    (staged.weight, staged.held)
}

#[tokio::test]
async fn staged_changes_are_the_same_wherever_they_lie() {
    let (mut spilled, mut merged, mut most) = (0, 0, 0);
    for seed in 0..200 {
        let mut random = SmallRng::seed_from_u64(seed);
        let limit = [0, 300, 1500, 10_000][random.random_range(0..4)];
        let (mut staged, mut model) = (staged(limit), Model::default());
        for step in 0..random.random_range(1..120) {
            match random.random_range(0..20) {
                0..=9 => {
                    let (key, entry) = (random_key(&mut random), random_entry(&mut random));
                    staged.put(key.clone().into(), Some(entry.clone())).await.unwrap();
                    model.entries.insert(key.into(), Some(entry));
                }
                10..=13 => {
                    let key = random_key(&mut random);
                    staged.put(key.clone().into(), None).await.unwrap();
                    model.entries.insert(key.into(), None);
                }
                14 | 15 => {
                    let prefix = random_prefix(&mut random);
                    staged.get_mut().delete_prefix(&prefix);
                    model.delete_prefix(&prefix);
                }
                _ => stage_run(&mut random, &mut staged, &mut model).await,
            }
            let (weight, held) = held(&staged);
            assert!(weight + held <= limit + 7000, "bounded: {weight} {held}");
            if step % 7 == 0 {
                compare(&mut random, &staged, &model, &format!("seed {seed}, step {step}, limit {limit}"));
            }
        }
        staged.settle().await;
        let (weight, held) = held(&staged);
        assert!(weight + held <= limit / 2 + 1000, "bounded: {weight} {held}");
        compare(&mut random, &staged, &model, &format!("seed {seed}, limit {limit}, at the end"));
        let staged = staged.get_mut();
        spilled += usize::from(staged.scratch.is_some());
        merged += usize::from(staged.layers.runs.iter().any(|run| run.level > 0));
        most = most.max(staged.layers.runs.len());
    }
    assert!(spilled > 30 && merged > 30 && most > FAN_IN && most < 3 * FAN_IN, "{spilled} {merged} {most}");
}

#[tokio::test]
async fn runs_in_order_are_one_run_that_lies_on_disk_in_blocks() {
    let mut staged = staged(100_000);
    let file = |n: u64| usize::try_from(n / 1000).unwrap();
    let entry = |n: u64| Stored::Virtual { file: file(n), offset: n * 7, length: 7 };
    for part in 0..20_u64 {
        let names: Vec<_> = (0..100).map(|n| FileKey::new("files", [n.to_string().as_str()]).unwrap()).collect();
        let keys: Vec<_> = (part * 5000..(part + 1) * 5000).map(|n| (n, format!("air/c/{}/{}", n / 100, n % 100))).collect();
        let refs: Vec<_> = keys.iter().map(|(n, key)| (key.as_str(), &names[file(*n)], n * 7, 7)).collect();
        let mut bulk = Bulk::begin(staged.get_mut());
        for refs in refs.chunks(1900) {
            let piece = piece(staged.get_mut(), refs);
            bulk = bulk.take(piece).await.unwrap();
        }
        bulk.finish(staged.get_mut());
    }
    staged.settle().await;
    let staged = staged.get_mut();
    assert_eq!(staged.layers.runs.len(), 1);
    assert!(staged.held <= 25_000, "a hundred thousand references take more than the limit: {}", staged.held);
    let run = &staged.layers.runs[0];
    for n in [0, 1, 99, 100, 4999, 5000, 77_777, 99_999] {
        assert_eq!(run.find(&format!("air/c/{}/{}", n / 100, n % 100)).unwrap(), Some(entry(n)), "{n}");
    }
    for absent in ["", "air/c", "air/c/12/100", "air/c/999/100", "zarr.json"] {
        assert_eq!(run.find(absent).unwrap(), None, "{absent}");
    }
    let mut cursor = run.cursor();
    let mut count = 0;
    while cursor.advance().unwrap() {
        assert_eq!(cursor.value, entry(count));
        count += 1;
    }
    assert_eq!(count, 100_000);
}

#[tokio::test]
async fn without_scratch_space_nothing_is_lost_and_nothing_is_added() {
    let place = tempfile::tempdir().unwrap();
    let absent = place.path().join("absent");
    let staged = SharedStaged::new(Staged::new(2000, absent.clone()));
    let entry = Entry::Inline(Bytes::from_static(b"12345678901234567890"));
    let name = |n: u32| key(&format!("k/{n}"));
    let mut count = 0;
    let error = loop {
        match staged.put(name(count).into(), Some(entry.clone())).await {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(absent.to_str().unwrap()), "{error}");
    assert!(count > 10, "{count}");
    assert_eq!(staged.put(name(count).into(), Some(entry.clone())).await.unwrap_err().kind(), ErrorKind::Unavailable, "still");
    assert_eq!(staged.lookup(name(count).as_map_key()).unwrap(), Lookup::Untouched);
    for n in 0..count {
        assert_eq!(staged.lookup(name(n).as_map_key()).unwrap(), Lookup::Set(entry.clone()), "{n}");
    }
    std::fs::create_dir(&absent).unwrap();
    staged.put(name(count).into(), Some(entry.clone())).await.unwrap();
    for n in 0..=count {
        assert_eq!(staged.lookup(name(n).as_map_key()).unwrap(), Lookup::Set(entry.clone()), "{n}");
    }
}

/// The one thread that may block is busy: work that a session makes must wait for it, and must not be done on the executor's thread
/// instead.
async fn without_blocking_threads<T>(pending: impl AsyncFnOnce() -> T) -> T {
    let (release, busy) = std::sync::mpsc::channel::<()>();
    let holds = tokio::task::spawn_blocking(move || busy.recv().is_err());
    let result = pending().await;
    drop(release);
    assert!(holds.await.unwrap());
    result
}

fn one_blocking_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap()
}

/// Spills and merges were done inside of `set`: one call held the only thread of its runtime for 667 ms.
#[test]
fn changes_are_moved_beside_the_executor_and_a_call_that_is_dropped_meanwhile_loses_none() {
    one_blocking_thread().block_on(async {
        let staged = staged(20_000);
        let entry = Entry::Inline(Bytes::from_static(b"12345678901234567890"));
        let name = |n: u32| key(&format!("k/{n}"));
        let count = without_blocking_threads(async || {
            let mut count = 0;
            while staged.put(name(count).into(), Some(entry.clone())).now_or_never().is_some_and(|done| done.is_ok()) {
                count += 1;
            }
            assert!((80..120).contains(&count), "{count} entries of about 200 bytes fill the memory");
            assert!(staged.put(name(count).into(), Some(entry.clone())).now_or_never().is_none(), "it waits for work");
            count
        })
        .await;
        staged.put(name(count).into(), Some(entry.clone())).await.unwrap();
        staged.settle().await;
        for n in 0..=count {
            assert_eq!(staged.lookup(name(n).as_map_key()).unwrap(), Lookup::Set(entry.clone()), "{n}");
        }
    });
}

/// Work that was begun on a runtime that ends is begun again.
#[test]
fn changes_are_moved_whatever_runtime_a_call_is_made_on() {
    let staged = staged(10_000);
    let entry = Entry::Inline(Bytes::from_static(b"12345678901234567890"));
    let name = |n: u32| key(&format!("k/{n}"));
    for n in 0..500 {
        let runtime = one_blocking_thread();
        runtime.block_on(staged.put(name(n).into(), Some(entry.clone()))).unwrap();
        runtime.shutdown_background();
    }
    for n in 0..500 {
        assert_eq!(staged.lookup(name(n).as_map_key()).unwrap(), Lookup::Set(entry.clone()), "{n}");
    }
}

/// A call that rewrites what it has read wrote over what another call had staged there meanwhile.
#[tokio::test]
async fn a_change_that_must_be_alone_is_not_staged_beside_another() {
    let staged = SharedStaged::new(Staged::new(1 << 20, std::env::temp_dir()));
    let entry = |byte: u8| Some(Entry::Inline(vec![byte].into()));
    let watch = staged.lock().watch(vec![KeyOrPrefix::Prefix(Prefix::all())]);
    for n in 0..3 {
        assert!(staged.put_alone(&watch, key(&format!("a/{n}")).into(), entry(1)).await.unwrap());
    }
    staged.put(key("a/7").into(), entry(2)).await.unwrap();
    assert!(!staged.put_alone(&watch, key("a/7").into(), entry(1)).await.unwrap());
    assert_eq!(staged.lookup(key("a/7").as_map_key()).unwrap(), Lookup::Set(entry(2).unwrap()));
}
