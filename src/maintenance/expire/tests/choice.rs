//! What a plan is made of, by whose clock, and what it may not pass over.

use super::*;

fn open(clock: &Hand) -> OpenOptions {
    OpenOptions::default().clock(Arc::new(clock.clone())).without_pauses()
}

/// A machine whose clock was a year ahead made everything expire but the tips, and there is no way back.
#[tokio::test]
async fn a_clock_far_from_the_stores_makes_nothing_expire() {
    let (world, versions) = World::days(5).await;
    let keep = ExpireOptions::default().keep_within(90 * DAY);
    let plan = world.repository.plan_expire(&ExpireOptions::default().keep_last(1)).await.unwrap();
    let ahead = Hand(Arc::new(AtomicI64::new(world.clock.0.load(Ordering::SeqCst) + 366 * 24 * 3_600_000_000)));
    let store = Faulty::new(Arc::new(world.memory.clone()), |_| Fault::None).telling(Arc::new(world.clock.clone()));
    let wrong = Repository::open_storage(Arc::new(store), open(&ahead)).await.unwrap();
    for error in [
        wrong.plan_expire(&keep).await.unwrap_err(),
        wrong.expire(&plan, "old").await.unwrap_err(),
        wrong.withdraw(&versions[0], "wrong", None).await.unwrap_err(),
    ] {
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("more than a minute apart"), "{error}");
    }
    assert_eq!(world.repository.retention().await.unwrap().expirations(), []);
    assert!(expiring(&world.repository.plan_expire(&keep).await.unwrap()).is_empty());
}

/// Nine of the last ten versions had expired by another rule, so `last` kept one of those that were left, and all others expired.
#[tokio::test]
async fn what_has_expired_counts_for_no_rule() {
    let (world, _) = World::days(60).await;
    let r = &world.repository;
    let months = r.plan_expire(&ExpireOptions::default().keep_each(CalendarPeriod::Month, KeepFor::Ever)).await.unwrap();
    assert_eq!(kept(&months), [("59", "branch main"), ("57", "monthly"), ("29", "monthly"), ("an empty repository", "monthly")][..3]);
    r.expire(&months, "monthly").await.unwrap();
    let last = r.plan_expire(&ExpireOptions::default().keep_last(3)).await.unwrap();
    assert_eq!(kept(&last), [("59", "branch main"), ("57", "last"), ("29", "last")]);
    assert!(expiring(&last).is_empty());
}

#[tokio::test]
async fn rules_and_reasons_that_say_nothing_are_refused() {
    let (world, versions) = World::days(2).await;
    let r = &world.repository;
    for options in [
        ExpireOptions::default().keep_last(0),
        ExpireOptions::default().keep_within(Duration::ZERO).keep_each(CalendarPeriod::Day, KeepFor::Count(0)),
    ] {
        assert_eq!(r.plan_expire(&options).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let plan = r.plan_expire(&ExpireOptions::default().keep_last(1)).await.unwrap();
    assert_eq!(r.expire(&plan, " ").await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(r.withdraw(&versions[0], "", None).await.unwrap_err().kind(), ErrorKind::Invalid);
}

/// A web server lists nothing. Each version that was older than the latest that has expired could not be opened there.
#[tokio::test]
async fn readers_that_may_not_list_open_what_is_kept() {
    let (world, versions) = World::days(6).await;
    let r = &world.repository;
    r.create_tag(&name("v1"), &versions[1], "").await.unwrap();
    r.expire(&r.plan_expire(&ExpireOptions::default().keep_last(1)).await.unwrap(), "old").await.unwrap();
    let faulty = Arc::new(Faulty::new(Arc::new(world.memory.clone()), |call| match call.operation {
        Operation::List => Fault::Rejected(ErrorKind::Unsupported),
        _ => Fault::None,
    }));
    let reader = Repository::open_storage(faulty.clone(), open(&world.clock)).await.unwrap();
    let tagged = reader.read("v1").await.unwrap();
    assert_eq!(tagged.get(&key("k")).await.unwrap().unwrap(), value(1));
    assert_eq!(reader.read("main~1").await.unwrap_err().kind(), ErrorKind::Expired);
    assert_eq!(tagged.blame(&Prefix::all()).await.unwrap().len(), 4);
    assert!(reader.known_retention().await.unwrap().is_expired(versions[0].id()));
    assert_eq!(reader.retention().await.unwrap_err().kind(), ErrorKind::Unsupported);
    // What a tag shows is kept, whatever is on record, and nothing has to be listed to know that.
    let retiring = Retiring {
        author: None,
        reason: "by a copy".to_owned(),
        rules: String::new(),
        time: Timestamp::from_micros(1),
        versions: vec![versions[1].id()],
        latest: versions[1].record().time,
    };
    r.refs().retire(&retiring).await.unwrap();
    assert_eq!(reader.read("v1").await.unwrap().get(&key("k")).await.unwrap().unwrap(), value(1));
    // Where it could list, only the one of which something is on record is worth it.
    let before = faulty.calls();
    reader.read(&versions[5].id().to_string()).await.unwrap();
    assert!(faulty.calls() - before <= 3, "{}", faulty.calls() - before);
}

/// A merge could not begin anywhere after the version had expired at which the branches part.
#[tokio::test]
async fn where_branches_part_stays() {
    let (world, versions) = World::days(8).await;
    let r = &world.repository;
    for (branch, at) in [("one", 1), ("two", 3)] {
        r.create_branch(&name(branch), &versions[at]).await.unwrap();
        let session = r.write(branch).await.unwrap();
        session.set(&key(branch), value(70)).await.unwrap();
        session.commit(branch).await.unwrap();
    }
    let plan = r.plan_expire(&ExpireOptions::default().keep_last(1)).await.unwrap();
    let forks: Vec<_> = kept(&plan).into_iter().filter(|(_, why)| *why == "fork").collect();
    assert_eq!(forks, [("3", "fork"), ("1", "fork")]);
    r.expire(&plan, "old").await.unwrap();
    world.gc().await;
    for branch in ["one", "two"] {
        let tip = fresh_of(&world, branch).await;
        r.merge(&name("main"), &tip, "merge").await.unwrap().commit().await.unwrap();
    }
    world.verify().await;
}

/// The branch into which one of two was merged had both ways behind it, and hid where the two part.
#[tokio::test]
async fn where_two_branches_part_stays_also_if_one_was_merged_into_a_third() {
    let (world, versions) = World::days(6).await;
    let r = &world.repository;
    for (branch, at) in [("t1", 1), ("t2", 3)] {
        r.create_branch(&name(branch), &versions[at]).await.unwrap();
        let session = r.write(branch).await.unwrap();
        session.set(&key(branch), value(70)).await.unwrap();
        session.commit(branch).await.unwrap();
    }
    let one = fresh_of(&world, "t1").await;
    r.merge(&name("main"), &one, "merge").await.unwrap().commit().await.unwrap();
    let session = r.write("t1").await.unwrap();
    session.set(&key("t1"), value(71)).await.unwrap();
    session.commit("t1 goes on").await.unwrap();
    let plan = r.plan_expire(&ExpireOptions::default().keep_last(1)).await.unwrap();
    r.expire(&plan, "old").await.unwrap();
    world.gc().await;
    let [one, two] = [fresh_of(&world, "t1").await, fresh_of(&world, "t2").await];
    assert_eq!(one.common_ancestors(&two).await.unwrap(), [versions[1].id()]);
    r.merge(&name("t2"), &one, "merge").await.unwrap().commit().await.unwrap();
    world.verify().await;
}

/// The tip of a branch that was merged and deleted expired at once, and the deletion could not be undone.
#[tokio::test]
async fn a_deletion_can_be_undone_also_if_the_branch_was_merged() {
    let (world, versions) = World::days(3).await;
    let r = &world.repository;
    r.create_branch(&name("side"), &versions[1]).await.unwrap();
    let session = r.write("side").await.unwrap();
    session.set(&key("side"), value(70)).await.unwrap();
    let side = session.commit("side").await.unwrap();
    r.merge(&name("main"), &side, "merge").await.unwrap().commit().await.unwrap();
    r.delete_branch(&name("side")).await.unwrap();
    let options = ExpireOptions::default().keep_last(1).keep_moves(5 * DAY);
    let plan = r.plan_expire(&options).await.unwrap();
    assert_eq!(kept(&plan)[1..], [("side", "moves")]);
    r.expire(&plan, "old").await.unwrap();
    world.gc().await;
    r.undo(&name("side")).await.unwrap();
    assert_eq!(fresh_of(&world, "side").await.get(&key("side")).await.unwrap().unwrap(), value(70));
    world.verify().await;
}

/// What lost objects lead to is not known: what only they keep would expire.
#[tokio::test]
async fn nothing_expires_while_something_is_lost_or_unknown() {
    for lost in ["refs/branches/main.json", "refs/notes/x.json", "the tip of dev"] {
        let (world, versions) = World::days(4).await;
        let r = &world.repository;
        r.create_branch(&name("dev"), &versions[3]).await.unwrap();
        let dev = world.commit("dev", 90).await;
        let (object, kind) = match lost {
            "refs/notes/x.json" => {
                world.memory.insert_register(lost.to_owned(), "{}".into());
                (None, ErrorKind::Unsupported)
            }
            "the tip of dev" => (Some(crate::storage::ObjectName::snapshot(&dev.id()).to_string()), ErrorKind::Corrupt),
            _ => (Some(lost.to_owned()), ErrorKind::Corrupt),
        };
        if let Some(object) = object {
            world.memory.lose(&object);
        }
        let options = ExpireOptions::default().keep_last(1).branch(name("dev"));
        let error = world.fresh().await.plan_expire(&options).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{lost}: {error}");
        assert!(error.to_string().contains("nothing expires"), "{lost}: {error}");
    }
}
