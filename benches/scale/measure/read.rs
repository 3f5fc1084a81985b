//! Reading one thing, and reading what a version consists of.

use firnline::Prefix;
use futures::{StreamExt as _, TryStreamExt as _};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::key;
use crate::figures::Figures;
use crate::process::{Moment, Spent};
use crate::store::Store;
use crate::work::{Setup, TIMES};

pub(super) async fn lookup(setup: &Setup, out: &mut Figures) {
    let store = Store::open(&setup.path("virtual"));
    let mut random = SmallRng::seed_from_u64(11);
    let meter = store.meter();
    let mut all = Vec::new();
    for _ in 0..TIMES {
        let key = key(random.random_range(0..setup.refs));
        let start = Moment::now();
        let found = store.repository().await.read("main").await.unwrap().entry(&key).await.unwrap();
        all.push(start.elapsed());
        assert!(found.is_some());
    }
    out.spent("cold, with open", Spent::median(&all));
    meter.report(out, "cold, with open", TIMES);

    let snapshot = store.repository().await.read("main").await.unwrap();
    let keys: Vec<_> = (0..20_000).map(|n| key(n * setup.refs / 20_000 / 20)).collect();
    for warm in [false, true] {
        let start = Moment::now();
        for key in &keys {
            assert!(snapshot.entry(key).await.unwrap().is_some());
        }
        if warm {
            out.time("warm: CPU", start.elapsed().each(keys.len() as u64).cpu);
        }
    }
    let start = Moment::now();
    let listed = snapshot.list(&Prefix::all()).try_fold(0_u64, |n, _| async move { Ok(n + 1) }).await.unwrap();
    assert_eq!(listed, setup.refs);
    out.time("listing all: CPU for each key", start.elapsed().each(listed).cpu);
}

pub(super) async fn dependencies(setup: &Setup, out: &mut Figures) {
    let store = Store::open(&setup.path("virtual"));
    let meter = store.meter();
    let start = Moment::now();
    let snapshot = store.repository().await.read("main").await.unwrap();
    let mut found = snapshot.dependencies().boxed();
    let (mut files, mut refs) = (0, 0);
    while let Some(file) = found.try_next().await.unwrap() {
        files += 1;
        refs += file.record.refs;
    }
    let spent = start.elapsed();
    assert_eq!((files, refs), (setup.files(), setup.refs));
    out.count("rows", f64::from(u32::try_from(files).unwrap()));
    out.spent("cold, with open", spent);
    meter.report(out, "cold, with open", 1);
}

pub(super) async fn diff(setup: &Setup, out: &mut Figures) {
    let store = Store::open(&setup.path("virtual"));
    let meter = store.meter();
    let start = Moment::now();
    let repository = store.repository().await;
    let (before, after) = (repository.read("main~1").await.unwrap(), repository.read("main").await.unwrap());
    let changed: Vec<_> = before.diff(&after, &Prefix::all()).try_collect().await.unwrap();
    out.spent("cold", start.elapsed());
    let keys = changed.iter().filter(|change| matches!(change, firnline::Change::Key { .. })).count();
    out.count("changed keys", keys as f64);
    meter.report(out, "cold", 1);
    // What the writer recorded, told to a process that has nothing either.
    let meter = store.meter();
    let start = Moment::now();
    let repository = store.repository().await;
    let (before, after) = (repository.read("main~1").await.unwrap(), repository.read("main").await.unwrap());
    let told = before.recorded_diff(&after, &Prefix::all()).await.unwrap().expect("a small commit records its changes");
    let told: Vec<_> = told.try_collect().await.unwrap();
    out.spent("recorded, cold", start.elapsed());
    assert_eq!(told, changed);
    meter.report(out, "recorded, cold", 1);
    // Without what opening costs either of them.
    let meter = store.meter();
    let repository = store.repository().await;
    let (before, after) = (repository.read("main~1").await.unwrap(), repository.read("main").await.unwrap());
    drop((before, after));
    meter.report(out, "opening both", 1);
}
