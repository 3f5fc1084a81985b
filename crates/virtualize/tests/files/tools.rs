//! Repositories, Python, and the files that it makes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use firnline::{Access, CheckoutOptions, OpenOptions, Prefix, Repository, Result, Snapshot};
use firnline_virtualize::{VirtualizeOptions, VirtualizeSummary, virtualize};
use futures::TryStreamExt as _;
use tempfile::TempDir;

use crate::support::skip;

/// A Python with the libraries that read the same files.
pub(crate) struct Python {
    program: PathBuf,
    made: &'static Path,
}

impl Python {
    /// `None` after saying why `test` is skipped.
    pub(crate) fn find(test: &str) -> Option<Self> {
        static MADE: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
        let Some(program) = std::env::var_os("FIRN_TEST_PYTHON").map(PathBuf::from) else {
            skip(test, "set FIRN_TEST_PYTHON to a Python with zarr 3, h5py, hdf5plugin, h5netcdf, netCDF4 and xarray");
            return None;
        };
        let made = MADE.get_or_init(|| {
            let imports = "import h5netcdf, h5py, hdf5plugin, netCDF4, xarray, zarr";
            let has_all = Command::new(&program).args(["-c", imports]).output().is_ok_and(|ran| ran.status.success());
            if !has_all {
                return Err("FIRN_TEST_PYTHON lacks one of h5netcdf, h5py, hdf5plugin, netCDF4, xarray, zarr".to_owned());
            }
            let place = std::env::temp_dir().join(format!("firnline-virtualize-{}", std::process::id()));
            run(&program, "make.py", &[place.to_str().unwrap()], "");
            Ok(place)
        });
        match made {
            Ok(made) => Some(Self { program, made }),
            Err(why) => {
                skip(test, why);
                None
            }
        }
    }

    /// A file that was made.
    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.made.join(name);
        assert!(path.is_file(), "{} was not made", path.display());
        path.to_str().unwrap().to_owned()
    }

    /// Compares a hierarchy with files; returns how many arrays were compared.
    pub(crate) fn compare(&self, zarr: &Path, concat: &str, files: &[&str]) -> u64 {
        self.compare_all(&[Comparison::new(zarr, concat, files)])[0]
    }

    /// Makes many comparisons in one process, because importing the libraries takes longer than using them.
    pub(crate) fn compare_all(&self, all: &[Comparison]) -> Vec<u64> {
        let lines: Vec<String> = all.iter().map(|comparison| serde_json::to_string(&comparison.0).unwrap()).collect();
        let counts: Vec<u64> = run(&self.program, "compare.py", &[], &lines.join("\n")).lines().map(|n| n.parse().unwrap()).collect();
        assert_eq!(counts.len(), all.len());
        counts
    }
}

/// A hierarchy, the dimension along which it was joined or `-`, and the files.
pub(crate) struct Comparison(Vec<String>);

impl Comparison {
    pub(crate) fn new(zarr: &Path, concat: &str, files: &[&str]) -> Self {
        let start = [zarr.to_str().unwrap(), concat];
        Self(start.into_iter().chain(files.iter().copied()).map(str::to_owned).collect())
    }
}

fn run(program: &Path, script: &str, args: &[&str], input: &str) -> String {
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files")).join(script);
    // -B: leaves nothing beside the scripts.
    let mut command = Command::new(program);
    command.arg("-B").arg(&script).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ran = child.wait_with_output().unwrap();
    assert!(ran.status.success(), "{} {args:?}: {}", script.display(), String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// A repository that may read every local file.
pub(crate) struct Place {
    pub(crate) repository: Repository,
    directory: TempDir,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = OpenOptions::default().access(Access::parse(["file:///"]).unwrap());
        let place = directory.path().join("repository");
        Repository::create(place.to_str().unwrap()).await.unwrap();
        let repository = Repository::open_with(place.to_str().unwrap(), options).await.unwrap();
        Self { repository, directory }
    }

    /// Virtualizes and commits.
    pub(crate) async fn add(&self, files: &[&str], options: &VirtualizeOptions) -> Result<VirtualizeSummary> {
        let session = self.repository.write("main").await?;
        let summary = virtualize(&session, files, options).await?;
        session.commit("files").await.unwrap();
        Ok(summary)
    }

    pub(crate) async fn tip(&self) -> Snapshot {
        self.repository.read("main").await.unwrap()
    }

    /// All keys of the tip.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let keys = self.tip().await.list(&Prefix::all()).map_ok(|(key, _)| key.to_string());
        keys.try_collect().await.unwrap()
    }

    /// A document of the tip.
    pub(crate) async fn document(&self, key: &str) -> serde_json::Value {
        let text = self.tip().await.get(&key.parse().unwrap()).await.unwrap().unwrap_or_else(|| panic!("there is no {key}"));
        serde_json::from_slice(&text).unwrap()
    }

    /// Writes the tip into a new directory.
    pub(crate) async fn checkout(&self, name: &str) -> PathBuf {
        let place = self.directory.path().join(name);
        self.tip().await.checkout(&place, &CheckoutOptions::default()).await.unwrap();
        place
    }
}
