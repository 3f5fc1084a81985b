use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::Path;

use firnline::{ErrorKind, Existing, Key, Prefix, Repository, Snapshot, WriteSession};
use parquet::basic::Encoding;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;
use serde_json::{Value, json};

use super::parquet_set::export_by;
use super::*;

const GROUP3: &str = r#"{"zarr_format":3,"node_type":"group","attributes":{"title":"flow"}}"#;

/// The Zarr v3 metadata of an array of 4-byte integers.
fn array3(shape: &[u64], chunks: &[u64], names: &[&str]) -> String {
    json!({
        "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": "int32", "fill_value": 0, "dimension_names": names,
        "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": chunks } },
        "chunk_key_encoding": { "name": "default" }, "codecs": [{ "name": "bytes", "configuration": { "endian": "little" } }]
    })
    .to_string()
}

fn array2(shape: &[u64], chunks: &[u64], more: &str) -> String {
    format!(
        r#"{{"zarr_format": 2, "shape": {shape:?}, "chunks": {chunks:?}, "dtype": "<i4", "compressor": null, "fill_value": null, "filters": null, "order": "C"{more}}}"#
    )
}

/// A session on a new repository in memory.
async fn session() -> WriteSession {
    Repository::create("memory:").await.unwrap().write("main").await.unwrap()
}

async fn set(session: &WriteSession, key: &str, value: impl Into<bytes::Bytes>) {
    session.set(&Key::new(key).unwrap(), value.into()).await.unwrap();
}

async fn point(session: &WriteSession, key: &str, url: &str, offset: u64, length: u64) {
    session.set_virtual(&Key::new(key).unwrap(), url, offset..offset + length).await.unwrap();
}

async fn commit(session: WriteSession) -> Snapshot {
    session.commit("set").await.unwrap()
}

async fn json_of(snapshot: &Snapshot, options: &ExportOptions) -> firnline::Result<(String, ExportSummary)> {
    let mut out = Vec::new();
    let summary = export_json(snapshot, options, &mut out).await?;
    Ok((String::from_utf8(out).unwrap(), summary))
}

async fn refs_of(snapshot: &Snapshot) -> Value {
    let (text, _) = json_of(snapshot, &ExportOptions::default()).await.unwrap();
    let mut set: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(set["version"], 1);
    set["refs"].take()
}

/// Two variables of Zarr v3, one of them in a group.
async fn version_3() -> Snapshot {
    let session = session().await;
    set(&session, "zarr.json", GROUP3).await;
    set(&session, "air/zarr.json", array3(&[4, 6], &[2, 3], &["y", "x"])).await;
    for (n, key) in ["0/0", "0/1", "1/0", "1/1"].into_iter().enumerate() {
        point(&session, &format!("air/c/{key}"), "file:///data/a%20b.nc", 24 * n as u64, 24).await;
    }
    set(&session, "g/zarr.json", r#"{"zarr_format":3,"node_type":"group"}"#).await;
    set(&session, "g/time/zarr.json", array3(&[2], &[2], &["time"])).await;
    set(&session, "g/time/c/0", vec![0, 0, 0, 0, 255, 0, 0, 0]).await;
    commit(session).await
}

#[tokio::test]
async fn a_v2_hierarchy_is_written_byte_for_byte() {
    let session = session().await;
    let zarray = array2(&[4], &[2], "");
    set(&session, ".zgroup", "{ \"zarr_format\": 2 }\n").await;
    set(&session, "x/.zarray", zarray.clone()).await;
    set(&session, "x/.zattrs", r#"{"note":"base64:is no mark here"}"#).await;
    point(&session, "x/0", "file:///data/a.nc", 7, 8).await;
    point(&session, "x/1", "s3://bucket/b c%20.nc", 0, 0).await;
    set(&session, "README", "base64:text").await;
    set(&session, "binary", vec![0, 1, 2]).await;
    set(&session, "empty", "").await;
    let (text, summary) = json_of(&commit(session).await, &ExportOptions::default()).await.unwrap();
    let zarray = serde_json::to_string(&zarray).unwrap();
    let expected = [
        r#"{"version":1,"refs":{"#,
        r#"".zgroup":"{ \"zarr_format\": 2 }\n","#,
        r#""README":"base64:YmFzZTY0OnRleHQ=","#,
        r#""binary":"base64:AAEC","#,
        r#""empty":"","#,
        &format!(r#""x/.zarray":{zarray},"#),
        r#""x/.zattrs":"{\"note\":\"base64:is no mark here\"}","#,
        r#""x/0":["/data/a.nc",7,8],"#,
        r#""x/1":["s3://bucket/b c%20.nc",0,0]"#,
        "}}\n",
    ];
    assert_eq!(text, expected.join("\n"));
    assert_eq!((summary.references, summary.values, summary.stored_chunks, summary.notes), (2, 6, 0, vec![]));
}

#[tokio::test]
async fn a_v3_hierarchy_becomes_one_of_v2() {
    let snapshot = version_3().await;
    let refs = refs_of(&snapshot).await;
    let zarray = |shape: Value, chunks: Value| {
        let plain = json!({ "shape": shape, "chunks": chunks, "dtype": "<i4", "fill_value": null, "order": "C", "filters": null, "compressor": null, "zarr_format": 2 });
        plain
    };
    let document = |key: &str| serde_json::from_str::<Value>(refs[key].as_str().unwrap_or_else(|| panic!("{key}: {refs}"))).unwrap();
    assert_eq!(document(".zgroup"), json!({ "zarr_format": 2 }));
    assert_eq!(document(".zattrs"), json!({ "title": "flow" }));
    assert_eq!(document("air/.zarray"), zarray(json!([4, 6]), json!([2, 3])));
    assert_eq!(document("air/.zattrs"), json!({ "_ARRAY_DIMENSIONS": ["y", "x"] }));
    assert_eq!(document("g/.zgroup"), json!({ "zarr_format": 2 }));
    assert_eq!(document("g/time/.zarray"), zarray(json!([2]), json!([2])));
    assert_eq!(refs["air/1.0"], json!(["/data/a b.nc", 48, 24]));
    assert_eq!(refs["g/time/0"], "base64:AAAAAP8AAAA=");
    assert_eq!(refs.as_object().unwrap().len(), 12, "{refs}");

    let below = ExportOptions::default().prefix(Prefix::new("air").unwrap());
    let (text, _) = json_of(&snapshot, &below).await.unwrap();
    let set: Value = serde_json::from_str(&text).unwrap();
    let keys: BTreeSet<_> = set["refs"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, [".zarray", ".zattrs", "0.0", "0.1", "1.0", "1.1"].into());

    let kept = ExportOptions::default().v3_metadata(V3Metadata::Keep);
    let (text, _) = json_of(&snapshot, &kept).await.unwrap();
    let set: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&set["refs"]["zarr.json"], &set["refs"]["air/c/1/0"]), (&json!(GROUP3), &json!(["/data/a b.nc", 48, 24])));
    assert_eq!(set["refs"].as_object().unwrap().len(), 9);
}

#[tokio::test]
async fn names_of_chunks_are_not_taken_for_each_other() {
    let session = session().await;
    set(&session, "x/zarr.json", array3(&[4], &[2], &["n"])).await;
    point(&session, "x/c/0", "file:///data/a.nc", 0, 8).await;
    // Below an array lie chunks only, and this key would have the name of a chunk.
    point(&session, "x/0", "file:///data/a.nc", 8, 8).await;
    let error = json_of(&commit(session).await, &ExportOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().starts_with("x/0: it is neither the metadata nor a chunk"), "{error}");
}

#[tokio::test]
async fn stored_chunks_above_the_limit_are_refused_by_name() {
    let session = session().await;
    set(&session, "x/.zarray", array2(&[4000], &[2000], "")).await;
    set(&session, "x/.zattrs", format!(r#"{{"long":"{}"}}"#, "x".repeat(10_000))).await;
    set(&session, "x/0", vec![7; 8000]).await;
    let snapshot = commit(session).await;
    let (_, summary) = json_of(&snapshot, &ExportOptions::default().inline_limit(8000)).await.unwrap();
    assert_eq!((summary.values, summary.stored_chunks), (3, 1));
    let error = json_of(&snapshot, &ExportOptions::default().inline_limit(7999)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with("x/0 is a chunk of 8000 bytes"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_exported_is_named() {
    let both = session().await;
    set(&both, "zarr.json", GROUP3).await;
    set(&both, ".zgroup", r#"{"zarr_format":2}"#).await;
    let sharded = session().await;
    let mut document: Value = serde_json::from_str(&array3(&[4], &[2], &["n"])).unwrap();
    document["codecs"] = json!([{ "name": "sharding_indexed", "configuration": { "chunk_shape": [1], "codecs": ["bytes"] } }]);
    set(&sharded, "a/b/zarr.json", document.to_string()).await;
    for (session, start) in [(both, ".zgroup: the root has metadata"), (sharded, "a/b/zarr.json: its chunks are shards")] {
        let error = json_of(&commit(session).await, &ExportOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().starts_with(start), "{error}");
    }
    let snapshot = version_3().await;
    let prefix = |prefix: &str| ExportOptions::default().prefix(Prefix::new(prefix).unwrap());
    assert_eq!(json_of(&snapshot, &prefix("nothing")).await.unwrap_err().kind(), ErrorKind::NotFound);
    let error = json_of(&snapshot, &prefix("air/c")).await.unwrap_err();
    assert!(error.to_string().contains("inside of the array air/"), "{error}");
}

/// A row of a file of references: path, offset, size, raw.
type Row = (Option<String>, i64, i64, Option<Vec<u8>>);

fn rows(file: &Path) -> Vec<Row> {
    let reader = SerializedFileReader::new(std::fs::File::open(file).unwrap()).unwrap();
    let row = |row: parquet::errors::Result<parquet::record::Row>| {
        let row = row.unwrap();
        let raw = row.get_bytes(3).ok().map(|bytes| bytes.data().to_vec());
        (row.get_string(0).ok().cloned(), row.get_long(1).unwrap(), row.get_long(2).unwrap(), raw)
    };
    reader.get_row_iter(None).unwrap().map(row).collect()
}

#[tokio::test]
async fn records_hold_the_chunks_of_an_array_row_by_row() {
    let session = session().await;
    set(&session, ".zgroup", r#"{"zarr_format":2}"#).await;
    set(&session, ".zmetadata", "{}").await;
    set(&session, "g/x/.zarray", array2(&[2, 11], &[1, 1], "")).await;
    set(&session, "none/.zarray", array2(&[3], &[2], "")).await;
    set(&session, "scalar/.zarray", array2(&[], &[], "")).await;
    point(&session, "g/x/0.2", "file:///data/a.nc", 5, 4).await;
    point(&session, "g/x/0.10", "s3://b/k", 0, 0).await;
    point(&session, "g/x/1.10", "s3://b/k", 9, 0).await;
    set(&session, "g/x/1.0", "base64:AA==").await;
    set(&session, "scalar/0", vec![1, 2, 3, 4]).await;
    let snapshot = commit(session).await;
    let directory = tempfile::tempdir().unwrap();
    let set = directory.path().join("set.parq");
    let options = ExportOptions::default().record_size(NonZeroU32::new(5).unwrap());
    let summary = export_parquet(&snapshot, &options, &set, Existing::Refuse).await.unwrap();
    assert_eq!((summary.references, summary.values), (3, 7));
    assert_eq!(summary.notes, ["the consolidated metadata of the root is left out"]);

    let metadata: Value = serde_json::from_slice(&std::fs::read(set.join(".zmetadata")).unwrap()).unwrap();
    assert_eq!(metadata["record_size"], 5);
    let keys = metadata["metadata"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys, [".zgroup", "g/x/.zarray", "none/.zarray", "scalar/.zarray"]);

    let null = (None, 0, 0, None);
    let record = |n: usize| rows(&set.join(format!("g/x/refs.{n}.parq")));
    assert_eq!(record(0), [null.clone(), null.clone(), (Some("/data/a.nc".into()), 5, 4, None), null.clone(), null.clone()]);
    assert_eq!(record(1), vec![null.clone(); 5]);
    // Offset and size 0 would mean the whole file, and a value that begins so is decoded by its reader.
    let marked = Some(b"base64:YmFzZTY0OkFBPT0=".to_vec());
    assert_eq!(record(2), [(None, 0, 0, Some(vec![])), (None, 0, 0, marked), null.clone(), null.clone(), null.clone()]);
    assert_eq!(record(3), vec![null.clone(); 5]);
    assert_eq!(record(4), [null.clone(), (Some("s3://b/k".into()), 9, 0, None)]);
    assert!(!set.join("g/x/refs.5.parq").exists());
    assert_eq!(rows(&set.join("scalar/refs.0.parq")), [(None, 0, 0, Some(vec![1, 2, 3, 4]))]);
    assert_eq!(rows(&set.join("none/refs.0.parq")), vec![null; 2]);
}

#[tokio::test]
async fn values_are_written_in_groups_of_rows_as_they_gather() {
    let session = session().await;
    set(&session, "x/.zarray", array2(&[10], &[1], "")).await;
    for n in [1, 2, 4, 8] {
        set(&session, &format!("x/{n}"), vec![n; 3]).await;
    }
    point(&session, "x/3", "file:///data/a.nc", 5, 4).await;
    let snapshot = commit(session).await;
    let directory = tempfile::tempdir().unwrap();
    let found = async |most_bytes: usize| {
        let set = directory.path().join(most_bytes.to_string());
        export_by(&snapshot, &ExportOptions::default(), &set, Existing::Refuse, most_bytes).await.unwrap();
        let file = set.join("x/refs.0.parq");
        let reader = SerializedFileReader::new(std::fs::File::open(&file).unwrap()).unwrap();
        let groups = reader.metadata().row_groups().iter().map(parquet::file::metadata::RowGroupMetaData::num_rows).collect::<Vec<_>>();
        (groups, rows(&file))
    };
    let (whole, all) = found(22).await;
    assert_eq!((whole, all.len()), (vec![10], 10));
    for (most_bytes, groups) in [(8, vec![4, 6]), (5, vec![3, 1, 5, 1]), (0, vec![2, 1, 1, 1, 4, 1])] {
        assert_eq!(found(most_bytes).await, (groups, all.clone()), "{most_bytes}");
    }
}

/// fastparquet takes values that follow a dictionary for nulls where pyarrow is installed.
#[tokio::test]
async fn urls_are_all_in_dictionaries_however_many_there_are() {
    let session = session().await;
    set(&session, "x/.zarray", array2(&[3000], &[1], "")).await;
    let url = |n: u64| format!("https://data.example.org/{}/{n}.grib2", "long".repeat(200));
    for n in 0..3000 {
        point(&session, &format!("x/{n}"), &url(n), n, 4).await;
    }
    let snapshot = commit(session).await;
    let directory = tempfile::tempdir().unwrap();
    for (most_bytes, groups) in [(64 << 20, 1), (1 << 20, 3)] {
        let set = directory.path().join(groups.to_string());
        export_by(&snapshot, &ExportOptions::default(), &set, Existing::Refuse, most_bytes).await.unwrap();
        let file = set.join("x/refs.0.parq");
        let reader = SerializedFileReader::new(std::fs::File::open(&file).unwrap()).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), groups);
        for group in reader.metadata().row_groups() {
            let pages = group.column(0).page_encoding_stats_mask().unwrap();
            assert!(pages.is_only(Encoding::RLE_DICTIONARY), "{pages:?}");
        }
        let rows = rows(&file);
        assert!(rows.len() == 3000 && (0..).zip(&rows).all(|(n, row)| row.0.as_ref() == Some(&url(n))));
    }
}

/// An import of a set that kerchunk made keeps such a document.
#[tokio::test]
async fn arrays_with_a_fill_value_as_python_writes_it_are_arrays() {
    let session = session().await;
    let document = |name: &str| (format!("{name}/.zarray"), array2(&[4], &[2], "").replace("\"fill_value\": null", "\"fill_value\": NaN"));
    for (key, text) in [document("x"), document("none")] {
        set(&session, &key, text).await;
    }
    point(&session, "x/1", "file:///data/a.nc", 0, 8).await;
    let snapshot = commit(session).await;
    let directory = tempfile::tempdir().unwrap();
    let set = directory.path().join("set.parq");
    export_parquet(&snapshot, &ExportOptions::default(), &set, Existing::Refuse).await.unwrap();
    assert_eq!(rows(&set.join("x/refs.0.parq"))[1], (Some("/data/a.nc".into()), 0, 8, None));
    assert_eq!(rows(&set.join("none/refs.0.parq")), vec![(None, 0, 0, None); 2]);
}

#[tokio::test]
async fn what_parquet_cannot_hold_is_refused_and_leaves_nothing() {
    let chunk = |key: &'static str| (key, None);
    let text = |key: &'static str, text: String| (key, Some(text));
    let cases = [
        (vec![text(".zarray", array2(&[4], &[2], "")), chunk("0")], "0: it belongs to an array at the root"),
        (
            vec![text("x/.zarray", array2(&[4, 4], &[2, 2], r#", "dimension_separator": "/""#)), chunk("x/0/1")],
            "x/0/1: its array separates",
        ),
        (vec![text("x/.zarray", array2(&[4], &[2], "")), chunk("x/2")], "x/2: it lies outside of the grid"),
        (vec![text("x/.zarray", array2(&[4], &[2], "")), chunk("x/notes")], "x/notes: it is neither metadata"),
        (vec![text("x/.zarray", "{}".into()), chunk("x/0")], "x/0: it is neither metadata"),
        (vec![chunk("README")], "README: it is neither metadata"),
        (vec![text("x/.zattrs", r#"{"a":nan}"#.into())], "x/.zattrs: it is no JSON"),
        (vec![text(".zoo/.zarray", array2(&[4], &[2], "")), chunk(".zoo/0")], ".zoo/0: the array"),
        (vec![chunk("x/.zattrs")], "x/.zattrs: it is metadata in an external file"),
    ];
    for (keys, why) in cases {
        let session = session().await;
        for (key, value) in keys {
            match value {
                Some(text) => set(&session, key, text).await,
                None => point(&session, key, "file:///data/a.nc", 0, 8).await,
            }
        }
        let snapshot = commit(session).await;
        let directory = tempfile::tempdir().unwrap();
        let error =
            export_parquet(&snapshot, &ExportOptions::default(), &directory.path().join("set"), Existing::Refuse).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().starts_with(why), "{error}\n{why}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{why}");
    }
}
