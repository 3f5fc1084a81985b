//! Mutated bytes: no decoder panics, or takes more memory than 16 MiB and four times its input, and what it takes is canonical.
//!
//! Objects at rest are mutated twice over: their stored
//! bytes, and what is inside, sealed again with a correct checksum, so that the checks behind it are reached.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use xxhash_rust::xxh3::xxh3_64;

use super::samples::{self, HASH};
use crate::dagcbor;
use crate::error::{Error, Result};
use crate::format::envelope::{self, Kind};
use crate::format::{Branch, Commit, Entry, HistoryEntry, Leaf, Node, NodeChild, RepoConfig, Roots, SnapshotObject, Value, VirtualFile};
use crate::id::{ChunkForm, Cid, NodeId, SnapshotId, parse_cid};
use crate::testing::{alloc, hostile_cases};
use crate::time::Timestamp;

/// Numbers that tend to break arithmetic, as bytes.
const EDGES: [&[u8]; 8] = [
    &[0],
    &[0xff],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff; 4],
    &[0xff; 8],
    &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x80],
    &[0; 4],
];

fn mutate(rng: &mut SmallRng, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..rng.random_range(1..=4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..8) {
            0 | 1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes[at] = rng.random(),
            3 => bytes[at] = bytes[at].wrapping_add(if rng.random() { 1 } else { 255 }),
            4 => {
                let edge = EDGES[rng.random_range(0..EDGES.len())];
                let end = (at + edge.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&edge[..end - at]);
            }
            5 if rng.random_range(0..4) == 0 => bytes.truncate(at),
            6 => {
                let end = rng.random_range(at..=bytes.len()).min(at + 64);
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..if rng.random() { at } else { end }, [&piece[..], &piece[..]].concat());
            }
            _ if !other.is_empty() => {
                let from = rng.random_range(0..other.len());
                let piece = &other[from..(from + rng.random_range(1..40)).min(other.len())];
                let end = (at + piece.len()).min(bytes.len());
                bytes.splice(at..end, piece.iter().copied());
            }
            _ => drop(bytes.remove(at)),
        }
    }
}

/// Gives mutations of the samples to `decode`, which answers whether it took them.
pub(super) fn attack(name: &str, samples: &[Vec<u8>], prepare: impl Fn(Vec<u8>) -> Vec<u8>, decode: impl Fn(&[u8]) -> bool) {
    let mut rng = SmallRng::seed_from_u64(xxh3_64(name.as_bytes()));
    for sample in samples {
        assert!(decode(&prepare(sample.clone())), "{name}: a sample is refused unchanged");
    }
    let (mut taken, mut most) = (0, 0);
    for _ in 0..hostile_cases() {
        let mut bytes = samples[rng.random_range(0..samples.len())].clone();
        let other = &samples[rng.random_range(0..samples.len())];
        mutate(&mut rng, &mut bytes, other);
        let bytes = prepare(bytes);
        let (ok, peak) = alloc::peak(|| decode(&bytes));
        assert!(peak <= (16 << 20) + 4 * bytes.len(), "{name}: {peak} bytes of memory for {} bytes: {bytes:02x?}", bytes.len());
        taken += u32::from(ok);
        most = most.max(peak);
    }
    println!("{name}: {taken} of {} taken, at most {most} bytes of memory", hostile_cases());
}

fn nodes<V: Value>(leaf: Node<V>) -> [Node<V>; 3] {
    [leaf, samples::branch(), Node::Leaf(Leaf { entries: Vec::new() })]
}

fn canonical<V: Value>(leaf: Node<V>) {
    let samples = nodes(leaf).map(|node| node.canonical());
    attack(
        &format!("canonical {} node", V::KIND),
        &samples,
        |b| b,
        |bytes| {
            let node = Node::<V>::decode_canonical(bytes, HASH);
            node.is_ok_and(|node| {
                assert_eq!(node.canonical(), bytes);
                true
            })
        },
    );
}

#[test]
fn canonical_manifest_nodes() {
    canonical(samples::manifest_leaf());
}

#[test]
fn canonical_files_nodes() {
    canonical(samples::files_leaf());
}

#[test]
fn canonical_history_nodes() {
    canonical(samples::history_leaf());
}

/// The envelope byte by byte, as `docs/format.md` describes it.
pub(super) fn seal(kind: u8, beside: &[u8], body: &[u8]) -> Vec<u8> {
    let length = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let head = [&b"\x89FRN\r\n\x1a\n"[..], &[kind, 2, 0, 0], &length(body.len()), &length(body.len()), &length(beside.len())].concat();
    let sum = xxh3_64(&[&head, beside, body].concat());
    [&head, &sum.to_le_bytes()[..], beside, body].concat()
}

/// The id that an error says the content has: what a hostile writer would have named the object.
fn content_id(error: &Error) -> Option<Cid> {
    let text = error.to_string();
    let (_, id) = text.split_once("its content has the id ")?;
    Some(parse_cid(id).unwrap())
}

fn take_node<V: Value>(bytes: &[u8]) -> bool {
    let wanted = NodeId::of(HASH, b"some other node");
    let Some(id) = content_id(&Node::<V>::decode_verified(bytes, wanted).unwrap_err()) else { return false };
    let id = NodeId::from_cid(&id).unwrap();
    let decoded: Result<Node<V>> = Node::decode_verified(bytes, id);
    decoded.is_ok_and(|node| {
        // Both forms admit the same nodes.
        assert_eq!(Node::decode_canonical(&node.canonical(), HASH).unwrap(), node);
        true
    })
}

/// What an object holds, as one string: its frame, what lies beside, and the length of that.
pub(super) fn inner(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    let opened = envelope::open(kind, bytes).unwrap();
    [&opened.body, opened.beside, &u16::try_from(opened.beside.len()).unwrap().to_le_bytes()[..]].concat()
}

pub(super) fn reseal(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let Some((rest, length)) = bytes.split_last_chunk::<2>() else { return Vec::new() };
    let beside = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (body, beside) = rest.split_at(rest.len() - beside);
    seal(kind, beside, body)
}

fn at_rest<V: Value>(kind: u8, leaves: Vec<Node<V>>) {
    let mut nodes = vec![samples::branch(), Node::Leaf(Leaf { entries: Vec::new() })];
    nodes.extend(leaves);
    let stored: Vec<_> = nodes.iter().map(Node::encode_at_rest).collect();
    attack(&format!("stored {} node", V::KIND), &stored, |b| b, take_node::<V>);
    let inner: Vec<_> = stored.iter().map(|bytes| inner(Kind::Node(V::KIND), bytes)).collect();
    let name = format!("content of a stored {} node", V::KIND);
    attack(&name, &inner, |bytes| reseal(kind, &bytes), take_node::<V>);
}

#[test]
fn stored_manifest_nodes() {
    at_rest(2, vec![samples::manifest_leaf(), samples::walk()]);
}

#[test]
fn stored_files_nodes() {
    at_rest(3, vec![samples::files_leaf()]);
}

#[test]
fn stored_history_nodes() {
    at_rest(4, vec![samples::history_leaf()]);
}

#[test]
fn canonical_commits() {
    let samples = [samples::commit().canonical(), samples::first_commit().canonical()];
    attack(
        "canonical commit",
        &samples,
        |b| b,
        |bytes| {
            Commit::decode_canonical(bytes, HASH).is_ok_and(|commit| {
                assert_eq!(commit.canonical(), bytes);
                commit.check().unwrap();
                true
            })
        },
    );
}

fn snapshots() -> [Vec<u8>; 2] {
    let roots = Roots {
        manifest: Some(Arc::new(samples::manifest_leaf())),
        files: Some(Arc::new(samples::files_leaf())),
        history: Some(Arc::new(samples::history_leaf())),
    };
    [
        SnapshotObject { commit: samples::commit(), roots }.encode(),
        SnapshotObject { commit: samples::first_commit(), roots: Roots::default() }.encode(),
    ]
}

fn take_snapshot(bytes: &[u8]) -> bool {
    let wanted = SnapshotId::of(HASH, b"some other snapshot");
    let Some(id) = content_id(&SnapshotObject::decode_verified(bytes, wanted).unwrap_err()) else { return false };
    SnapshotObject::decode_verified(bytes, SnapshotId::from_cid(&id).unwrap()).is_ok_and(|object| {
        assert_eq!(Commit::decode_canonical(&object.commit.canonical(), HASH).unwrap(), object.commit);
        true
    })
}

#[test]
fn stored_snapshots() {
    let stored = snapshots().to_vec();
    attack("stored snapshot", &stored, |b| b, take_snapshot);
    let inner: Vec<_> = stored.iter().map(|bytes| inner(Kind::Snapshot, bytes)).collect();
    attack("content of a stored snapshot", &inner, |bytes| reseal(1, &bytes), take_snapshot);
}

#[test]
fn envelopes() {
    let samples: Vec<_> = [&b""[..], b"body", &[7; 5000]].iter().map(|body| envelope::seal(Kind::Snapshot, &[9; 96], body)).collect();
    // With a checksum that is always right, every other field is reached.
    let repair = |mut bytes: Vec<u8>| {
        if bytes.len() >= 32 {
            let sum = xxh3_64(&[&bytes[..24], &bytes[32..]].concat());
            bytes[24..32].copy_from_slice(&sum.to_le_bytes());
        }
        bytes
    };
    attack("envelope", &samples, repair, |bytes| envelope::open(Kind::Snapshot, bytes).is_ok());
}

#[test]
fn repo_json() {
    let samples = [RepoConfig { hash: HASH, created: Timestamp::from_micros(1_740_830_400_000_000) }.encode()];
    attack("repo.json", &samples, |b| b, |bytes| RepoConfig::decode(bytes).is_ok());
}

#[test]
fn dag_cbor_of_any_type() {
    let mut samples: Vec<_> = nodes(samples::manifest_leaf()).iter().map(Node::canonical).collect();
    samples.push(samples::commit().canonical());
    attack(
        "dag-cbor",
        &samples,
        |b| b,
        |bytes| {
            dagcbor::decode::<ipld_core::ipld::Ipld>(bytes, "value").is_ok_and(|value| {
                assert_eq!(dagcbor::encode(&value), bytes);
                true
            })
        },
    );
}

/// Reads the node from its object and looks only at the memory that it takes.
fn bounded<V: Value>(node: &Node<V>) {
    let (bytes, id) = (node.encode_at_rest(), node.id(HASH));
    let (result, peak) = alloc::peak(|| Node::<V>::decode_verified(&bytes, id).map(drop));
    let rows = result.as_ref().map_or_else(ToString::to_string, |()| String::new());
    assert!(!rows.contains("rows; at most"), "{rows}");
    assert!(peak < (16 << 20) + 4 * bytes.len(), "{peak} bytes for {}", bytes.len());
}

/// Nodes that are as long as the limits allow, from a few bytes of input.
#[test]
fn the_largest_nodes_stay_within_bounds() {
    let entries = |n: usize| {
        let entry = |i| (crate::key::MapKey::new(format!("{i}")), Entry::Inline(bytes::Bytes::new()));
        Node::Leaf(Leaf { entries: (0..n).map(entry).collect() })
    };
    let most = entries(1 << 16);
    for bytes in [most.canonical(), most.encode_at_rest()] {
        let id = most.id(HASH);
        let (ok, peak) =
            alloc::peak(|| Node::<Entry>::decode_canonical(&bytes, HASH).is_ok() || Node::<Entry>::decode_verified(&bytes, id).is_ok());
        assert!(ok && peak < (16 << 20) + 4 * bytes.len(), "{peak} bytes for {}", bytes.len());
    }
    // As many rows of each kind as an object at rest can hold; whether the canonical form is too long shows only afterwards.
    let key = |i: usize| crate::key::MapKey::new(format!("{i}"));
    let ranges =
        (0..1 << 16).map(|i| (key(i), Entry::Virtual { file: samples::file(&i.to_string()), offset: 1 << 62, length: 1 << (i % 60) }));
    bounded(&Node::Leaf(Leaf { entries: ranges.collect() }));
    // Keys that are foretold cost nothing, so the values may fill the object: as many as a node can have, and more than that.
    let foretold = |i: usize| crate::key::MapKey::new(format!("foretold/{i}"));
    let inline =
        |length| Node::Leaf(Leaf { entries: (0..1 << 16).map(|i| (foretold(i), Entry::Inline(vec![0; length].into()))).collect() });
    bounded(&inline(15));
    bounded(&inline(45));
    let error = Node::<Entry>::decode_verified(&inline(45).encode_at_rest(), inline(45).id(HASH)).unwrap_err();
    assert!(error.to_string().contains("as many as no node has"), "before they are copied: {error}");
    let chunks = (0..1 << 16).map(|i| (key(i), Entry::Chunk { id: samples::chunk(ChunkForm::Raw, "x"), size: 1 << 40 }));
    bounded(&Node::Leaf(Leaf { entries: chunks.collect() }));
    let Node::Leaf(files) = samples::files_leaf() else { unreachable!() };
    let known = &files.entries[1].1;
    let files = (0..1 << 13).map(|i| (crate::key::MapKey::new(format!("nemo\u{1f}{i}")), known.clone()));
    bounded(&Node::Leaf(Leaf { entries: files.collect() }));
    let child = |i| NodeChild { last: key(i), id: NodeId::of(HASH, b"x"), entries: 1, bytes: 1 << (i % 40) };
    bounded(&Node::<Entry>::Branch(Branch { level: 1, children: (0..1 << 13).map(child).collect() }));
    let more = entries((1 << 16) + 1);
    assert!(Node::<Entry>::decode_canonical(&more.canonical(), HASH).is_err());
    assert!(Node::<Entry>::decode_verified(&more.encode_at_rest(), more.id(HASH)).is_err());

    let files: Node<VirtualFile> = samples::files_leaf();
    let history: Node<HistoryEntry> = samples::history_leaf();
    assert!(Node::<Entry>::decode_verified(&files.encode_at_rest(), files.id(HASH)).is_err(), "a files node is no manifest node");
    assert!(Node::<VirtualFile>::decode_verified(&history.encode_at_rest(), history.id(HASH)).is_err());
}
