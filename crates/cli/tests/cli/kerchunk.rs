//! `firn kerchunk export`. What is written is tested in the crate that writes it.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Sandbox, names, noise};

const ZARRAY: &str =
    r#"{"zarr_format":2,"shape":[4],"chunks":[2],"dtype":"<i4","compressor":null,"fill_value":null,"filters":null,"order":"C"}"#;

/// An array with a virtual and a stored chunk.
fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    let lines = [
        json!({ "op": "put", "key": "x/.zgroup", "text": "{\"zarr_format\":2}" }),
        json!({ "op": "put", "key": "x/a/.zarray", "text": ZARRAY }),
        json!({ "op": "virtual", "key": "x/a/0", "url": "file:///nowhere/b%20c", "offset": 5, "length": 8 }),
        json!({ "op": "put", "key": "x/a/1", "text": "12345678" }),
    ];
    sandbox.firn_with(&["apply"], lines.map(|line| line.to_string()).join("\n")).ok();
    sandbox
}

#[test]
fn a_set_is_written_to_a_file_a_pipe_or_a_directory_and_comes_back() {
    let sandbox = filled();
    let (file, directory) = (sandbox.text("x.json"), sandbox.text("x.parq"));
    let id = sandbox.firn(&["show", "--json"]).document()["id"].as_str().unwrap().to_owned();
    let export = |rest: &[&str]| sandbox.firn(&[&["kerchunk", "export", "main", "--prefix", "x"], rest].concat());
    let run = export(&[&file, "-v"]);
    assert!(run.err.contains("1 reference and 3 values with "), "{}", run.err);
    assert_eq!(run.ok(), id);
    let set: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        (&set["version"], &set["refs"]["a/0"], &set["refs"]["a/1"]),
        (&json!(1), &json!(["/nowhere/b c", 5, 8]), &json!("12345678"))
    );
    assert!(export(&["-"]).out == fs::read(&file).unwrap(), "the same bytes, whatever they are written to");
    assert_eq!(export(&[&directory, "--parquet", "--record-size", "1"]).ok(), id);
    assert_eq!(names(&sandbox.path("x.parq")), [".zmetadata", "a/refs.0.parq", "a/refs.1.parq"]);
    for (set, below) in [(&file, "from_json"), (&directory, "from_parquet")] {
        sandbox.firn(&["kerchunk", "import", set, "--prefix", below]).ok();
        assert_eq!(sandbox.firn(&["cid", "main", below]).ok(), sandbox.firn(&["cid", "main", "x"]).ok());
    }
}

#[test]
fn what_exists_stays_unless_it_is_to_be_replaced_and_a_failed_export_leaves_nothing() {
    let sandbox = filled();
    let place = sandbox.mkdir("out");
    let (file, directory) = (sandbox.text("out/x.json"), sandbox.text("out/x.parq"));
    let export = |rest: &[&str]| sandbox.firn(&[&["kerchunk", "export", "main"], rest].concat());
    let chunk = sandbox.write("chunk", noise(1, 5000));
    sandbox.firn(&["put", chunk.to_str().unwrap(), "x/a/1"]).ok();
    for out in [&[file.as_str()][..], &[&directory, "--parquet"]] {
        let refused = export(&[out, &["--inline-limit", "4999"]].concat()).fails(9);
        assert!(refused.contains("x/a/1 is a chunk of 5000 bytes") && refused.contains("inline limit"), "{refused}");
        assert!(names(&place).is_empty());
    }
    fs::write(&file, "mine").unwrap();
    fs::create_dir(&directory).unwrap();
    fs::write(sandbox.path("out/x.parq/mine"), "").unwrap();
    export(&[&file]).fails(9);
    export(&[&directory, "--parquet"]).fails(9);
    export(&[&directory, "--parquet", "--overwrite"]).fails(9);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    export(&[&file, "--overwrite"]).ok();
    assert!(fs::read(&file).unwrap().starts_with(b"{\"version\":1"));
    fs::remove_dir_all(&directory).unwrap();
    export(&[&directory, "--parquet"]).ok();
    export(&[&directory, "--parquet"]).fails(9);
    export(&[&directory, "--parquet", "--overwrite"]).ok();
    assert_eq!(names(&place), ["x.json", "x.parq/.zmetadata", "x.parq/x/a/refs.0.parq"]);
    export(&[&sandbox.text("no/x.json")]).fails(3);
    export(&["-", "--parquet"]).fails(9);
    export(&[&sandbox.text("out/y.json"), "--prefix", "absent"]).fails(3);
    export(&[&sandbox.text("out/y.json"), "--record-size", "7"]).fails(2);
}
