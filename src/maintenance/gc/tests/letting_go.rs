//! Refs that let go what they kept, and snapshots that were given up: what the model in `crates/protocol-model` has found.

use super::*;
use crate::commit::Settlement;
use crate::error::ErrorKind;
use crate::refs::Settled;
use crate::session::PublishState;

const SIDE: &str = "refs/branches/side.json";

impl World {
    /// The moves of a branch are forgotten, and with them what only they kept.
    async fn forget_moves(&self, branch: &str) {
        let (refs, branch) = (self.repository.refs(), Ref::branch(name(branch)));
        let before = refs.try_read(&branch).await.unwrap().unwrap();
        let mut next = before.record.successor();
        next.moves.clear();
        let settled = refs.replace_settled(&branch, Some(&before), &next, |_| async { Ok(false) }).await.unwrap();
        assert!(matches!(settled, Settled::Won));
    }
}

/// A reset looks at a branch that has just been raised, which then lets the target go, before the collector reads it again.
#[tokio::test]
pub(super) async fn what_a_branch_kept_when_it_was_raised_is_marked() {
    let world = World::new().await;
    let first = world.repository.read("main").await.unwrap();
    world.repository.create_branch(&name("side"), &first).await.unwrap();
    let session = world.repository.write("side").await.unwrap();
    session.set(&key("x"), value(7)).await.unwrap();
    let prepared = session.prepare("x").await.unwrap();
    // The collector reads the branch twice to find what is behind it, once to raise it, and once more.
    let (collector, again) = world.held_at_nth(3, |operation, at| (operation, at) == (Operation::Load, SIDE)).await;
    let planned = collector.begin_gc(&world.options()).await.unwrap();
    let target = prepared.publish().await.unwrap().snapshot;
    let collection = tokio::spawn(planned.execute());
    again.reached().await;
    settle().await;
    assert_eq!((world.epoch_of("main").await, world.epoch_of("side").await), (1, 1));
    let (resetter, sent) = world.held_at(|operation, at| (operation, at) == (Operation::Replace, MAIN)).await;
    let to = target.clone();
    let reset = tokio::spawn(async move {
        let to = resetter.read(&to.id().to_string()).await.unwrap();
        resetter.reset(&name("main"), &to).await
    });
    sent.reached().await;
    world.repository.reset(&name("side"), &first).await.unwrap();
    world.forget_moves("side").await;
    again.open();
    collection.await.unwrap().unwrap();
    sent.open();
    reset.await.unwrap().unwrap();
    world.holds("main", "x", 7).await;
    world.verify().await;
}

/// Somebody settles a commit as lost while its writer still works on it.
#[tokio::test]
pub(super) async fn a_commit_that_was_settled_as_lost_is_not_sent_again() {
    let world = World::new().await;
    let (writer, sent) = world.held_at(|operation, at| (operation, at) == (Operation::Replace, MAIN)).await;
    let session = writer.write("main").await.unwrap();
    session.set(&key("x"), value(7)).await.unwrap();
    let handle = session.publish_handle();
    let commit = tokio::spawn(session.commit("x"));
    sent.reached().await;
    let PublishState::Sent(pending) = handle.state() else { panic!("it was sent: {:?}", handle.state()) };
    assert_eq!(world.repository.settle(&name("main"), pending.id).await.unwrap(), Settlement::Lost);
    sent.open();
    let committed = commit.await.unwrap().unwrap();
    assert_ne!(committed.id(), pending.id, "of this one it was said that it will never be seen");
    assert!(committed.record().time > pending.time);
    assert_eq!(world.repository.settle(&name("main"), pending.id).await.unwrap(), Settlement::Lost);
    world.holds("main", "x", 7).await;
    world.verify().await;
}

/// A version is merged that changes no chunk, and nothing keeps it any more when the merge is committed.
#[tokio::test]
pub(super) async fn a_merge_looks_at_what_it_merges() {
    let world = World::new().await;
    let first = world.repository.read("main").await.unwrap();
    world.repository.create_branch(&name("side"), &first).await.unwrap();
    let session = world.repository.write("side").await.unwrap();
    session.set(&key("small"), "inline").await.unwrap();
    let theirs = session.commit("small").await.unwrap();
    let staged = world.repository.merge(&name("main"), &theirs, crate::branches::MergeOptions::default()).await.unwrap();
    world.repository.delete_branch(&name("side")).await.unwrap();
    world.forget_moves("side").await;
    assert!(world.gc().await.removed.contains_key("snapshots"));
    let failed = staged.commit().await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Conflict, "{failed}");
    world.verify().await;
}
