//! The built command as eight processes on one repository, and as processes that are killed at any moment.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::support::count;
use super::work::{CONFLICT, PROCESSES, Site, Work, check, eight_processes, firn, init, logged, run, start, succeed, until_committed};

/// A place on local disk.
fn new_site() -> (tempfile::TempDir, Site) {
    let directory = tempfile::tempdir().unwrap();
    let url = directory.path().join("repository").to_str().unwrap().to_owned();
    (directory, Site { url, variables: Vec::new() })
}

#[test]
fn eight_processes_lose_nothing() {
    let commits = count("FIRN_PROCESS_COMMITS", 10, 200);
    let (_directory, site) = new_site();
    eight_processes(&site, commits);
}

/// What killing has come to.
#[derive(Debug, Default)]
struct Kills {
    /// Killed before they had ended.
    killed: AtomicU64,
    /// Killed after they had printed their id.
    printed: AtomicU64,
    finished: AtomicU64,
}

#[test]
fn processes_that_are_killed_lose_nothing() {
    killed_at_random(false);
}

/// The same while garbage is collected all the time, without any grace, by processes of which some are killed as well.
#[test]
fn processes_that_are_killed_beside_collections_lose_nothing() {
    killed_at_random(true);
}

/// A collection of all garbage, however young.
fn collection(site: &Site) -> Command {
    let mut command = firn(site, "gc");
    command.args(["--grace", "0"]);
    command
}

/// Collects garbage again and again until `is_over`, and kills about half of the processes that do it.
fn keep_collecting(site: &Site, is_over: impl Fn() -> bool) {
    let (mut random, mut done, mut killed) = (SmallRng::seed_from_u64(77), 0, 0);
    let mut patience = 50_000_u64;
    while !is_over() || done < 3 || killed < 3 {
        let mut child = start(collection(site), b"");
        std::thread::sleep(Duration::from_micros(random.random_range(0..patience)));
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if ended {
            succeed(&output);
            (done, patience) = (done + 1, patience * 9 / 10);
        } else {
            (killed, patience) = (killed + 1, patience * 11 / 10);
        }
        patience = patience.clamp(1_000, 2_000_000);
    }
    println!("{done} collections, and {killed} that were killed");
}

fn killed_at_random(beside_collections: bool) {
    let (_directory, root) = new_site();
    init(&root);
    let started = Instant::now();
    succeed(&{
        let (command, input) = Work::of(0, 0).command(&root);
        run(command, &input)
    });
    let usual = started.elapsed();
    let kills_wanted = count("FIRN_PROCESS_KILLS", 40, 200) * if beside_collections { 5 } else { 1 };
    let (kills, acknowledged) = (Kills::default(), Mutex::new(BTreeSet::new()));
    let launched = AtomicU64::new(1);
    // How long a commit takes depends on what else the machine does, so the patience follows what is seen: longer when one
    // was killed, shorter when one had ended, and so about half of them each.
    let patience = AtomicU64::new(u64::try_from(usual.as_micros()).unwrap().max(1_000));
    let writing = AtomicU64::new(3);
    std::thread::scope(|scope| {
        if beside_collections {
            scope.spawn(|| keep_collecting(&root, || writing.load(Ordering::Relaxed) == 0));
        }
        for thread in 0..3_u64 {
            let writing = &writing;
            let (root, kills, acknowledged, launched, patience) = (&root, &kills, &acknowledged, &launched, &patience);
            scope.spawn(move || {
                let mut random = SmallRng::seed_from_u64(thread);
                let is_enough = || kills.killed.load(Ordering::Relaxed) >= kills_wanted && acknowledged.lock().unwrap().len() >= 5;
                while !is_enough() && started.elapsed() < Duration::from_mins(1) {
                    let number = launched.fetch_add(1, Ordering::Relaxed);
                    let work = Work::of(number % PROCESSES, number);
                    let most = patience.load(Ordering::Relaxed);
                    let after = Duration::from_micros(random.random_range(0..most));
                    let (ended, id) = kill_after(work, root, after, kills);
                    let next = if ended { most * 9 / 10 } else { most * 11 / 10 };
                    patience.store(next.clamp(1_000, 2_000_000), Ordering::Relaxed);
                    if let Some(id) = id {
                        acknowledged.lock().unwrap().insert(id);
                    }
                }
                writing.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    println!("{} launched, {kills:?}, {} acknowledged, in {:?}", launched.into_inner(), acknowledged.len(), started.elapsed());
    assert!(kills.killed.into_inner() >= kills_wanted / 4, "too few were killed while they ran");
    assert!(acknowledged.len() >= 5, "too few were acknowledged");

    // The next process works as if nothing had happened.
    let next = Work::Own { process: 999, number: 0 };
    let id = until_committed(next, &root, &AtomicU64::new(0));
    let found: BTreeSet<_> = logged(&root).into_iter().map(|(id, _)| id).collect();
    assert!(acknowledged.is_subset(&found) && found.contains(&id), "lost: {:?}", acknowledged.difference(&found));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(check(&root));
    if beside_collections {
        // The last collection was perhaps killed; the next one ends it, and nothing that anybody needs is missing then.
        succeed(&run(collection(&root), b""));
        runtime.block_on(check(&root));
    }
}

/// Starts the work and kills it after a while; whether it had ended by then, and the id, if it printed one in full.
fn kill_after(work: Work, site: &Site, patience: Duration, kills: &Kills) -> (bool, Option<String>) {
    let (command, input) = work.command(site);
    let mut child = start(command, &input);
    std::thread::sleep(patience);
    let ended = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    let status = child.wait().unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    let id = out.strip_suffix('\n').map(ToOwned::to_owned);
    if ended {
        kills.finished.fetch_add(1, Ordering::Relaxed);
        assert!(status.success() || status.code() == Some(CONFLICT), "{work:?}: {status}: {err}");
    } else {
        kills.killed.fetch_add(1, Ordering::Relaxed);
        kills.printed.fetch_add(u64::from(id.is_some()), Ordering::Relaxed);
    }
    (ended, id)
}
