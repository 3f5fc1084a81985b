//! Imports that skip files: that they do, and everything that makes them read a file after all.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::TryStreamExt as _;

use super::super::cache::{CacheRows, ImportCache, SourceFacts};
use super::super::load::{Content, Loader};
use super::super::source::{ImportSource, Incoming};
use super::super::walk::TreeWalk;
use super::super::{Effect, TreeOptions, TreeSummary};
use crate::{Clock, CreateOptions, HashAlgorithm, Key, OpenOptions, Prefix, Repository, SystemClock, Timestamp};

/// How far ahead of the real time the clock is: every file has been left alone for longer than it takes.
const AHEAD: i64 = 3_600_000_000;

#[derive(Debug)]
struct Moved(AtomicI64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(SystemClock.now().micros() + self.0.load(Ordering::Relaxed))
    }
}

/// A directory with two files, one of them stored inline, and a repository.
struct World {
    place: tempfile::TempDir,
    clock: Arc<Moved>,
    repository: Repository,
}

async fn repository(clock: &Arc<Moved>, hash: HashAlgorithm) -> Repository {
    let mut options = CreateOptions::from(OpenOptions::default().clock(clock.clone()));
    options.hash = hash;
    Repository::create_with("memory:", options).await.unwrap()
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(Moved(AtomicI64::new(AHEAD)));
        let repository = repository(&clock, HashAlgorithm::default()).await;
        let world = Self { place: tempfile::tempdir().unwrap(), clock, repository };
        fs::create_dir_all(world.path("d/sub")).unwrap();
        fs::write(world.path("d/small"), "small").unwrap();
        fs::write(world.path("d/sub/large"), vec![7; 5000]).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A handle that knows only what was written.
    fn cache(&self) -> ImportCache {
        ImportCache::new(self.path("cache/deep"))
    }

    fn options(&self) -> TreeOptions {
        TreeOptions::default().cache(self.cache())
    }

    async fn import(&self) -> TreeSummary {
        self.import_with("main", self.options()).await
    }

    /// Imports, commits, keeps what was learned, and makes sure that nothing was missed.
    async fn import_with(&self, branch: &str, options: TreeOptions) -> TreeSummary {
        let session = self.repository.write(branch).await.unwrap();
        let found = session.import_tree(self.path("d"), &options).await.unwrap();
        let snapshot = session.commit("import").await.unwrap();
        options.cache.unwrap().keep().await.unwrap();
        let changes = snapshot.diff_directory(self.path("d"), &options.prefix).await.unwrap();
        let changes: Vec<_> = changes.try_collect().await.unwrap();
        assert!(changes.is_empty(), "{changes:?}");
        assert_eq!(found.files, 2);
        found
    }

    /// Imports until everything is known.
    async fn settle(&self) {
        self.import().await;
        assert_eq!(self.import().await.skipped, 2, "what follows shows nothing otherwise");
    }

    /// Changes what the cache knows, as if it had always been so.
    async fn forge(&self, change: impl Fn(&mut CacheRows)) {
        let cache = self.cache();
        let mut rows = cache.rows(self.source()).await.unwrap();
        change(&mut rows);
        cache.learn(self.source(), rows).await.unwrap();
        cache.keep().await.unwrap();
    }

    fn source(&self) -> ImportSource {
        ImportSource::directory(self.path("d"))
    }

    fn cache_file(&self) -> PathBuf {
        let mut files = fs::read_dir(self.path("cache/deep")).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none(), "one directory, one file");
        file
    }
}

fn date(path: &Path, time: std::time::SystemTime) {
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// Does something to a file until its inode says so: the kernel's clock goes by steps.
fn until_it_shows(path: &Path, act: impl Fn()) {
    let dates = || fs::metadata(path).map(|m| (m.ctime(), m.ctime_nsec())).unwrap();
    let before = dates();
    while dates() == before {
        act();
    }
}

/// The names of the files that were opened since the watch began.
#[cfg(target_os = "linux")]
fn opened(watch: impl std::os::fd::AsFd) -> Vec<String> {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut events = rustix::fs::inotify::Reader::new(watch, &mut buffer);
    let mut names = Vec::new();
    while let Ok(event) = events.next() {
        names.extend(event.file_name().map(|name| name.to_str().unwrap().to_owned()));
    }
    names
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn unchanged_files_are_not_opened() {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    let world = World::new().await;
    let watch = init(CreateFlags::NONBLOCK).unwrap();
    let import = async |options: TreeOptions| {
        let session = world.repository.write("main").await.unwrap();
        let found = session.import_tree(world.path("d"), &options).await.unwrap();
        session.commit("import").await.unwrap();
        options.cache.unwrap().keep().await.unwrap();
        found
    };
    for directory in ["d", "d/sub"] {
        add_watch(&watch, world.path(directory), WatchFlags::OPEN).unwrap();
    }
    let files = |mut names: Vec<String>| {
        names.retain(|name| name != "sub");
        names.sort();
        names
    };
    let first = import(world.options()).await;
    assert_eq!((first.skipped, first.bytes_read, first.added), (0, 5005, 2));
    assert_eq!(files(opened(&watch)), ["large", "small"], "the watch sees what is opened");
    let second = import(world.options()).await;
    assert_eq!((second.files, second.bytes, second.skipped, second.bytes_read), (2, 5005, 2, 0));
    assert_eq!(files(opened(&watch)), [""; 0]);
    let dry = import(world.options().dry_run()).await;
    assert_eq!((dry.skipped, dry.bytes_read), (2, 0));
    assert_eq!(files(opened(&watch)), [""; 0]);
    let all = import(world.options().checksum()).await;
    assert_eq!((all.skipped, all.bytes_read, all.changed), (0, 5005, 0));
    assert_eq!(files(opened(&watch)), ["large", "small"]);
    assert_eq!(import(world.options()).await.skipped, 2, "what was read is remembered");
}

#[tokio::test]
async fn each_fact_that_differs_makes_a_file_be_read() {
    let world = World::new().await;
    world.settle().await;
    let row = world.cache().rows(world.source()).await.unwrap()["small"].clone();
    let json = serde_json::to_value(row.facts).unwrap()["File"].take();
    let moved = |number: &serde_json::Value| serde_json::json!(number.as_i64().unwrap() + 1);
    let mut forged = 0;
    for (field, value) in json.as_object().unwrap() {
        let parts = value.as_array().map_or(1, Vec::len);
        for part in 0..parts {
            let mut other = json.clone();
            let number = if value.is_array() { &mut other[field][part] } else { &mut other[field] };
            *number = moved(number);
            let facts: SourceFacts = serde_json::from_value(serde_json::json!({ "File": other })).unwrap();
            world.forge(|rows| rows.get_mut("small").unwrap().facts = facts.clone()).await;
            let found = world.import().await;
            assert_eq!((found.skipped, found.bytes_read, found.changed), (1, 5, 0), "{field} {part}");
            forged += 1;
        }
    }
    assert_eq!(forged, 7, "size, two dates of two parts, device, inode");
}

#[tokio::test]
async fn what_is_done_to_a_file_makes_it_be_read() {
    let world = World::new().await;
    world.settle().await;
    let small = world.path("d/small");

    let modified = fs::metadata(&small).unwrap().modified().unwrap();
    until_it_shows(&small, || {
        fs::write(&small, "other").unwrap();
        date(&small, modified);
    });
    let found = world.import().await;
    assert_eq!((found.skipped, found.changed), (1, 1), "other bytes, of the same length and with the old date");

    until_it_shows(&small, || {
        fs::write(world.path("new"), "third").unwrap();
        date(&world.path("new"), modified);
        fs::rename(world.path("new"), &small).unwrap();
    });
    let found = world.import().await;
    assert_eq!((found.skipped, found.changed), (1, 1), "another file of that length and date, under its name");

    until_it_shows(&small, || date(&small, modified + Duration::from_secs(1)));
    let found = world.import().await;
    assert_eq!((found.skipped, found.changed), (1, 0), "the same bytes, written again");
    assert_eq!(world.import().await.skipped, 2);
}

#[tokio::test]
async fn a_file_that_was_written_a_moment_ago_is_not_remembered() {
    let world = World::new().await;
    let (small, large) = (world.path("d/small"), world.path("d/sub/large"));
    let soon = SystemClock.now().micros() + AHEAD;
    let soon = std::time::SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(soon).unwrap());
    date(&small, soon + Duration::from_mins(1));
    world.import().await;
    assert_eq!(world.import().await.skipped, 1, "one has a date of its content that is too young");

    let old = soon - Duration::from_hours(24);
    date(&small, old);
    date(&large, old);
    world.clock.0.store(-60_000_000, Ordering::Relaxed);
    world.import().await;
    assert_eq!(world.import().await.skipped, 0, "both have a date of the inode that is too young");
    world.clock.0.store(AHEAD, Ordering::Relaxed);
    world.import().await;
    assert_eq!(world.import().await.skipped, 2);
}

#[tokio::test]
async fn a_file_is_skipped_only_where_the_branch_has_what_it_held() {
    let world = World::new().await;
    let first = world.repository.read("main").await.unwrap();
    world.settle().await;
    let (small, large): (Key, Key) = ("small".parse().unwrap(), "sub/large".parse().unwrap());

    let session = world.repository.write("main").await.unwrap();
    session.set(&small, "wrong").await.unwrap();
    session.set(&large, vec![8; 5000]).await.unwrap();
    session.commit("somebody else").await.unwrap();
    let found = world.import().await;
    assert_eq!((found.skipped, found.changed), (0, 2), "other values, as long");

    let session = world.repository.write("main").await.unwrap();
    session.delete(&small).await.unwrap();
    session.set(&large, "short").await.unwrap();
    session.commit("somebody else").await.unwrap();
    let found = world.import().await;
    assert_eq!((found.skipped, found.added, found.changed), (0, 1, 1), "a key that is gone, a value of another size");

    let url = crate::file_url(&fs::canonicalize(world.path("d/sub/large")).unwrap()).unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&large, &url, 0..5000).await.unwrap();
    session.commit("somebody else").await.unwrap();
    let found = world.import().await;
    assert_eq!((found.skipped, found.changed), (1, 1), "a reference into the very file");

    let session = world.repository.write("main").await.unwrap();
    session.set(&small, "staged").await.unwrap();
    let found = session.import_tree(world.path("d"), &world.options()).await.unwrap();
    assert_eq!((found.skipped, found.changed), (1, 1), "a value that is staged and not committed");

    world.repository.create_branch(&"old".parse().unwrap(), &first).await.unwrap();
    let found = world.import_with("old", world.options()).await;
    assert_eq!((found.skipped, found.added), (0, 2), "another branch, which has nothing");
    let found = world.import_with("old", world.options().prefix(Prefix::new("p").unwrap())).await;
    assert_eq!((found.skipped, found.added), (0, 2), "another prefix");
    assert_eq!(world.import_with("main", world.options()).await.skipped, 2, "the files are the same ones everywhere");

    let blake = repository(&world.clock, HashAlgorithm::Blake3).await;
    let other = World { repository: blake, ..world };
    other.import().await;
    assert_eq!(other.import().await.skipped, 2, "each hash has ids of its own");
}

#[tokio::test]
async fn a_cache_that_makes_no_sense_is_none() {
    let world = World::new().await;
    world.settle().await;
    let file = world.cache_file();
    let good = fs::read(&file).unwrap();
    let mut bad: Vec<Vec<u8>> = vec![Vec::new(), b"\n".to_vec(), b"nothing of ours".to_vec(), vec![0; 4096]];
    bad.extend((0..good.len()).step_by(7).map(|cut| good[..cut].to_vec()));
    bad.extend((0..good.len()).step_by(11).map(|at| {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        flipped
    }));
    let later = String::from_utf8(good.clone()).unwrap().replacen("cache 2", "cache 3", 1);
    bad.push(later.into_bytes());
    for body in ["{}", "[[\"small\",1,2]]", "["] {
        let checksum = xxhash_rust::xxh3::xxh3_64(body.as_bytes());
        bad.push(format!("firn import cache 2 {checksum:016x}\n{body}").into_bytes());
    }
    for bytes in bad {
        fs::write(&file, &bytes).unwrap();
        assert_eq!(world.cache().rows(world.source()).await.unwrap(), CacheRows::new(), "{}", String::from_utf8_lossy(&bytes));
    }
    assert_eq!(world.import().await.skipped, 0);
    assert_eq!(fs::read(&file).unwrap(), good, "it is written anew");
    assert_eq!(world.import().await.skipped, 2);
    fs::remove_file(&file).unwrap();
    assert_eq!(world.import().await.skipped, 0);

    let session = world.repository.write("main").await.unwrap();
    fs::remove_file(&file).unwrap();
    let options = world.options();
    session.import_tree(world.path("d"), &options).await.unwrap();
    assert!(!file.exists(), "nothing is written before it is kept");
    drop(session);
    let blocked = ImportCache::new(world.path("d/small/below"));
    blocked.learn(world.source(), CacheRows::new()).await.unwrap();
    blocked.keep().await.unwrap_err();
    assert_eq!(fs::read(world.path("d/small")).unwrap(), b"small");
}

#[tokio::test]
async fn a_directory_is_known_by_where_it_is() {
    let world = World::new().await;
    world.settle().await;
    std::os::unix::fs::symlink(world.path("d"), world.path("link")).unwrap();
    let session = world.repository.write("main").await.unwrap();
    let found = session.import_tree(world.path("link"), &world.options()).await.unwrap();
    assert_eq!(found.skipped, 2, "a link to it is it");
    fs::create_dir_all(world.path("e/sub")).unwrap();
    for name in ["small", "sub/large"] {
        fs::hard_link(world.path("d").join(name), world.path("e").join(name)).unwrap();
    }
    let found = session.import_tree(world.path("e"), &world.options()).await.unwrap();
    assert_eq!((found.skipped, found.changed), (0, 0), "another directory, with the very same files, is another");
}

#[tokio::test]
async fn nothing_is_believed_of_files_that_others_answer_for() {
    let world = World::new().await;
    world.settle().await;
    let rows = world.cache().rows(world.source()).await.unwrap();
    let base = world.repository.read("main").await.unwrap();
    for is_local in [true, false] {
        let mut found = Vec::new();
        let walk = TreeWalk::new(Prefix::all(), |next| {
            found.extend(next);
            true
        });
        walk.run(&world.path("d")).unwrap();
        assert_eq!(found.len(), 2);
        for mut found in found {
            assert!(found.is_local, "the tests run on a local disk");
            found.is_local = is_local;
            let budget = crate::budget::ByteBudget::new(1 << 20);
            let loaded =
                Loader::new(base.clone(), budget, Arc::new(rows.clone()), true, Effect::Stage).load(Incoming::File(found)).await.unwrap();
            assert_eq!(matches!(loaded.content, Content::Unchanged(_)), is_local);
            assert_eq!(loaded.row.is_some(), is_local, "nor is it remembered");
        }
    }
}
