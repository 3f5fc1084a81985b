//! The recipe `python`: builds the wheel, installs it into a virtual environment with what its tests need, and runs the tests.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::{Failed, root, step};

/// Which halves of the recipe run: the first needs the network, the second does not.
struct Halves {
    install: bool,
    test: bool,
}

/// Builds, installs and tests; `--install` and `--test` are one half of it. Other arguments go to pytest.
pub(crate) fn run(args: &[String]) -> Result<(), Failed> {
    let (ours, theirs): (Vec<&str>, Vec<&str>) = args.iter().map(String::as_str).partition(|arg| ["--install", "--test"].contains(arg));
    let only = |half: &str| ours.is_empty() || ours.contains(&half);
    let halves = Halves { install: only("--install"), test: only("--test") };
    let venv = variable("FIRN_PYTHON_VENV").map_or_else(|| root().join("target/python"), PathBuf::from);
    if halves.install {
        install(&venv)?;
    }
    if halves.test {
        test(&venv, &theirs)?;
    }
    Ok(())
}

fn install(venv: &Path) -> Result<(), Failed> {
    let python = venv.join("bin/python");
    if !python.exists() {
        let mut make = Command::new(variable("FIRN_PYTHON").unwrap_or_else(|| OsString::from("python3")));
        make.args(["-m", "venv"]).arg(venv);
        step(make)?;
    }
    let mut packages = pip(&python);
    packages.arg("--requirement").arg(root().join("python/requirements-test.txt"));
    step(packages)?;
    let wheels = root().join("target/wheels");
    if wheels.exists() {
        fs::remove_dir_all(&wheels).map_err(|e| format!("{}: {e}", wheels.display()))?;
    }
    let mut build = Command::new(&python);
    build.args(["-m", "maturin", "build", "--quiet", "--manifest-path"]).arg(root().join("python/Cargo.toml"));
    build.arg("--out").arg(&wheels).current_dir(root());
    step(build)?;
    let entries = fs::read_dir(&wheels).map_err(|e| format!("{}: {e}", wheels.display()))?;
    let wheel = entries.filter_map(Result::ok).map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "whl"));
    let mut wheel_install = pip(&python);
    wheel_install.args(["--force-reinstall", "--no-deps"]);
    wheel_install.arg(wheel.ok_or_else(|| format!("{} holds no wheel", wheels.display()))?);
    step(wheel_install)
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
