//! What an import stages, and what it refuses.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use firnline::{Access, CreateOptions, Entry, ErrorKind, Key, OpenOptions, Repository, Snapshot, file_url};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

use super::*;

/// A directory with files that references point into, and a repository that may read them.
struct Sandbox {
    directory: tempfile::TempDir,
    repository: Repository,
}

impl Sandbox {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = file_url(&directory.path().canonicalize().unwrap()).unwrap();
        let options = OpenOptions::default().access(Access::new([format!("{place}/=unpinned").parse().unwrap()]));
        let repository = Repository::create_with("memory:", CreateOptions::from(options)).await.unwrap();
        fs::write(directory.path().join("a.nc"), "0123456789").unwrap();
        fs::write(directory.path().join("b c.nc"), "abcdefghij").unwrap();
        Self { directory, repository }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    async fn import(&self, set: &Path, options: &KerchunkImport) -> Result<(Snapshot, KerchunkSummary)> {
        let session = self.repository.write("main").await?;
        session.delete_prefix(&Prefix::all());
        let summary = import_references(&session, set, options).await?;
        Ok((session.commit("an import").await.unwrap(), summary))
    }

    async fn import_json(&self, text: &str) -> Result<Snapshot> {
        let path = self.write("set.json", text);
        Ok(self.import(&path, &KerchunkImport::default()).await?.0)
    }

    /// Imports JSON that is to be refused.
    async fn refused(&self, text: &str) -> Error {
        match self.import_json(text).await {
            Ok(_) => panic!("{text} was imported"),
            Err(e) => e,
        }
    }
}

async fn value(snapshot: &Snapshot, key: &str) -> String {
    let value = snapshot.get(&Key::new(key).unwrap()).await.unwrap_or_else(|e| panic!("{key}: {e}"));
    String::from_utf8(value.unwrap_or_else(|| panic!("{key} is there")).to_vec()).unwrap()
}

async fn keys(snapshot: &Snapshot) -> Vec<String> {
    use futures::TryStreamExt as _;
    snapshot.list(&Prefix::all()).map_ok(|(key, _)| key.to_string()).try_collect().await.unwrap()
}

/// A row of a file of references: path, offset, size, raw.
type Row<'r> = (Option<&'r str>, i64, i64, Option<&'r [u8]>);

/// A file of references, as fastparquet writes one: paths from a dictionary, compressed.
fn parquet(rows: &[Row<'_>]) -> Vec<u8> {
    let schema = "message schema { optional binary path (UTF8); required int64 offset; required int64 size; optional binary raw; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let compression = parquet::basic::Compression::ZSTD(parquet::basic::ZstdLevel::default());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts = |column: Vec<Option<&[u8]>>| {
        let levels: Vec<i16> = column.iter().map(|one| i16::from(one.is_some())).collect();
        (levels, column.into_iter().flatten().map(|one| ByteArray::from(one.to_vec())).collect::<Vec<_>>())
    };
    let mut at = 0;
    while let Some(mut column) = group.next_column().unwrap() {
        match column.untyped() {
            ColumnWriter::Int64ColumnWriter(writer) => {
                let values: Vec<i64> = rows.iter().map(|row| if at == 1 { row.1 } else { row.2 }).collect();
                writer.write_batch(&values, None, None).unwrap();
            }
            ColumnWriter::ByteArrayColumnWriter(writer) => {
                let column = rows.iter().map(|row| if at == 0 { row.0.map(str::as_bytes) } else { row.3 });
                let (levels, values) = texts(column.collect());
                writer.write_batch(&values, Some(&levels), None).unwrap();
            }
            _ => unreachable!("the schema has no other columns"),
        }
        column.close().unwrap();
        at += 1;
    }
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn the_example_of_the_specification_gives_what_it_says() {
    let sandbox = Sandbox::new().await;
    let snapshot = sandbox
        .import_json(
            r#"{"version": 1,
                "templates": {"u": "server.domain/path", "f": "{{c}}"},
                "gen": [{"key": "gen_key{{i}}", "url": "http://{{u}}_{{i}}", "offset": "{{(i + 1) * 1000}}", "length": "1000",
                         "dimensions": {"i": {"stop": 5}}}],
                "refs": {"key0": "data",
                         "key1": ["http://target_url/", 10000, 100],
                         "key2": ["http://{{u}}", 10000, 100],
                         "key3": ["http://{{f(c='text')}}/", 10000, 100]}}"#,
        )
        .await
        .unwrap();
    let mut found = Vec::new();
    for key in keys(&snapshot).await {
        let told = match snapshot.entry(&Key::new(key.as_str()).unwrap()).await.unwrap().unwrap() {
            Entry::Virtual { file, offset, length } => format!("{} {offset} {length}", file.url(&snapshot.record().containers).unwrap()),
            _ => value(&snapshot, &key).await,
        };
        found.push(format!("{key} {told}"));
    }
    let mut expected = vec![
        "key0 data".to_owned(),
        "key1 http://target_url/ 10000 100".to_owned(),
        "key2 http://server.domain/path 10000 100".to_owned(),
        "key3 http://text/ 10000 100".to_owned(),
    ];
    expected.splice(0..0, (0..5).map(|i| format!("gen_key{i} http://server.domain/path_{i} {} 1000", (i + 1) * 1000)));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn every_kind_of_value_is_staged_in_both_versions() {
    let sandbox = Sandbox::new().await;
    let refs = r#"{"text": "°", "bytes": "base64:aGk=", "x/.zarray": {"shape" : [1.50]},
        "whole": ["b c.nc"], "part": ["./a.nc", 2, 3], "none": ["a.nc", 10, 0], "repeated": ["a.nc", 0, 1], "repeated": "later",
        "again": "earlier", "again": ["a.nc", 4, 1], "thrice": "1", "thrice": ["a.nc", 0, 1], "thrice": "3"}"#;
    for text in [refs.to_owned(), format!(r#"{{"refs": {refs}, "version": 1, "other": [{{}}]}}"#)] {
        let snapshot = sandbox.import_json(&text).await.unwrap();
        for (key, expected) in [
            ("text", "°"),
            ("bytes", "hi"),
            ("x/.zarray", r#"{"shape" : [1.50]}"#),
            ("whole", "abcdefghij"),
            ("part", "234"),
            ("none", ""),
            ("repeated", "later"),
            ("again", "4"),
            ("thrice", "3"),
        ] {
            assert_eq!(value(&snapshot, key).await, expected, "{key}");
        }
        assert_eq!(keys(&snapshot).await.len(), 9);
    }
}

#[tokio::test]
async fn a_file_url_means_the_file_of_this_very_name() {
    let sandbox = Sandbox::new().await;
    sandbox.write("d e.nc", "decoded   ");
    let literal = sandbox.write("d%20e.nc", "as written");
    for scheme in ["file", "local"] {
        let text = serde_json::json!({ "k": [format!("{scheme}://{}", literal.display()), 0, 10] }).to_string();
        assert_eq!(value(&sandbox.import_json(&text).await.unwrap(), "k").await, "as written", "{scheme}");
    }
}

#[tokio::test]
async fn braces_are_plain_text_where_there_are_no_templates() {
    let sandbox = Sandbox::new().await;
    sandbox.write("{{u}}.nc", "0123456789");
    let refs = r#"{"k": ["{{u}}.nc", 2, 3]}"#;
    for text in
        [refs.to_owned(), format!(r#"{{"version": 1, "refs": {refs}}}"#), format!(r#"{{"version": 1, "templates": {{}}, "refs": {refs}}}"#)]
    {
        assert_eq!(value(&sandbox.import_json(&text).await.unwrap(), "k").await, "234", "{text}");
    }
    let text = format!(r#"{{"version": 1, "templates": {{"u": "a"}}, "refs": {refs}}}"#);
    sandbox.write("a.nc", "abcdefghij");
    assert_eq!(value(&sandbox.import_json(&text).await.unwrap(), "k").await, "cde");
}

#[tokio::test]
async fn generators_are_products_in_which_the_last_dimension_runs_fastest() {
    let sandbox = Sandbox::new().await;
    let snapshot = sandbox
        .import_json(
            r#"{"version": 1, "templates": {"n": "a.nc"}, "refs": {"x/3.0": "replaced"},
                "gen": [
                    {"key": "x/{{i}}.{{j}}", "url": "{{n}}", "offset": "{{ i + j }}", "length": 1,
                     "dimensions": {"i": {"start": 5, "stop": 0, "step": -2}, "j": [0, 4]}},
                    {"key": "y/{{ name }}", "url": "{{ name }}", "dimensions": {"name": ["b c.nc"]}},
                    {"key": "z/{{ i }}", "url": "{{n}}", "dimensions": {"i": {"stop": 0}, "j": {"stop": 1000000000000000000}}}
                ]}"#,
        )
        .await
        .unwrap();
    assert_eq!(keys(&snapshot).await, ["x/1.0", "x/1.4", "x/3.0", "x/3.4", "x/5.0", "x/5.4", "y/b c.nc"]);
    for (key, expected) in [("x/1.4", "5"), ("x/3.0", "3"), ("x/5.4", "9"), ("y/b c.nc", "abcdefghij")] {
        assert_eq!(value(&snapshot, key).await, expected, "{key}");
    }
}

#[tokio::test]
async fn what_is_no_reference_set_is_an_error_that_names_it() {
    let sandbox = Sandbox::new().await;
    let set = |refs: &str| format!(r#"{{"version": 1, "refs": {refs}}}"#);
    let generated = |fields: &str| format!(r#"{{"version": 1, "gen": [{{{fields}}}]}}"#);
    let dimensions = |text: &str| generated(&format!(r#""key": "k{{{{i}}}}", "url": "a.nc", "dimensions": {text}"#));
    let cases = [
        (String::new(), "set.json is no reference set", ErrorKind::Invalid),
        ("[]".to_owned(), "set.json is no reference set", ErrorKind::Invalid),
        ("{} {}".to_owned(), "set.json is no reference set", ErrorKind::Invalid),
        (r#"{"k": ["a.nc", 0, 1]"#.to_owned(), "set.json is no reference set", ErrorKind::Invalid),
        (r#"{"version": 1}"#.to_owned(), "neither `refs` nor `gen`", ErrorKind::Invalid),
        (r#"{"refs": {}}"#.to_owned(), "no version", ErrorKind::Invalid),
        (r#"{"version": 2, "refs": {}}"#.to_owned(), "version `2`", ErrorKind::Unsupported),
        (r#"{"version": 1, "templates": {"a": 1}, "refs": {}}"#.to_owned(), "templates", ErrorKind::Invalid),
        (set("[]"), "neither `refs` nor `gen`", ErrorKind::Invalid),
        (set(r#"{"k": 1}"#), "k: `1`", ErrorKind::Invalid),
        (set(r#"{"k": ["a.nc", 1]}"#), "k: `[\"a.nc\", 1]`", ErrorKind::Invalid),
        (r#"{"version": 1, "templates": {"u": "a.nc"}, "refs": {"k": ["{{v}}", 0, 1]}}"#.to_owned(), "k: `{{v}}`", ErrorKind::Invalid),
        (set(r#"{"k": ["zip://a::s3://b/c", 0, 1]}"#), "k: zip://a::s3://b/c", ErrorKind::Invalid),
        (set(r#"{"k": ["ftp://h/a.nc", 0, 1]}"#), "k: ftp://h/a.nc", ErrorKind::Invalid),
        (set(r#"{"k//": ["a.nc", 0, 1]}"#), "k//", ErrorKind::Invalid),
        (set(r#"{"/k": "text"}"#), "/k", ErrorKind::Invalid),
        (set(r#"{"k": ["a.nc", 8, 3]}"#), "k: bytes 8 to 11 lie past the end of file:///", ErrorKind::Invalid),
        (set(r#"{"k": ["a.nc", 8, 18446744073709551615]}"#), "k: 18446744073709551615 bytes", ErrorKind::Invalid),
        (set(r#"{"k": ["gone.nc", 0, 1]}"#), "k: ", ErrorKind::NotFound),
        (set(r#"{"k": ["s3://bucket/a.nc"]}"#), "k: the reference goes to the end", ErrorKind::Denied),
        (dimensions(r#"{"i": {"stop": 1000000000000000000}}"#), "gen 0: the set generates more than", ErrorKind::Invalid),
        (dimensions(r#"{"i": {"stop": 5, "step": 0}}"#), "dimension `i`: a step of 0", ErrorKind::Invalid),
        (dimensions("{}"), "no dimensions", ErrorKind::Invalid),
        (dimensions("5"), "gen is no list", ErrorKind::Invalid),
        (dimensions(r#"{"i": [1], "i": [2]}"#), "gen is no list", ErrorKind::Invalid),
        (dimensions(r#"{"i": [1]}, "lenght": 5"#), "gen is no list", ErrorKind::Invalid),
        (dimensions(r#"{"i": [1]}, "length": 5"#), "must have both or neither", ErrorKind::Invalid),
        (dimensions(r#"{"i": [1]}, "offset": "{{ 0 - i }}", "length": 5"#), "where i = 1: offset `-1`", ErrorKind::Invalid),
        (dimensions(r#"{"i": [7]}, "offset": "{{ j }}", "length": 5"#), "where i = 7: `{{ j }}`", ErrorKind::Invalid),
        (dimensions(r#"{"i": [7]}, "offset": "7", "length": 5"#), "k7: bytes 7 to 12", ErrorKind::Invalid),
    ];
    for (text, message, kind) in cases {
        let error = sandbox.refused(&text).await;
        assert_eq!(error.kind(), kind, "{text}: {error}");
        assert!(error.to_string().contains(message), "{text}: {error}");
    }
    let template = r#"{"version": 1, "templates": {"i": "a.nc"}, "gen": [{"key": "k{{i}}", "url": "a.nc", "dimensions": {"i": [1]}}]}"#;
    assert!(sandbox.refused(template).await.to_string().contains("`i` is a dimension and a template"));
    for (bytes, message) in [(&b"\x1f\x8b\x08"[..], "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PAR1", "name the directory")] {
        let error = sandbox.import(&sandbox.write("set.json", bytes), &KerchunkImport::default()).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(message), "{error}");
    }
    let absent = sandbox.import(&sandbox.path("absent.json"), &KerchunkImport::default()).await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_missing_file_is_counted_where_it_is_allowed() {
    let sandbox = Sandbox::new().await;
    let path = sandbox.write("set.json", r#"{"x/0": ["a.nc", 0, 4], "x/1": ["gone.nc", 0, 4], "x/2": ["gone.nc", 4, 4], "y": "z"}"#);
    let options = KerchunkImport::default().allow_missing().prefix(Prefix::new("p/q").unwrap());
    let (snapshot, summary) = sandbox.import(&path, &options).await.unwrap();
    assert_eq!(summary, KerchunkSummary { references: 3, values: 1, missing: 1 });
    assert_eq!(keys(&snapshot).await, ["p/q/x/0", "p/q/x/1", "p/q/x/2", "p/q/y"]);
    assert_eq!(value(&snapshot, "p/q/x/0").await, "0123");
    let error = snapshot.get(&Key::new("p/q/x/1").unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn a_directory_gives_what_the_same_references_give_as_json() {
    let sandbox = Sandbox::new().await;
    sandbox.write(
        "set.parq/.zmetadata",
        r#"{"metadata": {".zgroup": {"zarr_format":2}, "g\/.zattrs": {"missing": NaN, "units":"m\/s"},
            "g/x/.zarray": {"shape":[5,4],"chunks":[2,2],"zarr_format":2}, "s/.zarray": {"shape":[],"chunks":[]},
            "e/.zarray": {"shape":[3],"chunks":[1]}}, "record_size": 4}"#,
    );
    let (a, b) = ("a.nc", "b c.nc");
    let rows: [Row<'_>; 4] = [(Some(a), 0, 2, None), (Some(b), 1, 2, None), (None, 0, 0, None), (Some(a), 2, 3, None)];
    sandbox.write("set.parq/g/x/refs.0.parq", parquet(&rows));
    sandbox.write("set.parq/g/x/refs.1.parq", parquet(&[(Some(b), 0, 0, None), (None, 0, 0, Some(b"raw")), (None, 0, 0, None)]));
    sandbox.write("set.parq/s/refs.0.parq", parquet(&[(Some(a), 9, 1, Some(b""))]));
    let json = r#"{"version": 1, "refs": {".zgroup": "{\n \"zarr_format\": 2\n}", "g/.zattrs": "{\"missing\": NaN, \"units\":\"m\\/s\"}",
        "g/x/.zarray": {"shape": [5, 4], "chunks": [2, 2], "zarr_format": 2}, "s/.zarray": "{\"shape\":[],\"chunks\":[]}",
        "e/.zarray": {"shape": [3], "chunks": [1]}, "g/x/2.1": "raw",
        "g/x/0.0": ["a.nc", 0, 2], "g/x/0.1": ["b c.nc", 1, 2], "g/x/1.1": ["a.nc", 2, 3], "g/x/2.0": ["b c.nc"], "s/0": ""}}"#;
    let json = sandbox.write("set.json", json);
    let options = KerchunkImport::default().compact_metadata();
    let (one, found) = sandbox.import(&sandbox.path("set.parq"), &options).await.unwrap();
    assert_eq!((found.references, found.values), (4, 7));
    let (other, found) = sandbox.import(&json, &options).await.unwrap();
    assert_eq!((found.references, found.values), (4, 7));
    assert_eq!(one.record().manifest, other.record().manifest);
    assert_eq!(value(&one, "g/x/2.0").await, "abcdefghij");
    // As they are spelt, unless they are to be compact.
    let (plain, _) = sandbox.import(&sandbox.path("set.parq"), &KerchunkImport::default()).await.unwrap();
    assert_eq!(value(&plain, "g/.zattrs").await, r#"{"missing": NaN, "units":"m\/s"}"#);
    assert_eq!(value(&plain, ".zgroup").await, r#"{"zarr_format":2}"#);
}

/// What kerchunk itself wrote; see `tests/data/README.md`.
const KERCHUNK_SET: [(&str, &[u8]); 4] = [
    (".zmetadata", include_bytes!("tests/data/set.parq/.zmetadata")),
    ("s/refs.0.parq", include_bytes!("tests/data/set.parq/s/refs.0.parq")),
    ("x/refs.0.parq", include_bytes!("tests/data/set.parq/x/refs.0.parq")),
    ("x/refs.1.parq", include_bytes!("tests/data/set.parq/x/refs.1.parq")),
];

#[tokio::test]
async fn a_directory_that_kerchunk_wrote_gives_what_went_into_it() {
    let sandbox = Sandbox::new().await;
    sandbox.write("b.nc", "abcdefghij");
    for (name, bytes) in KERCHUNK_SET {
        sandbox.write(&format!("set.parq/{name}"), bytes);
    }
    let (snapshot, summary) = sandbox.import(&sandbox.path("set.parq"), &KerchunkImport::default()).await.unwrap();
    assert_eq!(summary, KerchunkSummary { references: 11, values: 4, missing: 0 });
    let expected = ["abc", "012", "bcd", "123", "cde", "", "abcdefghij", "", "efg", "456", "fgh", "567"];
    for (n, expected) in expected.into_iter().enumerate() {
        let key = Key::new(format!("x/{}.{}", n / 4, n % 4)).unwrap();
        let found = snapshot.get(&key).await.unwrap();
        match n {
            5 => assert_eq!(found.unwrap().as_ref(), [0, 255, 128]),
            7 => assert_eq!(found, None),
            _ => assert_eq!(found.unwrap().as_ref(), expected.as_bytes(), "{key}"),
        }
    }
    assert_eq!(value(&snapshot, "s/0").await, "1");
    assert_eq!(value(&snapshot, ".zgroup").await, r#"{"zarr_format":2}"#);
}

#[tokio::test]
async fn a_directory_that_does_not_fit_its_arrays_is_refused() {
    let sandbox = Sandbox::new().await;
    let good = r#"{"metadata": {"x/.zarray": {"shape":[6],"chunks":[1]}}, "record_size": 4}"#;
    let row: Row<'_> = (Some("a.nc"), 0, 1, None);
    let none: Row<'_> = (None, 0, 0, None);
    let cases: [(&str, &str, Vec<u8>, &str); 13] = [
        (good, "x/refs.0.parq", b"PAR1".to_vec(), "cannot be read as Parquet"),
        (good, "x/refs.0.parq", parquet(&[row; 3]), "has 3 rows; 4 chunks lie in it"),
        (good, "x/refs.0.parq", parquet(&[row; 5]), "has 5 rows"),
        (good, "x/refs.1.parq", parquet(&[row; 4]), "has a reference in row 2, after the last chunk"),
        (good, "x/refs.2.parq", parquet(&[none; 4]), "is for chunks after the last"),
        (good, "y/refs.0.parq", parquet(&[none; 4]), "belongs to no array: .zmetadata has no `y/.zarray`"),
        (good, "x/refs.0.parq", parquet(&[row, row, row, (Some("a.nc"), -1, 1, None)]), "x/3: 1 bytes from -1"),
        (good, "x/refs.0.parq", parquet(&[row, row, (Some("a.nc"), 9, 2, None), row]), "x/2: bytes 9 to 11 lie past the end"),
        ("{", "other", Vec::new(), ".zmetadata is no reference set"),
        (r#"{"metadata": {}}"#, "other", Vec::new(), ".zmetadata is no reference set"),
        (r#"{"metadata": {}, "record_size": 0}"#, "other", Vec::new(), "record_size of 0"),
        (r#"{"metadata": {"x/.zarray": {}}, "record_size": 1}"#, "other", Vec::new(), "`x/.zarray`: it says nothing"),
        (r#"{"metadata": {"../x/.zarray": {"shape":[],"chunks":[]}}, "record_size": 1}"#, "other", Vec::new(), "forbidden segment"),
    ];
    for (n, (document, name, bytes, message)) in cases.into_iter().enumerate() {
        sandbox.write(&format!("{n}/.zmetadata"), document);
        sandbox.write(&format!("{n}/{name}"), bytes);
        let error = sandbox.import(&sandbox.path(&n.to_string()), &KerchunkImport::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{message}: {error}");
        assert!(error.to_string().contains(message), "{message}: {error}");
    }
    fs::create_dir(sandbox.path("empty")).unwrap();
    let error = sandbox.import(&sandbox.path("empty"), &KerchunkImport::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("holds .zmetadata"), "{error}");
}

#[tokio::test]
async fn batches_of_any_number_give_the_same() {
    let sandbox = Sandbox::new().await;
    let mut text = String::from(r#"{"version": 1, "refs": {"x/.zarray": "{}""#);
    for n in 0..150_000 {
        write!(text, r#", "x/{n}": ["{}", {}, 1]"#, if n % 3 == 0 { "a.nc" } else { "b c.nc" }, n % 10).unwrap();
    }
    text.push_str("}}");
    let path = sandbox.write("set.json", text);
    let (snapshot, summary) = sandbox.import(&path, &KerchunkImport::default()).await.unwrap();
    assert_eq!(summary, KerchunkSummary { references: 150_000, values: 1, missing: 0 });
    assert_eq!(snapshot.totals().await.unwrap().keys, 150_001);
    for (n, expected) in [(0, "0"), (1, "b"), (65_535, "5"), (65_536, "g"), (149_999, "j")] {
        assert_eq!(value(&snapshot, &format!("x/{n}")).await, expected, "{n}");
    }
}

/// Reads a set without staging it.
fn read_only(set: &Path) -> Result<()> {
    let (sender, _receiver) = mpsc::channel(1 << 10);
    read(set, &KerchunkImport::default(), sender)
}

const WHOLE_SET: &str = r#"{"version": 1, "templates": {"u": "a.nc", "f": "{{c}}"},
    "gen": [{"key": "g{{i}}", "url": "{{u}}", "offset": "{{(i + 1) * 2}}", "length": "1", "dimensions": {"i": {"stop": 3}}}],
    "refs": {"t": "data", "b": "base64:aGk=", "o": {"a": [1, null]}, "w": ["{{f(c='a.nc')}}"], "p": ["{{u}}", 1, 2]}}"#;

/// Changes a few bytes of a text.
fn changed(bytes: &[u8], changes: &[(usize, u8, bool)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, byte, is_cut) in changes {
        let at = at % bytes.len().max(1);
        if *is_cut {
            bytes.truncate(at);
        } else if let Some(place) = bytes.get_mut(at) {
            *place = *byte;
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(usize, u8, bool)>> {
    proptest::collection::vec((any::<usize>(), any::<u8>(), proptest::bool::weighted(0.1)), 0..6)
}

/// What a reader may answer to bytes that mean nothing.
fn is_refusal(outcome: &Result<()>) -> bool {
    outcome.as_ref().err().is_none_or(|e| matches!(e.kind(), ErrorKind::Invalid | ErrorKind::Unsupported))
}

#[test]
fn any_json_ends_in_a_set_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.json");
    proptest!(|(changes in changes(), noise in any::<Vec<u8>>())| {
        for bytes in [changed(WHOLE_SET.as_bytes(), &changes), noise] {
            fs::write(&path, &bytes).unwrap();
            let outcome = read_only(&path);
            prop_assert!(is_refusal(&outcome), "{:?}: {:?}", bytes, outcome);
        }
    });
}

#[test]
fn any_parquet_ends_in_references_or_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (document, records) = (folder.path().join(".zmetadata"), folder.path().join("x/refs.0.parq"));
    fs::create_dir(folder.path().join("x")).unwrap();
    let about = r#"{"metadata": {"x/.zarray": {"shape":[4],"chunks":[1]}}, "record_size": 4}"#;
    let good = parquet(&[(Some("a.nc"), 0, 2, None), (Some("b.nc"), 1, 2, None), (None, 0, 0, Some(b"raw")), (None, 0, 0, None)]);
    let kerchunk_about = r#"{"metadata": {"x/.zarray": {"shape":[8],"chunks":[1]}}, "record_size": 8}"#;
    proptest!(|(changes in changes(), noise in any::<Vec<u8>>())| {
        let about_changed = changed(about.as_bytes(), &changes);
        for (about, bytes) in [
            (about_changed.as_slice(), good.clone()),
            (about.as_bytes(), changed(&good, &changes)),
            (kerchunk_about.as_bytes(), changed(KERCHUNK_SET[2].1, &changes)),
            (about.as_bytes(), noise),
        ] {
            fs::write(&document, about).unwrap();
            fs::write(&records, &bytes).unwrap();
            let outcome = read_only(folder.path());
            prop_assert!(is_refusal(&outcome), "{:?}: {:?}", bytes, outcome);
        }
    });
}

#[test]
fn a_member_that_is_too_long_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.json");
    let mut text = br#"{"version": 1, "refs": {"k": "#.to_vec();
    text.resize(usize::try_from(metered::LONGEST_MEMBER).unwrap() + (1 << 20), b' ');
    fs::write(&path, text).unwrap();
    let error = read_only(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(format!("{error:?}").contains("a member is longer"), "{error:?}");
}
