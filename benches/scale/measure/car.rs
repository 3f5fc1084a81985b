//! Export and import, beside the time that hashing the same bytes and writing them to the disk takes.

use std::io::Write as _;
use std::process::Command;

use firnline::{ImportTarget, Repository};
use tokio::fs::File;
use tokio::io::BufReader;

use super::key;
use crate::data;
use crate::figures::Figures;
use crate::process::{Moment, Spent};
use crate::store::Store;
use crate::work::{CHUNK, Setup};

/// The length of a large chunk: as long as a block may be.
const LARGE: usize = 1 << 20;

pub(super) async fn run(setup: &Setup, out: &mut Figures) {
    let small = Repository::open(&setup.path("native")).await.unwrap();
    round(setup, out, "small chunks", &small).await;
    files_alone(setup, out, setup.chunks() * CHUNK as u64);
    let large = Repository::create(&setup.path("large")).await.unwrap();
    let session = large.write("main").await.unwrap();
    for n in 0..(setup.chunks() / 400).max(4) {
        session.set(&key(n), data::chunk(n, LARGE)).await.unwrap();
    }
    session.commit("large chunks").await.unwrap();
    round(setup, out, "1 MiB chunks", &large).await;
}

async fn round(setup: &Setup, out: &mut Figures, what: &str, repository: &Repository) {
    let path = setup.path(&format!("{what}.car"));
    let snapshot = repository.read("main").await.unwrap();
    let start = Moment::now();
    let plan = snapshot.plan_car().await.unwrap();
    out.spent(&format!("{what}: plan"), start.elapsed());
    let start = Moment::now();
    let mut file = File::create(&path).await.unwrap();
    let summary = plan.write(&mut file).await.unwrap();
    file.sync_all().await.unwrap();
    let export = Rate::of(out, &format!("{what}: export to a file, synced"), summary.bytes, start.elapsed());
    let start = Moment::now();
    plan.write(tokio::io::sink()).await.unwrap();
    Rate::of(out, &format!("{what}: export to nowhere"), summary.bytes, start.elapsed());

    let store = Store::open(&setup.path(&format!("{what}, imported")));
    let other = store.create().await;
    let meter = store.meter();
    let start = Moment::now();
    let file = BufReader::with_capacity(1 << 20, File::open(&path).await.unwrap());
    let imported = other.import_car(file, ImportTarget::Branch("copy".parse().unwrap())).await.unwrap();
    let import = Rate::of(out, &format!("{what}: verifying import"), summary.bytes, start.elapsed());
    out.time(&format!("{what}: import, waiting for the disk"), meter.syncs());
    assert_eq!(imported.id, snapshot.id());

    let bytes = std::fs::read(&path).unwrap();
    let start = Moment::now();
    let hash = match Command::new("openssl").args(["dgst", "-sha256", &path]).output() {
        // Of another process only the wall is known.
        Ok(output) if output.status.success() => Rate::of(out, &format!("{what}: openssl sha256"), summary.bytes, start.elapsed()).0,
        _ => f64::INFINITY,
    };
    let start = Moment::now();
    let mut copy = std::fs::File::create(setup.path("copy")).unwrap();
    copy.write_all(&bytes).unwrap();
    copy.sync_all().unwrap();
    let write = Rate::of(out, &format!("{what}: write and sync of one file"), summary.bytes, start.elapsed()).0;
    let lower = hash.min(write);
    out.share(&format!("{what}: export, of the lower of hashing and writing"), export.0 / lower);
    out.share(&format!("{what}: import, of the lower of hashing and writing"), import.0 / lower);
}

/// Bytes in a second.
struct Rate(f64);

impl Rate {
    fn of(out: &mut Figures, what: &str, bytes: u64, spent: Spent) -> Self {
        out.speed(what, bytes, spent.wall);
        out.time(&format!("{what}: CPU"), spent.cpu);
        Self(bytes as f64 / spent.wall.as_secs_f64())
    }
}

/// What the file system takes for files like the chunks, without anything else: the least that storing each chunk as a file
/// of its own costs. Two threads write them to temporaries, rename, and sync once; then read them all.
fn files_alone(setup: &Setup, out: &mut Figures, bytes: u64) {
    let place = setup.place.join("files");
    let directory = |n: u64| place.join(format!("{:03x}", n * 7919 % 1024));
    (0..1024).for_each(|n| std::fs::create_dir_all(directory(n)).unwrap());
    let each = |work: &(dyn Fn(u64) + Sync)| {
        std::thread::scope(|scope| {
            for half in 0..2 {
                scope.spawn(move || (half..setup.chunks()).step_by(2).for_each(work));
            }
        });
    };
    let content = data::chunk(1, CHUNK);
    let start = Moment::now();
    each(&|n| {
        let temporary = directory(n).join(format!(".{n}"));
        std::fs::write(&temporary, &content).unwrap();
        std::fs::rename(&temporary, directory(n).join(n.to_string())).unwrap();
    });
    rustix::fs::syncfs(std::fs::File::open(&place).unwrap()).unwrap();
    Rate::of(out, "small chunks: as many files alone, written and synced", bytes, start.elapsed());
    let start = Moment::now();
    each(&|n| assert_eq!(std::fs::read(directory(n).join(n.to_string())).unwrap().len(), CHUNK));
    Rate::of(out, "small chunks: as many files alone, read", bytes, start.elapsed());
}
