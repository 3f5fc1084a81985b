//! A directory with a repository in it, and the program run there.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
}

/// What one run of the program did.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Sandbox {
    /// With an empty repository in `repo`.
    pub(crate) fn new() -> Self {
        let sandbox = Self { dir: tempfile::tempdir().unwrap() };
        sandbox.mkdir("repo");
        sandbox.firn(&["init"]).ok();
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn mkdir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The program in the directory `place` of the sandbox, without the environment of whoever runs the tests.
    pub(crate) fn command(&self, place: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
        command
            .current_dir(self.path(place))
            .env_remove("FIRN_REPO")
            .env_remove("FIRN_ALLOW")
            .env_remove("FIRN_REBIND")
            .env_remove("FIRN_CONFIG")
            .env("XDG_CONFIG_HOME", self.dir.path().join("config"))
            .env("XDG_CACHE_HOME", self.dir.path().join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `firn ARGS` in the repository.
    pub(crate) fn firn(&self, args: &[&str]) -> Run {
        Run::of(self.command("repo").args(args).output().unwrap())
    }

    /// Runs it with something on standard input.
    pub(crate) fn firn_with(&self, args: &[&str], input: impl AsRef<[u8]>) -> Run {
        let mut command = self.command("repo");
        command.args(args);
        self.run_with(command, input)
    }

    /// Runs a command with something on standard input.
    #[expect(clippy::unused_self, reason = "it reads beside its siblings")]
    pub(crate) fn run_with(&self, mut command: Command, input: impl AsRef<[u8]>) -> Run {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        // The program may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        Run::of(child.wait_with_output().unwrap())
    }

    /// Commits `value` under `key`; returns the id.
    pub(crate) fn put(&self, key: &str, value: &str) -> String {
        self.firn_with(&["put", "-", key, "-m", &format!("{key} = {value}")], value).ok()
    }

    /// Everything that refs say: what an error must not change.
    pub(crate) fn state(&self) -> String {
        let refs = [self.firn(&["branch", "--json"]).ok(), self.firn(&["tag", "--json"]).ok()];
        refs.concat() + &self.firn(&["moves", "main", "--json"]).ok()
    }

    /// The run ends with `status` and has changed nothing; returns what it said.
    pub(crate) fn refused(&self, status: i32, run: impl FnOnce() -> Run) -> String {
        let before = self.state();
        let err = run().fails(status);
        assert_eq!(self.state(), before, "an error changed something: {err}");
        err
    }
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        let status = output.status.code().unwrap_or(-1);
        Self { status, out: output.stdout, err: String::from_utf8(output.stderr).unwrap() }
    }

    /// Standard output of a run that succeeded, without the final line break.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}", self.err);
        String::from_utf8(self.out).unwrap().trim_end_matches('\n').to_owned()
    }

    pub(crate) fn lines(self) -> Vec<String> {
        self.ok().lines().map(str::to_owned).collect()
    }

    /// The objects that it printed, one a line.
    pub(crate) fn rows(self) -> Vec<Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The one object that it printed.
    pub(crate) fn document(self) -> Value {
        let mut rows = self.rows();
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }

    /// What a run that failed said on standard error; it printed nothing else.
    pub(crate) fn fails(self, status: i32) -> String {
        assert_eq!(self.status, status, "{}", self.err);
        assert_eq!(String::from_utf8_lossy(&self.out), "", "a run that failed printed something");
        self.err
    }
}

/// Every file below a directory with its content, by relative path.
pub(crate) fn tree(root: &Path) -> Vec<(String, Vec<u8>)> {
    names(root).into_iter().map(|name| (name.clone(), fs::read(root.join(name)).unwrap())).collect()
}

/// The relative paths of every file below a directory, in which another process may be writing.
pub(crate) fn names(root: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Bytes that do not repeat.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// The fields of an object, in the order in which they are printed.
pub(crate) fn fields(line: &str) -> Vec<String> {
    // serde_json sorts the fields of a value, so they are found in the text: all of them begin a line or follow a comma.
    let value: Value = serde_json::from_str(line).unwrap();
    let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    names.sort_by_key(|name| line.find(&format!("\"{name}\":")).unwrap());
    names
}
