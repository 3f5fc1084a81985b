//! Verbs that compare and count: `diff`, `history`, `stat`, `stats`, `cid`.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::{Run, Sandbox, fields, noise};

const ARRAY: &str = r#"{"zarr_format":3,"node_type":"array"}"#;

/// A repository and a directory `air` with the same content: an array of 30 chunks, and a text.
fn imported() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("air/t/zarr.json", ARRAY);
    for chunk in 0..30_u16 {
        sandbox.write(&format!("air/t/c/{chunk}"), noise(chunk.into(), 1500));
    }
    sandbox.write("air/notes/text", "some text");
    sandbox.firn(&["import", &sandbox.text("air")]).ok();
    sandbox
}

/// The rows of a `diff` that found something.
fn found(run: Run) -> Vec<Value> {
    assert_eq!(run.status, 1, "{}", run.err);
    String::from_utf8(run.out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn brief(rows: &[Value]) -> Vec<(&str, &str)> {
    rows.iter().map(|row| (row["change"].as_str().unwrap(), row["name"].as_str().unwrap())).collect()
}

#[test]
fn diff_tells_what_was_recorded_where_it_was() {
    let sandbox = imported();
    sandbox.put("notes/text", "other words");
    sandbox.put("t/c/3", "new");
    let told = sandbox.firn(&["diff", "main~1", "main", "--recorded"]);
    assert!(told.status == 1 && told.err.contains("recorded; they were not compared"), "{}", told.err);
    assert_eq!(told.out, sandbox.firn(&["diff", "main~1", "main"]).out);
    let stat = sandbox.firn(&["diff", "main~1", "main", "--recorded", "--stat", "--json"]);
    assert_eq!(stat.out, sandbox.firn(&["diff", "main~1", "main", "--stat", "--json"]).out);
    let far = sandbox.firn(&["diff", "main~2", "main", "--recorded", "-v"]);
    assert!(far.status == 1 && far.err.contains("the snapshots are compared"), "{}", far.err);
    assert_eq!(far.out, sandbox.firn(&["diff", "main~2", "main"]).out);
    let blamed = sandbox.firn(&["blame", "--recorded"]);
    assert!(blamed.status == 0 && blamed.err.contains("recorded was believed"), "{}", blamed.err);
    assert_eq!(blamed.out, sandbox.firn(&["blame"]).out);
    let directory = sandbox.firn(&["diff", "--recorded", "main", &sandbox.text("air")]);
    assert!(directory.status == 9 && directory.err.contains("leave --recorded out"), "{} {}", directory.status, directory.err);
}

#[test]
fn diff_lists_what_changed_and_exits_with_1() {
    let sandbox = imported();
    sandbox.firn(&["rm", "t/c/3"]).ok();
    sandbox.put("t/c/31", "new");
    sandbox.put("notes/text", "other words");
    let rows = found(sandbox.firn(&["diff", "main~3", "main", "--json"]));
    assert_eq!(brief(&rows), [("changed", "notes/text"), ("removed", "t/c/3"), ("added", "t/c/31")]);
    assert_eq!((&rows[0]["old"], &rows[0]["new"]), (&json!({ "kind": "inline", "size": 9 }), &json!({ "kind": "inline", "size": 11 })));
    assert_eq!((&rows[1]["old"]["kind"], rows[1].get("new")), (&json!("chunk"), None));
    let back = found(sandbox.firn(&["diff", "main", "main~3", "--json", "--prefix", "t"]));
    assert_eq!(brief(&back), [("added", "t/c/3"), ("removed", "t/c/31")]);
    let run = sandbox.firn(&["diff", "main~3", "main"]);
    let text = String::from_utf8(run.out).unwrap();
    assert_eq!(text.lines().next().unwrap(), "changed  notes/text  inline 9 -> inline 11");
    let same = sandbox.firn(&["diff", "main", "main"]);
    assert_eq!((same.status, same.out.len()), (0, 0));

    let rows = found(sandbox.firn(&["diff", "main~3", "main", "--json", "--stat"]));
    let [array, directory] = rows.as_slice() else { panic!("{rows:?}") };
    let names = ["what", "name", "added", "removed", "changed", "old_bytes", "new_bytes"];
    assert_eq!(fields(&String::from_utf8(sandbox.firn(&["diff", "main~3", "main~2", "--json", "--stat"]).out).unwrap()), names);
    assert_eq!((&array["what"], &array["name"], &array["added"], &array["removed"]), (&json!("array"), &json!("t/"), &json!(1), &json!(1)));
    assert_eq!((&directory["what"], &directory["name"], &directory["changed"]), (&json!("directory"), &json!("notes/"), &json!(1)));
}

#[test]
fn diff_compares_with_a_directory_by_its_bytes() {
    let sandbox = imported();
    let air = sandbox.text("air");
    assert_eq!(sandbox.firn(&["diff", &air]).ok(), "", "what was imported is there");
    let same_size = noise(99, 1500);
    sandbox.write("air/t/c/4", &same_size);
    sandbox.write("air/t/c/5", "shorter");
    sandbox.write("air/t/c/10x", "new");
    fs::remove_file(sandbox.path("air/notes/text")).unwrap();
    symlink("absent", sandbox.path("air/dangling")).unwrap();
    let rows = found(sandbox.firn(&["diff", "main", &air, "--json"]));
    let (odd, rest) = rows.split_first().unwrap();
    assert_eq!((&odd["change"], &odd["what"]), (&json!("unreadable"), &json!("path")));
    assert!(odd["message"].as_str().unwrap().contains("air/dangling"), "{odd}");
    assert_eq!(brief(rest), [("removed", "notes/text"), ("changed", "t/c/4"), ("changed", "t/c/5"), ("added", "t/c/10x")]);
    assert_eq!(rest[2]["new"], json!({ "kind": "file", "size": 7 }));
    fs::remove_file(sandbox.path("air/dangling")).unwrap();
    sandbox.firn(&["import", &air, "--mirror"]).ok();
    assert_eq!(sandbox.firn(&["diff", &air]).ok(), "");
    let below = sandbox.text("air/t");
    assert_eq!(sandbox.firn(&["diff", "main", &below, "--prefix", "t"]).ok(), "", "a prefix is what a checkout of it would write");
}

#[test]
fn diff_tells_directories_from_revisions() {
    let sandbox = imported();
    sandbox.write("repo/dev/x", "x");
    let err = sandbox.firn(&["diff", "main"]).fails(9);
    assert!(err.contains("main is a revision; compare it with another one"), "{err}");
    assert_eq!(sandbox.firn(&["diff", "dev"]).status, 1, "no revision has that name");
    sandbox.firn(&["branch", "dev"]).ok();
    let run = sandbox.firn(&["diff", "main", "dev", "-v"]);
    assert!(run.err.contains("dev is taken as the revision; the directory of that name is ./dev"), "{}", run.err);
    assert_eq!(run.ok(), "", "a revision has that name");
    assert!(sandbox.firn(&["diff", "dev"]).fails(9).contains("dev is a revision"));
    assert_eq!(sandbox.firn(&["diff", "main", "branch:dev"]).ok(), "");
    assert_eq!(sandbox.firn(&["diff", "main", "./dev"]).status, 1);
    assert!(sandbox.firn(&["diff", "./dev", "main"]).fails(9).contains("can only be the newer side"));
    sandbox.firn(&["diff", "./absent"]).fails(3);
    sandbox.firn(&["diff", "main", "absent"]).fails(3);
    sandbox.firn(&["diff", "./repo.json"]).fails(9);
}

/// `diff ./main` failed beside a directory called main, because `main` alone was taken to mean both.
#[test]
fn a_directory_named_like_a_branch_is_compared_with_it() {
    let sandbox = imported();
    sandbox.firn(&["checkout", "main", "main"]).ok();
    for args in [&["diff", "./main"][..], &["diff", "main", "./main"], &["diff", "main/"], &["diff", "main", "main"]] {
        assert_eq!(sandbox.firn(args).ok(), "", "{args:?}");
    }
    sandbox.put("k", "v");
    assert_eq!(brief(&found(sandbox.firn(&["diff", "./main", "--json"]))), [("removed", "k")]);
    assert_eq!(brief(&found(sandbox.firn(&["diff", "main~1", "main", "--json"]))), [("added", "k")]);
}

#[test]
fn values_of_others_are_compared_where_they_lie() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("data/air.nc", noise(7, 10_000));
    let allow = format!("file://{}/", sandbox.text("data"));
    let line = json!({ "op": "virtual", "key": "t/0", "url": format!("{allow}air.nc"), "offset": 100, "length": 4000 }).to_string();
    sandbox.firn_with(&["apply", "--allow", &allow], &line).ok();
    sandbox.write("out/t/0", &noise(7, 10_000)[100..4100]);
    let out = sandbox.text("out");
    assert_eq!(sandbox.firn(&["diff", &out, "--allow", &allow]).ok(), "");
    sandbox.firn(&["diff", &out]).fails(5);
    sandbox.write("out/t/0", &noise(7, 10_000)[101..4101]);
    assert_eq!(brief(&found(sandbox.firn(&["diff", &out, "--allow", &allow, "--json"]))), [("changed", "t/0")]);

    let stat = sandbox.firn(&["stat", "main", "t/0", "--json", "--last-change"]).ok();
    assert_eq!(fields(&stat), ["key", "kind", "size", "url", "offset", "container", "file", "last_change"]);
    let stat: Value = serde_json::from_str(&stat).unwrap();
    assert_eq!((&stat["url"], &stat["offset"], &stat["size"]), (&json!(format!("{allow}air.nc")), &json!(100), &json!(4000)));
    assert_eq!((&stat["container"]["template"], &stat["file"]["size"]), (&json!("file:///{}"), &json!(10_000)));
    assert_eq!((&stat["file"]["refs"], &stat["last_change"]["event"]), (&json!(1), &json!("set")));
    drop(File::options().write(true).open(file).unwrap());
    let text = sandbox.firn(&["stat", "main", "t/0"]).ok();
    assert!(text.contains("kind       virtual") && text.contains("1 key with 4000 bytes"), "{text}");
}

#[test]
fn history_lists_the_commits_that_changed_a_key() {
    let sandbox = Sandbox::new();
    let first = sandbox.put("k", "one");
    sandbox.put("other", "x");
    let second = sandbox.put("k", "two!");
    let gone = sandbox.firn(&["rm", "k"]).ok();
    sandbox.put("other", "y");
    let rows = sandbox.firn(&["history", "k", "--json"]).rows();
    let told: Vec<_> = rows.iter().map(|row| (row["id"].as_str().unwrap(), row["event"].as_str().unwrap())).collect();
    assert_eq!(told, [(gone.as_str(), "deleted"), (second.as_str(), "set"), (first.as_str(), "set")]);
    assert_eq!((&rows[0]["value"], &rows[1]["value"]), (&Value::Null, &json!({ "kind": "inline", "size": 4 })));
    assert_eq!(fields(&sandbox.firn(&["history", "k", "-n", "1", "--json"]).ok()), ["id", "time", "event", "value", "summary", "known"]);
    assert_eq!(sandbox.firn(&["history", "k", &second]).lines().len(), 2);
    assert!(sandbox.firn(&["history", "k", "-n", "1"]).ok().ends_with("rm k"));
    assert!(sandbox.firn(&["history", "never"]).fails(3).contains("never has never existed"));
}

#[test]
fn a_version_that_came_alone_says_where_its_history_ends() {
    let sandbox = Sandbox::new();
    sandbox.put("k", "one");
    let exported = sandbox.put("k", "two");
    sandbox.firn(&["car", "export", "main", &sandbox.text("one.car")]).ok();
    sandbox.mkdir("copy");
    let elsewhere = |args: &[&str]| Run::of(sandbox.command("copy").args(args).output().unwrap());
    elsewhere(&["init"]).ok();
    elsewhere(&["car", "import", &sandbox.text("one.car"), "--branch", "main"]).ok();
    let run = elsewhere(&["history", "k", "--json"]);
    assert_eq!(run.status, 3, "{}", run.err);
    let row: Value = serde_json::from_slice(&run.out).unwrap();
    assert_eq!((&row["id"], &row["event"]), (&json!(exported), &json!("present")));
    assert!(run.err.contains("is not in this repository"), "{}", run.err);
    let stats = elsewhere(&["stats", "--json"]).document();
    assert_eq!((&stats["history"]["entries"], &stats["history"]["depth"]), (&json!(0), &json!(0)));
    assert_eq!(Run::of(sandbox.command("copy").args(["cid", "main"]).output().unwrap()).ok(), sandbox.firn(&["cid", "main"]).ok());
}

#[test]
fn stats_count_kinds_arrays_and_maps() {
    let sandbox = imported();
    let line = sandbox.firn(&["stats", "--json"]).ok();
    assert_eq!(fields(&line), ["id", "kinds", "arrays", "other", "manifest", "files", "history", "containers"]);
    let stats: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(stats["kinds"]["chunk"], json!({ "keys": 30, "bytes": 45_000 }));
    assert_eq!(stats["arrays"], json!([{ "name": "t/", "keys": 31, "bytes": 45_000 + ARRAY.len() }]));
    assert_eq!((&stats["other"]["keys"], &stats["manifest"]["entries"]), (&json!(1), &json!(32)));
    assert_eq!(stats["manifest"]["depth"], json!(1));
    let each = stats["manifest"]["stored_per_entry"].as_f64().unwrap();
    assert!((each * 32.0 - stats["manifest"]["stored"].as_f64().unwrap()).abs() < 1e-6);
    let text = sandbox.firn(&["stats"]).ok();
    assert!(text.contains("array       t/  31 keys"), "{text}");
}

#[test]
fn cid_is_the_same_under_any_name() {
    let sandbox = imported();
    let id = sandbox.firn(&["cid", "main", "t"]).ok();
    sandbox.firn(&["import", &sandbox.text("air/t"), "--prefix", "elsewhere/u"]).ok();
    assert_eq!(sandbox.firn(&["cid", "main", "elsewhere/u/"]).ok(), id);
    let row = sandbox.firn(&["cid", "main", "t", "--json"]).document();
    assert_eq!(row, json!({ "what": "prefix", "name": "t/", "id": id }));
    assert_eq!(sandbox.firn(&["cid", "main"]).ok(), sandbox.firn(&["show", "--json"]).document()["manifest"]["root"].as_str().unwrap());
    let chunk = sandbox.firn(&["ls", "main", "t/c/0", "--json"]).document()["id"].clone();
    assert_eq!(sandbox.firn(&["cid", "main", "t/c/0", "--json"]).document()["id"], chunk);
    sandbox.firn(&["cid", "main", "absent"]).fails(3);
}
