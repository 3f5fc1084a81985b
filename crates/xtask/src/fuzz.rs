//! The recipe `fuzz`: builds the targets of `tests/fuzz`, and runs them on seeds that it makes.
//!
//! The flags are unstable. The compiler of `rust-toolchain.toml` takes them all the same when `RUSTC_BOOTSTRAP` is set, so no other one has to
//! be installed, and two runs on one state of the code build the same programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failed, cargo_program, root, step};

/// How long each target runs, in seconds, unless told.
const SECONDS: u64 = 60;
/// How long each target runs in a smoke run, in seconds.
const SMOKE: u64 = 3;
/// What `cargo fuzz` passes to the compiler: counters that libFuzzer reads, and the address sanitizer, which also counts memory.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address";

/// Builds all targets and runs those that are named, or all.
pub(crate) fn run(args: &[String]) -> Result<(), Failed> {
    let (seconds, named) = options(args)?;
    let host = host()?;
    let all = targets()?;
    if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
        return Err(format!("there is no target {unknown}; there are: {}", all.join(", ")));
    }
    let chosen = if named.is_empty() { &all } else { &named };
    let place = root().join("target/fuzz");
    // With a target the flags are for the targets, and not for procedural macros and build scripts.
    let mut build = Command::new(cargo_program());
    build.args(["build", "--quiet", "--locked", "--release", "--bins", "--target", &host, "--manifest-path"]);
    build.arg(home().join("Cargo.toml")).arg("--target-dir").arg(&place).env("RUSTFLAGS", FLAGS).env("RUSTC_BOOTSTRAP", "1");
    step(build)?;
    let binaries = place.join(&host).join("release");
    let seeds = place.join("seeds");
    let mut corpus = Command::new(binaries.join("corpus"));
    corpus.arg(&seeds);
    step(corpus)?;
    for name in chosen {
        step(fuzzer(&binaries, &seeds, &place, name, seconds)?)?;
    }
    Ok(())
}

/// How long each target runs, and the targets that are named.
fn options(args: &[String]) -> Result<(u64, Vec<String>), Failed> {
    let (mut seconds, mut named, mut rest) = (SECONDS, Vec::new(), args.iter());
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--smoke" => seconds = SMOKE,
            "--seconds" => {
                let number = rest.next().ok_or("--seconds needs a number")?;
                seconds = number.parse().map_err(|e| format!("--seconds {number}: {e}"))?;
            }
            name if !name.starts_with('-') => named.push(name.to_owned()),
            other => return Err(format!("fuzz does not know {other}")),
        }
    }
    Ok((seconds, named))
}

/// One target. What it finds that is new stays in `target/fuzz/corpus`, what fails in `target/fuzz/artifacts`.
fn fuzzer(binaries: &Path, seeds: &Path, place: &Path, name: &str, seconds: u64) -> Result<Command, Failed> {
    let (corpus, artifacts) = (place.join("corpus").join(name), place.join("artifacts").join(name));
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let mut command = Command::new(binaries.join(name));
    command.arg(&corpus).arg(seeds.join(name)).arg(format!("-artifact_prefix={}/", artifacts.display()));
    // One allocation of more than 64 MiB is more than any decoder needs for inputs of this length.
    command.args(["-max_len=65536", "-malloc_limit_mb=64", "-rss_limit_mb=2048", "-timeout=20", "-print_final_stats=1"]);
    command.arg(format!("-max_total_time={seconds}"));
    Ok(command)
}

/// The names of all targets.
fn targets() -> Result<Vec<String>, Failed> {
    let place = home().join("fuzz_targets");
    let files = fs::read_dir(&place).map_err(|e| format!("{}: {e}", place.display()))?;
    let mut names: Vec<String> = files.filter_map(|file| Some(file.ok()?.file_name().to_str()?.strip_suffix(".rs")?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// The platform for which the compiler builds.
fn host() -> Result<String, Failed> {
    let out = Command::new("rustc").arg("-vV").output().map_err(|e| format!("rustc: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout);
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).ok_or_else(|| "rustc does not tell its host".to_owned())
}

fn home() -> PathBuf {
    root().join("tests/fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(args: &[&str]) -> Result<(u64, Vec<String>), Failed> {
        options(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_say_how_long_and_which() {
        assert_eq!(told(&[]), Ok((SECONDS, vec![])));
        assert_eq!(told(&["--smoke"]), Ok((SMOKE, vec![])));
        assert_eq!(told(&["--seconds", "600", "car", "fork"]), Ok((600, vec!["car".to_owned(), "fork".to_owned()])));
        for wrong in [&["--seconds"][..], &["--seconds", "x"], &["--long"]] {
            assert!(told(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_target_is_listed() {
        let all = targets().unwrap();
        assert!(all.len() > 20 && all.contains(&"car".to_owned()), "{all:?}");
    }
}
