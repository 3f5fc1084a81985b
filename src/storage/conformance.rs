//! Everything the engine relies on. A store that passes can hold a repository.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::future::join_all;

use super::{Expected, Extent, ObjectMeta, ObjectName, RegisterName, RemovalPermit, Replaced, Storage, Version};
use crate::error::{ErrorKind, Result};
use crate::id::{ChunkForm, ChunkId, HashAlgorithm};

/// Tasks that compete for one register.
const TASKS: u64 = 8;
/// Times that each of them must win.
const TURNS: u64 = 10;

/// Runs every check on `storage`, which must be empty and may be thrown away afterwards. Needs a tokio runtime; with
/// several threads the checks of concurrency have more to find. Dropping the future leaves objects and registers in the store.
///
/// # Panics
/// When the store breaks a promise of [`Storage`], saying which.
pub async fn all(storage: Arc<dyn Storage>) {
    let store = &*storage;
    absence_is_no_error(store).await;
    objects_come_back(store).await;
    ranges_are_exact(store).await;
    parts_are_joined(store).await;
    writing_again_is_harmless(store).await;
    many_are_as_one(store).await;
    pieces_become_an_object(store).await;
    listings_are_complete(store).await;
    what_is_removed_is_gone(store).await;
    creation_is_exclusive(store).await;
    a_refused_replace_changes_nothing(store).await;
    replaces_form_a_chain(store).await;
    creators_have_one_winner(&storage).await;
    increments_are_not_lost(&storage).await;
    objects_are_never_half_visible(&storage).await;
    barriers_and_puts_may_overlap(&storage).await;
}

/// The name of an object with this content.
fn name_of(bytes: &[u8]) -> ObjectName {
    ObjectName::chunk(&ChunkId::new(ChunkForm::Raw, HashAlgorithm::Sha2_256.digest(bytes)))
}

/// Bytes that differ from offset to offset and from seed to seed.
fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()
    };
    std::iter::repeat_with(|| next().into_iter().take(4)).flatten().take(length).collect()
}

/// Objects that go and come together, one of them absent.
async fn many_are_as_one(store: &dyn Storage) {
    let objects: Vec<_> = (100..140).map(|n| noise(n, usize::try_from(n).expect("small") * 7)).collect();
    let sent: Vec<_> = objects.iter().map(|bytes| (name_of(bytes), vec![bytes.slice(..10), bytes.slice(10..)])).collect();
    let answers = store.put_many(&sent).await;
    assert_eq!(answers.len(), sent.len(), "an answer for each object");
    assert!(answers.iter().all(Result::is_ok), "put_many must succeed");
    let mut wanted: Vec<_> = sent.into_iter().map(|(name, _)| (name, 1_000)).collect();
    wanted.insert(7, (name_of(&noise(141, 30)), 1_000));
    let found = store.get_many(&wanted).await;
    let found: Vec<_> = found.into_iter().map(|one| one.expect("get_many must succeed")).collect();
    let mut expected: Vec<_> = objects.into_iter().map(Some).collect();
    expected.insert(7, None);
    assert!(found == expected, "objects come back in the order of their names, what is absent as None");
    for (n, (_, at_most)) in wanted.iter_mut().enumerate() {
        *at_most = if n == 20 { 10 } else { 1_000 };
    }
    let found = store.get_many(&wanted).await;
    let too_long: Vec<_> = (0..found.len()).filter(|n| matches!(found.get(*n), Some(Err(_)))).collect();
    assert_eq!(too_long, [20], "an object that is longer than it may be fails alone");
}

/// Objects that are written piece by piece, where the store can.
async fn pieces_become_an_object(store: &dyn Storage) {
    let bytes = noise(150, 3 << 20);
    let name = name_of(&bytes);
    for given_up in [true, false, false] {
        let Some(mut writer) = store.writer() else { return };
        for piece in bytes.chunks(1 << 20) {
            writer.write(Bytes::copy_from_slice(piece)).await.expect("a piece must be taken");
        }
        let read = writer.read(1_000_000..1_100_000).await.expect("what is written can be read back");
        assert!(read == bytes.slice(1_000_000..1_100_000), "pieces are read back as they were written");
        assert!(writer.read((3 << 20) - 1..(3 << 20) + 1).await.is_err(), "what is not written cannot be read");
        if given_up {
            drop(writer);
            assert_eq!(store.get(&name, Extent::ANY_LENGTH).await.expect("get must succeed"), None, "what is given up is not there");
        } else {
            writer.finish(&name).await.expect("an object must get its name, also again");
            assert!(
                store.get(&name, Extent::ANY_LENGTH).await.expect("get must succeed").as_ref() == Some(&bytes),
                "pieces are joined in order"
            );
        }
    }
    let empty = name_of(&Bytes::new());
    let Some(writer) = store.writer() else { return };
    writer.finish(&empty).await.expect("an object without bytes is one too");
    assert_eq!(store.get(&empty, Extent::ANY_LENGTH).await.expect("get must succeed"), Some(Bytes::new()));
}

async fn put(store: &dyn Storage, bytes: &Bytes) -> ObjectName {
    let name = name_of(bytes);
    store.put(&name, std::slice::from_ref(bytes)).await.expect("put must succeed");
    name
}

async fn get(store: &dyn Storage, name: &ObjectName) -> Option<Bytes> {
    store.get(name, Extent::ANY_LENGTH).await.expect("get must succeed")
}

async fn value(store: &dyn Storage, name: &RegisterName) -> Option<Bytes> {
    store.load(name).await.expect("load must succeed").map(|found| found.value)
}

#[expect(clippy::panic, reason = "a check that fails must stop")]
async fn replace(store: &dyn Storage, name: &RegisterName, expected: &Expected, value: &str) -> Option<Version> {
    match store.replace(name, expected, Bytes::copy_from_slice(value.as_bytes())).await {
        Replaced::Done(version) => Some(version),
        Replaced::Refused => None,
        other => panic!("a replace must be done or refused, not {other:?}"),
    }
}

async fn list(store: &dyn Storage, prefix: &str) -> BTreeMap<String, ObjectMeta> {
    let found: Vec<_> = store.list(prefix).try_collect().await.expect("a listing must succeed");
    let count = found.len();
    let by_name: BTreeMap<_, _> = found.into_iter().map(|meta| (meta.name.clone(), meta)).collect();
    assert_eq!(by_name.len(), count, "a listing of {prefix:?} must give every name once");
    by_name
}

async fn absence_is_no_error(store: &dyn Storage) {
    let absent = name_of(b"never written");
    assert_eq!(get(store, &absent).await, None, "an object that does not exist is None");
    assert_eq!(store.get(&absent, Extent::Range(3..9)).await.expect("absence is no error"), None, "so is a part of it");
    assert_eq!(value(store, &RegisterName::branch("never-written")).await, None, "a register that does not exist is None");
    assert!(list(store, "chunks/").await.is_empty(), "an empty store lists nothing");
    store.barrier().await.expect("a barrier with nothing to do must succeed");
}

async fn objects_come_back(store: &dyn Storage) {
    for (seed, length) in [0, 1, 4095, 4096, 70_000, 9 << 20].into_iter().enumerate() {
        let bytes = noise(seed as u64, length);
        let name = put(store, &bytes).await;
        assert!(get(store, &name).await == Some(bytes.clone()), "{name} of {length} bytes must come back before the barrier");
        store.barrier().await.expect("a barrier must succeed");
        assert!(get(store, &name).await == Some(bytes), "{name} of {length} bytes must come back after the barrier");
    }
}

async fn ranges_are_exact(store: &dyn Storage) {
    let bytes = noise(100, 10_000);
    let name = put(store, &bytes).await;
    for range in [0..10_000_usize, 0..1, 17..4211, 9_999..10_000, 0..0, 5..5, 10_000..10_000] {
        let asked = range.start as u64..range.end as u64;
        let got = store.get(&name, Extent::Range(asked)).await.expect("a range inside the object must succeed");
        assert_eq!(got, Some(bytes.slice(range.clone())), "the range {range:?} must give exactly those bytes");
    }
    for range in [0..10_001, 10_000..10_001, 20_000..20_001, 9_999..u64::MAX] {
        let kind = store.get(&name, Extent::Range(range.clone())).await.err().map(|e| e.kind());
        assert_eq!(kind, Some(ErrorKind::Corrupt), "the range {range:?} of 10000 bytes must be Corrupt");
    }
    let whole = store.get(&name, Extent::Whole { at_most: 10_000 }).await;
    assert_eq!(whole.expect("an object that has as many bytes as it may have must come"), Some(bytes));
    let longer = store.get(&name, Extent::Whole { at_most: 9_999 }).await.err().map(|e| e.kind());
    assert_eq!(longer, Some(ErrorKind::Corrupt), "an object that has more bytes than it may have must be Corrupt");
    let empty = put(store, &Bytes::new()).await;
    assert_eq!(store.get(&empty, Extent::Range(0..0)).await.expect("an empty range is inside"), Some(Bytes::new()));
    assert!(store.get(&empty, Extent::Range(0..1)).await.is_err(), "an empty object has no first byte");
}

async fn parts_are_joined(store: &dyn Storage) {
    let whole = noise(200, 300_000);
    let mut parts: Vec<_> = (0..3000).map(|n| whole.slice(n * 100..(n + 1) * 100)).collect();
    parts.insert(7, Bytes::new());
    let name = name_of(&whole);
    store.put(&name, &parts).await.expect("an object in many parts must be taken");
    assert!(get(store, &name).await == Some(whole), "the content is the parts end to end");
    let nothing = ObjectName::chunk(&ChunkId::new(ChunkForm::UnixFs, HashAlgorithm::Sha2_256.digest(b"")));
    store.put(&nothing, &[]).await.expect("an object of no parts must be taken");
    assert_eq!(get(store, &nothing).await, Some(Bytes::new()), "no parts are an empty object");
}

async fn writing_again_is_harmless(store: &dyn Storage) {
    let bytes = noise(300, 50_000);
    let name = put(store, &bytes).await;
    store.barrier().await.expect("a barrier must succeed");
    for parts in [vec![bytes.clone()], vec![bytes.slice(..1), bytes.slice(1..)]] {
        store.put(&name, &parts).await.expect("an object may be written again");
        assert!(get(store, &name).await == Some(bytes.clone()), "writing again changes nothing");
    }
    // A torn object is what a crash leaves: writing it again mends it, whatever its length.
    for (seed, torn) in [bytes.slice(..49_999), Bytes::new(), noise(301, 50_000), noise(302, 60_000)].into_iter().enumerate() {
        let whole = noise(310 + seed as u64, 50_000);
        let name = name_of(&whole);
        store.put(&name, &[torn]).await.expect("a store does not know what a name promises");
        put(store, &whole).await;
        assert!(get(store, &name).await == Some(whole), "the last content that was put is there");
    }
    store.barrier().await.expect("a barrier must succeed");
}

async fn listings_are_complete(store: &dyn Storage) {
    let contents: Vec<_> = (0..300).map(|n| noise(1000 + n, 10 + usize::try_from(n).expect("a small number"))).collect();
    let names = join_all(contents.iter().map(|bytes| put(store, bytes))).await;
    let found = list(store, "chunks/").await;
    for (name, bytes) in names.iter().zip(&contents) {
        let meta = found.get(name.as_str()).unwrap_or_else(|| unlisted(name.as_str()));
        assert_eq!(meta.size, bytes.len() as u64, "a listing tells the length of {name}");
        assert!(meta.modified.micros() > 0, "a listing tells when {name} was written");
    }
    assert!(found.keys().all(|name| name.starts_with("chunks/")), "a listing gives only what begins with the prefix");
    let first = names.first().expect("300 names").as_str();
    for cut in [7, 8, 9, 10, 30, first.len()] {
        let prefix = first.get(..cut).expect("names are ASCII and longer than this");
        let expected: Vec<_> = found.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        assert_eq!(list(store, prefix).await.into_keys().collect::<Vec<_>>(), expected, "the listing of {prefix:?}");
    }
    assert!(list(store, "chunk/").await.is_empty(), "a prefix that nothing has lists nothing");
    let deep = RegisterName::branch("conformance/a/b/c/d");
    assert!(replace(store, &deep, &Expected::Absent, "deep").await.is_some(), "{deep} must be created");
    for prefix in ["refs/branches/", "refs/branches/conf", "refs/branches/conformance/a/b/", "refs/", "refs"] {
        let listed = list(store, prefix).await;
        assert_eq!(
            listed.keys().collect::<Vec<_>>(),
            [deep.as_str()],
            "the listing of {prefix:?} gives registers at any depth, and nothing else"
        );
    }
    let everything = list(store, "").await;
    assert!(everything.contains_key(deep.as_str()) && everything.contains_key(first), "the empty prefix lists everything");
}

/// Removals have an answer each, absence is no error, and what was removed can be put again.
async fn what_is_removed_is_gone(store: &dyn Storage) {
    let kept = put(store, &noise(2000, 100)).await;
    let contents: Vec<_> = (2001..2041).map(|n| noise(n, 100)).collect();
    let mut doomed = join_all(contents.iter().map(|bytes| put(store, bytes))).await;
    store.barrier().await.expect("a barrier must succeed");
    let _collecting = store.collecting().await.expect("a collection must begin");
    let ended = store.delete_many(&doomed, &RemovalPermit::while_true(|| false)).await;
    assert!(ended.iter().all(Result::is_err) && ended.len() == doomed.len(), "nothing is removed when the permit has ended");
    for name in &doomed {
        assert!(get(store, name).await.is_some(), "nothing is removed when the permit has ended");
    }
    doomed.insert(7, name_of(b"never written"));
    for times in ["once", "again"] {
        let answers = store.delete_many(&doomed, &RemovalPermit::endless()).await;
        assert_eq!(answers.len(), doomed.len(), "an answer for each removal");
        assert!(answers.iter().all(Result::is_ok), "what exists and what does not must be removed {times}");
    }
    assert!(store.delete_many(&[], &RemovalPermit::endless()).await.is_empty(), "nothing to remove is no error");
    let listed = list(store, "chunks/").await;
    for name in &doomed {
        assert_eq!(get(store, name).await, None, "{name} was removed");
        assert!(!listed.contains_key(name.as_str()), "{name} was removed, so no listing gives it");
    }
    assert!(get(store, &kept).await.is_some(), "what was not named stays");
    for bytes in &contents {
        let name = put(store, bytes).await;
        store.barrier().await.expect("a barrier must succeed");
        assert!(get(store, &name).await.as_ref() == Some(bytes), "what was removed can be put again");
    }
}

#[expect(clippy::panic, reason = "a check that fails must stop")]
fn unlisted(name: &str) -> ! {
    panic!("{name} was put, so a listing must give it")
}

async fn creation_is_exclusive(store: &dyn Storage) {
    let name = RegisterName::branch("created-once");
    let version = replace(store, &name, &Expected::Absent, "first").await.expect("the first create must win");
    assert_eq!(replace(store, &name, &Expected::Absent, "second").await, None, "a second create must be refused");
    let found = store.load(&name).await.expect("load must succeed").expect("it was created");
    assert_eq!((&*found.value, &found.version), (&b"first"[..], &version), "the loser must not overwrite");
    let absent = RegisterName::tag("never-created");
    assert_eq!(replace(store, &absent, &Expected::Is(version), "x").await, None, "what does not exist has no version");
    assert_eq!(value(store, &absent).await, None, "a refused replace creates nothing");
}

async fn a_refused_replace_changes_nothing(store: &dyn Storage) {
    let name = RegisterName::tag("refused");
    let one = replace(store, &name, &Expected::Absent, "seq 1").await.expect("created");
    let two = replace(store, &name, &Expected::Is(one.clone()), "seq 2").await.expect("the version was the present one");
    assert_ne!(one, two, "every replace makes another version");
    assert_eq!(replace(store, &name, &Expected::Is(one), "seq 3").await, None, "an old version must be refused");
    assert_eq!(value(store, &name).await.as_deref(), Some(&b"seq 2"[..]), "a refused replace leaves the value");
    assert!(replace(store, &name, &Expected::Is(two), "seq 4").await.is_some(), "the present version still counts");
}

async fn replaces_form_a_chain(store: &dyn Storage) {
    let name = RegisterName::gc_state();
    let mut expected = Expected::Absent;
    for n in 0..20 {
        let text = format!("{n} {}", "x".repeat(n * 97 % 400));
        let version = replace(store, &name, &expected, &text).await.expect("each version follows from the last");
        let found = store.load(&name).await.expect("load must succeed").expect("it exists");
        assert_eq!(found.value, text, "a register may grow and shrink");
        assert_eq!(found.version, version, "load and replace give the same version");
        expected = Expected::Is(version);
    }
}

async fn creators_have_one_winner(storage: &Arc<dyn Storage>) {
    let tasks = (0..TASKS).map(|task| {
        let store = Arc::clone(storage);
        tokio::spawn(async move { replace(&*store, &RegisterName::repo(), &Expected::Absent, &format!("task {task}")).await.map(|_| task) })
    });
    let answers = join_all(tasks).await;
    let winners: Vec<_> = answers.into_iter().filter_map(|answer| answer.expect("no task may panic")).collect();
    assert_eq!(winners.len(), 1, "of {TASKS} creators exactly one must win");
    let stored = value(&**storage, &RegisterName::repo()).await.expect("it was created");
    assert!(winners.iter().all(|winner| stored == format!("task {winner}")), "what is stored must be the winner's");
}

async fn increments_are_not_lost(storage: &Arc<dyn Storage>) {
    let name = RegisterName::branch("counter");
    assert!(replace(&**storage, &name, &Expected::Absent, "begun").await.is_some(), "the register is new");
    let tasks = (0..TASKS).map(|task| {
        let store = Arc::clone(storage);
        tokio::spawn(async move { append(&*store, &RegisterName::branch("counter"), &task.to_string(), TURNS).await })
    });
    for task in join_all(tasks).await {
        task.expect("no task may panic").expect("no request may fail for good");
    }
    let total = value(&**storage, &name).await.expect("it was created");
    let mut words: Vec<_> = std::str::from_utf8(&total).expect("words are text").split(' ').collect();
    let count = words.len() as u64;
    words.sort_unstable();
    words.dedup();
    assert_eq!(
        (count, words.len() as u64),
        (TASKS * TURNS + 1, count),
        "of {TASKS} times {TURNS} words none may be lost, and none doubled"
    );
}

/// Adds so many words to a register, trying again whenever another writer was faster. A replace that may or may not have
/// happened is looked for among the words: some stores answer so to writers that meet.
pub(super) async fn append(store: &dyn Storage, name: &RegisterName, who: &str, times: u64) -> Result<()> {
    for turn in 0..times {
        let word = format!("{who}-{turn}");
        let mut failures = 0..100;
        loop {
            let found = store.load(name).await?.expect("the register exists");
            let text = std::str::from_utf8(&found.value).expect("words are text");
            if text.split(' ').any(|there| there == word) {
                break;
            }
            let next = format!("{text} {word}");
            match store.replace(name, &Expected::Is(found.version), next.into()).await {
                Replaced::Done(_) => break,
                Replaced::Refused => {}
                Replaced::Rejected(e) | Replaced::Unanswered(e) | Replaced::NotSent(e) if e.is_retryable() && failures.next().is_some() => {
                }
                Replaced::Rejected(e) | Replaced::Unanswered(e) | Replaced::NotSent(e) => return Err(e),
            }
        }
    }
    Ok(())
}

async fn objects_are_never_half_visible(storage: &Arc<dyn Storage>) {
    for seed in 0..6 {
        let whole = noise(5000 + seed, 3 << 20);
        let name = name_of(&whole);
        let reader = tokio::spawn({
            let (store, name, whole) = (Arc::clone(storage), name.clone(), whole.clone());
            async move {
                loop {
                    for meta in list(&*store, name.as_str()).await.into_values() {
                        assert_eq!(meta.size, whole.len() as u64, "a listing must show {name} whole or not at all");
                    }
                    if let Some(found) = get(&*store, &name).await {
                        assert!(found == whole, "a reader must see all of {name} or nothing");
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            }
        });
        let parts: Vec<_> = (0..48).map(|n| whole.slice(n << 16..(n + 1) << 16)).collect();
        // Two writers of the same object, while it is read.
        let puts = join_all([storage.put(&name, &parts), storage.put(&name, &parts)]).await;
        assert!(puts.iter().all(Result::is_ok), "writers of the same object do not disturb each other");
        reader.await.expect("the reader must not panic");
    }
}

async fn barriers_and_puts_may_overlap(storage: &Arc<dyn Storage>) {
    let tasks = (0..TASKS).map(|task| {
        let store = Arc::clone(storage);
        tokio::spawn(async move {
            for n in 0..8 {
                let bytes = noise(9000 + task * 100 + n, 500);
                let name = put(&*store, &bytes).await;
                store.barrier().await.expect("barriers may overlap");
                assert!(get(&*store, &name).await == Some(bytes), "{name} must be there after its barrier");
            }
        })
    });
    assert!(join_all(tasks).await.iter().all(Result::is_ok), "no task may panic");
}
