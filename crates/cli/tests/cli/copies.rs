//! `cp` and `mv`.

use crate::support::{Sandbox, noise, tree};

fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    let file = sandbox.write("big", noise(1, 5000));
    sandbox.firn(&["put", file.to_str().unwrap(), "a/c/0"]).ok();
    sandbox.put("a/zarr.json", "{}");
    sandbox
}

#[test]
fn cp_gives_another_name_from_any_revision() {
    let sandbox = filled();
    let chunks = |sandbox: &Sandbox| tree(&sandbox.path("repo/chunks")).len();
    let before = chunks(&sandbox);
    let run = sandbox.firn(&["cp", "a", "b", "-v"]);
    assert!(run.err.contains("2 keys with 5002 bytes copied") && !run.err.contains("undo"), "{}", run.err);
    assert_eq!(run.ok().len(), 59);
    assert_eq!(sandbox.firn(&["cid", "main", "b"]).ok(), sandbox.firn(&["cid", "main", "a"]).ok());
    assert_eq!(sandbox.firn(&["log", "-n", "1"]).ok().split("  ").nth(2), Some("cp a b"));
    sandbox.put("a/zarr.json", "spoilt");
    sandbox.refused(9, || sandbox.firn(&["cp", "main~1:a/zarr.json", "a/zarr.json"]));
    let run = sandbox.firn(&["cp", "main~1:a/zarr.json", "a/zarr.json", "--overwrite"]);
    assert!(run.err.contains("undo with: firn reset main "), "{}", run.err);
    run.ok();
    assert_eq!(sandbox.firn(&["cat", "main", "a/zarr.json"]).ok(), "{}");
    assert_eq!(chunks(&sandbox), before, "no chunk is copied");

    sandbox.put("odd:name", "colon");
    sandbox.refused(3, || sandbox.firn(&["cp", "odd:name", "even"]));
    sandbox.firn(&["cp", "--from", "main", "odd:name", "even"]).ok();
    assert_eq!(sandbox.firn(&["cat", "main", "even"]).ok(), "colon");
    sandbox.firn(&["cp", "main@now:even", "again"]).ok();
    sandbox.refused(3, || sandbox.firn(&["cp", "absent", "b2"]));
    sandbox.refused(9, || sandbox.firn(&["cp", "a", "b"]));
}

/// A dry run counted the keys that were copied, also where they were there already, and none that would go.
#[test]
fn a_dry_run_counts_what_would_change() {
    let sandbox = filled();
    let dry = |args: &[&str]| {
        let run = sandbox.firn(&[args, &["--dry-run"]].concat());
        let err = run.err.clone();
        assert_eq!(run.ok(), "");
        err.strip_prefix("firn: would commit to main: ").unwrap().trim_end().to_owned()
    };
    assert_eq!(dry(&["cp", "a", "b"]), "2 keys with 5002 bytes copied: 2 keys set, 0 deleted");
    assert_eq!(dry(&["mv", "a", "b"]), "2 keys with 5002 bytes moved: 2 keys set, 2 deleted");
    sandbox.firn(&["cp", "a", "b"]).ok();
    sandbox.put("b/zarr.json", "{ }");
    sandbox.put("b/gone", "x");
    let before = sandbox.state();
    let replaced = ", in place of what was there";
    let copy = dry(&["cp", "a", "b", "--overwrite"]);
    assert_eq!(copy, format!("2 keys with 5002 bytes copied{replaced}: 1 key set, 1 deleted, 1 unchanged"));
    let moved = dry(&["mv", "a", "b", "--overwrite"]);
    assert_eq!(moved, format!("2 keys with 5002 bytes moved{replaced}: 1 key set, 3 deleted, 1 unchanged"));
    assert_eq!(sandbox.state(), before);
}

#[test]
fn mv_leaves_nothing_under_the_old_name() {
    let sandbox = filled();
    let id = sandbox.firn(&["cid", "main", "a"]).ok();
    let before = sandbox.state();
    let run = sandbox.firn(&["mv", "a", "deep/b", "--dry-run"]);
    assert!(run.err.contains("would commit to main: 2 keys with 5002 bytes moved"), "{}", run.err);
    assert_eq!((run.ok(), sandbox.state()), (String::new(), before));
    let run = sandbox.firn(&["mv", "a", "deep/b"]);
    assert!(run.err.contains("undo with: firn reset main "), "{}", run.err);
    run.ok();
    assert_eq!(sandbox.firn(&["ls", "main", "-r"]).lines(), ["deep/b/c/0", "deep/b/zarr.json"]);
    assert_eq!(sandbox.firn(&["cid", "main", "deep/b"]).ok(), id);
    sandbox.put("x", "1");
    sandbox.refused(9, || sandbox.firn(&["mv", "deep/b/c/0", "x"]));
    sandbox.firn(&["mv", "deep/b/c/0", "x", "--overwrite"]).ok();
    assert_eq!(sandbox.firn(&["cat", "main", "x"]).out, noise(1, 5000));
    assert_eq!(sandbox.firn(&["verify", "--all"]).status, 0);
}
