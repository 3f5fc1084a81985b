//! The command `firn`, Python, and directories as maps.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::endpoints::{BUCKET, azurite_variables, endpoint, s3_variables};
use crate::support::skip;

/// Makes of each function a test with its repositories on local disk, one with them on Ceph, and one with them on Azurite.
macro_rules! on_every_store {
    ($($name:ident),* $(,)?) => { $(
        mod $name {
            use crate::tools::{Site, Tools};

            #[test]
            fn on_disk() {
                if let Some(tools) = Tools::find(concat!(stringify!($name), "::on_disk"), |_| Some(Site::disk())) {
                    super::$name(&tools);
                }
            }

            #[test]
            fn on_ceph() {
                if let Some(tools) = Tools::find(concat!(stringify!($name), "::on_ceph"), Site::ceph) {
                    super::$name(&tools);
                }
            }

            #[test]
            fn on_azurite() {
                if let Some(tools) = Tools::find(concat!(stringify!($name), "::on_azurite"), Site::azurite) {
                    super::$name(&tools);
                }
            }
        }
    )* };
}

/// Where a test makes its repositories.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// Stands before the path of a repository's directory; empty for the directory itself.
    below: String,
    variables: Vec<(String, String)>,
}

impl Site {
    pub(crate) fn disk() -> Self {
        Self { below: String::new(), variables: Vec::new() }
    }

    pub(crate) fn ceph(test: &str) -> Option<Self> {
        Self::bucket(test, "s3", "FIRN_TEST_S3_CEPH", s3_variables)
    }

    pub(crate) fn azurite(test: &str) -> Option<Self> {
        Self::bucket(test, "az", "FIRN_TEST_AZURITE", azurite_variables)
    }

    fn bucket(test: &str, scheme: &str, variable: &str, variables: fn(&str) -> Vec<(String, String)>) -> Option<Self> {
        if !cfg!(feature = "cloud") {
            skip(test, "the command is built without the feature `cloud`");
            return None;
        }
        Some(Self { below: format!("{scheme}://{BUCKET}/real"), variables: variables(&endpoint(test, variable)?) })
    }
}

/// What a test on real data needs.
#[derive(Debug)]
pub(crate) struct Tools {
    /// The name of the test, to say that it is skipped.
    pub(crate) test: &'static str,
    site: Site,
    python: PathBuf,
    data: PathBuf,
}

impl Tools {
    /// `None` after saying why `test` is skipped.
    pub(crate) fn find(test: &'static str, site: fn(&str) -> Option<Site>) -> Option<Self> {
        let set = |name: &str, what: &str| {
            let found = std::env::var_os(name).map(PathBuf::from);
            if found.is_none() {
                skip(test, &format!("set {name} to {what}"));
            }
            found
        };
        Some(Self {
            test,
            site: site(test)?,
            python: set("FIRN_TEST_PYTHON", "a Python with zarr 3, h5py, numpy and xxhash")?,
            data: set("FIRN_TEST_REAL_DATA", "a folder with the NetCDF files of iris-sample-data")?,
        })
    }

    /// What a test on reference sets of kerchunk needs; `None` after saying why `test` is skipped.
    pub(crate) fn with_kerchunk(test: &'static str) -> Option<Self> {
        let Some(python) = std::env::var_os("FIRN_TEST_PYTHON").map(PathBuf::from) else {
            skip(test, "set FIRN_TEST_PYTHON to a Python with kerchunk, fastparquet, pyarrow, xarray, h5netcdf, h5py and zarr 3");
            return None;
        };
        let found =
            Command::new(&python).args(["-B", "-c", "import fastparquet, h5netcdf, kerchunk.df, kerchunk.hdf, pyarrow, xarray"]).output();
        if !found.is_ok_and(|found| found.status.success()) {
            skip(test, "the Python of FIRN_TEST_PYTHON lacks kerchunk, fastparquet, pyarrow, xarray or h5netcdf");
            return None;
        }
        Some(Self { test, site: Site::disk(), python, data: PathBuf::new() })
    }

    /// A script that lies beside the project; `None` after saying that the test is skipped.
    pub(crate) fn shared(&self, script: &str) -> Option<PathBuf> {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/tools")).join(script);
        if !path.exists() {
            skip(self.test, &format!("tools/{script} is not beside the crate"));
            return None;
        }
        Some(path)
    }

    /// A file of the data set.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let path = self.data.join(name);
        assert!(path.is_file(), "{} is not there", path.display());
        path
    }

    /// Runs one of the scripts of this folder; returns what it prints, a JSON value a line.
    pub(crate) fn python(&self, script: &str, args: &[&str]) -> Vec<Value> {
        let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real")).join(script);
        self.python_file(&script, args)
    }

    pub(crate) fn python_file(&self, script: &Path, args: &[&str]) -> Vec<Value> {
        lines(&self.run_python(script, args))
    }

    /// What a script prints, which must succeed.
    pub(crate) fn run_python(&self, script: &Path, args: &[&str]) -> Vec<u8> {
        // -B: leaves nothing beside the scripts.
        let ran = Command::new(&self.python).arg("-B").arg(script).args(args).output().unwrap();
        assert!(ran.status.success(), "{} {args:?}: {}", script.display(), text(&ran.stderr));
        ran.stdout
    }

    /// What zarr-python reads in each of `stores`.
    pub(crate) fn values(&self, stores: &[&Path]) -> Vec<Value> {
        let args: Vec<&str> = std::iter::once("values").chain(stores.iter().map(|path| path.to_str().unwrap())).collect();
        let found = self.python("zarr_tree.py", &args);
        assert_eq!(found.len(), stores.len());
        found
    }
}

/// The independent calculator of the format, where it lies beside the project.
pub(crate) fn calculator(test: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/tools/format_v1.py"));
    if !path.exists() {
        skip(test, "tools/format_v1.py is not beside the crate");
        return None;
    }
    Some(path)
}

/// One repository, and how the command is called on it.
#[derive(Debug)]
pub(crate) struct Firn {
    place: String,
    variables: Vec<(String, String)>,
    allowed: Option<String>,
}

impl Firn {
    /// Makes a repository in a directory, or on an object store under the directory's name.
    pub(crate) fn init(tools: &Tools, directory: &Path) -> Self {
        let Site { below, variables } = tools.site.clone();
        let firn = Self { place: below + directory.to_str().unwrap(), variables, allowed: None };
        firn.ok(&["init"]);
        firn
    }

    /// The directory that holds everything, when it is one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        Some(Path::new(&self.place)).filter(|place| place.is_absolute())
    }

    /// The same repository, read by somebody who allows external files below `prefix`.
    pub(crate) fn allow(&self, prefix: &str) -> Self {
        Self { place: self.place.clone(), variables: self.variables.clone(), allowed: Some(prefix.to_owned()) }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
        command.env_remove("FIRN_REPO").env_remove("FIRN_ALLOW").envs(self.variables.iter().cloned());
        command.arg("-R").arg(&self.place).args(args);
        if let Some(prefix) = &self.allowed {
            command.args(["--allow", prefix]);
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// The standard output of a command that must succeed.
    pub(crate) fn bytes(&self, args: &[&str]) -> Vec<u8> {
        let ran = self.run(args);
        assert!(ran.status.success(), "firn {args:?}: {:?}: {}", ran.status, text(&ran.stderr));
        ran.stdout
    }

    /// The only line that a command prints, which must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let out = text(&self.bytes(args));
        assert_eq!(out.lines().count(), 1, "firn {args:?} prints one line, not {out:?}");
        out.trim_end().to_owned()
    }

    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        lines(&self.bytes(&[args, &["--json"]].concat()))
    }

    /// Runs a command that must succeed with a file as its standard input; returns its only line.
    pub(crate) fn feed(&self, args: &[&str], input: &Path) -> String {
        let ran = self.command(args).stdin(fs::File::open(input).unwrap()).output().unwrap();
        assert!(ran.status.success(), "firn {args:?} < {}: {}", input.display(), text(&ran.stderr));
        text(&ran.stdout).trim_end().to_owned()
    }

    /// Everything in the repository is as it was written, and none of it is missing.
    pub(crate) fn sound(&self) {
        let ran = self.run(&["verify", "--all"]);
        assert_eq!((ran.status.code(), text(&ran.stdout)), (Some(0), String::new()), "{}", text(&ran.stderr));
    }

    /// The exit status and the message of a command that must fail and print nothing on standard output.
    pub(crate) fn fails(&self, args: &[&str]) -> (i32, String) {
        let ran = self.run(args);
        assert!(!ran.status.success() && ran.stdout.is_empty(), "firn {args:?} did not fail cleanly: {:?}", ran.status);
        (ran.status.code().unwrap(), text(&ran.stderr))
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn lines(bytes: &[u8]) -> Vec<Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every file below a directory, by its path.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

pub(crate) fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Compares in a way that prints names, not megabytes.
pub(crate) fn assert_same(found: &Tree, want: &Tree, what: &str) {
    let differing: Vec<_> = found.keys().chain(want.keys()).filter(|key| found.get(*key) != want.get(*key)).collect();
    assert!(differing.is_empty(), "{what}: {} files differ, such as {:?}", differing.len(), differing[0]);
}

/// A field of a JSON object that is a text.
pub(crate) fn field<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_else(|| panic!("no text {name} in {row}"))
}
