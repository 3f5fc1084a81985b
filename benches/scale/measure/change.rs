//! Small changes to something large.

use std::time::Duration;

use firnline::{Key, Repository};
use futures::TryStreamExt as _;

use super::key;
use crate::data;
use crate::figures::Figures;
use crate::process::{Moment, Spent};
use crate::store::{Chunks, Store};
use crate::work::{CHUNK, GROWING, MANY, STEPS, Setup, TIMES};

/// Changes one reference, and returns what that took.
pub(super) async fn change(repository: &Repository, setup: &Setup, (n, range): (u64, std::ops::Range<u64>)) -> Spent {
    let url = data::url(data::file(n, setup.refs, setup.files()));
    let start = Moment::now();
    let session = repository.write("main").await.unwrap();
    session.set_virtual(&key(n), &url, range).await.unwrap();
    session.commit("one reference").await.unwrap();
    start.elapsed()
}

pub(super) async fn one(setup: &Setup, out: &mut Figures) {
    let store = Store::open(&setup.path("virtual"));
    let repository = store.repository().await;
    let mut changes = data::changes(setup.refs, 7);
    // The first commit pays for the caches and is not counted.
    change(&repository, setup, changes.next().unwrap()).await;
    let meter = store.meter();
    let (mut all, mut disk) = (Vec::new(), Vec::new());
    for place in changes.take(usize::try_from(TIMES).unwrap()) {
        let before = meter.syncs();
        let spent = change(&repository, setup, place).await;
        all.push(spent);
        disk.push(Spent { wall: meter.syncs().saturating_sub(before), cpu: Duration::ZERO });
    }
    out.spent("open, set, commit", Spent::median(&all));
    out.time("waiting for the disk", Spent::median(&disk).wall);
    meter.report(out, "open, set, commit", TIMES);
}

/// By how much every request takes longer. Only then do requests that are sent together end together, and can those
/// that wait for one another be counted.
const DISTANCE: Duration = Duration::from_millis(100);

pub(super) async fn at_a_distance(setup: &Setup, out: &mut Figures) {
    let store = Store::open(&setup.path("virtual"));
    let warm = store.repository().await;
    let mut changes = data::changes(setup.refs, 17);
    change(&warm, setup, changes.next().unwrap()).await;

    store.delay(DISTANCE);
    let meter = store.meter();
    let start = Moment::now();
    let session = warm.write("main").await.unwrap();
    out.time("warm: open a session", start.elapsed().wall);
    out.count("warm: round trips to open a session", meter.round_trips() as f64);
    let (n, range) = changes.next().unwrap();
    session.set_virtual(&key(n), &data::url(data::file(n, setup.refs, setup.files())), range).await.unwrap();
    // A writer reads the paths that it changes; they are as cold here as for any other reference.
    let meter = store.meter();
    let start = Moment::now();
    session.commit("one reference").await.unwrap();
    out.time("warm: commit", start.elapsed().wall);
    out.count("warm: round trips of the commit", meter.round_trips() as f64);
    let (n, range) = (n, range_after(n));
    let session = warm.write("main").await.unwrap();
    session.set_virtual(&key(n), &data::url(data::file(n, setup.refs, setup.files())), range).await.unwrap();
    let meter = store.meter();
    let start = Moment::now();
    session.commit("the same reference").await.unwrap();
    out.time("warm: commit beside the last one", start.elapsed().wall);
    out.count("warm: round trips of a commit beside the last one", meter.round_trips() as f64);

    let meter = store.meter();
    let start = Moment::now();
    let found = store.repository().await.read("main").await.unwrap().entry(&key(1)).await.unwrap();
    assert!(found.is_some());
    out.time("cold: open and look up", start.elapsed().wall);
    out.count("cold: round trips to open and look up", meter.round_trips() as f64);
}

/// Another place for the reference that was changed last.
fn range_after(n: u64) -> std::ops::Range<u64> {
    n + 1..n + 40_001
}

pub(super) async fn many(setup: &Setup, out: &mut Figures) {
    let store = Store::open(&setup.path("virtual"));
    let repository = store.repository().await;
    let meter = store.meter();
    let start = Moment::now();
    let session = repository.write("main").await.unwrap();
    for (n, range) in data::changes(setup.refs, 23).take(usize::try_from(MANY).unwrap()) {
        session.set_virtual(&key(n), &data::url(data::file(n, setup.refs, setup.files())), range).await.unwrap();
    }
    session.commit("many references").await.unwrap();
    out.spent("open, set, commit", start.elapsed());
    meter.report(out, "open, set, commit", 1);
}

pub(super) async fn append(setup: &Setup, out: &mut Figures) {
    for per_step in STEPS {
        append_steps(setup, out, per_step).await;
    }
}

async fn append_steps(setup: &Setup, out: &mut Figures, per_step: u64) {
    let store = Store::with(&setup.path(&format!("growing-{per_step}")), Chunks::LetGo);
    let repository = store.create().await;
    let (arrays, steps) = (GROWING, setup.steps(per_step));
    let chunk_key = |array: u64, step: u64, n: u64| Key::new(format!("v{array:02}/c/{step}/{}/{}", n / 10, n % 10)).unwrap();
    let bytes = |array: u64, step: u64, n: u64| data::chunk((array * steps + step) * per_step + n, CHUNK);
    let session = repository.write("main").await.unwrap();
    for array in 0..arrays {
        for step in 0..steps {
            for n in 0..per_step {
                session.set(&chunk_key(array, step, n), bytes(array, step, n)).await.unwrap();
            }
        }
    }
    session.commit("all steps but one").await.unwrap();

    let repository = store.repository().await;
    let meter = store.meter();
    let start = Moment::now();
    let session = repository.write("main").await.unwrap();
    for array in 0..arrays {
        for n in 0..per_step {
            session.set(&chunk_key(array, steps, n), data::chunk(u64::MAX - array * per_step - n, CHUNK)).await.unwrap();
        }
    }
    session.commit("one step more").await.unwrap();
    let what = format!("steps of {}", if per_step == 1 { "1 chunk".to_owned() } else { format!("{per_step} chunks") });
    out.spent(&what, start.elapsed());
    let mut traffic = meter.traffic();
    let chunks = arrays * per_step;
    traffic.bytes_written -= chunks * CHUNK as u64;
    traffic.objects_written -= chunks;
    traffic.requests -= chunks;
    out.traffic(&format!("{what}, without the chunks"), traffic, 1);
}

pub(super) async fn small_arrays(setup: &Setup, out: &mut Figures) {
    let store = Store::with(&setup.path("small-arrays"), Chunks::LetGo);
    let repository = store.create().await;
    let start = Moment::now();
    let session = repository.write("main").await.unwrap();
    for array in 0..setup.arrays() {
        session.set(&format!("a{array:05}/zarr.json").parse().unwrap(), data::metadata(array)).await.unwrap();
        for n in 0..4 {
            session.set(&format!("a{array:05}/c/{n}").parse().unwrap(), data::chunk(array * 4 + n, CHUNK)).await.unwrap();
        }
    }
    session.commit("all arrays").await.unwrap();
    out.spent("all arrays", start.elapsed());

    let repository = store.repository().await;
    let snapshot = repository.read("main").await.unwrap();
    let listed = snapshot.list(&firnline::Prefix::all()).try_fold(0_u64, |n, _| async move { Ok(n + 1) }).await.unwrap();
    assert_eq!(listed, setup.arrays() * 5);
    let (meter, mut all) = (store.meter(), Vec::new());
    for time in 0..TIMES {
        let start = Moment::now();
        let session = repository.write("main").await.unwrap();
        let array = time * 31 % setup.arrays();
        session.set(&format!("a{array:05}/c/1").parse().unwrap(), data::chunk(u64::MAX - time, CHUNK)).await.unwrap();
        session.commit("one chunk").await.unwrap();
        all.push(start.elapsed());
    }
    out.spent("one chunk", Spent::median(&all));
    meter.report(out, "one chunk", TIMES);
}
