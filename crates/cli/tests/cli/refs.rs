//! Branches, tags, and pointing them elsewhere.

use serde_json::json;

use crate::support::{Sandbox, fields};

#[test]
fn branches_are_listed_made_and_deleted_as_in_git() {
    let sandbox = Sandbox::new();
    let first = sandbox.put("k", "1");
    let second = sandbox.put("k", "2");
    assert_eq!(sandbox.firn(&["branch", "dev"]).ok(), second);
    assert_eq!(sandbox.firn(&["branch", "old/one", "main~1"]).ok(), first);
    let line = sandbox.firn(&["branch", "--json"]).lines().remove(0);
    assert_eq!(fields(&line), ["name", "id", "time"]);
    let named: Vec<_> = sandbox.firn(&["branch", "--json"]).rows().iter().map(|r| (r["name"].clone(), r["id"].clone())).collect();
    assert_eq!(named, [(json!("dev"), json!(second)), (json!("main"), json!(second)), (json!("old/one"), json!(first))]);
    sandbox.refused(4, || sandbox.firn(&["branch", "dev", "main~1"]));
    sandbox.refused(9, || sandbox.firn(&["branch", "DEV"]));
    sandbox.refused(3, || sandbox.firn(&["branch", "x", "nope"]));

    // The second name would have been ignored.
    sandbox.refused(2, || sandbox.firn(&["branch", "-d", "old/one", "dev"]));
    sandbox.refused(2, || sandbox.firn(&["tag", "-d", "v1", "main"]));
    assert!(sandbox.firn(&["branch", "-d", "old/one", "--dry-run"]).err.contains("would delete branch old/one"));
    let run = sandbox.firn(&["branch", "-d", "old/one"]);
    assert!(run.err.contains(&format!("undo with: firn branch old/one {first}")), "{}", run.err);
    assert_eq!(run.ok(), first);
    sandbox.firn(&["show", "old/one"]).fails(3);
    sandbox.refused(3, || sandbox.firn(&["branch", "-d", "old/one"]));
    assert_eq!(sandbox.firn(&["branch", "old/one", &first]).ok(), first, "what was deleted can be made again");
}

#[test]
fn tags_carry_a_message_and_fields() {
    let sandbox = Sandbox::new();
    let id = sandbox.put("k", "1");
    sandbox.firn(&["tag", "v1", "-m", "it's out", "--meta", "doi=10.1/x", "--author", "me"]).ok();
    sandbox.put("k", "2");
    let line = sandbox.firn(&["tag", "--json"]).ok();
    assert_eq!(fields(&line), ["name", "id", "time", "tagged_at", "message", "author", "meta"]);
    let row: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&row["id"], &row["message"], &row["meta"]), (&json!(id), &json!("it's out"), &json!({ "doi": "10.1/x" })));
    assert_eq!(sandbox.firn(&["cat", "v1", "k"]).ok(), "1");
    sandbox.refused(4, || sandbox.firn(&["tag", "v1"]));
    let run = sandbox.firn(&["tag", "-d", "v1"]);
    let undo = format!(r"undo with: firn tag v1 {id} -m 'it'\''s out' --author 'me' --meta 'doi=10.1/x'");
    assert!(run.err.contains(&undo), "{}", run.err);
    sandbox.firn(&["cat", "v1", "k"]).fails(3);
}

#[test]
fn reset_moves_a_branch_and_says_how_to_undo_it() {
    let sandbox = Sandbox::new();
    let first = sandbox.put("k", "1");
    let second = sandbox.put("k", "2");
    let dry = sandbox.firn(&["reset", "main", "main~1", "--dry-run"]);
    assert_eq!(dry.err, format!("firn: would move main from {second} to {first}\n"));
    assert_eq!(dry.ok(), "");
    assert_eq!(sandbox.firn(&["cat", "main", "k"]).ok(), "2");

    let run = sandbox.firn(&["reset", "main", "main~1"]);
    assert!(run.err.contains(&format!("undo with: firn reset main {second}")), "{}", run.err);
    assert_eq!(run.ok(), first);
    assert_eq!(sandbox.firn(&["cat", "main", "k"]).ok(), "1");
    sandbox.firn(&["reset", "main", &second]).ok();
    assert_eq!(sandbox.firn(&["cat", "main", "k"]).ok(), "2");
    sandbox.refused(3, || sandbox.firn(&["reset", "nope", "main"]));
    sandbox.refused(3, || sandbox.firn(&["reset", "main", "main~9"]));

    let line = sandbox.firn(&["moves", "main", "--json"]).lines().pop().unwrap();
    assert_eq!(fields(&line), ["seq", "time", "op", "from", "to"]);
    let ops: Vec<_> = sandbox.firn(&["moves", "main", "--json"]).rows().iter().map(|r| (r["op"].clone(), r["to"].clone())).collect();
    assert_eq!(ops[1..], [(json!("reset"), json!(first)), (json!("reset"), json!(second))]);
    assert_eq!(ops[0].0, json!("create"));
    sandbox.firn(&["moves", "nope"]).fails(3);
}

#[test]
fn settle_tells_what_became_of_a_commit() {
    let sandbox = Sandbox::new();
    let first = sandbox.put("k", "1");
    assert_eq!(sandbox.firn(&["settle", "main", &first]).ok(), "committed");
    sandbox.firn(&["branch", "dev", "main~1"]).ok();
    let run = sandbox.firn(&["settle", "dev", &first, "--json"]);
    assert_eq!(run.status, 1, "a lost commit is something found");
    let document: serde_json::Value = serde_json::from_slice(&run.out).unwrap();
    assert_eq!(document, json!({ "branch": "dev", "id": first, "outcome": "lost" }));
    sandbox.firn(&["settle", "main", "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"]).fails(3);
    sandbox.firn(&["settle", "main", "no id"]).fails(9);
}
