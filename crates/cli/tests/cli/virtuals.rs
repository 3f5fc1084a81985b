//! Values in files that others keep.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use firnline::{Clock, SystemClock};
use serde_json::json;

use crate::support::{Run, Sandbox, fields, noise};

/// A repository with two keys in one file of 10,000 bytes, dated yesterday.
struct Pointing {
    sandbox: Sandbox,
    allow: String,
}

impl Pointing {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let file = sandbox.write("data/air.nc", noise(7, 10_000));
        date(&file, yesterday());
        let allow = format!("file://{}/", sandbox.text("data"));
        let pointing = Self { sandbox, allow };
        let lines = [("t/0", 100, 4000), ("t/1", 9990, 10)].map(|(key, offset, length)| {
            json!({ "op": "virtual", "key": key, "url": format!("{}air.nc", pointing.allow), "offset": offset, "length": length })
                .to_string()
        });
        pointing.sandbox.firn_with(&["apply", "--allow", &pointing.allow], lines.join("\n")).ok();
        pointing
    }

    fn file(&self) -> std::path::PathBuf {
        self.sandbox.path("data/air.nc")
    }

    fn cat(&self) -> Run {
        self.sandbox.firn(&["cat", "main", "t/0", "--allow", &self.allow])
    }
}

fn yesterday() -> SystemTime {
    let micros = SystemClock.now().minus(Duration::from_hours(24)).micros();
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros.unsigned_abs())
}

fn date(path: &std::path::Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn bytes_are_read_where_they_lie() {
    let pointing = Pointing::new();
    assert!(pointing.cat().out == noise(7, 10_000)[100..4100]);
    let sandbox = &pointing.sandbox;
    let part = ["cat", "main", "t/0", "--offset", "10", "--length", "5", "--allow", &pointing.allow];
    assert!(sandbox.firn(&part).out == noise(7, 10_000)[110..115]);
    sandbox.firn(&["checkout", "main", &sandbox.text("out"), "--allow", &pointing.allow]).ok();
    assert!(fs::read(sandbox.path("out/t/1")).unwrap() == noise(7, 10_000)[9990..]);
    let row = sandbox.firn(&["ls", "main", "t/0", "--json"]).document();
    let url = format!("{}air.nc", pointing.allow);
    assert_eq!(row, json!({ "name": "t/0", "kind": "virtual", "size": 4000, "url": url, "offset": 100 }));

    let mut command = sandbox.command("repo");
    command.args(["cat", "main", "t/0"]).env("FIRN_ALLOW", format!("file:///nowhere,{} file:///else", pointing.allow));
    assert_eq!(Run::of(command.output().unwrap()).status, 0);
}

#[test]
fn what_is_not_allowed_is_denied_with_what_to_add() {
    let pointing = Pointing::new();
    for allow in [&[][..], &["--allow", "file:///elsewhere"], &["--allow", pointing.allow.trim_end_matches("ta/")]] {
        let err = pointing.sandbox.firn(&[&["cat", "main", "t/0"], allow].concat()).fails(5);
        assert!(err.starts_with("firn: denied: t/0 ") && err.contains("; add --allow file:///"), "{err}");
    }
    assert!(pointing.sandbox.firn(&["checkout", "main", &pointing.sandbox.text("out")]).fails(5).contains("denied"));
    assert!(!pointing.sandbox.path("out").exists());
    pointing.sandbox.firn(&["log", "--allow", "nonsense"]).fails(9);
    let err = pointing.sandbox.firn(&["log", "--allow", "s3://bucket/=key:secret"]).fails(9);
    assert!(err.contains("anonymous, env, private") && !err.contains("secret"), "{err}");
}

#[test]
fn a_file_that_changed_is_told_from_one_that_was_cut_and_one_that_is_gone() {
    let pointing = Pointing::new();
    let original = fs::read(pointing.file()).unwrap();
    let restore = || {
        fs::write(pointing.file(), &original).unwrap();
    };
    let was = fs::metadata(pointing.file()).unwrap().modified().unwrap();

    fs::write(pointing.file(), noise(8, 10_000)).unwrap();
    assert!(pointing.cat().fails(6).starts_with("firn: source changed: t/0"));
    restore();
    assert_eq!(pointing.cat().fails(6).lines().count(), 1, "the same bytes under another date: it may have changed");
    date(&pointing.file(), was);
    assert_eq!(pointing.cat().status, 0, "restored with its date");

    File::options().write(true).open(pointing.file()).unwrap().set_len(5000).unwrap();
    pointing.cat().fails(7);
    fs::remove_file(pointing.file()).unwrap();
    assert!(pointing.cat().fails(3).contains("air.nc"));
    restore();
    date(&pointing.file(), was);
    assert!(pointing.cat().out == original[100..4100]);
}

#[test]
fn a_change_under_the_same_size_and_date_is_not_noticed() {
    let pointing = Pointing::new();
    let was = fs::metadata(pointing.file()).unwrap().modified().unwrap();
    fs::write(pointing.file(), noise(9, 10_000)).unwrap();
    date(&pointing.file(), was);
    // The limit of sizes and dates, written down in a test: whoever needs more locks a digest.
    assert!(pointing.cat().out == noise(9, 10_000)[100..4100]);
}

#[test]
fn deps_lists_every_file_once() {
    let pointing = Pointing::new();
    let line = pointing.sandbox.firn(&["deps", "--json"]).ok();
    let names =
        ["url", "container", "args", "refs", "bytes", "size", "modified", "pinned_at", "pinned", "racy", "etag", "version", "digest"];
    assert_eq!(fields(&line), names);
    let row: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(row["url"], format!("{}air.nc", pointing.allow));
    assert_eq!((&row["refs"], &row["bytes"], &row["size"], &row["racy"]), (&json!(2), &json!(4010), &json!(10_000), &json!(false)));
    assert!(row["modified"].as_str() < row["pinned_at"].as_str());
    let table = pointing.sandbox.firn(&["deps"]).lines();
    assert_eq!(table.len(), 2);
    assert!(table[0].starts_with("FILE ") && table[1].contains(" 4010 "), "{table:?}");

    pointing.sandbox.firn(&["rm", "-r", "t"]).ok();
    assert_eq!(pointing.sandbox.firn(&["deps"]).ok(), "");
    let places = pointing.sandbox.firn(&["show", "--json"]).document()["places"].clone();
    assert_eq!(places.as_array().unwrap().len(), 1, "places only grow: {places}");
}

#[test]
fn references_that_cannot_be_right_are_refused_when_they_are_staged() {
    let pointing = Pointing::new();
    let line = |name: &str, offset: u64| {
        json!({ "op": "virtual", "key": "x", "url": format!("{}{name}", pointing.allow), "offset": offset, "length": 10 }).to_string()
    };
    let apply = |status: i32, line: String| {
        pointing.sandbox.refused(status, || pointing.sandbox.firn_with(&["apply", "--allow", &pointing.allow], line))
    };
    assert!(apply(9, line("air.nc", 9_991)).contains("line 1: x"));
    assert!(apply(3, line("absent.nc", 0)).contains("absent.nc"));
    let secret = json!({ "op": "virtual", "key": "x", "url": "https://me:secret@example.org/x", "offset": 0, "length": 1 });
    assert!(!apply(9, secret.to_string()).contains("secret"), "no secret is recorded, and none is printed");
    // A file that may not be asked is taken on the caller's word, and the command says so.
    pointing.sandbox.firn_with(&["apply"], line("absent.nc", 0)).ok();
    pointing.sandbox.firn(&["cat", "main", "x"]).fails(5);
    pointing.sandbox.firn(&["cat", "main", "x", "--allow", &pointing.allow]).fails(3);
}

#[test]
fn deps_check_says_what_became_of_each_file() {
    let pointing = Pointing::new();
    let check = |options: &[&str]| pointing.sandbox.firn(&[&["deps", "check", "--json"], options].concat());
    let state = |run: Run| (run.status, serde_json::from_str::<serde_json::Value>(&String::from_utf8(run.out).unwrap()).unwrap());
    let (status, row) = state(check(&["--allow", &pointing.allow]));
    assert_eq!((status, row["state"].as_str(), row.get("detail")), (0, Some("ok"), None));
    let (status, row) = state(check(&[]));
    assert_eq!((status, row["state"].as_str()), (1, Some("forbidden")));
    fs::write(pointing.file(), noise(8, 10_001)).unwrap();
    let (status, row) = state(check(&["--allow", &pointing.allow]));
    assert_eq!((status, row["state"].as_str()), (1, Some("changed")));
    assert!(row["detail"].as_str().unwrap().contains("size 10000 → 10001"), "{row}");
    fs::remove_file(pointing.file()).unwrap();
    assert_eq!(state(check(&["--allow", &pointing.allow])).1["state"], "missing");
}

/// `apply` could not look at the file, recorded nothing of it and said nothing; a restored backup of another size and an older
/// date was then read without a word.
#[test]
fn references_that_cannot_be_pinned_are_said_at_once_and_read_only_on_request() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("src/d", "AAAABBBBCCCC");
    date(&file, yesterday());
    let place = format!("file://{}/", sandbox.text("src"));
    let lines: Vec<_> = (0..3)
        .map(|n| json!({ "op": "virtual", "key": format!("k/{n}"), "url": format!("{place}d{}", ["", "?", "+"][n]), "offset": 4, "length": 4 }))
        .map(|line| line.to_string())
        .collect();
    let run = sandbox.firn_with(&["apply"], lines.join("\n"));
    assert_eq!((run.status, run.err.lines().count()), (0, 1), "one line for the place: {}", run.err);
    assert!(run.err.starts_with(&format!("firn: 3 files in {place} are not pinned, because its place is not allowed")), "{}", run.err);
    assert!(run.err.contains(&format!("--allow {place}=unpinned")), "{}", run.err);

    sandbox.write("src/d", "aaaabbbbccccdddd");
    date(&file, yesterday() - Duration::from_hours(48));
    let allow = ["--allow", &place];
    let err = sandbox.firn(&[&["cat", "main", "k/0"], &allow[..]].concat()).fails(10);
    assert!(err.contains("was never pinned") && err.contains(&format!("; add --allow {place}=unpinned")), "{err}");
    let run = sandbox.firn(&[&["deps", "check", "--json"], &allow[..]].concat());
    let row: serde_json::Value = serde_json::from_slice(run.out.split(|b| *b == b'\n').next().unwrap()).unwrap();
    assert_eq!((run.status, &row["state"], &row["pinned"]), (1, &json!("unverifiable"), &json!(false)));
    assert!(sandbox.firn(&["deps"]).ok().contains(" unpinned"));
    let accepting = format!("{place}=unpinned");
    assert_eq!(sandbox.firn(&["cat", "main", "k/0", "--allow", &accepting]).ok(), "bbbb");

    let run = sandbox.firn_with(&["apply", "--commit-every", "1", "--json"], lines.join("\n"));
    let told: Vec<_> = run.err.lines().filter(|line| line.contains("unpinned")).collect();
    assert_eq!(told.len(), 1, "a place is told once: {}", run.err);
    let told: serde_json::Value = serde_json::from_str(told[0]).unwrap();
    assert_eq!((&told["unpinned"]["place"], &told["unpinned"]["files"]), (&json!(place), &json!(1)));
    // Pinned now, nothing is said.
    sandbox.write("src/d?", "1");
    let run = sandbox.firn_with(&[&["apply"], &allow[..]].concat(), &lines[0]);
    assert_eq!((run.status, run.err.as_str()), (0, ""));
    assert_eq!(sandbox.firn(&[&["cat", "main", "k/0"], &allow[..]].concat()).ok(), "bbbb");
}

/// The error named a verb that did not exist.
#[test]
fn repin_commits_the_file_as_it_is_and_is_named_by_the_error() {
    let pointing = Pointing::new();
    fs::write(pointing.file(), noise(8, 10_001)).unwrap();
    let url = format!("{}air.nc", pointing.allow);
    let err = pointing.cat().fails(6);
    assert!(err.contains(&format!("pin it anew with: firn deps repin {url}")), "{err}");
    let repin =
        |options: &[&str]| pointing.sandbox.firn(&[&["deps", "repin", &pointing.allow, "--allow", &pointing.allow], options].concat());
    let before = pointing.sandbox.state();
    let run = repin(&["--dry-run"]);
    assert!(run.err.contains(&format!("{url}: size 10000 → 10001, modified ")) && run.err.contains("1 file repinned"), "{}", run.err);
    assert_eq!(run.ok(), "");
    assert_eq!(pointing.sandbox.state(), before);
    let id = repin(&["-m", "the file was corrected"]).ok();
    assert_eq!(pointing.sandbox.firn(&["log", "--json"]).rows()[0]["id"], id);
    assert!(pointing.cat().out == noise(8, 10_001)[100..4100]);
    assert_eq!(repin(&[]).ok(), id, "nothing changed, nothing was committed");
    assert!(pointing.sandbox.firn(&["deps", "repin", &url]).fails(5).contains("; add --allow "));
    pointing.sandbox.firn(&["deps", "repin", "file:///nowhere/", "--allow", &pointing.allow]).fails(3);
    pointing.sandbox.firn(&["deps", "repin"]).fails(2);
}

/// A space in `FIRN_ALLOW` separates places, so a directory with one could not be named.
#[test]
fn the_environment_can_allow_a_directory_with_any_name() {
    let sandbox = Sandbox::new();
    for (n, name) in ["my data", "a,b", "line\nbreak", "100%"].into_iter().enumerate() {
        let file = sandbox.write(&format!("{name}/f"), "hello");
        date(&file, yesterday());
        let url = firnline::file_url(&file).unwrap();
        let place = url.strip_suffix('f').unwrap();
        let line = json!({ "op": "virtual", "key": format!("k/{n}"), "url": url, "offset": 0, "length": 5 });
        let run = |args: &[&str], input: String| {
            let mut command = sandbox.command("repo");
            command.args(args).env("FIRN_ALLOW", format!("file:///nowhere/ ,\n{place}"));
            sandbox.run_with(command, input)
        };
        run(&["apply"], line.to_string()).ok();
        assert_eq!(run(&["cat", "main", &format!("k/{n}")], String::new()).ok(), "hello", "{name:?}");
    }
    let mut command = sandbox.command("repo");
    command.args(["log"]).env("FIRN_ALLOW", "file:///my data/");
    let err = Run::of(command.output().unwrap()).fails(9);
    assert!(err.contains("FIRN_ALLOW") && err.contains("%20"), "{err}");
}

/// The URI that `pathlib` writes for a path with a space pointed at nothing.
#[test]
fn file_urls_are_read_as_other_tools_write_them() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("my data/100%/f", "hello");
    date(&file, yesterday());
    let base = sandbox.text("repo").trim_end_matches("/repo").to_owned();
    sandbox.firn(&["init", "-R", &format!("file://{base}/my%20repo")]).ok();
    assert!(sandbox.path("my repo").is_dir());
    let literal = format!("file://{}", sandbox.text("my data/100%/f"));
    let allow = format!("file://{base}/my%20data/");
    for (n, url) in [firnline::file_url(&file).unwrap(), literal].into_iter().enumerate() {
        let line = json!({ "op": "virtual", "key": format!("k/{n}"), "url": url, "offset": 0, "length": 5 });
        sandbox.firn_with(&["apply", "-R", &sandbox.text("my repo"), "--allow", &allow], line.to_string()).ok();
        let run = sandbox.firn(&["cat", "main", &format!("k/{n}"), "-R", &sandbox.text("my repo"), "--allow", &allow]);
        assert_eq!(run.ok(), "hello", "{url}");
    }
}

/// Text of a repository wrote escape sequences of eight bits, and reordered the line around it.
#[test]
fn no_verb_lets_text_of_a_repository_drive_the_terminal() {
    let sandbox = Sandbox::new();
    let bad = "\u{202e}gnp\u{9b}31m\u{7f}\u{2066}\u{200b}\u{feff}";
    let line = json!({ "op": "put", "key": "a\u{202e}\u{200b}b", "text": "x" });
    sandbox.firn_with(&["apply", "-m", &format!("message {bad}"), "--author", bad, "--meta", &format!("k={bad}")], line.to_string()).ok();
    let reference = json!({ "op": "virtual", "key": "v", "url": "file:///data/\u{202e}\u{200b}x", "offset": 0, "length": 5 });
    let told = sandbox.firn_with(&["apply"], reference.to_string());
    assert!(!told.err.chars().any(|c| firnline::is_unprintable(c) && c != '\n'), "{:?}", told.err);
    for verb in [
        &["log"][..],
        &["show"],
        &["show", "main~1"],
        &["ls"],
        &["ls", "-l"],
        &["deps"],
        &["deps", "check"],
        &["deps", "--all-history"],
        &["deps", "--by", "array"],
        &["deps", "--by", "container"],
        &["deps", "--places"],
        &["deps", "diff", "main~1"],
        &["deps", "who-uses", "file:///", "--keys"],
        &["deps", "checksums"],
        &["stat", "main", "v"],
        &["history", "a\u{202e}\u{200b}b"],
        &["diff", "main~2", "main"],
        &["cat", "main", "v"],
        &["cat", "main", "\u{202e}absent\u{9c}"],
        &["deps", "repin", "file:///\u{202e}x"],
        &["verify"],
    ] {
        for json in [&[][..], &["--json"]] {
            let run = sandbox.firn(&[verb, json].concat());
            for text in [String::from_utf8(run.out).unwrap(), run.err] {
                let hidden: Vec<_> = text.chars().filter(|c| firnline::is_unprintable(*c) && *c != '\n').collect();
                assert!(hidden.is_empty(), "{verb:?} {json:?} prints {hidden:?}: {text:?}");
                if !json.is_empty() {
                    for line in text.lines() {
                        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{verb:?}: {e}: {line}"));
                    }
                }
            }
        }
    }
    assert_eq!(sandbox.firn(&["ls", "--json"]).rows()[0]["name"], "a\u{202e}\u{200b}b", "the same text to a program");
}

/// The notice named the directory of the link, which was allowed.
#[test]
fn the_notice_about_files_without_a_pin_names_where_a_link_leads() {
    let sandbox = Sandbox::new();
    sandbox.write("real/d", "AAAABBBBCCCC");
    sandbox.write("src/other", "");
    std::os::unix::fs::symlink(sandbox.path("real/d"), sandbox.path("src/d")).unwrap();
    let place = |name: &str| format!("file://{}/", sandbox.path(name).canonicalize().unwrap().display());
    let (src, real) = (place("src"), place("real"));
    let line = json!({ "op": "virtual", "key": "k", "url": format!("{src}d"), "offset": 4, "length": 4 }).to_string();
    let said = sandbox.firn_with(&["apply", "--allow", &src], line.as_str()).err;
    assert!(said.contains("through a symbolic link") && said.contains(&format!("pin it with --allow {real}, or")), "{said}");
    sandbox.firn(&["deps", "repin", &src, "--allow", &real]).ok();
    assert_eq!(sandbox.firn(&["cat", "main", "k", "--allow", &real]).ok(), "BBBB");
}

/// `k1` gave the bytes of a file that was restored from a backup after it was referred to, once another reference was pinned.
#[test]
fn pinning_a_file_makes_no_older_reference_without_a_pin_readable() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("src/d", "AAAABBBBCCCC");
    let place = format!("file://{}/", sandbox.text("src"));
    let line = |key: &str| json!({ "op": "virtual", "key": key, "url": format!("{place}d"), "offset": 4, "length": 4 }).to_string();
    sandbox.firn_with(&["apply"], line("k1")).ok();
    std::thread::sleep(Duration::from_millis(20));
    sandbox.write("src/d", "aaaabbbbcccc");
    date(&file, yesterday());
    let err = sandbox.firn_with(&["apply", "--allow", &place], line("k2")).fails(10);
    assert!(err.contains("without a pin") && err.contains(&format!("firn deps repin {place}d")), "{err}");
    sandbox.firn(&["cat", "main", "k1", "--allow", &place]).fails(10);
    sandbox.firn(&["deps", "repin", &format!("{place}d"), "--allow", &place]).ok();
    sandbox.firn_with(&["apply", "--allow", &place], line("k2")).ok();
    assert_eq!(sandbox.firn(&["cat", "main", "k1", "--allow", &place]).ok(), "bbbb");
}

/// "Cannot be read" was all that was said.
#[test]
fn deps_check_says_why_a_file_cannot_be_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let pointing = Pointing::new();
    fs::set_permissions(pointing.file(), fs::Permissions::from_mode(0o0)).unwrap();
    if File::open(pointing.file()).is_ok() {
        // The superuser reads every file. A link to itself cannot be followed by anybody.
        fs::remove_file(pointing.file()).unwrap();
        std::os::unix::fs::symlink(pointing.file(), pointing.file()).unwrap();
    }
    let because = pointing.cat().fails(8);
    let because = because.lines().nth(1).unwrap().trim().strip_prefix("because ").unwrap();
    let run = pointing.sandbox.firn(&["deps", "check", "--json", "--allow", &pointing.allow]);
    let row: serde_json::Value = serde_json::from_slice(&run.out).unwrap();
    assert_eq!(row["state"], "unreachable");
    assert!(row["detail"].as_str().unwrap().contains(because), "{row}");
}

/// An archive that moved stays readable in all old versions, whatever containers each of them has.
#[test]
fn a_moved_archive_is_read_in_every_version() {
    let sandbox = Sandbox::new();
    let archive = format!("file://{}/", sandbox.text("archive"));
    for (n, name) in ["jan.nc", "feb.nc"].iter().enumerate() {
        sandbox.write(&format!("archive/{name}"), noise(n as u64, 100));
        let line = json!({ "op": "virtual", "key": name, "url": format!("{archive}{name}"), "offset": 10, "length": 20 });
        sandbox.firn_with(&["apply", "--allow", &archive], line.to_string()).ok();
    }
    // The container is the whole disk: below the mirror the files have their whole paths.
    let mirror = sandbox.mkdir(&format!("mirror{}", sandbox.text("")));
    fs::rename(sandbox.path("archive"), mirror.join("archive")).unwrap();
    let (to, allowed) = (format!("file://=file://{}/=unverified", sandbox.text("mirror")), format!("file://{}/", sandbox.text("mirror")));
    assert_eq!(sandbox.firn(&["cat", "main", "jan.nc", "--allow", &archive]).status, 3);
    for (revision, key, seed) in [("main", "feb.nc", 1), ("main", "jan.nc", 0), ("main~1", "jan.nc", 0)] {
        let run = sandbox.firn(&["cat", revision, key, "--allow", &allowed, "--rebind", &to]);
        assert!(run.status == 0 && run.out == noise(seed, 100)[10..30], "{revision} {key}: {}", run.err);
    }
    let mut command = sandbox.command("repo");
    command.args(["cat", "main~1", "jan.nc"]).env("FIRN_ALLOW", &allowed).env("FIRN_REBIND", &to);
    assert!(Run::of(command.output().unwrap()).out == noise(0, 100)[10..30]);
    // The command line decides before the variable.
    command.args(["--rebind", "file://=file:///nowhere/=unverified"]);
    assert!(Run::of(command.output().unwrap()).fails(5).contains("/nowhere/"));

    let verified = to.trim_end_matches("=unverified");
    let err = sandbox.firn(&["cat", "main", "jan.nc", "--allow", &allowed, "--rebind", verified]).fails(10);
    assert!(err.contains(&format!("write --rebind {to}")), "{err}");
    let err = sandbox.firn(&["cat", "main", "jan.nc", "--rebind", &to]).fails(5);
    assert!(err.contains("add --allow file://") && err.contains("/mirror/"), "{err}");
    let err = sandbox.firn(&["ls", "main", "--rebind", "fiel://=file:///x/"]).err;
    assert!(err.contains("has no container of this name; it has file://"), "{err}");
    sandbox.firn(&["log", "--rebind", "nonsense"]).fails(9);
}

#[test]
fn a_reference_set_is_committed_and_what_is_wrong_with_it_is_said() {
    let sandbox = Sandbox::new();
    sandbox.write("data/air.nc", noise(7, 10_000));
    let allow = format!("file://{}/", sandbox.text("data"));
    let set = sandbox.write("data/set.json", r#"{"x/.zarray": {}, "x/0": ["air.nc", 100, 50], "x/1": ["gone.nc", 0, 5]}"#);
    let set = set.to_str().unwrap();
    let missing = sandbox.firn(&["kerchunk", "import", set, "--allow", &allow]);
    assert_eq!(missing.status, 3);
    assert!(missing.err.contains("x/1: ") && missing.err.contains("gone.nc does not exist"), "{}", missing.err);
    let dry = sandbox.firn(&["kerchunk", "import", set, "--allow", &allow, "--allow-missing", "--prefix", "p", "--dry-run"]);
    assert!(dry.err.contains("would commit to main: 2 references and 1 value, 1 file that does not exist"), "{}", dry.err);
    assert!(sandbox.firn(&["ls", "main"]).ok().is_empty());
    let done = sandbox.firn(&["kerchunk", "import", set, "--allow", &allow, "--allow-missing", "--prefix", "p", "-v"]);
    assert!(done.err.contains("once it is there, pin it with: firn deps repin"), "{}", done.err);
    assert_eq!(done.ok().lines().count(), 1);
    assert!(sandbox.firn(&["cat", "main", "p/x/0", "--allow", &allow]).out == noise(7, 10_000)[100..150]);
    // Without the permission to look at the files: one of them is pinned on the branch already, the other is not.
    let unlooked = sandbox.firn(&["kerchunk", "import", set, "--prefix", "q"]);
    assert!(unlooked.err.contains("1 file in") && unlooked.err.contains(&format!("pin it with --allow {allow}")), "{}", unlooked.err);
    let url = sandbox.firn(&["kerchunk", "import", "s3://bucket/set.json"]);
    assert_eq!((url.status, url.err.contains("read from local disk")), (10, true), "{}", url.err);
}
