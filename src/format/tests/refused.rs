//! What a reader must reject, one rule at a time.

use bytes::Bytes;

use super::samples::{self, HASH, chunk, file};
use crate::ErrorKind;
use crate::dagcbor::Writer;
use crate::format::column::{ColumnWriter, zigzag};
use crate::format::envelope::{self, Kind};
use crate::format::strings;
use crate::format::{Branch, Commit, Container, Entry, FileKey, HistoryEntry, Leaf, Node, NodeChild, SnapshotObject, Value, VirtualFile};
use crate::id::{ChunkForm, ChunkId, HashAlgorithm, MapKind, NodeId, SnapshotId};
use crate::key::MapKey;
use crate::time::Timestamp;

fn leaf<V>(entries: impl IntoIterator<Item = (String, V)>) -> Node<V> {
    Node::Leaf(Leaf { entries: entries.into_iter().map(|(key, value)| (MapKey::new(key), value)).collect() })
}

/// A node that encodes but that no writer makes is refused in both forms, with a message that holds `why`.
fn refused<V: Value>(node: &Node<V>, kind: ErrorKind, why: &str) {
    let canonical = Node::<V>::decode_canonical(&node.canonical(), HASH).expect_err(why);
    let stored = Node::<V>::decode_verified(&node.encode_at_rest(), node.id(HASH)).expect_err(why);
    assert_eq!(canonical.kind(), kind, "{canonical}");
    assert!(canonical.to_string().contains(why), "{canonical}");
    assert!(!canonical.to_string().contains('\n'), "{canonical}");
    // At rest an id of another hash cannot be written down, so that node comes out as another one.
    assert_eq!(stored.kind(), ErrorKind::Corrupt, "{stored}");
    assert!(stored.to_string().contains(&node.id(HASH).to_string()), "{stored}");
}

fn corrupt<V: Value>(node: &Node<V>, why: &str) {
    refused(node, ErrorKind::Corrupt, why);
}

fn inline(len: usize) -> Entry {
    Entry::Inline(Bytes::from(vec![0; len]))
}

fn stored(size: u64) -> Entry {
    Entry::Chunk { id: chunk(ChunkForm::Raw, "x"), size }
}

fn range(offset: u64, length: u64) -> Entry {
    Entry::Virtual { file: file("a.nc"), offset, length }
}

#[test]
fn keys_must_be_of_their_map_and_in_its_order() {
    for keys in [["b", "a"], ["a", "a"], ["a/10", "a/9"]] {
        corrupt(&leaf(keys.map(|key| (key.to_owned(), inline(1)))), "ascending");
    }
    for key in ["", "/a", "a//b", "a/../b", "a\u{7f}", &"k".repeat(1025)] {
        let node = leaf([(key.to_owned(), inline(1))]);
        assert_eq!(Node::<Entry>::decode_canonical(&node.canonical(), HASH).unwrap_err().kind(), ErrorKind::Corrupt, "{key:?}");
        assert!(Node::<Entry>::decode_verified(&node.encode_at_rest(), node.id(HASH)).is_err(), "{key:?}");
    }
    let Node::Leaf(files) = samples::files_leaf() else { unreachable!() };
    let known = files.entries[0].1.clone();
    for key in ["", "\u{1f}a", "nemo\u{1f}a\nb", &format!("nemo{}", "\u{1f}".repeat(33))] {
        let node = leaf([(key.to_owned(), known.clone())]);
        assert!(Node::<VirtualFile>::decode_canonical(&node.canonical(), HASH).is_err(), "{key:?}");
    }
    for key in ["", "-1", "+1", "01", "1e3", "1.0", "9223372036854775808", " 1"] {
        let entry = HistoryEntry { id: SnapshotId::of(HASH, b"x"), summary: String::new() };
        corrupt(&leaf([(key.to_owned(), entry)]), "microseconds");
    }
}

#[test]
fn a_value_is_inline_exactly_when_it_is_short() {
    for (key, limit) in
        [("a", 1024), ("a/zarr.json", 4096), (".zgroup", 4096), ("a/.zarray", 4096), ("a/.zattrs", 4096), ("zarr.json/c", 1024)]
    {
        assert_eq!(Entry::inline_limit(key), limit);
        let node = |entry| leaf([(key.to_owned(), entry)]);
        assert!(Node::<Entry>::decode_canonical(&node(inline(limit)).canonical(), HASH).is_ok());
        assert!(Node::<Entry>::decode_canonical(&node(stored(limit as u64 + 1)).canonical(), HASH).is_ok());
        corrupt(&node(inline(limit + 1)), "at most");
        corrupt(&node(stored(limit as u64)), "belongs inline");
    }
}

#[test]
fn numbers_must_fit_what_others_read() {
    let most = i64::MAX.cast_unsigned();
    assert!(Node::<Entry>::decode_canonical(&leaf([("a".to_owned(), range(most - 5, 5))]).canonical(), HASH).is_ok());
    for (offset, length) in [(most, 1), (u64::MAX, 1), (u64::MAX, u64::MAX), (0, most + 1)] {
        corrupt(&leaf([("a".to_owned(), range(offset, length))]), "ends beyond");
    }
    corrupt(&leaf([("a".to_owned(), stored(most + 1))]), "exceeds");
    corrupt(&leaf([("a".to_owned(), stored(most)), ("b".to_owned(), stored(2000))]), "sum");
    let child = |last: &str, entries, bytes| NodeChild { last: MapKey::new(last), id: NodeId::of(HASH, b"x"), entries, bytes };
    let branch = |children| Node::<Entry>::Branch(Branch { level: 1, children });
    corrupt(&branch(vec![child("a", most, 0), child("b", 1, 0)]), "sum of its entries");
    corrupt(&branch(vec![child("a", 1, most), child("b", 1, 1)]), "sum of its sizes");
    corrupt(&branch(vec![child("a", 0, 0)]), "without entries");
    corrupt(&branch(vec![child("b", 1, 0), child("a", 1, 0)]), "ascending");
    corrupt(&branch(vec![]), "0 children");
    corrupt(&Node::<Entry>::Branch(Branch { level: 64, children: vec![child("a", 1, 0)] }), "level");
}

#[test]
fn no_node_holds_a_float() {
    // `[0, [], [["a", [link, size]]]]` with the size as a float that is canonical DAG-CBOR elsewhere.
    let good = leaf([("a".to_owned(), stored(5000))]).canonical();
    let size = good.len() - 3;
    assert_eq!(good[size..], [0x19, 0x13, 0x88]);
    let float = [&good[..size], &[0xfb], &5000f64.to_be_bytes()].concat();
    assert!(crate::dagcbor::decode::<ipld_core::ipld::Ipld>(&float, "value").is_ok());
    let error = Node::<Entry>::decode_canonical(&float, HASH).unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("0xfb where a non-negative integer belongs"), "{error}");
}

#[test]
fn texts_must_be_short() {
    let Node::Leaf(files) = samples::files_leaf() else { unreachable!() };
    let known = files.entries[1].1.clone();
    let long = [
        VirtualFile { etag: Some(vec![0; 257]), ..known.clone() },
        VirtualFile { version: Some("v".repeat(257)), ..known.clone() },
        VirtualFile { digest: Some(vec![0; 69]), ..known.clone() },
    ];
    for file in long {
        corrupt(&leaf([("nemo\u{1f}a.nc".to_owned(), file)]), "at most");
    }
    corrupt(&leaf([("nemo\u{1f}a.nc".to_owned(), VirtualFile { refs: u64::MAX, ..known })]), "exceeds");
    let entry = |summary: &str| HistoryEntry { id: SnapshotId::of(HASH, b"x"), summary: summary.to_owned() };
    corrupt(&leaf([("1".to_owned(), entry(&"s".repeat(73)))]), "at most");
    corrupt(&leaf([("1".to_owned(), entry("two\nlines"))]), "line");
}

#[test]
fn ids_must_be_of_the_repository_s_hash() {
    let other = HashAlgorithm::Blake3;
    let id = ChunkId::new(ChunkForm::Raw, other.digest(b"x"));
    refused(&leaf([("a".to_owned(), Entry::Chunk { id, size: 5000 })]), ErrorKind::Unsupported, "blake3");
    let entry = HistoryEntry { id: SnapshotId::of(other, b"x"), summary: String::new() };
    refused(&leaf([("1".to_owned(), entry)]), ErrorKind::Unsupported, "blake3");
    let child = NodeChild { last: MapKey::new("a"), id: NodeId::of(other, b"x"), entries: 1, bytes: 1 };
    refused(&Node::<Entry>::Branch(Branch { level: 1, children: vec![child] }), ErrorKind::Unsupported, "blake3");
    let commit = Commit { history: NodeId::of(other, b"x"), ..samples::commit() };
    assert_eq!(Commit::decode_canonical(&commit.canonical(), HASH).unwrap_err().kind(), ErrorKind::Unsupported);
    // A whole repository of the other hash is as good.
    let first = Commit {
        manifest: NodeId::of(other, b"m"),
        files: NodeId::of(other, b"f"),
        history: NodeId::of(other, b"h"),
        ..samples::first_commit()
    };
    assert_eq!(Commit::decode_canonical(&first.canonical(), other).unwrap(), first);
    let object = SnapshotObject { commit: first, roots: crate::format::Roots::default() };
    assert_eq!(SnapshotObject::decode_verified(&object.encode(), object.commit.id(other)).unwrap(), object);
}

/// A leaf of virtual entries with any table and any places, which no `Leaf` can express.
fn with_table(files: &[FileKey], places: &[u64]) -> Vec<u8> {
    let mut w = Writer::default();
    w.array(3);
    w.uint(0);
    w.array(files.len());
    for file in files {
        w.array(2);
        w.text(file.container());
        w.array(file.args().count());
        file.args().for_each(|arg| w.text(arg));
    }
    w.array(places.len());
    for (i, place) in places.iter().enumerate() {
        w.array(2);
        w.text(&i.to_string());
        w.array(3);
        w.uint(*place);
        w.uint(0);
        w.uint(1);
    }
    w.finish()
}

#[test]
fn the_file_table_is_in_the_order_of_first_use_and_nothing_else() {
    let (a, b) = (file("a.nc"), file("b.nc"));
    let decode = |files: &[FileKey], places: &[u64]| Node::<Entry>::decode_canonical(&with_table(files, places), HASH);
    assert!(decode(&[b.clone(), a.clone()], &[0, 1, 0]).is_ok());
    for (files, places, why) in [
        (vec![a.clone(), b.clone()], vec![1, 0], "not in canonical form"),
        (vec![a.clone(), b.clone()], vec![0, 0], "not in canonical form"),
        (vec![a.clone(), a.clone()], vec![0, 1], "not in canonical form"),
        (vec![a.clone()], vec![0, 1], "file 1 of 1"),
        (vec![a.clone()], vec![u64::MAX], "of 1"),
        (vec![a], vec![], "not in canonical form"),
    ] {
        let error = decode(&files, &places).unwrap_err();
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(why), "{error}");
    }
}

type Decoder<'a> = &'a dyn Fn(&[u8]) -> crate::Result<()>;

#[test]
fn every_truncation_and_every_byte_more_is_corrupt() {
    let node = samples::manifest_leaf();
    let (canonical, stored, id) = (node.canonical(), node.encode_at_rest(), node.id(HASH));
    let object = SnapshotObject { commit: samples::commit(), roots: crate::format::Roots::default() };
    let (commit, snapshot, tip) = (object.commit.canonical(), object.encode(), object.commit.id(HASH));
    let decoders: [(&[u8], Decoder<'_>); 4] = [
        (&canonical, &|b| Node::<Entry>::decode_canonical(b, HASH).map(drop)),
        (&stored, &|b| Node::<Entry>::decode_verified(b, id).map(drop)),
        (&commit, &|b| Commit::decode_canonical(b, HASH).map(drop)),
        (&snapshot, &|b| SnapshotObject::decode_verified(b, tip).map(drop)),
    ];
    for (bytes, decode) in decoders {
        decode(bytes).unwrap();
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]).unwrap_err().kind(), ErrorKind::Corrupt, "{len}");
        }
        assert_eq!(decode(&[bytes, &[0]].concat()).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_flipped_bit_at_rest_is_corrupt_and_a_newer_version_unsupported() {
    let node = samples::files_leaf();
    let (stored, id) = (node.encode_at_rest(), node.id(HASH));
    for at in 0..stored.len() {
        for bit in 0..8 {
            let mut bytes = stored.clone();
            bytes[at] ^= 1 << bit;
            let error = Node::<VirtualFile>::decode_verified(&bytes, id).unwrap_err();
            // Byte 9 is the version: what a newer one means by the rest, nobody here knows.
            assert_eq!(error.kind(), if at == 9 { ErrorKind::Unsupported } else { ErrorKind::Corrupt }, "byte {at}: {error}");
            assert!(error.to_string().contains(&id.to_string()), "{error}");
        }
    }
    // The form before the first release.
    let mut first = stored.clone();
    first[9] = 1;
    assert_eq!(Node::<VirtualFile>::decode_verified(&first, id).unwrap_err().kind(), ErrorKind::Unsupported);
    let checksum = Node::<VirtualFile>::decode_verified(
        &{
            let mut b = stored;
            b[40] ^= 1;
            b
        },
        id,
    )
    .unwrap_err()
    .to_string();
    assert!(checksum.contains("its checksum is ") && checksum.contains("but its envelope says "), "{checksum}");
    let error = Node::<Entry>::decode_verified(&samples::files_leaf().encode_at_rest(), id).unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("it is a files node, not a manifest node"), "{error}");
}

/// The limit on a whole node or commit, which each of its parts may keep to.
#[test]
fn what_is_too_long_as_a_whole_is_refused_in_both_forms() {
    let entry = |i| (format!("{i}/zarr.json"), inline(4096));
    let node = |rows| leaf((0..rows).map(entry));
    let fits = node(254);
    assert!(fits.canonical().len() < 1 << 20);
    assert!(Node::<Entry>::decode_canonical(&fits.canonical(), HASH).is_ok());
    assert!(Node::<Entry>::decode_verified(&fits.encode_at_rest(), fits.id(HASH)).is_ok());
    corrupt(&node(256), "a node has less than");

    let meta = |count: usize| (0..count).map(|i| (i.to_string(), "m".repeat(1 << 17))).collect();
    let fits = Commit { meta: meta(15), ..samples::commit() };
    let long = Commit { meta: meta(16), ..samples::commit() };
    let stored = |commit: &Commit| SnapshotObject { commit: commit.clone(), roots: crate::format::Roots::default() }.encode();
    fits.check().unwrap();
    assert_eq!(Commit::decode_canonical(&fits.canonical(), HASH).unwrap(), fits);
    assert_eq!(SnapshotObject::decode_verified(&stored(&fits), fits.id(HASH)).unwrap().commit, fits);
    assert_eq!(long.check().unwrap_err().kind(), ErrorKind::Invalid);
    assert!(Commit::decode_canonical(&long.canonical(), HASH).unwrap_err().to_string().contains("at most"));
    assert_eq!(SnapshotObject::decode_verified(&stored(&long), long.id(HASH)).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn commits_that_no_writer_makes_are_refused() {
    let commit = samples::commit;
    let container = |name: &str| Container { name: name.to_owned(), ..commit().containers[0].clone() };
    let wrong: Vec<(&str, Commit)> = vec![
        ("before 1970", Commit { time: Timestamp::from_micros(-1), since: None, ..commit() }),
        ("begins after", Commit { since: Some(commit().time.next()), ..commit() }),
        ("twice", Commit { parents: vec![commit().parents[0]; 2], ..commit() }),
        ("sorted and unique", Commit { places: vec!["b".to_owned(), "a".to_owned()], ..commit() }),
        ("sorted and unique", Commit { places: vec!["a".to_owned(); 2], ..commit() }),
        ("sorted and unique", Commit { containers: vec![container("b"), container("a")], ..commit() }),
        ("sorted and unique", Commit { containers: vec![container("a"), container("a")], ..commit() }),
        ("control character", Commit { containers: vec![container("a\u{1f}b")], ..commit() }),
        ("empty", Commit { containers: vec![container("")], ..commit() }),
        ("at most", Commit { message: "m".repeat((1 << 20) + 1), ..commit() }),
        ("at most", Commit { author: Some("a".repeat(1025)), ..commit() }),
        ("at most", Commit { meta: (0..1025).map(|i| (i.to_string(), String::new())).collect(), ..commit() }),
        ("at most", Commit { parents: (0..65u8).map(|i| SnapshotId::of(HASH, &[i])).collect(), ..commit() }),
    ];
    for (why, commit) in wrong {
        let invalid = commit.check().expect_err(why);
        assert!(invalid.kind() == ErrorKind::Invalid && invalid.to_string().contains(why), "{invalid}");
        let corrupt = Commit::decode_canonical(&commit.canonical(), HASH).expect_err(why);
        assert_eq!(corrupt.kind(), ErrorKind::Corrupt, "{corrupt}");
        let object = SnapshotObject { commit, roots: crate::format::Roots::default() };
        let corrupt = SnapshotObject::decode_verified(&object.encode(), object.commit.id(HASH)).expect_err(why);
        assert_eq!(corrupt.kind(), ErrorKind::Corrupt, "{corrupt}");
    }
}

#[test]
fn a_commit_of_another_version_is_unsupported_and_null_is_not_absent() {
    let bytes = samples::first_commit().canonical();
    assert_eq!(bytes[..4], [0xaa, 0x61, b'v', 1]);
    let mut newer = bytes.clone();
    newer[3] = 2;
    assert_eq!(Commit::decode_canonical(&newer, HASH).unwrap_err().kind(), ErrorKind::Unsupported);
    // `since: null` in its place, before `places`.
    let at = bytes.windows(7).position(|w| w == b"\x66places").unwrap();
    let with_null = [&[0xab][..], &bytes[1..at], b"\x65since\xf6", &bytes[at..]].concat();
    assert_eq!(Commit::decode_canonical(&with_null, HASH).unwrap_err().kind(), ErrorKind::Corrupt);
    let with_more = [&[0xab][..], &bytes[1..], b"\x6bunknown key\x00"].concat();
    assert_eq!(Commit::decode_canonical(&with_more, HASH).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// The table of files that an object lists beside its rows was read in any order, with files that nothing used or that were there
/// twice: several objects of one id, of which only one is in the format.
#[test]
fn a_file_table_at_rest_is_the_canonical_one() {
    let take = |names: &[&str], places: &[i64]| {
        let keys: Vec<_> = (0..places.len()).map(|row| format!("k{row}")).collect();
        let entries = keys.iter().zip(places).map(|(key, place)| {
            let name = usize::try_from(*place).ok().and_then(|place| names.get(place)).unwrap_or(&"nothing");
            (key.clone(), Entry::Virtual { file: file(name), offset: 0, length: 0 })
        });
        let node = leaf(entries);
        let mut out = ColumnWriter::default();
        out.bytes(&[0]);
        out.number(keys.len() as u64);
        strings::write(&mut out, keys.iter().map(String::as_str));
        out.column(&vec![3; places.len()]);
        out.column(&vec![0; places.len()]);
        let mut last = 0;
        let steps = places.iter().map(|place| zigzag(*place - std::mem::replace(&mut last, *place)));
        out.column(&steps.collect::<Vec<_>>());
        out.column(&vec![0; places.len()]);
        out.number(names.len() as u64);
        let files: Vec<_> = names.iter().map(|name| file(name)).collect();
        strings::write(&mut out, files.iter().map(|file| file.as_map_key().as_str()));
        let (frame, beside) = out.finish();
        let stored = envelope::seal(Kind::Node(MapKind::Manifest), &beside, &frame);
        Node::<Entry>::decode_verified(&stored, node.id(HASH)).map(|found| assert!(found == node))
    };
    take(&["a", "b"], &[0, 0, 1, 0]).unwrap();
    take(&["b", "a"], &[0, 1, 1]).unwrap();
    let wrong: [(&[&str], &[i64], &str); 5] = [
        (&["a", "b"], &[1, 0, 1], "and none before it in file 0"),
        (&["a", "b"], &[0, 0, 0], "it lists 2 files, and 1 are in use"),
        (&["a"], &[], "it lists 1 files, and 0 are in use"),
        (&["a", "b", "a"], &[0, 1, 2], "twice"),
        (&["a"], &[0, 1], "which is not listed"),
    ];
    for (names, places, why) in wrong {
        let error = take(names, places).expect_err(why);
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(why), "{error}");
    }
}
