//! The recipe `test`: all tests of the workspace, and a summary that counts skipped tests.
//!
//! For `cargo test` a test that lacks its tool passes. Such a test writes a line `SKIPPED name: why` into the file that
//! `FIRN_SKIP_LOG` names (`tests/support`); this recipe reads it and counts those tests as skipped.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use crate::{Failed, cargo, root, spelled};

/// Runs the tests, prints the summary, and writes its last line to `target/test-summary`.
pub(crate) fn run(args: &[String]) -> Result<(), Failed> {
    let (ours, theirs): (Vec<&str>, Vec<&str>) = args.iter().map(String::as_str).partition(|arg| ["--whole", "--strict"].contains(arg));
    let (whole, strict) = (ours.contains(&"--whole"), ours.contains(&"--strict"));
    let log = root().join("target/test-skipped");
    let last = root().join("target/test-summary");
    for old in [&log, &last] {
        if old.exists() {
            fs::remove_file(old).map_err(|e| format!("{}: {e}", old.display()))?;
        }
    }

    let mut command = cargo(&["test", "--locked", "--workspace", "--features", "cloud"]);
    if whole {
        command.args(["--profile", "whole"]).env("FIRN_TEST_SIZE", "whole");
    }
    command.args(theirs).env("FIRN_SKIP_LOG", &log).stdout(Stdio::piped());
    println!("+ {}", spelled(&command));
    let mut child = command.spawn().map_err(|e| format!("cargo test: {e}"))?;
    let mut passed = 0;
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            passed += passed_by(&line);
            println!("{line}");
        }
    }
    let status = child.wait().map_err(|e| format!("cargo test: {e}"))?;

    let summary = Summary::of(passed, &read(&log)?);
    println!("\n{summary}");
    fs::write(&last, summary.last_line() + "\n").map_err(|e| format!("{}: {e}", last.display()))?;
    if !status.success() {
        return Err(format!("cargo test: {status}"));
    }
    if strict && !summary.reasons.is_empty() {
        return Err("tests were skipped".to_owned());
    }
    Ok(())
}

/// The lines that skipped tests wrote; none if the file was never made.
fn read(log: &Path) -> Result<String, Failed> {
    if log.exists() { fs::read_to_string(log).map_err(|e| format!("{}: {e}", log.display())) } else { Ok(String::new()) }
}

/// How many tests passed, if this is the line with which a test binary ends.
fn passed_by(line: &str) -> usize {
    let counts = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")).map_or("", |(_, counts)| counts);
    counts.split_once(" passed").and_then(|(count, _)| count.parse().ok()).unwrap_or(0)
}

/// What a run of the tests came to.
#[derive(Debug)]
struct Summary {
    ran: usize,
    names: BTreeSet<String>,
    /// Each line `SKIPPED name: why` once.
    reasons: BTreeSet<String>,
}

impl Summary {
    fn of(passed: usize, log: &str) -> Self {
        let reasons: BTreeSet<String> = log.lines().filter(|line| line.starts_with("SKIPPED ")).map(str::to_owned).collect();
        let names: BTreeSet<String> = reasons.iter().filter_map(|line| name(line)).map(str::to_owned).collect();
        Self { ran: passed.saturating_sub(names.len()), names, reasons }
    }

    fn last_line(&self) -> String {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(" ") };
        format!("ran {}, skipped {}: {names}", self.ran, self.names.len())
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.reasons.iter().try_for_each(|reason| writeln!(f, "{reason}"))?;
        f.write_str(&self.last_line())
    }
}

/// The test that a line `SKIPPED name: why` is about. Names hold `::`.
fn name(line: &str) -> Option<&str> {
    line.strip_prefix("SKIPPED ")?.split_once(": ").map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_test_is_counted_once_and_not_as_run() {
        let log = "SKIPPED real::on_ceph: set FIRN_TEST_S3_CEPH to the endpoint\nSKIPPED real::on_ceph: set FIRN_TEST_S3_CEPH to the endpoint\n\
                   SKIPPED strace: there is no strace\n";
        let summary = Summary::of(10, log);
        assert_eq!(summary.last_line(), "ran 8, skipped 2: real::on_ceph strace");
        assert_eq!(summary.to_string().lines().count(), 3);
        assert_eq!(Summary::of(3, "").last_line(), "ran 3, skipped 0: none");
    }

    #[test]
    fn passed_tests_are_read_off_the_last_line_of_a_test_binary() {
        assert_eq!(passed_by("test result: ok. 415 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 65.00s"), 415);
        assert_eq!(passed_by("test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s"), 3);
        assert_eq!(passed_by("test a::b ... ok"), 0);
        assert_eq!(passed_by("all doctests ran in 6.37s; merged doctests compilation took 3.27s"), 0);
    }
}
