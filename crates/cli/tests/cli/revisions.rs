//! How a snapshot is named, and what a branch showed at a time.

use firnline::{SystemClock, Timestamp, parse_time};

use crate::support::Sandbox;

fn parsed(time: &str) -> Timestamp {
    use firnline::Clock;
    parse_time(time, SystemClock.now()).unwrap()
}

#[test]
fn names_ids_and_steps_lead_to_snapshots() {
    let sandbox = Sandbox::new();
    let first = sandbox.put("k", "1");
    let second = sandbox.put("k", "2");
    sandbox.firn(&["tag", "v1", "main~1"]).ok();
    let id = |revision: &str| sandbox.firn(&["show", revision, "--json"]).document()["id"].as_str().unwrap().to_owned();
    for revision in ["main", "branch:main", &second, &second[..20], "main~0", "main@now", "main~0~0"] {
        assert_eq!(id(revision), second, "{revision}");
    }
    for revision in ["v1", "tag:v1", "main~1", "main~", &first, &first.to_uppercase()[..20]] {
        assert_eq!(id(revision), first, "{revision}");
    }
    sandbox.firn(&["branch", "both"]).ok();
    sandbox.firn(&["tag", "both", "main~1"]).ok();
    assert!(sandbox.firn(&["show", "both"]).fails(9).contains("branch:both or tag:both"));
    assert_eq!(id("tag:both"), first);
    for (status, bad) in [(3, "nope"), (3, "tag:main"), (3, "main~9"), (9, "main~x"), (9, "main@2025-01-01T00:00:00"), (9, "main@soon")] {
        sandbox.firn(&["show", bad]).fails(status);
    }
    assert!(sandbox.firn(&["show", "main@2025-01-01T00:00:00"]).fails(9).contains("2025-01-01T00:00:00Z"));
    assert!(sandbox.firn(&["show", "main@2020-01-01"]).fails(3).contains("was created at"));
}

#[test]
fn the_time_that_is_printed_for_a_commit_finds_it_and_a_microsecond_before_finds_the_one_before() {
    let sandbox = Sandbox::new();
    for n in 0..4 {
        sandbox.put("k", &n.to_string());
    }
    let rows = sandbox.firn(&["log", "--json"]).rows();
    for (at, row) in rows.iter().enumerate() {
        let time = row["time"].as_str().unwrap();
        let found = |time: &str| sandbox.firn(&["show", &format!("main@{time}"), "--json"]);
        assert_eq!(found(time).document()["id"], row["id"]);
        let after = Timestamp::from_micros(parsed(time).micros() + 1).to_string();
        assert_eq!(found(&after).document()["id"], row["id"], "the microsecond after");
        let before = Timestamp::from_micros(parsed(time).micros() - 1).to_string();
        match rows.get(at + 1) {
            Some(earlier) => assert_eq!(found(&before).document()["id"], earlier["id"]),
            None => assert!(found(&before).fails(3).contains("was created at")),
        }
    }
}

#[test]
fn a_command_says_what_a_time_became_and_whether_that_is_final() {
    let sandbox = Sandbox::new();
    let first = sandbox.put("k", "1");
    let time = sandbox.firn(&["log", "-n", "1", "--json"]).document()["time"].as_str().unwrap().to_owned();
    let run = sandbox.firn(&["cat", &format!("main@{time}"), "k"]);
    assert_eq!(run.err, format!("firn: main@{time} is {first} of {time} (final)\n"));
    assert_eq!(run.ok(), "1");
    let run = sandbox.firn(&["cat", "main@now", "k"]);
    assert!(run.err.contains("(not final"), "{}", run.err);
    let run = sandbox.firn(&["cat", "main@now", "k", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&run.err).unwrap();
    assert_eq!(told["resolved"], serde_json::json!({ "revision": "main@now", "id": first, "time": time, "final": false }));
    assert_eq!(sandbox.firn(&["cat", "main~0", "k"]).err, "", "without a time there is nothing to say");
}

#[test]
fn the_past_stays_what_it_was_through_resets_and_deletions() {
    let sandbox = Sandbox::new();
    let first = sandbox.put("k", "1");
    let second = sandbox.put("k", "2");
    let time = |row: usize| sandbox.firn(&["log", &second, "--json"]).rows()[row]["time"].as_str().unwrap().to_owned();
    sandbox.firn(&["branch", "keep"]).ok();
    sandbox.firn(&["reset", "main", "main~1"]).ok();
    let at = |name: &str, time: &str| sandbox.firn(&["show", &format!("{name}@{time}"), "--json"]);
    assert_eq!(at("main", &time(0)).document()["id"], second, "before the reset");
    assert_eq!(at("main", "now").document()["id"], first, "after it");
    let moved = sandbox.firn(&["moves", "main", "--json"]).rows().pop().unwrap()["time"].as_str().unwrap().to_owned();
    assert_eq!(at("main", &moved).document()["id"], first, "at it");
    let made = sandbox.firn(&["moves", "keep", "--json"]).rows()[0]["time"].as_str().unwrap().to_owned();
    sandbox.firn(&["branch", "-d", "keep"]).ok();
    assert_eq!(at("keep", &made).document()["id"], second, "before it was deleted");
    assert!(at("keep", "now").fails(3).contains("was deleted at"));
}
