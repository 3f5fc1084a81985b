//! Lists of changed keys: their bytes, and what is none.

use bytes::Bytes;

use super::golden::frozen;
use super::hostile::{attack, inner, reseal, seal};
use super::samples::{self, HASH, chunk, file};
use crate::ErrorKind;
use crate::dagcbor::Writer;
use crate::format::envelope::Kind;
use crate::format::{ChangeList, ChangedEntry, Entry, Leaf, Node, limits};
use crate::id::{ChunkForm, HashAlgorithm, NodeId};
use crate::key::MapKey;

fn change(key: &str, old: impl Into<Option<Entry>>, new: impl Into<Option<Entry>>) -> ChangedEntry {
    ChangedEntry { key: MapKey::new(key), old: old.into(), new: new.into() }
}

fn inline(text: &str) -> Entry {
    Entry::Inline(Bytes::copy_from_slice(text.as_bytes()))
}

fn stored(seed: &str, size: u64) -> Entry {
    Entry::Chunk { id: chunk(ChunkForm::Raw, seed), size }
}

fn range(name: &str, offset: u64) -> Entry {
    Entry::Virtual { file: file(name), offset, length: 7 }
}

fn root(seed: &str) -> NodeId {
    NodeId::of(HASH, seed.as_bytes())
}

fn list(changes: Vec<ChangedEntry>) -> ChangeList {
    ChangeList { manifests: [root("m0"), root("m1")], files: [root("f0"), root("f1")], is_repinned: false, changes }
}

fn sample() -> ChangeList {
    let changes = vec![
        change(".zattrs", inline("{}"), inline("{\"a\": 1}")),
        change("air/c/0/9", stored("one", 5000), stored("two", 5000)),
        change("air/c/0/10", None, stored("three", 6000)),
        change("air/c/1/0", inline("small"), None),
        change("sst/c/0", range("a.nc", 0), range("b.nc", 7)),
        change("sst/c/1", range("a.nc", 7), stored("four", 1 << 20)),
    ];
    ChangeList { is_repinned: true, ..list(changes) }
}

#[test]
fn lists_have_not_moved() {
    let list = sample();
    let stored = frozen("change-list.at-rest-2.hex", &list.encode().unwrap());
    assert_eq!(ChangeList::decode(&stored, HASH).unwrap(), list);
    assert_eq!(list.encode().unwrap(), stored);
    // The envelope, and what lies beside the frame.
    assert_eq!(stored.get(..12).unwrap(), b"\x89FRN\r\n\x1a\n\x05\x02\0\0");
    let roots: Vec<u8> = ["m0", "m1", "f0", "f1"].iter().flat_map(|seed| *root(seed).digest().as_bytes()).collect();
    assert_eq!(stored.get(32..160).unwrap(), roots);
}

#[test]
fn what_is_too_much_or_nothing_is_no_list() {
    assert_eq!(list(Vec::new()).encode(), None);
    let many = |count: usize| list((0..count).map(|n| change(&format!("a/{n:05}"), None, inline("x"))).collect());
    let whole = many(limits::CHANGES_ROWS);
    let stored = whole.encode().unwrap();
    assert!(stored.len() < 32 << 10, "{}", stored.len());
    assert_eq!(ChangeList::decode(&stored, HASH).unwrap(), whole);
    assert_eq!(many(limits::CHANGES_ROWS + 1).encode(), None);
    // Digests do not compress: so many lie within the most keys, and beyond the most bytes.
    let noise = |n: usize| change(&format!("a/{n:05}"), self::stored(&format!("{n}"), 5000), self::stored(&format!("new {n}"), 5000));
    let fits = list((0..3000).map(noise).collect());
    assert!(fits.encode().is_some_and(|bytes| bytes.len() <= limits::CHANGES));
    assert_eq!(list((0..4096).map(noise).collect()).encode(), None);
}

fn refused(bytes: &[u8], kind: ErrorKind, why: &str) {
    let error = ChangeList::decode(bytes, HASH).expect_err(why);
    assert!(error.kind() == kind && error.to_string().contains(why), "{why}: {error}");
    assert!(!error.to_string().contains('\n'), "{error}");
}

fn frame(repinned: u64, old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.array(3);
    out.uint(repinned);
    out.bytes(old);
    out.bytes(new);
    out.finish()
}

fn leaf(entries: &[(&str, Entry)]) -> Vec<u8> {
    let entries = entries.iter().map(|(key, entry)| (MapKey::new(*key), entry.clone()));
    Node::Leaf(Leaf { entries: entries.collect() }).canonical()
}

#[test]
fn nonsense_is_refused() {
    let roots: Vec<u8> = ["m0", "m1", "f0", "f1"].iter().flat_map(|seed| *root(seed).digest().as_bytes()).collect();
    let with = |body: &[u8]| seal(5, &roots, body);
    let (none, one, other) = (leaf(&[]), leaf(&[("a", inline("1"))]), leaf(&[("a", inline("2"))]));
    assert!(ChangeList::decode(&with(&frame(0, &one, &other)), HASH).is_ok());
    refused(&with(&frame(0, &none, &none)), ErrorKind::Corrupt, "names no key");
    refused(&with(&frame(0, &one, &one)), ErrorKind::Corrupt, "has not changed");
    refused(&with(&frame(2, &one, &other)), ErrorKind::Corrupt, "0 and 1 are known");
    refused(&with(&[&frame(0, &one, &other)[..], b"\0"].concat()), ErrorKind::Corrupt, "follow the value");
    refused(&with(&frame(0, &samples::branch::<Entry>().canonical(), &none)), ErrorKind::Corrupt, "a branch, not a leaf");
    let unsorted = leaf(&[("b", inline("1")), ("a", inline("1"))]);
    refused(&with(&frame(0, &none, &unsorted)), ErrorKind::Corrupt, "its new entries");
    let long = leaf(&[("a", Entry::Inline(vec![0; 2000].into()))]);
    refused(&with(&frame(0, &long, &none)), ErrorKind::Corrupt, "its old entries");
    let foreign = Entry::Chunk { id: crate::id::ChunkId::new(ChunkForm::Raw, HashAlgorithm::Blake3.digest(b"x")), size: 5000 };
    refused(&with(&frame(0, &leaf(&[("a", foreign)]), &none)), ErrorKind::Unsupported, "blake3");
    // Each side is short enough, both together are not.
    let names: Vec<String> = (0..limits::CHANGES_ROWS + 2).map(|n| format!("{n:05}")).collect();
    let half = |odd: usize| names.iter().skip(odd).step_by(2).map(|name| (name.as_str(), inline("1"))).collect::<Vec<_>>();
    refused(&with(&frame(0, &leaf(&half(0)), &leaf(&half(1)))), ErrorKind::Corrupt, "at most 4096");
    let all: Vec<_> = names.iter().map(|name| (name.as_str(), inline("1"))).collect();
    refused(&with(&frame(0, &leaf(&all), &none)), ErrorKind::Corrupt, "at most 4096");

    let body = frame(0, &one, &other);
    refused(&seal(5, roots.get(..96).unwrap(), &body), ErrorKind::Corrupt, "four digests");
    refused(&seal(5, roots.get(..97).unwrap(), &body), ErrorKind::Corrupt, "not whole digests");
    refused(&seal(5, &[&roots[..], &roots[..32]].concat(), &body), ErrorKind::Corrupt, "beyond the limits");
    let same: Vec<u8> = [&roots[..32], &roots[..32], &roots[64..]].concat();
    refused(&seal(5, &same, &body), ErrorKind::Corrupt, "to the same one");
    let idle: Vec<u8> = [&roots[..96], &roots[64..96]].concat();
    refused(&seal(5, &idle, &frame(1, &one, &other)), ErrorKind::Corrupt, "has not changed");
    refused(&seal(2, &roots, &body), ErrorKind::Corrupt, "it is a manifest node, not a list of changed keys");
    refused(&vec![0; limits::CHANGES + 1], ErrorKind::Corrupt, "at most 262144");
    let whole = sample().encode().unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        assert!(ChangeList::decode(&damaged, HASH).is_err(), "byte {at}");
        assert!(ChangeList::decode(&whole[..at], HASH).is_err(), "cut at {at}");
    }
}

#[test]
fn hostile_lists() {
    let small = list(vec![change("a", inline("1"), inline("2"))]);
    let stored: Vec<_> = [sample(), small].iter().map(|list| list.encode().unwrap()).collect();
    let take = |bytes: &[u8]| {
        ChangeList::decode(bytes, HASH).is_ok_and(|list| {
            let again = list.encode().expect("what was read can be written");
            assert_eq!(ChangeList::decode(&again, HASH).unwrap(), list);
            true
        })
    };
    attack("list of changed keys", &stored, |b| b, take);
    let inner: Vec<_> = stored.iter().map(|bytes| inner(Kind::Changes, bytes)).collect();
    attack("content of a list of changed keys", &inner, |bytes| reseal(5, &bytes), take);
}
