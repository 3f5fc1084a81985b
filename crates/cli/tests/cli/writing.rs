//! Verbs that commit.

use std::time::Duration;

use serde_json::json;

use crate::support::{Run, Sandbox, names, noise};

#[test]
fn put_prints_the_id_and_nothing_else() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("value", noise(1, 3_000_000));
    let run = sandbox.firn(&["put", file.to_str().unwrap(), "a/b"]);
    assert_eq!(run.err, "", "counts are for terminals and -v");
    let id = run.ok();
    assert_eq!(id.len(), 59);
    assert_eq!(sandbox.firn(&["cat", &id, "a/b"]).out, noise(1, 3_000_000));
    let run = sandbox.firn_with(&["put", "-", "c", "-v"], "from standard input");
    assert!(run.err.contains("c: 19 bytes"), "{}", run.err);
    assert_eq!(sandbox.firn(&["cat", "main", "c"]).ok(), "from standard input");
    assert_eq!(sandbox.firn(&["log", "-n", "1", "--json"]).document()["summary"], "put c");
}

#[test]
fn a_commit_says_what_it_was_told() {
    let sandbox = Sandbox::new();
    let args = ["put", "-", "k", "-m", "why\n\nand more", "--author", "A. Smith", "--meta", "run=7", "--meta", "note=a=b"];
    let id = sandbox.firn_with(&args, "x").ok();
    let shown = sandbox.firn(&["show", "--json"]).document();
    assert_eq!((&shown["id"], &shown["message"], &shown["author"]), (&json!(id), &json!("why\n\nand more"), &json!("A. Smith")));
    assert_eq!(shown["meta"], json!({ "run": "7", "note": "a=b" }));
    sandbox.refused(9, || sandbox.firn_with(&["put", "-", "k", "--meta", "a=1", "--meta", "a=2"], "y"));
    sandbox.refused(2, || sandbox.firn_with(&["put", "-", "k", "--meta", "a"], "y"));
}

/// `apply --dry-run` stored the chunks of what it only counted.
#[test]
fn a_dry_run_stores_nothing() {
    let sandbox = Sandbox::new();
    sandbox.put("k", &"v".repeat(5000));
    let large = sandbox.write("large", noise(1, 9_000_000));
    let objects = || names(&sandbox.path("repo"));
    let before = objects();
    let line = |key: &str, what: &str, value: &str| json!({ "op": "put", "key": key, what: value }).to_string() + "\n";
    let text = "t".repeat(20_000);
    let large = large.to_str().unwrap();
    let changes = [line("a", "text", &text), line("b", "file", large), line("k", "text", &"v".repeat(5000))].concat();
    let told = sandbox.firn_with(&["apply", "--dry-run"], &changes).err;
    assert!(told.contains("2 put, ") && told.contains("1 unchanged"), "{told}");
    sandbox.firn(&["put", large, "c", "--dry-run"]).ok();
    sandbox.firn(&["import", sandbox.path(".").to_str().unwrap(), "--prefix", "p", "--dry-run"]);
    sandbox.firn(&["mv", "k", "z", "--dry-run"]).ok();
    assert_eq!(objects(), before);
}

#[test]
fn what_changes_nothing_commits_nothing_unless_it_is_allowed() {
    let sandbox = Sandbox::new();
    let first = sandbox.put("k", "v");
    assert_eq!(sandbox.put("k", "v"), first);
    let marked = sandbox.firn_with(&["put", "-", "k", "--allow-empty", "-m", "marker"], "v").ok();
    assert_ne!(marked, first);
    assert_eq!(sandbox.firn(&["log"]).lines().len(), 3);
}

#[test]
fn other_branches_are_committed_to_by_name() {
    let sandbox = Sandbox::new();
    sandbox.firn(&["branch", "dev"]).ok();
    let before = sandbox.firn(&["show", "main", "--json"]).document();
    let id = sandbox.firn_with(&["put", "-", "k", "--branch", "dev"], "v").ok();
    assert_eq!(sandbox.firn(&["show", "dev", "--json"]).document()["id"], id);
    assert_eq!(sandbox.firn(&["show", "main", "--json"]).document(), before);
    sandbox.refused(3, || sandbox.firn_with(&["put", "-", "k", "--branch", "nope"], "v"));
}

#[test]
fn bad_keys_and_absent_files_are_refused() {
    let sandbox = Sandbox::new();
    for bad in ["", "/a", "a//b", "a/../b", "a/"] {
        sandbox.refused(9, || sandbox.firn_with(&["put", "-", bad], "v"));
    }
    let err = sandbox.refused(3, || sandbox.firn(&["put", "no-such-file", "k"]));
    assert!(err.starts_with("firn: not found: no-such-file cannot be read\n  because "), "{err}");
    assert_eq!(err.lines().count(), 2);
}

#[test]
fn rm_removes_all_or_nothing_and_says_how_to_undo() {
    let sandbox = Sandbox::new();
    for key in ["a/1", "a/2", "b", "c"] {
        sandbox.put(key, "v");
    }
    let full = sandbox.firn(&["show", "--json"]).document()["id"].as_str().unwrap().to_owned();
    let err = sandbox.refused(3, || sandbox.firn(&["rm", "b", "absent"]));
    assert!(err.contains("absent"), "{err}");
    sandbox.refused(3, || sandbox.firn(&["rm", "-r", "absent/"]));
    let dry = sandbox.firn(&["rm", "-r", "a", "b", "--dry-run"]);
    assert!(dry.err.contains("would commit to main: 3 keys deleted"), "{}", dry.err);
    assert_eq!(dry.ok(), "");
    let run = sandbox.firn(&["rm", "-r", "a", "b"]);
    let undo = run.err.trim().strip_prefix("firn: undo with: firn ").unwrap().to_owned();
    run.ok();
    assert_eq!(sandbox.firn(&["ls"]).ok(), "c");
    sandbox.firn(&undo.split(' ').collect::<Vec<_>>()).ok();
    assert_eq!(sandbox.firn(&["show", "--json"]).document()["id"], full);
}

#[test]
fn apply_makes_one_commit_of_many_operations() {
    let sandbox = Sandbox::new();
    sandbox.put("old/1", "x");
    sandbox.put("old/2", "x");
    sandbox.put("gone", "x");
    let file = sandbox.write("big", noise(2, 100_000));
    let lines = [
        json!({ "op": "put", "key": "t", "text": "hellö" }),
        json!({ "op": "put", "key": "f", "file": file }),
        json!({ "op": "delete", "prefix": "old/" }),
        json!({ "op": "put", "key": "old/3", "text": "set again" }),
        json!({ "op": "delete", "key": "gone" }),
    ];
    let input = lines.iter().map(|l| format!("{l}\n")).collect::<Vec<_>>().join("\n");
    let before = sandbox.firn(&["log"]).lines().len();
    let run = sandbox.firn_with(&["apply", "-m", "batch"], &input);
    assert!(run.err.contains("undo with: firn reset main "), "{}", run.err);
    run.ok();
    assert_eq!(sandbox.firn(&["log"]).lines().len(), before + 1);
    assert_eq!(sandbox.firn(&["ls", "main", "--recursive"]).lines(), ["f", "old/3", "t"]);
    assert_eq!(sandbox.firn(&["cat", "main", "f"]).out, noise(2, 100_000));
    assert_eq!(sandbox.firn(&["cat", "main", "t"]).ok(), "hellö");
}

#[test]
fn apply_commits_nothing_when_one_line_is_wrong_and_names_it() {
    let sandbox = Sandbox::new();
    let good = json!({ "op": "put", "key": "a", "text": "x" }).to_string();
    let wrong = [
        (9, "{".to_owned()),
        (9, json!({ "op": "put", "key": "b" }).to_string()),
        (9, json!({ "op": "put", "key": "b", "text": "x", "extra": 1 }).to_string()),
        (9, json!({ "op": "move", "key": "b" }).to_string()),
        (9, json!({ "op": "put", "key": "b//c", "text": "x" }).to_string()),
        (9, json!({ "op": "virtual", "key": "b", "url": "no url", "offset": 0, "length": 1 }).to_string()),
        (9, json!({ "op": "virtual", "key": "b", "url": "file:///x", "offset": u64::MAX, "length": 1 }).to_string()),
        (3, json!({ "op": "delete", "key": "absent" }).to_string()),
        (3, json!({ "op": "put", "key": "b", "file": "absent" }).to_string()),
    ];
    for (status, line) in wrong {
        let err = sandbox.refused(status, || sandbox.firn_with(&["apply"], format!("{good}\n\n{line}\n{good}\n")));
        assert!(err.contains(": line 3: "), "{line}: {err}");
    }
    let twice = r#"{"op":"put","key":"a","text":"x","key":"b"}"#;
    sandbox.refused(9, || sandbox.firn_with(&["apply"], twice));
    let not_utf8 = b"{\"op\":\"put\",\"key\":\"\xff\",\"text\":\"x\"}";
    sandbox.refused(9, || sandbox.firn_with(&["apply"], not_utf8));
    assert_eq!(sandbox.firn_with(&["apply", "--dry-run"], &good).ok(), "");
    assert_eq!(sandbox.firn(&["ls"]).ok(), "");
}

#[test]
fn writers_that_meet_both_commit() {
    let sandbox = Sandbox::new();
    std::thread::scope(|scope| {
        for writer in 0..6 {
            let sandbox = &sandbox;
            scope.spawn(move || sandbox.put(&format!("k{writer}"), "v"));
        }
    });
    assert_eq!(sandbox.firn(&["log"]).lines().len(), 7);
    assert_eq!(sandbox.firn(&["ls"]).lines().len(), 6);
}

#[test]
fn a_long_input_is_committed_in_parts() {
    let sandbox = Sandbox::new();
    let lines = |range: std::ops::Range<u32>| {
        range.map(|n| json!({ "op": "put", "key": format!("k/{n}"), "text": "v" }).to_string()).collect::<Vec<_>>()
    };
    let ids = sandbox.firn_with(&["apply", "--commit-every", "4", "-m", "load"], lines(0..10).join("\n\n")).lines();
    let log = sandbox.firn(&["log", "--json"]).rows();
    let told: Vec<_> = log.iter().map(|row| row["summary"].as_str().unwrap()).collect();
    assert_eq!(told[..3], ["load (3)", "load (2)", "load (1)"]);
    assert_eq!(log.iter().take(3).map(|row| row["id"].as_str().unwrap()).collect::<Vec<_>>(), [&ids[2], &ids[1], &ids[0]]);
    assert_eq!([&ids[0], &ids[1], &ids[2]].map(|id| sandbox.firn(&["ls", id, "k"]).lines().len()), [4, 8, 10]);

    // An error says what is committed; going on from there loses nothing and does nothing twice.
    let mut bad = lines(10..20);
    bad[7] = "no operation".to_owned();
    let run = sandbox.firn_with(&["apply", "--commit-every", "3", "--json"], bad.join("\n"));
    assert_eq!((run.status, run.out.split(|b| *b == b'\n').count()), (9, 3));
    let told: serde_json::Value = serde_json::from_str(run.err.lines().next().unwrap()).unwrap();
    assert_eq!(told, json!({ "applied": { "commits": 2, "lines": 6, "next": 7 } }));
    assert!(run.err.contains("line 8"), "{}", run.err);
    sandbox.firn_with(&["apply", "--commit-every", "3"], lines(10..20)[6..].join("\n")).ok();
    assert_eq!(sandbox.firn(&["ls", "main", "k"]).lines().len(), 20);

    let delete = json!({ "op": "delete", "prefix": "k/" }).to_string();
    let tip = sandbox.firn(&["log", "-n", "1", "--json"]).document()["id"].clone();
    let run = sandbox.firn_with(&["apply", "--commit-every", "1"], delete);
    assert!(run.err.contains(&format!("undo with: firn reset main {}", tip.as_str().unwrap())), "{}", run.err);
    run.ok();
    assert_eq!(sandbox.firn_with(&["apply", "--commit-every", "5m"], "\n").ok(), "", "nothing came, nothing is committed");
    sandbox.refused(2, || sandbox.firn_with(&["apply", "--commit-every", "soon"], ""));
}

#[test]
fn a_part_is_committed_in_its_time_although_nothing_more_comes() {
    use std::io::{BufRead, BufReader, Write};
    let sandbox = Sandbox::new();
    let mut command = sandbox.command("repo");
    let mut child = command.args(["apply", "--commit-every", "1s"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{}", json!({ "op": "put", "key": "a", "text": "1" })).unwrap();
    let mut id = String::new();
    // The input stays open: only the time can make it commit.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut id).unwrap();
    assert_eq!(sandbox.firn(&["log", "-n", "1", "--json"]).document()["id"], id.trim_end());
    drop(input);
    assert!(child.wait().unwrap().success());
}

/// What `firn apply ARGS` says when another writer commits after it has begun and before it commits.
#[cfg(unix)]
fn overtaken(sandbox: &Sandbox, args: &[&str], line: &str, other: (&str, &str)) -> Run {
    // Opening a pipe for writing waits until somebody opens it for reading, which `apply` does once its session stands.
    let pipe = sandbox.path("pipe");
    let _ = std::fs::remove_file(&pipe);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR, 0).unwrap();
    let input = format!("{}\n{line}\n", json!({ "op": "put", "key": "piped", "file": pipe }));
    let mut child = sandbox.command("repo").arg("apply").args(args).stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let begun = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    sandbox.put(other.0, other.1);
    drop(begun);
    Run::of(child.wait_with_output().unwrap())
}

#[cfg(unix)]
#[test]
fn conflicts_are_named_or_settled_as_told() {
    let sandbox = Sandbox::new();
    let array = |kind: &str| json!({ "zarr_format": 3, "node_type": "array", "shape": [4], "data_type": kind }).to_string();
    sandbox.put("t/zarr.json", &array("int8"));
    let chunk = json!({ "op": "put", "key": "t/c/0", "text": "abcd" }).to_string();
    let err = overtaken(&sandbox, &["--json"], &chunk, ("t/zarr.json", &array("int16"))).fails(4);
    let report: serde_json::Value = serde_json::from_str(&err).unwrap();
    assert_eq!((&report["error"]["kind"], &report["error"]["conflicts"]), (&json!("conflict"), &json!(["array t"])));
    let message = report["error"]["message"].as_str().unwrap();
    assert!(message.contains("array t (given another data_type by the other side, while t/c/0 was set here)"), "{message}");

    let run = overtaken(&sandbox, &["--on-conflict", "theirs"], &chunk, ("t/zarr.json", &array("int32")));
    assert!(run.err.contains("1 conflict settled, theirs stayed: array t"), "{}", run.err);
    run.ok();
    assert_eq!(sandbox.firn(&["ls", "main", "--recursive"]).lines(), ["piped", "t/zarr.json"]);

    let run = overtaken(&sandbox, &["--on-conflict", "ours"], &chunk, ("t/zarr.json", &array("int64")));
    assert!(run.err.contains("1 conflict settled, ours stayed: array t"), "{}", run.err);
    run.ok();
    assert_eq!(sandbox.firn(&["cat", "main", "t/zarr.json"]).ok(), array("int32"));
    assert_eq!(sandbox.firn(&["cat", "main", "t/c/0"]).ok(), "abcd");
    // In parts as well. When nothing was left of one, the id of the other's commit was once shown as its own.
    let again = json!({ "op": "put", "key": "piped", "text": "ours" }).to_string();
    let run = overtaken(&sandbox, &["--commit-every", "10", "--on-conflict", "theirs"], &again, ("piped", "theirs"));
    assert!(run.err.contains("1 conflict settled, theirs stayed: piped"), "{}", run.err);
    assert_eq!(run.ok(), "");
    // And the hint named a tip from before what the other did.
    let delete = json!({ "op": "delete", "prefix": "t/c/" }).to_string();
    let run = overtaken(&sandbox, &["--commit-every", "10"], &delete, ("other", "kept"));
    let before = sandbox.firn(&["log", "--json"]).rows()[1]["id"].clone();
    assert!(run.err.contains(&format!("undo with: firn reset main {}", before.as_str().unwrap())), "{}", run.err);
    sandbox.refused(2, || sandbox.firn_with(&["put", "-", "k", "--on-conflict", "mine"], "v"));
}

/// A JSON array with the fields in their order was taken for an operation, and a byte order mark was called anything but that.
#[test]
fn an_operation_is_a_json_object_in_utf_8() {
    let sandbox = Sandbox::new();
    sandbox.put("k", "1");
    let array = br#"["delete","k",null,null,null,null,null,null]"#;
    assert!(
        sandbox.refused(9, || sandbox.firn_with(&["apply"], array)).contains("line 1: not an operation: an operation is a JSON object")
    );
    let with_mark = b"\xef\xbb\xbf{\"op\":\"delete\",\"key\":\"k\"}";
    assert!(sandbox.refused(9, || sandbox.firn_with(&["apply"], with_mark)).contains("byte order mark"));
    let utf16 = b"\xff\xfe{\0\"\0";
    assert!(sandbox.refused(9, || sandbox.firn_with(&["apply"], utf16)).contains("byte order mark (BOM) of UTF-16"));
}

/// A deleted prefix counted as one key, whether it had five or none.
#[test]
fn a_dry_run_of_apply_counts_what_would_change() {
    let sandbox = Sandbox::new();
    for n in 0..5 {
        sandbox.put(&format!("d/{n}"), &n.to_string());
    }
    let dry = |lines: &str| sandbox.firn_with(&["apply", "--dry-run"], lines).err;
    assert!(dry(r#"{"op":"delete","prefix":"d/"}"#).contains(" 0 put, 0 virtual, 5 deleted"));
    assert!(dry(r#"{"op":"delete","prefix":"zz/"}"#).contains(" 0 put, 0 virtual, 0 deleted"));
    let same = dry("{\"op\":\"put\",\"key\":\"d/1\",\"text\":\"1\"}\n{\"op\":\"put\",\"key\":\"d/2\",\"text\":\"x\"}");
    assert!(same.contains(" 1 put, 0 virtual, 0 deleted, 1 unchanged"), "{same}");
    let both = dry("{\"op\":\"put\",\"key\":\"new\",\"text\":\"1\"}\n{\"op\":\"delete\",\"key\":\"new\"}");
    assert!(both.contains(" 0 put, 0 virtual, 0 deleted"), "{both}");
    // And the commit says the same.
    let done = sandbox.firn_with(&["apply", "-v"], r#"{"op":"delete","prefix":"d/"}"#);
    assert!(done.err.contains("0 put, 0 virtual, 5 deleted"), "{}", done.err);
}

/// Ctrl-C after the replace was sent used to leave a user without the id of a commit that may have been published; later `kill` still did.
#[test]
fn an_interrupted_commit_names_the_id_to_settle() {
    interrupt_a_commit(rustix::process::Signal::INT, 130);
    interrupt_a_commit(rustix::process::Signal::TERM, 143);
}

fn interrupt_a_commit(signal: rustix::process::Signal, status: i32) {
    let sandbox = Sandbox::new();
    sandbox.put("k", "1");
    // Holding the lock of the branch holds its replace back.
    let path = sandbox.path("repo/refs/.lock/branches/main.json");
    let lock = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let child = sandbox.command("repo").args(["rm", "k"]).spawn().unwrap();
    // Its snapshot is there before the replace is sent.
    while names(&sandbox.path("repo/snapshots")).len() < 3 {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
    let run = Run::of(child.wait_with_output().unwrap());
    drop(lock);
    let err = run.fails(status);
    let advice = err.split_once("is told by: firn ").unwrap().1.trim().to_owned();
    assert!(advice.starts_with("settle main bafyrei"), "{err}");
    let told = sandbox.firn(&advice.split(' ').collect::<Vec<_>>());
    assert_eq!((told.status, String::from_utf8(told.out).unwrap().as_str()), (1, "lost\n"), "{}", told.err);
}
