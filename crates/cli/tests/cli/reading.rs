//! Verbs that read: what they print, for people and for programs.

use std::io::Read;

use serde_json::json;

use crate::support::{Run, Sandbox, fields, noise};

#[test]
fn cat_prints_exactly_the_bytes() {
    let sandbox = Sandbox::new();
    let value = noise(3, 20_000_000);
    let file = sandbox.write("big", &value);
    sandbox.firn(&["put", file.to_str().unwrap(), "big"]).ok();
    assert!(sandbox.firn(&["cat", "main", "big"]).out == value, "the whole value");
    let part = |offset: &str, length: &str| sandbox.firn(&["cat", "main", "big", "--offset", offset, "--length", length]);
    assert!(part("8388600", "1048600").out == value[8_388_600..9_437_200]);
    assert_eq!(part("20000000", "0").ok(), "");
    assert!(sandbox.firn(&["cat", "main", "big", "--offset", "19999990"]).out == value[19_999_990..]);
    for (offset, length) in [("0", "20000001"), ("20000001", "0"), ("1", "18446744073709551615")] {
        assert!(part(offset, length).fails(9).contains("big"));
    }
    let err = sandbox.firn(&["cat", "main", "absent"]).fails(3);
    assert_eq!(err, "firn: not found: absent does not exist in main\n");
}

#[test]
fn ls_lists_one_level_or_all() {
    let sandbox = Sandbox::new();
    for key in ["a/c/0/0", "a/c/0/10", "a/c/0/9", "a/zarr.json", "b"] {
        sandbox.put(key, "v");
    }
    assert_eq!(sandbox.firn(&["ls"]).lines(), ["a/", "b"]);
    assert_eq!(sandbox.firn(&["ls", "main", "a"]).lines(), ["a/c/", "a/zarr.json"]);
    assert_eq!(sandbox.firn(&["ls", "main", "a/c/", "--recursive"]).lines(), ["a/c/0/0", "a/c/0/9", "a/c/0/10"]);
    assert_eq!(sandbox.firn(&["ls", "main", "a/zarr.json"]).lines(), ["a/zarr.json"]);
    sandbox.firn(&["ls", "main", "absent"]).fails(3);
    let rows = sandbox.firn(&["ls", "--json"]).rows();
    assert_eq!(rows, [json!({ "name": "a/", "kind": "directory" }), json!({ "name": "b", "kind": "inline", "size": 1 })]);
    let file = sandbox.write("big", noise(4, 5000));
    sandbox.firn(&["put", file.to_str().unwrap(), "big"]).ok();
    let row = &sandbox.firn(&["ls", "main", "big", "--json"]).rows()[0];
    assert_eq!((&row["kind"], &row["size"]), (&json!("chunk"), &json!(5000)));
    assert!(row["id"].as_str().unwrap().starts_with("bafkrei"));
    assert!(sandbox.firn(&["ls", "main", "big", "-l"]).ok().starts_with("chunk             5000  big"));
}

/// `firn ls air` said only that there is no such revision.
#[test]
fn ls_of_a_path_says_how_it_is_listed() {
    let sandbox = Sandbox::new();
    for key in ["air/t/0", "with space/it's", "bafy"] {
        sandbox.put(key, "v");
    }
    for (path, listed) in [("air", "air"), ("air/", "air/"), ("air/t", "air/t"), ("bafy", "bafy"), ("with space", "'with space'")] {
        let err = sandbox.firn(&["ls", path]);
        assert!([3, 9].contains(&err.status), "{path}: {}", err.err);
        let status = err.status;
        let err = err.fails(status);
        assert!(err.ends_with(&format!("; the path of that name is listed by: firn ls main {listed}\n")), "{err}");
    }
    for args in [&["ls", "absent"][..], &["ls", "absent", "air"], &["ls", "air", "air"], &["ls", "main~9"]] {
        let err = sandbox.firn(args).fails(3);
        assert!(!err.contains("firn ls"), "{args:?}: {err}");
    }
}

#[test]
fn log_is_latest_first_and_can_be_cut_short() {
    let sandbox = Sandbox::new();
    let ids: Vec<_> = (0..4).map(|n| sandbox.put("k", &n.to_string())).collect();
    let rows = sandbox.firn(&["log", "--json"]).rows();
    assert_eq!(rows.len(), 5);
    for (row, id) in rows.iter().zip(ids.iter().rev()) {
        assert_eq!(row["id"], *id);
    }
    assert!(rows.windows(2).all(|pair| pair[0]["time"].as_str() > pair[1]["time"].as_str()));
    let line = sandbox.firn(&["log", "-n", "1", "--json"]).ok();
    assert_eq!(fields(&line), ["id", "time", "summary"]);
    assert_eq!(sandbox.firn(&["log", "main~2", "-n", "1"]).lines().len(), 1);
    assert_eq!(sandbox.firn(&["log", "-n", "0"]).ok(), "");
    let time = rows[0]["time"].as_str().unwrap();
    assert_eq!((time.len(), &time[19..20], &time[26..]), (27, ".", "Z"), "UTC with six decimals: {time}");
    assert_eq!(sandbox.firn(&["log", "-n", "1"]).ok(), format!("{}  {time}  k = 3", ids[3]));
}

#[test]
fn show_tells_everything_a_commit_says() {
    let sandbox = Sandbox::new();
    sandbox.put("a", "12345");
    let file = sandbox.write("big", noise(5, 2000));
    sandbox.firn(&["put", file.to_str().unwrap(), "b", "-m", "first line\nsecond"]).ok();
    let line = sandbox.firn(&["show", "--json"]).ok();
    let names = [
        "id",
        "time",
        "message",
        "author",
        "meta",
        "parents",
        "since",
        "hash",
        "manifest",
        "files",
        "history",
        "containers",
        "places",
        "withdrawn",
        "expired",
    ];
    assert_eq!(fields(&line), names);
    let shown: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&shown["manifest"]["keys"], &shown["manifest"]["bytes"]), (&json!(2), &json!(2005)));
    assert_eq!((&shown["files"]["files"], &shown["history"]["commits"]), (&json!(0), &json!(2)));
    assert_eq!(shown["parents"].as_array().unwrap().len(), 1);
    let text = sandbox.firn(&["show"]).ok();
    assert!(text.contains("2 keys, 2005 bytes") && text.ends_with("\n\n    first line\n    second"), "{text}");
}

#[test]
fn what_others_wrote_cannot_drive_the_terminal() {
    let sandbox = Sandbox::new();
    sandbox.firn_with(&["put", "-", "k", "-m", "red \u{1b}[31m and \u{9b}31m"], "v").ok();
    for args in [&["log"][..], &["show"]] {
        let text = sandbox.firn(args).ok();
        assert!(!text.contains('\u{1b}') && !text.contains('\u{9b}') && text.contains("red "), "{text:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("big", noise(6, 20_000_000));
    sandbox.firn(&["put", file.to_str().unwrap(), "big"]).ok();
    let mut child = sandbox.command("repo").args(["cat", "main", "big"]).spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let run = Run::of(child.wait_with_output().unwrap());
    assert_eq!((run.status, run.err.as_str()), (0, ""));

    let mut child = sandbox.command("repo").arg("log").spawn().unwrap();
    drop(child.stdout.take());
    let run = Run::of(child.wait_with_output().unwrap());
    assert_eq!((run.status, run.err.as_str()), (0, ""));
}

#[test]
fn errors_are_one_line_or_one_object() {
    let sandbox = Sandbox::new();
    let text = sandbox.firn(&["show", "nope"]).fails(3);
    assert!(text.starts_with("firn: not found: ") && text.lines().count() == 1, "{text}");
    let json: serde_json::Value = serde_json::from_str(&sandbox.firn(&["show", "nope", "--json"]).fails(3)).unwrap();
    assert_eq!(json["error"]["kind"], "not found");
    assert!(text.contains(json["error"]["message"].as_str().unwrap()));
    assert_eq!(json["error"]["because"], json!([]));
}
