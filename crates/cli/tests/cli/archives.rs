//! Containers, archives that moved, and copies of their bytes.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Sandbox, noise};

/// A repository with one key in each of twelve files `data/air_2001_M.nc`.
fn months() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let place = format!("file://{}/", sandbox.text("data"));
    let lines = (1..=12_u64).map(|month| {
        sandbox.write(&format!("data/air_2001_{month}.nc"), noise(month, 5000));
        json!({ "op": "virtual", "key": format!("t/{month}"), "url": format!("{place}air_2001_{month}.nc"), "offset": 10, "length": 2000 })
            .to_string()
    });
    let lines: Vec<_> = lines.collect();
    sandbox.firn_with(&["apply", "--allow", &place], lines.join("\n")).ok();
    (sandbox, place)
}

/// The URLs that `deps` lists, sorted.
fn urls(sandbox: &Sandbox) -> Vec<String> {
    let mut urls: Vec<_> = sandbox.firn(&["deps", "--json"]).rows().iter().map(|row| row["url"].as_str().unwrap().to_owned()).collect();
    urls.sort();
    urls
}

fn manifest(sandbox: &Sandbox, repository: &Path) -> String {
    let run = sandbox.firn(&["show", "--json", "-R", repository.to_str().unwrap()]);
    run.document()["manifest"]["root"].as_str().unwrap().to_owned()
}

#[test]
fn containers_are_listed_added_set_and_removed() {
    let (sandbox, place) = months();
    let row = sandbox.firn(&["container", "list", "--json"]).document();
    assert_eq!((&row["name"], &row["files"], &row["refs"], &row["bytes"]), (&json!("file://"), &json!(12), &json!(12), &json!(24_000)));
    let template = format!("{place}{{kind}}_{{}}.nc");
    sandbox.firn(&["container", "add", "air", &template, "--default", "kind=air", "--option", "region=eu"]).ok();
    let listed = sandbox.firn(&["container", "list"]).lines();
    assert!(listed[0].starts_with("NAME ") && listed[1].starts_with("air ") && listed[1].ends_with("kind=air region=eu"), "{listed:?}");
    assert!(sandbox.refused(9, || sandbox.firn(&["container", "add", "air", "s3://b/{}"])).contains("container air exists"));
    assert!(sandbox.refused(9, || sandbox.firn(&["container", "add", "key", "https://me:hunter2@x.org/{}"])).contains("user name"));
    assert!(sandbox.refused(3, || sandbox.firn(&["container", "set", "absent", "s3://b/{}"])).contains("there is no container absent"));
    assert!(sandbox.refused(9, || sandbox.firn(&["container", "remove", "file://"])).contains("12 files with 12 references"));
    sandbox.firn(&["container", "set", "air", &format!("{place}air_{{}}.nc")]).ok();
    // The files that fit it get their names in it.
    let row = sandbox.firn(&["container", "suggest", "--json"]).rows().remove(0);
    assert_eq!((&row["is_new"], &row["files"]), (&json!(false), &json!(12)), "{row}");
    let dry = sandbox.firn(&["container", "suggest", "--apply", "--dry-run"]);
    assert!(dry.err.contains("12 files renamed") && dry.err.contains("1 leaf with 12 references rewritten"), "{}", dry.err);
    let before = urls(&sandbox);
    sandbox.firn(&["container", "suggest", "--apply"]).ok();
    assert_eq!(urls(&sandbox), before);
    assert_eq!(sandbox.firn(&["cat", "main", "t/3", "--allow", &place]).out, &noise(3, 5000)[10..2010]);
    assert!(
        sandbox.refused(9, || sandbox.firn(&["container", "set", "air", "s3://elsewhere/{}"])).contains("12 of its files another place")
    );
    assert!(sandbox.refused(9, || sandbox.firn(&["container", "remove", "air"])).contains("12 files with 12 references"));
    sandbox.firn(&["container", "add", "empty", "s3://elsewhere/{}"]).ok();
    sandbox.firn(&["container", "remove", "empty"]).ok();
    assert_eq!(sandbox.firn(&["container", "list", "--json"]).rows().len(), 1);
    assert_eq!(sandbox.firn(&["container", "suggest"]).ok(), "");
}

#[test]
fn an_archive_that_moved_is_followed_as_a_whole_or_not_at_all() {
    let (sandbox, place) = months();
    let new = format!("file://{}/", sandbox.text("archive/2001"));
    let both = format!("{place},{new}");
    let firn = |args: &[&str]| {
        let mut command = sandbox.command("repo");
        command.args(args).env("FIRN_ALLOW", &both);
        crate::support::Run::of(command.output().unwrap())
    };
    firn(&["container", "suggest", "--apply"]).ok();
    sandbox.mkdir("archive");
    fs::rename(sandbox.path("data"), sandbox.path("archive/2001")).unwrap();
    fs::rename(sandbox.path("archive/2001/air_2001_7.nc"), sandbox.path("seven")).unwrap();
    let err = sandbox.refused(3, || firn(&["deps", "move", &place, &new]));
    assert!(err.contains("1 of 12 files cannot be moved") && err.contains("air_2001_7.nc"), "{err}");
    fs::rename(sandbox.path("seven"), sandbox.path("archive/2001/air_2001_7.nc")).unwrap();
    assert!(sandbox.refused(5, || sandbox.firn(&["deps", "move", &place, &new])).contains("; add --allow "));

    let before = (urls(&sandbox), manifest(&sandbox, &sandbox.path("repo")));
    let dry = firn(&["deps", "move", &place, &new, "--dry-run", "--json"]);
    assert!(dry.err.contains("0 leaves with 0 references rewritten"), "{}", dry.err);
    assert_eq!(dry.rows().len(), 12);
    let moved = firn(&["deps", "move", &place, &new]);
    assert!(moved.err.contains("is file://") && moved.err.contains("from now on"), "{}", moved.err);
    moved.ok();
    assert_eq!(manifest(&sandbox, &sandbox.path("repo")), before.1);
    assert!(sandbox.firn(&["log", "--json"]).rows()[0]["summary"].as_str().unwrap().starts_with("deps move file://"));
    assert_eq!(firn(&["cat", "main", "t/7"]).out, &noise(7, 5000)[10..2010]);
    let places = sandbox.firn(&["show", "--json"]).document()["places"].as_array().unwrap().len();
    assert_eq!(places, 3, "the automatic one, the template, and the template in the new place");
    fs::rename(sandbox.path("archive/2001"), sandbox.path("data")).unwrap();
    firn(&["deps", "move", &new, &place]).ok();
    assert_eq!((urls(&sandbox), manifest(&sandbox, &sandbox.path("repo"))), before);
}

#[test]
fn values_are_copied_in_and_their_files_are_no_longer_needed() {
    let (sandbox, place) = months();
    let dry = sandbox.firn(&["deps", "vendor", "--prefix", "t", "--dry-run", "--allow", &place]);
    assert!(dry.err.contains("12 values with 24000 bytes copied"), "{}", dry.err);
    let changed = sandbox.write("data/air_2001_9.nc", noise(90, 5001));
    assert!(sandbox.refused(6, || sandbox.firn(&["deps", "vendor", "--allow", &place])).contains("t/9"));
    sandbox.firn(&["deps", "repin", changed.to_str().map(|path| format!("file://{path}")).unwrap().as_str(), "--allow", &place]).ok();
    assert!(sandbox.refused(5, || sandbox.firn(&["deps", "vendor"])).contains("; add --allow "));
    sandbox.firn(&["deps", "vendor", "--allow", &place, "-m", "all of it"]).ok();
    assert_eq!(sandbox.firn(&["deps"]).ok(), "");
    fs::remove_dir_all(sandbox.path("data")).unwrap();
    assert_eq!(sandbox.firn(&["cat", "main", "t/3"]).out, &noise(3, 5000)[10..2010]);
    assert_eq!(sandbox.firn(&["cat", "main", "t/9"]).out, &noise(90, 5001)[10..2010]);
    sandbox.firn(&["deps", "vendor", "--container", "absent"]).fails(3);
    assert_eq!(sandbox.firn(&["branch", "--json"]).rows().len(), 1);
}

/// A file that became shorter than a reference needs was refused without a word about which other files had changed.
#[test]
fn all_files_are_pinned_anew_unless_one_is_too_short() {
    let (sandbox, place) = months();
    let repin = |options: &[&str]| sandbox.firn(&[&["deps", "repin", "--all", "--allow", &place], options].concat());
    sandbox.write("data/air_2001_4.nc", noise(40, 6000));
    sandbox.write("data/air_2001_5.nc", noise(50, 2009));
    let err = sandbox.refused(9, || repin(&[]));
    assert!(err.contains("t/5 ends at byte 2010") && err.contains("air_2001_5.nc") && err.contains("which has 2009 now"), "{err}");
    assert!(err.contains("air_2001_4.nc: size 5000 → 6000"), "what changed is said: {err}");
    sandbox.write("data/air_2001_5.nc", noise(50, 2010));
    repin(&["-m", "as they are"]).ok();
    assert_eq!(sandbox.firn(&["cat", "main", "t/5", "--allow", &place]).out, &noise(50, 2010)[10..]);
    assert_eq!(sandbox.firn(&["deps", "check", "--allow", &place]).status, 0);
    repin(&["file:///x"]).fails(2);
    assert_eq!(sandbox.firn(&["log", "--json"]).rows()[0]["summary"], "as they are");
}
