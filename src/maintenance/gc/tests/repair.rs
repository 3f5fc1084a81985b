//! A register of collections that is damaged or was lost, and is made anew.

use super::*;
use crate::error::ErrorKind;
use crate::refs::RefRecord;

impl World {
    fn damage(&self) {
        self.memory.insert_register(GC.to_owned(), "damaged".into());
    }

    async fn repair(&self) -> crate::maintenance::GcRepaired {
        self.repository.repair_gc(&self.options()).await.unwrap()
    }
}

#[tokio::test]
async fn a_damaged_register_is_made_anew_above_every_epoch_there_was() {
    let world = World::new().await;
    let whole = world.repair().await;
    assert_eq!((whole.wrong, whole.epoch), (None, 0));
    for round in 1..=2 {
        world.leave(7).await;
        assert_eq!(world.gc().await.epoch, round);
    }
    world.damage();
    for error in [world.repository.write("main").await.unwrap_err(), world.repository.gc(&world.options()).await.unwrap_err()] {
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("firn gc --repair"), "{error}");
    }
    let repaired = world.repair().await;
    assert!(repaired.wrong.unwrap().contains(GC));
    assert_eq!((repaired.epoch, world.epoch_of("main").await), (3, 3), "who reads the ref knows of what was condemned");
    // Six minutes for the lease of whoever was at work.
    assert_eq!(world.clock.slept.lock().unwrap().iter().sum::<Duration>(), super::super::lease::STILL);
    assert_eq!(world.repair().await.wrong, None);
    world.commit("main", "x", 9).await;
    world.leave(7).await;
    assert_eq!(world.gc().await.epoch, 4);
    assert!(!world.is_there(7).await);
    world.commit("main", "y", 7).await;
    world.verify().await;
}

/// What collections have removed is not known any more, so a session that is older than the register counts everything as removed.
#[tokio::test]
async fn a_session_from_before_looks_at_everything_again() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("x"), value(9)).await.unwrap();
    session.flush().await.unwrap();
    assert_eq!(world.gc().await.removed["chunks"].objects, 1);
    world.damage();
    world.repair().await;
    let failed = session.commit("x").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Conflict, "{failed}");
    let session = failed.into_session();
    session.set(&key("x"), value(8)).await.unwrap();
    session.commit("x").await.unwrap();
    world.holds("main", "x", 8).await;
    world.verify().await;
}

/// The register is damaged while a collector is about to remove a chunk that a writer makes again after the repair.
#[tokio::test]
async fn a_collector_that_was_at_work_removes_nothing_after_the_repair() {
    let world = World::new().await;
    world.leave(7).await;
    let (first, reading) = world.held_at(|operation, name| operation == Operation::Get && name.ends_with("/index")).await;
    let task = world.collect(first);
    reading.reached().await;
    world.damage();
    assert_eq!(world.repair().await.epoch, 2);
    world.commit("main", "x", 7).await;
    reading.open();
    let error = task.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    world.holds("main", "x", 7).await;
    world.verify().await;
}

/// A collection had begun an epoch that no ref was raised to yet: only its list tells.
#[tokio::test]
async fn an_epoch_that_only_a_list_knows_counts() {
    let world = World::new().await;
    world.leave(7).await;
    let (first, raise) = world.held_at(|operation, name| (operation, name) == (Operation::Replace, MAIN)).await;
    let task = world.collect(first);
    raise.reached().await;
    assert_eq!(world.epoch_of("main").await, 0);
    world.damage();
    assert_eq!(world.repair().await.epoch, 2);
    raise.open();
    assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Locked);
    world.verify().await;
}

/// A register of an earlier time, as a copy of files brings it back, knows nothing of what was removed since.
#[tokio::test]
async fn an_earlier_register_is_noticed() {
    let world = World::new().await;
    let mut earlier = None;
    let register = crate::storage::RegisterName::gc_state();
    for _ in 0..2 {
        world.leave(7).await;
        world.gc().await;
        let now = world.memory.load(&register).await.unwrap().unwrap().value;
        earlier.get_or_insert(now);
    }
    let session = world.repository.write("main").await.unwrap();
    world.memory.insert_register(GC.to_owned(), earlier.unwrap());
    session.set(&key("x"), "inline").await.unwrap();
    session.commit("x").await.unwrap();
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("y"), "inline").await.unwrap();
    let failed = session.commit("y").await.unwrap_err();
    assert!(failed.kind() == ErrorKind::Corrupt && failed.to_string().contains("is of collection 1"), "{failed}");
    let error = world.repository.create_branch(&name("new"), &world.repository.read("main").await.unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "a branch that is new knows nothing, but main does: {error}");
    assert_eq!(world.repository.gc_status().await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(world.repository.gc(&world.options()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let verified = world.repository.verify(VerifyScope::Everything).await.unwrap();
    assert_eq!(verified.findings.iter().map(|finding| finding.object.as_str()).collect::<Vec<_>>(), [GC]);
    assert_eq!(world.repair().await.epoch, 3);
    failed.into_session().commit("y").await.unwrap();
    world.verify().await;
}

#[tokio::test]
async fn what_cannot_be_made_anew_says_why() {
    let world = World::new().await;
    world.memory.insert_register(GC.to_owned(), r#"{"v": 2}"#.into());
    assert_eq!(world.repository.repair_gc(&world.options()).await.unwrap_err().kind(), ErrorKind::Unsupported);
    world.damage();
    let main = crate::storage::RegisterName::branch("main");
    let whole = world.memory.load(&main).await.unwrap().unwrap().value;
    world.memory.insert_register(MAIN.to_owned(), "damaged".into());
    let error = world.repository.repair_gc(&world.options()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("no branch"), "{error}");
    let mut record = RefRecord::decode(&whole, "main").unwrap();
    record.epoch = (1 << 61) + 1;
    world.memory.insert_register(MAIN.to_owned(), record.encode());
    assert_eq!(world.repository.repair_gc(&world.options()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    record.epoch = 1 << 61;
    world.memory.insert_register(MAIN.to_owned(), record.encode());
    let error = world.repository.repair_gc(&world.options()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("there cannot have been"), "{error}");
    world.memory.insert_register(MAIN.to_owned(), whole);
    world.repair().await;
    world.verify().await;
}

/// Another process makes the register anew first.
#[tokio::test]
async fn two_repairs_that_meet_make_one_register() {
    let world = World::new().await;
    world.damage();
    let (other, replacing) = world.held_at(|operation, name| (operation, name) == (Operation::Replace, GC)).await;
    let options = world.options();
    let task = tokio::spawn(async move { other.repair_gc(&options).await });
    replacing.reached().await;
    assert_eq!(world.repair().await.epoch, 2, "the list of the other is there already");
    replacing.open();
    assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Locked);
    world.commit("main", "x", 9).await;
    world.verify().await;
}

/// All refs stayed below the register, so that everything counted as condemned for all that look without being led there by a ref: they were
/// refused for ever, where no garbage let a collection raise the refs.
#[tokio::test]
async fn after_a_repair_everything_goes_on() {
    let world = World::new().await;
    let first = world.commit("main", "x", 1).await;
    world.commit("main", "y", 2).await;
    let copy = World::new().await;
    world.repository.push(&copy.repository, &crate::SyncOptions::default().force()).await.unwrap();
    for repaired in [&world, &copy] {
        repaired.damage();
        assert_eq!(repaired.repair().await.epoch, 1);
    }
    let file = {
        let mut file = Vec::new();
        world.repository.read("main").await.unwrap().export_car(&mut file).await.unwrap();
        file
    };
    world.repository.squash(&name("main"), &first, "one").await.unwrap();
    world.repository.push(&copy.repository, &crate::SyncOptions::default().force()).await.unwrap();
    copy.holds("main", "y", 2).await;
    copy.repository.import_car(file.as_slice(), crate::ImportTarget::Branch(name("main"))).await.unwrap();
    world.verify().await;
    copy.verify().await;
}
