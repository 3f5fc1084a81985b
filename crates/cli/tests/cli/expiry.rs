//! `firn expire`.

use serde_json::json;

use crate::support::{Sandbox, noise};

/// Five versions besides the empty first one, the second with a tag.
fn versions() -> Sandbox {
    let sandbox = Sandbox::new();
    for n in 1..=5 {
        let file = sandbox.write("value", noise(n, 5000));
        sandbox.firn(&["put", file.to_str().unwrap(), "k", "-m", &format!("version {n}")]).ok();
        if n == 2 {
            sandbox.firn(&["tag", "v1"]).ok();
        }
    }
    sandbox
}

#[test]
fn old_versions_are_shown_then_expire_and_their_log_remains() {
    let sandbox = versions();
    let shown = sandbox.firn(&["expire", "--keep-last", "2", "--dry-run"]).ok();
    assert!(shown.contains("3 versions would expire, 3 versions kept"), "{shown}");
    assert!(shown.contains("tag v1  version 2") && shown.contains("branch main  version 5"), "{shown}");
    assert_eq!(sandbox.firn(&["cat", "main~2", "k"]).out, noise(3, 5000), "nothing has changed");
    sandbox.firn(&["expire", "--keep-last", "2"]).fails(2);
    sandbox.firn(&["expire", "--reason", "x"]).fails(9);

    let run = sandbox.firn(&["expire", "--keep-last", "2", "--reason", "storage is full", "--author", "ann", "--json"]);
    let document = run.document();
    assert_eq!((&document["act"], &document["dry_run"], &document["already"]), (&json!(1), &json!(false), &json!(0)));
    let summaries = |field: &str| -> Vec<String> {
        document[field].as_array().unwrap().iter().map(|row| row["summary"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(summaries("expire"), ["version 3", "version 1", "an empty repository"]);
    assert_eq!(summaries("keep"), ["version 5", "version 4", "version 2"]);

    let err = sandbox.firn(&["cat", "main~2", "k"]).fails(12);
    let kept = sandbox.firn(&["log", "main~1", "-n", "1", "--json"]).document()["id"].as_str().unwrap().to_owned();
    for part in ["firn: expired: the data of snapshot", "by ann: storage is full", "nearest later version", &kept] {
        assert!(err.contains(part), "{part}: {err}");
    }
    let log = sandbox.firn(&["log"]).ok();
    assert_eq!(log.lines().count(), 6);
    assert_eq!(log.lines().filter(|line| line.contains("(expired)")).count(), 3, "{log}");
    assert_eq!(sandbox.firn(&["log", "main~2"]).ok().lines().count(), 4, "the log of an expired version");
    sandbox.firn(&["tag", "late", "main~2"]).fails(12);
    let acts = sandbox.firn(&["expire", "--list"]).ok();
    assert!(acts.contains("storage is full") && acts.contains("last 2; moves 30d"), "{acts}");

    let gone = sandbox.firn(&["gc", "--grace", "0", "--json"]).document();
    assert_eq!((&gone["expired"], &gone["kinds"]["chunks"]["removed"]["objects"]), (&json!(3), &json!(2)));
    sandbox.firn(&["verify", "--all"]).ok();
    sandbox.firn(&["cat", "main~2", "k"]).fails(12);
    for (revision, n) in [("main", 5), ("main~1", 4), ("v1", 2)] {
        assert_eq!(sandbox.firn(&["cat", revision, "k"]).out, noise(n, 5000));
    }
    assert!(
        sandbox
            .firn(&["expire", "--keep-last", "2", "--reason", "x"])
            .ok()
            .contains("0 versions expired, 3 versions kept, 3 versions expired earlier")
    );
}

#[test]
fn a_version_that_was_withdrawn_is_read_with_a_warning() {
    let sandbox = versions();
    let id = sandbox.firn(&["log", "main~1", "-n", "1", "--json"]).document()["id"].as_str().unwrap().to_owned();
    sandbox.firn(&["withdraw", "main~1"]).fails(2);
    let run = sandbox.firn(&["withdraw", "main~1", "--reason", "wrong units", "--author", "ann"]);
    assert_eq!(run.ok().trim(), id);
    for args in [&["cat", "main~1", "k"][..], &["ls", &id], &["log", "main~1"], &["show", "main~1"], &["diff", "main~1", "main"]] {
        let run = sandbox.firn(args);
        assert!(
            run.err.contains(&format!("snapshot {id} was withdrawn")) && run.err.contains("by ann: wrong units"),
            "{args:?}: {}",
            run.err
        );
    }
    assert_eq!(sandbox.firn(&["cat", "main~1", "k"]).out, noise(4, 5000));
    assert!(!sandbox.firn(&["cat", "main", "k"]).err.contains("withdrawn"));
    assert_eq!(sandbox.firn(&["log"]).ok().lines().filter(|line| line.contains("(withdrawn)  version 4")).count(), 1);
    assert_eq!(sandbox.firn(&["show", "main~1", "--json"]).document()["withdrawn"]["reason"], json!("wrong units"));
    assert!(sandbox.firn(&["withdraw", "--list"]).ok().contains("wrong units"));

    // An expiry and a collection change nothing about it.
    sandbox.firn(&["expire", "--keep-last", "3", "--reason", "old"]).ok();
    assert!(sandbox.firn(&["cat", "main~1", "k"]).err.contains("wrong units"));
    sandbox.firn(&["withdraw", "--undo", &id]).ok();
    assert!(!sandbox.firn(&["cat", "main~1", "k"]).err.contains("withdrawn"));
    sandbox.firn(&["withdraw", "--undo", &id]).fails(3);
}
