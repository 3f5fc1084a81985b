//! Versions that expire beside those who point refs at them, with a collector at each place where it matters.

use super::*;
use crate::error::ErrorKind;
use crate::maintenance::ExpireOptions;

/// Where the collector is held when the ref that is being pointed at the expired version is let go.
#[derive(Debug, Clone, Copy)]
enum Collector {
    /// It has not begun.
    None,
    /// It has marked, and the fence is not up.
    Marked,
    /// The fence is up, and no ref is raised.
    Fenced,
    /// The refs are raised, and the sweep has not begun.
    Raised,
    /// Nothing has been removed yet.
    Sweeping,
    /// It has ended.
    Ended,
}

const PLACES: [Collector; 6] =
    [Collector::None, Collector::Marked, Collector::Fenced, Collector::Raised, Collector::Sweeping, Collector::Ended];

impl Collector {
    async fn begin(self, world: &World) -> Option<(JoinHandle<Result<GcReport>>, Gate)> {
        let at = |n, is_there: fn(Operation, &str) -> bool| world.held_at_nth(n, is_there);
        let state = |operation, name: &str| (operation, name) == (Operation::Replace, GC);
        let (repository, gate) = match self {
            Self::None => return None,
            Self::Ended => {
                world.gc().await;
                return None;
            }
            Self::Marked => at(0, state).await,
            Self::Fenced => at(0, |operation, name| operation == Operation::Replace && name.starts_with("refs/")).await,
            Self::Raised => at(1, state).await,
            Self::Sweeping => at(0, |operation, _| operation == Operation::Delete).await,
        };
        let task = world.collect(repository);
        gate.reached().await;
        Some((task, gate))
    }
}

/// Three versions on `main`, the handle of the second, and a branch `other` at the third.
async fn versions() -> (World, Snapshot) {
    let world = World::new().await;
    let second = world.commit("main", "k", 2).await;
    let third = world.commit("main", "k", 3).await;
    world.repository.create_branch(&name("other"), &third).await.unwrap();
    (world, second)
}

async fn expire(world: &World) {
    let plan = world.repository.plan_expire(&ExpireOptions::default().keep_last(1)).await.unwrap();
    world.repository.expire(&plan, "old").await.unwrap();
}

/// What the three requests that point a ref at a version have in common.
#[derive(Debug, Clone, Copy)]
enum Pointing {
    Tag,
    Branch,
    Reset,
}

impl Pointing {
    fn register(self) -> &'static str {
        match self {
            Self::Tag => "refs/tags/late.json",
            Self::Branch => "refs/branches/late.json",
            Self::Reset => "refs/branches/other.json",
        }
    }

    fn revision(self) -> &'static str {
        if matches!(self, Self::Reset) { "other" } else { "late" }
    }

    async fn run(self, repository: Repository, id: String) -> Result<()> {
        let target = repository.read(&id).await?;
        match self {
            Self::Tag => repository.create_tag(&name("late"), &target, "").await.map(drop),
            Self::Branch => repository.create_branch(&name("late"), &target).await.map(drop),
            Self::Reset => repository.reset(&name("other"), &target).await.map(drop),
        }
    }
}

/// A tag, a branch or a reset that was under way when its target expired, and a collection in each of its phases: either the ref points at a
/// whole version, or the call says that the version has expired.
#[tokio::test]
async fn a_ref_that_is_pointed_at_a_version_that_expires_leads_to_all_of_it_or_is_refused() {
    let (mut pointed, mut refused) = (0, 0);
    for pointing in [Pointing::Tag, Pointing::Branch, Pointing::Reset] {
        // Held before the first, or before the last replace of the ref.
        for step in 0..if matches!(pointing, Pointing::Reset) { 1 } else { 2 } {
            for place in PLACES {
                let (world, second) = versions().await;
                let register = pointing.register();
                let (writer, sent) =
                    world.held_at_nth(step, move |operation, name| (operation, name) == (Operation::Replace, register)).await;
                let call = tokio::spawn(pointing.run(writer, second.id().to_string()));
                sent.reached().await;
                expire(&world).await;
                let collection = place.begin(&world).await;
                sent.open();
                settle().await;
                if let Some((task, gate)) = collection {
                    gate.open();
                    task.await.unwrap().unwrap();
                }
                let context = format!("{pointing:?}, step {step}, {place:?}");
                match call.await.unwrap() {
                    Ok(()) => {
                        pointed += 1;
                        world.holds(pointing.revision(), "k", 2).await;
                        // The next collection leaves it alone, too.
                        world.gc().await;
                        world.holds(pointing.revision(), "k", 2).await;
                    }
                    Err(error) => {
                        refused += 1;
                        assert_eq!(error.kind(), ErrorKind::Expired, "{context}: {error:?}");
                    }
                }
                world.holds("main", "k", 3).await;
                world.verify().await;
            }
        }
    }
    assert!(pointed > 5 && refused > 5, "{pointed} pointed, {refused} refused");
}

/// What expires while a collection is under way stays until the next.
#[tokio::test]
async fn what_expires_during_a_collection_stays_until_the_next() {
    for place in [Collector::Marked, Collector::Fenced, Collector::Raised, Collector::Sweeping] {
        let (world, _) = versions().await;
        world.leave(9).await;
        let (task, gate) = place.begin(&world).await.unwrap();
        expire(&world).await;
        gate.open();
        let report = task.await.unwrap().unwrap();
        assert_eq!((report.removed["chunks"].objects, report.plan.expired), (1, 0), "{place:?}");
        assert!(world.is_there(2).await);
        let report = world.gc().await;
        assert_eq!(report.plan.expired, 3, "{place:?}: the empty first version, and two");
        assert!(!world.is_there(2).await && world.is_there(1).await && world.is_there(3).await);
        assert!(report.removed.contains_key("manifests"));
        world.verify().await;
    }
}

/// A copy out of a version that expires after it was staged: the commit writes it again, or fails with everything still staged.
#[tokio::test]
async fn what_was_copied_from_a_version_that_expires_is_committed_whole_or_not_at_all() {
    use crate::session::Existing;
    use crate::snapshot::KeyOrPrefix;
    let (mut whole, mut conflicts) = (0, 0);
    for place in PLACES {
        let (world, second) = versions().await;
        let session = world.repository.write("main").await.unwrap();
        session.copy_from(&second, &KeyOrPrefix::Key(key("k")), "copy", Existing::Refuse).await.unwrap();
        expire(&world).await;
        let collection = place.begin(&world).await;
        let commit = tokio::spawn(session.commit("copy"));
        settle().await;
        if let Some((task, gate)) = collection {
            gate.open();
            task.await.unwrap().unwrap();
        }
        match commit.await.unwrap() {
            Ok(_) => {
                whole += 1;
                world.holds("main", "copy", 2).await;
                world.gc().await;
                world.holds("main", "copy", 2).await;
            }
            Err(failed) => {
                conflicts += 1;
                assert_eq!(failed.error().kind(), ErrorKind::Conflict, "{place:?}: {failed:?}");
            }
        }
        world.verify().await;
    }
    assert!(whole > 0 && conflicts > 0, "{whole} whole, {conflicts} conflicts");
}

/// What is unique to a version, and what a plan frees, is what a collection then removes.
#[tokio::test]
async fn what_is_counted_as_unique_is_what_a_collection_removes() {
    let (world, second) = versions().await;
    let r = &world.repository;
    // A chunk that the second version shares with a later one.
    let session = r.write("main").await.unwrap();
    session.set(&key("again"), value(2)).await.unwrap();
    session.set(&key("first"), value(7)).await.unwrap();
    session.commit("fourth").await.unwrap();
    world.leave(9).await;
    r.create_branch(&name("own"), &second).await.unwrap();
    world.commit("own", "own", 8).await;

    let usage = second.stored_usage().await.unwrap();
    assert_eq!((usage.stored["chunks"].objects, usage.stored["chunks"].bytes), (2, 10_000));
    assert!(!usage.unique.contains_key("chunks"), "the first is in the third, the second in the fourth: {usage:?}");
    let own = r.stored_usage(&Ref::branch(name("own"))).await.unwrap();
    assert_eq!((own.stored["chunks"].objects, own.unique["chunks"].objects, own.unique["snapshots"].objects), (3, 1, 1), "{own:?}");
    // What is before it is the same as what is before the third version on main.
    assert!(!own.unique.contains_key("history"), "{own:?}");
    // A chunk, a snapshot, and its list of changed keys.
    assert_eq!(own.unique_total().objects, 3 + own.unique["manifests"].objects);

    let plan = r.plan_expire(&ExpireOptions::default().keep_last(1)).await.unwrap();
    let freed = r.freed_by(&plan).await.unwrap();
    let before = world.gc().await;
    assert_eq!(before.removed["chunks"].objects, 1, "what was left");
    r.expire(&plan, "old").await.unwrap();
    let after = world.gc().await;
    assert_eq!(after.removed, freed);
    assert!(freed.contains_key("manifests"), "{freed:?}");
    world.verify().await;
}

/// A reader that holds an expired version goes on until the collection, and then is told why it cannot.
#[tokio::test]
async fn a_reader_of_a_version_that_expires_is_told() {
    let (world, second) = versions().await;
    let reader = Repository::open_storage(Arc::new(world.memory.clone()), OpenOptions::default()).await.unwrap();
    let old = reader.read(&second.id().to_string()).await.unwrap();
    expire(&world).await;
    assert_eq!(old.get(&key("k")).await.unwrap().unwrap(), value(2));
    world.gc().await;
    let error = old.get(&key("k")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired, "{error:?}");
    assert!(error.to_string().contains("old"), "{error}");
}

/// A branch that shows an expired version, written anew by an import, keeps all of it; it has been raised when a reset sees it, and goes
/// elsewhere before the collector reads it again. What it showed when it was raised is marked, so the reset leads to a whole version.
#[tokio::test]
async fn an_expired_version_that_a_raised_branch_showed_is_marked() {
    use crate::car::ImportTarget;
    const SIDE: &str = "refs/branches/side.json";
    let (world, second) = versions().await;
    let third = world.repository.read("main").await.unwrap();
    let mut file = Vec::new();
    second.export_car(&mut file).await.unwrap();
    expire(&world).await;
    // The collector reads the branch to find it, to raise it, and once more.
    let (collector, again) = world.held_at_nth(2, |operation, at| (operation, at) == (Operation::Load, SIDE)).await;
    let planned = collector.begin_gc(&world.options()).await.unwrap();
    world.repository.import_car(&file[..], ImportTarget::Branch(name("side"))).await.unwrap();
    let collection = tokio::spawn(planned.execute());
    again.reached().await;
    settle().await;
    let register = "refs/branches/other.json";
    let (resetter, sent) = world.held_at(move |operation, at| (operation, at) == (Operation::Replace, register)).await;
    let to = second.id().to_string();
    let reset = tokio::spawn(async move {
        let to = resetter.read(&to).await?;
        resetter.reset(&name("other"), &to).await
    });
    sent.reached().await;
    world.repository.reset(&name("side"), &third).await.unwrap();
    again.open();
    collection.await.unwrap().unwrap();
    sent.open();
    reset.await.unwrap().unwrap();
    world.holds("other", "k", 2).await;
    world.verify().await;
    world.gc().await;
    world.holds("other", "k", 2).await;
}

/// A session has looked at the collections since it was opened, and its commit was refused; the version on which it is based expired before
/// one of them. Nothing of that version is linked any more, although nodes of it lie in a cache.
#[tokio::test]
async fn a_session_that_has_looked_links_nothing_of_a_base_that_has_expired() {
    use crate::commit::CommitOptions;
    use crate::conflict::OnConflict;
    use crate::session::Existing;
    use crate::snapshot::KeyOrPrefix;
    for is_renamed in [false, true] {
        let (world, _) = versions().await;
        world.leave(9).await;
        let (task, gate) = Collector::Raised.begin(&world).await.unwrap();
        let session = world.repository.write("main").await.unwrap();
        let base = session.base().clone();
        assert!(base.entry(&key("k")).await.unwrap().is_some());
        gate.open();
        task.await.unwrap().unwrap();
        world.commit("main", "contested", 5).await;
        world.commit("main", "k", 6).await;
        world.repository.delete_branch(&name("other")).await.unwrap();
        let plan = world.repository.plan_expire(&ExpireOptions::default().keep_last(1).keep_moves(Duration::ZERO)).await.unwrap();
        world.repository.expire(&plan, "old").await.unwrap();
        world.gc().await;
        assert!(!world.is_there(3).await, "the base has lost its chunk");

        session.set(&key("contested"), "small").await.unwrap();
        let failed = session.commit("loses").await.map(drop).unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Conflict, "{failed:?}");
        let session = failed.into_session();
        let linked = if is_renamed {
            session.rename("k", "copy", Existing::Refuse).await
        } else {
            session.copy_from(&base, &KeyOrPrefix::Key(key("k")), "copy", Existing::Refuse).await
        };
        if linked.is_ok() {
            let committed = session.commit(CommitOptions::from("copy").on_conflict(OnConflict::Ours)).await;
            if committed.is_ok() {
                world.holds("main", "copy", 3).await;
            }
        }
        world.verify().await;
    }
}

fn list_of(snapshot: &Snapshot) -> String {
    ObjectName::changes(&snapshot.id()).to_string()
}

/// The list of changed keys beside a version also has what its first parent held: it goes with the data of either, and what was an inline
/// value of an expired version is nowhere any more.
#[tokio::test]
async fn lists_of_changed_keys_go_with_the_data_that_they_tell_of() {
    let world = World::new().await;
    let mut versions = Vec::new();
    for n in 0..4_u8 {
        let session = world.repository.write("main").await.unwrap();
        session.set(&key("inline"), format!("secret {n}")).await.unwrap();
        versions.push(session.commit("more").await.unwrap());
    }
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("gone"), "x").await.unwrap();
    let abandoned = session.prepare("never published").await.unwrap();
    let never = abandoned.id();
    drop(abandoned);
    let names = world.names().await;
    assert!(names.contains(ObjectName::changes(&never).as_str()) && versions.iter().all(|version| names.contains(&list_of(version))));
    let report = world.gc().await;
    assert_eq!(report.removed["changes"].objects, 1, "that of the snapshot that no ref leads to");
    assert!(!world.names().await.contains(ObjectName::changes(&never).as_str()));

    let [first, second, third, last] = versions.as_slice() else { unreachable!() };
    let usage = second.stored_usage().await.unwrap();
    assert_eq!((usage.stored["changes"].objects, usage.unique["changes"].objects), (1, 1), "{usage:?}");
    let plan = world.repository.plan_expire(&ExpireOptions::default().keep_last(2)).await.unwrap();
    let freed = world.repository.freed_by(&plan).await.unwrap();
    world.repository.expire(&plan, "old").await.unwrap();
    let report = world.gc().await;
    assert_eq!(report.removed, freed);
    // That of the very first commit as well, and that of the third, which tells what the second held.
    assert_eq!(report.removed["changes"].objects, 4);
    let names = world.names().await;
    let left = [first, second, third, last].map(|version| names.contains(&list_of(version)));
    assert_eq!(left, [false, false, false, true]);
    let all = crate::key::Prefix::all();
    assert!(second.recorded_diff(third, &all).await.unwrap().is_none());
    assert_eq!(third.recorded_diff(last, &all).await.unwrap().unwrap().try_collect::<Vec<_>>().await.unwrap().len(), 1);
    world.verify().await;
}
