//! Everything set and committed at once.

use firnline::{KeyColumn, VirtualOptions, VirtualRefs, WriteSession};

use super::key;
use crate::data;
use crate::figures::Figures;
use crate::process::{Moment, on_disk, peak_memory};
use crate::store::{Meter, Store};
use crate::work::{CHUNK, Setup};

/// How many references are staged by one call, so that columns of all of them are never in memory.
const COLUMN: usize = 100_000;

pub(super) async fn many_at_once(setup: &Setup, out: &mut Figures) {
    let store = Store::open(&setup.path("virtual"));
    let session = store.create().await.write("main").await.unwrap();
    let urls: Vec<_> = (0..setup.files()).map(data::url).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    assert!(setup.refs.is_multiple_of(data::PER_STEP), "only whole steps of the array are staged");
    let meter = store.meter();
    let all = Moment::now();
    let mut references = data::references(setup.refs, setup.files());
    for first in (0..setup.refs).step_by(COLUMN) {
        let (mut url, mut offset, mut length) = (Vec::new(), Vec::new(), Vec::new());
        for (_, file, range) in references.by_ref().take(COLUMN) {
            url.push(u32::try_from(file).unwrap());
            offset.push(range.start);
            length.push(range.end - range.start);
        }
        let last = (first + COLUMN as u64).min(setup.refs);
        let region = [first / data::PER_STEP..last / data::PER_STEP, 0..10, 0..10];
        let keys = KeyColumn::Grid { prefix: "air/c/", region: &region, separator: '/' };
        let refs = VirtualRefs { keys, urls: &urls, url: &url, offset: &offset, length: &length, validators: &[] };
        session.set_virtual_many(&refs, &VirtualOptions::default()).await.unwrap();
    }
    commit(setup, out, &meter, all, session, "virtual").await;
}

pub(super) async fn one_by_one(setup: &Setup, out: &mut Figures) {
    let store = Store::open(&setup.path("one-by-one"));
    let session = store.create().await.write("main").await.unwrap();
    one_call_each(setup, out, &store, session, "one-by-one").await;
}

async fn one_call_each(setup: &Setup, out: &mut Figures, store: &Store, session: WriteSession, name: &str) {
    let urls: Vec<_> = (0..setup.files()).map(data::url).collect();
    let meter = store.meter();
    let all = Moment::now();
    for (n, file, range) in data::references(setup.refs, setup.files()) {
        let url = urls.get(usize::try_from(file).unwrap()).unwrap();
        session.set_virtual(&key(n), url, range).await.unwrap();
    }
    commit(setup, out, &meter, all, session, name).await;
}

async fn commit(setup: &Setup, out: &mut Figures, meter: &Meter<'_>, all: Moment, session: WriteSession, name: &str) {
    out.spent("set", all.elapsed());
    out.bytes("peak memory before the commit", peak_memory() as f64);
    let start = Moment::now();
    session.commit("all references").await.unwrap();
    out.spent("commit", start.elapsed());
    out.spent("set + commit", all.elapsed());
    out.time("waiting for the disk", meter.syncs());
    meter.report(out, "set + commit", 1);
    let at_rest = |folder: &str| on_disk(setup.place.join(name).join(folder)).1 as f64;
    let (manifests, files) = (at_rest("manifests"), at_rest("files"));
    out.bytes("at rest, for each reference", (manifests + files) / setup.refs as f64);
}

pub(super) async fn native(setup: &Setup, out: &mut Figures) {
    let store = Store::open(&setup.path("native"));
    let repository = store.create().await;
    let meter = store.meter();
    let all = Moment::now();
    let session = repository.write("main").await.unwrap();
    for n in 0..setup.chunks() {
        session.set(&key(n), data::chunk(n, CHUNK)).await.unwrap();
    }
    session.commit("all chunks").await.unwrap();
    out.spent("set + commit", all.elapsed());
    out.time("CPU for each chunk", all.elapsed().each(setup.chunks()).cpu);
    out.time("waiting for the disk", meter.syncs());
    meter.report(out, "set + commit", 1);
    let manifests = on_disk(setup.place.join("native").join("manifests")).1;
    out.bytes("at rest in the manifest, for each chunk", manifests as f64 / setup.chunks() as f64);
}
