//! Merging, applying and taking back commits, undo and redo, searching a line.

use serde_json::json;

use crate::support::Sandbox;

/// A repository whose branches `main` and `side` have changed different things since they parted, and `both` on both sides.
fn forked() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.put("start", "1");
    sandbox.firn(&["branch", "side"]).ok();
    sandbox.firn_with(&["put", "-", "theirs", "--branch", "side"], "t").ok();
    sandbox.firn_with(&["put", "-", "both", "--branch", "side"], "side").ok();
    sandbox.put("ours", "o");
    sandbox
}

#[test]
fn a_merge_prints_its_id_and_lists_conflicts_by_name() {
    let sandbox = forked();
    let dry = sandbox.firn(&["merge", "side", "--dry-run"]);
    assert_eq!(dry.err, "firn: would commit to main: 2 keys set, 0 deleted\n");
    let side = sandbox.firn(&["show", "side", "--json"]).rows().remove(0)["id"].clone();
    let main = sandbox.firn(&["show", "main", "--json"]).rows().remove(0)["id"].clone();
    let merged = sandbox.firn(&["merge", "side"]).ok();
    let shown = sandbox.firn(&["show", "main", "--json"]).rows().remove(0);
    assert_eq!(
        (&shown["id"], &shown["parents"], &shown["message"]),
        (&json!(merged), &json!([main, side]), &json!("Merge side into main"))
    );
    assert_eq!(sandbox.firn(&["cat", "main", "both"]).ok(), "side");
    for nothing in [["merge", "side", "--dry-run"], ["cherry-pick", "side", "--dry-run"]] {
        assert_eq!(sandbox.firn(&nothing).err, "firn: main has what side brings already; nothing would be committed\n");
    }
    let again = sandbox.firn(&["merge", "side", "-v"]);
    assert!(again.err.contains("has what side brings already"), "{}", again.err);
    assert_eq!(again.ok(), merged);

    sandbox.put("both", "main");
    sandbox.firn_with(&["put", "-", "both", "--branch", "side"], "other").ok();
    sandbox.firn_with(&["put", "-", "more", "--branch", "side"], "1").ok();
    let told = sandbox.refused(4, || sandbox.firn(&["merge", "side"]));
    assert!(told.contains("conflict: both") && told.contains("--theirs PREFIX"), "{told}");
    let run = sandbox.firn(&["merge", "side", "--json"]);
    let error: serde_json::Value = serde_json::from_str(run.err.lines().last().unwrap()).unwrap();
    assert_eq!(error["error"]["conflicts"], json!(["both"]));
    let run = sandbox.firn(&["merge", "side", "--ours", "both"]);
    assert!(run.err.contains("1 conflict settled: both"), "{}", run.err);
    run.ok();
    assert_eq!(
        (sandbox.firn(&["cat", "main", "both"]).ok(), sandbox.firn(&["cat", "main", "more"]).ok()),
        ("main".to_owned(), "1".to_owned())
    );
}

#[test]
fn a_branch_moves_forward_only_if_asked() {
    let sandbox = Sandbox::new();
    let start = sandbox.put("start", "1");
    sandbox.firn(&["branch", "side"]).ok();
    let side = sandbox.firn_with(&["put", "-", "k", "--branch", "side"], "1").ok();
    let would = sandbox.firn(&["merge", "side", "--ff-only", "--dry-run"]);
    assert_eq!(would.err, format!("firn: would move main to {side}\n"));
    let run = sandbox.firn(&["merge", "side", "--ff-only", "-m", "unused"]);
    assert!(run.err.contains("no commit was made"), "{}", run.err);
    assert_eq!(run.ok(), side);
    let again = sandbox.firn(&["merge", "side", "--ff", "--dry-run"]);
    assert_eq!(again.err, "firn: main has side already; nothing would be moved\n");
    let moves = sandbox.firn(&["moves", "--json"]).rows();
    assert_eq!((&moves[1]["op"], &moves[1]["from"], &moves[1]["to"]), (&json!("fast-forward"), &json!(start), &json!(side)));
    sandbox.put("ours", "1");
    sandbox.firn_with(&["put", "-", "k", "--branch", "side"], "2").ok();
    sandbox.refused(4, || sandbox.firn(&["merge", "side", "--ff-only"]));
    sandbox.firn(&["merge", "side", "--ff-only", "--dry-run"]).fails(4);
    let merged = sandbox.firn(&["merge", "side", "--ff"]).ok();
    assert_eq!(sandbox.firn(&["show", "main", "--json"]).rows()[0]["id"], json!(merged));
}

#[test]
fn a_commit_is_applied_taken_back_and_squashed() {
    let sandbox = forked();
    let picked = sandbox.firn(&["cherry-pick", "side"]).ok();
    let shown = sandbox.firn(&["show", "main", "--json"]).rows().remove(0);
    assert_eq!((&shown["id"], shown["meta"]["cherry-picked-from"].is_string()), (&json!(picked), true));
    sandbox.firn(&["cat", "main", "theirs"]).fails(3);
    sandbox.firn(&["revert", "main"]).ok();
    sandbox.firn(&["cat", "main", "both"]).fails(3);
    let before = sandbox.firn(&["show", "main", "--json"]).rows().remove(0);
    let dry = sandbox.firn(&["squash", "main~2", "-m", "nothing", "--dry-run"]);
    assert!(dry.err.contains("would make one commit of the 2 after"), "{}", dry.err);
    let squashed = sandbox.firn(&["squash", "main~2", "-m", "nothing"]).ok();
    let after = sandbox.firn(&["show", "main", "--json"]).rows().remove(0);
    assert_eq!((&after["id"], &after["manifest"]), (&json!(squashed), &before["manifest"]));
    assert_eq!(sandbox.firn(&["undo"]).ok(), before["id"].as_str().unwrap());
    sandbox.refused(9, || sandbox.firn(&["squash", "side", "-m", "x"]));
}

#[test]
fn undo_and_redo_say_what_they_did() {
    let sandbox = Sandbox::new();
    let first = sandbox.put("k", "1");
    let second = sandbox.put("k", "2");
    let dry = sandbox.firn(&["undo", "--dry-run"]);
    assert_eq!(dry.err, format!("firn: would undo commit {second}: main goes from {second} to {first}\n"));
    let run = sandbox.firn(&["undo"]);
    assert_eq!(run.err, format!("firn: undid commit {second}; bring it back with: firn redo main\n"));
    assert_eq!(run.ok(), first);
    assert_eq!(sandbox.firn(&["redo"]).ok(), second);
    sandbox.refused(3, || sandbox.firn(&["redo"]));
    sandbox.firn(&["branch", "b"]).ok();
    sandbox.firn(&["branch", "-d", "b"]).ok();
    assert_eq!(sandbox.firn(&["undo", "b"]).ok(), second);
    assert_eq!(sandbox.firn(&["redo", "b"]).ok(), "-");
    sandbox.refused(3, || sandbox.firn(&["undo", "nope"]));
}

#[test]
fn the_first_bad_version_is_found_with_and_without_a_command() {
    let sandbox = Sandbox::new();
    let ids: Vec<_> = (0..9).map(|n| sandbox.put("n", &n.to_string())).collect();
    let firn = env!("CARGO_BIN_EXE_firn");
    let script = format!("test $({firn} cat $FIRN_REV n) -lt 5");
    let run = sandbox.firn(&["bisect", "main~8", "main", "--json", "--", "sh", "-c", &script]);
    let row: serde_json::Value = serde_json::from_str(&run.ok()).unwrap();
    assert_eq!((&row["what"], &row["id"], &row["left"]), (&json!("first-bad"), &json!(ids[5]), &json!(1)));
    // By hand: the middle, until one is left.
    let (mut good, mut bad) = (ids[0].clone(), ids[8].clone());
    loop {
        let row: serde_json::Value = serde_json::from_str(&sandbox.firn(&["bisect", &good, &bad, "--json"]).ok()).unwrap();
        let id = row["id"].as_str().unwrap().to_owned();
        if row["what"] == "first-bad" {
            assert_eq!(id, ids[5]);
            break;
        }
        let n = ids.iter().position(|known| *known == id).unwrap();
        *(if n >= 5 { &mut bad } else { &mut good }) = id;
    }
    // Versions that cannot be told are left over.
    let skips = format!("case $({firn} cat $FIRN_REV n) in 4|5) exit 125;; [0-3]) exit 0;; *) exit 1;; esac");
    let run = sandbox.firn(&["bisect", "main~8", "main", "--json", "--", "sh", "-c", &skips]);
    assert_eq!(run.status, 1);
    let printed = String::from_utf8(run.out).unwrap();
    let left: Vec<_> = printed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(left, [json!(ids[4]), json!(ids[5]), json!(ids[6])]);
    // A command that dies, or does not exist, tells nothing.
    sandbox.firn(&["bisect", "main~8", "main", "--", "sh", "-c", "exit 130"]).fails(9);
    sandbox.firn(&["bisect", "main~8", "main", "--", "/no/such/program"]).fails(9);
    sandbox.firn(&["bisect", "main~8", "main", "--", "sh", "-c", "no-such-command"]).fails(9);
    let lost = format!("test $({firn} cat $FIRN_REV n) -lt 5 || no-such-command");
    assert!(sandbox.firn(&["bisect", "main~8", "main", "--", "sh", "-c", &lost]).ok().contains(&ids[5]), "it was run for a good version");
    sandbox.firn(&["bisect", "main", "main~8"]).fails(9);
}

#[test]
fn blame_names_arrays_and_keys() {
    let sandbox = Sandbox::new();
    let array = r#"{"zarr_format":3,"node_type":"array"}"#;
    sandbox.put("a/zarr.json", array);
    let chunk = sandbox.put("a/c/0", "1");
    let other = sandbox.put("notes", "2");
    let rows: Vec<_> = sandbox.firn(&["blame", "--json"]).rows().iter().map(|row| (row["name"].clone(), row["id"].clone())).collect();
    assert_eq!(rows, [(json!("a/"), json!(chunk)), (json!("notes"), json!(other))]);
    let keys = sandbox.firn(&["blame", "a", "--keys", "--json"]).rows();
    assert_eq!((keys.len(), &keys[0]["name"], &keys[0]["summary"]), (2, &json!("a/c/0"), &json!("a/c/0 = 1")));
    assert!(sandbox.firn(&["blame", "a"]).ok().contains(&chunk));
    sandbox.firn(&["blame", "none"]).fails(3);
    sandbox.firn(&["blame", "none", "--keys"]).fails(3);
}
