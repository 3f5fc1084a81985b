//! The project's recipes, as `cargo xtask RECIPE`. The README names them, `.ci/run` runs them, so each command is written
//! down once. Everything a recipe runs is printed first, to be copied.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line that prints")]

mod fuzz;
mod python;
mod test;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const USAGE: &str = "\
The recipes of the project. Each stops at the first command that fails.

Usage: cargo xtask RECIPE

  test [--whole] [--strict] [ARGS]  run all tests, then say how many ran and which were skipped, and why
      --whole   as many random cases as a release is tested with; more optimised, and about 30 minutes
      --strict  fail if a test was skipped
      ARGS      go to `cargo test`, such as a part of a name
  check     formatting, lints, every set of features, documentation
  python [--packages] [--wheel] [--test] [ARGS]  test the Python wheel; without options, all three parts:
      --packages  make a virtual environment with what the other parts need; the only part that needs a network
      --wheel     build the wheel and install it there
      --test      check its types and run its tests
      ARGS        go to pytest
      FIRN_PYTHON is the interpreter (python3), FIRN_PYTHON_VENV the environment (target/python), FIRN_PYTHON_WHEEL a wheel to
      install instead of building one
  fuzz [--smoke | --seconds N] [TARGET...]  run the fuzz targets of `tests/fuzz`, all or those that are named, for a minute each
      --smoke    for three seconds each
      --seconds  for so long each
  examples  run the examples that prove what they print
";

/// What ended a recipe before its end: the message to print.
type Failed = String;

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let recipe = args.next();
    let args: Vec<String> = args.collect();
    let result = match recipe.as_deref() {
        Some("test") => test::run(&args),
        Some("check") if args.is_empty() => check(),
        Some("python") => python::run(&args),
        Some("fuzz") => fuzz::run(&args),
        Some("examples") if args.is_empty() => examples(),
        Some("help" | "--help" | "-h") | None => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// What must hold of the source text and of every set of features, beside the tests.
fn check() -> Result<(), Failed> {
    step(cargo(&["fmt", "--all", "--check"]))?;
    step(cargo(&["clippy", "--quiet", "--locked", "--workspace", "--all-targets", "--features", "cloud", "--", "-D", "warnings"]))?;
    for feature in ["", "aws", "azure", "gcp", "http", "testing"] {
        // Beside the other builds: these features and flags would replace what the tests have compiled.
        let mut command = cargo(&["check", "--quiet", "--locked", "--package", "firnline", "--target-dir", "target/alone"]);
        command.args(["--features", feature]).env("RUSTFLAGS", "-D warnings");
        step(command)?;
    }
    let mut command = cargo(&["doc", "--quiet", "--locked", "--workspace", "--no-deps", "--features", "cloud"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    step(command)
}

/// Every example, by the command that its documentation names. Each checks what it claims.
fn examples() -> Result<(), Failed> {
    for (package, directory) in [("firnline", "examples"), ("zarrs_firnline", "crates/zarrs/examples")] {
        let directory = root().join(directory);
        let files = std::fs::read_dir(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        let mut names: Vec<String> =
            files.filter_map(|file| Some(file.ok()?.file_name().to_str()?.strip_suffix(".rs")?.to_owned())).collect();
        names.sort();
        for name in names {
            step(cargo(&["run", "--quiet", "--locked", "--package", package, "--example", &name]))?;
        }
    }
    Ok(())
}

/// A call of the cargo that runs this program, at the root of the workspace.
fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(cargo_program());
    command.args(args).current_dir(root());
    command
}

fn cargo_program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Prints and runs a command, which must succeed.
fn step(mut command: Command) -> Result<(), Failed> {
    println!("+ {}", spelled(&command));
    let status = command.status().map_err(|e| format!("{}: {e}", spelled(&command)))?;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", spelled(&command))) }
}

/// A command as a shell takes it, with the variables that are set for it.
fn spelled(command: &Command) -> String {
    let quote = |word: &str| {
        if word.is_empty() || word.contains([' ', '\'', '"', '*', '$']) {
            format!("'{}'", word.replace('\'', r"'\''"))
        } else {
            word.to_owned()
        }
    };
    let set = command.get_envs().filter_map(|(name, value)| Some(format!("{}={}", name.display(), quote(&value?.to_string_lossy()))));
    let words = command.get_args().map(|word| quote(&word.to_string_lossy()));
    let program =
        if command.get_program() == cargo_program() { "cargo".to_owned() } else { quote(&command.get_program().to_string_lossy()) };
    set.chain([program]).chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_printed_as_a_shell_takes_it() {
        let mut command = cargo(&["check", "--features", "", "it's"]);
        command.env("RUSTFLAGS", "-D warnings");
        assert_eq!(spelled(&command), r"RUSTFLAGS='-D warnings' cargo check --features '' 'it'\''s'");
    }
}
