//! `docs/cli.md` says what the program does: its reference is what `--help` prints, its fields are those of real output.
//!
//! With `FIRN_WRITE_GOLDEN` set the reference is written anew; the fields are written by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Run, Sandbox, noise, tree};

const BEGIN: &str = "<!-- the rest is what --help prints -->\n";

/// Verbs that print no JSON on standard output: nothing, an id, bytes or a script.
const WITHOUT_JSON: &[&str] = &[
    "init",
    "import",
    "apply",
    "put",
    "rm",
    "cat",
    "checkout",
    "reset",
    "merge",
    "cherry-pick",
    "revert",
    "squash",
    "undo",
    "redo",
    "cp",
    "mv",
    "car",
    "completions",
    "kerchunk",
    "virtualize",
    "help",
];

/// Objects whose fields are names that users chose, or kinds.
const FREE: &[&str] = &["meta", "defaults", "options", "kinds", "states"];

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md")
}

fn help(sandbox: &Sandbox, path: &[&str]) -> String {
    let args = [path, &["--help"]].concat();
    // Without the terminal's width the text is as wide everywhere.
    let run = Run::of(sandbox.command("repo").args(args).env_remove("COLUMNS").output().unwrap());
    run.ok().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The verbs that a help text lists.
fn verbs(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A line that goes on is indented further.
    let first = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    first.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

fn reference(sandbox: &Sandbox) -> String {
    let top = help(sandbox, &[]);
    let mut text = format!("\n## `firn`\n\n```text\n{top}\n```\n");
    for verb in verbs(&top).iter().filter(|verb| *verb != "help") {
        let told = help(sandbox, &[verb]);
        write!(text, "\n## `firn {verb}`\n\n```text\n{told}\n```\n").unwrap();
        for inner in verbs(&told).iter().filter(|inner| *inner != "help") {
            write!(text, "\n### `firn {verb} {inner}`\n\n```text\n{}\n```\n", help(sandbox, &[verb, inner])).unwrap();
        }
    }
    text
}

#[test]
fn the_reference_is_what_help_prints() {
    let sandbox = Sandbox::new();
    let text = fs::read_to_string(page()).unwrap();
    let (by_hand, written) = text.split_once(BEGIN).expect("the page has the mark that the reference follows");
    let now = reference(&sandbox);
    if std::env::var_os("FIRN_WRITE_GOLDEN").is_some() && now != written {
        fs::write(page(), format!("{by_hand}{BEGIN}{now}")).unwrap();
        return;
    }
    assert!(now.len() > 10_000, "the help texts were found");
    for (line, (now, written)) in now.lines().zip(written.lines()).enumerate() {
        assert_eq!(now, written, "line {line} of the reference in docs/cli.md; write it anew with FIRN_WRITE_GOLDEN=1");
    }
    assert_eq!(now.len(), written.len(), "the reference in docs/cli.md; write it anew with FIRN_WRITE_GOLDEN=1");
}

/// The fields that the page documents, by what prints them; `true` where a field may be absent.
fn documented() -> BTreeMap<String, BTreeMap<String, bool>> {
    let text = fs::read_to_string(page()).unwrap();
    let mut found = BTreeMap::new();
    for block in text.split("```text fields of ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        let (fields, _) = rest.split_once("```").unwrap();
        let names = fields.lines().map(|line| line.split_whitespace().next().expect("a field on every line"));
        let fields = names.map(|name| (name.trim_end_matches('?').to_owned(), name.ends_with('?'))).collect();
        assert!(found.insert(name.to_owned(), fields).is_none(), "{name} is documented once");
    }
    found
}

/// The paths of all fields of an object.
fn paths(value: &Value, above: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let is_free = FREE.contains(&above.rsplit('.').next().unwrap());
            for (name, value) in fields {
                let name = if is_free { "*" } else { name };
                let path = if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
                found.insert(path.clone());
                paths(value, &path, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, &format!("{above}[]"), found)),
        _ => {}
    }
}

/// What was printed, by what the page calls it.
#[derive(Default)]
struct Printed(BTreeMap<String, Vec<Value>>);

impl Printed {
    fn take(&mut self, name: &str, text: impl AsRef<[u8]>) {
        let text = String::from_utf8(text.as_ref().to_vec()).unwrap();
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!rows.is_empty(), "{name} printed nothing");
        self.0.entry(name.to_owned()).or_default().extend(rows);
    }

    fn check(&self) {
        let documented = documented();
        assert_eq!(self.0.keys().collect::<Vec<_>>(), documented.keys().collect::<Vec<_>>(), "everything is documented, and run here");
        for (name, rows) in &self.0 {
            let all: Vec<BTreeSet<String>> = rows
                .iter()
                .map(|row| {
                    let mut found = BTreeSet::new();
                    paths(row, "", &mut found);
                    found
                })
                .collect();
            let seen: BTreeSet<_> = all.iter().flatten().cloned().collect();
            let told: BTreeSet<_> = documented[name].keys().cloned().collect();
            assert_eq!(seen, told, "the fields of {name}, printed and documented");
            for (field, may_be_absent) in &documented[name] {
                let is_always_there = all.iter().all(|row| row.contains(field));
                assert!(is_always_there || *may_be_absent, "{name} is documented to always have {field}");
                assert!(!is_always_there || !*may_be_absent, "{name} always has {field}, and it is documented with a question mark");
            }
        }
    }
}

/// A repository with every kind of value, a tag, two containers and a redefinition; `old` is before the last changes.
fn everything(sandbox: &Sandbox) -> String {
    let allow = format!("file://{}/", sandbox.text("data"));
    sandbox.write("data/a.nc", noise(1, 5000));
    sandbox.write("data/b.nc", noise(2, 5000));
    let virtuals = ["a", "b"].map(|name| {
        json!({ "op": "virtual", "key": format!("t/{name}"), "url": format!("{allow}{name}.nc"), "offset": 0, "length": 5000 }).to_string()
    });
    sandbox.firn_with(&["apply", "--allow", &allow, "--meta", "run=1"], virtuals.join("\n")).ok();
    sandbox.put("t/.zarray", "{}");
    let big = sandbox.write("big", noise(3, 5000));
    sandbox.firn(&["put", big.to_str().unwrap(), "big"]).ok();
    sandbox.firn(&["tag", "old", "-m", "why", "--meta", "k=v"]).ok();
    // The same reference into another state of its file, one key less, one of another kind.
    sandbox.write("data/a.nc", noise(4, 6000));
    sandbox.firn_with(&["apply", "--allow", &allow], &virtuals[0]).ok();
    let other = json!({ "op": "virtual", "key": "other", "url": "https://example.org/x", "offset": 0, "length": 1 }).to_string();
    sandbox.firn_with(&["apply"], other).ok();
    sandbox.firn(&["rm", "big"]).ok();
    allow
}

/// What `deps` prints in all its forms, and the verbs below it.
fn take_dependencies(printed: &mut Printed, sandbox: &Sandbox, allow: &str) {
    let firn = |args: &[&str]| sandbox.firn(&[&["deps"], args, &["--json"]].concat());
    for (name, args) in [
        ("deps --all-history", &["--all-history"][..]),
        ("deps --by container", &["--by", "container"]),
        ("deps --by array", &["--by", "array"]),
        ("deps --places", &["--places"]),
        ("deps diff", &["diff", "old", "main"]),
        ("deps diff", &["diff", "main", "old"]),
        ("deps diff", &["diff", "main~3", "main~1"]),
        ("deps who-uses", &["who-uses", allow, "--all-history"]),
        ("deps who-uses --keys", &["who-uses", allow, "--keys"]),
        ("deps check", &["check"]),
        ("deps check", &["check", "--allow", allow]),
    ] {
        printed.take(name, firn(args).out);
    }
    printed.take("standard error: checked", firn(&["check"]).err);
    let list = sandbox.write("sums", format!("{}  nothing\n", "0".repeat(64)));
    printed.take("standard error: not_locked", firn(&["lock", "--from", list.to_str().unwrap()]).err);
}

#[test]
fn the_fields_are_those_of_real_output() {
    let sandbox = Sandbox::new();
    let allow = everything(&sandbox);
    let firn = |args: &[&str]| sandbox.firn(&[args, &["--json"]].concat());
    let mut printed = Printed::default();
    for args in [
        &["ls", "main", "-r"][..],
        &["ls", "old"],
        &["log"],
        &["show"],
        &["show", "main~6"],
        &["show", "main~5"],
        &["branch"],
        &["tag"],
        &["moves", "main"],
        &["snapshots"],
        &["deps"],
        &["history", "big"],
        &["history", "t/a"],
        &["history", "t/.zarray"],
        &["blame"],
        &["blame", "t", "--keys"],
        &["bisect", "old", "main"],
        &["stat", "main", "t/a"],
        &["stat", "old", "big", "--last-change"],
        &["stat", "main", "t/b", "--last-change"],
        &["stats", "old"],
        &["stats", "main", "--unique"],
        &["cid", "main", "t"],
        &["doctor"],
    ] {
        printed.take(args[0], firn(args).out);
    }
    take_dependencies(&mut printed, &sandbox, &allow);
    printed.take("container list", firn(&["container", "list"]).out);
    let many = (0..9)
        .map(|n| json!({ "op": "virtual", "key": format!("many/{n}"), "url": format!("s3://b/x/y/z/{n}.nc"), "offset": 0, "length": 1 }));
    sandbox.firn_with(&["apply", "--branch", "many"], "").fails(3);
    firn(&["branch", "many"]).ok();
    sandbox.firn_with(&["apply", "--branch", "many"], many.map(|line| line.to_string()).collect::<Vec<_>>().join("\n")).ok();
    printed.take("container suggest", firn(&["container", "suggest", "many"]).out);
    let (moved, elsewhere) = (sandbox.write("moved/b.nc", noise(2, 5000)), format!("file://{}/", sandbox.text("moved")));
    assert!(moved.exists());
    let both = ["--allow", &allow, "--allow", &elsewhere, "--dry-run"];
    printed.take("deps move", firn(&[&["deps", "move", &format!("{allow}b.nc"), &format!("{elsewhere}b.nc")], &both[..]].concat()).out);
    sandbox.write("out/new", "x");
    std::os::unix::fs::symlink("absent", sandbox.path("out/dangling")).unwrap();
    for args in [&["diff", "old", "main"][..], &["diff", "main", "old"], &["diff", &sandbox.text("out"), "--prefix", "none"]] {
        printed.take("diff", firn(args).out);
    }
    let counted = String::from_utf8(firn(&["diff", "old", "main", "--stat"]).out).unwrap();
    let groups: Vec<_> = counted.lines().filter(|line| line.contains("\"old_bytes\"")).collect();
    printed.take("diff --stat", groups.join("\n"));
    let tip = firn(&["show"]).document()["id"].as_str().unwrap().to_owned();
    printed.take("settle", firn(&["settle", "main", &tip]).out);

    let copied = sandbox.text("copied");
    printed.take("clone", firn(&["clone", &sandbox.text("repo"), &copied]).out);
    firn(&["branch", "later"]).ok();
    printed.take("push", firn(&["push", &copied, "later"]).out);
    printed.take("pull", firn(&["pull", &copied, "tag:old", "--as", "older"]).out);
    firn(&["tag", "-d", "older"]).ok();

    for args in [&["gc", "--dry-run"][..], &["gc", "--grace", "0"]] {
        printed.take("gc", firn(args).out);
    }
    printed.take("gc --repair", firn(&["gc", "--repair"]).out);

    printed.take("stats --refs", firn(&["stats", "--refs"]).out);
    for args in [&["--keep-last", "3", "--dry-run", "--freed"][..], &["--keep-last", "3", "--keep-daily", "7d", "--reason", "why"]] {
        printed.take("expire", firn(&[&["expire"], args].concat()).out);
    }
    printed.take("expire --list", firn(&["expire", "--list"]).out);
    firn(&["withdraw", "main~1", "--reason", "why"]).ok();
    printed.take("withdraw --list", firn(&["withdraw", "--list"]).out);
    for args in [&["log"][..], &["show", "main~1"], &["show", "main~4"]] {
        printed.take(args[0], firn(args).out);
    }
    printed.take("standard error: withdrawn", firn(&["show", "main~1"]).err);

    // What is said on standard error.
    printed.take("standard error: error", firn(&["cat", "main", "absent"]).err);
    printed.take("standard error: error", firn(&["init", "-R", "/proc/nowhere"]).err);
    printed.take("standard error: resolved", firn(&["ls", "main@now"]).err);
    printed.take("standard error: note", firn(&["branch", "gone"]).err + &firn(&["branch", "-d", "gone"]).err);
    let lines = "{\"op\":\"put\",\"key\":\"k\",\"text\":\"v\"}\n\nnonsense";
    let err = sandbox.firn_with(&["apply", "--commit-every", "1", "--json"], lines).err;
    let (applied, error) = err.split_once('\n').unwrap();
    printed.take("standard error: applied", applied);
    printed.take("standard error: error", error);

    // What verify finds, when a chunk is gone.
    for (object, _) in tree(&sandbox.path("repo/chunks")) {
        fs::remove_file(sandbox.path("repo/chunks").join(object)).unwrap();
    }
    printed.take("verify", firn(&["verify", "old"]).out);

    // A ref whose record is damaged.
    for (verb, file) in [("branch", "branches/main"), ("tag", "tags/old")] {
        sandbox.write(&format!("repo/refs/{file}.json"), "damaged");
        printed.take(verb, firn(&[verb]).out);
    }
    printed.take("standard error: error", firn(&["ls"]).err);
    printed.check();
}

#[test]
fn every_verb_is_documented_with_its_fields_or_has_none() {
    let sandbox = Sandbox::new();
    let documented = documented();
    for verb in verbs(&help(&sandbox, &[])) {
        let has_fields = documented.keys().any(|name| name.split(' ').next() == Some(&verb));
        assert!(has_fields != WITHOUT_JSON.contains(&verb.as_str()), "{verb}: its JSON fields belong into docs/cli.md");
    }
}

#[test]
fn completions_are_scripts_that_know_the_verbs() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.firn(&["completions", shell]).ok();
        assert!(script.contains("firn") && script.contains("checkout") && script.contains("commit-every"), "{shell}");
    }
    sandbox.firn(&["completions", "cobol"]).fails(2);
    let Ok(found) = std::process::Command::new("bash").arg("--version").output() else { return };
    assert!(found.status.success());
    let script = sandbox.write("firn.bash", sandbox.firn(&["completions", "bash"]).out);
    let ask = format!(". {}; COMP_WORDS=(firn chec); COMP_CWORD=1; _firn firn chec firn; echo ${{COMPREPLY[*]}}", script.display());
    let out = std::process::Command::new("bash").args(["-c", &ask]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "checkout", "{}", String::from_utf8_lossy(&out.stderr));
}
