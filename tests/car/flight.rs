//! How many bytes are on their way at once: a bounded number, however long the file is.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use firnline::storage::{Local, LocalOptions, Observed, Storage};
use firnline::{CreateOptions, Repository};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::support::{MIB, branch, bytes, key, options};

/// What may be in memory, whatever the length of the file.
const BOUND: u64 = 40 * MIB as u64;

/// Chunks of 1 MiB, one that is longer than what may be in memory, and a part of it once more.
async fn filled(storage: Arc<dyn Storage>) -> Repository {
    let repository = Repository::create_storage(storage, CreateOptions::from(options())).await.unwrap();
    let session = repository.write("main").await.unwrap();
    let mut large = Vec::new();
    for i in 0..48 {
        let chunk = bytes(i, MIB);
        session.set(&key(&format!("a/{i}")), chunk.clone()).await.unwrap();
        // Other leaves than the chunks, or they would not be in the file again.
        large.extend(chunk.iter().map(|byte| !byte));
    }
    // Its last leaves were there before: they are read back.
    large.extend_from_within(..3 * MIB);
    session.set(&key("b"), large).await.unwrap();
    for i in 0..1000_u32 {
        session.set(&key(&format!("c/{i}")), i.to_le_bytes().repeat(500)).await.unwrap();
    }
    session.commit("data").await.unwrap();
    repository
}

fn local(place: &Path) -> Arc<Local> {
    Arc::new(Local::open(place, LocalOptions::default()).unwrap())
}

/// Takes a file and notes how far what was read is ahead of it.
struct Sink {
    store: Arc<Observed>,
    before: u64,
    file: Vec<u8>,
    worst: u64,
}

impl AsyncWrite for Sink {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let read = self.store.counts().bytes_read - self.before;
        self.worst = self.worst.max(read.saturating_sub(self.file.len() as u64));
        self.file.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Gives a file and notes how far it is ahead of what lies on the disk.
struct Source<'a> {
    file: &'a [u8],
    given: u64,
    place: PathBuf,
    worst: u64,
}

impl AsyncRead for Source<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        self.worst = self.worst.max(self.given.saturating_sub(on_disk(&self.place)));
        let (now, later) = self.file.split_at(self.file.len().min(out.remaining()).min(MIB));
        out.put_slice(now);
        self.file = later;
        self.given += now.len() as u64;
        Poll::Ready(Ok(()))
    }
}

/// The lengths of all files below, of those too that have no name yet.
fn on_disk(place: &Path) -> u64 {
    let Ok(listing) = std::fs::read_dir(place) else { return 0 };
    let lengths = listing.flatten().map(|found| match found.metadata() {
        Ok(meta) if meta.is_dir() => on_disk(&found.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    lengths.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_and_import_hold_a_bounded_number_of_bytes() {
    let place = tempfile::tempdir().unwrap();
    let store = Arc::new(Observed::new(local(&place.path().join("from"))));
    let source = filled(store.clone()).await;
    let exported = source.read("main").await.unwrap();
    let plan = exported.plan_car().await.unwrap();
    let mut sink = Sink { before: store.counts().bytes_read, store, file: Vec::new(), worst: 0 };
    plan.write(&mut sink).await.unwrap();
    assert!(sink.file.len() as u64 > 2 * BOUND);
    assert!(sink.worst <= BOUND, "{} bytes were read ahead of the file", sink.worst);

    let to = place.path().join("to");
    let target = Repository::create_storage(local(&to), CreateOptions::from(options())).await.unwrap();
    let mut reader = Source { file: &sink.file, given: 0, place: to, worst: 0 };
    target.import_car(&mut reader, branch("copy")).await.unwrap();
    assert!(reader.worst <= BOUND, "{} bytes of the file were ahead of the disk", reader.worst);
    let copy = target.read("copy").await.unwrap();
    assert_eq!(copy.id(), exported.id());
    assert_eq!(copy.get(&key("b")).await.unwrap(), exported.get(&key("b")).await.unwrap());
    assert_eq!(target.verify(firnline::VerifyScope::Everything).await.unwrap().findings, []);
}

/// The trees of large chunks were read one after another, for the plan and then again for the writing, and once for each key.
#[tokio::test]
async fn the_tree_of_a_large_chunk_is_read_once() {
    let store = Arc::new(Observed::new(Arc::new(firnline::storage::Memory::new())));
    let repository = Repository::create_storage(store.clone(), CreateOptions::from(options())).await.unwrap();
    let session = repository.write("main").await.unwrap();
    for i in 0..20 {
        let value = bytes(i, MIB + 1 + usize::from(i));
        session.set(&key(&format!("a/{i}")), value.clone()).await.unwrap();
        session.set(&key(&format!("b/{i}")), value).await.unwrap();
    }
    let snapshot = session.commit("large").await.unwrap();
    let before = store.counts();
    let plan = snapshot.plan_car().await.unwrap();
    let planned = store.counts().since(&before).gets;
    assert_eq!(planned, 20, "one request for each tree; the nodes are in the cache");
    plan.write(&mut tokio::io::sink()).await.unwrap();
    // A batch holds 1 MiB, so the two leaves of a chunk come by at most two requests; no tree is asked for again.
    let written = store.counts().since(&before).gets - planned;
    assert!((20..=40).contains(&written), "{written} requests for the 40 leaves of 20 chunks");
}
