//! Callers that are not async: every call through `block_on`, on threads of their own.

use std::thread;

use firnline::{Access, CreateOptions, ErrorKind, KeyColumn, OpenOptions, Prefix, Repository, VirtualOptions, VirtualRefs, block_on};
use futures::TryStreamExt as _;

use crate::support::key;

const CHUNK: usize = 100_000;

fn value(thread: usize, number: usize) -> Vec<u8> {
    vec![u8::try_from(16 * thread + number).unwrap(); if number.is_multiple_of(2) { 100 } else { CHUNK }]
}

/// Threads share a session and then its snapshot: native values, values below an external file, lists, and errors.
#[test]
fn threads_that_block_share_a_session_and_a_snapshot() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (place, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = outside.path().join("air.bin");
    std::fs::write(&file, (0..=255).collect::<Vec<u8>>()).unwrap();
    let access = Access::parse([firnline::file_url(outside.path()).unwrap().as_str()]).unwrap();
    let options = CreateOptions::from(OpenOptions::default().access(access));
    let repository = block_on(runtime.handle(), Repository::create_with(place.path().join("r").to_str().unwrap(), options)).unwrap();
    let session = block_on(runtime.handle(), repository.write("main")).unwrap();
    let urls = [firnline::file_url(&file).unwrap()];
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let columns = VirtualRefs {
        keys: KeyColumn::Grid { prefix: "virtual/", region: &[0..4, 0..1], separator: '/' },
        urls: &urls,
        url: &[0, 0, 0, 0],
        offset: &[0, 10, 20, 250],
        length: &[5, 5, 5, 6],
        validators: &[],
    };
    block_on(runtime.handle(), session.set_virtual_many(&columns, &VirtualOptions::default())).unwrap();

    thread::scope(|scope| {
        for thread in 0..4 {
            let (session, runtime) = (&session, &runtime);
            scope.spawn(move || {
                for number in 0..16 {
                    let at = key(&format!("t{thread}/{number}"));
                    block_on(runtime.handle(), session.set(&at, value(thread, number))).unwrap();
                    assert_eq!(block_on(runtime.handle(), session.get(&at)).unwrap().unwrap(), value(thread, number));
                }
            });
        }
    });
    let snapshot = block_on(runtime.handle(), session.commit("from four threads")).unwrap();

    thread::scope(|scope| {
        for thread in 0..4 {
            let (snapshot, runtime) = (&snapshot, &runtime);
            scope.spawn(move || {
                for number in 0..16 {
                    let at = key(&format!("t{thread}/{number}"));
                    let found = block_on(runtime.handle(), snapshot.get(&at)).unwrap().unwrap();
                    assert_eq!(found, value(thread, number));
                    let part = block_on(runtime.handle(), snapshot.get_range(&at, 10..20)).unwrap().unwrap();
                    assert_eq!(part, value(thread, number)[10..20]);
                }
                let last = block_on(runtime.handle(), snapshot.get(&key("virtual/3/0"))).unwrap().unwrap();
                assert_eq!(&*last, [250, 251, 252, 253, 254, 255]);
                let all: Vec<_> = block_on(runtime.handle(), snapshot.list(&Prefix::all()).try_collect()).unwrap();
                assert_eq!(all.len(), 4 * 16 + 4);
            });
        }
    });
    std::fs::remove_file(&file).unwrap();
    let gone = block_on(runtime.handle(), snapshot.get(&key("virtual/0/0"))).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}
