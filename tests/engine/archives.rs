//! Containers, archives that moved, and copies of their bytes.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use firnline::storage::fault::{Call, Fault, Faulty, Operation};
use firnline::{
    Access, Container, Dependency, ErrorDetail, ErrorKind, ImportSteps, OpenOptions, Prefix, RelocateOptions, Repository, Snapshot,
    Validator, VendorOptions, Vendored, VerifyScope, VirtualOptions,
};
use futures::TryStreamExt as _;

use crate::support::{World, key};
use crate::virtuals::Source;

async fn dependencies(snapshot: &Snapshot) -> Vec<Dependency> {
    snapshot.dependencies().try_collect().await.unwrap()
}

async fn urls(snapshot: &Snapshot) -> Vec<String> {
    let mut urls: Vec<_> = dependencies(snapshot).await.into_iter().map(|found| found.url).collect();
    urls.sort();
    urls
}

async fn is_sound(repository: &Repository) {
    let found = repository.verify(VerifyScope::Everything).await.unwrap().findings;
    assert!(found.is_empty(), "{found:?}");
}

/// Files `a/0.nc` to `a/9.nc`, three references into each.
async fn ten_files(source: &Source, containers: &[Container]) -> (World, Snapshot) {
    let world = World::allowing(source.access.clone()).await;
    let session = world.repository.write("main").await.unwrap();
    for container in containers {
        session.add_container(container.clone()).unwrap();
    }
    for n in 0..10 {
        let url = source.write(&format!("a/{n}.nc"), format!("{n}123456789abcdef").as_bytes(), 10);
        for m in 0..3 {
            session.set_virtual(&key(&format!("x/{n}/{m}")), &url, m..m + 5).await.unwrap();
        }
    }
    let snapshot = session.commit("ten files").await.unwrap();
    (world, snapshot)
}

fn move_all(source: &Source, from: &str, to: &str) {
    fs::rename(source.path(from), source.path(to)).unwrap();
}

#[tokio::test]
async fn a_container_is_added_once_changed_in_place_and_removed_when_empty() {
    let source = Source::new();
    let place = source.place();
    let (world, _) = ten_files(&source, &[Container::new("nc", format!("{place}a/{{}}.nc"))]).await;
    let session = world.repository.write("main").await.unwrap();
    let error = session.add_container(Container::new("nc", "file:///else/{}")).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("container nc exists"), "{error}");
    let error = session.change_container(Container::new("other", "file:///else/{}")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("it has nc"), "{error}");
    let error = session.change_container(Container::new("nc", format!("{place}b/{{}}.nc"))).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("gives 10 of its files another place"), "{error}");
    let error = session.remove_container("nc").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("10 files with 30 references"), "{error}");
    assert_eq!(session.remove_container("absent").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(session.is_unchanged());

    // Another name for the placeholder, and options, leave the URLs as they are.
    let mut renamed = Container::new("nc", format!("{place}a/{{month}}.nc"));
    renamed.options.insert("region".to_owned(), "eu".to_owned());
    session.change_container(renamed.clone()).await.unwrap();
    session.add_container(Container::new("empty", "s3://b/{}")).unwrap();
    let snapshot = session.commit("defined").await.unwrap();
    let uses = snapshot.container_uses().await.unwrap();
    let shown: Vec<_> = uses.iter().map(|(c, used)| (c.name.as_str(), used.files, used.refs, used.bytes)).collect();
    assert_eq!(shown, [("empty", 0, 0, 0), ("nc", 10, 30, 150)]);

    let session = world.repository.write("main").await.unwrap();
    session.remove_container("empty").await.unwrap();
    assert_eq!(session.containers(), [renamed.clone()]);
    assert_eq!(session.fork().await.unwrap_err().kind(), ErrorKind::Invalid, "forks have no word for it");
    let snapshot = session.commit("removed").await.unwrap();
    assert_eq!(snapshot.record().containers, [renamed]);
    assert!(snapshot.record().places.contains(&"s3://b/{}".to_owned()), "places only grow");
    is_sound(&world.repository).await;
}

#[tokio::test]
async fn a_container_that_another_writer_uses_is_not_removed() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.add_container(Container::new("b", "s3://b/{}")).unwrap();
    session.commit("defined").await.unwrap();
    let mine = world.repository.write("main").await.unwrap();
    mine.remove_container("b").await.unwrap();
    let theirs = world.reopen(Access::default()).await.write("main").await.unwrap();
    theirs.set_virtual(&key("x"), "s3://b/y", 0..1).await.unwrap();
    theirs.commit("used").await.unwrap();
    let failed = mine.commit("removed").await.unwrap_err();
    assert_eq!((failed.kind(), crate::support::conflicts(&failed)), (ErrorKind::Conflict, vec!["container b".to_owned()]), "{failed}");
    // Redefined there, removed here.
    let mine = world.repository.write("main").await.unwrap();
    mine.delete(&key("x")).await.unwrap();
    mine.commit("unused").await.unwrap();
    let mine = world.repository.write("main").await.unwrap();
    mine.remove_container("b").await.unwrap();
    let theirs = world.reopen(Access::default()).await.write("main").await.unwrap();
    theirs.change_container(Container::new("b", "s3://b/c/{}")).await.unwrap();
    theirs.commit("changed").await.unwrap();
    assert_eq!(mine.commit("removed").await.unwrap_err().kind(), ErrorKind::Conflict);
    // Removed and set again in one session, it is there.
    let mine = world.repository.write("main").await.unwrap();
    mine.remove_container("b").await.unwrap();
    mine.set_virtual(&key("x"), "s3://b/c/y", 0..1).await.unwrap();
    mine.set_container(Container::new("b", "s3://b/{}")).unwrap();
    let names: Vec<_> = mine.commit("again").await.unwrap().record().containers.iter().map(|c| c.name.clone()).collect();
    assert_eq!(names, ["b", "s3://b"]);
    is_sound(&world.repository).await;
}

/// Such a session once published a version whose files lay in a container that it lacked.
#[tokio::test]
async fn a_container_into_which_this_session_stages_is_neither_removed_nor_pointed_elsewhere() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("x"), "s3://b/y", 0..1).await.unwrap();
    session.add_container(Container::new("c", "s3://c/{}")).unwrap();
    session.set_virtual(&key("z"), "s3://c/y", 0..1).await.unwrap();
    for name in ["s3://b", "c"] {
        let error = session.remove_container(name).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("references into 1 files"), "{error}");
    }
    let error = session.change_container(Container::new("c", "s3://d/{}")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("s3://c/y"), "{error}");
    session.change_container(Container::new("c", "s3://c/{name}")).await.unwrap();
    let snapshot = session.commit("staged").await.unwrap();
    assert_eq!(urls(&snapshot).await, ["s3://b/y", "s3://c/y"]);
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("new"), "s3://c/new", 0..1).await.unwrap();
    let error = session.change_container(Container::new("c", "s3://d/{}")).await.unwrap_err();
    assert!(error.to_string().contains("gives 2 of its files another place"), "{error}");
    // A reference that is staged no more counts no more.
    session.set_virtual(&key("new"), "s3://e/new", 0..1).await.unwrap();
    session.delete(&key("new")).await.unwrap();
    session.remove_container("s3://e").await.unwrap();
    is_sound(&world.repository).await;
}

#[tokio::test]
async fn files_are_renamed_with_their_urls_and_records_as_they_were() {
    let source = Source::new();
    let (world, before) = ten_files(&source, &[]).await;
    world.clock.advance(Duration::from_secs(100));
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("y"), "s3://b/one", 0..1).await.unwrap();
    session.set_virtual(&key("z"), "s3://b/two", 0..1).await.unwrap();
    assert_eq!(session.automatic_files(), 2);
    session.set_container(Container::new("b", "s3://c/{}")).unwrap();
    session.set_virtual(&key("z"), "s3://c/three", 0..1).await.unwrap();
    assert_eq!(session.automatic_files(), 2);
    drop(session);
    let suggested = before.suggest_containers().await.unwrap();
    assert_eq!((suggested.len(), suggested[0].files, suggested[0].refs), (1, 10, 30), "{suggested:?}");
    assert!(suggested[0].container.template.ends_with("/a/{}.nc"), "{suggested:?}");
    let session = world.repository.write("main").await.unwrap();
    let renamed = session.rename_files(&[suggested[0].container.clone()]).await.unwrap();
    assert_eq!((renamed.files, renamed.refs, renamed.leaves), (10, 30, 1));
    assert_eq!(renamed.bytes_saved, suggested[0].bytes_saved);
    let after = session.commit("shorter").await.unwrap();
    let by_url = |mut files: Vec<Dependency>| {
        files.sort_by(|a, b| a.url.cmp(&b.url));
        files.into_iter().map(|found| (found.url, found.record)).collect::<Vec<_>>()
    };
    assert_eq!(by_url(dependencies(&after).await), by_url(dependencies(&before).await));
    assert!(dependencies(&after).await.iter().all(|found| found.file.container() == suggested[0].container.name));
    let names: Vec<_> = after.record().containers.iter().map(|c| &c.name).collect();
    assert_eq!(names, [&suggested[0].container.name], "the automatic container is gone");
    assert!(before.record().places.iter().all(|place| after.record().places.contains(place)));
    assert_eq!(after.get(&key("x/3/1")).await.unwrap().unwrap().as_ref(), b"12345");
    // A new reference to one of the files has the same name.
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("y"), &urls(&after).await[3], 0..1).await.unwrap();
    assert_eq!(dependencies(&session.commit("one more").await.unwrap()).await.len(), 10);
    assert!(world.repository.read("main").await.unwrap().suggest_containers().await.unwrap().is_empty(), "nothing is left to do");
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("z"), "1").await.unwrap();
    assert_eq!(session.rename_files(&[]).await.unwrap_err().kind(), ErrorKind::Invalid, "something is staged");
    is_sound(&world.repository).await;
}

#[tokio::test]
async fn an_archive_that_moved_is_followed_by_its_template_alone() {
    let source = Source::new();
    let place = source.place();
    let mut container = Container::new("nc", format!("{place}{{dir}}/{{}}.nc"));
    container.defaults.insert("dir".to_owned(), "a".to_owned());
    let (world, before) = ten_files(&source, &[container]).await;
    move_all(&source, "a", "b");
    world.clock.advance(Duration::from_secs(100));
    let session = world.repository.write("main").await.unwrap();
    let moved = session.relocate(&format!("{place}a"), &format!("{place}b/"), RelocateOptions::default()).await.unwrap();
    assert_eq!((moved.files.len(), moved.refs, moved.leaves), (10, 0, 0));
    assert_eq!(moved.containers, [Container::new("nc", format!("{place}b/{{}}.nc"))]);
    let after = session.commit("moved").await.unwrap();
    assert_eq!(after.record().manifest, before.record().manifest, "no reference is touched");
    assert_eq!(after.get(&key("x/3/1")).await.unwrap().unwrap().as_ref(), b"12345");
    assert_eq!(after.record().places, [format!("{place}a/{{}}.nc"), format!("{place}b/{{}}.nc")]);
    assert!(before.get(&key("x/3/1")).await.is_err(), "the older version is at the older place");

    // And back: the same URLs, by a template that begins with the place itself.
    move_all(&source, "b", "a");
    let session = world.repository.write("main").await.unwrap();
    session.relocate(&format!("{place}b"), &format!("{place}a"), RelocateOptions::default()).await.unwrap();
    let back = session.commit("back").await.unwrap();
    assert_eq!((urls(&back).await, back.record().manifest), (urls(&before).await, before.record().manifest));
    is_sound(&world.repository).await;
}

#[tokio::test]
async fn an_archive_inside_a_larger_container_is_followed_by_other_names() {
    let source = Source::new();
    let place = source.place();
    let (world, before) = ten_files(&source, &[]).await;
    move_all(&source, "a", "b");
    let session = world.repository.write("main").await.unwrap();
    let moved = session.relocate(&format!("{place}a/"), &format!("{place}b/"), RelocateOptions::default()).await.unwrap();
    assert_eq!((moved.files.len(), moved.refs, moved.leaves, moved.containers.len()), (10, 30, 1, 0));
    let after = session.commit("moved").await.unwrap();
    let expected: Vec<_> = urls(&before).await.iter().map(|url| url.replace("/a/", "/b/")).collect();
    assert_eq!(urls(&after).await, expected);
    assert_eq!(after.get(&key("x/3/1")).await.unwrap().unwrap().as_ref(), b"12345");
    move_all(&source, "b", "a");
    let session = world.repository.write("main").await.unwrap();
    session.relocate(&format!("{place}b"), &format!("{place}a"), RelocateOptions::default()).await.unwrap();
    let back = session.commit("back").await.unwrap();
    assert_eq!((urls(&back).await, back.record().manifest), (urls(&before).await, before.record().manifest));
    // A place beside it, whose name begins alike, is not below it.
    let session = world.repository.write("main").await.unwrap();
    let error = session.relocate(&format!("{place}a/1"), &format!("{place}b/1"), RelocateOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(session.is_unchanged());
    is_sound(&world.repository).await;
}

#[tokio::test]
async fn all_files_are_moved_or_none() {
    let source = Source::new();
    let place = source.place();
    let (world, before) = ten_files(&source, &[Container::new("nc", format!("{place}a/{{}}.nc"))]).await;
    let relocate = async |options| {
        let session = world.repository.write("main").await.unwrap();
        let moved = session.relocate(&format!("{place}a"), &format!("{place}b"), options).await;
        assert!(moved.is_ok() || session.is_unchanged());
        moved
    };
    for n in 0..8 {
        source.write(&format!("b/{n}.nc"), format!("{n}123456789abcdef").as_bytes(), 5);
    }
    source.write("b/3.nc", b"short", 5);
    let error = relocate(RelocateOptions::default()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::SourceChanged && error.to_string().contains("3 of 10 files cannot be moved"), "{error}");
    let Some(ErrorDetail::FilesRefused { files }) = error.detail() else { panic!("{error:?}") };
    assert!(
        files.len() == 3 && files[0].contains("b/3.nc") && files[0].contains("size 16 → 5") && files[1].contains("b/8.nc"),
        "{files:?}"
    );
    assert_eq!(world.repository.read("main").await.unwrap().id(), before.id());
    // A place that may not be asked is no reason to believe that all is well there.
    let session = world.repository.write("main").await.unwrap();
    let error = session.relocate(&format!("{place}a"), "file:///elsewhere/b", RelocateOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.remedy().is_some());
    for (from, to) in [("x", "x/"), ("file:///a", "not a url")] {
        let kind = session.relocate(from, to, RelocateOptions::default()).await.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Invalid | ErrorKind::NotFound), "{from} {to}");
    }
}

#[tokio::test]
async fn a_container_that_moves_reaches_its_new_server() {
    let source = Source::new();
    let place = source.place();
    let mut container = Container::new("nc", format!("{place}a/{{}}.nc"));
    container.options.insert("region".to_owned(), "eu".to_owned());
    let (world, _) = ten_files(&source, &[container.clone()]).await;
    let relocate = async |from: &str, to: &str, options: RelocateOptions| {
        let session = world.repository.write("main").await.unwrap();
        let moved = session.relocate(from, to, options).await?;
        session.commit("moved").await.unwrap();
        Ok::<_, firnline::Error>(moved.containers[0].options.clone())
    };
    let (a, b) = (format!("{place}a"), format!("{place}b"));
    move_all(&source, "a", "b");
    assert_eq!(relocate(&a, &b, RelocateOptions::default()).await.unwrap(), container.options, "the scheme stays");
    move_all(&source, "b", "a");
    let others = BTreeMap::from([("region".to_owned(), "us".to_owned())]);
    let options = RelocateOptions::default().container_options(others.clone());
    let error = relocate(&format!("{b}/1.nc"), &format!("{a}/1.nc"), options.clone()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("none takes the options"), "{error}");
    assert_eq!(relocate(&b, &a, options).await.unwrap(), others);

    // From a bucket, whose endpoint says nothing about files here.
    let session = world.repository.write("main").await.unwrap();
    let mut bucket = Container::new("bucket", "s3://b/{}.nc");
    bucket.options.insert("endpoint".to_owned(), "https://minio.example.org".to_owned());
    session.add_container(bucket).unwrap();
    let mut validator = Validator::staged_at(firnline::Clock::now(&*world.clock));
    validator.size = Some(16);
    let known = VirtualOptions::default().validator(validator);
    session.set_virtual_with(&key("y"), "s3://b/3.nc", 0..5, &known).await.unwrap();
    session.commit("from a bucket").await.unwrap();
    source.write("c/3.nc", b"3123456789abcdef", 10);
    assert!(relocate("s3://b", &format!("{place}c"), RelocateOptions::default()).await.unwrap().is_empty());
    is_sound(&world.repository).await;
}

#[tokio::test]
async fn a_digest_is_compared_on_request_and_kept_in_any_case() {
    let source = Source::new();
    let place = source.place();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a/0.nc", b"0123456789", 10);
    let session = world.repository.write("main").await.unwrap();
    let digest = blake3::hash(b"0123456789");
    let mut validator = Validator::staged_at(firnline::Clock::now(&*world.clock));
    validator.digest = Some([&[0x1e, 0x20][..], digest.as_bytes()].concat());
    let options = VirtualOptions::default().validator(validator.clone());
    session.set_virtual_with(&key("x"), &url, 0..5, &options).await.unwrap();
    session.commit("locked").await.unwrap();
    source.write("b/0.nc", b"0123456780", 5);
    let relocate = async |options| {
        let session = world.repository.write("main").await.unwrap();
        session.relocate(&format!("{place}a"), &format!("{place}b"), options).await.map(|_| session)
    };
    let error = relocate(RelocateOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "neither size nor digest is compared: {error}");
    let error = relocate(RelocateOptions::default().digests()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::SourceChanged && error.to_string().contains("locked digest"), "{error}");
    let wrong = relocate(RelocateOptions::default().accept_unverified()).await.unwrap().commit("unverified").await.unwrap();
    let error = wrong.get(&key("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "readers verify the digest: {error}");

    world.repository.reset(&"main".parse().unwrap(), &world.repository.read("main~1").await.unwrap()).await.unwrap();
    source.write("b/0.nc", b"0123456789", 4);
    let right = relocate(RelocateOptions::default().digests()).await.unwrap().commit("verified").await.unwrap();
    assert_eq!(right.get(&key("x")).await.unwrap().unwrap().as_ref(), b"01234");
    let record = &dependencies(&right).await[0].record;
    assert_eq!((&record.digest, record.size), (&validator.digest, Some(10)));
}

#[tokio::test]
async fn a_copy_holds_the_same_values_and_depends_on_nothing() {
    let source = Source::new();
    let place = source.place();
    let (world, before) = ten_files(&source, &[Container::new("one", format!("{place}a/1.nc"))]).await;
    // A value that is not held in memory, and one that becomes a chunk.
    let large: Vec<u8> = (0..(9 << 20) / 4_u32).flat_map(u32::to_le_bytes).collect();
    let url = source.write("large.nc", &large, 10);
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("large/0"), &url, 0..large.len() as u64).await.unwrap();
    session.set_virtual(&key("large/1"), &url, 5..5000).await.unwrap();
    session.commit("large").await.unwrap();

    let options = VendorOptions::default().container("one");
    let Vendored { session, summary, saves } = world.repository.vendor("main", &options).await.unwrap();
    assert_eq!((summary.keys, summary.bytes, summary.bytes_read, saves), (3, 15, 15, None));
    session.commit("one file").await.unwrap();
    let options = VendorOptions::default().prefix(Prefix::new("x/2").unwrap());
    let counted = world.repository.read("main").await.unwrap().count_virtual(&options).await.unwrap();
    let Vendored { session, summary, .. } = world.repository.vendor("main", &options).await.unwrap();
    assert_eq!((counted.keys, counted.bytes, summary.keys), (3, 15, 3));
    session.commit("one prefix").await.unwrap();
    let Vendored { session, summary, .. } = world.repository.vendor("main", &VendorOptions::default()).await.unwrap();
    assert_eq!((summary.keys, summary.bytes), (26, 8 * 15 + large.len() as u64 + 4995));
    let after = session.commit("all").await.unwrap();
    assert!(dependencies(&after).await.is_empty());
    assert!(after.get(&key("large/0")).await.unwrap().unwrap() == large);
    assert!(after.get(&key("large/1")).await.unwrap().unwrap() == large[5..5000]);
    for n in 0..10 {
        let value = before.get(&key(&format!("x/{n}/2"))).await.unwrap();
        assert_eq!(after.get(&key(&format!("x/{n}/2"))).await.unwrap(), value);
    }
    assert_eq!(world.repository.vendor("main", &VendorOptions::default()).await.unwrap().summary.keys, 0);
    let error = world.repository.vendor("main", &VendorOptions::default().container("absent")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    is_sound(&world.repository).await;
}

/// What a run that was stopped had saved is not read again, unless the reference or the record of its file changed since.
#[tokio::test]
async fn a_copy_that_failed_goes_on_where_it_was() {
    let source = Source::new();
    let (world, _) = ten_files(&source, &[]).await;
    let session = world.repository.write("main").await.unwrap();
    for n in 0..5 {
        let url = source.write(&format!("big{n}.nc"), &vec![n; 20 << 20], 10);
        // Each is a batch by itself.
        session.set_virtual(&key(&format!("big/{n}")), &url, 0..20 << 20).await.unwrap();
    }
    session.commit("five large values").await.unwrap();
    let options = VendorOptions::default().steps(ImportSteps::default().bytes(30 << 20));
    let good = fs::read(source.path("big4.nc")).unwrap();
    source.write("big4.nc", b"another file", 3);
    let before = world.repository.read("main").await.unwrap();
    let error = world.repository.vendor("main", &options).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::SourceChanged), "{error}");
    assert!(error.to_string().contains("big/4"), "{error}");
    assert_eq!(world.repository.read("main").await.unwrap().id(), before.id(), "nothing is committed");

    // One of the values that were saved is replaced before the second run, and one of those that were not.
    source.write("big4.nc", &good, 10);
    let url = source.write("other.nc", &vec![77; 20 << 20], 10);
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual(&key("big/1"), &url, 0..10 << 20).await.unwrap();
    session.set_virtual(&key("x/0/0"), &url, 0..7).await.unwrap();
    session.commit("another value").await.unwrap();
    let Vendored { session, summary, saves } = world.repository.vendor("main", &options).await.unwrap();
    assert_eq!((summary.keys, summary.reused), (35, 3), "big/0, big/2 and big/3 of the four that were saved");
    assert_eq!(summary.bytes_read, (30 << 20) + 29 * 5 + 7);
    let after = session.commit("copied").await.unwrap();
    world.repository.delete_saves(&saves.unwrap()).await.unwrap();
    assert!(dependencies(&after).await.is_empty());
    assert!(after.get(&key("big/1")).await.unwrap().unwrap() == vec![77; 10 << 20]);
    assert!(after.get(&key("big/3")).await.unwrap().unwrap() == vec![3; 20 << 20]);
    assert!(after.get(&key("big/4")).await.unwrap().unwrap() == good);

    // Equal to a copy that was not stopped.
    let whole = world.repository.create_branch(&"whole".parse().unwrap(), &world.repository.read("main~1").await.unwrap()).await;
    whole.unwrap();
    let Vendored { session, summary, saves } = world.repository.vendor("whole", &VendorOptions::default()).await.unwrap();
    assert_eq!((summary.reused, saves), (0, None));
    assert_eq!(session.commit("at once").await.unwrap().record().manifest, after.record().manifest);
    let branches: Vec<_> = world.repository.branches().await.unwrap().into_iter().map(|found| found.name.to_string()).collect();
    assert_eq!(branches, ["main", "whole"], "the saves are deleted");
    is_sound(&world.repository).await;
}

/// A run that ended between making the branch of the saves and saving there left a branch that no later run went on with.
#[tokio::test]
async fn a_copy_that_had_saved_nothing_goes_on_with_its_branch() {
    let source = Source::new();
    let (world, before) = ten_files(&source, &[]).await;
    let plan = |call: &Call<'_>| match call.operation {
        Operation::Put if call.name.starts_with("snapshots/") => Fault::Rejected(ErrorKind::Unavailable),
        _ => Fault::None,
    };
    let full = Arc::new(Faulty::new(world.storage.clone(), plan));
    let options = OpenOptions::default().clock(world.clock.clone()).access(source.access.clone()).without_pauses();
    let failing = Repository::open_storage(full, options).await.unwrap();
    let options = VendorOptions::default().steps(ImportSteps::default().keys(10));
    failing.vendor("main", &options).await.unwrap_err();
    let branches = world.repository.branches().await.unwrap();
    assert_eq!((branches.len(), branches[1].tip), (2, Some(before.id())), "the branch is there, and nothing on it");

    let Vendored { session, summary, saves } = world.repository.vendor("main", &options).await.unwrap();
    assert_eq!((summary.keys, summary.reused), (30, 0));
    let after = session.commit("copied").await.unwrap();
    let saves = saves.unwrap();
    world.repository.delete_saves(&saves).await.unwrap();
    assert!(dependencies(&after).await.is_empty());
    assert_eq!(after.get(&key("x/3/1")).await.unwrap(), before.get(&key("x/3/1")).await.unwrap());
    assert_eq!(world.repository.branches().await.unwrap().len(), 1);

    // A branch of that name on which somebody committed is not taken for it.
    world.repository.create_branch(&saves.branch, &after).await.unwrap();
    let other = world.repository.write(saves.branch.as_str()).await.unwrap();
    other.set(&key("y"), "1").await.unwrap();
    other.commit("of somebody else").await.unwrap();
    assert_eq!(world.repository.vendor("main", &options).await.unwrap_err().kind(), ErrorKind::Invalid);
    is_sound(&world.repository).await;
}
