//! The work, done by Icechunk with one manifest for each array, as it is without tuning.

use std::collections::HashMap;
use std::path::Path as Folder;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use icechunk::format::manifest::{ChunkPayload, ChunkRef, VirtualChunkLocation, VirtualChunkRef};
use icechunk::format::snapshot::ArrayShape;
use icechunk::format::{ChunkId, ChunkIndices, Path};
use icechunk::repository::VersionInfo;
use icechunk::session::Session;
use icechunk::storage::latency::LatencyStorage;
use icechunk::storage::metering::MeteringStorage;
use icechunk::{Repository, Storage, Store, new_local_filesystem_storage};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::RwLock;

use crate::data;
use crate::figures::{Figures, Traffic};
use crate::process::{Moment, Spent, on_disk, peak_memory};
use crate::work::{CHUNK, GROWING, MANY, STEPS, Setup, TIMES};

/// Does one piece of work; prints nothing for those that it cannot do.
pub(crate) async fn run(name: &str, setup: &Setup, out: &mut Figures) {
    match name {
        "build-virtual" => build_virtual(setup, out).await,
        "build-one-by-one" => build_one_by_one(setup, out).await,
        "lookup" => lookup(setup, out).await,
        "dependencies" => dependencies(setup, out).await,
        "change-one" => change_one(setup, out).await,
        "distance" => at_a_distance(setup, out).await,
        "change-many" => change_many(setup, out).await,
        "diff" => diff(setup, out).await,
        "build-native" => build_native(setup, out).await,
        "append" => append(setup, out).await,
        "small-arrays" => small_arrays(setup, out).await,
        "metadata" => metadata(setup, out).await,
        "log" => log(setup, out).await,
        _ => {}
    }
}

struct Place {
    metered: Arc<MeteringStorage>,
}

impl Place {
    async fn open(path: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let storage = new_local_filesystem_storage(Folder::new(path)).await.unwrap();
        Self { metered: Arc::new(MeteringStorage::new(storage)) }
    }

    fn storage(&self) -> Arc<dyn Storage + Send + Sync> {
        Arc::clone(&self.metered) as Arc<dyn Storage + Send + Sync>
    }

    async fn create(&self) -> Repository {
        Repository::create(self.storage()).execute().await.unwrap()
    }

    async fn repository(&self) -> Repository {
        Repository::open(self.storage()).execute().await.unwrap()
    }

    fn traffic(&self) -> Traffic {
        let mut traffic = Traffic::default();
        for (name, op) in self.metered.snapshot().per_op {
            traffic.bytes_read += op.bytes_read;
            traffic.bytes_written += op.bytes_written;
            traffic.requests += op.requests;
            if name == "put_object" {
                traffic.objects_written += op.requests;
            }
        }
        traffic
    }
}

async fn at_tip(repository: &Repository) -> Session {
    repository.readonly_session(&VersionInfo::BranchTipRef("main".into())).await.unwrap()
}

fn array() -> Path {
    "/air".try_into().unwrap()
}

fn indices(n: u64) -> ChunkIndices {
    ChunkIndices(data::coordinates(n).map(|c| u32::try_from(c).unwrap()).to_vec())
}

fn reference(file: u64, range: std::ops::Range<u64>) -> VirtualChunkRef {
    let location = VirtualChunkLocation::from_url(&data::url(file)).unwrap();
    VirtualChunkRef { location, offset: range.start, length: range.end - range.start, checksum: None }
}

fn native() -> ChunkPayload {
    ChunkPayload::Ref(ChunkRef { id: ChunkId::random(), offset: 0, length: CHUNK as u64 })
}

async fn with_array(repository: &Repository, steps: u64) -> Session {
    let mut session = repository.writable_session("main").await.unwrap();
    session.add_group(Path::root(), Bytes::from_static(b"{}")).await.unwrap();
    session.add_array(array(), grid(steps), None, data::metadata(0).into()).await.unwrap();
    session
}

fn grid(steps: u64) -> ArrayShape {
    ArrayShape::new([(steps, u32::try_from(steps).unwrap()), (100, 10), (100, 10)]).unwrap()
}

async fn commit(session: &mut Session, message: &str) {
    session.commit(message).execute().await.unwrap();
}

async fn build_virtual(setup: &Setup, out: &mut Figures) {
    let place = Place::open(&setup.path("virtual")).await;
    let repository = place.create().await;
    let session = with_array(&repository, setup.refs.div_ceil(data::PER_STEP)).await;
    place.metered.reset();
    let session = Arc::new(RwLock::new(session));
    let store = Store::from_session(Arc::clone(&session)).await;
    let all = Moment::now();
    let mut references = data::references(setup.refs, setup.files());
    loop {
        let batch: Vec<_> = references.by_ref().take(100_000).map(|(n, file, range)| (indices(n), reference(file, range))).collect();
        if batch.is_empty() {
            break;
        }
        store.set_virtual_refs(&array(), false, batch).await.unwrap();
    }
    finish_build(setup, out, &place, &mut *session.write().await, all, "virtual").await;
}

async fn build_one_by_one(setup: &Setup, out: &mut Figures) {
    let place = Place::open(&setup.path("one-by-one")).await;
    let repository = place.create().await;
    let mut session = with_array(&repository, setup.refs.div_ceil(data::PER_STEP)).await;
    place.metered.reset();
    let all = Moment::now();
    for (n, file, range) in data::references(setup.refs, setup.files()) {
        let payload = ChunkPayload::Virtual(reference(file, range));
        session.set_chunk_ref(array(), indices(n), Some(payload)).await.unwrap();
    }
    finish_build(setup, out, &place, &mut session, all, "one-by-one").await;
}

async fn finish_build(setup: &Setup, out: &mut Figures, place: &Place, session: &mut Session, all: Moment, name: &str) {
    out.spent("set", all.elapsed());
    out.bytes("peak memory before the commit", peak_memory() as f64);
    let start = Moment::now();
    commit(session, "all references").await;
    out.spent("commit", start.elapsed());
    out.spent("set + commit", all.elapsed());
    out.traffic("set + commit", place.traffic(), 1);
    let folder = |folder: &str| on_disk(setup.place.join(name).join(folder)).1 as f64 / setup.refs as f64;
    out.bytes("at rest, for each reference", folder("manifests"));
    out.bytes("transaction log, for each reference", folder("transactions"));
}

async fn change(repository: &Repository, setup: &Setup, (n, range): (u64, std::ops::Range<u64>)) -> Spent {
    let start = Moment::now();
    let mut session = repository.writable_session("main").await.unwrap();
    let payload = ChunkPayload::Virtual(reference(data::file(n, setup.refs, setup.files()), range));
    session.set_chunk_ref(array(), indices(n), Some(payload)).await.unwrap();
    commit(&mut session, "one reference").await;
    start.elapsed()
}

/// A change of one reference takes seconds at a million: a few of them tell as much as many.
fn times(setup: &Setup) -> u64 {
    if setup.refs > 100_000 { 5 } else { TIMES }
}

async fn change_one(setup: &Setup, out: &mut Figures) {
    let place = Place::open(&setup.path("virtual")).await;
    let repository = place.repository().await;
    let mut changes = data::changes(setup.refs, 7);
    change(&repository, setup, changes.next().unwrap()).await;
    place.metered.reset();
    let mut all = Vec::new();
    for place in changes.take(usize::try_from(times(setup)).unwrap()) {
        all.push(change(&repository, setup, place).await);
    }
    out.spent("open, set, commit", Spent::median(&all));
    out.traffic("open, set, commit", place.traffic(), times(setup));
}

/// How long every request takes longer.
const DISTANCE: Duration = Duration::from_millis(100);

async fn at_a_distance(setup: &Setup, out: &mut Figures) {
    let storage = new_local_filesystem_storage(Folder::new(&setup.path("virtual"))).await.unwrap();
    let slow = Arc::new(LatencyStorage::new(storage, 0, 0));
    let open = || Repository::open(Arc::clone(&slow) as Arc<dyn Storage + Send + Sync>).execute();
    let repository = open().await.unwrap();
    let mut changes = data::changes(setup.refs, 17);
    change(&repository, setup, changes.next().unwrap()).await;

    let delay = u64::try_from(DISTANCE.as_millis()).unwrap();
    slow.set_read_delay_ms(delay);
    slow.set_write_delay_ms(delay);
    for (open_row, commit_row) in [("warm: open a session", "warm: commit"), ("", "warm: commit beside the last one")] {
        let start = Moment::now();
        let mut session = repository.writable_session("main").await.unwrap();
        if !open_row.is_empty() {
            out.time(open_row, start.elapsed().wall);
        }
        let (n, range) = changes.next().unwrap();
        let payload = ChunkPayload::Virtual(reference(data::file(n, setup.refs, setup.files()), range));
        session.set_chunk_ref(array(), indices(n), Some(payload)).await.unwrap();
        let start = Moment::now();
        commit(&mut session, "one reference").await;
        out.time(commit_row, start.elapsed().wall);
    }
    let start = Moment::now();
    let session = at_tip(&open().await.unwrap()).await;
    assert!(session.get_chunk_ref(&array(), &indices(1)).await.unwrap().is_some());
    out.time("cold: open and look up", start.elapsed().wall);
}

async fn change_many(setup: &Setup, out: &mut Figures) {
    let place = Place::open(&setup.path("virtual")).await;
    let repository = place.repository().await;
    place.metered.reset();
    let start = Moment::now();
    let mut session = repository.writable_session("main").await.unwrap();
    for (n, range) in data::changes(setup.refs, 23).take(usize::try_from(MANY).unwrap()) {
        let payload = ChunkPayload::Virtual(reference(data::file(n, setup.refs, setup.files()), range));
        session.set_chunk_ref(array(), indices(n), Some(payload)).await.unwrap();
    }
    commit(&mut session, "many references").await;
    out.spent("open, set, commit", start.elapsed());
    out.traffic("open, set, commit", place.traffic(), 1);
}

async fn diff(setup: &Setup, out: &mut Figures) {
    let place = Place::open(&setup.path("virtual")).await;
    let repository = place.repository().await;
    let tip = VersionInfo::BranchTipRef("main".into());
    let line: Vec<_> = repository.ancestry(&tip).await.unwrap().try_collect().await.unwrap();
    let before = VersionInfo::SnapshotId(line.get(1).unwrap().id.clone());
    let repository = place.repository().await;
    place.metered.reset();
    let start = Moment::now();
    let found = repository.diff(&before, &tip).await.unwrap();
    out.spent("cold", start.elapsed());
    let changed: usize = found.updated_chunks.values().map(|chunks| chunks.len()).sum();
    out.count("changed keys", changed as f64);
    out.traffic("cold", place.traffic(), 1);
}

async fn lookup(setup: &Setup, out: &mut Figures) {
    let place = Place::open(&setup.path("virtual")).await;
    let mut random = SmallRng::seed_from_u64(11);
    let mut all = Vec::new();
    place.metered.reset();
    for _ in 0..times(setup) {
        let n = random.random_range(0..setup.refs);
        let start = Moment::now();
        let session = at_tip(&place.repository().await).await;
        let found = session.get_chunk_ref(&array(), &indices(n)).await.unwrap();
        all.push(start.elapsed());
        assert!(found.is_some());
    }
    out.spent("cold, with open", Spent::median(&all));
    out.traffic("cold, with open", place.traffic(), times(setup));

    let repository = place.repository().await;
    let session = at_tip(&repository).await;
    let all: Vec<_> = (0..20_000).map(|n| indices(n * setup.refs / 20_000 / 20)).collect();
    for warm in [false, true] {
        let start = Moment::now();
        for indices in &all {
            assert!(session.get_chunk_ref(&array(), indices).await.unwrap().is_some());
        }
        if warm {
            out.time("warm: CPU", start.elapsed().each(all.len() as u64).cpu);
        }
    }
    let start = Moment::now();
    let listed = session.all_chunks().await.unwrap().try_fold(0_u64, |n, _| async move { Ok(n + 1) }).await.unwrap();
    assert_eq!(listed, setup.refs);
    out.time("listing all: CPU for each key", start.elapsed().each(listed).cpu);
}

async fn dependencies(setup: &Setup, out: &mut Figures) {
    let place = Place::open(&setup.path("virtual")).await;
    place.metered.reset();
    let start = Moment::now();
    let repository = place.repository().await;
    let session = at_tip(&repository).await;
    // One string comes for each reference; whoever wants the files must count them.
    let mut files = HashMap::<String, u64>::new();
    let mut found = std::pin::pin!(session.all_virtual_chunk_locations().await.unwrap());
    while let Some(url) = found.try_next().await.unwrap() {
        *files.entry(url).or_default() += 1;
    }
    let spent = start.elapsed();
    assert_eq!(files.len() as u64, setup.files());
    out.count("rows", files.values().sum::<u64>() as f64);
    out.spent("cold, with open", spent);
    out.traffic("cold, with open", place.traffic(), 1);
}

async fn build_native(setup: &Setup, out: &mut Figures) {
    let place = Place::open(&setup.path("native")).await;
    let repository = place.create().await;
    let mut session = with_array(&repository, setup.chunks().div_ceil(data::PER_STEP)).await;
    place.metered.reset();
    let all = Moment::now();
    for n in 0..setup.chunks() {
        let payload = session.get_chunk_writer(&array(), &indices(n)).unwrap()(data::chunk(n, CHUNK).into()).await.unwrap();
        session.set_chunk_ref(array(), indices(n), Some(payload)).await.unwrap();
    }
    commit(&mut session, "all chunks").await;
    out.spent("set + commit", all.elapsed());
    out.time("CPU for each chunk", all.elapsed().each(setup.chunks()).cpu);
    out.traffic("set + commit", place.traffic(), 1);
    let manifests = on_disk(setup.place.join("native").join("manifests")).1;
    out.bytes("at rest in the manifest, for each chunk", manifests as f64 / setup.chunks() as f64);
}

async fn append(setup: &Setup, out: &mut Figures) {
    for per_step in STEPS {
        append_steps(setup, out, per_step).await;
    }
}

async fn append_steps(setup: &Setup, out: &mut Figures, per_step: u64) {
    let place = Place::open(&setup.path(&format!("growing-{per_step}"))).await;
    let repository = place.create().await;
    let (arrays, steps) = (GROWING, setup.steps(per_step));
    let indices = |n: u64| ChunkIndices([n / per_step, n % per_step / 10, n % 10].map(|c| u32::try_from(c).unwrap()).to_vec());
    let path = |array: u64| Path::try_from(format!("/v{array:02}").as_str()).unwrap();
    let mut session = repository.writable_session("main").await.unwrap();
    session.add_group(Path::root(), Bytes::from_static(b"{}")).await.unwrap();
    for array in 0..arrays {
        session.add_array(path(array), grid(steps + 1), None, data::metadata(array).into()).await.unwrap();
        for n in 0..steps * per_step {
            session.set_chunk_ref(path(array), indices(n), Some(native())).await.unwrap();
        }
    }
    commit(&mut session, "all steps but one").await;

    let repository = place.repository().await;
    place.metered.reset();
    let start = Moment::now();
    let mut session = repository.writable_session("main").await.unwrap();
    for array in 0..arrays {
        for n in 0..per_step {
            session.set_chunk_ref(path(array), indices(steps * per_step + n), Some(native())).await.unwrap();
        }
    }
    commit(&mut session, "one step more").await;
    let what = format!("steps of {}", if per_step == 1 { "1 chunk".to_owned() } else { format!("{per_step} chunks") });
    out.spent(&what, start.elapsed());
    out.traffic(&format!("{what}, without the chunks"), place.traffic(), 1);
}

async fn small_arrays(setup: &Setup, out: &mut Figures) {
    let place = Place::open(&setup.path("small-arrays")).await;
    let repository = place.create().await;
    let path = |array: u64| Path::try_from(format!("/a{array:05}").as_str()).unwrap();
    let start = Moment::now();
    let mut session = repository.writable_session("main").await.unwrap();
    session.add_group(Path::root(), Bytes::from_static(b"{}")).await.unwrap();
    for array in 0..setup.arrays() {
        let shape = ArrayShape::new([(4, 4)]).unwrap();
        session.add_array(path(array), shape, None, data::metadata(array).into()).await.unwrap();
        for n in 0..4 {
            session.set_chunk_ref(path(array), ChunkIndices(vec![n]), Some(native())).await.unwrap();
        }
    }
    commit(&mut session, "all arrays").await;
    out.spent("all arrays", start.elapsed());

    let repository = place.repository().await;
    place.metered.reset();
    let mut all = Vec::new();
    for time in 0..TIMES {
        let start = Moment::now();
        let mut session = repository.writable_session("main").await.unwrap();
        session.set_chunk_ref(path(time * 31 % setup.arrays()), ChunkIndices(vec![1]), Some(native())).await.unwrap();
        commit(&mut session, "one chunk").await;
        all.push(start.elapsed());
    }
    out.spent("one chunk", Spent::median(&all));
    // The bytes of the chunk itself are not written here, and are with Firnline.
    out.traffic("one chunk", place.traffic(), TIMES);
}

async fn metadata(setup: &Setup, out: &mut Figures) {
    let path = setup.path("metadata");
    let place = Place::open(&path).await;
    let repository = place.create().await;
    let mut session = with_array(&repository, 1).await;
    commit(&mut session, "the array").await;
    let disk = on_disk(&path).1;
    place.metered.reset();
    let mut all = Vec::new();
    let begun = Moment::now();
    for n in 0..setup.commits() {
        let start = Moment::now();
        let mut session = repository.writable_session("main").await.unwrap();
        session.update_array(&array(), grid(1), None, data::metadata(n).into()).await.unwrap();
        commit(&mut session, &format!("revise the metadata, number {n}")).await;
        all.push(start.elapsed());
    }
    out.spent("all commits", begun.elapsed());
    out.spent("one commit", Spent::median(&all));
    out.bytes("kept of each commit", (on_disk(&path).1 - disk) as f64 / setup.commits() as f64);
    out.traffic("one commit", place.traffic(), setup.commits());
}

async fn log(setup: &Setup, out: &mut Figures) {
    let place = Place::open(&setup.path("metadata")).await;
    place.metered.reset();
    let start = Moment::now();
    let repository = place.repository().await;
    let tip = VersionInfo::BranchTipRef("main".into());
    let listed: Vec<_> = repository.ancestry(&tip).await.unwrap().try_collect().await.unwrap();
    out.spent("log, cold, with open", start.elapsed());
    out.traffic("log, cold, with open", place.traffic(), 1);
    let start = Moment::now();
    let again = repository.ancestry(&tip).await.unwrap().try_fold(0, |n, _| async move { Ok(n + 1) }).await.unwrap();
    assert_eq!(again, listed.len());
    out.spent("log, warm", start.elapsed());
    let at = listed.get(listed.len() / 2).unwrap().flushed_at;
    place.metered.reset();
    let start = Moment::now();
    let repository = place.repository().await;
    repository.readonly_session(&VersionInfo::AsOf { branch: "main".into(), at }).await.unwrap();
    out.spent("main@TIME, cold, with open", start.elapsed());
    out.traffic("main@TIME, cold, with open", place.traffic(), 1);
}
