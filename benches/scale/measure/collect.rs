//! Finding and removing garbage beside many versions of something large.

use std::time::Duration;

use firnline::{GcOptions, Key, Repository};

use super::change::change;
use crate::data;
use crate::figures::Figures;
use crate::process::Moment;
use crate::store::Store;
use crate::work::{CHUNK, MANY, Setup};

/// Leaves chunks behind, as an interrupted writer does.
async fn leave(repository: &Repository, count: u64) {
    let session = repository.write("main").await.unwrap();
    for n in 0..count {
        session.set(&Key::new(format!("left/{n}")).unwrap(), data::chunk(n, CHUNK)).await.unwrap();
    }
    session.flush().await.unwrap();
}

pub(super) async fn run(setup: &Setup, out: &mut Figures) {
    let store = Store::open(&setup.path("virtual"));
    let repository = store.repository().await;
    for place in data::changes(setup.refs, 29).take(usize::try_from(setup.versions()).unwrap()) {
        change(&repository, setup, place).await;
    }
    leave(&repository, MANY).await;
    drop(repository);
    let options = GcOptions::default().grace(Duration::ZERO);

    let meter = store.meter();
    let start = Moment::now();
    let plan = store.repository().await.plan_gc(&options).await.unwrap();
    out.spent("plan", start.elapsed());
    meter.report(out, "plan", 1);
    out.count("plan: versions", plan.versions as f64);
    out.count("plan: snapshots and nodes read", plan.reads as f64);
    assert!(plan.garbage_total().objects >= MANY, "{plan:?}");

    let meter = store.meter();
    let start = Moment::now();
    let report = store.repository().await.gc(&options).await.unwrap();
    out.spent("collection", start.elapsed());
    meter.report(out, "collection", 1);
    assert_eq!((report.failed, report.removed["chunks"].objects), (0, MANY));

    let repository = store.repository().await;
    change(&repository, setup, data::changes(setup.refs, 31).next().unwrap()).await;
    leave(&repository, 1).await;
    drop(repository);
    let start = Moment::now();
    store.repository().await.gc(&options).await.unwrap();
    out.spent("another after one change", start.elapsed());
}
