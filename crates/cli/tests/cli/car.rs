//! CAR files, and verification.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Run, Sandbox, fields, noise, tree};

/// A repository with native chunks of every size and a virtual one, and another, empty one in `other`.
fn two() -> (Sandbox, String, String) {
    let sandbox = Sandbox::new();
    for (key, size) in [("a/zarr.json", 100), ("a/c/0", 5000), ("a/c/1", 2_500_000)] {
        let file = sandbox.write("value", noise(size, usize::try_from(size).unwrap()));
        sandbox.firn(&["put", file.to_str().unwrap(), key]).ok();
    }
    let line = json!({ "op": "virtual", "key": "v", "url": "file:///nowhere/x", "offset": 5, "length": 7 });
    let id = sandbox.firn_with(&["apply"], line.to_string()).ok();
    sandbox.mkdir("other");
    let other = sandbox.text("other");
    sandbox.firn(&["-R", &other, "init"]).ok();
    (sandbox, other, id)
}

#[test]
fn a_version_goes_into_a_file_and_comes_out_under_the_same_id() {
    let (sandbox, other, id) = two();
    let car = sandbox.text("v.car");
    assert_eq!(sandbox.firn(&["car", "export", "main", &car]).ok(), id);
    assert_eq!(sandbox.firn(&["-R", &other, "car", "import", &car, "--branch", "theirs"]).ok(), id);
    let in_other = |args: &[&str]| sandbox.firn(&[&["-R", &other], args].concat());
    assert!(in_other(&["cat", "theirs", "a/c/1"]).out == noise(2_500_000, 2_500_000));
    assert_eq!(in_other(&["deps", "theirs", "--json"]).ok(), sandbox.firn(&["deps", "--json"]).ok());
    assert_eq!(in_other(&["verify", "theirs"]).ok(), "");
    assert!(in_other(&["show", "theirs"]).ok().contains("0 commits"), "its history is not here");

    let piped = sandbox.firn(&["car", "export", "main", "-"]);
    assert_eq!(piped.err, "");
    assert!(piped.out == fs::read(&car).unwrap(), "the same bytes, whatever they are written to");
    let imported = sandbox.firn_with(&["-R", &other, "car", "import", "-", "--tag", "t"], &piped.out);
    assert_eq!(imported.ok(), id);

    let moved = in_other(&["car", "import", &car, "--branch", "main"]);
    assert!(moved.err.contains("undo with: firn reset main "), "{}", moved.err);
    let log = in_other(&["log", "main"]);
    assert_eq!(log.status, 3, "an imported version does not know what came before it: {}", log.err);
    assert!(log.err.contains("is not in this repository"), "{}", log.err);
}

/// The third hop ended with exit 70: a version committed on a shallow one could be imported, and then not committed on.
#[test]
fn versions_are_committed_on_wherever_they_travel() {
    let (sandbox, other, _) = two();
    let third = sandbox.text("third");
    sandbox.mkdir("third");
    sandbox.firn(&["-R", &third, "init"]).ok();
    let home = sandbox.text("repo");
    let places = [&home, &other, &third, &home, &other];
    for (n, hop) in places.windows(2).enumerate() {
        let car = sandbox.text(&format!("{n}.car"));
        let revision = if n == 0 { "main" } else { "x" };
        let id = sandbox.firn(&["-R", hop[0], "car", "export", revision, &car]).ok();
        assert_eq!(sandbox.firn(&["-R", hop[1], "car", "import", &car, "--branch", "x"]).ok(), id);
        let value = sandbox.write("value", noise(100 + n as u64, 2000));
        sandbox.firn(&["-R", hop[1], "put", value.to_str().unwrap(), &format!("hop/{n}"), "--branch", "x"]).ok();
        sandbox.firn(&["-R", hop[1], "verify", "--all"]).ok();
    }
}

#[test]
fn files_that_exist_stay_and_damaged_ones_are_refused() {
    let (sandbox, other, _) = two();
    let car = sandbox.text("v.car");
    sandbox.write("v.car", "mine");
    sandbox.firn(&["car", "export", "main", &car]).fails(9);
    assert_eq!(fs::read(&car).unwrap(), b"mine");
    fs::remove_file(&car).unwrap();
    sandbox.firn(&["car", "export", "nope", &car]).fails(3);
    sandbox.firn(&["car", "export", "main", &sandbox.text("no/v.car")]).fails(3);
    sandbox.firn(&["car", "export", "main", &car]).ok();

    let import = |args: &[&str]| sandbox.firn(&[&["-R", &other, "car", "import"], args].concat());
    import(&[&car]).fails(2);
    import(&[&car, "--branch", "b", "--tag", "t"]).fails(2);
    import(&["absent", "--tag", "t"]).fails(3);
    let before = sandbox.firn(&["-R", &other, "branch", "--json"]).ok();
    let bytes = fs::read(&car).unwrap();
    let short = sandbox.write("short.car", &bytes[..bytes.len() - 1]);
    import(&[short.to_str().unwrap(), "--branch", "main"]).fails(7);
    let mut flipped = bytes;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let flipped = sandbox.write("flipped.car", flipped);
    import(&[flipped.to_str().unwrap(), "--tag", "t"]).fails(7);
    assert_eq!(sandbox.firn(&["-R", &other, "branch", "--json"]).ok(), before);
    assert_eq!(sandbox.firn(&["-R", &other, "tag", "--json"]).ok(), "");
    assert!(fs::read_dir(sandbox.path("")).unwrap().all(|e| !e.unwrap().file_name().to_string_lossy().starts_with('.')), "no leftovers");
}

/// An export that could not make its temporary file removed what had that name.
#[test]
fn an_export_removes_no_file_that_it_did_not_make() {
    let (sandbox, ..) = two();
    // The shell's number is that of the program that takes its place.
    let script = r#"echo mine > ".v.car.firn-$$"; exec "$0" -R repo car export main v.car"#;
    let mut shell = Command::new("sh");
    shell.current_dir(sandbox.path("")).env_remove("FIRN_REPO").env_remove("FIRN_ALLOW");
    let run = Run::of(shell.args(["-c", script, env!("CARGO_BIN_EXE_firn")]).output().unwrap());
    run.fails(9);
    let left: Vec<_> = tree(&sandbox.path("")).into_iter().filter(|(name, _)| name.contains("v.car")).collect();
    assert!(matches!(left.as_slice(), [(name, content)] if name.starts_with(".v.car.firn-") && content == b"mine\n"), "{left:?}");
}

#[test]
fn an_export_whose_reader_goes_away_is_no_error() {
    let (sandbox, ..) = two();
    let mut child = sandbox.command("repo").args(["car", "export", "main", "-"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let run = Run::of(child.wait_with_output().unwrap());
    assert_eq!((run.status, run.err.as_str()), (0, ""));
}

#[test]
fn verify_finds_what_rots_and_exits_with_one() {
    let (sandbox, ..) = two();
    assert_eq!(sandbox.firn(&["verify"]).ok(), "");
    assert_eq!(sandbox.firn(&["verify", "--all"]).ok(), "");
    let quiet = sandbox.firn(&["verify", "-v"]);
    assert!(quiet.err.contains("0 findings"), "{}", quiet.err);
    sandbox.firn(&["verify", "nope"]).fails(3);

    let chunk = sandbox.firn(&["ls", "main", "a/c/0", "--json"]).document()["id"].as_str().unwrap().to_owned();
    let (object, _) = tree(&sandbox.path("repo")).into_iter().find(|(name, _)| name.ends_with(&chunk)).unwrap();
    fs::remove_file(sandbox.path("repo").join(&object)).unwrap();
    let run = sandbox.firn(&["verify", "--json"]);
    assert_eq!(run.status, 1);
    let line = String::from_utf8(run.out).unwrap();
    assert_eq!(fields(line.trim()), ["kind", "object", "message", "keys", "versions"]);
    let row: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&row["kind"], &row["object"], &row["keys"]), (&json!("missing"), &json!(object), &json!(["a/c/0"])));
    let text = sandbox.firn(&["verify", "main"]);
    assert_eq!(text.status, 1);
    assert!(String::from_utf8(text.out).unwrap().starts_with(&format!("missing: {object}: ")));
    assert_eq!(sandbox.firn(&["verify", "main~3"]).ok(), "", "an older version does not need it");
}
