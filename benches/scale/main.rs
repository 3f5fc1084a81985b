//! What a large repository costs: bytes and requests, which are exact, beside times, which are orders of magnitude.
//!
//! `cargo bench --bench scale` does all the work with a million references on local disk, and what grows with their
//! number with a tenth and with ten times as many. `-- --peers` does the same work with Icechunk in the same run (its
//! package in `benches/peers` is built for that). `-- --refs 20000` is a try of a few seconds, and `-- commit log` does
//! only the work with these words in its names (and what it needs). It prints a table for people and then, one line for
//! each piece of work, JSON in bytes and seconds. Every piece runs in a process of its own, so that each peak of memory
//! is its own. All data is seeded. `TMPDIR` says on which disk it lies.

#![expect(clippy::print_stdout, reason = "a bench is run for what it prints")]
#![expect(clippy::unwrap_used, reason = "a bench that fails should stop and say where")]
#![expect(clippy::panic, reason = "a bench that fails should stop and say where")]
#![expect(clippy::indexing_slicing, reason = "absent JSON fields read as null")]
#![expect(clippy::cast_precision_loss, reason = "figures are for people")]

mod data;
mod figures;
mod measure;
mod process;
mod store;
mod table;
mod work;

use std::path::Path;
use std::process::{Command, Stdio};

use figures::Figures;
use table::Found;
use work::{Setup, Work};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| args.iter().skip_while(|arg| *arg != flag).nth(1);
    let refs = after("--refs").map(|n| n.parse().unwrap());
    if let (Some(name), Some(place), Some(refs)) = (after("--work"), after("--place"), refs) {
        print!("{}", measure::run(name, &Setup { refs, place: place.into() }).to_lines());
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
    let is_asked = |flag: &str| args.iter().any(|arg| arg == flag);
    let peer = is_asked("--peers").then(build_peers);
    let (middle, others) = match refs {
        Some(refs) => (refs, vec![]),
        None if is_asked("--bench") => (1_000_000, vec![100_000, 10_000_000]),
        // Without `--bench` somebody only wants to see it run.
        None => (10_000, vec![]),
    };
    let mut found = at_one_size(middle, &words, peer.as_deref(), |_| true);
    for refs in others {
        found.extend(at_one_size(refs, &words, peer.as_deref(), |work| work.at_every_size));
    }
    for found in &found {
        println!("{}", found.to_json());
    }
}

/// Builds the program that does the work with a peer, and returns its path.
fn build_peers() -> String {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join("peers");
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(package.join("Cargo.toml"));
    assert!(command.status().unwrap().success(), "benches/peers does not build");
    package.join("target/release/firnline-peers").display().to_string()
}

fn at_one_size(refs: u64, words: &[&str], peer: Option<&str>, is_wanted: fn(&Work) -> bool) -> Vec<Found> {
    let place = tempfile::tempdir().unwrap();
    let setup = Setup { refs, place: place.path().to_owned() };
    let all = work::all();
    let is_chosen = |w: &Work| is_wanted(w) && (words.is_empty() || words.iter().any(|word| w.name.contains(word)));
    let mut needed: Vec<_> = all.iter().filter(|w| is_chosen(w)).map(|w| w.name).collect();
    for work in all.iter().rev() {
        if let Some(needs) = work.needs.filter(|_| needed.contains(&work.name)) {
            needed.push(needs);
        }
    }
    let us = std::env::current_exe().unwrap().display().to_string();
    let mut found = Vec::new();
    for work in all.iter().filter(|w| needed.contains(&w.name)) {
        let ours = child(&us, work, &setup, "firnline");
        let peer = peer.map(|peer| child(peer, work, &setup, "icechunk"));
        let both = Found { work: work.name, refs, ours, peer };
        both.print(work, &setup);
        found.push(both);
    }
    found
}

/// Does one piece of work in a process of its own.
fn child(program: &str, work: &Work, setup: &Setup, whose: &str) -> Figures {
    let place = setup.place.join(whose);
    std::fs::create_dir_all(&place).unwrap();
    let mut command = Command::new(program);
    command.args(["--work", work.name, "--refs", &setup.refs.to_string(), "--place"]).arg(place).stderr(Stdio::inherit());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{} failed with {whose}: {}", work.name, output.status);
    Figures::from_lines(&String::from_utf8(output.stdout).unwrap())
}
