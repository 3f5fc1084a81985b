//! zarrs over Firnline, beside zarrs over a plain directory, on the same disk in the same run.
//!
//! `cargo bench -p zarrs_firnline` reads and writes arrays with chunks of 4 KiB and of 64 KiB, synchronously and not. Every row is
//! the median of several rounds, in which the stores take turns. `-- --rounds 3` sets their number, and `-- write` does only the rows
//! with this word in their names. `TMPDIR` says on which disk the data lies.
//!
//! | store | what is on the disk when a write ends |
//! |---|---|
//! | Firnline | everything, by the syncs of the commit |
//! | directory | the chunks, each by an `fsync` of zarrs' own store; not their names in the directory |
//! | one sync | everything: a store that syncs nothing, and one `syncfs` at the end |
//!
//! Reads begin with opening the repository and the array. The files are in the page cache, the nodes of the repository are not in memory.

#![expect(clippy::print_stdout, reason = "a bench is run for what it prints")]
#![expect(clippy::unwrap_used, reason = "a bench that fails should stop and say where")]

mod stores;
mod work;

use std::time::Duration;

use stores::{Firnline, Kind, Place};
use work::{Chunks, Face};

/// Rounds of each row, unless the arguments say otherwise.
const ROUNDS: usize = 7;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rounds = args.iter().skip_while(|arg| *arg != "--rounds").nth(1).map(|n| n.parse().unwrap());
    // Without `--bench` somebody only wants to see it run.
    let is_bench = args.iter().any(|arg| arg == "--bench");
    let (rounds, scale) = if is_bench { (rounds.unwrap_or(ROUNDS), 1) } else { (rounds.unwrap_or(1), 32) };
    let words: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--") && arg.parse::<usize>().is_err()).collect();
    let is_asked = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("{:<40} {:>10} {:>10} {:>10} {:>10}   speed of firnline", "", "firnline", "blake3", "directory", "one sync");
    for chunks in [Chunks { length: 4 << 10, count: 2048 / scale }, Chunks { length: 64 << 10, count: 512 / scale }] {
        for face in [Face::Sync, Face::OneByOne, Face::Async] {
            let name = format!("read, {chunks}, {face}");
            if is_asked(&name) {
                read(&name, &chunks, face, rounds, &runtime);
            }
        }
        for face in [Face::Sync, Face::Async] {
            let name = format!("write, {chunks}, {face}");
            if is_asked(&name) {
                write(&name, &chunks, face, rounds, &runtime);
            }
        }
    }
}

/// One row: all stores read the same array.
fn read(name: &str, chunks: &Chunks, face: Face, rounds: usize, runtime: &tokio::runtime::Runtime) {
    let kinds = [Kind::Firnline(Firnline::Sha256), Kind::Firnline(Firnline::Blake3), Kind::Directory];
    let place = tempfile::tempdir().unwrap();
    let places: Vec<Place> = kinds.iter().map(|kind| Place::new(place.path(), *kind, runtime.handle())).collect();
    for place in &places {
        place.create();
        work::write(&place.quickly(), chunks, Face::Sync);
    }
    let mut times = vec![Vec::new(); kinds.len()];
    for _ in 0..rounds {
        for (place, times) in places.iter().zip(&mut times) {
            times.push(work::read(place, chunks, face));
        }
    }
    row(name, &times, 0.8);
}

/// One row: all stores write the same array, each time into a new place.
fn write(name: &str, chunks: &Chunks, face: Face, rounds: usize, runtime: &tokio::runtime::Runtime) {
    let kinds = [Kind::Firnline(Firnline::Sha256), Kind::Firnline(Firnline::Blake3), Kind::Directory, Kind::OneSync];
    let mut times = vec![Vec::new(); kinds.len()];
    for _ in 0..rounds {
        for (kind, times) in kinds.iter().zip(&mut times) {
            let place = tempfile::tempdir().unwrap();
            let place = Place::new(place.path(), *kind, runtime.handle());
            place.create();
            place.sync();
            times.push(work::write(&place, chunks, face));
        }
    }
    row(name, &times, 0.6);
}

/// Prints the medians, and how fast Firnline is compared with the others: 2 is twice as fast.
fn row(name: &str, times: &[Vec<Duration>], aim: f64) {
    let medians: Vec<Duration> = times.iter().map(|times| median(times)).collect();
    print!("{name:<40}");
    for column in 0..4 {
        let shown = medians.get(column).map_or(String::new(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3));
        print!(" {shown:>10}");
    }
    let ours = medians.first().copied().unwrap_or_default().as_secs_f64();
    let ratios: Vec<String> = medians.iter().skip(2).map(|theirs| format!("{:.2}", theirs.as_secs_f64() / ours)).collect();
    println!("   {} (aim: {aim})", ratios.join(", "));
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
