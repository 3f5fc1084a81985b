//! Damaged refs and descriptions, and commits from the future, as a user of the command meets them.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use firnline::{Clock, OpenOptions, Repository, SystemClock, Timestamp};
use serde_json::json;

use crate::support::{Sandbox, fields, tree};

/// Replaces the byte at `at` of a file.
fn damage(path: &std::path::Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0xff;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// One damaged byte in the newest snapshot used to stop the listing of all branches and every verb that repairs.
#[test]
fn a_damaged_tip_is_listed_and_left() {
    let sandbox = Sandbox::new();
    let (first, second, third) = (sandbox.put("k", "1"), sandbox.put("k", "2"), sandbox.put("k", "3"));
    sandbox.firn(&["branch", "other", "main~2"]).ok();
    sandbox.firn(&["tag", "bad", "main"]).ok();
    damage(&sandbox.path("repo/snapshots").join(&third[8..10]).join(&third), 40);

    let listed = sandbox.firn(&["branch"]).ok();
    assert!(listed.contains("other") && listed.contains(&first) && listed.contains("DAMAGED"), "{listed}");
    let line = sandbox.firn(&["branch", "--json"]).lines().remove(0);
    assert_eq!(fields(&line), ["name", "id", "time", "damage"]);
    let rows = sandbox.firn(&["tag", "--json"]).rows();
    assert_eq!((&rows[0]["id"], &rows[0]["time"]), (&json!(third), &json!(null)));

    // Every error names the verb that finds a good snapshot, and the one that uses it.
    for args in [&["ls"][..], &["log"], &["put", "-", "x"], &["show", "main"], &["rm", "k"]] {
        let err = sandbox.firn_with(args, "x").fails(7);
        assert!(err.contains("firn snapshots main") && err.contains("firn reset main SNAPSHOT"), "{args:?}: {err}");
    }
    let err = sandbox.firn(&["ls", "main", "--json"]).fails(7);
    assert!(err.contains("\"help\":["), "{err}");
    let line = sandbox.firn(&["snapshots", "--json"]).lines().remove(0);
    assert_eq!(fields(&line), ["id", "time", "found", "summary"]);
    assert!(line.contains(&second), "{line}");

    let run = sandbox.firn(&["reset", "main", &second]);
    assert!(run.err.contains("which cannot be read; check it with: firn verify main"), "{}", run.err);
    assert_eq!(run.ok(), second);
    assert_eq!(sandbox.firn(&["cat", "main", "k"]).ok(), "2");
    assert_eq!(sandbox.firn(&["tag", "-d", "bad"]).ok(), third);
    assert_eq!(sandbox.firn(&["branch", "rescue", &second]).ok(), second);
    assert_eq!(sandbox.firn(&["branch", "-d", "main"]).ok(), second);
}

#[test]
fn a_damaged_ref_file_is_listed_reset_and_deleted() {
    let sandbox = Sandbox::new();
    let (first, second) = (sandbox.put("k", "1"), sandbox.put("k", "2"));
    sandbox.firn(&["branch", "dev"]).ok();
    for name in ["main", "dev"] {
        fs::write(sandbox.path(&format!("repo/refs/branches/{name}.json")), "\0\0\0").unwrap();
    }
    let rows = sandbox.firn(&["branch", "--json"]).rows();
    assert_eq!(rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>(), [json!(null), json!(null)]);
    let found = sandbox.firn(&["snapshots", "--json"]).rows();
    assert_eq!(found.iter().map(|row| row["id"].clone()).take(2).collect::<Vec<_>>(), [json!(second), json!(first)]);
    let err = sandbox.firn(&["branch", "dev", &first]).fails(7);
    assert!(err.contains("firn reset dev SNAPSHOT"), "{err}");
    sandbox.firn(&["branch", "-d", "dev", "--dry-run"]).ok();
    assert_eq!(sandbox.firn(&["branch", "-d", "dev"]).ok(), "-");
    assert_eq!(sandbox.firn(&["reset", "main", &second]).ok(), second);
    assert_eq!(sandbox.firn(&["branch", "dev", &first]).ok(), first);
    sandbox.put("k", "3");
    let moves = sandbox.firn(&["moves", "--json"]).rows();
    assert_eq!(moves.iter().map(|row| row["op"].clone()).collect::<Vec<_>>(), [json!("repair")]);
}

/// `firn init` was the advice for a lost `repo.json`; it wrote one with another hash, and then refused.
#[test]
fn a_lost_description_is_named_and_not_replaced() {
    let sandbox = Sandbox::new();
    sandbox.mkdir("blake");
    let firn = |args: &[&str]| crate::support::Run::of(sandbox.command("blake").args(["-R", "."]).args(args).output().unwrap());
    firn(&["init", "--hash", "blake3"]).ok();
    firn(&["put", "/dev/null", "k"]).ok();
    let config = fs::read(sandbox.path("blake/repo.json")).unwrap();
    fs::remove_file(sandbox.path("blake/repo.json")).unwrap();
    let before = tree(&sandbox.path("blake"));
    for args in [&["init"][..], &["init", "--hash", "blake3"], &["put", "/dev/null", "z"]] {
        let err = firn(args).fails(4);
        assert!(err.contains("repo.json was lost") && err.contains("blake3") && !err.contains("firn init"), "{args:?}: {err}");
        let content = err.split_once("with this content: ").unwrap().1.trim();
        assert!(serde_json::from_str::<serde_json::Value>(content).unwrap()["hash"] == "blake3", "{content}");
        assert_eq!(tree(&sandbox.path("blake")), before, "{args:?}");
    }
    assert_eq!(firn(&["ls"]).ok(), "k", "it can be read all the same");
    // The content that the message gives is enough.
    let content = firn(&["init"]).err.split_once("with this content: ").unwrap().1.trim().to_owned();
    fs::write(sandbox.path("blake/repo.json"), content).unwrap();
    firn(&["put", "/dev/null", "z"]).ok();
    fs::write(sandbox.path("blake/repo.json"), config).unwrap();
    assert_eq!(firn(&["ls"]).ok(), "k\nz");
}

/// One damaged or missing object with moves of long ago hid the others.
#[test]
fn moves_are_listed_as_far_as_they_can_be_read() {
    let sandbox = Sandbox::new();
    for _ in 0..20 {
        sandbox.firn(&["reset", "main", "main"]).ok();
    }
    let all = sandbox.firn(&["moves", "--json"]).rows();
    let (block, _) = tree(&sandbox.path("repo")).into_iter().find(|(name, _)| name.starts_with("moves/")).unwrap();
    fs::remove_file(sandbox.path("repo").join(&block)).unwrap();
    let run = sandbox.firn(&["moves", "--json"]);
    assert_eq!(run.status, 7, "{}", run.err);
    let rows: Vec<serde_json::Value> = run.out.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert!(rows.len() >= 8 && all.ends_with(&rows), "{rows:?}");
    let run = sandbox.firn(&["moves"]);
    assert_eq!((run.status, run.out.split(|b| *b == b'\n').count()), (7, rows.len() + 2));
    assert!(run.err.starts_with(&format!("firn: corrupt: earlier moves of branch main cannot be read: {block}")), "{}", run.err);
}

/// A clock that is ahead.
#[derive(Debug)]
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.0)
    }
}

/// Commits on `main` by a machine whose clock is a year ahead.
fn put_in_the_future(sandbox: &Sandbox, key: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = OpenOptions::default().clock(Arc::new(Ahead(Duration::from_hours(24 * 365))));
        let repository = Repository::open_with(&sandbox.text("repo"), options).await.unwrap();
        let session = repository.write("main").await.unwrap();
        session.set(&key.parse().unwrap(), "ahead").await.unwrap();
        session.commit("ahead").await.unwrap();
    });
}

/// A commit from the future used to spread by `reset` and `branch`, and its branch could not be used before its time.
#[test]
fn a_commit_from_the_future_does_not_spread_and_is_left() {
    let sandbox = Sandbox::new();
    let first = sandbox.put("k", "1");
    sandbox.firn(&["branch", "fix"]).ok();
    put_in_the_future(&sandbox, "k2");
    for args in [&["reset", "fix", "main"][..], &["branch", "new", "main"], &["tag", "new", "main"]] {
        let err = sandbox.refused(9, || sandbox.firn(args));
        assert!(err.contains("stamped") && err.contains("@now"), "{args:?}: {err}");
    }
    assert_eq!(sandbox.firn_with(&["put", "-", "k4", "--branch", "fix"], "4").ok().len(), 59);
    let err = sandbox.refused(9, || sandbox.firn_with(&["put", "-", "k3"], "3"));
    let advice = err.split_once("with: firn ").unwrap().1.trim();
    assert_eq!(advice, "reset main branch:main@now");
    assert_eq!(sandbox.firn(&advice.split(' ').collect::<Vec<_>>()).ok(), first);
    sandbox.put("k3", "3");
    assert_eq!(sandbox.firn(&["ls"]).ok(), "k\nk3");
}

/// Deleting the branch and making it again is another way.
#[test]
fn a_branch_from_the_future_can_be_made_again() {
    let sandbox = Sandbox::new();
    let first = sandbox.put("k", "1");
    put_in_the_future(&sandbox, "k2");
    sandbox.firn(&["branch", "-d", "main"]).ok();
    assert_eq!(sandbox.firn(&["branch", "main", &first]).ok(), first);
    sandbox.put("k5", "5");
    assert_eq!(sandbox.firn(&["ls"]).ok(), "k\nk5");
}

/// A branch with the name of a short id used to change what the short id means.
#[test]
fn a_branch_is_not_named_like_a_short_id() {
    let sandbox = Sandbox::new();
    let first = sandbox.put("k", "1");
    sandbox.put("k", "2");
    let short = &first[..13];
    let err = sandbox.refused(9, || sandbox.firn(&["branch", short, "main"]));
    assert!(err.contains("could be read as the beginning of a snapshot's id"), "{err}");
    sandbox.refused(9, || sandbox.firn(&["tag", short, "main"]));
    assert_eq!(sandbox.firn(&["cat", short, "k"]).ok(), "1");
}
