//! References into files that others keep, as commits see them.

use std::fs;
use std::time::{Duration, SystemTime};

use firnline::{
    Access, Allow, CommitOptions, Container, ErrorKind, Existing, FileState, KeyColumn, KeyOrPrefix, OnConflict, Prefix, Remedy, Timestamp,
    Validator, VirtualOptions, VirtualRefs, WhyUnpinned, file_url,
};
use futures::TryStreamExt;

use crate::support::{World, conflicts, key};

pub(crate) struct Source {
    folder: tempfile::TempDir,
    pub(crate) access: Access,
}

impl Source {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let allow: Allow = file_url(folder.path()).unwrap().parse().unwrap();
        Self { access: Access::new([allow]), folder }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// The URL of its directory, with the final slash.
    pub(crate) fn place(&self) -> String {
        format!("{}/", file_url(self.folder.path()).unwrap())
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8], minutes_old: u64) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_740_000_000 - minutes_old * 60);
        fs::File::options().write(true).open(&path).unwrap().set_modified(date).unwrap();
        file_url(&path).unwrap()
    }
}

#[tokio::test]
async fn a_file_that_changed_between_two_commits_is_noticed_unless_all_of_it_is_replaced() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a.nc", b"0123456789", 10);
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x/0"), &url, 0..5).await.unwrap();
    session.set_virtual(&key("x/1"), &url, 5..10).await.unwrap();
    session.commit("pinned").await.unwrap();

    source.write("a.nc", b"9876543210+", 5);
    let error = world.repository.read("main").await.unwrap().get(&key("x/0")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SourceChanged, "{error}");

    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x/2"), &url, 10..11).await.unwrap();
    let failed = session.commit("one more reference").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::SourceChanged, "{failed}");

    let session = failed.into_session();
    session.set_virtual(&key("x/0"), &url, 0..5).await.unwrap();
    session.set_virtual(&key("x/1"), &url, 5..10).await.unwrap();
    let snapshot = session.commit("all of them").await.unwrap();
    assert_eq!(snapshot.get(&key("x/0")).await.unwrap().unwrap().as_ref(), b"98765");
    let files: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    assert_eq!((files.len(), files[0].record.refs, files[0].record.bytes, files[0].record.size), (1, 3, 11, Some(11)));
}

#[tokio::test]
async fn repin_takes_the_file_as_it_is_now() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a.nc", b"0123456789", 10);
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x/0"), &url, 0..5).await.unwrap();
    session.commit("pinned").await.unwrap();
    source.write("a.nc", b"abcdefghijk", 5);
    let session = world.repository.write("main").await.unwrap();
    let mut options = VirtualOptions::default();
    options.repin = true;
    session.set_virtual_with(&key("x/1"), &url, 5..11, &options).await.unwrap();
    let snapshot = session.commit("repinned").await.unwrap();
    assert_eq!(snapshot.get(&key("x/0")).await.unwrap().unwrap().as_ref(), b"abcde");
}

#[tokio::test]
async fn staging_the_same_references_again_changes_nothing() {
    for access in [true, false] {
        let source = Source::new();
        let world = World::allowing(if access { source.access.clone() } else { Access::default() }).await;
        let url = source.write("a.nc", b"0123456789", 10);
        let session = world.repository.write("main").await.unwrap();
        session.set_virtual(&key("x/0"), &url, 0..5).await.unwrap();
        let first = session.commit("pinned").await.unwrap();
        world.clock.advance(Duration::from_secs(100));
        let session = world.repository.write("main").await.unwrap();
        session.set_virtual(&key("x/0"), &url, 0..5).await.unwrap();
        assert_eq!(session.commit("again").await.unwrap().id(), first.id());
    }
}

#[tokio::test]
async fn what_is_known_to_be_wrong_is_refused_when_staged() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a.nc", b"0123456789", 10);
    let session = world.repository.write("main").await.unwrap();
    let kind = |r: firnline::Result<()>| r.unwrap_err().kind();
    assert_eq!(kind(session.set_virtual(&key("x"), &url, 5..11).await), ErrorKind::Invalid, "past the end");
    assert_eq!(kind(session.set_virtual(&key("x"), &format!("{url}.gone"), 0..1).await), ErrorKind::NotFound);
    #[expect(clippy::reversed_empty_ranges, reason = "the range is wrong on purpose")]
    let backwards = 5..4;
    assert_eq!(kind(session.set_virtual(&key("x"), &url, backwards).await), ErrorKind::Invalid);
    let mut options = VirtualOptions::default();
    options.scanned_at = Some(firnline::Timestamp::from_micros(0));
    assert_eq!(kind(session.set_virtual_with(&key("x"), &url, 0..1, &options).await), ErrorKind::SourceChanged);
    assert!(session.commit("nothing of it").await.unwrap().dependencies().try_collect::<Vec<_>>().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_reader_who_allows_nothing_gets_nothing_and_is_told_what_to_allow() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a.nc", b"0123456789", 10);
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x"), &url, 0..5).await.unwrap();
    session.commit("pinned").await.unwrap();
    let stranger = world.reopen(Access::default()).await;
    let snapshot = stranger.read("main").await.unwrap();
    let error = snapshot.get(&key("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let Some(Remedy::Allow(place)) = error.remedy() else { panic!("{error:?}") };
    assert!(url.starts_with(place.as_str()), "{place}");
    assert!(!error.to_string().contains("--allow"), "the command line is named by the command: {error}");
    let files: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    assert_eq!(files[0].url, url, "what a version depends on can be listed all the same");
}

#[tokio::test]
async fn containers_are_kept_and_disagreements_about_them_conflict() {
    let world = World::new().await;
    let container = |template: &str| Container {
        name: "nemo".to_owned(),
        template: template.to_owned(),
        defaults: std::collections::BTreeMap::new(),
        options: std::collections::BTreeMap::new(),
    };
    let session = world.repository.write("main").await.unwrap();
    session.set_container(container("file:///badc/{year}/{month}.nc")).unwrap();
    session.set_virtual(&key("x/0"), "file:///badc/2025/01.nc", 0..10).await.unwrap();
    session.set_virtual(&key("x/1"), "file:///elsewhere/1.nc", 0..10).await.unwrap();
    let snapshot = session.commit("two places").await.unwrap();
    let names: Vec<_> = snapshot.record().containers.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["file://", "nemo"]);
    assert_eq!(snapshot.record().places, ["file:///badc/{year}/{month}.nc", "file:///{}"]);
    let files: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    let nemo = files.iter().find(|d| d.file.container() == "nemo").unwrap();
    assert_eq!(nemo.file.args().collect::<Vec<_>>(), ["2025", "01"]);

    let mine = world.repository.write("main").await.unwrap();
    mine.set_virtual(&key("x/2"), "file:///badc/2025/02.nc", 0..10).await.unwrap();
    let theirs = world.reopen(Access::default()).await.write("main").await.unwrap();
    theirs.set_container(container("file:///moved/{year}/{month}.nc")).unwrap();
    theirs.commit("moved").await.unwrap();
    let failed = mine.commit("on the old place").await.unwrap_err();
    assert_eq!(conflicts(&failed), ["container nemo"]);

    // And the other way round: it is redefined here while they add a reference in it.
    let mine = world.repository.write("main").await.unwrap();
    mine.set_container(container("file:///again/{year}/{month}.nc")).unwrap();
    let theirs = world.reopen(Access::default()).await.write("main").await.unwrap();
    theirs.set_virtual(&key("x/3"), "file:///moved/2025/03.nc", 0..10).await.unwrap();
    theirs.commit("one more").await.unwrap();
    assert_eq!(conflicts(&mine.commit("moved again").await.unwrap_err()), ["container nemo"]);
}

fn named(name: &str, template: &str) -> Container {
    let (defaults, options) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
    Container { name: name.to_owned(), template: template.to_owned(), defaults, options }
}

/// A definition with fewer placeholders once made a snapshot of which no reference could be read again.
#[tokio::test]
async fn a_container_is_not_redefined_away_from_its_files() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set_container(named("nemo", "file:///badc/{year}/{month}.nc")).unwrap();
    session.set_virtual(&key("x"), "file:///badc/2025/01.nc", 0..10).await.unwrap();
    let good = session.commit("placed").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.set_container(named("nemo", "file:///new/{}")).unwrap();
    let failed = session.commit("misplaced").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Invalid, "{failed}");
    assert_eq!(world.repository.read("main").await.unwrap().id(), good.id());
}

/// A digest locked by one writer was once forgotten when another, who knew only size and date, added a reference.
#[tokio::test]
async fn what_is_known_of_a_file_is_never_forgotten() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a.nc", b"0123456789", 10);
    let stranger = world.reopen(Access::default()).await;
    let session = stranger.write("main").await.unwrap();
    let mut options = VirtualOptions::default();
    let mut validator = firnline::Validator::staged_at(firnline::Clock::now(&*world.clock));
    let sha256 = [0x84, 0xd8, 0x98, 0x77, 0xf0, 0xd4, 0x04, 0x1e, 0xfb, 0x6b, 0xf9, 0x1a, 0x16, 0xf0, 0x24, 0x8f, 0x2f, 0xd5];
    let rest = [0x73, 0xe6, 0xaf, 0x05, 0xc1, 0x9f, 0x96, 0xbe, 0xdb, 0x9f, 0x88, 0x2f, 0x78, 0x82];
    validator.digest = Some([&[0x12, 0x20][..], &sha256, &rest].concat());
    options.validator = Some(validator);
    session.set_virtual_with(&key("x/0"), &url, 0..5, &options).await.unwrap();
    let locked = session.commit("locked").await.unwrap();
    let digest = |files: Vec<firnline::Dependency>| files[0].record.digest.clone();
    let before = digest(locked.dependencies().try_collect().await.unwrap());
    assert!(before.is_some());
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x/1"), &url, 5..10).await.unwrap();
    let snapshot = session.commit("one more").await.unwrap();
    let files: Vec<firnline::Dependency> = snapshot.dependencies().try_collect().await.unwrap();
    assert_eq!(files[0].record.size, Some(10), "what was learnt is added");
    assert_eq!(digest(files), before);
    assert_eq!(snapshot.get(&key("x/1")).await.unwrap().unwrap().as_ref(), b"56789", "the digest is that of the file");
}

#[tokio::test]
async fn a_reference_that_is_refused_leaves_the_session_as_it_was() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a.nc", b"0123456789", 10);
    let session = world.repository.write("main").await.unwrap();
    let mut wrong = VirtualOptions::default();
    let mut validator = firnline::Validator::staged_at(firnline::Clock::now(&*world.clock));
    validator.size = Some(5);
    wrong.validator = Some(validator);
    let refused = session.set_virtual_with(&key("x"), &url, 0..10, &wrong).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(session.is_unchanged() || session.get(&key("x")).await.unwrap().is_none());
    session.set_virtual(&key("x"), &url, 0..10).await.unwrap();
    session.commit("with what is there").await.unwrap();
}

/// Two writers who pin one file to different states do not overwrite each other.
#[tokio::test]
async fn two_pins_of_one_file_conflict() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a.nc", b"0123456789", 10);
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x/0"), &url, 0..5).await.unwrap();
    session.commit("pinned").await.unwrap();
    let mut repin = VirtualOptions::default();
    repin.repin = true;
    source.write("a.nc", b"abcdefghijk", 8);
    let mine = world.repository.write("main").await.unwrap();
    mine.set_virtual_with(&key("x/1"), &url, 0..5, &repin).await.unwrap();
    source.write("a.nc", b"ABCDEFGHIJKL", 5);
    let other = world.reopen(source.access.clone()).await;
    let theirs = other.write("main").await.unwrap();
    theirs.set_virtual_with(&key("x/2"), &url, 0..5, &repin).await.unwrap();
    theirs.commit("theirs").await.unwrap();
    let failed = mine.commit("mine").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Conflict);
    assert!(conflicts(&failed)[0].starts_with("file "), "{failed}");
    // Once nothing points into the file here, there is nothing left to disagree about.
    let mine = failed.into_session();
    mine.set(&key("x/1"), "bytes instead").await.unwrap();
    mine.commit("without it").await.unwrap();
}

/// A session could not be mended: a reference to a changed file that bytes had replaced since was still held against the
/// older ones.
#[tokio::test]
async fn a_file_that_nothing_staged_points_into_any_more_decides_nothing() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a.nc", b"0123456789", 10);
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x/0"), &url, 0..5).await.unwrap();
    session.set_virtual(&key("x/1"), &url, 5..10).await.unwrap();
    let pinned = session.commit("pinned").await.unwrap();
    let before = pinned.dependencies().try_collect::<Vec<_>>().await.unwrap().remove(0).record;

    source.write("a.nc", b"9876543210+", 5);
    for repin in [false, true] {
        let mut session = world.repository.write("main").await.unwrap();
        let mut options = VirtualOptions::default();
        options.repin = repin;
        session.set_virtual_with(&key("x/1"), &url, 5..11, &options).await.unwrap();
        if !repin {
            let failed = session.commit("another state").await.unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::SourceChanged, "{failed}");
            session = failed.into_session();
        }
        session.set(&key("x/1"), format!("bytes instead {repin}")).await.unwrap();
        let snapshot = session.commit("without it").await.unwrap();
        let after = snapshot.dependencies().try_collect::<Vec<_>>().await.unwrap().remove(0).record;
        assert_eq!((after.refs, after.modified, after.size), (1, before.modified, before.size), "repin: {repin}");
    }
}

/// A reference that another writer added, when nothing else about its file changed, was once pinned to a state that its
/// writer never saw.
#[tokio::test]
async fn a_file_is_not_pinned_anew_under_a_reference_that_another_writer_added() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a.nc", b"0123456789", 10);
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x/0"), &url, 0..5).await.unwrap();
    session.commit("pinned").await.unwrap();
    let theirs = world.reopen(source.access.clone()).await.write("main").await.unwrap();
    theirs.set_virtual(&key("x/2"), &url, 5..10).await.unwrap();
    let mut repin = VirtualOptions::default();
    repin.repin = true;
    source.write("a.nc", b"abcdefghijk", 5);
    let mine = world.repository.write("main").await.unwrap();
    mine.set_virtual_with(&key("x/1"), &url, 0..5, &repin).await.unwrap();
    theirs.commit("one more").await.unwrap();
    let failed = mine.commit("mine").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Conflict, "{failed}");
    assert!(conflicts(&failed)[0].starts_with("file "), "{failed}");
}

/// A reference that moved from one file of a container to another once went unnoticed: there were as many as before.
#[tokio::test]
async fn a_container_is_not_redefined_under_a_reference_that_another_writer_changed() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set_container(named("nemo", "file:///badc/{year}/{month}.nc")).unwrap();
    session.set_virtual(&key("x"), "file:///badc/2025/01.nc", 0..10).await.unwrap();
    session.commit("placed").await.unwrap();
    let mine = world.repository.write("main").await.unwrap();
    mine.set_container(named("nemo", "file:///new/{year}/{month}.nc")).unwrap();
    let theirs = world.reopen(Access::default()).await.write("main").await.unwrap();
    theirs.set_virtual(&key("x"), "file:///badc/2025/01.nc", 10..20).await.unwrap();
    theirs.commit("another range").await.unwrap();
    assert_eq!(conflicts(&mine.commit("moved").await.unwrap_err()), ["container nemo"]);
}

/// A commit once pinned a file to a state too short for the references it had already: a repository that could not be
/// exported and imported again.
#[tokio::test]
async fn a_file_is_not_pinned_to_a_state_that_is_too_short_for_older_references() {
    for repin in [true, false] {
        let source = Source::new();
        let world = World::allowing(source.access.clone()).await;
        let url = source.write("a.nc", b"0123456789", 10);
        // Who may not look at the file knows no length of it. That it was not touched since is shown by its change time.
        world.clock.set(firnline::Clock::now(&firnline::SystemClock));
        world.clock.advance(Duration::from_secs(1));
        let first = if repin { world.repository.clone() } else { world.reopen(Access::default()).await };
        let session = first.write("main").await.unwrap();
        session.set_virtual(&key("x/0"), &url, 0..if repin { 10 } else { 12 }).await.unwrap();
        let old = session.commit("pinned").await.unwrap();
        if repin {
            source.write("a.nc", b"012345", 5);
        }
        let mut options = VirtualOptions::default();
        options.repin = repin;
        let session = world.repository.write("main").await.unwrap();
        session.set_virtual_with(&key("x/1"), &url, 0..5, &options).await.unwrap();
        let failed = session.commit("too short").await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Invalid, "{failed}");
        assert!(failed.to_string().starts_with("x/0 ends at byte 1"), "{failed}");
        assert_eq!(world.repository.read("main").await.unwrap().id(), old.id());
        let session = failed.into_session();
        session.set_virtual(&key("x/0"), &url, 0..6).await.unwrap();
        session.commit("long enough").await.unwrap();
        assert!(world.repository.verify(firnline::VerifyScope::Everything).await.unwrap().findings.is_empty());
    }
}

#[tokio::test]
async fn references_into_files_that_nothing_pins_are_listed_before_the_commit() {
    let source = Source::new();
    let url = source.write("a.nc", b"0123456789", 10);
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x/0"), &url, 0..5).await.unwrap();
    session.set_virtual(&key("x/1"), "s3://elsewhere/b.nc", 0..5).await.unwrap();
    let unpinned: Vec<_> = session.unpinned().unwrap().into_iter().map(|file| (file.url, file.why)).collect();
    assert_eq!(unpinned, [(url.clone(), WhyUnpinned::NotAllowed), ("s3://elsewhere/b.nc".to_owned(), WhyUnpinned::NotAllowed)]);
    // The sums of directories, for one reason and one remedy each.
    for n in 2..9 {
        session.set_virtual(&key(&format!("x/{n}")), &format!("s3://elsewhere/{n}/c.nc?v"), 0..5).await.unwrap();
        session.set_virtual(&key(&format!("y/{n}")), &format!("s3://elsewhere/d{n}.nc"), 0..5).await.unwrap();
    }
    let files: Vec<_> = session.unpinned().unwrap();
    assert!(files.len() == 16 && files.is_sorted_by_key(|file| file.file.clone()), "in the order of the files map");
    assert!(files.iter().all(|file| file.problem.as_ref().is_some_and(|problem| problem.contains("not allowed"))), "{files:?}");
    let places = session.unpinned_places().unwrap();
    assert!(places.iter().all(|place| files.contains(&place.first)), "{places:?}");
    let sums: Vec<_> = places.iter().map(|place| (place.place.as_str(), place.files)).collect();
    let one = |n: u64| format!("s3://elsewhere/{n}/");
    let mut want = vec![(url.strip_suffix("a.nc").unwrap().to_owned(), 1), ("s3://elsewhere/".to_owned(), 8)];
    want.extend((2..9).map(|n| (one(n), 1)));
    assert_eq!(sums, want.iter().map(|(place, files)| (place.as_str(), *files)).collect::<Vec<_>>());
    session.commit("files that nobody looked up").await.unwrap();

    // A reader who may read the file is told before the bytes.
    let reader = world.reopen(source.access.clone()).await;
    let snapshot = reader.read("main").await.unwrap();
    assert_eq!(snapshot.get(&key("x/0")).await.unwrap_err().kind(), ErrorKind::Unsupported);
    let files: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    assert_eq!(snapshot.check_dependency(&files[0]).await.unwrap().state(), FileState::Unverifiable);
    let place = format!("{}=unpinned", url.strip_suffix("a.nc").unwrap());
    let accepting = world.reopen(Access::parse([place.as_str()]).unwrap()).await;
    assert_eq!(accepting.read("main").await.unwrap().get(&key("x/0")).await.unwrap().unwrap().as_ref(), b"01234");

    // Pinned by somebody who may look, and then never unpinned by one who may not.
    let session = reader.write("main").await.unwrap();
    session.set_virtual(&key("x/0"), &url, 0..5).await.unwrap();
    assert!(session.unpinned().unwrap().is_empty());
    session.commit("pinned").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x/0"), &url, 5..10).await.unwrap();
    assert!(session.unpinned().unwrap().is_empty(), "the branch knows the file");
    session.commit("another part of it").await.unwrap();
    let snapshot = reader.read("main").await.unwrap();
    assert_eq!(snapshot.get(&key("x/0")).await.unwrap().unwrap().as_ref(), b"56789");
}

#[tokio::test]
async fn a_validator_that_no_reader_would_accept_is_refused_when_it_is_given() {
    let world = World::new().await;
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let bare = Validator::staged_at(now);
    for wrong in [
        Validator { etag: Some(vec![b'x'; 257]), ..bare.clone() },
        Validator { etag: Some(b"\"quoted\"".to_vec()), ..bare.clone() },
        Validator { version: Some("v".repeat(257)), ..bare.clone() },
        Validator { size: Some(1 << 63), ..bare.clone() },
        Validator { digest: Some(vec![1, 2, 3]), ..bare.clone() },
        Validator { modified: Some(Timestamp::from_micros(i64::MAX)), ..bare.clone() },
    ] {
        let mut options = VirtualOptions::default();
        options.validator = Some(wrong);
        let session = world.repository.write("main").await.unwrap();
        let error = session.set_virtual_with(&key("x"), "s3://b/x", 0..5, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(session.entry(&key("x")).await.unwrap(), None, "nothing is staged");
    }
}

/// Lengths of references into files that nobody looked up are the word of the caller. Their sum is bounded by the format.
#[tokio::test]
async fn references_that_add_up_to_more_than_a_node_can_say_are_refused_by_the_commit() {
    let world = World::new().await;
    for urls in [["s3://b/x", "s3://b/x"], ["s3://b/x", "s3://b/y"]] {
        let session = world.repository.write("main").await.unwrap();
        for (n, url) in urls.into_iter().enumerate() {
            session.set_virtual(&key(&format!("x/{n}")), url, 0..i64::MAX as u64 - 10).await.unwrap();
        }
        let error = session.commit("too much").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let snapshot = world.reopen(Access::default()).await.read("main").await.unwrap();
        assert!(snapshot.list(&Prefix::all()).try_collect::<Vec<_>>().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn repin_by_url_or_prefix_takes_files_as_they_are_and_leaves_references_alone() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let (a, b) = (source.write("a.nc", b"0123456789", 10), source.write("b.nc", b"0123456789", 10));
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x/0"), &a, 0..5).await.unwrap();
    session.set_virtual(&key("x/1"), &a, 5..10).await.unwrap();
    session.set_virtual(&key("y"), &b, 0..5).await.unwrap();
    let first = session.commit("pinned").await.unwrap();
    source.write("a.nc", b"abcdefghijk", 5);
    let error = first.get(&key("x/0")).await.unwrap_err();
    assert_eq!(error.remedy(), Some(&Remedy::Repin(a.clone())), "{error:?}");

    let session = world.repository.write("main").await.unwrap();
    let directory = a.strip_suffix("/a.nc").unwrap();
    let repinned = session.repin(&[directory]).await.unwrap();
    assert_eq!(repinned.iter().map(|file| file.url.as_str()).collect::<Vec<_>>(), [a.as_str()], "b.nc is as it was");
    assert!(repinned[0].differences().starts_with("size 10 → 11, modified "), "{}", repinned[0].differences());
    let second = session.commit("repinned").await.unwrap();
    assert_eq!(second.record().manifest, first.record().manifest, "references stay as they are");
    assert_eq!(second.get(&key("x/1")).await.unwrap().unwrap().as_ref(), b"fghij");

    let session = world.repository.write("main").await.unwrap();
    assert!(session.repin(&[a.as_str()]).await.unwrap().is_empty());
    assert_eq!(session.commit("nothing to do").await.unwrap().id(), second.id());
    let session = world.repository.write("main").await.unwrap();
    assert_eq!(session.repin(&["file:///nowhere/"]).await.unwrap_err().kind(), ErrorKind::NotFound);

    // A file that is too short for its references now.
    source.write("a.nc", b"0123456", 3);
    session.repin(&[a.as_str()]).await.unwrap();
    let failed = session.commit("cut short").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Invalid, "{failed}");
}

#[tokio::test]
async fn repinning_while_another_writer_adds_a_reference_to_the_old_state_conflicts() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a.nc", b"0123456789", 10);
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x/0"), &url, 0..5).await.unwrap();
    session.commit("pinned").await.unwrap();
    let theirs = world.repository.write("main").await.unwrap();
    theirs.set_virtual(&key("x/1"), &url, 5..10).await.unwrap();
    let mine = world.repository.write("main").await.unwrap();
    source.write("a.nc", b"abcdefghijk", 5);
    mine.repin(&[url.as_str()]).await.unwrap();
    theirs.commit("another reference").await.unwrap();
    let failed = mine.commit("repinned").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Conflict, "{failed}");
}

#[tokio::test]
async fn what_a_commit_would_change_is_counted_against_its_base() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    for n in 0..5 {
        session.set(&key(&format!("d/{n}")), format!("{n}")).await.unwrap();
    }
    session.set(&key("e"), "kept").await.unwrap();
    session.commit("six keys").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("new"), "1").await.unwrap();
    session.set(&key("gone"), "1").await.unwrap();
    session.delete(&key("gone")).await.unwrap();
    session.set(&key("e"), "kept").await.unwrap();
    session.delete_prefix(&Prefix::new("d").unwrap());
    session.set(&key("d/1"), "1").await.unwrap();
    session.set(&key("d/2"), "other").await.unwrap();
    session.delete_prefix(&Prefix::new("zz").unwrap());
    session.set_virtual(&key("v"), "s3://b/x", 0..5).await.unwrap();
    let changes = session.changes().await.unwrap();
    assert_eq!((changes.set, changes.pointed, changes.deleted, changes.unchanged), (2, 1, 3, 2));
}

/// A file was referred to without a pin, replaced by one of an older date, and then pinned for another reference: the first one gave
/// the bytes of the new file.
#[tokio::test]
async fn references_without_a_pin_gain_none_that_was_looked_up_later() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let stranger = world.reopen(Access::default()).await;
    let url = source.write("a.nc", b"AAAABBBBCCCC", 10);
    let session = stranger.write("main").await.unwrap();
    session.set_virtual(&key("k1"), &url, 4..8).await.unwrap();
    session.commit("not looked up").await.unwrap();
    source.write("a.nc", b"aaaabbbbcccc", 1000);

    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("k2"), &url, 4..8).await.unwrap();
    // The session itself reads each reference as its file was for it.
    assert_eq!(session.get(&key("k2")).await.unwrap().unwrap().as_ref(), b"bbbb");
    assert_eq!(session.get(&key("k1")).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(session.get_many(&[key("k2"), key("k1")]).await.unwrap_err().kind(), ErrorKind::Unsupported);
    let failed = session.commit("looked up").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unsupported, "{failed}");
    assert!(failed.to_string().contains("without a pin"), "{failed}");
    assert_eq!(failed.error().remedy(), Some(&Remedy::Repin(url.clone())));
    // Moved by the same session, the older reference is still one without a pin.
    let session = failed.into_session();
    let moved = session.rename("k1", "k3", Existing::Refuse).await.unwrap_err();
    assert_eq!(moved.kind(), ErrorKind::Unsupported, "{moved}");

    // To pin it anew says that the file as it is now is meant, for all references.
    let session = world.repository.write("main").await.unwrap();
    session.repin(&[url.as_str()]).await.unwrap();
    session.commit("repinned").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("k2"), &url, 4..8).await.unwrap();
    let snapshot = session.commit("another reference").await.unwrap();
    assert_eq!(snapshot.get(&key("k1")).await.unwrap().unwrap().as_ref(), b"bbbb");
}

/// The change time shows that nobody touched the file since the first reference to it was staged.
#[tokio::test]
async fn references_without_a_pin_gain_the_pin_of_a_file_that_was_not_touched_since() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    world.clock.set(firnline::Clock::now(&firnline::SystemClock));
    world.clock.advance(Duration::from_secs(1));
    let url = source.write("a.nc", b"AAAABBBBCCCC", 10);
    let session = world.reopen(Access::default()).await.write("main").await.unwrap();
    session.set_virtual(&key("k1"), &url, 4..8).await.unwrap();
    session.commit("not looked up").await.unwrap();
    world.clock.advance(Duration::from_secs(5));
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("k2"), &url, 4..8).await.unwrap();
    let snapshot = session.commit("looked up").await.unwrap();
    let file = snapshot.dependencies().try_collect::<Vec<_>>().await.unwrap().remove(0);
    assert!(file.record.is_pinned() && file.record.refs == 2, "{file:?}");
    assert_eq!(snapshot.check_dependency(&file).await.unwrap().state(), FileState::Unchanged);
}

#[tokio::test]
async fn a_pin_of_another_writer_conflicts_with_references_staged_without_one() {
    for policy in [OnConflict::Refuse, OnConflict::Ours, OnConflict::Theirs] {
        let source = Source::new();
        let world = World::allowing(source.access.clone()).await;
        let stranger = world.reopen(Access::default()).await;
        let url = source.write("a.nc", b"AAAABBBBCCCC", 10);
        let mine = stranger.write("main").await.unwrap();
        mine.set_virtual(&key("k1"), &url, 4..8).await.unwrap();
        source.write("a.nc", b"aaaabbbbcccc", 1000);
        let theirs = world.repository.write("main").await.unwrap();
        theirs.set_virtual(&key("k2"), &url, 4..8).await.unwrap();
        theirs.commit("pinned").await.unwrap();
        let failed = mine.commit(CommitOptions::from("not looked up").on_conflict(policy)).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Conflict, "{failed}");
        assert!(conflicts(&failed)[0].starts_with("file "), "{failed}");

        // Begun anew, the reference is to the file that the branch has pinned; and to no other that is pinned meanwhile.
        let mine = stranger.write("main").await.unwrap();
        mine.set_virtual(&key("k1"), &url, 4..8).await.unwrap();
        source.write("a.nc", b"0000111122223", 2000);
        let theirs = world.repository.write("main").await.unwrap();
        theirs.repin(&[url.as_str()]).await.unwrap();
        theirs.commit("repinned").await.unwrap();
        let failed = mine.commit(CommitOptions::from("not looked up").on_conflict(policy)).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Conflict, "{failed}");
    }
}

/// A file is pinned anew while another writer adds a reference without a pin, which nobody knows to be to that state.
#[tokio::test]
async fn repinning_while_another_writer_adds_a_reference_without_a_pin_conflicts() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let stranger = world.reopen(Access::default()).await;
    let url = source.write("a.nc", b"AAAABBBBCCCC", 10);
    let session = stranger.write("main").await.unwrap();
    session.set_virtual(&key("k1"), &url, 4..8).await.unwrap();
    session.commit("not looked up").await.unwrap();
    let mine = world.repository.write("main").await.unwrap();
    mine.repin(&[url.as_str()]).await.unwrap();
    let theirs = stranger.write("main").await.unwrap();
    theirs.set_virtual(&key("k2"), &url, 0..4).await.unwrap();
    theirs.commit("one more").await.unwrap();
    let failed = mine.commit("repinned").await.unwrap_err();
    assert!(conflicts(&failed)[0].starts_with("file "), "{failed}");
}

#[tokio::test]
async fn references_of_one_session_gain_no_pin_from_each_other() {
    let source = Source::new();
    let world = World::new().await;
    let url = source.write("a.nc", b"AAAABBBBCCCC", 10);
    let now = firnline::Clock::now(&*world.clock);
    let pin = Validator { etag: Some(b"x".to_vec()), ..Validator::staged_at(now) };
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("k1"), &url, 4..8).await.unwrap();
    world.clock.advance(Duration::from_secs(5));
    let options = VirtualOptions::default().validator(pin.clone());
    let error = session.set_virtual_with(&key("k2"), &url, 4..8, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert_eq!(session.entry(&key("k2")).await.unwrap(), None);
    let refs = VirtualRefs {
        keys: KeyColumn::Keys(&["k2", "k3"]),
        urls: &[url.as_str()],
        url: &[0, 0],
        offset: &[4, 0],
        length: &[4, 4],
        validators: &[],
    };
    let error = session.set_virtual_many(&refs, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    session.set_virtual_with(&key("k2"), &url, 4..8, &options.clone().repin()).await.unwrap();
    session.commit("the caller says so").await.unwrap();

    // What a caller who knows the pin adds without one is to the pinned state.
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("k4"), &url, 4..8).await.unwrap();
    assert!(session.unpinned().unwrap().is_empty());
    let snapshot = session.commit("one more").await.unwrap();
    let files: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    assert_eq!((files[0].record.etag.clone(), files[0].record.refs), (pin.etag, 3));
}

/// Two lookups that tell nothing in common say nothing about each other.
#[tokio::test]
async fn references_gain_no_pin_of_which_their_own_tells_nothing() {
    let world = World::new().await;
    let now = firnline::Clock::now(&*world.clock);
    let bare = Validator::staged_at(now);
    let etag = Validator { etag: Some(b"x".to_vec()), size: Some(12), ..bare.clone() };
    let dated = Validator { modified: Some(now.minus(Duration::from_hours(1))), size: Some(12), ..bare.clone() };
    let both = Validator { modified: dated.modified, ..etag.clone() };
    let (sized, day) = (Validator { size: Some(12), ..bare.clone() }, Validator { size: None, ..dated.clone() });
    for (name, first, second, joined) in [
        ("etag then date", &etag, &dated, None),
        ("date then etag", &dated, &etag, None),
        ("etag then both", &etag, &both, Some(&both)),
        ("size then date", &sized, &day, Some(&sized)),
    ] {
        let url = format!("s3://b/{}", name.replace(' ', "-"));
        let session = world.repository.write("main").await.unwrap();
        let options = |validator: &Validator| VirtualOptions::default().validator(validator.clone());
        session.set_virtual_with(&key(&format!("{name}/1")), &url, 0..4, &options(first)).await.unwrap();
        session.commit("first").await.unwrap();
        let session = world.repository.write("main").await.unwrap();
        session.set_virtual_with(&key(&format!("{name}/2")), &url, 0..4, &options(second)).await.unwrap();
        match (session.commit("second").await, joined) {
            (Err(failed), None) => assert_eq!(failed.kind(), ErrorKind::Unsupported, "{name}: {failed}"),
            (Ok(snapshot), Some(joined)) => {
                let files: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
                let file = files.iter().find(|file| file.url == url).unwrap();
                assert_eq!(&Validator::of(&file.record), joined, "{name}");
            }
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
    }
}

/// A writer whose clock was behind staged the same reference again: the commit changed nothing but the moment of its staging, and could
/// conflict.
#[tokio::test]
async fn a_reference_that_is_staged_again_by_an_earlier_clock_changes_nothing() {
    let world = World::new().await;
    let stage = async || {
        let session = world.repository.write("main").await.unwrap();
        session.set_virtual(&key("k1"), "https://example.org/a.nc", 4..8).await.unwrap();
        session.commit("staged").await.unwrap()
    };
    let first = stage().await;
    world.clock.set(firnline::Timestamp::from_micros(first.record().time.micros() - 60_000_000));
    assert_eq!(stage().await.id(), first.id());
}

/// A reference without a pin was copied to a branch whose record of the file was younger, and a change in between went unnoticed.
#[tokio::test]
async fn a_copied_reference_without_a_pin_keeps_the_moment_of_its_staging() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let stranger = world.reopen(Access::default()).await;
    let url = source.write("a.nc", b"AAAABBBBCCCC", 10);
    let empty = world.repository.read("main").await.unwrap();
    world.repository.create_branch(&"b2".parse().unwrap(), &empty).await.unwrap();
    let session = stranger.write("b2").await.unwrap();
    session.set_virtual(&key("k1"), &url, 4..8).await.unwrap();
    let old = session.commit("early").await.unwrap();
    let staged_at = |snapshot: firnline::Snapshot| async move {
        snapshot.dependencies().try_collect::<Vec<_>>().await.unwrap().remove(0).record.pinned_at
    };
    let early = staged_at(old.clone()).await;
    world.clock.advance(Duration::from_secs(100));
    let session = stranger.write("main").await.unwrap();
    session.set_virtual(&key("k2"), &url, 4..8).await.unwrap();
    session.commit("late").await.unwrap();
    let session = stranger.write("main").await.unwrap();
    session.copy_from(&stranger.read("b2").await.unwrap(), &KeyOrPrefix::Key(key("k1")), "k1", Existing::Refuse).await.unwrap();
    assert_eq!(staged_at(session.commit("copied").await.unwrap()).await, early);

    // Onto a branch that has pinned the file meanwhile it does not go.
    source.write("a.nc", b"aaaabbbbcccc", 1000);
    let session = world.repository.write("main").await.unwrap();
    session.repin(&[url.as_str()]).await.unwrap();
    session.commit("repinned").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.copy_from(&world.repository.read("b2").await.unwrap(), &KeyOrPrefix::Key(key("k1")), "k1c", Existing::Refuse).await.unwrap();
    assert_eq!(session.get(&key("k1c")).await.unwrap_err().kind(), ErrorKind::Unsupported);
    let failed = session.commit("copied").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unsupported, "{failed}");
}

/// A policy that undoes a change of the other side puts back a reference of the base, whose file was looked up here since.
#[tokio::test]
async fn a_reference_that_a_policy_puts_back_gains_no_pin() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a.nc", b"AAAABBBBCCCC", 10);
    let array = |chunk: u64| {
        format!(
            r#"{{"zarr_format": 3, "node_type": "array", "shape": [8], "data_type": "uint8", "fill_value": 0, "codecs": ["bytes"],
                "chunk_grid": {{"name": "regular", "configuration": {{"chunk_shape": [{chunk}]}}}},
                "chunk_key_encoding": {{"name": "default"}}}}"#
        )
    };
    let session = world.reopen(Access::default()).await.write("main").await.unwrap();
    session.set(&key("x/zarr.json"), array(4)).await.unwrap();
    session.set_virtual(&key("x/c/0"), &url, 4..8).await.unwrap();
    session.commit("not looked up").await.unwrap();
    source.write("a.nc", b"aaaabbbbcccc", 1000);
    let mine = world.repository.write("main").await.unwrap();
    mine.set(&key("x/zarr.json"), array(8)).await.unwrap();
    mine.set_virtual(&key("other"), &url, 4..8).await.unwrap();
    let theirs = world.repository.write("main").await.unwrap();
    theirs.set(&key("x/c/0"), "bytes instead").await.unwrap();
    theirs.commit("bytes").await.unwrap();
    let failed = mine.commit(CommitOptions::from("mine").on_conflict(OnConflict::Ours)).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unsupported, "{failed}");
    assert!(failed.to_string().contains("without a pin"), "{failed}");
}
