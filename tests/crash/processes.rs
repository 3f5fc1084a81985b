//! The built command as eight processes on one repository, and as processes that are killed at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use firnline::{Prefix, Repository};
use futures::TryStreamExt as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::world::{key, log};

const PROCESSES: u64 = 8;
/// Commits of each process, unless `FIRN_PROCESS_COMMITS` says otherwise: CI sets 200.
const COMMITS: u64 = 40;
/// Prefixes that all of them write to.
const SHARED: u64 = 10;
/// How often a process begins again that was told of a conflict.
const RETRIES: u32 = 200;
/// Processes that are killed.
const KILLS: u64 = 200;
const CONFLICT: i32 = 4;

fn firn(repository: &Path, verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.arg(verb).arg("-R").arg(repository);
    for name in ["FIRN_REPO", "FIRN_ALLOW"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts a command and gives it its whole standard input.
fn start(mut command: Command, input: &[u8]) -> Child {
    let mut child = command.spawn().expect("the command can be started");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    // Less than a pipe holds; a child that was killed reads nothing.
    let _ = stdin.write_all(input);
    child
}

fn run(command: Command, input: &[u8]) -> Output {
    start(command, input).wait_with_output().expect("the command can be waited for")
}

fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What one commit does, as its message says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Puts a chunk under a key that no other process uses.
    Own { process: u64, number: u64 },
    /// Deletes everything below a prefix that all use, and puts two keys there.
    Shared { prefix: u64, process: u64, number: u64 },
}

impl Work {
    fn of(process: u64, number: u64) -> Self {
        if number.is_multiple_of(2) {
            Self::Own { process, number }
        } else {
            Self::Shared { prefix: (number / 2) % SHARED, process, number }
        }
    }

    fn message(self) -> String {
        match self {
            Self::Own { process, number } => format!("own {process} {number}"),
            Self::Shared { prefix, process, number } => format!("shared {prefix} {process} {number}"),
        }
    }

    /// Reads a message.
    fn parse(message: &str) -> Option<Self> {
        let mut words = message.split(' ');
        let kind = words.next()?;
        let numbers: Vec<u64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        match (kind, numbers.as_slice()) {
            ("own", &[process, number]) => Some(Self::Own { process, number }),
            ("shared", &[prefix, process, number]) => Some(Self::Shared { prefix, process, number }),
            _ => None,
        }
    }

    /// Long enough to be a chunk of its own.
    fn value(self) -> String {
        format!("{} ", self.message()).repeat(100)
    }

    /// What it leaves below the shared prefix, or its own key.
    fn puts(self) -> Vec<(String, String)> {
        match self {
            Self::Own { process, number } => vec![(format!("own/{process}/{number}"), self.value())],
            Self::Shared { prefix, process, number } => {
                vec![(format!("shared/{prefix}/{process}-{number}"), self.value()), (format!("shared/{prefix}/last"), self.message())]
            }
        }
    }

    fn apply(self, tree: &mut BTreeMap<String, String>) {
        if let Self::Shared { prefix, .. } = self {
            let prefix = format!("shared/{prefix}/");
            tree.retain(|key, _| !key.starts_with(&prefix));
        }
        tree.extend(self.puts());
    }

    /// The command and its input.
    fn command(self, repository: &Path) -> (Command, Vec<u8>) {
        match self {
            Self::Own { .. } => {
                let (key, value) = self.puts().remove(0);
                let mut command = firn(repository, "put");
                command.args(["-m", &self.message(), "-", &key]);
                (command, value.into_bytes())
            }
            Self::Shared { prefix, .. } => {
                let mut command = firn(repository, "apply");
                command.args(["-m", &self.message()]);
                let mut lines = vec![serde_json::json!({"op": "delete", "prefix": format!("shared/{prefix}/")}).to_string()];
                let puts = self.puts().into_iter();
                lines.extend(puts.map(|(key, text)| serde_json::json!({"op": "put", "key": key, "text": text}).to_string()));
                (command, (lines.join("\n") + "\n").into_bytes())
            }
        }
    }
}

/// A repository on local disk, made by the command.
fn new_repository() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("repository");
    succeed(&run(firn(&root, "init"), b""));
    (directory, root)
}

/// Runs the work in processes until one commits it; the id that it printed.
fn until_committed(work: Work, repository: &Path, conflicts: &AtomicU64) -> String {
    for _ in 0..RETRIES {
        let (command, input) = work.command(repository);
        let output = run(command, &input);
        if output.status.code() == Some(CONFLICT) {
            conflicts.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        return succeed(&output).trim_end().to_owned();
    }
    panic!("{work:?} met a conflict {RETRIES} times");
}

/// What the log says happened, oldest first, with the ids that `firn log --json` prints.
fn logged(repository: &Path) -> Vec<(String, String)> {
    let mut command = firn(repository, "log");
    command.arg("--json");
    let rows = succeed(&run(command, b""));
    let row = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| value[field].as_str().unwrap().to_owned();
        (text("id"), text("summary"))
    };
    let mut rows: Vec<_> = rows.lines().map(row).collect();
    rows.reverse();
    rows
}

/// Checks that the tip is what the log says was done, one thing after the other, and reads everything there is.
async fn check(root: &Path) {
    let repository = Repository::open(root.to_str().unwrap()).await.unwrap();
    let main = repository.read("main").await.unwrap();
    let mut want = BTreeMap::new();
    for entry in log(&main).await.iter().rev().skip(1) {
        Work::parse(&entry.summary).unwrap_or_else(|| panic!("{:?} is no commit of this test", entry.summary)).apply(&mut want);
    }
    let listed: Vec<_> = main.list(&Prefix::all()).map_ok(|(key, _)| key).try_collect().await.unwrap();
    let keys: BTreeSet<_> = listed.iter().map(ToString::to_string).collect();
    assert_eq!(keys, want.keys().cloned().collect(), "the manifest is the union of all commits");
    for (name, value) in &want {
        assert_eq!(main.get(&key(name)).await.unwrap().unwrap(), value.as_bytes(), "{name}");
    }
    let verified = repository.verify(firnline::VerifyScope::Everything).await.unwrap();
    assert_eq!(verified.findings, [], "nothing is damaged");
}

#[test]
fn eight_processes_lose_nothing() {
    let commits = std::env::var("FIRN_PROCESS_COMMITS").ok().map_or(COMMITS, |n| n.parse().unwrap());
    let (_directory, root) = new_repository();
    let started = Instant::now();
    let conflicts = AtomicU64::new(0);
    let printed: Mutex<BTreeMap<String, Work>> = Mutex::default();
    std::thread::scope(|scope| {
        for process in 0..PROCESSES {
            let (root, conflicts, printed) = (&root, &conflicts, &printed);
            scope.spawn(move || {
                for number in 0..commits {
                    let work = Work::of(process, number);
                    let id = until_committed(work, root, conflicts);
                    assert_eq!(printed.lock().unwrap().insert(id, work), None, "every commit has its own id");
                }
            });
        }
    });
    println!("{PROCESSES} x {commits} commits in {:?}, {} conflicts", started.elapsed(), conflicts.load(Ordering::Relaxed));
    assert!(conflicts.into_inner() > 0 || commits < 40, "processes on one prefix must meet");
    let mut rows = logged(&root);
    rows.remove(0); // the empty repository
    let found: BTreeMap<_, _> = rows.into_iter().map(|(id, summary)| (id, Work::parse(&summary).unwrap())).collect();
    assert_eq!(found, printed.into_inner().unwrap(), "the log holds what was printed, and nothing else");
    assert_eq!(found.len() as u64, PROCESSES * commits);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(check(&root));
}

/// What killing has come to.
#[derive(Debug, Default)]
struct Kills {
    /// Killed before they had ended.
    killed: AtomicU64,
    /// Killed after they had printed their id.
    printed: AtomicU64,
    finished: AtomicU64,
}

#[test]
fn processes_that_are_killed_lose_nothing() {
    let (_directory, root) = new_repository();
    let started = Instant::now();
    succeed(&{
        let (command, input) = Work::of(0, 0).command(&root);
        run(command, &input)
    });
    let usual = started.elapsed();
    let (kills, acknowledged) = (Kills::default(), Mutex::new(BTreeSet::new()));
    let launched = AtomicU64::new(1);
    // How long a commit takes depends on what else the machine does, so the patience follows what is seen: longer when one
    // was killed, shorter when one had ended, and so about half of them each.
    let patience = AtomicU64::new(u64::try_from(usual.as_micros()).unwrap().max(1_000));
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (root, kills, acknowledged, launched, patience) = (&root, &kills, &acknowledged, &launched, &patience);
            scope.spawn(move || {
                let mut random = SmallRng::seed_from_u64(thread);
                while kills.killed.load(Ordering::Relaxed) < KILLS && started.elapsed() < Duration::from_mins(1) {
                    let number = launched.fetch_add(1, Ordering::Relaxed);
                    let work = Work::of(number % PROCESSES, number);
                    let most = patience.load(Ordering::Relaxed);
                    let after = Duration::from_micros(random.random_range(0..most));
                    let (ended, id) = kill_after(work, root, after, kills);
                    let next = if ended { most * 9 / 10 } else { most * 11 / 10 };
                    patience.store(next.clamp(1_000, 2_000_000), Ordering::Relaxed);
                    if let Some(id) = id {
                        acknowledged.lock().unwrap().insert(id);
                    }
                }
            });
        }
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    println!("{} launched, {kills:?}, {} acknowledged, in {:?}", launched.into_inner(), acknowledged.len(), started.elapsed());
    assert!(kills.killed.into_inner() >= KILLS / 4, "too few were killed while they ran");
    assert!(acknowledged.len() >= 5, "too few were acknowledged");

    // The next process works as if nothing had happened.
    let next = Work::Own { process: 999, number: 0 };
    let id = until_committed(next, &root, &AtomicU64::new(0));
    let found: BTreeSet<_> = logged(&root).into_iter().map(|(id, _)| id).collect();
    assert!(acknowledged.is_subset(&found) && found.contains(&id), "lost: {:?}", acknowledged.difference(&found));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(check(&root));
}

/// Starts the work and kills it after a while; whether it had ended by then, and the id, if it printed one in full.
fn kill_after(work: Work, repository: &Path, patience: Duration, kills: &Kills) -> (bool, Option<String>) {
    let (command, input) = work.command(repository);
    let mut child = start(command, &input);
    std::thread::sleep(patience);
    let ended = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    let status = child.wait().unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    let id = out.strip_suffix('\n').map(ToOwned::to_owned);
    if ended {
        kills.finished.fetch_add(1, Ordering::Relaxed);
        assert!(status.success() || status.code() == Some(CONFLICT), "{work:?}: {status}: {err}");
    } else {
        kills.killed.fetch_add(1, Ordering::Relaxed);
        kills.printed.fetch_add(u64::from(id.is_some()), Ordering::Relaxed);
    }
    (ended, id)
}
