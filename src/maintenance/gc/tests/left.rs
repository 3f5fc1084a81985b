//! What is known of a collection that was left: by its handle, by its error, and by those who ask later.

use super::*;
use crate::error::{ErrorDetail, ErrorKind};
use crate::maintenance::GcActivity;

/// A handle that is held at its request number `n`, and whether that is a replace of the register of collections.
async fn held_at_request(world: &World, n: u64) -> (Repository, Gate, Arc<AtomicBool>) {
    let (count, is_register) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&is_register);
    let (repository, gate) = world
        .held_at(move |operation, name| {
            // Opening the repository is not part of the collection.
            if name == "repo.json" || count.fetch_add(1, Ordering::SeqCst) != n {
                return false;
            }
            seen.store((operation, name) == (Operation::Replace, GC), Ordering::SeqCst);
            true
        })
        .await;
    (repository, gate, is_register)
}

/// At every request of a collection its future is dropped. The handle says that something is left exactly if it is, or may be.
#[tokio::test]
async fn a_handle_tells_whether_a_collection_was_left() {
    let (mut left, mut nothing) = (0, 0);
    for n in 0.. {
        let world = World::new().await;
        world.leave(7).await;
        let (repository, gate, is_register) = held_at_request(&world, n).await;
        let options = world.options();
        let handle = options.handle();
        assert!(!handle.is_unfinished());
        let mut task = tokio::spawn(async move { repository.gc(&options).await });
        tokio::select! {
            biased;
            done = &mut task => {
                assert_eq!(done.unwrap().unwrap().removed["chunks"].objects, 1);
                assert!(!handle.is_unfinished());
                break;
            }
            () = gate.reached() => {}
        }
        task.abort();
        assert!(task.await.is_err());
        let state = world.repository.refs().collection().await.unwrap().state;
        assert!(handle.is_unfinished() || !state.is_running(), "at request {n}: {state:?}");
        assert!(!handle.is_unfinished() || state.is_running() || is_register.load(Ordering::SeqCst), "at request {n}: {state:?}");
        let status = world.repository.gc_status().await.unwrap();
        let expected = if state.is_running() { GcActivity::Unclear } else { GcActivity::Idle };
        assert_eq!((status.activity, status.epoch), (expected, state.epoch), "a store in memory has no lock of collections");
        *(if state.is_running() { &mut left } else { &mut nothing }) += 1;
        assert_eq!(world.gc().await.resumed, state.is_running());
        world.verify().await;
    }
    assert!(left > 5 && nothing > 5, "{left} {nothing}");
}

/// The store fails for good at every request in turn. The error says that something is left exactly if it is, or may be.
#[tokio::test]
async fn an_error_tells_whether_a_collection_was_left() {
    let mut left = 0;
    for n in 0.. {
        let world = World::new().await;
        world.leave(7).await;
        let count = AtomicU64::new(0);
        let cut = world
            .through(move |_, name| {
                let is_late = name != "repo.json" && count.fetch_add(1, Ordering::SeqCst) >= n;
                if is_late { Fault::Before } else { Fault::None }
            })
            .await;
        let options = world.options();
        let Err(error) = cut.gc(&options).await else { break };
        let state = world.repository.refs().collection().await.unwrap().state;
        let is_told = error.detail() == Some(&ErrorDetail::UnfinishedCollection);
        assert_eq!(is_told, options.handle().is_unfinished(), "{error}");
        assert!(is_told || !state.is_running(), "at request {n}: {error}, {state:?}");
        left += u64::from(state.is_running());
        world.gc().await;
        world.verify().await;
    }
    assert!(left > 5, "{left}");
}

/// On local disk the lock tells whether somebody is at it.
#[tokio::test]
async fn a_lock_tells_a_collection_under_way_from_one_that_was_left() {
    let place = tempfile::tempdir().unwrap();
    let repository = Repository::create(place.path().to_str().unwrap()).await.unwrap();
    let activity = async || repository.gc_status().await.map(|status| (status.activity, status.epoch, status.is_removing)).unwrap();
    assert_eq!(activity().await, (GcActivity::Idle, 0, false));
    let store = repository.storage().collecting().await.unwrap();
    assert_eq!(activity().await, (GcActivity::Idle, 0, false), "a lock alone is no collection");
    let found = repository.refs().collection().await.unwrap();
    let fence = found.state.fenced("somebody", "1-x-pre");
    repository.refs().advance(&found, fence).await.unwrap();
    assert_eq!(activity().await, (GcActivity::UnderWay, 1, false));
    let found = repository.refs().collection().await.unwrap();
    repository.refs().advance(&found, found.state.sweeping("1-x-final")).await.unwrap();
    drop(store);
    assert_eq!(activity().await, (GcActivity::Left, 1, true));
    let reader = Repository::open_with(place.path().to_str().unwrap(), OpenOptions::default().read_only()).await.unwrap();
    assert_eq!(reader.gc_status().await.unwrap().activity, GcActivity::Left);
    assert!(repository.gc(&GcOptions::default()).await.unwrap().resumed);
    assert_eq!(activity().await, (GcActivity::Idle, 1, false));
    assert_eq!(reader.gc(&GcOptions::default()).await.unwrap_err().kind(), ErrorKind::Invalid);
}
