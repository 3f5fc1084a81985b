//! The order in which a commit reaches the disk, as `strace` sees it: everything that the ref needs is synced before the
//! ref is renamed into place, and the ref's own directory before anybody is told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support;

/// What a system call did. Files are named by the path that they had at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Write(PathBuf),
    Sync(PathBuf),
    SyncFileSystem,
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    MakeDirectory(PathBuf),
    /// Something was written to standard output.
    Told,
}

/// A call that succeeded, and the lines of the trace on which it began and ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    began: usize,
    ended: usize,
    call: Call,
}

/// Reads what `strace -f -y` wrote: one call a line, or two when others came between.
fn parse(trace: &str) -> Vec<Event> {
    let mut unfinished: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    let mut events = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(head) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(pid, (number, head.trim_end().to_owned()));
            continue;
        }
        let (began, whole) = match rest.strip_prefix("<... ").and_then(|r| r.split_once(" resumed>")) {
            Some((_, tail)) => match unfinished.remove(pid) {
                Some((began, head)) => (began, format!("{head}{tail}")),
                None => continue,
            },
            None => (number, rest.to_owned()),
        };
        if let Some(call) = parse_call(&whole) {
            events.push(Event { began, ended: number, call });
        }
    }
    events
}

/// One whole call; `None` when it failed or is of no interest.
fn parse_call(text: &str) -> Option<Call> {
    let (name, arguments) = text.split_once('(')?;
    let (arguments, answer) = arguments.rsplit_once(" = ")?;
    if answer.starts_with('-') || answer.starts_with('?') {
        return None;
    }
    // The path of a descriptor: 9</a/b>.
    let descriptor = || {
        let (number, rest) = arguments.split_once('<')?;
        Some((number.parse::<u32>().ok()?, PathBuf::from(rest.split_once('>')?.0)))
    };
    let quoted: Vec<_> = arguments.split('"').skip(1).step_by(2).map(PathBuf::from).collect();
    match name {
        "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" => {
            let (number, path) = descriptor()?;
            Some(if number == 1 { Call::Told } else { Call::Write(path) })
        }
        "fsync" | "fdatasync" => Some(Call::Sync(descriptor()?.1)),
        "syncfs" | "sync" => Some(Call::SyncFileSystem),
        "rename" | "renameat" | "renameat2" | "link" | "linkat" => match quoted.as_slice() {
            [from, to] => Some(Call::Rename { from: from.clone(), to: to.clone() }),
            _ => None,
        },
        "mkdir" | "mkdirat" => Some(Call::MakeDirectory(quoted.first()?.clone())),
        _ => None,
    }
}

/// What is wrong with the order of `events` in the repository `root`; nothing is fine.
fn judge(events: &[Event], root: &Path) -> Vec<String> {
    let locks = root.join("refs/.lock");
    let ours = |path: &Path| path.starts_with(root) && !path.starts_with(&locks);
    let is_ref = |path: &Path| {
        let refs = [root.join("refs/branches"), root.join("refs/tags")];
        refs.iter().any(|folder| path.starts_with(folder)) && path.extension().is_some_and(|e| e == "json")
    };
    let mut wrong = Vec::new();
    let mut refs = 0;
    for published in events {
        let Call::Rename { from: temporary, to: reference } = &published.call else { continue };
        if !is_ref(reference) {
            continue;
        }
        refs += 1;
        let mut require = |needed: bool, what: String| {
            if !needed {
                wrong.push(what);
            }
        };
        // Whether `path`, under any of its names, was synced between two moments.
        let synced = |path: &Path, after: usize, before: usize| {
            let names = names_of(events, path);
            events.iter().any(|e| {
                let covers = match &e.call {
                    Call::Sync(synced) => names.contains(synced),
                    Call::SyncFileSystem => true,
                    _ => false,
                };
                covers && e.began > after && e.ended < before
            })
        };
        for event in events.iter().filter(|e| e.began < published.began) {
            let before = published.began;
            match &event.call {
                Call::Write(path) if ours(path) => {
                    require(synced(path, event.ended, before), format!("{} is not synced before {}", path.display(), reference.display()));
                }
                Call::Rename { to, .. } if ours(to) => {
                    let parent = to.parent().expect("it lies in the repository");
                    require(
                        synced(parent, event.ended, before),
                        format!("the name {} is not synced before {}", to.display(), reference.display()),
                    );
                }
                Call::MakeDirectory(path) if ours(path) && path != root => {
                    let parent = path.parent().expect("it lies in the repository");
                    require(
                        synced(parent, event.ended, before),
                        format!("the directory {} is not synced before {}", path.display(), reference.display()),
                    );
                }
                _ => {}
            }
        }
        let written = events.iter().any(|e| e.call == Call::Write(temporary.clone()) && e.ended < published.began);
        require(written, format!("{} is renamed before it is written", temporary.display()));
        let told = events.iter().find(|e| e.call == Call::Told && e.began > published.ended).map_or(usize::MAX, |e| e.began);
        let folder = reference.parent().expect("it lies in the repository");
        require(synced(folder, published.ended, told), format!("{} is told of before its directory is synced", reference.display()));
    }
    if refs == 0 {
        wrong.push("no ref was renamed into place".to_owned());
    }
    wrong
}

/// The names that a file has before and after its renames.
fn names_of(events: &[Event], path: &Path) -> BTreeSet<PathBuf> {
    let mut names = BTreeSet::from([path.to_owned()]);
    for event in events {
        if let Call::Rename { from, to } = &event.call
            && (names.contains(from) || (to == path && is_temporary(from)))
        {
            names.insert(from.clone());
            names.insert(to.clone());
        }
    }
    names
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".~"))
}

/// Runs `firn` under strace; `None`, and a note, when that cannot be done here.
fn traced(test: &str, arguments: &[&str], input: &[u8]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("trace");
    let calls =
        "trace=write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,syncfs,sync,rename,renameat,renameat2,link,linkat,mkdir,mkdirat";
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "0", "-e", calls, "-o"]).arg(&out).arg(env!("CARGO_BIN_EXE_firn")).args(arguments);
    command.env_remove("FIRN_REPO").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => {
            support::skip(test, &format!("strace cannot be started: {e}"));
            return None;
        }
    };
    let _ = child.stdin.take().expect("standard input is a pipe").write_all(input);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if told.contains("ptrace") || told.contains("PTRACE") {
        support::skip(test, &format!("strace may not trace here: {}", told.trim()));
        return None;
    }
    assert!(output.status.success(), "{told}");
    Some(std::fs::read_to_string(out).unwrap())
}

#[test]
fn everything_is_synced_before_the_ref_that_needs_it() {
    const TEST: &str = "everything_is_synced_before_the_ref_that_needs_it";
    let directory = tempfile::tempdir().unwrap();
    // The kernel gives real paths.
    let root = directory.path().canonicalize().unwrap().join("repository");
    let place = root.to_str().unwrap();
    let chunk = vec![7; 100_000];
    let Some(init) = traced(TEST, &["init", "-R", place], b"") else { return };
    let commands: [&[&str]; 3] =
        [&["put", "-R", place, "-", "a/c/0"], &["put", "-R", place, "-", "a/c/1"], &["branch", "-R", place, "another"]];
    let mut traces = vec![init];
    for command in commands {
        traces.extend(traced(TEST, command, &chunk));
    }
    for (n, trace) in traces.iter().enumerate() {
        let events = parse(trace);
        let wrong = judge(&events, &root);
        assert!(wrong.is_empty(), "run {n}: {wrong:#?}\n{trace}");
    }
    let events = parse(&traces[1]);
    for folder in ["chunks", "manifests", "history", "snapshots", "refs/branches"] {
        let renamed = |e: &Event| matches!(&e.call, Call::Rename { to, .. } if to.starts_with(root.join(folder)));
        // A name that exists is written over in place.
        let written = |e: &Event| matches!(&e.call, Call::Write(to) if to.starts_with(root.join(folder)));
        assert!(events.iter().any(|e| renamed(e) || written(e)), "a commit writes {folder}:\n{}", traces[1]);
    }
    // What a commit has put is synced all at once, and so is the ref: 27 syncs were waited for one after another, or nearly.
    for trace in &traces[1..3] {
        let syncs = parse(trace).iter().filter(|e| matches!(e.call, Call::Sync(_) | Call::SyncFileSystem)).count();
        println!("a commit waits for {syncs} syncs");
        assert!(syncs <= 8, "a commit waits for {syncs} syncs:\n{trace}");
    }
    // The judge must find fault with this very commit when any one of its syncs is missing.
    let syncs: Vec<_> = (0..events.len()).filter(|&n| matches!(events[n].call, Call::Sync(_) | Call::SyncFileSystem)).collect();
    let mut noticed = 0;
    for &n in &syncs {
        let mut fewer = events.clone();
        fewer.remove(n);
        noticed += usize::from(!judge(&fewer, &root).is_empty());
    }
    assert!(noticed * 2 > syncs.len(), "the judge noticed {noticed} of {} missing syncs", syncs.len());
    let none: Vec<_> = events.iter().filter(|e| !matches!(e.call, Call::Sync(_) | Call::SyncFileSystem)).cloned().collect();
    assert!(judge(&none, &root).len() >= 8, "{:?}", judge(&none, &root));
}

/// A commit in the right order, written by hand.
const GOOD: &str = r#"10 mkdir("/r/chunks/aa", 0777) = 0
10 mkdir("/r/chunks", 0777) = -1 EEXIST (File exists)
10 write(5</r/chunks/aa/.~1>, ""..., 2000) = 2000
11 fsync(7</r/chunks> <unfinished ...>
10 renameat2(AT_FDCWD</r>, "/r/chunks/aa/.~1", AT_FDCWD</r>, "/r/chunks/aa/c", RENAME_NOREPLACE) = 0
11 <... fsync resumed>) = 0
11 fsync(5</r/chunks/aa/c>) = 0
10 fsync(6</r/chunks/aa> <unfinished ...>
11 write(8</r/refs/.lock/branches/main.json>, ""..., 3) = 3
10 <... fsync resumed>) = 0
10 write(9</r/refs/branches/.~2>, ""..., 300) = 300
10 fsync(9</r/refs/branches/.~2>) = 0
10 rename("/r/refs/branches/.~2", "/r/refs/branches/main.json") = 0
10 fsync(4</r/refs/branches>) = 0
10 write(1<pipe:[77]>, ""..., 60) = 60
"#;

#[test]
fn the_judge_finds_every_wrong_order() {
    let root = Path::new("/r");
    let judged = |trace: &str| judge(&parse(trace), root);
    assert_eq!(judged(GOOD), Vec::<String>::new());
    assert_eq!(parse(GOOD).len(), 12, "calls that failed are left out, calls in two lines are one");

    let without = |lines: &[usize]| {
        let kept = GOOD.lines().enumerate().filter(|(n, _)| !lines.contains(n));
        kept.flat_map(|(_, line)| [line, "\n"]).collect::<String>()
    };
    let swapped = |a: usize, b: usize| {
        let mut lines: Vec<_> = GOOD.lines().collect();
        let moved = lines.remove(a);
        lines.insert(b, moved);
        lines.join("\n")
    };
    let bad = [
        (without(&[3, 5]), "the directory /r/chunks/aa is not synced"),
        (without(&[6]), "/r/chunks/aa/.~1 is not synced"),
        (without(&[7, 9]), "the name /r/chunks/aa/c is not synced"),
        (without(&[11]), "/r/refs/branches/.~2 is not synced"),
        (without(&[13]), "before its directory is synced"),
        // Too late: after the ref, or begun before what it should cover, or ended after the ref.
        (swapped(6, 12), "/r/chunks/aa/.~1 is not synced"),
        (swapped(11, 12), "/r/refs/branches/.~2 is not synced"),
        (swapped(7, 3), "the name /r/chunks/aa/c is not synced"),
        (swapped(9, 12), "the name /r/chunks/aa/c is not synced"),
        (swapped(13, 14), "before its directory is synced"),
        (without(&[12]), "no ref was renamed"),
        (
            GOOD.replace("fsync(5</r/chunks/aa/c>) = 0", "fsync(5</r/chunks/aa/c>) = -1 EIO (Input/output error)"),
            "/r/chunks/aa/.~1 is not synced",
        ),
        (GOOD.replace("10 rename(", "10 write(5</r/chunks/aa/c>, \"\"..., 9) = 9\n10 rename("), "/r/chunks/aa/c is not synced"),
    ];
    for (trace, complaint) in bad {
        let wrong = judged(&trace);
        assert!(wrong.iter().any(|w| w.contains(complaint)), "{complaint}: {wrong:?}\n{trace}");
    }
    // One sync of the whole file system does for all objects.
    let whole = without(&[3, 5, 6, 7]).replace("10 <... fsync resumed>) = 0", "10 syncfs(3</r>) = 0");
    assert_eq!(judged(&whole), Vec::<String>::new(), "{whole}");
}
