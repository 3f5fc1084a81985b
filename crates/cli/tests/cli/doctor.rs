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
    assert_eq!(properties, ["\"directory\"", "\"file system\"", "\"locks\"", "\"rename\"", "\"sync\""]);
    assert_eq!(fs::read_dir(sandbox.path("repo")).unwrap().count(), before, "nothing is left over");

    let elsewhere = sandbox.text("not/there");
    let told = sandbox.firn(&["doctor", &elsewhere]).ok();
    assert!(told.contains("does not exist") && told.contains("good"), "{told}");
    assert!(!sandbox.path("not").exists(), "nothing is made");
}

#[test]
fn what_cannot_be_written_to_is_found() {
    let sandbox = Sandbox::new();
    let run = sandbox.firn(&["doctor", "/proc/firnline"]);
    assert_eq!(run.status, 1, "{}", run.err);
    assert!(String::from_utf8(run.out).unwrap().contains("bad"));
    // A file was called a directory that does not exist.
    let file = sandbox.write("file", "x");
    let run = sandbox.firn(&["doctor", file.to_str().unwrap()]);
    assert_eq!(run.status, 1, "{}", run.err);
    assert!(String::from_utf8(run.out).unwrap().contains("not a directory"));
    sandbox.firn(&["doctor", "memory:"]).fails(9);
    sandbox.firn(&["doctor", "s3:nothing"]).fails(9);
}
