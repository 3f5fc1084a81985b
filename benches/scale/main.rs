//! What a large repository costs: bytes and requests, which are exact, beside times, which are orders of magnitude.
//!
//! `cargo bench --bench scale` runs everything with a million references on local disk; `-- --refs 20000` is a try of a
//! few seconds, and `-- commit log` runs only the measurements with these words in their names (and those that make
//! what they need). Every measurement runs in a process of its own, so that each peak of memory is its own. All data is
//! seeded. `TMPDIR` says on which disk it lies.

#![expect(clippy::print_stdout, reason = "a bench is run for what it prints")]
#![expect(clippy::unwrap_used, reason = "a bench that fails should stop and say where")]
#![expect(clippy::cast_precision_loss, reason = "figures are for people")]

mod car;
mod data;
mod measure;
mod meter;

use std::path::{Path, PathBuf};
use std::process::Command;

use measure::Measurement;

/// How much is measured, and where.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Virtual references; a tenth as many native chunks, a thousandth as many files and metadata commits.
    pub(crate) refs: u64,
    /// Holds the repositories.
    pub(crate) place: PathBuf,
}

impl Setup {
    pub(crate) fn files(&self) -> u64 {
        (self.refs / 1000).max(1)
    }

    pub(crate) fn chunks(&self) -> u64 {
        self.refs / 10
    }

    pub(crate) fn commits(&self) -> u64 {
        (self.refs / 1000).max(100)
    }

    pub(crate) fn virtuals(&self) -> String {
        self.path("virtual")
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.place.join(name).display().to_string()
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| args.iter().skip_while(|arg| *arg != flag).nth(1);
    // Without `--bench` somebody only wants to see it run.
    let default = if args.iter().any(|arg| arg == "--bench") { 1_000_000 } else { 10_000 };
    let refs = after("--refs").map_or(default, |n| n.parse().unwrap());
    if let (Some(name), Some(place)) = (after("--child"), after("--place")) {
        let all = Measurement::all();
        let measurement = all.iter().find(|m| m.name == name).unwrap();
        print!("{}", measurement.run(&Setup { refs, place: place.into() }));
        return;
    }
    let mut values = args.iter();
    let mut words = Vec::new();
    while let Some(arg) = values.next() {
        match arg.as_str() {
            "--refs" => drop(values.next()),
            flag if flag.starts_with("--") => {}
            word => words.push(word),
        }
    }
    run_all(refs, &words);
}

fn run_all(refs: u64, words: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    let setup = Setup { refs, place: place.path().to_owned() };
    println!("{refs} virtual references in {} files, {} native chunks, {} commits\n", setup.files(), setup.chunks(), setup.commits());
    let all = Measurement::all();
    let chosen = |m: &Measurement| words.is_empty() || words.iter().any(|word| m.name.contains(word));
    let needed = |m: &Measurement| all.iter().any(|other| chosen(other) && other.needs == Some(m.name));
    for measurement in all.iter().filter(|m| chosen(m) || needed(m)) {
        println!("{}", measurement.title(&setup));
        print!("{}", child(measurement, &setup.place, refs));
        println!();
    }
}

fn child(measurement: &Measurement, place: &Path, refs: u64) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--child", measurement.name, "--refs", &refs.to_string(), "--place"]).arg(place);
    let output = command.stderr(std::process::Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{} failed: {}", measurement.name, output.status);
    String::from_utf8(output.stdout).unwrap()
}
