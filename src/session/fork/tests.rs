//! How much memory forks and merges take, however much was changed.

use futures::executor::block_on;

use crate::testing::alloc;
use crate::{CreateOptions, KeyColumn, OpenOptions, Prefix, Repository, VirtualOptions, VirtualRefs, WriteSession};

const COUNT: u64 = 300_000;

/// Stages many references. As keys and entries in memory they would take more than 30 MB.
async fn point(session: &WriteSession, prefix: &str) {
    let region = 0..COUNT;
    let count = usize::try_from(COUNT).unwrap();
    let (url, length): (Vec<u32>, Vec<u64>) = (vec![0; count], vec![100; count]);
    let offset: Vec<u64> = (0..COUNT).map(|n| n * 977 % (1 << 30)).collect();
    let refs = VirtualRefs {
        keys: KeyColumn::Grid { prefix, region: std::slice::from_ref(&region), separator: '/' },
        urls: &["file:///data/a.nc"],
        url: &url,
        offset: &offset,
        length: &length,
        validators: &[],
    };
    session.set_virtual_many(&refs, &VirtualOptions::default()).await.unwrap();
}

/// Without a runtime all work is done on this thread, whose memory is counted.
#[test]
fn forks_and_merges_hold_a_bounded_part_of_the_changes() {
    let place = tempfile::tempdir().unwrap();
    let options = OpenOptions::default().staged_bytes(1 << 20).upload_bytes(4 << 20).cache_bytes(1 << 20);
    let at = place.path().join("repository");
    let created = block_on(Repository::create_with(at.to_str().unwrap(), CreateOptions::from(options))).unwrap();
    let session = block_on(created.write("main")).unwrap();
    block_on(point(&session, "inherited/"));
    let mut peaks = Vec::new();
    let mut measure = |what: &str, peak: usize| peaks.push((what.to_owned(), peak));

    let (bytes, peak) = alloc::peak(|| block_on(session.fork()).unwrap());
    measure("fork", peak);
    let (fork, peak) = alloc::peak(|| block_on(created.resume_fork(&bytes)).unwrap());
    measure("resume", peak);
    block_on(point(&fork, "own/"));
    fork.delete_prefix(&Prefix::new("inherited/1").unwrap());
    let (changes, peak) = alloc::peak(|| block_on(fork.finish()).unwrap());
    measure("finish", peak);
    for again in ["merge", "merge again"] {
        let ((), peak) = alloc::peak(|| block_on(session.merge(&changes)).unwrap());
        measure(again, peak);
    }
    println!("{} and {} bytes; {peaks:?}", bytes.len(), changes.len());
    assert!(bytes.len() < 4096 && changes.len() < 4096);
    for (what, peak) in peaks {
        assert!(peak < 14 << 20, "{what} held {peak} bytes");
    }
    let listed = block_on(session.list(&Prefix::new("own").unwrap())).unwrap();
    assert_eq!(listed.len() as u64, COUNT);
}
