//! Trying out a directory.

use std::fs;

use crate::support::{Sandbox, fields};

#[test]
fn a_directory_is_tried_out_and_left_as_it_was() {
    let sandbox = Sandbox::new();
    let before = fs::read_dir(sandbox.path("repo")).unwrap().count();
    let lines = sandbox.firn(&["doctor", "--json"]).lines();
    assert!(lines.iter().all(|line| fields(line) == ["property", "state", "detail"]), "{lines:?}");
    let properties: Vec<_> = sandbox.firn(&["doctor", "--json"]).rows().iter().map(|row| row["property"].to_string()).collect();
    assert_eq!(properties, ["\"directory\"", "\"file system\"", "\"locks\"", "\"rename\"", "\"sync\"", "\"removal\"", "\"collection\""]);
    assert_eq!(fs::read_dir(sandbox.path("repo")).unwrap().count(), before, "nothing is left over");
    if cfg!(target_os = "linux") {
        let told = sandbox.firn(&["doctor"]).ok();
        assert!(told.contains(", a local one"), "{told}");
    }

    let elsewhere = sandbox.text("not/there");
    let told = sandbox.firn(&["doctor", &elsewhere]).ok();
    assert!(told.contains("does not exist") && told.contains("removal") && !told.contains("bad"), "{told}");
    assert!(!told.contains("collection"), "there is no repository in which garbage could be collected: {told}");
    assert!(!sandbox.path("not").exists(), "nothing is made");
}

#[test]
fn what_cannot_be_written_to_is_found() {
    let sandbox = Sandbox::new();
    let run = sandbox.firn(&["doctor", "/proc/firnline"]);
    assert_eq!(run.status, 1, "{}", run.err);
    let told = String::from_utf8(run.out).unwrap();
    assert!(told.contains("bad"), "{told}");
    if cfg!(target_os = "linux") {
        assert!(told.contains("does not know (proc, number 0x9fa0)") && told.contains("on a local disk or in an object store"), "{told}");
        let trusted = sandbox.firn(&["doctor", "/proc/firnline", "--allow-network-file-system"]);
        let told = String::from_utf8(trusted.out).unwrap();
        assert!(told.contains("trusted: only one machine at a time may write"), "{told}");
    }
    // A file was called a directory that does not exist.
    let file = sandbox.write("file", "x");
    let run = sandbox.firn(&["doctor", file.to_str().unwrap()]);
    assert_eq!(run.status, 1, "{}", run.err);
    assert!(String::from_utf8(run.out).unwrap().contains("not a directory"));
    sandbox.firn(&["doctor", "memory:"]).fails(9);
    sandbox.firn(&["doctor", "s3:nothing"]).fails(9);
}

/// What `doctor` says of collections.
fn collection(sandbox: &Sandbox) -> (String, i32) {
    let run = sandbox.firn(&["doctor", "--json"]);
    let rows = String::from_utf8(run.out).unwrap();
    let mut rows = rows.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let row = rows.find(|row| row["property"] == "collection").unwrap();
    (format!("{}: {}", row["state"].as_str().unwrap(), row["detail"].as_str().unwrap()), run.status)
}

#[test]
fn a_collection_that_was_left_is_found_and_told_from_one_under_way() {
    let sandbox = Sandbox::new();
    assert_eq!(collection(&sandbox), ("good: no garbage was ever collected".to_owned(), 0));
    let state = r#"{"v":1,"seq":2,"epoch":3,"phase":"sweep","owner":"x","list":"3-x-final","lists":[]}"#;
    sandbox.write("repo/gc/state.json", state);
    let (told, status) = collection(&sandbox);
    assert!(told.starts_with("bad: number 3 was begun, and removes objects, and its process is gone"), "{told}");
    assert!(told.ends_with("firn gc") && status == 1, "{told}");

    let held = fs::OpenOptions::new().write(true).create(true).truncate(false).open(sandbox.path("repo/gc/.lock")).unwrap();
    held.lock().unwrap();
    assert_eq!(collection(&sandbox), ("good: number 3 is under way, and removes objects".to_owned(), 0));
    sandbox.firn(&["gc"]).fails(8);
    drop(held);

    let document = sandbox.firn(&["gc", "--json"]).document();
    assert_eq!(document["resumed"], true);
    assert_eq!(collection(&sandbox), ("good: none is under way; the last one was number 3".to_owned(), 0));
    sandbox.write("repo/gc/state.json", "{}");
    let (told, status) = collection(&sandbox);
    assert!(told.starts_with("bad: ") && status == 1, "{told}");
}
