//! The measurements, in the order in which they run: the later ones read what the first ones have written.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use firnline::{CreateOptions, OpenOptions, Repository};
use futures::{StreamExt as _, TryStreamExt as _};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::meter::{Moment, Store, median, on_disk, peak_memory, short};
use super::{Setup, car, data};

/// The length of a native chunk: the shortest realistic one that does not lie inline.
const CHUNK: usize = 1100;
/// How often something small is measured.
const TIMES: u64 = 40;

/// One thing that is measured.
pub(crate) struct Measurement {
    pub(crate) name: &'static str,
    /// The measurement that makes what this one reads.
    pub(crate) needs: Option<&'static str>,
    title: fn(&Setup) -> String,
    run: fn(&Setup, &mut Rows),
}

impl Measurement {
    pub(crate) fn all() -> Vec<Self> {
        let of = |name, needs, title, run| Self { name, needs, title, run };
        vec![
            of("build-virtual", None, |s| format!("{} references in {} files, one commit", s.refs, s.files()), build_virtual),
            of("build-native", None, |s| format!("{} native chunks of {CHUNK} bytes, one commit", s.chunks()), build_native),
            of("change-one", Some("build-virtual"), |s| format!("one reference of {} changed, {TIMES} commits", s.refs), change_one),
            of("lookup", Some("build-virtual"), |s| format!("one of {} references looked up", s.refs), lookup),
            of("dependencies", Some("build-virtual"), |s| format!("the {} files listed", s.files()), dependencies),
            of("metadata", None, |s| format!("{} commits of one metadata document", s.commits()), metadata),
            of("log", Some("metadata"), |s| format!("log of {} commits", s.commits()), log),
            of("car", Some("build-native"), |s| format!("a version of {} chunks as a CAR file", s.chunks()), car::run),
        ]
    }

    pub(crate) fn title(&self, setup: &Setup) -> String {
        format!("{}: {}", self.name, (self.title)(setup))
    }

    pub(crate) fn run(&self, setup: &Setup) -> String {
        let mut rows = Rows::default();
        (self.run)(setup, &mut rows);
        rows.add("peak memory", mb(peak_memory()));
        rows.0
    }
}

/// What a measurement prints.
#[derive(Default)]
pub(crate) struct Rows(String);

impl Rows {
    pub(crate) fn add(&mut self, what: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "    {what:<34} {value}").unwrap();
    }
}

pub(crate) fn mb(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

fn kb(bytes: f64) -> String {
    format!("{:.1} KB", bytes / 1e3)
}

pub(crate) fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

async fn create(store: &Store) -> Repository {
    Repository::create_storage(store.storage(), CreateOptions::default()).await.unwrap()
}

async fn open(store: &Store) -> Repository {
    Repository::open_storage(store.storage(), OpenOptions::default()).await.unwrap()
}

fn build_virtual(setup: &Setup, rows: &mut Rows) {
    block(async {
        let urls: Vec<_> = (0..setup.files()).map(data::url).collect();
        let alone = Moment::now();
        let made = data::references(setup.refs, setup.files()).map(|(n, _, range)| data::key(n).as_str().len() as u64 + range.start);
        std::hint::black_box(made.max());
        rows.add("making keys and ranges alone", alone.elapsed());

        let store = Store::open(&setup.virtuals());
        let repository = create(&store).await;
        let before = store.counts();
        let start = Moment::now();
        let mut session = repository.write("main").await.unwrap();
        for ((n, _, range), url) in
            data::references(setup.refs, setup.files()).map(|r| (r.clone(), urls.get(usize::try_from(r.1).unwrap()).unwrap()))
        {
            session.set_virtual(&data::key(n), url, range).await.unwrap();
        }
        let staged = start.elapsed();
        rows.add("staging (with the making)", format!("{staged}, {} a reference", short(staged.each(setup.refs).cpu)));
        rows.add("peak memory so far", mb(peak_memory()));
        let start = Moment::now();
        session.commit("all references").await.unwrap();
        let spent = start.elapsed();
        rows.add("commit", format!("{spent}, {} a reference", short(spent.each(setup.refs).cpu)));
        let (barrier, replace) = store.waits.take();
        rows.add("  of it in syncs", format!("{} barrier, {} replace", short(barrier), short(replace)));
        let counts = store.counts().since(&before);
        rows.add("written", format!("{} in {} objects", mb(counts.bytes_written), counts.objects_written));
        let per_ref = |name: &str| on_disk(setup.place.join("virtual").join(name)).1 as f64 / setup.refs as f64;
        let (manifests, files) = (per_ref("manifests"), per_ref("files"));
        rows.add("bytes a reference", format!("{:.3} (manifest {manifests:.3}, files {files:.3})", manifests + files));
    });
}

fn build_native(setup: &Setup, rows: &mut Rows) {
    block(async {
        let store = Store::open(&setup.path("native"));
        let repository = create(&store).await;
        let before = store.counts();
        let start = Moment::now();
        let mut session = repository.write("main").await.unwrap();
        for n in 0..setup.chunks() {
            session.set(&data::key(n), data::chunk(n, CHUNK)).await.unwrap();
        }
        let staged = start.elapsed();
        rows.add("staging and uploading", format!("{staged}, {} CPU a chunk", short(staged.each(setup.chunks()).cpu)));
        let start = Moment::now();
        session.commit("all chunks").await.unwrap();
        rows.add("commit", start.elapsed());
        let (barrier, replace) = store.waits.take();
        rows.add("  of it in syncs", format!("{} barrier, {} replace", short(barrier), short(replace)));
        let counts = store.counts().since(&before);
        rows.add("written", format!("{} in {} objects", mb(counts.bytes_written), counts.objects_written));
        let (nodes, bytes) = on_disk(setup.place.join("native").join("manifests"));
        rows.add("manifest bytes a chunk", format!("{:.2} in {nodes} nodes", bytes as f64 / setup.chunks() as f64));
    });
}

fn change_one(setup: &Setup, rows: &mut Rows) {
    block(async {
        let store = Store::open(&setup.virtuals());
        let repository = open(&store).await;
        let mut random = SmallRng::seed_from_u64(7);
        let (mut walls, mut cpus, mut barriers, mut replaces) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut before = store.counts();
        // The first commit pays for the caches and is not counted.
        for time in 0..=TIMES {
            if time == 1 {
                before = store.counts();
            }
            store.waits.take();
            let n = random.random_range(0..setup.refs);
            let offset = u64::from(random.random::<u32>());
            let url = data::url(n * setup.files() / setup.refs);
            let start = Moment::now();
            let mut session = repository.write("main").await.unwrap();
            session.set_virtual(&data::key(n), &url, offset..offset + 40_000).await.unwrap();
            session.commit("one reference").await.unwrap();
            let spent = start.elapsed();
            let (barrier, replace) = store.waits.take();
            if time > 0 {
                walls.push(spent.wall);
                cpus.push(spent.cpu);
                barriers.push(barrier);
                replaces.push(replace);
            }
        }
        let counts = store.counts().since(&before);
        let each = |n: u64| n as f64 / TIMES as f64;
        rows.add("written by each", format!("{} in {:.1} objects", kb(each(counts.bytes_written)), each(counts.objects_written)));
        rows.add("read by each", format!("{} in {:.1} objects", kb(each(counts.bytes_read)), each(counts.gets)));
        rows.add("requests of each", format!("{:.1}", each(counts.requests())));
        rows.add("median", format!("{} wall, {} CPU", short(median(walls)), short(median(cpus))));
        rows.add("  of it in syncs", format!("{} barrier, {} replace", short(median(barriers)), short(median(replaces))));
    });
}

fn lookup(setup: &Setup, rows: &mut Rows) {
    block(async {
        let store = Store::open(&setup.virtuals());
        let mut random = SmallRng::seed_from_u64(11);
        let (mut walls, mut cpus) = (Vec::new(), Vec::new());
        let before = store.counts();
        for _ in 0..TIMES {
            let key = data::key(random.random_range(0..setup.refs));
            let start = Moment::now();
            let found = open(&store).await.read("main").await.unwrap().entry(&key).await.unwrap();
            let spent = start.elapsed();
            assert!(found.is_some());
            walls.push(spent.wall);
            cpus.push(spent.cpu);
        }
        let counts = store.counts().since(&before);
        let each = |n: u64| n as f64 / TIMES as f64;
        rows.add("cold, with open: requests", format!("{:.1}", each(counts.requests())));
        rows.add("cold, with open: read", kb(each(counts.bytes_read)));
        rows.add("cold, with open: median", format!("{} wall, {} CPU", short(median(walls)), short(median(cpus))));

        let snapshot = open(&store).await.read("main").await.unwrap();
        let keys: Vec<_> = (0..20_000).map(|n| data::key(n * setup.refs / 20_000 / 20)).collect();
        for warm in [false, true] {
            let start = Moment::now();
            for key in &keys {
                assert!(snapshot.entry(key).await.unwrap().is_some());
            }
            if warm {
                rows.add("warm", start.elapsed().each(keys.len() as u64));
            }
        }
        let start = Moment::now();
        let listed = snapshot.list(&firnline::Prefix::all()).try_fold(0_u64, |n, _| async move { Ok(n + 1) }).await.unwrap();
        let spent = start.elapsed();
        assert_eq!(listed, setup.refs);
        rows.add("listing all keys", format!("{spent}, {} a key", short(spent.each(listed).cpu)));
    });
}

fn dependencies(setup: &Setup, rows: &mut Rows) {
    block(async {
        let store = Store::open(&setup.virtuals());
        let before = store.counts();
        let start = Moment::now();
        let snapshot = open(&store).await.read("main").await.unwrap();
        let mut found = snapshot.dependencies().boxed();
        let (mut files, mut refs) = (0, 0);
        while let Some(file) = found.try_next().await.unwrap() {
            files += 1;
            refs += file.record.refs;
        }
        let spent = start.elapsed();
        assert_eq!((files, refs), (setup.files(), setup.refs));
        let counts = store.counts().since(&before);
        rows.add("cold, with open", format!("{files} rows: {spent}"));
        rows.add("cold, with open: read", format!("{} in {} requests", kb(counts.bytes_read as f64), counts.requests()));
    });
}

fn metadata(setup: &Setup, rows: &mut Rows) {
    block(async {
        let store = Store::open(&setup.path("metadata"));
        let repository = create(&store).await;
        let key = "air/zarr.json".parse().unwrap();
        let disk = on_disk(setup.path("metadata")).1;
        let before = store.counts();
        let (mut walls, mut syncs): (Vec<Duration>, Vec<Duration>) = (Vec::new(), Vec::new());
        let start = Moment::now();
        for n in 0..setup.commits() {
            store.waits.take();
            let begun = Instant::now();
            let mut session = repository.write("main").await.unwrap();
            session.set(&key, data::metadata(n)).await.unwrap();
            session.commit(format!("revise the metadata, number {n}")).await.unwrap();
            walls.push(begun.elapsed());
            let (barrier, replace) = store.waits.take();
            syncs.push(barrier + replace);
        }
        let spent = start.elapsed().each(setup.commits());
        let counts = store.counts().since(&before);
        let each = |n: u64| n as f64 / setup.commits() as f64;
        rows.add("kept by each", kb(each(on_disk(setup.path("metadata")).1 - disk)));
        rows.add("written by each", format!("{} in {:.1} objects", kb(each(counts.bytes_written)), each(counts.objects_written)));
        rows.add("requests of each", format!("{:.1}", each(counts.requests())));
        rows.add("median", format!("{} wall, {} of it in syncs", short(median(walls)), short(median(syncs))));
        rows.add("CPU of each", short(spent.cpu));
    });
}

fn log(setup: &Setup, rows: &mut Rows) {
    block(async {
        let store = Store::open(&setup.path("metadata"));
        let before = store.counts();
        let start = Moment::now();
        let snapshot = open(&store).await.read("main").await.unwrap();
        for name in ["cold, with open", "warm"] {
            let start = if name == "warm" { Moment::now() } else { start };
            let listed = snapshot.log().try_fold(0, |n, _| async move { Ok(n + 1) }).await.unwrap();
            let spent = start.elapsed();
            assert_eq!(listed, setup.commits() + 1);
            rows.add(name, format!("{listed} rows: {spent}"));
        }
        let counts = store.counts().since(&before);
        rows.add("read", format!("{} in {} requests", kb(counts.bytes_read as f64), counts.requests()));
    });
}
