//! Many changes: by one call, on scratch space, and as streams.

use std::path::PathBuf;
use std::sync::Arc;

use firnline::storage::Memory;
use firnline::{
    CreateOptions, Entry, ErrorKind, Key, KeyColumn, OpenOptions, Prefix, Repository, VirtualOptions, VirtualRefs, WhyUnpinned,
};
use futures::TryStreamExt;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{World, key};
use crate::virtuals::Source;

/// A repository in memory whose sessions keep little of what is staged in memory.
async fn tight(staged_bytes: usize, scratch: Option<PathBuf>) -> Repository {
    let mut options = OpenOptions::default().without_pauses();
    (options.staged_bytes, options.scratch) = (staged_bytes, scratch);
    Repository::create_storage(Arc::new(Memory::new()), CreateOptions::from(options)).await.unwrap()
}

/// References into a grid of 30 by 40 by 2, some of them absent.
struct Grid {
    cells: Vec<u64>,
    url: Vec<u32>,
    offset: Vec<u64>,
    length: Vec<u64>,
}

const URLS: [&str; 3] = ["file:///data/one.nc", "s3://bucket/two.nc", "https://h.org/d/three.nc?v=1"];

impl Grid {
    fn random(random: &mut SmallRng) -> Self {
        let mut grid = Self { cells: Vec::new(), url: Vec::new(), offset: Vec::new(), length: Vec::new() };
        for n in 0..2400 {
            grid.cells.extend([n / 80, n / 2 % 40, n % 2]);
            grid.url.push(if random.random_ratio(1, 9) { VirtualRefs::ABSENT } else { random.random_range(0..3) });
            grid.offset.push(random.random_range(0..1 << 40));
            grid.length.push(random.random_range(0..1 << 20));
        }
        grid
    }

    fn key(&self, n: usize) -> Key {
        let cell = &self.cells[3 * n..3 * n + 3];
        key(&format!("air/c/{}/{}/{}", cell[0], cell[1], cell[2]))
    }

    /// Moves every cell, and some of them onto others.
    fn shuffle(&mut self, random: &mut SmallRng) {
        for n in (1..2400).rev() {
            let other = random.random_range(0..=n);
            for i in 0..3 {
                self.cells.swap(3 * n + i, 3 * other + i);
            }
            if random.random_ratio(1, 20) {
                self.cells.copy_within(3 * other..3 * other + 3, 3 * n);
            }
        }
    }

    fn refs<'a>(&'a self, keys: KeyColumn<'a>) -> VirtualRefs<'a> {
        VirtualRefs { keys, urls: &URLS, url: &self.url, offset: &self.offset, length: &self.length, validators: &[] }
    }
}

#[tokio::test]
async fn many_references_are_what_one_after_the_other_are() {
    let mut random = SmallRng::seed_from_u64(1);
    let plain = World::new().await.repository;
    for (limit, form) in [64 << 20, 20_000, 0].into_iter().flat_map(|limit| (0..3).map(move |form| (limit, form))) {
        let repository = tight(limit, None).await;
        let (mut one, mut many) = (plain.write("main").await.unwrap(), repository.write("main").await.unwrap());
        one.delete_prefix(&Prefix::all());
        many.delete_prefix(&Prefix::all());
        let mut grid = Grid::random(&mut random);
        if form > 0 {
            grid.shuffle(&mut random);
        }
        // What was staged before is overridden, and what comes after overrides.
        for session in [&mut one, &mut many] {
            session.set(&key("air/zarr.json"), "{}").await.unwrap();
            session.set(&key("air/c/7/7/1"), "before").await.unwrap();
            session.set(&key("air/c/7/8/0"), "before").await.unwrap();
        }
        let names: Vec<_> = (0..grid.url.len()).map(|n| grid.key(n)).collect();
        for (n, name) in names.iter().enumerate().filter(|(n, _)| grid.url[*n] != VirtualRefs::ABSENT) {
            let url = URLS[grid.url[n] as usize];
            one.set_virtual(name, url, grid.offset[n]..grid.offset[n] + grid.length[n]).await.unwrap();
        }
        let texts: Vec<&str> = names.iter().map(Key::as_str).collect();
        let keys = match form {
            0 => KeyColumn::Grid { prefix: "air/c/", region: &[0..30, 0..40, 0..2], separator: '/' },
            1 => KeyColumn::Cells { prefix: "air/c/", rank: 3, coordinates: &grid.cells, separator: '/' },
            _ => KeyColumn::Keys(&texts),
        };
        many.set_virtual_many(&grid.refs(keys), &VirtualOptions::default()).await.unwrap();
        for session in [&mut one, &mut many] {
            session.set(&key("air/c/7/9/0"), "after").await.unwrap();
            session.delete(&key("air/c/7/9/1")).await.unwrap();
            session.delete_prefix(&Prefix::new("air/c/9").unwrap());
            session.set(&key("air/c/9/1/1"), "later").await.unwrap();
        }
        let listed = many.list(&Prefix::new("air/c/9").unwrap()).await.unwrap();
        assert_eq!(listed, [(key("air/c/9/1/1"), Entry::Inline("later".into()))]);
        let (all, want) = (many.list(&Prefix::all()).await.unwrap(), one.list(&Prefix::all()).await.unwrap());
        assert_eq!(all.len(), want.len(), "limit {limit}, form {form}");
        assert_eq!(all.iter().zip(&want).find(|(a, b)| a != b), None, "limit {limit}, form {form}");
        let (one, many) = (one.commit("one").await.unwrap(), many.commit("many").await.unwrap());
        assert_eq!(many.record().manifest, one.record().manifest, "limit {limit}, form {form}");
        assert_eq!(many.record().containers, one.record().containers);
        let counts = |files: Vec<firnline::Dependency>| {
            files.into_iter().map(|file| (file.url, file.record.refs, file.record.bytes)).collect::<Vec<_>>()
        };
        let (one, many): (Vec<_>, Vec<_>) =
            (one.dependencies().try_collect().await.unwrap(), many.dependencies().try_collect().await.unwrap());
        assert_eq!(counts(many), counts(one));
    }
}

#[tokio::test]
async fn columns_that_do_not_fit_together_stage_nothing() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let url = source.write("a.nc", b"0123456789", 10);
    let later = source.write("b.nc", b"0123456789", 0);
    let absent = source.write("c.nc", b"", 0);
    std::fs::remove_file(absent.strip_prefix("file://").unwrap()).unwrap();
    let urls = [url.as_str(), absent.as_str(), later.as_str()];
    let keys = KeyColumn::Grid { prefix: "a/", region: std::slice::from_ref(&(0..3)), separator: '.' };
    let good = VirtualRefs { keys, urls: &urls, url: &[0, 0, 0], offset: &[0, 1, 2], length: &[8, 8, 8], validators: &[] };
    let mut options = VirtualOptions::default();
    let bad: [(&str, VirtualRefs<'_>, ErrorKind); 9] = [
        ("column url has 2", VirtualRefs { url: &[0, 0], ..good }, ErrorKind::Invalid),
        ("column length has 4", VirtualRefs { length: &[1; 4], ..good }, ErrorKind::Invalid),
        ("3 urls, but 1 validators", VirtualRefs { validators: &[None], ..good }, ErrorKind::Invalid),
        ("a/1 points into url 3 of 3", VirtualRefs { url: &[0, 3, 0], ..good }, ErrorKind::Invalid),
        ("a/2: 18446744073709551614 bytes from 2", VirtualRefs { length: &[8, 8, u64::MAX - 1], ..good }, ErrorKind::Invalid),
        ("a/1: bytes 1 to 11 lie past the end", VirtualRefs { length: &[8, 10, 8], ..good }, ErrorKind::Invalid),
        ("a/1: ", VirtualRefs { url: &[0, 1, 0], ..good }, ErrorKind::NotFound),
        ("a//", VirtualRefs { keys: KeyColumn::Keys(&["a", "a//", "b"]), ..good }, ErrorKind::Invalid),
        (
            "2 coordinates",
            VirtualRefs { keys: KeyColumn::Cells { prefix: "", rank: 3, coordinates: &[1, 2], separator: '/' }, ..good },
            ErrorKind::Invalid,
        ),
    ];
    for (message, refs, kind) in bad {
        let session = world.repository.write("main").await.unwrap();
        let error = session.set_virtual_many(&refs, &options).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{message}: {error}");
        assert!(error.to_string().contains(message), "{message}: {error}");
        assert!(session.list(&Prefix::all()).await.unwrap().is_empty(), "{message}");
        assert_eq!(session.commit("nothing").await.unwrap().record().files, world.repository.read("main").await.unwrap().record().files);
    }
    let session = world.repository.write("main").await.unwrap();
    // The third file was modified after the first.
    options.scanned_at = Some(firnline::Timestamp::from_micros(1_740_000_000_000_000 - 300_000_000));
    let error = session.set_virtual_many(&VirtualRefs { url: &[0, 2, 0], ..good }, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SourceChanged, "{error}");
    options.scanned_at = None;
    session.set_virtual_many(&good, &options).await.unwrap();
    let snapshot = session.commit("three").await.unwrap();
    assert_eq!(snapshot.get(&key("a/2")).await.unwrap().unwrap().as_ref(), b"23456789");
    let files: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    assert_eq!((files.len(), files[0].record.refs, files[0].record.size), (1, 3, Some(10)));
}

#[tokio::test]
async fn many_values_are_what_one_after_the_other_are() {
    let world = World::new().await;
    let values = || (0..300_u32).map(|n| (key(&format!("v/{}", n % 250)), vec![u8::try_from(n % 251).unwrap(); 40 * n as usize]));
    let one = world.repository.write("main").await.unwrap();
    for (key, value) in values() {
        one.set(&key, value).await.unwrap();
    }
    let many = tight(3000, None).await.write("main").await.unwrap();
    many.set_many(values()).await.unwrap();
    let (one, many) = (one.commit("one").await.unwrap(), many.commit("many").await.unwrap());
    assert_eq!(many.record().manifest, one.record().manifest);
    assert_eq!(many.get(&key("v/1")).await.unwrap().unwrap(), vec![0; 40 * 251]);
}

#[tokio::test]
async fn a_conflict_in_what_lies_on_disk_is_found_and_gives_the_session_back() {
    let repository = tight(2000, None).await;
    let mine = repository.write("main").await.unwrap();
    let theirs = repository.write("main").await.unwrap();
    let name = |n: u32| key(&format!("k/{n}"));
    for n in 0..500 {
        mine.set(&name(n), format!("mine {n}")).await.unwrap();
    }
    mine.delete_prefix(&Prefix::new("gone").unwrap());
    for (n, value) in [(7, "theirs"), (499, "theirs"), (3, "mine 3"), (1000, "theirs")] {
        theirs.set(&name(n), value).await.unwrap();
    }
    theirs.set(&key("gone/1"), "theirs").await.unwrap();
    theirs.commit("theirs").await.unwrap();
    let failed = mine.commit("mine").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Conflict);
    assert_eq!(failed.conflicts().iter().map(ToString::to_string).collect::<Vec<_>>(), ["gone/1", "k/499", "k/7"]);
    let mine = failed.into_session();
    for n in [0, 7, 250, 499] {
        assert_eq!(mine.get(&name(n)).await.unwrap().unwrap(), format!("mine {n}"));
    }
    assert_eq!(mine.list(&Prefix::all()).await.unwrap().len(), 500);
    // Disjoint changes are carried over, also from disk.
    let (mine, theirs) = (repository.write("main").await.unwrap(), repository.write("main").await.unwrap());
    for n in 0..400 {
        mine.set(&name(2000 + n), "mine").await.unwrap();
        theirs.set(&name(3000 + n), "theirs").await.unwrap();
    }
    theirs.commit("theirs").await.unwrap();
    let both = mine.commit("mine").await.unwrap();
    assert_eq!(both.totals().await.unwrap().keys, 5 + 800);
}

#[tokio::test]
async fn a_session_without_scratch_space_goes_on_when_there_is_some() {
    let place = tempfile::tempdir().unwrap();
    let absent = place.path().join("scratch");
    let repository = tight(4000, Some(absent.clone())).await;
    let session = repository.write("main").await.unwrap();
    let name = |n: u32| key(&format!("k/{n}"));
    let mut count = 0;
    let error = loop {
        match session.set(&name(count), vec![b'x'; 100]).await {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(absent.to_str().unwrap()), "{error}");
    let (region, zeros) = (0..1000, vec![0; 1000]);
    let keys = KeyColumn::Grid { prefix: "v/", region: std::slice::from_ref(&region), separator: '/' };
    let refs = VirtualRefs { keys, urls: &URLS, url: &vec![1; 1000], offset: &zeros, length: &zeros, validators: &[] };
    let error = session.set_virtual_many(&refs, &VirtualOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // What is staged can still be committed, or, once there is room, added to.
    std::fs::create_dir(&absent).unwrap();
    session.set_virtual_many(&refs, &VirtualOptions::default()).await.unwrap();
    session.set(&name(count), "the last").await.unwrap();
    assert_eq!(session.list(&Prefix::all()).await.unwrap().len(), 1000 + count as usize + 1);
    let snapshot = session.commit("all").await.unwrap();
    assert_eq!(snapshot.totals().await.unwrap().keys, 1000 + u64::from(count) + 1);
}

#[tokio::test]
async fn a_file_is_looked_up_once_and_what_callers_know_is_believed() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let (a, b) = (source.write("a.nc", b"0123456789", 10), source.write("b.nc", b"abcdefghij", 10));
    let first = world.repository.write("main").await.unwrap();
    first.set_virtual(&key("x"), &a, 0..4).await.unwrap();
    let pinned = first.commit("a").await.unwrap();
    let file = pinned.dependencies().try_collect::<Vec<_>>().await.unwrap().remove(0);
    let known = firnline::Validator::of(&file.record);
    // One URL twice in the table, and the validator of one of them given.
    let urls = [a.as_str(), b.as_str(), a.as_str()];
    let keys = KeyColumn::Keys(&["y/0", "y/1", "y/2"]);
    let refs = VirtualRefs {
        keys,
        urls: &urls,
        url: &[0, 1, 2],
        offset: &[0; 3],
        length: &[5; 3],
        validators: &[Some(known.clone()), None, None],
    };
    let session = world.repository.write("main").await.unwrap();
    session.set_virtual_many(&refs, &VirtualOptions::default()).await.unwrap();
    let snapshot = session.commit("three").await.unwrap();
    assert_eq!(snapshot.get(&key("y/1")).await.unwrap().unwrap().as_ref(), b"abcde");
    // One that is wrong is noticed, and so is one that belongs to too many.
    let mut wrong = known.clone();
    wrong.size = Some(9);
    let session = world.repository.write("main").await.unwrap();
    let refs = VirtualRefs { validators: &[Some(wrong.clone()), None, None], ..refs };
    let error = session.set_virtual_many(&refs, &VirtualOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SourceChanged, "{error}");
    let mut options = VirtualOptions::default();
    options.validator = Some(wrong);
    let error = session.set_virtual_many(&VirtualRefs { validators: &[], ..refs }, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn a_reference_to_the_end_of_a_file_has_the_length_that_the_file_has() {
    const TO_END: u64 = VirtualRefs::TO_END;
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let (a, b) = (source.write("a.nc", b"0123456789", 10), source.write("b.nc", b"", 10));
    let urls = [a.as_str(), b.as_str(), "s3://elsewhere/c.nc"];
    let keys = KeyColumn::Keys(&["w/0", "w/1", "w/2", "w/3"]);
    let good =
        VirtualRefs { keys, urls: &urls, url: &[0, 0, 1, 0], offset: &[0, 4, 0, 8], length: &[TO_END, TO_END, TO_END, 1], validators: &[] };
    let session = world.repository.write("main").await.unwrap();
    let options = VirtualOptions::default();
    session.set_virtual_many(&good, &options).await.unwrap();
    // The second time the file is not looked up.
    session.set_virtual_many(&VirtualRefs { keys: KeyColumn::Keys(&["v/0", "v/1", "v/2", "v/3"]), ..good }, &options).await.unwrap();
    for (refs, message, kind) in [
        (VirtualRefs { offset: &[0, 11, 0, 0], ..good }, "w/1: bytes 11 to 11 lie past the end", ErrorKind::Invalid),
        (
            VirtualRefs { url: &[0, 0, 0, 0], length: &[1, TO_END, 1, 11], ..good },
            "w/3: bytes 8 to 19 lie past the end",
            ErrorKind::Invalid,
        ),
        (VirtualRefs { url: &[0, 2, 0, 0], ..good }, "w/1: the reference goes to the end", ErrorKind::Denied),
    ] {
        let error = session.set_virtual_many(&refs, &options).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
    let snapshot = session.commit("whole").await.unwrap();
    for (name, value) in [("w/0", "0123456789"), ("w/1", "456789"), ("w/2", ""), ("w/3", "8"), ("v/1", "456789")] {
        assert_eq!(snapshot.get(&key(name)).await.unwrap().unwrap().as_ref(), value.as_bytes(), "{name}");
    }
    let files: Vec<_> = snapshot.dependencies().try_collect().await.unwrap();
    assert_eq!(files.iter().map(|file| (file.record.refs, file.record.bytes)).collect::<Vec<_>>(), [(6, 34), (2, 0)]);
    // A file that is not looked up has the size that the branch knows.
    let shut = world.reopen(firnline::Access::default()).await;
    let session = shut.write("main").await.unwrap();
    let refs = VirtualRefs { keys: KeyColumn::Keys(&["z"]), urls: &urls, url: &[0], offset: &[3], length: &[TO_END], validators: &[] };
    session.set_virtual_many(&refs, &options).await.unwrap();
    assert_eq!(session.entry(&key("z")).await.unwrap().unwrap().size(), 7);
}

#[tokio::test]
async fn a_missing_file_is_an_error_unless_it_is_allowed_to_miss() {
    let source = Source::new();
    let world = World::allowing(source.access.clone()).await;
    let there = source.write("a.nc", b"0123456789", 10);
    let missing = format!("{there}.gone");
    let urls = [there.as_str(), missing.as_str()];
    let keys = KeyColumn::Keys(&["x/0", "x/1"]);
    let refs = VirtualRefs { keys, urls: &urls, url: &[0, 1], offset: &[0, 0], length: &[4, 4], validators: &[] };
    let session = world.repository.write("main").await.unwrap();
    let error = session.set_virtual_many(&refs, &VirtualOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().starts_with("x/1: "), "{error}");
    let options = VirtualOptions::default().allow_missing();
    let to_end = VirtualRefs { length: &[4, VirtualRefs::TO_END], ..refs };
    assert_eq!(session.set_virtual_many(&to_end, &options).await.unwrap_err().kind(), ErrorKind::NotFound);
    session.set_virtual_many(&refs, &options).await.unwrap();
    session.set_virtual_with(&key("x/2"), &format!("{there}.too"), 0..1, &options).await.unwrap();
    let unpinned = session.unpinned().unwrap();
    assert_eq!(unpinned.iter().map(|file| file.why).collect::<Vec<_>>(), [WhyUnpinned::Missing; 2]);
    assert_eq!(unpinned[0].url, missing);
    let snapshot = session.commit("with a gap").await.unwrap();
    assert_eq!(snapshot.get(&key("x/0")).await.unwrap().unwrap().as_ref(), b"0123");
    assert_eq!(snapshot.get(&key("x/1")).await.unwrap_err().kind(), ErrorKind::NotFound);
}
