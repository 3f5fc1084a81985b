//! Whatever is written in columns comes back, however irregular; and what is regular is short.

use bytes::Bytes;
use proptest::prelude::*;

use super::samples::{self, HASH};
use crate::format::column::{ColumnReader, ColumnWriter};
use crate::format::{Entry, FileKey, HistoryEntry, Leaf, Node, Value, VirtualFile, limits, strings};
use crate::id::{ChunkForm, SnapshotId};
use crate::key::MapKey;
use crate::time::Timestamp;

/// The frame and what lies beside it, when `strings` are written alone.
fn written(strings: &[String]) -> (Vec<u8>, Vec<u8>) {
    let mut out = ColumnWriter::default();
    strings::write(&mut out, strings.iter().map(String::as_str));
    out.finish()
}

fn read_back(strings: &[String]) -> Vec<String> {
    let (frame, beside) = written(strings);
    let mut input = ColumnReader::new(&frame, &beside);
    let mut back = Vec::new();
    strings::read(&mut input, strings.len(), "strings", |string| {
        back.push(string.to_owned());
        Ok(())
    })
    .unwrap();
    input.end().unwrap();
    back
}

/// Strings as they are foretold after `spelt`, as many as `count` with it.
fn foretold(spelt: &[&str], count: usize) -> Vec<String> {
    let spelt: Vec<_> = spelt.iter().copied().map(str::to_owned).collect();
    let (mut frame, beside) = written(&spelt);
    assert_eq!((frame[0], beside.len()), (u8::try_from(spelt.len()).unwrap(), 0), "each is spelt out");
    let mut back = Vec::new();
    frame.splice(..1, [frame[0]]);
    strings::read(&mut ColumnReader::new(&frame, &beside), count, "strings", |string| {
        back.push(string.to_owned());
        Ok(())
    })
    .unwrap();
    back
}

#[test]
fn a_walk_counts_up_and_learns_where_to_turn() {
    assert_eq!(foretold(&["c/0/98"], 4), ["c/0/98", "c/0/99", "c/0/100", "c/0/101"]);
    assert_eq!(foretold(&["t_098.tif"], 3), ["t_098.tif", "t_099.tif", "t_100.tif"]);
    assert_eq!(foretold(&["999"], 2), ["999", "1000"]);
    assert_eq!(foretold(&["c/0/2", "c/1/0"], 6), ["c/0/2", "c/1/0", "c/1/1", "c/1/2", "c/2/0", "c/2/1"]);
    assert_eq!(foretold(&["c/0/1/1", "c/1/0/0"], 6), ["c/0/1/1", "c/1/0/0", "c/1/0/1", "c/1/1/0", "c/1/1/1", "c/2/0/0"]);
    assert_eq!(foretold(&["2/0", "4/0"], 3), ["2/0", "4/0", "5/0"], "a dimension of one");
    assert_eq!(foretold(&["a", "b"], 3), ["a", "b", "b"], "without a number the string itself");
    // Another shape forgets what was learnt.
    assert_eq!(foretold(&["c/0/1", "c/1/0", "d/c/1/0", "d/c/1/7"], 5)[4], "d/c/1/8");
}

#[test]
fn a_regular_walk_costs_a_few_strings() {
    let keys: Vec<_> = (7_000..9_000).map(|n| format!("air/c/{}/{}/{}", n / 100, n % 100 / 10, n % 10)).collect();
    assert_eq!(read_back(&keys), keys);
    let (frame, beside) = written(&keys);
    assert!(frame.len() < 50 && beside.is_empty(), "{} bytes", frame.len());
}

/// Strings that look like keys, with numbers of every kind, some next to each other in a walk.
fn text() -> impl Strategy<Value = String> {
    let number = prop_oneof![4 => (0u64..12).prop_map(|n| n.to_string()), 1 => "0[0-9]{0,3}", 1 => any::<u64>().prop_map(|n| n.to_string()), 1 => "9{1,30}"];
    let part = prop_oneof![5 => number, 2 => "[a-c]{0,2}", 1 => "[é/._-]{1,2}"];
    prop::collection::vec(part, 1..5).prop_map(|parts| format!("k{}", parts.join("/")))
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    let runs = (text(), 0..40u64).prop_map(|(head, count)| (0..count).map(|n| format!("{head}/{}/{}", n / 7, n % 7)).collect::<Vec<_>>());
    prop::collection::vec(prop_oneof![text().prop_map(|t| vec![t]), runs], 0..20).prop_map(|runs| runs.concat())
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0u64), 2 => 0..4u64, 2 => 0..70_000u64, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

const MOST: u64 = limits::NUMBER;

fn entry() -> impl Strategy<Value = Entry> {
    let place = prop_oneof![0..1_000_000u64, 0..MOST, Just(MOST)];
    let file = prop_oneof![(0..3u8).prop_map(|n| format!("{n:03}.nc")), "[a-z0-9]{0,6}"];
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Entry::Inline(Bytes::from(bytes))),
        2 => (any::<u16>(), any::<bool>(), 4097..1u64 << 40).prop_map(|(seed, raw, size)| {
            let form = if raw { ChunkForm::Raw } else { ChunkForm::UnixFs };
            Entry::Chunk { id: samples::chunk(form, &seed.to_string()), size }
        }),
        4 => (file, place, value()).prop_map(|(name, offset, length)| {
            Entry::Virtual { file: FileKey::new("era5", [name.as_str()]).unwrap(), offset, length: length.min(MOST - offset) }
        }),
    ]
}

fn virtual_file() -> impl Strategy<Value = VirtualFile> {
    let digest = prop_oneof![Just([0x12, 32].as_slice()), Just(&[0x1e, 32][..]), Just(&[][..])];
    let digest = (digest, prop::collection::vec(any::<u8>(), 31..33)).prop_map(|(head, tail)| [head, &tail].concat());
    let etag = prop_oneof!["[0-9a-f]{32}", "[0-9a-f]{32}-[0-9]{1,2}", "[0-9A-F]{32}", "[0-9a-f]{0,31}"].prop_map(String::into_bytes);
    let validators = (prop::option::of(0..MOST), prop::option::of(any::<i64>()), prop::option::of(etag));
    (validators, prop::option::of("[a-z]{0,5}"), prop::option::of(digest), any::<i64>(), 0..MOST, 0..MOST).prop_map(
        |((size, modified, etag), version, digest, pinned_at, refs, bytes)| VirtualFile {
            size,
            modified: modified.map(Timestamp::from_micros),
            etag,
            version,
            digest,
            pinned_at: Timestamp::from_micros(pinned_at),
            refs,
            bytes,
        },
    )
}

/// A leaf of the given values under sorted keys, each at most once.
fn leaf<V>(mut keys: Vec<MapKey>, values: Vec<V>) -> Leaf<V> {
    keys.sort();
    keys.dedup();
    Leaf { entries: keys.into_iter().zip(values).collect() }
}

/// Both forms hold the node; refused by the sums it may be, but by both.
fn survives<V: Value>(node: &Node<V>) {
    let stored = Node::<V>::decode_verified(&node.encode_at_rest(), node.id(HASH));
    match Node::<V>::decode_canonical(&node.canonical(), HASH) {
        Ok(back) => assert_eq!((&back, &stored.unwrap()), (node, node)),
        Err(refused) => assert!(stored.is_err() && refused.to_string().contains("exceeds"), "{refused}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::testing::property_cases(2_000)))]

    #[test]
    fn any_strings_come_back(strings in texts()) {
        prop_assert_eq!(read_back(&strings), strings);
    }

    #[test]
    fn any_numbers_come_back(columns in prop::collection::vec(prop::collection::vec(value(), 0..200), 1..4), noise in any::<u64>()) {
        let mut columns = columns;
        columns.push((0..100).map(|n| xxhash_rust::xxh3::xxh3_64_with_seed(&[n], noise) >> (noise % 64)).collect());
        let mut out = ColumnWriter::default();
        for column in &columns {
            out.column(column);
        }
        let (frame, beside) = out.finish();
        let mut input = ColumnReader::new(&frame, &beside);
        for column in &columns {
            prop_assert_eq!(&input.column(column.len(), "numbers").unwrap(), column);
        }
        input.end().unwrap();
    }

    #[test]
    fn any_leaf_of_the_manifest_survives(keys in texts(), entries in prop::collection::vec(entry(), 1..120)) {
        survives(&Node::Leaf(leaf(keys.iter().map(|key| MapKey::new(key.as_str())).filter(|key| crate::key::check(key.as_str(), "key").is_ok()).collect(), entries)));
    }

    #[test]
    fn any_leaf_of_the_files_survives(keys in texts(), files in prop::collection::vec(virtual_file(), 1..60)) {
        survives(&Node::Leaf(leaf(keys.iter().map(|key| MapKey::new(format!("era5\u{1f}{key}"))).collect(), files)));
    }

    #[test]
    fn any_leaf_of_a_history_survives(times in prop::collection::vec(0..i64::MAX, 0..60), summary in "[a-zé]{0,30}") {
        let entry = |time: &i64| HistoryEntry { id: SnapshotId::of(HASH, &time.to_be_bytes()), summary: summary.chars().take(usize::try_from(time % 30).unwrap()).collect() };
        survives(&Node::Leaf(leaf(times.iter().map(|time| MapKey::new(time.to_string())).collect(), times.iter().map(entry).collect())));
    }
}
