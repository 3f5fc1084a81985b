//! Preparing and publishing, and what is known after a publication was cancelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use firnline::storage::Storage;
use firnline::storage::fault::{Call, Fault, Faulty, Operation};
use firnline::{CommitError, ErrorKind, OpenOptions, PublishState, RefName, Repository, Settlement, WriteSession};
use tokio::sync::Semaphore;

use crate::support::{World, key};

fn main_branch() -> RefName {
    "main".parse().unwrap()
}

async fn staged(repository: &Repository, text: &str) -> WriteSession {
    let session = repository.write("main").await.unwrap();
    session.set(&key(text), vec![7; 3_000]).await.unwrap();
    session
}

/// The world's repository, through a network on which the replace of `main` with this number, and every later one, waits
/// until the gate opens.
async fn held_back(world: &World, from: u64) -> (Repository, Arc<Semaphore>) {
    let (gate, sent) = (Arc::new(Semaphore::new(0)), AtomicU64::new(0));
    let opened = gate.clone();
    let plan = move |call: &Call<'_>| {
        if call.operation != Operation::Replace || call.name != "refs/branches/main.json" || sent.fetch_add(1, Ordering::Relaxed) < from {
            return Fault::None;
        }
        let gate = opened.clone();
        Fault::Wait(Box::pin(async move { drop(gate.acquire().await) }))
    };
    let storage: Arc<dyn Storage> = Arc::new(Faulty::new(world.storage.clone(), plan));
    let options = OpenOptions::default().clock(world.clock.clone()).without_pauses();
    (Repository::open_storage(storage, options).await.unwrap(), gate)
}

#[tokio::test]
async fn a_prepared_commit_is_durable_and_seen_by_no_reader() {
    let world = World::new().await;
    let before = world.put("a", "1").await;
    let prepared = staged(&world.repository, "b").await.prepare("two").await.unwrap();
    assert!(prepared.is_new());
    assert_eq!(prepared.base().id(), before.id());
    assert_eq!(prepared.handle().state(), PublishState::NotSent);
    let others = world.reopen(firnline::Access::default()).await;
    assert_eq!(others.read("main").await.unwrap().id(), before.id());
    let written = others.read(&prepared.id().to_string()).await.unwrap();
    assert_eq!((written.record().time, written.record().parents.as_slice()), (prepared.time(), &[before.id()][..]));
    let (id, handle) = (prepared.id(), prepared.handle());
    let committed = prepared.publish().await.unwrap();
    assert_eq!((committed.snapshot.id(), committed.is_new), (id, true));
    assert_eq!(handle.state(), PublishState::Committed(id));
    assert_eq!(others.read("main").await.unwrap().id(), id);
}

#[tokio::test]
async fn nothing_staged_prepares_the_tip() {
    let world = World::new().await;
    let tip = world.put("a", "1").await;
    let prepared = world.repository.write("main").await.unwrap().prepare("nothing").await.unwrap();
    assert!(!prepared.is_new());
    assert_eq!((prepared.id(), prepared.time()), (tip.id(), tip.record().time));
    let committed = prepared.publish().await.unwrap();
    assert_eq!((committed.snapshot.id(), committed.is_new), (tip.id(), false));
}

/// Staged work survives a look at what would be committed.
#[tokio::test]
async fn a_prepared_commit_gives_its_session_back() {
    let world = World::new().await;
    world.put("a", "1").await;
    let session = staged(&world.repository, "b").await.prepare("too early").await.unwrap().into_session();
    session.set(&key("c"), "3").await.unwrap();
    let made = session.commit("both").await.unwrap();
    assert!(made.get(&key("b")).await.unwrap().is_some() && made.get(&key("c")).await.unwrap().is_some());
}

/// A timeout around `commit` used to throw away the only trace of a commit that may have been published.
#[tokio::test]
async fn a_cancelled_commit_leaves_the_id_to_settle() {
    let world = World::new().await;
    let before = world.put("a", "1").await;
    let (repository, _gate) = held_back(&world, 0).await;
    let session = staged(&repository, "b").await;
    let handle = session.publish_handle();
    assert_eq!(handle.pending(), None);
    let cancelled = tokio::time::timeout(Duration::from_millis(200), session.commit("slow")).await;
    assert!(cancelled.is_err(), "the replace is held back");
    let pending = handle.pending().expect("a replace was sent");
    assert_eq!(pending.branch, main_branch());
    assert_eq!(world.repository.settle(&pending.branch, pending.id).await.unwrap(), Settlement::Lost);
    assert_eq!(world.repository.read("main").await.unwrap().id(), before.id());
}

/// A rebase inside `publish` makes another snapshot, and that one has to be settled.
#[tokio::test]
async fn the_handle_tells_the_id_that_was_sent_last() {
    let world = World::new().await;
    world.put("a", "1").await;
    let (repository, _gate) = held_back(&world, 1).await;
    let prepared = staged(&repository, "b").await.prepare("ours").await.unwrap();
    let theirs = world.put("c", "theirs").await;
    let (first, handle) = (prepared.id(), prepared.handle());
    let cancelled = tokio::time::timeout(Duration::from_millis(200), prepared.publish()).await;
    assert!(cancelled.is_err(), "the second replace is held back");
    let pending = handle.pending().expect("a replace was sent");
    assert_ne!(pending.id, first);
    let sent = world.repository.read(&pending.id.to_string()).await.unwrap();
    assert_eq!(sent.record().parents, [theirs.id()]);
    assert_eq!(world.repository.settle(&pending.branch, pending.id).await.unwrap(), Settlement::Lost);
}

/// A definite failure leaves nothing to settle.
#[tokio::test]
async fn a_refused_publication_leaves_nothing_pending() {
    let world = World::new().await;
    world.put("a", "1").await;
    let prepared = staged(&world.repository, "b").await.prepare("ours").await.unwrap();
    let handle = prepared.handle();
    world.put("b", "theirs").await;
    let failed = prepared.publish().await.unwrap_err();
    assert_eq!((failed.kind(), handle.pending()), (ErrorKind::Conflict, None));
    assert_eq!(failed.conflicts().len(), 1);
}

/// A boxed error keeps the session and the pending id; an `Error` is made only by asking for it.
#[tokio::test]
async fn a_commit_error_is_kept_whole_in_a_boxed_error() {
    async fn conflict(world: &World) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let session = staged(&world.repository, "b").await;
        world.put("b", "theirs").await;
        session.commit("ours").await?;
        Ok(())
    }
    let world = World::new().await;
    let error = conflict(&world).await.unwrap_err();
    let failed = error.downcast::<Box<CommitError>>().unwrap();
    assert_eq!(failed.kind(), ErrorKind::Conflict);
    assert!(!failed.into_session().is_unchanged());
}
