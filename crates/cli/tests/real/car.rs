//! A real version as one file: the same twice, readable by the IPLD project's software, and whole where it arrives.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::skip;
use crate::time_travel::Story;
use crate::tools::{Firn, Tools, assert_same, field, lines, text, tree};

on_every_store!(a_real_version_travels_as_a_car_file);

fn a_real_version_travels_as_a_car_file(tools: &Tools) {
    let story = Story::tell(tools, "3");
    let at = |name: &str| story.folder.path().join(name);
    let export = |firn: &Firn, revision: &str, name: &str| {
        firn.bytes(&["car", "export", revision, at(name).to_str().unwrap()]);
        fs::read(at(name)).unwrap()
    };
    let file = export(&story.firn, "main", "first.car");
    assert!(export(&story.firn, "main", "again.car") == file, "an export is the same every time");
    let payload: usize = story.trees[3].values().map(Vec::len).sum();
    assert!(file.len() > payload / 2 && file.len() < payload + payload / 4, "{} bytes for {payload} bytes of data", file.len());
    checked_by_ipld(tools.test, &at("first.car"), &story.ids[2]);

    // Into a repository that knows nothing of it.
    let other = Firn::init(tools, &at("other"));
    assert_eq!(other.ok(&["car", "import", at("first.car").to_str().unwrap(), "--branch", "scenario"]), story.ids[2]);
    is_all_there(&story, &other);
    assert!(export(&other, "scenario", "back.car") == file, "what came in goes out");

    // And on from there: one more commit changes nothing of what came.
    fs::write(at("note"), b"mind the units").unwrap();
    let next = other.ok(&["put", at("note").to_str().unwrap(), "note", "--branch", "scenario", "-m", "a note"]);
    assert_eq!(other.bytes(&["cat", "scenario", "note"]), b"mind the units");
    let log: Vec<_> = other.json(&["log", "scenario", "-n", "2"]).iter().map(|row| field(row, "id").to_owned()).collect();
    assert_eq!(log, [next.as_str(), &story.ids[2]]);
    assert!(export(&other, "scenario~1", "later.car") == file);
    checked_by_ipld(
        tools.test,
        &{
            export(&other, "scenario", "next.car");
            at("next.car")
        },
        &next,
    );

    // The way back: the source takes the new commit, and knows what came before it.
    assert_eq!(story.firn.ok(&["car", "import", at("next.car").to_str().unwrap(), "--tag", "reviewed"]), next);
    assert_eq!(story.firn.bytes(&["cat", "reviewed", "note"]), b"mind the units");

    other.sound();

    // A file cut short or with one bit changed leaves nothing behind.
    for (name, damaged) in [("cut.car", file[..file.len() - 1].to_vec()), ("bent.car", bent(&file))] {
        fs::write(at(name), damaged).unwrap();
        let (status, message) = other.fails(&["car", "import", at(name).to_str().unwrap(), "--branch", "damaged"]);
        assert_eq!(status, 7, "{name}: {message}");
        assert_eq!(other.fails(&["show", "damaged"]).0, 3);
    }
}

fn bent(file: &[u8]) -> Vec<u8> {
    let mut bent = file.to_vec();
    let middle = bent.len() / 2;
    bent[middle] ^= 1;
    bent
}

fn is_all_there(story: &Story, other: &Firn) {
    let out = story.folder.path().join("arrived");
    other.ok(&["checkout", "scenario", out.to_str().unwrap()]);
    assert_same(&tree(&out), &story.trees[3], "what arrived is what was sent");
    for key in ["zarr.json", "air_temperature/c/5/0/0", "whole/air_temperature/c/0/0/0"] {
        assert!(other.bytes(&["cat", "scenario", key]) == story.trees[3][key], "{key}");
    }
    // The log tells of the version that came, and that it knows nothing before it.
    let log = other.run(&["log", "scenario", "--json"]);
    assert_eq!((log.status.code(), lines(&log.stdout).len()), (Some(3), 1));
    assert_eq!(field(&lines(&log.stdout)[0], "id"), story.ids[2]);
    assert!(text(&log.stderr).contains("is not in this repository"), "{}", text(&log.stderr));
}

/// `@ipld/car` finds every block right, and every link from the root followed.
fn checked_by_ipld(test: &str, file: &Path, root: &str) {
    let Some(modules) = std::env::var_os("FIRN_TEST_NODE_MODULES") else {
        return skip(test, "set FIRN_TEST_NODE_MODULES to a node_modules folder with @ipld/car 5.4.7");
    };
    let script = include_str!("../../../../tests/support/check_car.mjs");
    let ran = Command::new("node").args(["--input-type=module", "-e", script, "--"]).arg(file).current_dir(modules).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let (found, blocks) = text(&ran.stdout).trim().split_once(' ').map(|(root, n)| (root.to_owned(), n.parse::<usize>().unwrap())).unwrap();
    assert_eq!(found, root);
    assert!(blocks > 100, "{blocks} blocks");
}
