//! Export and import, beside the time that hashing the same bytes takes.

use std::process::Command;
use std::time::Instant;

use firnline::{CreateOptions, ImportTarget, Repository};
use tokio::fs::File;
use tokio::io::BufReader;

use super::measure::{Rows, block, mb};
use super::meter::{Moment, Spent, Store};
use super::{Setup, data};

/// The length of a large chunk: as long as a block may be.
const LARGE: usize = 1 << 20;

pub(crate) fn run(setup: &Setup, rows: &mut Rows) {
    block(async {
        let small = Repository::open(&setup.path("native")).await.unwrap();
        round(setup, rows, "small", &small).await;
        let large = Repository::create(&setup.path("large")).await.unwrap();
        let mut session = large.write("main").await.unwrap();
        let count = setup.chunks() / 400;
        for n in 0..count.max(4) {
            session.set(&data::key(n), data::chunk(n, LARGE)).await.unwrap();
        }
        session.commit("large chunks").await.unwrap();
        round(setup, rows, "1 MiB", &large).await;
    });
}

async fn round(setup: &Setup, rows: &mut Rows, what: &str, repository: &Repository) {
    let path = setup.path(&format!("{what}.car"));
    let snapshot = repository.read("main").await.unwrap();
    let start = Moment::now();
    let plan = snapshot.plan_car().await.unwrap();
    rows.add(&format!("{what} chunks: plan"), start.elapsed());
    let start = Moment::now();
    let mut file = File::create(&path).await.unwrap();
    let summary = plan.write(&mut file).await.unwrap();
    let spent = start.elapsed();
    rows.add(&format!("{what} chunks: file"), format!("{} in {} blocks", mb(summary.bytes), summary.blocks));
    rows.add(&format!("{what} chunks: export, after plan"), speed(spent, summary.bytes));
    let start = Moment::now();
    snapshot.export_car(tokio::io::sink()).await.unwrap();
    rows.add(&format!("{what} chunks: export to nowhere"), speed(start.elapsed(), summary.bytes));

    let store = Store::open(&setup.path(&format!("{what}-imported")));
    let other = Repository::create_storage(store.storage(), CreateOptions::default()).await.unwrap();
    store.waits.take();
    let start = Moment::now();
    let file = BufReader::with_capacity(1 << 20, File::open(&path).await.unwrap());
    let imported = other.import_car(file, ImportTarget::Branch("copy".parse().unwrap())).await.unwrap();
    let spent = start.elapsed();
    assert_eq!(imported.id, snapshot.id());
    let (barrier, _) = store.waits.take();
    rows.add(
        &format!("{what} chunks: import"),
        format!("{}, {:.2} s of it in the barrier", speed(spent, summary.bytes), barrier.as_secs_f64()),
    );

    let start = Instant::now();
    match Command::new("openssl").args(["dgst", "-sha256", &path]).output() {
        Ok(output) if output.status.success() => {
            let gb = summary.bytes as f64 / 1e9 / start.elapsed().as_secs_f64();
            rows.add(&format!("{what} chunks: openssl sha256"), format!("{gb:.2} GB/s"));
        }
        _ => rows.add(&format!("{what} chunks: openssl sha256"), "not here"),
    }
}

fn speed(spent: Spent, bytes: u64) -> String {
    let gb = |d: std::time::Duration| bytes as f64 / 1e9 / d.as_secs_f64();
    format!("{spent}: {:.2} GB/s, {:.2} GB per CPU-second", gb(spent.wall), gb(spent.cpu))
}
