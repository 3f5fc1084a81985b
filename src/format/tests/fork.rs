//! What a session and its forks exchange: frozen bytes, round trips, what is refused, mutated bytes.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::golden::frozen;
use super::hostile::attack;
use super::samples::{self, HASH, chunk, file};
use crate::dagcbor::Writer;
use crate::error::{ErrorKind, Remedy};
use crate::format::fork::{
    ContainerRow, FileRow, ForkBlock, ForkDocument, ForkEdit, ForkFile, ForkKind, ForkOrigin, ForkPiece, ForkUnpinned,
};
use crate::format::{Container, Entry, FileKey, Node, limits};
use crate::id::{ChunkForm, HashAlgorithm, SnapshotId};
use crate::key::{MapKey, Prefix};
use crate::time::Timestamp;

const TIME: i64 = 1_740_830_400_000_000;

/// The entries of a leaf as edits, some of them deletions, and prefixes between them.
fn edits() -> Vec<ForkEdit> {
    let Node::Leaf(leaf) = samples::manifest_leaf() else { panic!("a leaf") };
    let mut edits: Vec<_> = leaf.entries.into_iter().map(|(key, entry)| ForkEdit::Key(key, Some(entry))).collect();
    edits.insert(1, ForkEdit::Key(MapKey::new("air/c"), None));
    edits.insert(2, ForkEdit::Prefix(Prefix::new("air/c").unwrap()));
    edits
}

fn files() -> Vec<FileRow> {
    let Node::Leaf(leaf) = samples::files_leaf() else { panic!("a leaf") };
    let known = |n: usize| {
        let mut record = leaf.entries[n].1.clone();
        (record.refs, record.bytes) = (0, 0);
        ForkFile { record, length: None, repin: false, by_itself: false, untouched_since: None, unpinned: None }
    };
    let remedy = Some(Remedy::Allow("https://data.example.org/nemo/".to_owned()));
    let unpinned = Some(ForkUnpinned { why: 0, problem: Some("denied: it is not allowed".to_owned()), remedy });
    let silent = Some(ForkUnpinned { why: 3, problem: None, remedy: None });
    let full =
        ForkFile { length: Some(1 << 33), repin: true, by_itself: true, untouched_since: Some(Timestamp::from_micros(-5)), ..known(1) };
    vec![
        FileRow { file: FileKey::new("era5", []).unwrap(), before: None, now: ForkFile { unpinned: silent, ..known(0) } },
        FileRow { file: file("a.nc"), before: Some(known(1)), now: full },
        FileRow { file: file("b.nc"), before: Some(ForkFile { unpinned, ..known(2) }), now: known(2) },
    ]
}

fn containers() -> Vec<ContainerRow> {
    let [era5, nemo]: [Container; 2] = samples::commit().containers.try_into().unwrap();
    let before = Some(Container { template: "https://old.example.org/{}".to_owned(), ..nemo.clone() });
    vec![ContainerRow { before: None, now: era5 }, ContainerRow { before, now: nemo }]
}

fn blocks() -> [ForkBlock; 5] {
    let edits = edits();
    let inherited = edits[2..6].to_vec();
    let moves = vec![["a".to_owned(), "b".to_owned()], ["air/".to_owned(), String::new()]];
    [
        ForkBlock::Containers(containers()),
        ForkBlock::Files(files()),
        ForkBlock::Inherited(inherited),
        ForkBlock::Edits(edits),
        ForkBlock::Moves(moves),
    ]
}

fn document(kind: ForkKind) -> ForkDocument {
    let mut pieces: Vec<_> = blocks().iter().map(|block| ForkPiece::Inline(block.encode().into())).collect();
    pieces.push(ForkPiece::Stored(chunk(ChunkForm::Raw, "block"), 1 << 19));
    let origin = ForkOrigin {
        created: Timestamp::from_micros(TIME),
        branch: "main".to_owned(),
        base: SnapshotId::of(HASH, b"base"),
        seq: 41,
        epoch: 0,
    };
    let state = (kind == ForkKind::Fork).then(|| (Bytes::from_static(b"{\n  \"v\": 1\n}\n"), Bytes::from_static(b"\"an etag\"")));
    // What a later release may list; this one lists nothing.
    let touched = if kind == ForkKind::Changes { vec![chunk(ChunkForm::Raw, "one").cid()] } else { Vec::new() };
    ForkDocument { kind, origin, known: 0, touched, state, pieces }
}

#[test]
fn documents_have_not_moved() {
    for (name, kind) in [("fork.hex", ForkKind::Fork), ("changes.hex", ForkKind::Changes)] {
        let document = document(kind);
        let bytes = frozen(name, &document.encode());
        assert_eq!(ForkDocument::decode(&bytes, kind).unwrap(), document, "{name}");
        assert_eq!(document.encode(), bytes, "{name}");
        for (piece, block) in document.pieces.iter().zip(blocks()) {
            let ForkPiece::Inline(bytes) = piece else { panic!("{name}: it is inline") };
            assert_eq!(ForkBlock::decode(bytes, HASH).unwrap(), block, "{name}");
            assert_eq!(block.encode(), *bytes, "{name}");
        }
    }
}

/// As a writer counts them, who knows the last file.
fn most_of(rows: &[ForkEdit]) -> usize {
    let mut known = None;
    let count = |row: &ForkEdit| {
        let bytes = row.most_bytes(known.as_ref());
        known = row.file().cloned().or(known.take());
        bytes
    };
    rows.iter().map(count).sum()
}

#[test]
fn rows_take_no_more_bytes_than_they_say() {
    let sum = |block: ForkBlock| match &block {
        ForkBlock::Containers(rows) => (rows.iter().map(ContainerRow::most_bytes).sum::<usize>(), block.encode().len()),
        ForkBlock::Files(rows) => (rows.iter().map(FileRow::most_bytes).sum(), block.encode().len()),
        ForkBlock::Inherited(rows) | ForkBlock::Edits(rows) => (most_of(rows), block.encode().len()),
        ForkBlock::Moves(_) => (usize::MAX, 0),
    };
    for (most, len) in blocks().map(sum) {
        assert!(len <= most, "{len} bytes where at most {most} were expected");
    }
    // The longest row of all: 32 arguments, a file key and a key of the greatest length, the largest numbers.
    let args: Vec<String> = (0..32).map(|_| "x".repeat(126)).collect();
    let longest = Entry::Virtual { file: FileKey::new("c", args.iter().map(String::as_str)).unwrap(), offset: limits::NUMBER, length: 0 };
    let row = ForkEdit::Key(MapKey::new("k".repeat(1024)), Some(longest));
    let (most, len) = sum(ForkBlock::Edits(vec![row]));
    assert!(len <= most && most < limits::FORK_BLOCK - super::super::fork::BLOCK_TARGET, "{len}, {most}");
}

/// Puts a checksum over a body, as a writer does.
fn sealed(title: &str, version: u64, body: &[u8]) -> Vec<u8> {
    let mut w = Writer::default();
    w.array(4);
    w.text(title);
    w.uint(version);
    w.bytes(&xxh3_64(body).to_be_bytes());
    w.bytes(body);
    w.finish()
}

/// The body inside a document.
fn body_of(bytes: &[u8], kind: ForkKind) -> Vec<u8> {
    let title = if kind == ForkKind::Fork { "firnline fork" } else { "firnline changes" };
    // The array, the title, the version, the checksum, and the head of a body of some hundred bytes.
    let body = bytes[1 + 1 + title.len() + 1 + 9 + 3..].to_vec();
    assert_eq!(sealed(title, 1, &body), bytes);
    body
}

fn refused(bytes: &[u8], kind: ForkKind, error: ErrorKind, words: &str) {
    let found = ForkDocument::decode(bytes, kind).unwrap_err();
    assert_eq!(found.kind(), error, "{found}");
    assert!(found.to_string().contains(words), "{found}");
}

#[test]
fn other_documents_and_versions_are_told_apart() {
    let (fork, changes) = (document(ForkKind::Fork).encode(), document(ForkKind::Changes).encode());
    refused(&fork, ForkKind::Changes, ErrorKind::Invalid, "these bytes are the description of a fork");
    refused(&changes, ForkKind::Fork, ErrorKind::Invalid, "these bytes are the changes of a fork");
    refused(b"", ForkKind::Fork, ErrorKind::Corrupt, "the bytes end here");
    refused(&samples::commit().canonical(), ForkKind::Fork, ErrorKind::Corrupt, "at byte 0");
    refused(&sealed("another thing", 1, b"\xa0"), ForkKind::Fork, ErrorKind::Corrupt, "something else");
    // A newer version may have another body.
    refused(&sealed("firnline fork", 2, b"\xff"), ForkKind::Fork, ErrorKind::Unsupported, "version 2; this build knows 1");
    refused(&[&fork[..], b"\0"].concat(), ForkKind::Fork, ErrorKind::Corrupt, "follow the value");
    refused(&vec![0x84; limits::FORK + 1], ForkKind::Fork, ErrorKind::Corrupt, "at most");
    let mut damaged = fork.clone();
    *damaged.last_mut().unwrap() ^= 1;
    refused(&damaged, ForkKind::Fork, ErrorKind::Corrupt, "its checksum is wrong");
    // With the fields of the other one.
    let (fork_body, changes_body) = (body_of(&fork, ForkKind::Fork), body_of(&changes, ForkKind::Changes));
    refused(&sealed("firnline changes", 1, &fork_body), ForkKind::Changes, ErrorKind::Corrupt, "fields");
    refused(&sealed("firnline fork", 1, &changes_body), ForkKind::Fork, ErrorKind::Corrupt, "fields");
}

/// A block by hand: kind, files, rows that `write` adds.
fn block(kind: u64, rows: usize, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::default();
    let has_files = matches!(kind, 2 | 3);
    w.array(if has_files { 3 } else { 2 });
    w.uint(kind);
    if has_files {
        w.array(0);
    }
    w.array(rows);
    write(&mut w);
    w.finish()
}

#[test]
fn blocks_that_no_writer_makes_are_refused() {
    let refuse = |bytes: &[u8], words: &str| {
        let error = ForkBlock::decode(bytes, HASH).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let places = |places: &[&str]| {
        block(3, places.len(), |w| {
            for place in places {
                w.array(2);
                w.text(place);
                w.optional(None::<()>, |_, ()| ());
            }
        })
    };
    assert!(ForkBlock::decode(&places(&["", "a", "a/", "a/9", "a/10"]), HASH).is_ok());
    refuse(&places(&[]), "a block without rows");
    refuse(&places(&["a/10", "a/9"]), "out of order");
    refuse(&places(&["a", "a"]), "out of order");
    refuse(&places(&["/"]), "is empty");
    refuse(&places(&["a//"]), "forbidden segment");
    refuse(&places(&["../"]), "forbidden segment");
    refuse(&places(&["a\n"]), "control character");
    refuse(&block(5, 1, |w| w.text("x")), "unknown kind 5");
    let value = |place: &str, write: &dyn Fn(&mut Writer)| {
        block(3, 1, |w| {
            w.array(2);
            w.text(place);
            write(w);
        })
    };
    refuse(&value("a/", &|w| w.bytes(b"x")), "no deletion of a prefix");
    refuse(&value("a", &|w| w.bytes(&[0; 1025])), "an inline value of 1025 bytes");
    let stored = |size| {
        value("a", &move |w: &mut Writer| {
            w.array(2);
            w.link(&chunk(ChunkForm::Raw, "x").to_bytes());
            w.uint(size);
        })
    };
    assert!(ForkBlock::decode(&stored(1025), HASH).is_ok());
    refuse(&stored(1024), "belongs inline");
    let error = ForkBlock::decode(&stored(1025), HashAlgorithm::Blake3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let moves = |places: &[&str]| {
        block(4, 1, |w| {
            w.array(places.len());
            for place in places {
                w.text(place);
            }
        })
    };
    assert!(ForkBlock::decode(&moves(&["a", "b"]), HASH).is_ok());
    refuse(&moves(&["a", "b", "c"]), "an array of 3 items where 2 belong");
    refuse(&moves(&["a"]), "an array of 1 items where 2 belong");
    // The table of files lists exactly what is used.
    let mut w = Writer::default();
    w.array(3);
    w.uint(3);
    w.array(1);
    w.array(2);
    w.text("nemo");
    w.array(0);
    w.array(1);
    w.array(2);
    w.text("a");
    w.bytes(b"x");
    refuse(&w.finish(), "in the order of their first use");
}

#[test]
fn mutated_documents() {
    for kind in [ForkKind::Fork, ForkKind::Changes] {
        let bytes = document(kind).encode();
        attack(
            &format!("{kind:?} document"),
            std::slice::from_ref(&bytes),
            |b| b,
            |mutated| {
                let taken = ForkDocument::decode(mutated, kind).is_ok();
                assert_eq!(taken, mutated == bytes, "damage is noticed");
                taken
            },
        );
        let title = if kind == ForkKind::Fork { "firnline fork" } else { "firnline changes" };
        attack(
            &format!("body of a {kind:?} document"),
            &[body_of(&bytes, kind)],
            |body| sealed(title, 1, &body),
            |bytes| {
                ForkDocument::decode(bytes, kind).is_ok_and(|document| {
                    assert_eq!(document.encode(), bytes);
                    true
                })
            },
        );
    }
}

#[test]
fn mutated_blocks() {
    let samples = blocks().map(|block| block.encode());
    attack(
        "block of rows",
        &samples,
        |b| b,
        |bytes| {
            ForkBlock::decode(bytes, HASH).is_ok_and(|block| {
                assert_eq!(block.encode(), bytes);
                true
            })
        },
    );
}
