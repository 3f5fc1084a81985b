//! The recipe `python`: builds the wheel, installs it into a virtual environment with what its tests need, and runs the tests.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::{Failed, root, step};

/// Makes the environment, builds and installs the wheel, and tests it; or those parts of it that are named. Other arguments go to pytest.
pub(crate) fn run(args: &[String]) -> Result<(), Failed> {
    let (ours, theirs): (Vec<&str>, Vec<&str>) =
        args.iter().map(String::as_str).partition(|arg| ["--packages", "--wheel", "--test"].contains(arg));
    let runs = |part: &str| ours.is_empty() || ours.contains(&part);
    let venv = variable("FIRN_PYTHON_VENV").map_or_else(|| root().join("target/python"), PathBuf::from);
    if runs("--packages") {
        packages(&venv)?;
    }
    if runs("--wheel") {
        wheel(&venv)?;
    }
    if runs("--test") {
        test(&venv, &theirs)?;
    }
    Ok(())
}

/// Makes the environment, with what building and testing need. Only this part takes something from a network.
fn packages(venv: &Path) -> Result<(), Failed> {
    let python = venv.join("bin/python");
    if !python.exists() {
        let mut make = Command::new(variable("FIRN_PYTHON").unwrap_or_else(|| OsString::from("python3")));
        make.args(["-m", "venv"]).arg(venv);
        step(make)?;
    }
    let mut packages = pip(&python);
    packages.arg("--requirement").arg(root().join("python/requirements-test.txt"));
    step(packages)
}

/// Installs the wheel that a variable names, or else builds one.
fn wheel(venv: &Path) -> Result<(), Failed> {
    let python = venv.join("bin/python");
    let wheel = variable("FIRN_PYTHON_WHEEL").map_or_else(|| built_with(&python), |wheel| Ok(PathBuf::from(wheel)))?;
    let mut install = pip(&python);
    install.args(["--force-reinstall", "--no-deps"]).arg(wheel);
    step(install)
}

/// Builds the wheel, which is one for all versions of Python.
fn built_with(python: &Path) -> Result<PathBuf, Failed> {
    let wheels = root().join("target/wheels");
    if wheels.exists() {
        fs::remove_dir_all(&wheels).map_err(|e| format!("{}: {e}", wheels.display()))?;
    }
    let mut build = Command::new(python);
    build.args(["-m", "maturin", "build", "--quiet", "--manifest-path"]).arg(root().join("python/Cargo.toml"));
    build.arg("--out").arg(&wheels).current_dir(root());
    step(build)?;
    let entries = fs::read_dir(&wheels).map_err(|e| format!("{}: {e}", wheels.display()))?;
    let wheel = entries.filter_map(Result::ok).map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "whl"));
    wheel.ok_or_else(|| format!("{} holds no wheel", wheels.display()))
}

fn test(venv: &Path, args: &[&str]) -> Result<(), Failed> {
    let python = venv.join("bin/python");
    let mut types = Command::new(&python);
    types.args(["-m", "mypy", "--config-file", "../pyproject.toml", "--package", "firnline"]).current_dir(root().join("python/tests"));
    step(types)?;
    let mut stubs = Command::new(&python);
    stubs.args(["-m", "mypy.stubtest", "firnline._firnline"]).current_dir(root().join("python/tests"));
    step(stubs)?;
    let mut tests = Command::new(&python);
    tests.args(["-m", "pytest", "-p", "no:cacheprovider"]).args(args).current_dir(root().join("python"));
    step(tests)
}

fn pip(python: &Path) -> Command {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip
}

/// A variable of the environment that is set and not empty.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
