//! Imports from a bucket, and imports in steps that are stopped and go on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use proptest::prelude::*;
use tokio::io::AsyncReadExt as _;

use super::super::source::ImportSource;
use super::super::steps::SteppedImport;
use super::super::{ImportCache, TreeOptions};
use crate::commit::{ImportSaves, ImportSteps};
use crate::storage::sources::{SourceBody, SourceObject, SourceObjects};
use crate::{Error, ErrorKind, Key, Prefix, Repository, Result, Snapshot, WriteSession};

/// An object of the bucket.
#[derive(Debug, Clone)]
struct BucketObject {
    /// What a listing says of its length; `None`: the truth.
    listed: Option<u64>,
    bytes: Bytes,
    etag: Option<String>,
    answer: BucketAnswer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BucketAnswer {
    Whole,
    /// There is no such object.
    Absent,
    Error,
    /// Only the first bytes come.
    Short(usize),
    /// Zeros follow, without an end.
    Endless,
}

/// A bucket that notes what is read.
#[derive(Debug, Default)]
struct TestBucket {
    objects: Mutex<BTreeMap<String, BucketObject>>,
    read: Mutex<Vec<String>>,
}

impl fmt::Display for TestBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("s3://b/p")
    }
}

#[async_trait]
impl SourceObjects for TestBucket {
    fn identity(&self) -> String {
        format!("{self} of a test")
    }

    fn list_sources(&self) -> BoxStream<'static, Result<SourceObject>> {
        let objects = self.objects.lock().unwrap();
        let found = objects.iter().map(|(name, object)| {
            let size = object.listed.unwrap_or(object.bytes.len() as u64);
            Ok(SourceObject { name: name.clone(), size, etag: object.etag.clone() })
        });
        stream::iter(found.collect::<Vec<_>>()).boxed()
    }

    async fn open_source(&self, name: &str) -> Result<Option<SourceBody>> {
        self.read.lock().unwrap().push(name.to_owned());
        let Some(object) = self.objects.lock().unwrap().get(name).cloned() else { return Ok(None) };
        let (size, bytes) = (object.bytes.len() as u64, std::io::Cursor::new(object.bytes));
        let reader: std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>> = match object.answer {
            BucketAnswer::Whole => Box::pin(bytes),
            BucketAnswer::Absent => return Ok(None),
            BucketAnswer::Error => return Err(Error::unavailable("the bucket is asleep")),
            BucketAnswer::Short(length) => Box::pin(bytes.take(length as u64)),
            BucketAnswer::Endless => Box::pin(bytes.chain(tokio::io::repeat(0))),
        };
        Ok(Some(SourceBody { size, etag: object.etag, reader }))
    }
}

impl TestBucket {
    fn put(&self, name: &str, bytes: impl Into<Bytes>, etag: Option<&str>) {
        let object = BucketObject { listed: None, bytes: bytes.into(), etag: etag.map(str::to_owned), answer: BucketAnswer::Whole };
        self.objects.lock().unwrap().insert(name.to_owned(), object);
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut BucketObject)) {
        change(self.objects.lock().unwrap().get_mut(name).unwrap());
    }

    /// What was read since the last call, sorted.
    fn take_read(&self) -> Vec<String> {
        let mut read = std::mem::take(&mut *self.read.lock().unwrap());
        read.sort();
        read
    }

    fn values(&self) -> BTreeMap<String, Bytes> {
        self.objects.lock().unwrap().iter().map(|(name, object)| (format!("in/{name}"), object.bytes.clone())).collect()
    }
}

/// A bucket with small and large objects, a repository, and a cache.
struct World {
    bucket: Arc<TestBucket>,
    source: ImportSource,
    cache: tempfile::TempDir,
    repository: Repository,
}

impl World {
    async fn new() -> Self {
        let bucket = Arc::new(TestBucket::default());
        bucket.put("zarr.json", "{}", Some("1"));
        bucket.put("c/0", vec![1; 5000], Some("1"));
        bucket.put("c/1", vec![2; 5000], Some("1"));
        bucket.put("c/10", vec![3; 9 << 20], Some("1"));
        let source = ImportSource::objects(bucket.clone());
        Self { bucket, source, cache: tempfile::tempdir().unwrap(), repository: Repository::create("memory:").await.unwrap() }
    }

    fn options(&self) -> TreeOptions {
        TreeOptions::default().prefix(Prefix::new("in").unwrap()).cache(ImportCache::new(self.cache.path()))
    }

    /// Imports in one session and commits.
    async fn import(&self) -> Result<crate::TreeSummary> {
        let (session, options) = (self.repository.write("main").await?, self.options());
        let found = session.import(&self.source, &options).await?;
        session.commit("import").await.unwrap();
        options.cache.unwrap().keep().await?;
        Ok(found)
    }

    /// Imports in steps of `keys` keys and commits.
    async fn import_in_steps(&self, keys: u64) -> Result<(crate::TreeSummary, Option<ImportSaves>)> {
        let options = self.options();
        let steps = ImportSteps::default().keys(keys);
        let SteppedImport { session, summary, saves } = self.repository.import_in_steps("main", &self.source, &options, steps).await?;
        session.commit("import").await.unwrap();
        options.cache.unwrap().keep().await?;
        if let Some(saves) = &saves {
            self.repository.delete_saves(saves).await?;
        }
        Ok((summary, saves))
    }

    async fn tip(&self) -> Snapshot {
        self.repository.read("main").await.unwrap()
    }
}

async fn values(snapshot: &Snapshot) -> BTreeMap<String, Bytes> {
    let keys: Vec<Key> = snapshot.list(&Prefix::all()).map_ok(|(key, _)| key).try_collect().await.unwrap();
    let values = snapshot.get_many(&keys).await.unwrap();
    keys.iter().zip(values).map(|(key, value)| (key.as_str().to_owned(), value.unwrap())).collect()
}

#[tokio::test]
async fn objects_are_imported_and_known_again_by_their_etags() {
    let world = World::new().await;
    let found = world.import().await.unwrap();
    assert_eq!((found.files, found.added, found.bytes_read), (4, 4, 2 + 10_000 + (9 << 20)));
    assert_eq!(values(&world.tip().await).await, world.bucket.values());
    assert_eq!(world.bucket.take_read().len(), 4);

    let found = world.import().await.unwrap();
    assert_eq!((found.files, found.skipped, found.bytes_read), (4, 4, 0));
    assert!(world.bucket.take_read().is_empty());

    // Of equal length; without an `ETag`; with one that the listing does not tell.
    world.bucket.put("c/0", vec![9; 5000], Some("2"));
    world.bucket.put("c/1", vec![8; 5000], None);
    let found = world.import().await.unwrap();
    assert_eq!((found.skipped, found.changed), (2, 2));
    assert_eq!(world.bucket.take_read(), ["c/0", "c/1"]);
    world.import().await.unwrap();
    assert_eq!(world.bucket.take_read(), ["c/1"], "nothing tells whether it changed");
    assert_eq!(values(&world.tip().await).await, world.bucket.values());
}

/// Some stores list a directory as an object without bytes, under a name by which it cannot be read.
#[tokio::test]
async fn a_listed_directory_is_not_a_key() {
    let world = World::new().await;
    world.bucket.put("c", "", None);
    world.bucket.change("c", |object| object.answer = BucketAnswer::Absent);
    let found = world.import().await.unwrap();
    assert_eq!((found.files, found.empty_directories), (4, 1));
    world.bucket.change("c", |object| object.listed = Some(1));
    assert_eq!(world.import().await.unwrap_err().kind(), ErrorKind::SourceChanged, "an object that was there is not");
}

#[tokio::test]
async fn an_answer_that_is_not_the_listed_object_is_an_error() {
    for (name, answer, kind) in [
        ("c/0", BucketAnswer::Short(4999), ErrorKind::Unavailable),
        ("c/0", BucketAnswer::Endless, ErrorKind::Unavailable),
        ("c/10", BucketAnswer::Short((9 << 20) - 1), ErrorKind::Unavailable),
        ("c/10", BucketAnswer::Short(100), ErrorKind::Unavailable),
        ("c/10", BucketAnswer::Endless, ErrorKind::Unavailable),
        ("c/1", BucketAnswer::Error, ErrorKind::Unavailable),
        ("c/1", BucketAnswer::Absent, ErrorKind::SourceChanged),
    ] {
        let world = World::new().await;
        world.bucket.change(name, |object| object.answer = answer);
        let error = world.import().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{answer:?}: {error}");
        assert!(error.to_string().contains(if answer == BucketAnswer::Error { "asleep" } else { name }), "{error}");
    }
    let world = World::new().await;
    world.bucket.change("c/0", |object| object.listed = Some(4000));
    assert_eq!(world.import().await.unwrap_err().kind(), ErrorKind::SourceChanged);
}

#[tokio::test]
async fn a_name_that_is_not_a_key_is_named() {
    let world = World::new().await;
    world.bucket.put("c/../x", "x", None);
    let error = world.import().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("s3://b/p: c/../x"), "{error}");
}

#[tokio::test]
async fn an_import_that_was_stopped_goes_on_where_it_was() {
    let world = World::new().await;
    world.bucket.change("c/10", |object| object.answer = BucketAnswer::Error);
    // Names come in the order of bytes: c/0, c/1 | c/10, zarr.json.
    world.import_in_steps(2).await.unwrap_err();
    assert_eq!(values(&world.tip().await).await, BTreeMap::new(), "readers of the branch see nothing of it");
    let branches: Vec<_> = world.repository.branches().await.unwrap().into_iter().map(|b| b.name.to_string()).collect();
    assert!(branches.iter().any(|name| name.starts_with("importing-")), "{branches:?}");
    world.bucket.take_read();

    // Meanwhile the branch goes on.
    let session = world.repository.write("main").await.unwrap();
    session.set(&Key::new("else").unwrap(), "kept").await.unwrap();
    session.set(&Key::new("in/c/0").unwrap(), "replaced by the import").await.unwrap();
    session.commit("meanwhile").await.unwrap();

    world.bucket.change("c/10", |object| object.answer = BucketAnswer::Whole);
    let (found, saves) = world.import_in_steps(2).await.unwrap();
    assert_eq!(world.bucket.take_read(), ["c/10", "zarr.json"]);
    assert_eq!((found.files, found.skipped, found.added, found.changed), (4, 2, 3, 1));
    assert!(saves.is_some());
    let mut wanted = world.bucket.values();
    wanted.insert("else".to_owned(), "kept".into());
    assert_eq!(values(&world.tip().await).await, wanted);
    let log: Vec<_> = world.tip().await.log().map_ok(|entry| entry.summary).try_collect().await.unwrap();
    assert_eq!(log.len(), 3, "one commit of the import: {log:?}");
    assert_eq!(world.repository.branches().await.unwrap().len(), 1);

    let (found, saves) = world.import_in_steps(2).await.unwrap();
    assert_eq!((found.skipped, found.added, found.changed, found.bytes_read), (4, 0, 0, 0));
    assert!(saves.is_none(), "there was nothing to save");
}

/// Puts a value on `main`.
async fn put(world: &World, name: &str, value: &str) {
    let session = world.repository.write("main").await.unwrap();
    session.set(&Key::new(name).unwrap(), value.to_owned()).await.unwrap();
    session.commit(name).await.unwrap();
}

/// The import in steps, up to its commit.
async fn staged(world: &World, options: &TreeOptions) -> Result<SteppedImport> {
    world.repository.import_in_steps("main", &world.source, options, ImportSteps::default().keys(1)).await
}

/// The session was opened after everything had been read, so it staged over commits that others had made meanwhile, and a mirror
/// deleted their keys.
#[tokio::test]
async fn commits_of_others_during_an_import_in_steps_conflict_or_stay() {
    for mirrors in [false, true] {
        let world = World::new().await;
        // Its creation would conflict with every other key beside it.
        world.bucket.objects.lock().unwrap().remove("zarr.json");
        let options = if mirrors { world.options().mirror() } else { world.options() };
        let import = staged(&world, &options).await.unwrap();
        put(&world, "in/new", "of another").await;
        let tip = import.session.commit("import").await.unwrap();
        let mut wanted = world.bucket.values();
        wanted.insert("in/new".to_owned(), "of another".into());
        assert_eq!(values(&tip).await, wanted);

        let world = World::new().await;
        let import = staged(&world, &options).await.unwrap();
        put(&world, "in/c/0", "of another").await;
        let conflict = import.session.commit("import").await.unwrap_err();
        assert_eq!(conflict.kind(), ErrorKind::Conflict);
    }
}

/// What a stopped import had saved was staged as a whole, also keys that the place no longer had.
#[tokio::test]
async fn only_what_an_import_finds_is_staged() {
    let world = World::new().await;
    world.bucket.change("zarr.json", |object| object.answer = BucketAnswer::Error);
    staged(&world, &world.options()).await.unwrap_err();
    world.bucket.change("zarr.json", |object| object.answer = BucketAnswer::Whole);
    world.bucket.objects.lock().unwrap().remove("c/0");
    let import = staged(&world, &world.options()).await.unwrap();
    assert_eq!(import.summary.added, 3);
    assert_eq!(values(&import.session.commit("import").await.unwrap()).await, world.bucket.values());
    // It was stopped again before it deleted its saves.
    world.bucket.objects.lock().unwrap().remove("c/1");
    let session = world.repository.write("main").await.unwrap();
    session.delete(&Key::new("in/c/1").unwrap()).await.unwrap();
    session.commit("delete").await.unwrap();
    let (summary, _) = world.import_in_steps(1).await.unwrap();
    assert_eq!((summary.added, summary.changed), (0, 0));
    assert_eq!(values(&world.tip().await).await, world.bucket.values());
}

/// A key that equalled what the import had begun on was in no difference, so it was not staged where it was missing.
#[tokio::test]
async fn what_was_deleted_while_an_import_was_stopped_is_imported_again() {
    let world = World::new().await;
    world.import().await.unwrap();
    world.bucket.put("c/1", vec![7; 6000], Some("2"));
    world.bucket.put("zz", "z", Some("1"));
    world.bucket.change("zz", |object| object.answer = BucketAnswer::Error);
    staged(&world, &world.options()).await.unwrap_err();
    let session = world.repository.write("main").await.unwrap();
    session.delete(&Key::new("in/c/0").unwrap()).await.unwrap();
    session.commit("delete").await.unwrap();
    world.bucket.change("zz", |object| object.answer = BucketAnswer::Whole);
    world.bucket.take_read();
    let (summary, _) = world.import_in_steps(1).await.unwrap();
    assert_eq!((summary.added, summary.changed), (2, 1));
    assert_eq!(world.bucket.take_read(), ["zz"], "what others had not been imported yet stays known");
    assert_eq!(values(&world.tip().await).await, world.bucket.values());
}

/// A process that ended between the two requests left a branch that was taken for somebody else's, and no import went on.
#[tokio::test]
async fn a_branch_without_saves_is_used() {
    let world = World::new().await;
    let saves = staged(&world, &world.options()).await.unwrap().saves.unwrap();
    world.repository.delete_saves(&saves).await.unwrap();
    world.repository.delete_saves(&saves).await.unwrap();
    world.repository.create_branch(&saves.branch, &world.tip().await).await.unwrap();
    let (summary, again) = world.import_in_steps(1).await.unwrap();
    assert_eq!((summary.added, again.unwrap().branch), (4, saves.branch));
    assert_eq!(values(&world.tip().await).await, world.bucket.values());
    assert_eq!(world.repository.branches().await.unwrap().len(), 1);
}

#[tokio::test]
async fn two_imports_do_not_save_to_one_branch() {
    let world = World::new().await;
    let saves = staged(&world, &world.options()).await.unwrap().saves.unwrap();
    let other: WriteSession = world.repository.write(saves.branch.as_str()).await.unwrap();
    other.set(&Key::new("in/of-another").unwrap(), "x").await.unwrap();
    other.commit("another import").await.unwrap();
    world.repository.delete_saves(&saves).await.unwrap();
    assert_eq!(world.repository.branches().await.unwrap().len(), 2, "they are no longer its own");
    assert_eq!(values(&staged(&world, &world.options()).await.unwrap().session.commit("x").await.unwrap()).await, world.bucket.values());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// Stopped any number of times, with steps of any length, an import ends with what one in a single session stores.
    #[test]
    fn imports_in_steps_equal_one_import(
        sizes in prop::collection::vec(0usize..3000, 1..12),
        keys in 1u64..5,
        faults in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        mirrors in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            world.bucket.objects.lock().unwrap().remove("c/10");
            let session = world.repository.write("main").await.unwrap();
            session.set(&Key::new("in/old").unwrap(), "old").await.unwrap();
            session.commit("before").await.unwrap();
            for (number, size) in sizes.iter().enumerate() {
                world.bucket.put(&format!("d/{number}"), vec![u8::try_from(number).unwrap(); *size], Some("1"));
            }
            for fault in faults {
                let name = format!("d/{}", fault.index(sizes.len()));
                world.bucket.change(&name, |object| object.answer = BucketAnswer::Error);
                let options = if mirrors { world.options().mirror() } else { world.options() };
                let steps = ImportSteps::default().keys(keys);
                // It succeeds if what cannot be read was saved before.
                let _stopped = world.repository.import_in_steps("main", &world.source, &options, steps).await;
                world.bucket.change(&name, |object| object.answer = BucketAnswer::Whole);
            }
            let options = if mirrors { world.options().mirror() } else { world.options() };
            let steps = ImportSteps::default().keys(keys);
            let import = world.repository.import_in_steps("main", &world.source, &options, steps).await.unwrap();
            assert_eq!(import.summary.added, sizes.len() as u64 + 3);
            assert_eq!(import.summary.deleted, u64::from(mirrors));
            let tip = import.session.commit("import").await.unwrap();
            let mut wanted = world.bucket.values();
            if !mirrors {
                wanted.insert("in/old".to_owned(), "old".into());
            }
            assert_eq!(values(&tip).await, wanted);
        });
    }
}
