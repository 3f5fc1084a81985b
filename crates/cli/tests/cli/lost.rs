//! Refs that were lost, cannot be opened, or have something else in their place; and what is refused before anything is written.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::sync::Arc;

use firnline::{Clock, CreateOptions, ErrorKind, OpenOptions, Repository, Timestamp};
use serde_json::json;

use crate::skipping::skip;
use crate::support::{Run, Sandbox, noise, tree};

/// `firn init` made a new, empty main where the refs of a repository were lost, and no verb found the old snapshots any more.
#[test]
fn init_does_not_hide_a_repository_whose_refs_were_lost() {
    for lost in ["refs/branches/main.json", "refs"] {
        let sandbox = Sandbox::new();
        let ids: Vec<_> = (1..=3).map(|n| sandbox.put("k", &n.to_string())).collect();
        let path = sandbox.path("repo").join(lost);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.unwrap();
        let before = tree(&sandbox.path("repo"));
        let err = sandbox.firn(&["-R", ".", "init"]).fails(4);
        assert!(err.contains("firn snapshots main") && err.contains("firn branch main SNAPSHOT"), "{err}");
        assert_eq!(tree(&sandbox.path("repo")), before, "a refusal wrote something");
        for args in [&["log"][..], &["put", "-", "x"], &["reset", "main", &ids[2]]] {
            let err = sandbox.firn_with(args, "x").fails(3);
            assert!(err.contains("firn branch main SNAPSHOT"), "{args:?}: {err}");
        }
        let run = sandbox.firn(&["verify", "--all", "--json"]);
        assert_eq!(run.status, 1, "{}", run.err);
        let row: serde_json::Value = serde_json::from_slice(&run.out).unwrap();
        assert_eq!((&row["kind"], &row["object"]), (&json!("missing"), &json!("refs/branches/main.json")));
        assert_eq!(row["versions"].as_array().unwrap().len(), 4, "{row}");

        let found = sandbox.firn(&["snapshots", "main", "--json"]).rows();
        assert_eq!(found[0]["id"], json!(ids[2]));
        sandbox.firn(&["branch", "main", &ids[2]]).ok();
        assert_eq!(sandbox.firn(&["cat", "main", "k"]).ok(), "3");
        let record: serde_json::Value = serde_json::from_slice(&fs::read(sandbox.path("repo/refs/branches/main.json")).unwrap()).unwrap();
        assert!(
            record["seq"].as_u64().unwrap() > 1_600_000_000_000_000,
            "the sequence numbers of the lost record may come again: {record}"
        );
        assert_eq!(sandbox.firn(&["verify", "--all"]).status, 0);
    }
}

/// What an interrupted creation leaves is an empty root snapshot, and no branch.
#[test]
fn an_interrupted_creation_is_still_finished() {
    let sandbox = Sandbox::new();
    fs::remove_dir_all(sandbox.path("repo/refs")).unwrap();
    let err = sandbox.firn(&["log"]).fails(3);
    assert!(err.contains("firn init"), "{err}");
    // Once more, so that there are two such snapshots.
    sandbox.firn(&["-R", ".", "init"]).ok();
    fs::remove_dir_all(sandbox.path("repo/refs")).unwrap();
    sandbox.firn(&["-R", ".", "init"]).ok();
    sandbox.put("k", "1");
}

/// A typo was answered with `firn snapshots NAME` and `firn reset NAME`, neither of which works.
#[test]
fn the_advice_about_a_branch_that_does_not_exist_works() {
    let sandbox = Sandbox::new();
    let id = sandbox.put("k", "1");
    let err = sandbox.firn_with(&["put", "-", "k", "--branch", "nob"], "x").fails(3);
    assert!(err.contains("branches are listed by: firn branch\n") && err.contains("firn branch nob [REV]"), "{err}");
    assert!(!err.contains("reset") && !err.contains("snapshots"), "{err}");
    sandbox.firn(&["branch", "nob"]).ok();
    sandbox.firn(&["branch", "-d", "nob"]).ok();
    for args in [&["put", "-", "k", "--branch", "nob"][..], &["reset", "nob", "main"], &["ls", "branch:nob"]] {
        let err = sandbox.firn_with(args, "x").fails(3);
        assert!(err.contains("firn snapshots nob") && err.contains("firn branch nob SNAPSHOT"), "{args:?}: {err}");
    }
    assert!(sandbox.firn(&["snapshots", "nob"]).ok().contains(&id));
    sandbox.firn(&["branch", "nob", &id]).ok();
    let err = sandbox.firn(&["tag", "-d", "none"]).fails(3);
    assert!(err.contains("firn tag\n"), "{err}");
    // The message used to show the name in lower case, as if it were the branch that exists.
    let err = sandbox.firn(&["log", "MAIN"]).fails(3);
    assert!(err.contains("\"MAIN\""), "{err}");
}

/// The repository belongs to a user without rights, who runs the command: root may open everything.
struct Unprivileged(Sandbox);

impl Unprivileged {
    /// `None` if that user cannot run the program.
    fn new(sandbox: Sandbox) -> Option<Self> {
        if is_root() {
            let mut open = vec![sandbox.path("")];
            while let Some(path) = open.pop() {
                chown(&path, Some(65534), Some(65534)).unwrap();
                if path.is_dir() {
                    open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                }
            }
        }
        let new = Self(sandbox);
        (new.command(&["branch"]).output().ok()?.status.success()).then_some(new)
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.0.command("repo");
        command.args(args);
        if is_root() {
            command.uid(65534).gid(65534);
        }
        command
    }

    fn firn(&self, args: &[&str]) -> Run {
        Run::of(self.command(args).output().unwrap())
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn deny(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
}

/// One file that could not be opened stopped every listing, and the branch could be neither moved nor deleted.
#[test]
fn a_file_that_cannot_be_opened_stops_nothing_else() {
    for blocked in ["tip", "refs/branches/main.json"] {
        let sandbox = Sandbox::new();
        let (good, bad) = (sandbox.put("k", "1"), sandbox.put("k", "2"));
        sandbox.firn(&["branch", "other", &good]).ok();
        sandbox.firn(&["tag", "t", &good]).ok();
        let tip = sandbox.path("repo/snapshots").join(&bad[8..10]).join(&bad);
        let Some(user) = Unprivileged::new(sandbox) else {
            skip("a_file_that_cannot_be_opened_stops_nothing_else", "a user without rights cannot run the program");
            return;
        };
        deny(&if blocked == "tip" { tip } else { user.0.path("repo").join(blocked) });
        let listed = user.firn(&["branch"]).ok();
        let lines: Vec<_> = listed.lines().collect();
        assert!(lines.iter().any(|line| line.starts_with("main") && line.contains("UNREADABLE: ")), "{listed}");
        assert!(lines.iter().any(|line| line.starts_with("other") && line.contains(&good)), "{listed}");
        user.firn(&["tag"]).ok();
        assert!(user.firn(&["snapshots"]).ok().contains(&good));
        let run = user.firn(&["verify", "--all"]);
        assert_eq!(run.status, 1, "{}", run.err);
        user.firn(&["branch", "new", &good]).ok();
        user.firn(&["put", "/dev/null", "x", "--branch", "other"]).ok();
        user.firn(&["log"]).fails(8);
        if blocked == "tip" {
            assert_eq!(user.firn(&["branch", "-d", "main"]).ok(), bad);
            user.firn(&["branch", "main", &good]).ok();
            user.firn(&["reset", "other", &good]).ok();
        } else {
            // Its bytes are what a replace would have to expect.
            let err = user.firn(&["reset", "main", &good]).fails(8);
            assert!(err.contains("lacks the permission") && err.contains("firn snapshots main"), "{err}");
            user.firn(&["branch", "-d", "main"]).fails(8);
            fs::remove_file(user.0.path("repo").join(blocked)).unwrap();
            user.firn(&["branch", "main", &good]).ok();
        }
    }
}

/// A directory or a pipe in the place of a ref was left out of the listings, which said that all is well.
#[test]
fn what_is_no_file_in_the_place_of_a_ref_is_listed_as_damaged() {
    let sandbox = Sandbox::new();
    let id = sandbox.put("k", "1");
    sandbox.firn(&["branch", "other"]).ok();
    sandbox.firn(&["tag", "t"]).ok();
    let (branch, tag) = (sandbox.path("repo/refs/branches/other.json"), sandbox.path("repo/refs/tags/t.json"));
    for path in [&branch, &tag] {
        fs::remove_file(path).unwrap();
    }
    fs::create_dir(&branch).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&tag).status().unwrap();
    assert!(made.success());
    assert!(sandbox.firn(&["branch"]).ok().lines().any(|line| line.starts_with("other") && line.contains("DAMAGED")));
    assert!(sandbox.firn(&["tag"]).ok().lines().any(|line| line.starts_with('t') && line.contains("DAMAGED")));
    let run = sandbox.firn(&["verify", "--all"]);
    assert_eq!((run.status, String::from_utf8_lossy(&run.out).lines().count()), (1, 2), "{}", run.err);
    for (args, path) in [
        (&["cat", "other", "k"][..], &branch),
        (&["reset", "other", "main"], &branch),
        (&["branch", "-d", "other"], &branch),
        (&["tag", "-d", "t"], &tag),
        (&["moves", "other"], &branch),
    ] {
        let err = sandbox.firn(args).fails(7);
        assert!(err.contains(&path.display().to_string()) && err.contains("remove it or move it away"), "{args:?}: {err}");
        assert!(!err.contains("firn reset") && !err.contains("tag -d"), "{args:?}: {err}");
    }
    fs::remove_dir(&branch).unwrap();
    sandbox.firn(&["branch", "other", &id]).ok();

    // A file in the place of a directory used to be an empty list.
    for place in ["repo/refs/branches", "repo/refs"] {
        fs::remove_dir_all(sandbox.path(place)).unwrap();
        fs::write(sandbox.path(place), "x").unwrap();
        for args in [&["branch"][..], &["verify", "--all"], &["log"]] {
            let err = sandbox.firn(args).fails(7);
            assert!(err.contains(&sandbox.text(place)) && err.contains("remove it or move it away"), "{args:?}: {err}");
        }
        sandbox.firn(&["-R", ".", "init"]).fails(4);
        fs::remove_file(sandbox.path(place)).unwrap();
        fs::create_dir(sandbox.path(place)).unwrap();
    }
}

/// A commit that was refused for its author or its time had uploaded everything before.
#[test]
fn what_a_commit_says_is_checked_before_anything_is_stored() {
    let sandbox = Sandbox::new();
    sandbox.write("in/big", noise(1, 2_000_000));
    let (file, directory) = (sandbox.text("in/big"), sandbox.text("in"));
    let before = tree(&sandbox.path("repo"));
    let (long, name) = ("x".repeat(2000), format!("{}=v", "n".repeat(300)));
    for option in [&["--author", &long][..], &["--meta", &name]] {
        for verb in [&["put", &file, "k"][..], &["import", &directory]] {
            sandbox.firn(&[verb, option].concat()).fails(9);
            assert!(tree(&sandbox.path("repo")) == before, "{verb:?} {}", option[0]);
        }
    }
}

/// A clock that stands still.
#[derive(Debug)]
struct Fixed(Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A commit onto a branch from the future left what it had uploaded.
#[tokio::test]
async fn nothing_is_uploaded_for_a_branch_from_the_future() {
    let sandbox = Sandbox::new();
    sandbox.put("k", "1");
    let options = OpenOptions::default().clock(Arc::new(Fixed(Timestamp::from_micros(1_000_000_000_000_000))));
    let repository = Repository::open_with(&sandbox.text("repo"), options).await.unwrap();
    let before = tree(&sandbox.path("repo"));
    let session = repository.write("main").await.unwrap();
    assert_eq!(session.check(&"x".into()).await.unwrap_err().kind(), ErrorKind::Invalid);
    // Values that are stored in the manifest, and more of them than one node holds.
    for n in 0..20_000 {
        session.set(&format!("k/{n}").parse().unwrap(), noise(n, 64)).await.unwrap();
    }
    assert_eq!(session.commit("x").await.unwrap_err().error().kind(), ErrorKind::Invalid);
    assert!(tree(&sandbox.path("repo")) == before);
}

/// With such a clock `init` failed halfway, or wrote a `repo.json` that no reader takes.
#[tokio::test]
async fn a_creation_is_refused_before_it_writes() {
    let sandbox = Sandbox::new();
    for micros in [-1, Timestamp::MAX.micros() + 1, i64::MAX] {
        let options = OpenOptions::default().clock(Arc::new(Fixed(Timestamp::from_micros(micros))));
        let error = Repository::create_with(&sandbox.text("new"), CreateOptions::from(options)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("this machine's clock"), "{error}");
        assert!(!sandbox.path("new").exists());
    }
    let collecting = r#"{"v":1,"seq":1,"epoch":1,"phase":"fence","owner":"o","list":"l","lists":[]}"#;
    for (state, status) in [("{}", 7), (r#"{"v":2}"#, 10), (collecting, 8)] {
        sandbox.write("collected/gc/state.json", state);
        let before = tree(&sandbox.path("collected"));
        sandbox.firn(&["-R", &sandbox.text("collected"), "init"]).fails(status);
        assert_eq!(tree(&sandbox.path("collected")), before);
    }
}

/// A repository or a checkout in another one's folders showed up there as damaged refs.
#[test]
fn nothing_is_made_in_the_folders_of_a_repository() {
    let sandbox = Sandbox::new();
    sandbox.put("k", "1");
    symlink(sandbox.path("repo/refs"), sandbox.path("link")).unwrap();
    let before = tree(&sandbox.path("repo"));
    for place in ["repo/refs/branches", "repo/refs/branches/q", "repo/chunks/a/b", "repo/gc", "link/x"] {
        let place = sandbox.text(place);
        for args in [&["-R", &place, "init"][..], &["checkout", "main", &place]] {
            let err = sandbox.firn(args).fails(9);
            assert!(err.contains(&sandbox.text("repo")) || err.contains("link"), "{args:?}: {err}");
        }
    }
    assert_eq!(tree(&sandbox.path("repo")), before);
    // Other directories below it are the user's own, and so is `files` in a directory that is no repository.
    for place in ["repo/nested", "elsewhere/refs/x"] {
        sandbox.firn(&["-R", &sandbox.text(place), "init"]).ok();
    }
}

/// Checkout called it "not empty", and init "a file where a directory is needed".
#[test]
fn a_link_to_nothing_is_named() {
    let sandbox = Sandbox::new();
    symlink("nowhere", sandbox.path("dangling")).unwrap();
    let place = sandbox.text("dangling");
    for args in [&["-R", &place, "init"][..], &["checkout", "main", &place]] {
        let err = sandbox.firn(args).fails(9);
        assert!(err.contains("is a symbolic link to nowhere, which does not exist"), "{args:?}: {err}");
    }
}
