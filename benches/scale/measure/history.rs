//! Many commits, and finding one of them.

use firnline::Revision;
use futures::TryStreamExt as _;

use crate::data;
use crate::figures::Figures;
use crate::process::{Moment, Spent, on_disk};
use crate::store::Store;
use crate::work::Setup;

pub(super) async fn metadata(setup: &Setup, out: &mut Figures) {
    let place = setup.path("metadata");
    let store = Store::open(&place);
    let repository = store.create().await;
    let key = "air/zarr.json".parse().unwrap();
    let disk = on_disk(&place).1;
    let meter = store.meter();
    let mut all = Vec::new();
    let begun = Moment::now();
    for n in 0..setup.commits() {
        let start = Moment::now();
        let session = repository.write("main").await.unwrap();
        session.set(&key, data::metadata(n)).await.unwrap();
        session.commit(format!("revise the metadata, number {n}")).await.unwrap();
        all.push(start.elapsed());
    }
    out.spent("all commits", begun.elapsed());
    out.spent("one commit", Spent::median(&all));
    out.bytes("kept of each commit", (on_disk(&place).1 - disk) as f64 / setup.commits() as f64);
    meter.report(out, "one commit", setup.commits());
}

pub(super) async fn log(setup: &Setup, out: &mut Figures) {
    let store = Store::open(&setup.path("metadata"));
    let meter = store.meter();
    let start = Moment::now();
    let snapshot = store.repository().await.read("main").await.unwrap();
    let listed: Vec<_> = snapshot.log().try_collect().await.unwrap();
    out.spent("log, cold, with open", start.elapsed());
    meter.report(out, "log, cold, with open", 1);
    assert_eq!(listed.len() as u64, setup.commits() + 1);
    let start = Moment::now();
    assert_eq!(snapshot.log().try_fold(0, |n, _| async move { Ok(n + 1) }).await.unwrap(), listed.len());
    out.spent("log, warm", start.elapsed());

    let middle = listed.get(listed.len() / 2).unwrap();
    let revision: Revision = format!("main@{}", middle.time).parse().unwrap();
    let meter = store.meter();
    let start = Moment::now();
    let found = store.repository().await.read_revision(&revision).await.unwrap();
    out.spent("main@TIME, cold, with open", start.elapsed());
    assert_eq!(found.id(), middle.id);
    meter.report(out, "main@TIME, cold, with open", 1);
}
