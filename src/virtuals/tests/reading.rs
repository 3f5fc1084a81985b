use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::container;
use crate::format::{Container, FileKey, VirtualFile};
use crate::id::HashAlgorithm;
use crate::virtuals::file::{FileSource, OpenedFile, open_real};
use crate::virtuals::source::ExternalPlace;
use crate::virtuals::validator::{ExpectedFile, hex, multihash};
use crate::virtuals::{Access, CheckDepth, FileState, Locator, Rebind, Validator, VirtualLookup, Virtuals, file_url};
use crate::{Error, ErrorKind, Remedy, Timestamp};

/// 2024-06-01, and the moment at which everything here is looked up.
pub(super) const NOW: Timestamp = Timestamp::from_micros(1_717_200_000_000_000);
const KEY: &str = "air/c/0/0";

/// A directory `data` that is allowed, and beside it one that is not.
pub(super) struct Disk {
    base: tempfile::TempDir,
    pub(super) virtuals: Virtuals,
}

impl Disk {
    pub(super) fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        for dir in ["data", "database", "outside"] {
            fs::create_dir(base.path().join(dir)).unwrap();
        }
        let virtuals = Virtuals::new(allow(&base.path().join("data")));
        Self { base, virtuals }
    }

    /// The same for a reader who also takes bytes of files that are not pinned.
    pub(super) fn accepting_unpinned(self) -> Self {
        let place = format!("{}/=unpinned", file_url(&self.path("data")).unwrap());
        Self { virtuals: Virtuals::new(Access::parse([place.as_str()]).unwrap()), ..self }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.base.path().canonicalize().unwrap().join(name)
    }

    /// Writes a file dated a day before [`NOW`].
    pub(super) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        date(&path, day_before());
        path
    }

    fn named(&self, name: &str) -> (Vec<Container>, FileKey) {
        named(&self.path(name))
    }

    pub(super) async fn pin(&self, name: &str) -> VirtualFile {
        let (containers, file) = self.named(name);
        self.virtuals.lookup(&containers, &file, VirtualLookup::at(NOW)).await.unwrap().told().expect("is allowed").record(1, 1)
    }

    pub(super) async fn pin_with_digest(&self, name: &str, hash: HashAlgorithm) -> VirtualFile {
        let (containers, file) = self.named(name);
        let lookup = VirtualLookup { digest: Some(hash), ..VirtualLookup::at(NOW) };
        self.virtuals.lookup(&containers, &file, lookup).await.unwrap().told().expect("is allowed").record(1, 1)
    }

    pub(super) async fn read(&self, name: &str, record: &VirtualFile, range: std::ops::Range<u64>) -> Result<Vec<u8>, Error> {
        let (containers, file) = self.named(name);
        self.virtuals.read(&containers, &file, record, range, KEY).await.map(|bytes| bytes.to_vec())
    }

    pub(super) async fn check(&self, name: &str, record: &VirtualFile) -> FileState {
        let (containers, file) = self.named(name);
        self.virtuals.check(&containers, &file, record, CheckDepth::Digest).await.unwrap().state()
    }

    /// Fails to read with this kind, and says so of this key; returns the message.
    pub(super) async fn fails(&self, name: &str, record: &VirtualFile, kind: ErrorKind) -> String {
        let error = self.read(name, record, 0..4).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with(KEY), "{error}");
        error.to_string()
    }
}

fn named(path: &Path) -> (Vec<Container>, FileKey) {
    let located = Locator::default().locate(&file_url(path).unwrap()).unwrap();
    (vec![located.container.unwrap()], located.file)
}

fn allow(dir: &Path) -> Access {
    Access::parse([format!("file://{}/", dir.canonicalize().unwrap().display()).as_str()]).unwrap()
}

pub(super) fn day_before() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(NOW.micros()).unwrap()) - Duration::from_hours(24)
}

pub(super) fn date(path: &Path, time: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[tokio::test]
async fn a_pinned_file_is_read_and_nothing_else_of_it() {
    let disk = Disk::new();
    for name in ["data/a.nc", "data/with space", "data/pct%20", "data/日本.nc", "data/{x}{}.nc"] {
        disk.write(name, b"0123456789");
        let record = disk.pin(name).await;
        assert_eq!((record.size, record.modified), (Some(10), Some(Timestamp::from_system(day_before()))));
        assert_eq!(record.pinned_at, NOW);
        assert_eq!(disk.read(name, &record, 3..7).await.unwrap(), b"3456");
        assert_eq!(disk.read(name, &record, 10..10).await.unwrap(), b"");
        assert_eq!(disk.check(name, &record).await, FileState::Unchanged);
    }
}

#[tokio::test]
async fn six_things_that_go_wrong_are_six_kinds() {
    let disk = Disk::new();
    let path = disk.write("data/a.nc", b"0123456789");
    let record = disk.pin("data/a.nc").await;

    // Changed: a byte more, or only a date that is one microsecond later.
    disk.write("data/a.nc", b"0123456789x");
    assert!(disk.fails("data/a.nc", &record, ErrorKind::SourceChanged).await.contains("size 10 → 11"));
    disk.write("data/a.nc", b"012345678X");
    date(&path, day_before() + Duration::from_micros(1));
    let message = disk.fails("data/a.nc", &record, ErrorKind::SourceChanged).await;
    assert!(message.contains("modified 2024-05-31T00:00:00.000000Z → 2024-05-31T00:00:00.000001Z"), "{message}");
    assert_eq!(disk.check("data/a.nc", &record).await.word(), "changed");

    // Cut short, whatever its date.
    disk.write("data/a.nc", b"012345");
    let message = disk.fails("data/a.nc", &record, ErrorKind::Corrupt).await;
    assert!(message.contains("is cut short: was 10 bytes when pinned, is 6"), "{message}");
    assert_eq!(disk.check("data/a.nc", &record).await.word(), "corrupt");

    // Absent, also where a directory on the way is a file.
    fs::remove_file(&path).unwrap();
    assert!(disk.fails("data/a.nc", &record, ErrorKind::NotFound).await.contains("does not exist"));
    assert_eq!(disk.check("data/a.nc", &record).await.word(), "missing");
    disk.write("data/file", b"x");
    disk.fails("data/file/a.nc", &record, ErrorKind::NotFound).await;
    disk.fails(&format!("data/{}", "n".repeat(300)), &record, ErrorKind::NotFound).await;

    // Out of reach: something is there, but no file.
    fs::create_dir(&path).unwrap();
    assert!(disk.fails("data/a.nc", &record, ErrorKind::Unavailable).await.contains("is a directory"));
    assert_eq!(disk.check("data/a.nc", &record).await.word(), "unreachable");
    symlink("loop", disk.path("data/loop")).unwrap();
    disk.fails("data/loop", &record, ErrorKind::Unavailable).await;
    let _socket = std::os::unix::net::UnixListener::bind(disk.path("data/s")).unwrap();
    assert!(disk.fails("data/s", &record, ErrorKind::Unavailable).await.contains("not a regular file"));

    // Denied, whether it exists or not.
    disk.write("outside/a.nc", b"0123456789");
    disk.fails("outside/a.nc", &record, ErrorKind::Denied).await;
    disk.fails("outside/absent/b.nc", &record, ErrorKind::Denied).await;
    assert_eq!(disk.check("outside/a.nc", &record).await.word(), "forbidden");

    // Unverifiable: a digest that nobody here can compute.
    disk.write("data/b.nc", b"0123456789");
    let sha1 = VirtualFile { digest: Some([&[0x11, 20][..], &[0; 20]].concat()), ..disk.pin("data/b.nc").await };
    assert!(disk.fails("data/b.nc", &sha1, ErrorKind::Unsupported).await.contains("hash 0x11"));
    assert_eq!(disk.check("data/b.nc", &sha1).await.word(), "unverifiable");
}

#[tokio::test]
async fn a_file_that_may_not_be_opened_is_out_of_reach() {
    let disk = Disk::new();
    let path = disk.write("data/a.nc", b"0123456789");
    let record = disk.pin("data/a.nc").await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_ok() {
        eprintln!("skipped: this user may open everything");
        return;
    }
    disk.fails("data/a.nc", &record, ErrorKind::Unavailable).await;
}

#[tokio::test]
async fn a_range_past_the_end_is_corrupt_and_costs_no_memory() {
    let disk = Disk::new();
    let disk = disk.accepting_unpinned();
    disk.write("data/a.nc", b"0123456789");
    let unknown = Validator::staged_at(NOW).record(1, 1);
    for record in [disk.pin("data/a.nc").await, unknown] {
        for range in [8..11, 11..12, 0..u64::MAX, u64::MAX - 1..u64::MAX] {
            let error = disk.read("data/a.nc", &record, range.clone()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{range:?}");
            assert!(error.to_string().contains("is 10"), "{error}");
        }
        #[expect(clippy::reversed_empty_ranges, reason = "what is tested")]
        let backwards = 5..4;
        assert_eq!(disk.read("data/a.nc", &record, backwards).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn a_file_that_could_not_be_asked_may_not_be_younger_than_its_pin() {
    let disk = Disk::new().accepting_unpinned();
    let path = disk.write("data/a.nc", b"0123456789");
    let record = Validator::staged_at(NOW).record(1, 1);
    assert_eq!(disk.read("data/a.nc", &record, 0..4).await.unwrap(), b"0123");
    date(&path, day_before() + Duration::from_hours(24));
    assert!(disk.read("data/a.nc", &record, 0..4).await.is_ok(), "at that very moment is not after it");
    date(&path, day_before() + Duration::from_hours(24) + Duration::from_micros(1));
    let message = disk.fails("data/a.nc", &record, ErrorKind::SourceChanged).await;
    assert!(message.contains("after it was pinned at 2024-06-01"), "{message}");
}

#[tokio::test]
async fn a_change_that_restores_size_and_date_is_noticed_by_a_digest_alone() {
    for hash in [HashAlgorithm::Sha2_256, HashAlgorithm::Blake3] {
        let disk = Disk::new();
        disk.write("data/a.nc", b"0123456789");
        let plain = disk.pin("data/a.nc").await;
        let locked = disk.pin_with_digest("data/a.nc", hash).await;
        assert_eq!(locked.digest, Some(multihash(&hash.digest(b"0123456789"))));
        // Verified, and the verdict remembered.
        assert_eq!(disk.read("data/a.nc", &locked, 2..4).await.unwrap(), b"23");
        assert_eq!(disk.read("data/a.nc", &locked, 2..4).await.unwrap(), b"23");

        // The change time is part of what a verdict is about, and moves by the tick of the kernel's clock.
        std::thread::sleep(Duration::from_millis(20));
        disk.write("data/a.nc", b"01234xx789");
        assert_eq!(disk.read("data/a.nc", &plain, 0..4).await.unwrap(), b"0123", "not noticed, and documented so");
        let message = disk.fails("data/a.nc", &locked, ErrorKind::Corrupt).await;
        for digest in [hash.digest(b"0123456789"), hash.digest(b"01234xx789")] {
            assert!(message.contains(&hex(digest.as_bytes())), "{message}");
        }
        assert_eq!(disk.check("data/a.nc", &locked).await.word(), "corrupt");
        assert_eq!(disk.check("data/a.nc", &plain).await, FileState::Unchanged, "nor seen by a check");
    }
}

#[tokio::test]
async fn a_large_file_has_the_digest_of_all_its_pieces() {
    let disk = Disk::new();
    let content: Vec<u8> = (0..3_000_001_u32).map(|i| (i % 251) as u8).collect();
    disk.write("data/large", &content);
    let record = disk.pin_with_digest("data/large", HashAlgorithm::Blake3).await;
    assert_eq!(record.digest, Some(multihash(&HashAlgorithm::Blake3.digest(&content))));
    let reads = (0..50_u64).map(|i| disk.read("data/large", &record, i * 60_000..(i + 1) * 60_000));
    let parts = futures::future::join_all(reads).await;
    let joined: Vec<u8> = parts.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(joined, content[..3_000_000], "many reads at once");
}

#[tokio::test]
async fn a_file_that_changes_under_the_read_is_noticed() {
    let disk = Disk::new();
    let path = disk.write("data/a.nc", b"0123456789");
    let record = disk.pin("data/a.nc").await;
    let locked = disk.pin_with_digest("data/a.nc", HashAlgorithm::Sha2_256).await;
    let place = ExternalPlace {
        key: Some(KEY.to_owned()),
        container: "file://".to_owned(),
        url: file_url(&path).unwrap(),
        prefix: "file:///".to_owned(),
        options: std::collections::BTreeMap::new(),
        access: Arc::new(allow(&disk.path("data"))),
    };
    let source = FileSource::new();
    let read = |record: &VirtualFile, meanwhile: &dyn Fn()| {
        OpenedFile::new(&source, &place).unwrap().read(0..10, &ExpectedFile::of(record, None).unwrap(), meanwhile)
    };
    assert_eq!(read(&record, &|| ()).unwrap(), b"0123456789".as_slice());
    let later = day_before() + Duration::from_nanos(1);
    for meanwhile in
        [&(|| fs::write(&path, b"0123456789x").unwrap()) as &dyn Fn(), &|| fs::write(&path, b"01").unwrap(), &|| date(&path, later)]
    {
        disk.write("data/a.nc", b"0123456789");
        let error = read(&record, meanwhile).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SourceChanged);
        assert!(error.to_string().contains("changed while it was read"), "{error}");
    }
    // With size and date restored only the change time tells, which counts where a digest was verified.
    disk.write("data/a.nc", b"0123456789");
    let restore = || {
        std::thread::sleep(Duration::from_millis(20));
        disk.write("data/a.nc", b"xxxxxxxxxx");
    };
    assert_eq!(read(&locked, &restore).unwrap_err().kind(), ErrorKind::SourceChanged);
    // A file that was replaced by another under its name is still the one that was opened.
    disk.write("data/a.nc", b"0123456789");
    let replaced = || fs::rename(disk.write("data/new", b"other file"), &path).unwrap();
    assert_eq!(read(&record, &replaced).unwrap(), b"0123456789".as_slice());
}

#[tokio::test]
async fn nothing_is_allowed_unless_said() {
    let disk = Disk::new();
    disk.write("data/a.nc", b"0123456789");
    let record = disk.pin("data/a.nc").await;
    let place = format!("file://{}/", disk.path("data").display());
    let nemo = vec![container("nemo", &format!("{place}{{}}"))];
    let file = FileKey::new("nemo", ["a.nc"]).unwrap();
    let nobody = Virtuals::default();
    let error = nobody.read(&nemo, &file, &record, 0..4, KEY).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.to_string(), format!("{KEY} lies in {place} (container nemo), which is not allowed"));
    assert_eq!(error.remedy(), Some(&Remedy::Allow(place.clone())));
    assert_eq!(nobody.lookup(&nemo, &file, VirtualLookup::at(NOW)).await.unwrap().told(), None, "cannot be asked");
    // What the message says is enough, and no more is given away than the directory of the file.
    assert!(Virtuals::new(Access::parse([place.as_str()]).unwrap()).read(&nemo, &file, &record, 0..4, KEY).await.is_ok());
    let (automatic, file) = disk.named("data/a.nc");
    let message = super::advised(&nobody.read(&automatic, &file, &record, 0..4, KEY).await.unwrap_err());
    assert!(message.ends_with(&format!("add --allow {place}")), "{message}");
    // A container that is a whole disk is not what one is told to allow, and a name may hold anything.
    disk.write("data/a?b c{}.nc", b"0123456789");
    let (automatic, file) = disk.named("data/a?b c{}.nc");
    let message = super::advised(&nobody.read(&automatic, &file, &record, 0..4, KEY).await.unwrap_err());
    assert_eq!(message, format!("{KEY} lies in {place} (container file://), which is not allowed; add --allow {place}"));
    // A sibling whose name merely begins alike is another directory.
    disk.write("database/a.nc", b"0123456789");
    disk.fails("database/a.nc", &record, ErrorKind::Denied).await;
    // A root that does not exist allows what would be in it.
    let lost = Virtuals::new(Access::parse([format!("{place}lost/").as_str()]).unwrap());
    let (containers, file) = disk.named("data/lost/a.nc");
    assert_eq!(lost.read(&containers, &file, &record, 0..4, KEY).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn symbolic_links_are_judged_by_where_they_lead() {
    let disk = Disk::new();
    disk.write("data/a.nc", b"0123456789");
    disk.write("outside/secret", b"0123456789");
    let record = disk.pin("data/a.nc").await;
    symlink(disk.path("outside/secret"), disk.path("data/file-out")).unwrap();
    symlink(disk.path("outside"), disk.path("data/dir-out")).unwrap();
    symlink("../outside/secret", disk.path("data/relative-out")).unwrap();
    symlink("file-out", disk.path("data/twice")).unwrap();
    for name in ["data/file-out", "data/dir-out/secret", "data/relative-out", "data/twice"] {
        let message = disk.fails(name, &record, ErrorKind::Denied).await;
        assert!(message.contains(&format!("lies in file://{}/", disk.path("outside").display())), "{message}");
        assert!(message.contains("through a symbolic link"), "{message}");
    }
    disk.fails("data/dir-out/absent", &record, ErrorKind::Denied).await;
    // Links that stay inside, and links from outside to inside, are followed.
    symlink("a.nc", disk.path("data/in")).unwrap();
    symlink(disk.path("data"), disk.path("way-in")).unwrap();
    for name in ["data/in", "way-in/a.nc"] {
        assert_eq!(disk.read(name, &record, 0..4).await.unwrap(), b"0123", "{name}");
    }
    // A link that is put in the way after the path was judged is not followed any more.
    assert!(open_real(&disk.path("data/a.nc")).is_ok());
    for swapped in ["way-in/a.nc", "data/in"] {
        let error = open_real(&disk.path(swapped)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::LOOP.raw_os_error()), "{swapped}");
    }
    // An allowed directory may itself be a link.
    let by_link = Virtuals::new(Access::parse([format!("file://{}", disk.path("way-in").display()).as_str()]).unwrap());
    let (containers, file) = disk.named("data/a.nc");
    assert!(by_link.read(&containers, &file, &record, 0..4, KEY).await.is_ok());
}

#[tokio::test]
async fn other_schemes_are_denied_first_and_unsupported_then() {
    let set = vec![container("c", "s3://b/x/{}")];
    let file = FileKey::new("c", ["k"]).unwrap();
    let record = Validator::staged_at(NOW).record(1, 1);
    let mut rows = vec![(vec![], ErrorKind::Denied), (vec!["s3://other/"], ErrorKind::Denied)];
    if cfg!(not(feature = "aws")) {
        rows.push((vec!["s3://b/"], ErrorKind::Unsupported));
    }
    for (allowed, kind) in rows {
        let virtuals = Virtuals::new(Access::parse(allowed).unwrap());
        let error = virtuals.read(&set, &file, &record, 0..4, KEY).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        if kind == ErrorKind::Denied {
            assert_eq!(
                super::advised(&error),
                format!("{KEY} lies in s3://b/x/ (container c), which is not allowed; add --allow s3://b/x/")
            );
        }
        assert_eq!(virtuals.lookup(&set, &file, VirtualLookup::at(NOW)).await.unwrap().told(), None);
    }
}

#[tokio::test]
async fn a_lookup_says_what_it_found() {
    let disk = Disk::new();
    let path = disk.write("data/a.nc", b"0123456789");
    let (containers, file) = disk.named("data/a.nc");
    let lookup = |scanned_at| disk.virtuals.lookup(&containers, &file, VirtualLookup { scanned_at, ..VirtualLookup::at(NOW) });
    let modified = Timestamp::from_system(day_before());
    assert!(lookup(Some(modified)).await.unwrap().told().is_some(), "not after the scan");
    let error = lookup(Some(modified.minus(Duration::from_micros(1)))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SourceChanged);
    assert!(error.to_string().contains("after it was scanned"), "{error}");
    fs::remove_file(&path).unwrap();
    assert_eq!(lookup(None).await.unwrap_err().kind(), ErrorKind::NotFound);
    fs::create_dir(&path).unwrap();
    assert_eq!(lookup(None).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_container_can_be_put_elsewhere() {
    let disk = Disk::new();
    disk.write("data/copy-a.nc", b"0123456789");
    let set = vec![container("far", "s3://gone/{}.nc")];
    let file = FileKey::new("far", ["a"]).unwrap();
    let template = format!("file://{}/copy-{{}}.nc", disk.path("data").display());
    let read = async |size: u64, digest: Option<&[u8]>, accept_unverified: bool| {
        let mut access = allow(&disk.path("data"));
        access.rebind("far", Rebind { template: template.clone(), accept_unverified }).unwrap();
        let digest = digest.map(|content| multihash(&HashAlgorithm::Sha2_256.digest(content)));
        // The date is that of the original, and says nothing about the copy.
        let known = Validator { size: Some(size), modified: Some(NOW), etag: Some(b"e".to_vec()), digest, ..Validator::staged_at(NOW) };
        Virtuals::new(access).read(&set, &file, &known.record(1, 1), 0..4, KEY).await.map_err(|e| e.kind())
    };
    assert_eq!(read(10, Some(b"0123456789"), false).await.unwrap(), b"0123".as_slice());
    assert_eq!(read(10, Some(b"other"), false).await, Err(ErrorKind::Corrupt));
    assert_eq!(read(10, None, false).await, Err(ErrorKind::Unsupported), "nothing proves these bytes");
    assert_eq!(read(10, None, true).await.unwrap(), b"0123".as_slice());
    assert_eq!(read(9, None, true).await, Err(ErrorKind::SourceChanged));
    assert_eq!(read(11, Some(b"0123456789"), true).await, Err(ErrorKind::Corrupt));
    let mut access = allow(&disk.path("data"));
    access.rebind("far", Rebind { template: template.clone(), accept_unverified: false }).unwrap();
    let error = Virtuals::new(access).read(&set, &file, &Validator::staged_at(NOW).record(1, 1), 0..4, KEY).await.unwrap_err();
    assert_eq!(error.remedy(), Some(&Remedy::Rebind(format!("far={template}=unverified"))), "{error:?}");
    // A copy is not asked what to record of the original.
    let mut access = allow(&disk.path("data"));
    access.rebind("far", Rebind { template: template.clone(), accept_unverified: true }).unwrap();
    assert_eq!(Virtuals::new(access).lookup(&set, &file, VirtualLookup::at(NOW)).await.unwrap().told(), None);
    // It must be allowed like any other place.
    let mut access = Access::default();
    access.rebind("far", Rebind { template: template.clone(), accept_unverified: true }).unwrap();
    let error = Virtuals::new(access).read(&set, &file, &Validator::staged_at(NOW).record(1, 1), 0..4, KEY).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(Access::default().rebind("far", Rebind { template: "nowhere".to_owned(), accept_unverified: true }).is_err());
}

#[test]
fn dates_younger_than_two_seconds_are_racy() {
    let at =
        |micros: i64| Validator { modified: Some(Timestamp::from_micros(NOW.micros() - micros)), ..Validator::staged_at(NOW) }.is_racy();
    assert!(at(0) && at(1_999_999) && at(-5_000_000));
    assert!(!at(2_000_000) && !at(1_000_000_000));
    assert!(!Validator::staged_at(NOW).is_racy());
}

#[test]
fn validators_agree_when_both_can_be_of_one_file() {
    let late = NOW.plus(Duration::from_secs(1));
    let full = Validator {
        size: Some(10),
        modified: Some(NOW),
        etag: Some(b"abc".to_vec()),
        version: Some("v1".to_owned()),
        digest: Some(multihash(&HashAlgorithm::Sha2_256.digest(b"x"))),
        pinned_at: NOW,
    };
    let record = full.clone().record(7, 8);
    assert_eq!(Validator::of(&record), full);
    assert_eq!(full.agrees_with(&record), Ok(()));
    assert_eq!(Validator::staged_at(late).agrees_with(&record), Ok(()), "knows nothing else");
    assert_eq!(full.agrees_with(&Validator::staged_at(late).record(0, 0)), Ok(()));
    let blake = Validator { digest: Some(multihash(&HashAlgorithm::Blake3.digest(b"x"))), ..full.clone() };
    assert_eq!(blake.agrees_with(&record), Ok(()), "two hashes can be of one file");
    for (other, why) in [
        (Validator { size: Some(12), ..full.clone() }, "size 10 → 12"),
        (Validator { modified: Some(late), ..full.clone() }, "modified 2024-06-01T00:00:00.000000Z → 2024-06-01T00:00:01.000000Z"),
        (Validator { etag: Some(b"x\n".to_vec()), ..full.clone() }, "etag abc → x\\n"),
        (Validator { version: Some("v2".to_owned()), ..full.clone() }, "version v1 → v2"),
        (Validator { digest: Some(multihash(&HashAlgorithm::Sha2_256.digest(b"y"))), ..full.clone() }, "digest 1220"),
        (Validator::staged_at(NOW.minus(Duration::from_secs(1))), "modified 2024-06-01T00:00:00.000000Z, after it was pinned"),
    ] {
        let found = other.agrees_with(&record).unwrap_err();
        assert!(found.contains(why), "{found}");
    }
    let newer = Validator { modified: Some(late), ..Validator::staged_at(late) };
    assert!(newer.agrees_with(&Validator::staged_at(NOW).record(0, 0)).unwrap_err().contains("after it was pinned"));
}

#[test]
fn a_range_past_a_known_end_is_refused_when_it_is_set() {
    let known = Validator { size: Some(10), ..Validator::staged_at(NOW) };
    assert!(known.check_range(&(0..10)).is_ok());
    assert_eq!(known.check_range(&(5..11)).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(Validator::staged_at(NOW).check_range(&(0..u64::MAX)).is_ok());
}
