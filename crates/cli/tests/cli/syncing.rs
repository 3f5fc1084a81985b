//! Clone, push and pull between directories.

use serde_json::json;

use crate::support::{Run, Sandbox, tree};

#[test]
fn a_clone_goes_forth_and_back() {
    let sandbox = Sandbox::new();
    let first = sandbox.put("a", "1");
    sandbox.firn(&["branch", "side"]).ok();
    sandbox.firn(&["tag", "v1"]).ok();
    let copy = sandbox.text("copy");
    let rows = sandbox.firn(&["clone", &sandbox.text("repo"), &copy, "--json"]).rows();
    let told: Vec<_> = rows.iter().map(|row| (row["kind"].clone(), row["name"].clone(), row["outcome"].clone())).collect();
    let row = |kind: &str, name: &str, outcome: &str| (json!(kind), json!(name), json!(outcome));
    assert_eq!(told, [row("branch", "main", "moved"), row("branch", "side", "created"), row("tag", "v1", "created")]);
    assert_eq!(sandbox.firn(&["-R", &copy, "cat", "main", "a"]).ok(), "1");
    assert_eq!(sandbox.firn(&["-R", &copy, "show", "v1", "--json"]).rows()[0]["id"], json!(first));
    sandbox.firn(&["-R", &copy, "verify", "--all"]).ok();
    sandbox.firn(&["clone", &sandbox.text("repo"), &copy]).ok();

    // A commit in the copy comes back by push, and one here goes there by pull.
    let second = sandbox.firn_with(&["-R", &copy, "put", "-", "b"], "2").ok();
    sandbox.refused(4, || sandbox.firn(&["clone", &sandbox.text("repo"), &copy]));
    let dry = sandbox.firn(&["-R", &copy, "push", &sandbox.text("repo"), "--dry-run"]);
    assert_eq!(dry.err, "firn: would copy 1 version\n");
    assert_eq!(sandbox.firn(&["show", "--json"]).rows()[0]["id"], json!(first));
    let pushed = sandbox.firn(&["-R", &copy, "push", &sandbox.text("repo"), "-v"]);
    assert!(pushed.err.contains("copied 1 version: "), "{}", pushed.err);
    pushed.ok();
    assert_eq!(sandbox.firn(&["show", "--json"]).rows()[0]["id"], json!(second));
    let moves = sandbox.firn(&["moves", "--json"]).rows();
    assert_eq!((&moves.last().unwrap()["op"], &moves.last().unwrap()["to"]), (&json!("push"), &json!(second)));
    sandbox.put("c", "3");
    let pulled = sandbox.firn(&["-R", &copy, "pull", &sandbox.text("repo"), "main", "side", "tag:v1", "--json"]).rows();
    assert_eq!(pulled.iter().map(|row| row["outcome"].clone()).collect::<Vec<_>>(), ["moved", "unchanged", "unchanged"]);
    assert_eq!(sandbox.firn(&["-R", &copy, "cat", "main", "c"]).ok(), "3");
}

#[test]
fn branches_that_went_apart_are_a_conflict_until_they_are_merged() {
    let sandbox = Sandbox::new();
    sandbox.put("a", "1");
    let copy = sandbox.text("copy");
    sandbox.firn(&["clone", &sandbox.text("repo"), &copy]).ok();
    sandbox.put("ours", "1");
    sandbox.firn_with(&["-R", &copy, "put", "-", "theirs"], "1").ok();
    let before = tree(&sandbox.path("copy"));
    let told = sandbox.refused(4, || sandbox.firn(&["push", &copy]));
    assert!(told.contains("branch main") && told.contains("nothing was copied"), "{told}");
    assert_eq!(tree(&sandbox.path("copy")), before, "a refused push changes nothing");
    sandbox.firn(&["pull", &copy, "--as", "theirs"]).ok();
    sandbox.firn(&["merge", "theirs"]).ok();
    sandbox.firn(&["push", &copy]).ok();
    assert_eq!(sandbox.firn(&["-R", &copy, "cat", "main", "ours"]).ok(), "1");
    let ahead = sandbox.firn(&["push", &copy, "theirs", "--as", "main"]);
    assert!(ahead.err.contains("branch main has commits that branch theirs has not"), "{}", ahead.err);
    ahead.ok();
    sandbox.firn(&["push", &copy, "theirs", "--as", "main", "--force"]).ok();
    assert_eq!(sandbox.firn(&["-R", &copy, "ls", "main"]).ok(), "a\ntheirs");
    sandbox.refused(9, || sandbox.firn(&["push", &copy, "main", "theirs", "--as", "one"]));
    sandbox.refused(3, || sandbox.firn(&["push", &copy, "none"]));
    sandbox.refused(3, || sandbox.firn(&["push", &sandbox.text("nowhere")]));
    sandbox.firn(&["-R", &copy, "verify", "--all"]).ok();
}

#[test]
fn repositories_have_names_in_the_configuration_file() {
    let sandbox = Sandbox::new();
    sandbox.put("a", "1");
    let copy = sandbox.text("copy");
    let file = sandbox.write("config.toml", format!("[remotes]\nbackup = \"{copy}\"\n"));
    let firn = |args: &[&str]| Run::of(sandbox.command("repo").args(args).env("FIRN_CONFIG", &file).output().unwrap());
    sandbox.firn(&["clone", &sandbox.text("repo"), &copy, "--shallow"]).ok();
    let log = sandbox.firn(&["-R", &copy, "log"]);
    assert!(log.status == 3 && log.err.contains("is not in this repository"), "{log:?}");
    sandbox.put("b", "2");
    firn(&["push", "backup"]).ok();
    assert_eq!(sandbox.firn(&["-R", &copy, "cat", "main", "b"]).ok(), "2");
    sandbox.firn_with(&["-R", &copy, "put", "-", "c"], "3").ok();
    firn(&["pull", "backup", "--all"]).ok();
    assert_eq!(sandbox.firn(&["cat", "main", "c"]).ok(), "3");
    firn(&["clone", "backup", &sandbox.text("third")]).ok();
    assert_eq!(sandbox.firn(&["-R", &sandbox.text("third"), "cat", "main", "a"]).ok(), "1");
    sandbox.refused(3, || firn(&["push", "./backup"]));
}
