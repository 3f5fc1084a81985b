//! External files over many versions: what is read for an answer, who uses a file, checks and locks.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firnline::storage::fault::{Call, Fault, Faulty, Operation};
use firnline::{
    CheckOptions, ChecksumList, Container, Dependency, DependencyChange, ErrorKind, FileState, Group, HashAlgorithm, LockOptions,
    NoChecksum, OpenOptions, Prefix, Remedy, Repository, Sample, Snapshot, file_url,
};
use futures::TryStreamExt as _;

use crate::support::{World, key};
use crate::virtuals::Source;

/// How many files the first version of [`many`] depends on.
const FILES: usize = 3000;

/// Ten versions, each of which adds references into one more file of a bucket, and a group of documents.
async fn many() -> (World, Vec<Snapshot>) {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set_container(Container::new("sea", "s3://sea/{}/{}.nc")).unwrap();
    session.set(&key("t/.zarray"), "{}").await.unwrap();
    for n in 0..FILES {
        let url = format!("s3://sea/{}/{n}.nc", n % 7);
        session.set_virtual(&key(&format!("t/{n}.0")), &url, 0..10).await.unwrap();
        session.set_virtual(&key(&format!("u/{n}")), &url, 10..15).await.unwrap();
    }
    let mut versions = vec![session.commit("all").await.unwrap()];
    for n in 0..9 {
        world.clock.advance(Duration::from_secs(1));
        let session = world.repository.write("main").await.unwrap();
        session.set_virtual(&key(&format!("new/{n}")), &format!("s3://sea/new/{n}.nc"), 0..3).await.unwrap();
        versions.push(session.commit(format!("one more: {n}")).await.unwrap());
    }
    (world, versions)
}

/// The objects that were read, by their names.
#[derive(Clone, Default)]
struct ObjectsRead(Arc<Mutex<BTreeMap<String, usize>>>);

impl ObjectsRead {
    /// Another process over the same store.
    async fn open(&self, world: &World) -> Repository {
        let read = self.clone();
        let plan = move |call: &Call<'_>| {
            if call.operation == Operation::Get {
                *read.0.lock().unwrap().entry(call.name.to_owned()).or_default() += 1;
            }
            Fault::None
        };
        let storage = Arc::new(Faulty::new(world.storage.clone(), plan));
        Repository::open_storage(storage, OpenOptions::default().clock(world.clock.clone()).without_pauses()).await.unwrap()
    }

    /// How many objects of a folder were read since this was asked last; none more than once.
    fn take(&self, folder: &str) -> usize {
        let read = self.0.lock().unwrap();
        let of = read.iter().filter(|(name, _)| name.starts_with(folder));
        of.inspect(|(name, count)| assert_eq!(**count, 1, "{name} was read more than once")).count()
    }
}

/// Every node of the files maps of some versions, as they are stored.
async fn all_files_nodes(world: &World) -> usize {
    world.storage.list("files/").try_collect::<Vec<_>>().await.unwrap().len()
}

#[tokio::test]
async fn answers_about_files_read_each_node_once_and_no_leaf_of_a_manifest() {
    let (world, versions) = many().await;
    let nodes = all_files_nodes(&world).await;
    assert!(nodes > 30, "{nodes} nodes: versions share most of a map that is not small");
    let fresh = async || {
        let read = ObjectsRead::default();
        let repository = read.open(&world).await;
        (read, repository)
    };

    let (read, repository) = fresh().await;
    let tip = repository.read("main").await.unwrap();
    let by_file: Vec<Dependency> = tip.dependencies().try_collect().await.unwrap();
    assert_eq!((by_file.len(), read.take("manifests/")), (FILES + 9, 0));

    let (read, repository) = fresh().await;
    let [(container, counts)] = &repository.read("main").await.unwrap().container_uses().await.unwrap()[..] else {
        panic!("one container")
    };
    let counted = (counts.files, counts.refs, counts.bytes);
    assert_eq!(counted, (FILES as u64 + 9, 2 * FILES as u64 + 9, 15 * FILES as u64 + 27));
    assert_eq!((container.name.as_str(), read.take("manifests/")), ("sea", 0));

    let (read, repository) = fresh().await;
    let (known, files) = repository.read("main").await.unwrap().dependency_history().await.unwrap();
    assert_eq!((known.versions, known.since), (11, None));
    let files: Vec<_> = files.try_collect().await.unwrap();
    assert_eq!((files.len(), read.take("manifests/")), (FILES + 9, 0));
    // Small roots come with their snapshots.
    assert!((nodes - 11..=nodes).contains(&read.take("files/")), "{} of {nodes}", read.take("files/"));
    let late = files.iter().find(|of| of.url == "s3://sea/new/4.nc").unwrap();
    assert_eq!((late.first.id, late.last.id, late.versions), (versions[5].id(), versions[9].id(), 5));

    let (read, repository) = fresh().await;
    let (old, new) = (repository.read("main~2").await.unwrap(), repository.read("main").await.unwrap());
    let changes: Vec<DependencyChange> = old.diff_dependencies(&new).try_collect().await.unwrap();
    assert_eq!(changes.iter().map(DependencyChange::word).collect::<Vec<_>>(), ["added", "added"]);
    assert_eq!(read.take("manifests/"), 0);
    assert!(read.take("files/") <= 8, "{}", read.take("files/"));

    let (read, repository) = fresh().await;
    let used = repository.who_uses("s3://sea/3/10.nc", true).await.unwrap();
    assert_eq!((used.refs.len(), used.versions.len(), used.asked_versions), (1, 10, 11));
    assert_eq!((used.refs[0].counts.refs, used.refs[0].counts.bytes, read.take("manifests/")), (2, 15, 0));
    // A root for each version, and the leaf that they share.
    assert!(read.take("files/") <= 12, "{}", read.take("files/"));
}

#[tokio::test]
async fn counts_by_array_and_keys_take_one_scan_of_the_leaves() {
    let (world, _) = many().await;
    let read = ObjectsRead::default();
    let repository = read.open(&world).await;
    let found = repository.read("main").await.unwrap().dependencies_by_array().await.unwrap();
    let rows: Vec<_> = found.iter().map(|of| (of.group.clone(), of.counts.files, of.counts.refs, of.counts.bytes)).collect();
    let (array, directory) = (Group::Array(Prefix::new("t").unwrap()), |name| Group::Directory(Prefix::new(name).unwrap()));
    let all = FILES as u64;
    assert_eq!(rows, [(array, all, all, 10 * all), (directory("new"), 9, 9, 27), (directory("u"), all, all, 5 * all)]);
    assert_eq!(found[0].containers["sea"], found[0].counts);
    let leaves = read.take("manifests/");
    assert!(leaves > 4, "{leaves}");

    // The same on two branches: what they share is read once.
    let tip = repository.read("main").await.unwrap();
    repository.create_branch(&"other".parse().unwrap(), &tip).await.unwrap();
    world.put("zz", "1").await;
    let read = ObjectsRead::default();
    let repository = read.open(&world).await;
    let keys: Vec<_> = repository.keys_using("s3://sea/3/10.nc").await.unwrap().try_collect().await.unwrap();
    let rows: Vec<_> = keys.iter().map(|of| (of.key.as_str(), of.offset, of.length, of.refs.len())).collect();
    assert_eq!(rows, [("t/10.0", 0, 10, 2), ("u/10", 10, 5, 2)]);
    assert!(read.take("manifests/") <= leaves + 4, "{} and {leaves}", read.take("manifests/"));
    assert!(repository.keys_using("s3://sea/3/1").await.unwrap().try_collect::<Vec<_>>().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_no_container_can_name_is_used_by_nobody_and_what_is_no_url_is_refused() {
    let (world, _) = many().await;
    let used = world.repository.who_uses("gs://sea/3/10.nc", true).await.unwrap();
    assert!(!used.is_used() && !used.is_in_a_container);
    let used = world.repository.who_uses("s3://sea/3/10000.nc", false).await.unwrap();
    assert!(!used.is_used() && used.is_in_a_container);
    assert_eq!(world.repository.who_uses("s3://sea", false).await.unwrap().refs[0].counts.files, FILES as u64 + 9);
    let error = world.repository.who_uses("/my data/a.nc", false).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("file:///my%20data/a.nc"), "{error}");
}

/// A branch was reset and another deleted: what they showed can still be read at their times, so it still needs its files.
#[tokio::test]
async fn a_file_that_only_a_deleted_branch_used_is_used_by_history() {
    let world = World::new().await;
    let root = world.put("a", "1").await;
    world.repository.create_branch(&"gone".parse().unwrap(), &root).await.unwrap();
    let session = world.repository.write("gone").await.unwrap();
    session.set_virtual(&key("x"), "s3://b/x.nc", 0..10).await.unwrap();
    let last = session.commit("a file").await.unwrap();
    world.repository.delete_branch(&"gone".parse().unwrap()).await.unwrap();
    assert!(!world.repository.who_uses("s3://b/x.nc", false).await.unwrap().is_used());
    let used = world.repository.who_uses("s3://b/x.nc", true).await.unwrap();
    assert_eq!((used.refs.len(), used.versions.iter().map(|v| v.at.id).collect::<Vec<_>>()), (0, vec![last.id()]));
}

/// Bytes in hexadecimal, with a sign before each.
fn hex(bytes: &[u8], sign: &str) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{sign}{byte:02x}"))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let coded = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok())).flatten();
        out.push(coded.unwrap_or(bytes[at]));
        at += if coded.is_some() { 3 } else { 1 };
    }
    out
}

/// The paths that a URL may mean.
fn meanings(url: &str) -> [PathBuf; 2] {
    let text = url.strip_prefix("file://").unwrap();
    [PathBuf::from(std::ffi::OsStr::from_bytes(&percent_decoded(text))), PathBuf::from(text)]
}

/// A search by the beginning of the key would miss the other spellings of a path, and "nothing uses it" would cost somebody a file.
#[tokio::test]
async fn a_path_is_found_however_it_is_spelt() {
    let names = ["a b", "a%20b", "a", "ab", "é", "x1", "x10", "%", "a%2Fb"];
    let mut urls = Vec::new();
    for (n, (first, second)) in names.iter().flat_map(|a| names.iter().map(move |b| (a, b))).enumerate() {
        let spelt = |name: &str| match n % 5 {
            0 => file_url(&Path::new("/").join(name)).unwrap().strip_prefix("file:///").unwrap().to_owned(),
            1 => hex(name.as_bytes(), "%"),
            _ => name.to_owned(),
        };
        urls.push(format!("file:///d/{}/{}{}", spelt(first), spelt(second), ["", ".nc"][n % 2]));
    }
    for templates in [&[][..], &["file:///d/{}"], &["file:///d/{}/{}.nc", "file:///d/x1/{}"], &["file:///d/{}b/{}"]] {
        let world = World::new().await;
        let session = world.repository.write("main").await.unwrap();
        for (n, template) in templates.iter().enumerate() {
            session.set_container(Container::new(format!("c{n}"), *template)).unwrap();
        }
        for (n, url) in urls.iter().enumerate() {
            session.set_virtual(&key(&format!("k/{n}")), url, 0..10).await.unwrap();
        }
        let tip = session.commit("spellings").await.unwrap();
        let recorded: Vec<String> = tip.dependencies().map_ok(|file| file.url).try_collect().await.unwrap();
        let above = ["file:///d", "file:///", "file:///d/x1", "file:///d/a%20b", "file:///d/a b/", "file:///nowhere"].map(str::to_owned);
        for place in urls.iter().chain(&above) {
            let wanted = |url: &&String| meanings(place).iter().any(|place| meanings(url).iter().any(|path| path.starts_with(place)));
            let want = recorded.iter().filter(wanted).count() as u64;
            let found = world.repository.who_uses(place, false).await.unwrap();
            assert_eq!(found.refs.first().map_or(0, |of| of.counts.files), want, "{place} in {templates:?}");
        }
    }
}

/// A world with a file of 10 bytes that two keys point into.
async fn pinned() -> (Source, World, String) {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("d/a.nc", b"0123456789", 10);
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x/0"), &url, 0..5).await.unwrap();
    session.set_virtual(&key("x/1"), &url, 5..10).await.unwrap();
    session.commit("pinned").await.unwrap();
    (source, world, url)
}

async fn record(world: &World) -> firnline::VirtualFile {
    let files: Vec<_> = world.repository.read("main").await.unwrap().dependencies().try_collect().await.unwrap();
    files.into_iter().next().unwrap().record
}

async fn checked(world: &World, digests: bool) -> FileState {
    let mut options = CheckOptions::default();
    options.digests = digests;
    let tip = world.repository.read("main").await.unwrap();
    let all: Vec<_> = tip.check_dependencies(&options).unwrap().try_collect().await.unwrap();
    all[0].check.state()
}

#[tokio::test]
async fn a_lock_adds_a_digest_and_nothing_else_and_notices_what_dates_do_not() {
    let (source, world, url) = pinned().await;
    let before = record(&world).await;
    let session = world.repository.write("main").await.unwrap();
    let locked = session.lock(LockOptions::default()).await.unwrap();
    assert_eq!((locked.files.len(), locked.already, locked.files[0].url.as_str()), (1, 0, url.as_str()));
    session.commit("lock").await.unwrap();
    let after = record(&world).await;
    let digest = HashAlgorithm::Sha2_256.digest(b"0123456789");
    assert_eq!(after.digest.as_deref(), Some(&[&[0x12, 32], &digest.as_bytes()[..]].concat()[..]));
    assert_eq!(firnline::VirtualFile { digest: None, ..after.clone() }, before);
    let session = world.repository.write("main").await.unwrap();
    let again = session.lock(LockOptions::default()).await.unwrap();
    assert_eq!((again.files.len(), again.already, session.is_unchanged()), (0, 1, true));
    assert_eq!((checked(&world, false).await, checked(&world, true).await), (FileState::Unchanged, FileState::Unchanged));

    // The same size and date, other bytes.
    source.write("d/a.nc", b"9876543210", 10);
    let world = World { repository: world.reopen(source.access.clone()).await, ..world };
    assert_eq!((checked(&world, false).await, checked(&world, true).await), (FileState::Unchanged, FileState::Corrupt));
}

#[tokio::test]
async fn a_file_that_changed_is_not_locked_and_the_error_says_what_is() {
    let (source, world, url) = pinned().await;
    source.write("d/a.nc", b"0123456789+", 5);
    let session = world.repository.write("main").await.unwrap();
    let error = session.lock(LockOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.remedy()), (ErrorKind::SourceChanged, Some(&Remedy::Repin(url.clone()))), "{error}");
    assert!(session.is_unchanged(), "after an error nothing is staged");
    let mut elsewhere = LockOptions::default();
    elsewhere.places = vec!["file:///nowhere/".to_owned()];
    assert_eq!(session.lock(elsewhere).await.unwrap_err().kind(), ErrorKind::NotFound);

    // A file of which nothing is recorded, by a writer who was not allowed to look at it, may be another one by now.
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x"), &url, 0..5).await.unwrap();
    session.commit("not pinned").await.unwrap();
    world.clock.advance(Duration::from_secs(5));
    let allowed = world.reopen(source.access.clone()).await;
    let error = allowed.write("main").await.unwrap().lock(LockOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let denied = world.repository.write("main").await.unwrap().lock(LockOptions::default()).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied, "{denied}");
}

/// A lock once put what the branch records in the place of a new pin of the same session.
#[tokio::test]
async fn a_file_of_which_something_is_staged_is_not_locked() {
    let (source, world, url) = pinned().await;
    source.write("d/a.nc", b"9876543210", 5);
    let session = world.repository.write("main").await.unwrap();
    assert_eq!(session.repin(&[&url]).await.unwrap().len(), 1);
    let digest = hex(HashAlgorithm::Sha2_256.digest(b"9876543210").as_bytes(), "");
    for options in [LockOptions::default(), listed(&format!("{digest}  d/a.nc"))] {
        let error = session.lock(options).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("has staged changes of it"), "{error}");
    }
    let after = session.commit("repinned").await.unwrap();
    assert_eq!(after.get(&key("x/0")).await.unwrap().unwrap().as_ref(), b"98765", "the new pin is there");
    let session = world.repository.write("main").await.unwrap();
    assert_eq!(session.lock(LockOptions::default()).await.unwrap().files.len(), 1);
}

fn listed(text: &str) -> LockOptions {
    let mut options = LockOptions::default();
    options.list = Some(ChecksumList::parse(text, HashAlgorithm::Sha2_256).unwrap());
    options
}

#[tokio::test]
async fn a_published_list_locks_what_its_names_fit_and_reads_no_file() {
    // Nothing is allowed, so nothing can be read.
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    for (n, name) in ["a/t.nc", "b/t.nc", "b/u v.nc", "c/w.nc", "c/x.nc"].iter().enumerate() {
        session
            .set_virtual(&key(&format!("k/{n}")), &format!("https://example.org/data/{}", name.replace(' ', "%20")), 0..5)
            .await
            .unwrap();
    }
    session.commit("five").await.unwrap();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|digit| digit.repeat(64));
    let list = format!(
        "# by name\n{a}  t.nc\n{a} *./b/u v.nc\nSHA256 (elsewhere/w.nc) = {b}\n\
         'x.nc' 'https://example.org/data/c/x.nc' 'SHA256' '{c}'\nMD5 (a/t.nc) = {}\n{b}  w.nc\n{d}  data/c/w.nc\n",
        "0".repeat(32)
    );
    let session = world.repository.write("main").await.unwrap();
    let locked = session.lock(listed(&list)).await.unwrap();
    let urls: Vec<_> = locked.files.iter().map(|file| file.url.strip_prefix("https://example.org/data/").unwrap()).collect();
    assert_eq!(urls, ["b/u%20v.nc", "c/x.nc"]);
    assert_eq!(
        (locked.ambiguous, locked.unmatched),
        (vec!["t.nc".into(), "w.nc".into(), "data/c/w.nc".into()], vec!["elsewhere/w.nc".into()])
    );
    session.commit("lock").await.unwrap();

    // The longer name fits one file only, and the list agrees with what is locked.
    let session = world.repository.write("main").await.unwrap();
    let locked = session.lock(listed(&format!("{c}  a/t.nc\n{c}  c/x.nc\n"))).await.unwrap();
    assert_eq!((locked.files.len(), locked.already), (1, 1));
    let error = session.lock(listed(&format!("{c}  b/t.nc\n{d}  c/x.nc\n"))).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("line 2 "), "{error}");
    let mapped = format!("cmip#1 | /x/data/c/w.nc | 7 | mod_time=1.0 | checksum={b} | checksum_type=SHA256\n");
    let locked = session.lock(listed(&mapped)).await.unwrap();
    assert_eq!((locked.files.len(), locked.unmatched.len()), (0, 1), "an absolute path that is no end of the URL's");
}

#[test]
fn lists_of_checksums_are_read_in_all_their_forms_or_refused() {
    let hex = "0123456789abcdef".repeat(4);
    let script = format!(
        "#!/bin/bash\nversion=1\ndownload_files=\"$(cat <<EOF--dataset.file.url.chksum_type.chksum\n\
         'a.nc' 'http://h/a.nc' 'SHA256' '{hex}'\n'b.nc' 'http://h/b.nc' 'MD5' 'ffff'\nEOF--dataset.file.url.chksum_type.chksum\n)\"\nexit 0\n"
    );
    let list = ChecksumList::parse(&script, HashAlgorithm::Sha2_256).unwrap();
    assert_eq!((list.entries.len(), list.entries[0].url.as_deref(), list.unusable), (1, Some("http://h/a.nc"), vec!["b.nc".to_owned()]));
    let escaped = format!("\\{hex}  a\\nb\\\\c\r\n\nSHA256 (x (1) = 2) = {hex}\n{}\n", hex.to_uppercase() + "  y");
    let names: Vec<_> =
        ChecksumList::parse(&escaped, HashAlgorithm::Blake3).unwrap().entries.into_iter().map(|e| (e.name, e.digest[0])).collect();
    assert_eq!(names, [("a\nb\\c".to_owned(), 0x1e), ("x (1) = 2".to_owned(), 0x12), ("y".to_owned(), 0x1e)]);
    for bad in [
        format!("{}  short", &hex[1..]),
        "nonsense".to_owned(),
        hex.clone(),
        format!("\\{hex}  a\\q"),
        format!("SHA256 (a) = {}", &hex[2..]),
    ] {
        let error = ChecksumList::parse(&format!("{hex}  fine\n{bad}\n"), HashAlgorithm::Sha2_256).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("line 2 "), "{bad}: {error}");
    }
}

proptest::proptest! {
    /// Any text is a list or an error, and what is written for `sha256sum` is read as it was meant.
    #[test]
    fn no_list_makes_the_parser_panic(text in "[\\PC\n ]{0,80}|[\\\\'\"|() =a-f0-9 \n]{0,90}") {
        let _ = ChecksumList::parse(&text, HashAlgorithm::Sha2_256);
    }
}

#[tokio::test]
async fn a_sample_is_the_same_every_time_and_never_empty() {
    let (world, _) = many().await;
    let tip = world.repository.read("main").await.unwrap();
    let draw = async |percent: f64, seed: u64| {
        let mut options = CheckOptions::default();
        options.sample = Some(Sample { percent, seed });
        let all: Vec<_> = tip.check_dependencies(&options).unwrap().try_collect().await.unwrap();
        all.into_iter().map(|checked| checked.dependency.url).collect::<Vec<_>>()
    };
    let (some, again, other) = (draw(10.0, 1).await, draw(10.0, 1).await, draw(10.0, 2).await);
    assert!(some == again && some != other && (150..450).contains(&some.len()), "{}", some.len());
    assert!(draw(20.0, 1).await.len() > some.len());
    assert_eq!((draw(1e-9, 1).await.len(), draw(100.0, 1).await.len()), (1, FILES + 9));
    let mut options = CheckOptions::default();
    for percent in [0.0, -1.0, 100.1, f64::NAN] {
        options.sample = Some(Sample { percent, seed: 0 });
        assert_eq!(tip.check_dependencies(&options).err().unwrap().kind(), ErrorKind::Invalid, "{percent}");
    }
}

#[tokio::test]
async fn lines_for_sha256sum_name_files_as_they_are_seen_from_a_place() {
    let (source, world, url) = pinned().await;
    let file = async || -> Dependency {
        let all: Vec<_> = world.repository.read("main").await.unwrap().dependencies().try_collect().await.unwrap();
        all.into_iter().next().unwrap()
    };
    assert_eq!(file().await.checksum_line(None), Err(NoChecksum::NotLocked));
    let session = world.repository.write("main").await.unwrap();
    session.lock(LockOptions::default()).await.unwrap();
    session.commit("lock").await.unwrap();
    let sum = hex(HashAlgorithm::Sha2_256.digest(b"0123456789").as_bytes(), "");
    let above = url.strip_suffix("/d/a.nc").unwrap();
    let path = source.path("d/a.nc");
    assert_eq!(file().await.checksum_line(None), Ok(format!("{sum}  {}\n", path.display()).into_bytes()));
    assert_eq!(file().await.checksum_line(Some(above)), Ok(format!("{sum}  d/a.nc\n").into_bytes()));
    assert_eq!(file().await.checksum_line(Some("file:///nowhere")), Err(NoChecksum::Elsewhere));
    let mut far = file().await;
    far.url = "https://h/x/my%20a%0Ab%5Cc.nc".to_owned();
    assert_eq!(far.checksum_line(None), Err(NoChecksum::Elsewhere));
    assert_eq!(far.checksum_line(Some("https://h/x/")), Ok(format!("\\{sum}  my a\\nb\\\\c.nc\n").into_bytes()));
    far.record.digest = Some([&[0x1e, 32][..], &[7; 32]].concat());
    assert_eq!(far.checksum_line(Some("https://h/x/")), Err(NoChecksum::OtherHash));
}
