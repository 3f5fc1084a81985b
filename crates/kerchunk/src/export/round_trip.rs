//! What is exported and imported again is the same.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;

use firnline::{Existing, Key, Prefix, Repository, Snapshot};
use proptest::prelude::*;

use super::parquet_set::export_by;
use super::*;
use crate::{KerchunkImport, import_references};

/// What stands under a key.
#[derive(Debug, Clone)]
enum Stored {
    Bytes(Vec<u8>),
    Virtual(&'static str, u64, u64),
}

/// Files as repositories record them when other tools name them.
const URLS: [&str; 10] = [
    "file:///data/a.nc",
    "file:///my%20data/100%25%2C%C3%BC.nc",
    "file:///data/%7B%7Bb%7D%7D%2520.nc",
    "s3://bucket/a b%20ü.nc",
    "s3://bucket/a{{b}}.nc",
    "s3://other/a.nc",
    "gs://bucket/sets/a.nc",
    "az://container/a.nc",
    "https://example.org/a%20b.nc?version=1",
    "http://example.org:8080/a.nc",
];

/// Sizes of a grid along each dimension, and which of its chunks are what.
type RandomArray = (Vec<u64>, Vec<Option<Stored>>);

fn stored() -> impl Strategy<Value = Stored> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "base64:[A-Za-z]{0,6}".prop_map(String::into_bytes),
        "[ -~\\n\u{e9}\u{1}]{0,30}".prop_map(String::into_bytes),
        Just(vec![7; 3000]),
    ];
    let range = (prop::sample::select(URLS.as_slice()), 0_u64..1 << 40, 0_u64..1 << 20);
    prop_oneof![
        1 => bytes.prop_map(Stored::Bytes),
        // An empty range at the beginning of a file is the one that Parquet cannot hold.
        3 => range.prop_map(|(url, offset, length)| Stored::Virtual(url, offset + u64::from(length == 0), length)),
    ]
}

fn random_array() -> impl Strategy<Value = RandomArray> {
    prop::collection::vec(1_u64..5, 0..4).prop_flat_map(|counts| {
        let total = usize::try_from(counts.iter().product::<u64>()).unwrap();
        (Just(counts), prop::collection::vec(prop::option::weighted(0.7, stored()), total))
    })
}

/// The keys of a Zarr v2 hierarchy with these arrays.
fn hierarchy(arrays: &[RandomArray], attributes: &str) -> BTreeMap<String, Stored> {
    let names = ["air", "g/time", "g/h/x10", "x9"];
    let text = |text: String| Stored::Bytes(text.into_bytes());
    let mut keys = BTreeMap::from([
        (".zgroup".to_owned(), text(r#"{"zarr_format":2}"#.to_owned())),
        (".zattrs".to_owned(), text(serde_json::json!({ "title": attributes }).to_string())),
        ("g/.zgroup".to_owned(), text(r#"{ "zarr_format" : 2 }"#.to_owned())),
        ("g/.zattrs".to_owned(), text(r#"{"missing_value":NaN,"text":"NaN"}"#.to_owned())),
    ]);
    for ((counts, chunks), name) in arrays.iter().zip(names) {
        let shape: Vec<u64> = counts.iter().map(|count| count * 3 - 1).collect();
        let zarray = serde_json::json!({
            "zarr_format": 2, "shape": shape, "chunks": vec![3; shape.len()], "dtype": "<i4",
            "compressor": null, "fill_value": 1.50, "filters": null, "order": "C"
        });
        keys.insert(format!("{name}/.zarray"), text(zarray.to_string()));
        for (number, chunk) in chunks.iter().enumerate() {
            let Some(chunk) = chunk else { continue };
            let mut rest = number as u64;
            let mut indices: Vec<String> = counts.iter().rev().map(|count| (rest % count, rest /= count).0.to_string()).collect();
            indices.reverse();
            let last = if indices.is_empty() { "0".to_owned() } else { indices.join(".") };
            keys.insert(format!("{name}/{last}"), chunk.clone());
        }
    }
    keys
}

async fn commit(keys: &BTreeMap<String, Stored>, below: &str) -> Snapshot {
    let session = Repository::create("memory:").await.unwrap().write("main").await.unwrap();
    for (key, stored) in keys {
        let key = Key::new(format!("{below}{key}")).unwrap();
        match stored {
            Stored::Bytes(bytes) => session.set(&key, bytes.clone()).await.unwrap(),
            Stored::Virtual(url, offset, length) => session.set_virtual(&key, url, *offset..offset + length).await.unwrap(),
        }
    }
    session.commit("before").await.unwrap()
}

async fn imported(set: &Path, below: &str) -> Snapshot {
    let session = Repository::create("memory:").await.unwrap().write("main").await.unwrap();
    let options = KerchunkImport::default().prefix(Prefix::new(below).unwrap());
    import_references(&session, set, &options).await.unwrap();
    session.commit("after").await.unwrap()
}

async fn json_comes_back(snapshot: &Snapshot, below: &str, directory: &Path) {
    let (set, options) = (directory.join("set.json"), ExportOptions::default().prefix(Prefix::new(below).unwrap()));
    let mut out = Vec::new();
    export_json(snapshot, &options, &mut out).await.unwrap();
    std::fs::write(&set, out).unwrap();
    assert_eq!(imported(&set, below).await.record().manifest, snapshot.record().manifest);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Any hierarchy of Zarr v2 that both forms of a set can hold has the same manifest afterwards.
    #[test]
    fn a_v2_hierarchy_comes_back(
        arrays in prop::collection::vec(random_array(), 1..5),
        attributes in "[a-z\"\\\\\u{e9}]{0,6}",
        below in prop::sample::select(vec!["", "a/b/"]),
        record_size in 1_u32..20,
        most_bytes in prop::sample::select(vec![0, 50, 1 << 20]),
    ) {
        let keys = hierarchy(&arrays, &attributes);
        let directory = tempfile::tempdir().unwrap();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let snapshot = commit(&keys, below).await;
            json_comes_back(&snapshot, below, directory.path()).await;
            let options = ExportOptions::default().prefix(Prefix::new(below).unwrap()).record_size(NonZeroU32::new(record_size).unwrap());
            let set = directory.path().join("set.parq");
            export_by(&snapshot, &options, &set, Existing::Refuse, most_bytes).await.unwrap();
            assert_eq!(imported(&set, below).await.record().manifest, snapshot.record().manifest);
        });
    }

    /// JSON holds any keys and values.
    #[test]
    fn any_keys_come_back_from_json(keys in prop::collection::btree_map("[a-z.0-9\u{e9} ]{1,3}(/[a-z0-9\"\\\\]{1,3}){0,2}", stored(), 1..30)) {
        let keys: BTreeMap<_, _> = keys.into_iter().filter(|(key, _)| Key::new(key.as_str()).is_ok()).collect();
        prop_assume!(!keys.is_empty());
        let directory = tempfile::tempdir().unwrap();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let snapshot = commit(&keys, "").await;
            json_comes_back(&snapshot, "", directory.path()).await;
        });
    }
}
