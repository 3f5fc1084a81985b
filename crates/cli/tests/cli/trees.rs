//! Directories in and out.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::{Run, Sandbox, noise, tree};

/// A Zarr store in miniature: small and large values, and what is easily forgotten.
fn store(sandbox: &Sandbox) -> String {
    sandbox.write("air/zarr.json", "{}");
    sandbox.write("air/.hidden", "kept");
    sandbox.write("air/t/zarr.json", noise(1, 3000));
    sandbox.write("air/t/empty", "");
    for chunk in 0..30_u16 {
        sandbox.write(&format!("air/t/c/{chunk}"), noise(chunk.into(), usize::from(chunk) * 1000));
    }
    sandbox.write("air/t/large", noise(99, 5_000_000));
    sandbox.text("air")
}

#[test]
fn a_directory_goes_in_as_one_commit_and_comes_out_the_same() {
    let sandbox = Sandbox::new();
    let air = store(&sandbox);
    let id = sandbox.firn(&["import", &air, "-m", "all of it"]).ok();
    assert_eq!(sandbox.firn(&["log"]).lines().len(), 2);
    assert_eq!(sandbox.firn(&["checkout", "main", &sandbox.text("out")]).ok(), id);
    assert_eq!(tree(&sandbox.path("out")), tree(&sandbox.path("air")));
    let again = sandbox.firn(&["import", &air, "-v"]);
    assert!(again.err.contains("nothing was committed"), "{}", again.err);
    assert_eq!(again.ok(), id, "an unchanged tree makes no commit");

    sandbox.mkdir("empty");
    sandbox.firn(&["checkout", "main", &sandbox.text("empty"), "--prefix", "t/c"]).ok();
    assert_eq!(tree(&sandbox.path("empty")), tree(&sandbox.path("air/t/c")));
    assert!(fs::read_dir(sandbox.path("")).unwrap().all(|e| !e.unwrap().file_name().to_string_lossy().starts_with('.')), "no leftovers");
}

#[test]
fn a_prefix_takes_the_keys_and_mirror_deletes_what_is_gone() {
    let sandbox = Sandbox::new();
    let air = store(&sandbox);
    sandbox.put("other", "stays");
    sandbox.put("p/extra", "goes");
    sandbox.firn(&["import", &air, "--prefix", "p"]).ok();
    assert_eq!(sandbox.firn(&["cat", "main", "p/extra"]).ok(), "goes");
    fs::remove_file(sandbox.path("air/t/large")).unwrap();
    sandbox.write("air/zarr.json", "{ }");
    sandbox.write("air/new", "n");
    let before = sandbox.state();
    let dry = sandbox.firn(&["import", &air, "--prefix", "p", "--mirror", "--dry-run"]);
    assert!(dry.err.contains("1 added, 1 changed, 2 deleted"), "{}", dry.err);
    assert_eq!((dry.ok(), sandbox.state()), (String::new(), before));
    let run = sandbox.firn(&["import", &air, "--prefix", "p", "--mirror"]);
    assert!(run.err.contains("undo with: firn reset main "), "{}", run.err);
    run.ok();
    sandbox.firn(&["checkout", "main", &sandbox.text("out"), "--prefix", "p"]).ok();
    assert_eq!(tree(&sandbox.path("out")), tree(&sandbox.path("air")));
    assert_eq!(sandbox.firn(&["cat", "main", "other"]).ok(), "stays");
}

#[test]
fn a_second_import_reads_only_what_may_have_changed() {
    let sandbox = Sandbox::new();
    let air = store(&sandbox);
    // Files that were written a moment ago are not remembered.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    sandbox.firn(&["import", &air]).ok();
    let dry = |args: &[&str]| sandbox.firn(&[&["import", &air, "--dry-run"], args].concat()).err;
    let told = dry(&[]);
    assert!(told.contains("35 files") && told.contains("0 changed, 0 deleted, 35 unchanged and not read"), "{told}");
    sandbox.write("air/t/c/7", noise(1234, 7000));
    let told = dry(&[]);
    assert!(told.contains("0 added, 1 changed, 0 deleted, 34 unchanged and not read"), "{told}");
    let told = dry(&["--checksum"]);
    assert!(told.contains("0 added, 1 changed, 0 deleted\n"), "{told}");
    let elsewhere = dry(&["--prefix", "p"]);
    assert!(elsewhere.contains("35 added, 0 changed, 0 deleted\n"), "{elsewhere}");
    for cache in ["relative", "/dev/null/none"] {
        let mut command = sandbox.command("repo");
        command.env("XDG_CACHE_HOME", cache).env("HOME", "").args(["import", &air, "-v"]);
        let run = Run::of(command.output().unwrap());
        assert!(!run.err.contains("not read"), "{}", run.err);
        assert_eq!(run.err.contains("the next import will read every file again"), cache != "relative", "{}", run.err);
        run.ok();
    }
    assert!(!sandbox.path("repo/relative").exists(), "a relative place is none");
    assert_eq!(sandbox.firn(&["diff", "main", &air]).ok(), "");
    let told = dry(&["--mirror"]);
    assert!(told.contains("0 changed, 0 deleted, 34 unchanged and not read"), "the other one is not known yet: {told}");
    sandbox.firn(&["import", &air]).ok();
    assert_eq!(sandbox.firn(&["diff", "main", &air]).ok(), "");
}

#[test]
fn nothing_is_skipped_in_silence() {
    let sandbox = Sandbox::new();
    sandbox.write("in/file", "x");
    sandbox.write("elsewhere/deep", "y");
    sandbox.mkdir("in/hollow");
    symlink(sandbox.path("elsewhere"), sandbox.path("in/link")).unwrap();
    symlink(sandbox.path("elsewhere/deep"), sandbox.path("in/link2")).unwrap();
    let run = sandbox.firn(&["import", &sandbox.text("in")]);
    assert!(run.err.contains("1 empty directory is not stored"), "{}", run.err);
    run.ok();
    assert_eq!(sandbox.firn(&["ls", "main", "-r"]).lines(), ["file", "link/deep", "link2"]);

    let import = |what: &str| sandbox.refused(9, || sandbox.firn(&["import", &sandbox.text(what)]));
    symlink(sandbox.path("loop"), sandbox.mkdir("loop").join("back")).unwrap();
    assert!(import("loop").contains("loop/back links back"));
    sandbox.write("bad/line\nbreak", "x");
    assert!(import("bad").contains("control character"));
    sandbox.write("deep/ok", "x");
    let _socket = std::os::unix::net::UnixListener::bind(sandbox.path("deep/socket")).unwrap();
    assert!(import("deep").contains("neither a file nor a directory"));
    assert!(import("deep/ok").contains("is not a directory"));
    assert!(import("repo").contains("is a Firnline repository"));
    symlink("absent", sandbox.mkdir("dangling").join("link")).unwrap();
    let err = sandbox.refused(3, || sandbox.firn(&["import", &sandbox.text("dangling")]));
    assert!(err.contains("dangling/link"), "{err}");
    sandbox.refused(3, || sandbox.firn(&["import", &sandbox.text("absent")]));
}

#[test]
fn a_file_whose_name_is_no_text_is_named_in_the_error() {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    if fs::write(sandbox.mkdir("in").join(name), "x").is_ok() {
        let err = sandbox.refused(9, || sandbox.firn(&["import", &sandbox.text("in")]));
        assert!(err.contains("not UTF-8"), "{err}");
    }
}

#[test]
fn checkout_goes_only_where_nothing_is() {
    let sandbox = Sandbox::new();
    sandbox.put("a", "x");
    sandbox.write("full/file", "mine");
    let err = sandbox.firn(&["checkout", "main", &sandbox.text("full")]).fails(9);
    assert!(err.contains("is not empty"), "{err}");
    assert_eq!(tree(&sandbox.path("full")), [("file".to_owned(), b"mine".to_vec())]);
    sandbox.write("file", "x");
    sandbox.firn(&["checkout", "main", &sandbox.text("file")]).fails(9);
    sandbox.firn(&["checkout", "main", &sandbox.text("no/parent")]).fails(3);
    sandbox.firn(&["checkout", "nope", &sandbox.text("new")]).fails(3);
    assert!(!sandbox.path("new").exists());
}

#[test]
fn a_checkout_that_cannot_be_whole_is_not_at_all() {
    let sandbox = Sandbox::new();
    sandbox.put("a", "file");
    sandbox.put("a!", "between them in the order of keys");
    sandbox.put("a/b", "directory");
    let err = sandbox.firn(&["checkout", "main", &sandbox.text("out")]).fails(9);
    assert!(err.contains("a and a/b cannot both be files"), "{err}");
    assert!(!sandbox.path("out").exists());
    sandbox.firn(&["rm", "a"]).ok();
    sandbox.firn(&["checkout", "main", &sandbox.text("out")]).ok();

    // A chunk whose bytes rot in the store is noticed, and nothing is left behind.
    let file = sandbox.write("big", noise(1, 50_000));
    sandbox.firn(&["put", file.to_str().unwrap(), "big"]).ok();
    let chunk = sandbox.firn(&["ls", "main", "big", "--json"]).document()["id"].as_str().unwrap().to_owned();
    let (object, mut bytes) = tree(&sandbox.path("repo")).into_iter().find(|(name, _)| name.ends_with(&chunk)).unwrap();
    bytes[25_000] ^= 1;
    let object = sandbox.path("repo").join(object);
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(object, bytes).unwrap();
    let err = sandbox.firn(&["checkout", "main", &sandbox.text("rotten")]).fails(7);
    assert!(err.starts_with("firn: corrupt: big"), "{err}");
    assert!(!sandbox.path("rotten").exists());
    assert!(fs::read_dir(sandbox.path("")).unwrap().all(|e| !e.unwrap().file_name().to_string_lossy().starts_with('.')), "no leftovers");
}

/// A mount point, the working directory and a directory of a group could not be filled: a checkout replaced the directory by another,
/// which needs the right to write beside it, and lost its mode.
#[test]
fn checkout_fills_the_empty_directory_that_is_there() {
    use std::os::unix::fs::MetadataExt as _;
    let sandbox = Sandbox::new();
    sandbox.put("a", "x");
    sandbox.put("d/b", "y");
    let place = sandbox.mkdir("parent/shared");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o2770)).unwrap();
    let before = fs::metadata(&place).unwrap();
    // Nothing may be made beside it.
    fs::set_permissions(sandbox.path("parent"), fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = sandbox.command("parent/shared");
    let run = Run::of(command.args(["-R", &sandbox.text("repo"), "checkout", "main", "."]).output().unwrap());
    fs::set_permissions(sandbox.path("parent"), fs::Permissions::from_mode(0o755)).unwrap();
    run.ok();
    let after = fs::metadata(&place).unwrap();
    assert_eq!((after.ino(), after.mode()), (before.ino(), before.mode()), "it is the same directory");
    assert_eq!(tree(&place), [("a".to_owned(), b"x".to_vec()), ("d/b".to_owned(), b"y".to_vec())]);

    // What cannot be whole leaves the directory empty.
    sandbox.put("a/b", "a is a file");
    let empty = sandbox.mkdir("empty");
    sandbox.firn(&["checkout", "main", &sandbox.text("empty")]).fails(9);
    assert_eq!(fs::read_dir(empty).unwrap().count(), 0);
}

/// `put` said of a pipe that it had changed while it was read.
#[test]
fn a_value_can_come_from_a_pipe() {
    let sandbox = Sandbox::new();
    let pipe = sandbox.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for len in [5, 9_000_000] {
        let (to, bytes) = (pipe.clone(), noise(3, len));
        let writer = std::thread::spawn(move || fs::write(to, bytes).unwrap());
        sandbox.firn(&["put", pipe.to_str().unwrap(), "k"]).ok();
        writer.join().unwrap();
        let run = sandbox.firn(&["cat", "main", "k"]);
        assert!(run.out == noise(3, len), "{}", run.err);
    }
    // In a directory it is no file of the data.
    sandbox.write("in/file", "x");
    fs::rename(&pipe, sandbox.path("in/pipe")).unwrap();
    let err = sandbox.refused(9, || sandbox.firn(&["import", &sandbox.text("in")]));
    assert!(err.contains("in/pipe is neither a file nor a directory"), "{err}");
}

/// A value of 900 MB took 1.9 GB of memory: each verb held it as a whole. Here a value is larger than all the memory that the
/// process may have.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_a_value() {
    let sandbox = Sandbox::new();
    let large = fs::File::create(sandbox.mkdir("in").join("large")).unwrap();
    large.set_len(400 << 20).unwrap();
    let (file, directory) = (sandbox.text("in/large"), sandbox.text("in"));
    let lines: [&[&str]; 6] = [
        &["import", &directory],
        &["verify"],
        &["diff", "main", &directory],
        &["put", &file, "other"],
        &["put", "-", "third"],
        &["cat", "main", "large"],
    ];
    for args in lines {
        let mut command = std::process::Command::new("sh");
        // Resident memory cannot be limited, so it is measured; data segments can.
        let script = r#"ulimit -d 300000; exec "$@""#;
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_firn")]).args(args).current_dir(sandbox.path("repo"));
        command.env_remove("FIRN_REPO").env("XDG_CACHE_HOME", sandbox.path("cache"));
        command.stdin(if args.contains(&"-") { fs::File::open(&file).unwrap().into() } else { std::process::Stdio::null() });
        let output = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
}

/// What an import stored before it was stopped lay in the repository as garbage, and everything was read and stored again.
#[test]
fn an_import_that_was_stopped_goes_on_where_it_was() {
    let sandbox = Sandbox::new();
    let air = store(&sandbox);
    let pipe = sandbox.mkdir("air/zz").join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let stopped = sandbox.firn(&["import", &air, "--save-every", "50000"]);
    assert_eq!(stopped.status, 9, "{}", stopped.err);
    assert!(sandbox.firn(&["ls", "main"]).ok().is_empty(), "readers see nothing of it");
    let branches = sandbox.firn(&["branch"]).ok();
    assert!(branches.contains("importing-"), "{branches}");

    fs::remove_dir_all(sandbox.path("air/zz")).unwrap();
    let id = sandbox.firn(&["import", &air, "--save-every", "50000"]).ok();
    assert_eq!(sandbox.firn(&["checkout", "main", &sandbox.text("out")]).ok(), id);
    assert_eq!(tree(&sandbox.path("out")), tree(&sandbox.path("air")));
    assert_eq!(sandbox.firn(&["log"]).lines().len(), 2, "one commit");
    assert!(!sandbox.firn(&["branch"]).ok().contains("importing-"));
    sandbox.firn(&["verify", "--all"]).ok();
}
