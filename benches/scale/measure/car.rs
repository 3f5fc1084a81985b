//! Export and import, beside the time that hashing the same bytes and writing them to the disk takes.

use std::io::Write as _;
use std::process::Command;
use std::time::Instant;

use firnline::{ImportTarget, Repository};
use tokio::fs::File;
use tokio::io::BufReader;

use super::key;
use crate::data;
use crate::figures::Figures;
use crate::process::Moment;
use crate::store::Store;
use crate::work::Setup;

/// The length of a large chunk: as long as a block may be.
const LARGE: usize = 1 << 20;

pub(super) async fn run(setup: &Setup, out: &mut Figures) {
    let small = Repository::open(&setup.path("native")).await.unwrap();
    round(setup, out, "small chunks", &small).await;
    let large = Repository::create(&setup.path("large")).await.unwrap();
    let mut session = large.write("main").await.unwrap();
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
    out.speed(&format!("{what}: export to a file, after the plan"), summary.bytes, start.elapsed().wall);
    let start = Moment::now();
    snapshot.export_car(tokio::io::sink()).await.unwrap();
    out.speed(&format!("{what}: export to nowhere"), summary.bytes, start.elapsed().wall);

    let store = Store::open(&setup.path(&format!("{what}, imported")));
    let other = store.create().await;
    let meter = store.meter();
    let start = Moment::now();
    let file = BufReader::with_capacity(1 << 20, File::open(&path).await.unwrap());
    let imported = other.import_car(file, ImportTarget::Branch("copy".parse().unwrap())).await.unwrap();
    out.speed(&format!("{what}: verifying import"), summary.bytes, start.elapsed().wall);
    out.time(&format!("{what}: import, waiting for the disk"), meter.syncs());
    assert_eq!(imported.id, snapshot.id());

    let start = Instant::now();
    match Command::new("openssl").args(["dgst", "-sha256", &path]).output() {
        Ok(output) if output.status.success() => out.speed(&format!("{what}: openssl sha256"), summary.bytes, start.elapsed()),
        _ => {}
    }
    let bytes = std::fs::read(&path).unwrap();
    let start = Instant::now();
    let mut copy = std::fs::File::create(setup.path("copy")).unwrap();
    copy.write_all(&bytes).unwrap();
    copy.sync_all().unwrap();
    out.speed(&format!("{what}: write and sync of one file"), summary.bytes, start.elapsed());
}
