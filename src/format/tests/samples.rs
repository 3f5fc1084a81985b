//! Values that the tests of the formats share: small, fixed, and with every feature in them.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::format::{Branch, Commit, Container, Entry, FileKey, HistoryEntry, Leaf, Node, NodeChild, VirtualFile};
use crate::id::{ChunkForm, ChunkId, HashAlgorithm, NodeId, SnapshotId};
use crate::key::MapKey;
use crate::time::Timestamp;

pub(super) const HASH: HashAlgorithm = HashAlgorithm::Sha2_256;

pub(super) fn chunk(form: ChunkForm, seed: &str) -> ChunkId {
    ChunkId::new(form, HASH.digest(seed.as_bytes()))
}

pub(super) fn file(name: &str) -> FileKey {
    FileKey::new("nemo", [name]).unwrap()
}

fn leaf<V>(entries: Vec<(&str, V)>) -> Node<V> {
    Node::Leaf(Leaf { entries: entries.into_iter().map(|(key, value)| (MapKey::new(key), value)).collect() })
}

/// Inline, raw, dag-pb and virtual entries, with gaps of both signs, in three files.
pub(super) fn manifest_leaf() -> Node<Entry> {
    let range = |name, offset, length| Entry::Virtual { file: file(name), offset, length };
    leaf(vec![
        (".zgroup", Entry::Inline(Bytes::from_static(b"{\"zarr_format\": 2}"))),
        ("air/c/0/0", Entry::Chunk { id: chunk(ChunkForm::Raw, "one"), size: 4097 }),
        ("air/c/0/1", Entry::Chunk { id: chunk(ChunkForm::UnixFs, "two"), size: 3 << 20 }),
        ("sst/c/9", range("b.nc", 5000, 100)),
        ("sst/c/10", range("a.nc", 200, 300)),
        ("sst/c/11", range("a.nc", 500, 300)),
        ("sst/c/12", range("b.nc", 0, 4)),
        ("sst/c/13", Entry::Virtual { file: FileKey::new("era5", []).unwrap(), offset: 1 << 40, length: 0 }),
        ("sst/zarr.json", Entry::Inline(Bytes::from(vec![b' '; 1025]))),
        ("ünïcode", Entry::Inline(Bytes::new())),
    ])
}

/// A walk through two arrays of 3 × 40 ranges in two files, whose lengths are noise: nearly every key is foretold, and a
/// column lies beside the frame.
pub(super) fn walk() -> Node<Entry> {
    let key = |i: u64| format!("{}/c/{}/{}", if i < 120 { "sst" } else { "t2m" }, i % 120 / 40, i % 40);
    let length = |i: u64| 1 << 16 | xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes()) & 0xffff;
    let range =
        |i: u64| Entry::Virtual { file: file(if i < 100 { "a.nc" } else { "b.nc" }), offset: (1 << 30) + (i << 17), length: length(i) };
    Node::Leaf(Leaf { entries: (0..240).map(|i| (MapKey::new(key(i)), range(i))).collect() })
}

pub(super) fn files_leaf() -> Node<VirtualFile> {
    let bare = VirtualFile {
        size: None,
        modified: None,
        etag: None,
        version: None,
        digest: None,
        pinned_at: Timestamp::from_micros(1_740_830_400_000_000),
        refs: 1,
        bytes: 0,
    };
    let full = VirtualFile {
        size: Some(1 << 33),
        modified: Some(Timestamp::from_micros(-1)),
        etag: Some(b"0123456789abcdef0123456789abcdef".to_vec()),
        version: Some("null".to_owned()),
        digest: Some([&[0x12, 32], &HASH.digest(b"a.nc").as_bytes()[..]].concat()),
        pinned_at: Timestamp::from_micros(1_740_830_400_000_001),
        refs: 930,
        bytes: 123_456_789,
    };
    let other = VirtualFile { etag: Some(b"0123456789ABCDEF0123456789abcdef".to_vec()), size: Some(0), ..bare.clone() };
    leaf(vec![("era5", bare), ("nemo\u{1f}a.nc", full), ("nemo\u{1f}b.nc", other)])
}

pub(super) fn history_leaf() -> Node<HistoryEntry> {
    let entry = |seed: &str, summary: &str| HistoryEntry { id: SnapshotId::of(HASH, seed.as_bytes()), summary: summary.to_owned() };
    leaf(vec![
        ("0", entry("root", "")),
        ("1740830400000000", entry("first", "Import température")),
        ("1740830400000001", entry("second", "x")),
    ])
}

pub(super) fn branch<V>() -> Node<V> {
    let child = |last: &str, entries, bytes| NodeChild { last: MapKey::new(last), id: NodeId::of(HASH, last.as_bytes()), entries, bytes };
    Node::Branch(Branch { level: 2, children: vec![child("9", 930, 1 << 35), child("10", 1, 0), child("100", 70_000, 255)] })
}

pub(super) fn commit() -> Commit {
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>();
    Commit {
        manifest: manifest_leaf().id(HASH),
        files: files_leaf().id(HASH),
        history: history_leaf().id(HASH),
        parents: vec![SnapshotId::of(HASH, b"second"), SnapshotId::of(HASH, b"other")],
        since: Some(Timestamp::from_micros(1_740_830_400_000_000)),
        containers: vec![
            Container { name: "era5".to_owned(), template: "s3://era5/all.nc".to_owned(), defaults: map(&[]), options: map(&[]) },
            Container {
                name: "nemo".to_owned(),
                template: "https://{host}/nemo/{}".to_owned(),
                defaults: map(&[("host", "data.example.org")]),
                options: map(&[("region", "eu-west-1"), ("anonymous", "true"), ("endpoint", "https://s3.example.org")]),
            },
        ],
        places: vec!["https://{host}/nemo/{}".to_owned(), "s3://era5/all.nc".to_owned()],
        time: Timestamp::from_micros(1_740_830_400_000_002),
        message: "Import température\n\nwith all its chunks".to_owned(),
        author: Some("Ada <ada@example.org>".to_owned()),
        meta: map(&[("b", "2"), ("aa", "1"), ("a", "3")]),
    }
}

/// The commit of an empty repository: nothing optional is there.
pub(super) fn first_commit() -> Commit {
    let empty = Node::<Entry>::Leaf(Leaf { entries: Vec::new() }).id(HASH);
    let none = Node::<VirtualFile>::Leaf(Leaf { entries: Vec::new() }).id(HASH);
    Commit {
        manifest: empty,
        files: none,
        history: none,
        parents: Vec::new(),
        since: None,
        containers: Vec::new(),
        places: Vec::new(),
        time: Timestamp::from_micros(1_740_830_400_000_000),
        message: String::new(),
        author: None,
        meta: BTreeMap::new(),
    }
}
