//! What many processes do to one repository, wherever it is, and how to tell that none of it was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use firnline::storage::CloudOptions;
use firnline::{Key, LogEntry, OpenOptions, Prefix, Repository};
use futures::TryStreamExt as _;

pub(crate) const PROCESSES: u64 = 8;
/// Prefixes that all of them write to.
const SHARED: u64 = 10;
/// How often a process begins again that was told of a conflict.
const RETRIES: u32 = 200;
pub(crate) const CONFLICT: i32 = 4;

/// Where a repository is, and what the environment must say to reach it.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) variables: Vec<(String, String)>,
}

pub(crate) fn firn(site: &Site, verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.arg(verb).arg("-R").arg(&site.url).envs(site.variables.clone());
    for name in ["FIRN_REPO", "FIRN_ALLOW"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts a command and gives it its whole standard input.
pub(crate) fn start(mut command: Command, input: &[u8]) -> Child {
    let mut child = command.spawn().expect("the command can be started");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    // Less than a pipe holds; a child that was killed reads nothing.
    let _ = stdin.write_all(input);
    child
}

pub(crate) fn run(command: Command, input: &[u8]) -> Output {
    start(command, input).wait_with_output().expect("the command can be waited for")
}

pub(crate) fn succeed(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What one commit does, as its message says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Puts a chunk under a key that no other process uses.
    Own { process: u64, number: u64 },
    /// Deletes everything below a prefix that all use, and puts two keys there.
    Shared { prefix: u64, process: u64, number: u64 },
}

impl Work {
    pub(crate) fn of(process: u64, number: u64) -> Self {
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
    pub(crate) fn command(self, site: &Site) -> (Command, Vec<u8>) {
        match self {
            Self::Own { .. } => {
                let (key, value) = self.puts().remove(0);
                let mut command = firn(site, "put");
                command.args(["-m", &self.message(), "-", &key]);
                (command, value.into_bytes())
            }
            Self::Shared { prefix, .. } => {
                let mut command = firn(site, "apply");
                command.args(["-m", &self.message()]);
                let mut lines = vec![serde_json::json!({"op": "delete", "prefix": format!("shared/{prefix}/")}).to_string()];
                let puts = self.puts().into_iter();
                lines.extend(puts.map(|(key, text)| serde_json::json!({"op": "put", "key": key, "text": text}).to_string()));
                (command, (lines.join("\n") + "\n").into_bytes())
            }
        }
    }
}

/// Makes a repository, by the command.
pub(crate) fn init(site: &Site) {
    succeed(&run(firn(site, "init"), b""));
}

/// Runs the work in processes until one commits it; the id that it printed.
pub(crate) fn until_committed(work: Work, site: &Site, conflicts: &AtomicU64) -> String {
    for _ in 0..RETRIES {
        let (command, input) = work.command(site);
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
pub(crate) fn logged(site: &Site) -> Vec<(String, String)> {
    let mut command = firn(site, "log");
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
pub(crate) async fn check(site: &Site) {
    let mut options = OpenOptions::default();
    options.cloud = CloudOptions::default().variables(site.variables.clone());
    let repository = Repository::open_with(&site.url, options).await.unwrap();
    let main = repository.read("main").await.unwrap();
    let mut want = BTreeMap::new();
    let log: Vec<LogEntry> = main.log().try_collect().await.unwrap();
    for entry in log.iter().rev().skip(1) {
        Work::parse(&entry.summary).unwrap_or_else(|| panic!("{:?} is no commit of this test", entry.summary)).apply(&mut want);
    }
    let listed: Vec<_> = main.list(&Prefix::all()).map_ok(|(key, _)| key).try_collect().await.unwrap();
    let keys: BTreeSet<_> = listed.iter().map(ToString::to_string).collect();
    assert_eq!(keys, want.keys().cloned().collect(), "the manifest is the union of all commits");
    for (name, value) in &want {
        assert_eq!(main.get(&name.parse::<Key>().unwrap()).await.unwrap().unwrap(), value.as_bytes(), "{name}");
    }
    let verified = repository.verify(firnline::VerifyScope::Everything).await.unwrap();
    assert_eq!(verified.findings, [], "nothing is damaged");
}

/// Makes a repository and lets processes make `commits` each: every commit that was printed is in the log, once, and
/// nothing else is.
pub(crate) fn eight_processes(site: &Site, commits: u64) {
    init(site);
    let started = Instant::now();
    let conflicts = AtomicU64::new(0);
    let printed: Mutex<BTreeMap<String, Work>> = Mutex::default();
    std::thread::scope(|scope| {
        for process in 0..PROCESSES {
            let (site, conflicts, printed) = (site, &conflicts, &printed);
            scope.spawn(move || {
                for number in 0..commits {
                    let work = Work::of(process, number);
                    let id = until_committed(work, site, conflicts);
                    assert_eq!(printed.lock().unwrap().insert(id, work), None, "every commit has its own id");
                }
            });
        }
    });
    println!("{}: {PROCESSES} x {commits} commits in {:?}, {} conflicts", site.url, started.elapsed(), conflicts.load(Ordering::Relaxed));
    assert!(conflicts.into_inner() > 0 || commits < 40, "processes on one prefix must meet");
    let mut rows = logged(site);
    rows.remove(0); // the empty repository
    let found: BTreeMap<_, _> = rows.into_iter().map(|(id, summary)| (id, Work::parse(&summary).unwrap())).collect();
    assert_eq!(found, printed.into_inner().unwrap(), "the log holds what was printed, and nothing else");
    assert_eq!(found.len() as u64, PROCESSES * commits);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(check(site));
}
