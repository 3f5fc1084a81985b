//! Collectors that pause, die, and are taken over.

use super::super::lease::{LEASE, STILL};
use super::*;
use crate::error::ErrorKind;
use crate::refs::collection::GcPhase;

/// A collector that was taken over in the fence wakes up while a later one has raised the ref further.
#[tokio::test]
pub(super) async fn an_epoch_is_never_lowered() {
    let world = World::new().await;
    world.leave(7).await;
    let (first, raise) = world.held_at(|operation, name| (operation, name) == (Operation::Replace, MAIN)).await;
    let task = world.collect(first);
    raise.reached().await;
    let report = world.gc().await;
    assert_eq!((report.epoch, report.resumed), (2, true));
    assert_eq!(world.epoch_of("main").await, 2);
    raise.open();
    let error = task.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    assert_eq!(world.epoch_of("main").await, 2);
    world.commit("main", "x", 7).await;
    world.verify().await;
}

/// Two collectors write lists for one epoch, and one of them loses.
#[tokio::test]
pub(super) async fn lists_of_two_collectors_never_mix() {
    let world = World::new().await;
    world.leave(7).await;
    let (first, fence) = world.held_at(|operation, name| (operation, name) == (Operation::Replace, GC)).await;
    let task = world.collect(first);
    fence.reached().await;
    let lists = async || world.names().await.into_iter().filter(|name| name.ends_with("/index")).collect::<Vec<_>>();
    let [loser] = lists().await.try_into().unwrap();
    world.leave(8).await;
    assert_eq!(world.gc().await.removed["chunks"].objects, 2);
    let [winner] = lists().await.try_into().unwrap();
    assert_ne!(loser, winner, "the list of the one that lost is forgotten");
    fence.open();
    assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Locked);
    world.commit("main", "x", 8).await;
    world.verify().await;
}

/// A collector pauses in the sweep, its successor ends it, a writer makes the name again, and the first wakes up.
#[tokio::test]
pub(super) async fn a_collector_that_was_taken_over_removes_nothing() {
    let world = World::new().await;
    world.leave(7).await;
    let (first, reading) = world.held_at(|operation, name| operation == Operation::Get && name.ends_with("/index")).await;
    let task = world.collect(first);
    reading.reached().await;
    assert_eq!(world.repository.refs().collection().await.unwrap().state.phase, GcPhase::Sweep);
    let report = world.gc().await;
    assert!(report.resumed && !world.is_there(7).await);
    world.commit("main", "x", 7).await;
    reading.open();
    let error = task.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    world.holds("main", "x", 7).await;
    world.verify().await;
}

/// The same in the middle of a call that removes many: a store sends one request after the other, and each is one too many once another
/// collector has taken over.
#[tokio::test]
pub(super) async fn a_call_that_removes_many_ends_with_the_lease() {
    let world = World::new().await;
    let mut shards = std::collections::BTreeMap::new();
    let (one, two) = 'found: {
        for byte in 7..=u8::MAX {
            let shard = chunk(byte).await.as_str()["chunks/".len()..][..2].to_owned();
            if let Some(other) = shards.insert(shard, byte) {
                break 'found (other, byte);
            }
        }
        panic!("no two of so many values lie in one shard");
    };
    world.leave(one).await;
    world.leave(two).await;
    let held = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&held);
    let (first, removal) = world
        .held_at(move |operation, name| {
            let is_first = operation == Operation::Delete;
            if is_first {
                seen.lock().unwrap().get_or_insert_with(|| name.to_owned());
            }
            is_first
        })
        .await;
    let task = world.collect(first);
    removal.reached().await;
    let held = held.lock().unwrap().clone();
    let later = if held.as_deref() == Some(chunk(one).await.as_str()) { two } else { one };
    assert!(world.gc().await.resumed && !world.is_there(later).await);
    world.commit("main", "x", later).await;
    removal.open();
    assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Locked);
    world.holds("main", "x", later).await;
    world.verify().await;
}

/// The lease ends by the collector's own clock, also if nobody has taken over yet.
#[tokio::test]
pub(super) async fn nothing_is_removed_when_the_lease_has_ended() {
    assert!(STILL > LEASE);
    let world = World::new().await;
    world.leave(7).await;
    let (first, reading) = world.held_at(|operation, name| operation == Operation::Get && name.ends_with("/index")).await;
    let task = world.collect(first);
    reading.reached().await;
    world.clock.turn(LEASE);
    // It may go on only after it has seen the register again.
    let cut = world.memory.clone();
    let state = cut.load(&crate::storage::RegisterName::gc_state()).await.unwrap().unwrap();
    let taken = String::from_utf8(state.value.to_vec()).unwrap().replace("\"owner\": \"", "\"owner\": \"x");
    cut.insert_register(GC.to_owned(), taken.into());
    reading.open();
    assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Locked);
    assert!(world.is_there(7).await);
}

/// A successor keeps the list of its predecessor on record, and removes nothing before it has seen for itself what is garbage.
#[tokio::test]
pub(super) async fn a_successor_ends_a_sweep_and_removes_nothing_by_its_list() {
    let world = World::new().await;
    world.leave(7).await;
    let (first, removal) = world.held_at(|operation, _| operation == Operation::Delete).await;
    let task = world.collect(first);
    removal.reached().await;
    task.abort();
    assert!(task.await.is_err());
    let before = world.repository.refs().collection().await.unwrap().state;
    // A writer is about to publish a chunk that no list names.
    let (writer, sent) = world.held_at(|operation, name| (operation, name) == (Operation::Replace, MAIN)).await;
    let session = writer.write("main").await.unwrap();
    session.set(&key("c"), value(9)).await.unwrap();
    let commit = tokio::spawn(session.commit("c"));
    sent.reached().await;
    let planned = world.repository.begin_gc(&world.options()).await.unwrap();
    let after = world.repository.refs().collection().await.unwrap().state;
    assert_eq!(after.lists.last().map(|list| &list.id), before.list.as_ref());
    assert!(world.is_there(7).await && world.is_there(9).await);
    drop(planned);
    sent.open();
    commit.await.unwrap().unwrap();
    assert_eq!(world.gc().await.removed["chunks"].objects, 1);
    assert!(!world.is_there(7).await);
    world.holds("main", "c", 9).await;
    world.verify().await;
}

/// A clock on which nothing happens fast.
#[derive(Debug)]
struct Slow(Arc<Hand>);

impl GcClock for Slow {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        self.0.turn(Duration::from_millis(1));
        Box::pin(tokio::task::yield_now())
    }
}

/// A living collector is left alone.
#[tokio::test]
pub(super) async fn a_collector_that_goes_on_is_not_taken_over() {
    let world = World::new().await;
    world.leave(7).await;
    let (first, removal) = world.held_at(|operation, _| operation == Operation::Delete).await;
    let task = world.collect(first);
    removal.reached().await;
    let living = world.memory.clone();
    let renew = tokio::spawn(async move {
        for _ in 0..5 {
            settle().await;
        }
        let register = crate::storage::RegisterName::gc_state();
        let text = String::from_utf8(living.load(&register).await.unwrap().unwrap().value.to_vec()).unwrap();
        living.insert_register(GC.to_owned(), text.replace("\"seq\": 2", "\"seq\": 3").into());
    });
    let options = world.options().clock(Arc::new(Slow(world.clock.clone())));
    let error = world.repository.gc(&options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    renew.await.unwrap();
    task.abort();
}

/// A removal whose answer was lost may come late: the collection has not finished before that time has passed.
#[tokio::test]
pub(super) async fn a_collection_ends_after_late_removals() {
    let world = World::new().await;
    world.leave(7).await;
    let late = Duration::from_mins(20);
    let report = world.repository.gc(&world.options().wait(late)).await.unwrap();
    assert_eq!(report.failed, 0);
    let slept: Duration = world.clock.slept.lock().unwrap().iter().sum();
    assert_eq!(slept, late);
    let state = world.repository.refs().collection().await.unwrap().state;
    // Begun, swept, raised on the way so that nobody takes over, and ended.
    assert!(state.seq > 10 && state.phase == GcPhase::Idle, "{state:?}");
}

/// A collector that lost the race writes its list late, when a writer has published what is on it.
#[tokio::test]
pub(super) async fn nobody_writes_the_list_of_another_collector() {
    let world = World::new().await;
    world.leave(7).await;
    let (first, list) = world.held_at(|operation, name| operation == Operation::Put && name.starts_with("gc/lists/")).await;
    let loser = world.collect(first);
    list.reached().await;
    world.commit("main", "x", 7).await;
    world.leave(8).await;
    let (second, sweep) = world.held_at(|operation, name| operation == Operation::Get && name.ends_with("/index")).await;
    let winner = world.collect(second);
    sweep.reached().await;
    list.open();
    assert_eq!(loser.await.unwrap().unwrap_err().kind(), ErrorKind::Locked);
    sweep.open();
    winner.await.unwrap().unwrap();
    assert!(!world.is_there(8).await);
    world.holds("main", "x", 7).await;
    world.verify().await;
}

/// A clock that lets late requests arrive while it is waited for.
#[derive(Debug)]
struct Delivering(Arc<Hand>, Arc<Semaphore>);

impl GcClock for Delivering {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.1.add_permits(1_000);
        drop(self.0.sleep(time));
        Box::pin(settle())
    }
}

/// A removal that was not answered arrives when a writer has made the object again, if the collection does not wait for it.
#[tokio::test]
pub(super) async fn a_late_removal_arrives_before_the_collection_ends() {
    let world = World::new().await;
    world.leave(7).await;
    let late = Arc::new(Semaphore::new(0));
    let arrives = Arc::clone(&late);
    let collector = world
        .through(move |operation, _| {
            if operation != Operation::Delete {
                return Fault::None;
            }
            let arrives = Arc::clone(&arrives);
            Fault::Late(Box::pin(async move { arrives.acquire().await.unwrap().forget() }))
        })
        .await;
    let clock = Arc::new(Delivering(world.clock.clone(), Arc::clone(&late)));
    let report = collector.gc(&world.options().clock(clock).wait(Duration::from_mins(20))).await.unwrap();
    assert_eq!(report.failed, 1, "no removal was answered");
    world.commit("main", "x", 7).await;
    late.add_permits(1_000);
    settle().await;
    world.holds("main", "x", 7).await;
    world.verify().await;
}
