//! What a collection removes and what it leaves, without anybody beside it.

use std::time::Duration;

use futures::TryStreamExt as _;

use super::*;
use crate::error::ErrorKind;
use crate::id::MapKind;
use crate::refs::{MoveOp, MoveTo, Ref, Vouched};
use crate::storage::fault::Crashing;
use crate::storage::{Extent, Local, LocalOptions, RemovalPermit};

#[tokio::test]
async fn garbage_goes_and_everything_that_refs_lead_to_stays() {
    let world = World::new().await;
    let r = &world.repository;
    let first = r.read("main").await.unwrap();
    world.commit("main", "second", 2).await;
    r.create_branch(&name("gone"), &first).await.unwrap();
    world.commit("gone", "third", 3).await;
    r.delete_branch(&name("gone")).await.unwrap();
    r.create_tag(&name("v1"), &first, "").await.unwrap();
    r.reset(&name("main"), &first).await.unwrap();
    let kept = world.names().await;
    for byte in 10..20 {
        world.leave(byte).await;
    }
    let plan = r.plan_gc(&world.options()).await.unwrap();
    assert_eq!((plan.garbage_total().objects, plan.garbage_total().bytes), (10, 50_000), "{plan:?}");
    assert_eq!((plan.refs, plan.versions), (3, 4), "a deleted branch counts, and the empty first version");
    assert_eq!(
        plan.stored_total().objects,
        10 + kept.iter().filter(|name| name.contains("/bafy") || name.contains("/bafk")).count() as u64
    );
    assert_eq!(world.names().await.len(), kept.len() + 10, "a plan removes nothing");

    let report = world.gc().await;
    assert_eq!((report.epoch, report.failed, report.saved, report.resumed), (1, 0, 0, false));
    assert_eq!(report.removed, report.plan.garbage);
    let now = world.names().await;
    let (lists, others): (BTreeSet<_>, BTreeSet<_>) = now.into_iter().partition(|name| name.starts_with("gc/"));
    assert_eq!(others, kept);
    assert!(lists.contains(GC) && lists.len() > 2, "{lists:?}");
    world.verify().await;
    world.holds("main", "first", 1).await;
    assert!(r.moves(&Ref::branch(name("gone"))).await.unwrap().len() == 2);
    for branch in ["main", "gone"] {
        assert_eq!(world.epoch_of(branch).await, 1, "{branch}");
    }

    // Nothing to do: nothing is written.
    let before = world.names().await;
    assert_eq!(world.gc().await.epoch, 0);
    assert_eq!(world.names().await, before);
    // And writers go on.
    world.commit("main", "fourth", 4).await;
    r.create_branch(&name("gone"), &first).await.unwrap();
    assert_eq!(world.epoch_of("gone").await, 1);
    world.verify().await;
}

#[tokio::test]
async fn young_garbage_and_foreign_files_stay() {
    let world = World::new().await;
    world.leave(7).await;
    world.memory.insert_object("chunks/aa/not-an-id".to_owned(), vec![1; 10].into());
    let plan = world.repository.plan_gc(&world.options().grace(Duration::from_hours(1))).await.unwrap();
    assert_eq!((plan.garbage_total().objects, plan.young.objects, plan.young.bytes), (0, 1, 5_000));
    assert_eq!((plan.foreign.objects, plan.foreign.bytes), (1, 10));
    assert_eq!(world.gc().await.removed.values().map(|counts| counts.objects).sum::<u64>(), 1);
    assert!(world.names().await.contains("chunks/aa/not-an-id"));
}

#[tokio::test]
async fn nothing_is_collected_while_a_ref_cannot_be_read() {
    let world = World::new().await;
    world.repository.create_branch(&name("other"), &world.repository.read("main").await.unwrap()).await.unwrap();
    let second = world.commit("other", "second", 2).await;
    world.leave(7).await;
    let refused = async |what: &str| {
        let error = world.repository.gc(&world.options()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(world.is_there(7).await);
    };
    let node = ObjectName::node(crate::id::MapKind::Manifest, &second.record().manifest);
    let bytes = world.memory.get(&node, Extent::ANY_LENGTH).await.unwrap().unwrap();
    world.memory.delete_many(std::slice::from_ref(&node), &RemovalPermit::endless()).await;
    refused("branch other").await;
    world.memory.insert_object(node.as_str().to_owned(), vec![0; 3].into());
    refused("branch other").await;
    world.memory.insert_object(node.as_str().to_owned(), bytes);
    let register = "refs/branches/other.json";
    let before = world.memory.load(&crate::storage::RegisterName::branch("other")).await.unwrap().unwrap().value;
    world.memory.insert_register(register.to_owned(), "damaged".into());
    refused("branch other").await;
    world.memory.insert_register(register.to_owned(), before);
    world.gc().await;
    assert!(!world.is_there(7).await);
    world.verify().await;
}

#[tokio::test]
async fn a_store_that_removes_nothing_says_so_and_can_be_looked_at() {
    let world = World::new().await;
    world.leave(7).await;
    let reader = Repository::open_storage(Arc::new(world.memory.clone()), OpenOptions::default().read_only()).await.unwrap();
    assert_eq!(reader.plan_gc(&world.options()).await.unwrap().garbage_total().objects, 1);
    assert_eq!(reader.gc(&world.options()).await.unwrap_err().kind(), ErrorKind::Invalid);
}

/// A version that was imported without what came before it names a parent, of which a part may lie here as garbage of another import. Such
/// a loss once ended every collection for good.
#[tokio::test]
async fn a_parent_that_is_here_in_part_is_a_loss_only_if_a_version_without_a_marker_leads_to_it() {
    let world = World::new().await;
    let parent = world.commit("main", "x", 2).await;
    let child = world.commit("main", "x", 3).await;
    world.memory.put(&ObjectName::shallow(&child.id()), &[]).await.unwrap();
    let node = ObjectName::node(MapKind::Manifest, &parent.record().manifest);
    world.memory.delete_many(&[node], &RemovalPermit::endless()).await;
    world.leave(7).await;
    assert_eq!(world.gc().await.removed["chunks"].objects, 2, "what was left behind, and what only the lost node named");
    assert!(world.names().await.contains(ObjectName::snapshot(&parent.id()).as_str()), "what is here of it stays");
    // Now another ref needs it whole, although no ref may be pointed at it.
    let tag = world.repository.create_tag(&name("old"), &parent, "").await;
    assert_eq!(tag.unwrap_err().kind(), ErrorKind::Invalid);
    let to = MoveTo { to: Some(parent.id()), op: MoveOp::Create, about: None, not_before: parent.record().time };
    world.repository.refs().create(&Ref::tag(name("old")), to, |_| async { Ok(Vouched::Safe) }).await.unwrap();
    world.leave(7).await;
    let error = world.repository.gc(&world.options()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) && error.to_string().contains("old"), "{error}");
    assert!(world.is_there(7).await);
}

/// A later build may know other refs, and what they lead to is not for this one to remove.
#[tokio::test]
async fn nothing_is_removed_beside_a_ref_of_another_kind() {
    let world = World::new().await;
    world.leave(7).await;
    let text = world.memory.load(&crate::storage::RegisterName::branch("main")).await.unwrap().unwrap().value;
    world.memory.insert_register("refs/remotes/main.json".to_owned(), text);
    let error = world.repository.gc(&world.options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("refs/remotes/main.json") && world.is_there(7).await, "{error}");
}

#[tokio::test]
async fn what_could_not_be_removed_is_told_and_removed_later() {
    let world = World::new().await;
    for byte in 10..14 {
        world.leave(byte).await;
    }
    let stuck = chunk(11).await;
    let at = stuck.as_str().to_owned();
    let broken = world
        .through(
            move |operation, name| {
                if operation == Operation::Delete && name == at { Fault::Rejected(ErrorKind::Denied) } else { Fault::None }
            },
        )
        .await;
    let report = broken.gc(&world.options()).await.unwrap();
    assert_eq!(report.failed, 1);
    assert!(report.problem.is_some_and(|problem| problem.contains(stuck.as_str())));
    assert!(world.is_there(11).await && !world.is_there(12).await);
    assert_eq!(world.gc().await.removed.values().map(|counts| counts.objects).sum::<u64>(), 1);
    assert!(!world.is_there(11).await);
}

/// After every single loss of power, readers see what they saw, and the next collection removes what is left.
#[tokio::test]
async fn a_collection_can_be_cut_off_anywhere() {
    let mut cuts = 0;
    for change in 0.. {
        let world = World::new().await;
        for byte in 10..14 {
            world.leave(byte).await;
        }
        world.commit("main", "second", 2).await;
        let machine = Crashing::on(world.memory.clone());
        machine.crash_at(change);
        let machine = Arc::new(machine);
        let cut = Repository::open_storage(machine.clone(), OpenOptions::default().without_pauses()).await.unwrap();
        let done = cut.gc(&world.options()).await;
        let after = World { memory: machine.survivors(change), ..world };
        let repository = Repository::open_storage(Arc::new(after.memory.clone()), OpenOptions::default().without_pauses()).await.unwrap();
        let after = World { repository, ..after };
        after.verify().await;
        after.holds("main", "second", 2).await;
        let again = after.gc().await;
        assert_eq!(again.failed, 0);
        for byte in 10..14 {
            assert!(!after.is_there(byte).await, "cut at {change}");
        }
        after.commit("main", "third", 11).await;
        after.verify().await;
        if done.is_ok() {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 8, "a collection has more changes than {cuts}");
}

#[tokio::test]
async fn a_directory_is_collected_under_a_lock() {
    let place = tempfile::tempdir().unwrap();
    let open = || Arc::new(Local::open(place.path(), LocalOptions::default()).unwrap());
    let repository = Repository::create_storage(open(), CreateOptions::default()).await.unwrap();
    commit(&repository, "main", "first", 1).await.unwrap();
    let session = repository.write("main").await.unwrap();
    session.set(&key("left"), value(9)).await.unwrap();
    session.flush().await.unwrap();
    let options = GcOptions::default().grace(Duration::ZERO);
    let planned = repository.begin_gc(&options).await.unwrap();
    let other = Repository::open_storage(open(), OpenOptions::default()).await.unwrap();
    assert_eq!(other.begin_gc(&options).await.unwrap_err().kind(), ErrorKind::Locked);
    let report = planned.execute().await.unwrap();
    assert_eq!((report.epoch, report.failed), (1, 0));
    assert!(!place.path().join(chunk(9).await.as_str()).exists());
    // The session was opened before: its chunk is gone, and nothing of it is published.
    let failed = session.commit("left").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Conflict, "{failed}");
    let session = failed.into_session();
    session.set(&key("left"), value(9)).await.unwrap();
    session.commit("left").await.unwrap();
    assert_eq!(other.gc(&options).await.unwrap().epoch, 2, "the snapshots and nodes of the commit that failed");
    let verified = other.verify(VerifyScope::Everything).await.unwrap();
    assert!(verified.findings.is_empty(), "{verified:?}");
    let listed: Vec<_> = open().list("gc/").try_collect().await.unwrap();
    assert!(listed.iter().all(|meta| meta.name != "gc/.lock"));
}
