//! Frozen bytes: what was written under format v1 is read, and written again, byte for byte.
//!
//! The files and what each proves are registered in `data/README.md`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use super::samples::{self, HASH};
use crate::format::{Commit, Entry, HistoryEntry, Leaf, Node, RepoConfig, Roots, SnapshotObject, Value, VirtualFile};
use crate::id::{HashAlgorithm, NodeId, SnapshotId};
use crate::testing;
use crate::text::hex;
use crate::time::Timestamp;

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "src/format/tests/data", name].iter().collect()
}

/// Bytes as lines of hex; what follows `#` is for people. `FIRN_WRITE_GOLDEN` writes a file that is not there yet.
pub(super) fn frozen(name: &str, written: &[u8]) -> Vec<u8> {
    let path = path(name);
    if !path.exists() && std::env::var_os("FIRN_WRITE_GOLDEN").is_some() {
        let mut text = format!("# {name}: written once, never regenerated. See README.md.\n");
        for line in written.chunks(32) {
            for byte in line {
                write!(text, "{byte:02x}").unwrap();
            }
            text.push('\n');
        }
        std::fs::write(&path, text).unwrap();
    }
    bytes(name)
}

/// The bytes of a frozen file.
pub(super) fn bytes(name: &str) -> Vec<u8> {
    let path = path(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    let digits = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::chars).filter_map(|c| c.to_digit(16));
    let digits: Vec<_> = digits.map(|d| u8::try_from(d).unwrap()).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn node<V: Value>(name: &str, node: &Node<V>, id: &str) {
    let canonical = frozen(&format!("{name}.canonical.hex"), &node.canonical());
    assert_eq!(&Node::<V>::decode_canonical(&canonical, HASH).unwrap(), node, "{name}");
    assert_eq!(node.canonical(), canonical, "{name}");
    assert_eq!(NodeId::of(HASH, &canonical).to_string(), id, "{name}");
    let stored = frozen(&format!("{name}.at-rest-2.hex"), &node.encode_at_rest());
    assert_eq!(&Node::<V>::decode_verified(&stored, node.id(HASH)).unwrap(), node, "{name}");
    assert_eq!(node.encode_at_rest(), stored, "{name}");
}

#[test]
fn nodes_have_not_moved() {
    node("manifest-leaf", &samples::manifest_leaf(), "bafyreic6sw2os3tx7gpu45onyfkamjei2rrdj5nwbimlxyhm3k24mwad4u");
    node("files-leaf", &samples::files_leaf(), "bafyreidgf3crueoxm75lmmfeaf6vlzmbo3nzpsw5taxhidyxf2sq6utaba");
    node("history-leaf", &samples::history_leaf(), "bafyreiaoddl3b5norur7ojwj4k63z6egrrtlwfugddaagviwyufewii6i4");
    node("branch", &samples::branch::<Entry>(), "bafyreid32wnjajfed53mqeq45fsnhviqvhqtizxogqc6knbjt4mmt6eyzu");
    node(
        "manifest-empty",
        &Node::<Entry>::Leaf(Leaf { entries: Vec::new() }),
        "bafyreibvcdktpi5dafzzzlk5wadrbuy522hq4wyyrwnlqkbkuqxtpvbl4a",
    );
    node(
        "files-empty",
        &Node::<VirtualFile>::Leaf(Leaf { entries: Vec::new() }),
        "bafyreiajjm5xypssqz6egnkvxn4bbxwtkeeohka6lz7ght47ymllkufbg4",
    );
    // The empty files map and the empty history map have one form and one id.
    let none = Node::<HistoryEntry>::Leaf(Leaf { entries: Vec::new() });
    assert_eq!(none.canonical(), Node::<VirtualFile>::Leaf(Leaf { entries: Vec::new() }).canonical());
}

#[test]
fn foretold_keys_have_not_moved() {
    let node = samples::walk();
    assert_eq!(node.id(HASH).to_string(), "bafyreif6nscknfv63r4urnxp5zzfeyiy73e53l4ya5j7oac2s4h2msqaw4");
    let stored = frozen("manifest-walk.at-rest-2.hex", &node.encode_at_rest());
    assert_eq!(Node::<Entry>::decode_verified(&stored, node.id(HASH)).unwrap(), node);
    assert_eq!(node.encode_at_rest(), stored);
    let (_, _, beside, frame) = envelope(&stored, 2);
    let columns = zstd::bulk::decompress(frame, 1 << 20).unwrap();
    assert_eq!((beside.len(), &columns[..4]), (480, &[0, 0xf0, 1, 4][..]), "two planes; level 0, 240 rows, four of them spelt out");
}

#[test]
fn blake3_ids_have_not_moved() {
    let empty = Node::<Entry>::Leaf(Leaf { entries: Vec::new() });
    assert_eq!(empty.id(HashAlgorithm::Blake3).to_string(), "bafyr4ia7siz5l5elqrdazz5wtmd4m3xjejlo5wpep2g3kne4lnsjmepowa");
}

fn snapshot(name: &str, object: &SnapshotObject, id: &str) {
    let canonical = frozen(&format!("{name}.canonical.hex"), &object.commit.canonical());
    assert_eq!(Commit::decode_canonical(&canonical, HASH).unwrap(), object.commit, "{name}");
    assert_eq!(object.commit.canonical(), canonical, "{name}");
    assert_eq!(SnapshotId::of(HASH, &canonical).to_string(), id, "{name}");
    let stored = frozen(&format!("{name}.at-rest-2.hex"), &object.encode());
    assert_eq!(&SnapshotObject::decode_verified(&stored, object.commit.id(HASH)).unwrap(), object, "{name}");
    assert_eq!(object.encode(), stored, "{name}");
}

#[test]
fn snapshots_have_not_moved() {
    let roots = Roots {
        manifest: Some(Arc::new(samples::manifest_leaf())),
        files: Some(Arc::new(samples::files_leaf())),
        history: Some(Arc::new(samples::history_leaf())),
    };
    snapshot("commit", &SnapshotObject { commit: samples::commit(), roots }, "bafyreie5vmjzn3wmcp7g7xrisvfsjue6jt35akknjlzgidixiq4x3ogumq");
    snapshot(
        "first-commit",
        &SnapshotObject { commit: samples::first_commit(), roots: Roots::default() },
        "bafyreic4lpeuu4jkqz6xuhds2n3e5bhkbtnbdz2djzonere6ok4byz4s4q",
    );
}

/// Takes an envelope apart: its version, the decoded length, what lies beside, the frame.
fn envelope(stored: &[u8], kind: u8) -> (u8, usize, &[u8], &[u8]) {
    assert_eq!(&stored[..9], [b"\x89FRN\r\n\x1a\n".as_slice(), &[kind]].concat(), "magic and kind");
    assert_eq!(&stored[10..12], [0, 0], "reserved");
    let length = |at: usize| u32::from_le_bytes(stored[at..at + 4].try_into().unwrap()) as usize;
    let (decoded, frame, beside) = (length(12), length(16), length(20));
    assert_eq!(32 + frame + beside, stored.len());
    let sum = xxhash_rust::xxh3::xxh3_64(&[&stored[..24], &stored[32..]].concat());
    assert_eq!(stored[24..32], sum.to_le_bytes());
    let (beside, frame) = stored[32..].split_at(beside);
    (stored[9], decoded, beside, frame)
}

#[test]
fn the_envelope_has_not_moved() {
    let stored = Node::<Entry>::Leaf(Leaf { entries: Vec::new() }).encode_at_rest();
    let (version, decoded, beside, frame) = envelope(&stored, 2);
    assert_eq!((version, decoded, beside), (2, frame.len(), &[][..]), "as it is, which is shorter");
    // Level, rows, spelt-out keys, files, spelt-out files.
    assert_eq!(frame, [0; 5]);

    let stored = bytes("manifest-leaf.at-rest-2.hex");
    let (version, decoded, beside, frame) = envelope(&stored, 2);
    assert_eq!((version, beside.len(), &frame[..4]), (2, 64, &[0x28, 0xb5, 0x2f, 0xfd][..]), "two chunks, a zstd frame");
    let columns = zstd::bulk::decompress(frame, 1 << 20).unwrap();
    assert_eq!((columns.len(), &columns[..3]), (decoded, &[0, 10, 5][..]), "level 0, ten rows, five of them spelt out");
}

#[test]
fn repo_json_has_not_moved() {
    let config = RepoConfig { hash: HASH, created: Timestamp::from_micros(1_740_830_400_000_000) };
    let frozen = std::fs::read(path("repo.json")).unwrap();
    assert_eq!(RepoConfig::decode(&frozen).unwrap(), config);
    assert_eq!(String::from_utf8(config.encode()).unwrap(), String::from_utf8(frozen).unwrap());
}

/// What makes the canonical samples with an independent calculator and prints their ids, one a line.
const CALCULATOR: &str = include_str!("data/cross_check.py");

#[test]
fn an_independent_calculator_has_the_same_ids() {
    let test = "an_independent_calculator_has_the_same_ids";
    let Some((python, tools)) = testing::calculator(test) else { return };
    let output = Command::new(python).arg("-c").arg(CALCULATOR).arg(tools).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let ours = [
        samples::manifest_leaf().id(HASH).to_string(),
        samples::files_leaf().id(HASH).to_string(),
        samples::history_leaf().id(HASH).to_string(),
        samples::branch::<Entry>().id(HASH).to_string(),
        Node::<Entry>::Leaf(Leaf { entries: Vec::new() }).id(HASH).to_string(),
        Node::<VirtualFile>::Leaf(Leaf { entries: Vec::new() }).id(HASH).to_string(),
        samples::commit().id(HASH).to_string(),
        samples::first_commit().id(HASH).to_string(),
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), ours);
}

/// The examples in `docs/format.md` are the frozen bytes.
#[test]
fn the_document_shows_the_frozen_bytes() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/format.md")).unwrap();
    let squeezed: String = text.split_whitespace().collect();
    let empty = Node::<Entry>::Leaf(Leaf { entries: Vec::new() });
    for bytes in [samples::first_commit().canonical(), empty.encode_at_rest(), empty.canonical()] {
        let hex = hex(&bytes);
        assert!(squeezed.contains(&hex), "docs/format.md does not show {hex}");
    }
    let ids = [empty.id(HASH), empty.id(HashAlgorithm::Blake3), Node::<VirtualFile>::Leaf(Leaf { entries: Vec::new() }).id(HASH)];
    for id in ids.map(|id| id.to_string()).into_iter().chain([samples::first_commit().id(HASH).to_string()]) {
        assert!(text.contains(&id), "docs/format.md does not show {id}");
    }
}
