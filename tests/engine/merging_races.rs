//! Merges that are staged while others merge, and what they may link.

use std::time::Duration;

use firnline::{Access, ErrorDetail, ErrorKind, MergeOptions, StagedMerge};

use crate::conflicts::Do::{Delete, Set};
use crate::conflicts::chunk;
use crate::merging::{commit, is_sound, name, tree};
use crate::support::World;

/// A repository whose `side` has the key `n`, which `main` has not.
async fn forked() -> World {
    let world = World::new().await;
    let start = commit(&world.repository, "main", &[chunk("start")]).await;
    world.repository.create_branch(&name("side"), &start).await.unwrap();
    commit(&world.repository, "side", &[chunk("n")]).await;
    world
}

async fn merge(world: &World) -> StagedMerge {
    let side = world.repository.read("side").await.unwrap();
    world.repository.merge(&name("main"), &side, MergeOptions::default()).await.unwrap()
}

/// The same version is merged by two writers: the second one finds it there, and brings back nothing that was deleted since.
#[tokio::test]
async fn a_version_that_another_writer_merged_meanwhile_is_not_merged_twice() {
    let world = forked().await;
    let (first, second, third) = (merge(&world).await, merge(&world).await, merge(&world).await);
    let made = first.commit().await.unwrap();
    // At the same moment the second one would make the very same commit.
    world.clock.advance(Duration::from_secs(1));
    let found = second.commit().await.unwrap();
    assert!(made.is_new && !found.is_new && found.snapshot.id() == made.snapshot.id(), "no second, empty merge");
    commit(&world.repository, "main", &[Delete("n")]).await;
    let refused = third.commit().await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Conflict && refused.to_string().contains("merge it again"), "{refused}");
    // Nor when the session is committed again; merged anew there is nothing to do.
    let refused = refused.into_session().commit("again").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    assert!(!merge(&world).await.commit().await.unwrap().is_new);
    assert!(!tree(&world.repository.read("main").await.unwrap()).await.contains_key("n"));
    is_sound(&world.repository).await;
}

/// The same if the other writer merged an older version of the same branch: the changes up to that one are not new any more.
#[tokio::test]
async fn a_version_of_which_the_branch_got_a_part_meanwhile_is_merged_again() {
    let world = forked().await;
    let part = merge(&world).await;
    commit(&world.repository, "side", &[chunk("m")]).await;
    let staged = merge(&world).await;
    part.commit().await.unwrap();
    commit(&world.repository, "main", &[Delete("n")]).await;
    let refused = staged.commit().await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Conflict && refused.to_string().contains("merge it again"), "{refused}");
    assert_eq!(refused.into_session().commit("again").await.unwrap_err().kind(), ErrorKind::Conflict);
    let now = tree(&merge(&world).await.commit().await.unwrap().snapshot).await;
    assert!(!now.contains_key("n") && now.contains_key("m"), "{now:?}");
    // A plain commit of another writer is followed.
    commit(&world.repository, "side", &[chunk("l")]).await;
    let staged = merge(&world).await;
    commit(&world.reopen(Access::default()).await, "main", &[Set("other", "1".to_owned())]).await;
    let done = staged.commit().await.unwrap();
    assert!(done.is_new && done.snapshot.record().parents.len() == 2);
    is_sound(&world.repository).await;
}

/// What the squashed commits merged stays merged: merged once more it would bring back what was changed since.
#[tokio::test]
async fn a_squash_keeps_what_was_merged() {
    let world = forked().await;
    let onto = world.repository.read("main").await.unwrap();
    merge(&world).await.commit().await.unwrap();
    commit(&world.repository, "side", &[chunk("m")]).await;
    let side = world.repository.read("side").await.unwrap();
    commit(&world.repository, "main", &[chunk("ours")]).await;
    merge(&world).await.commit().await.unwrap();
    let before = commit(&world.repository, "main", &[Delete("n")]).await;
    let squashed = world.repository.squash(&name("main"), &onto, "one").await.unwrap().snapshot;
    assert_eq!(squashed.record().parents, [onto.id(), side.id()], "the first merge is behind the second one");
    assert_eq!(squashed.record().manifest, before.record().manifest);
    let again = merge(&world).await;
    assert_eq!(again.base, side.id());
    assert!(!again.commit().await.unwrap().is_new);
    is_sound(&world.repository).await;
    // A merge that is behind the commit that stays is not named again.
    let onto = world.repository.read("main").await.unwrap();
    commit(&world.repository, "main", &[chunk("later")]).await;
    let squashed = world.repository.squash(&name("main"), &onto, "two").await.unwrap().snapshot;
    assert_eq!(squashed.record().parents, [onto.id()]);
}

/// A version from the future is named as what is wrong, and not the branch.
#[tokio::test]
async fn a_version_from_the_future_is_not_merged() {
    let world = forked().await;
    let main = commit(&world.repository, "main", &[chunk("ours")]).await;
    world.clock.advance(Duration::from_hours(1));
    let ahead = commit(&world.repository, "side", &[chunk("ahead")]).await;
    world.clock.set(main.record().time.plus(Duration::from_mins(1)));
    let refused = world.repository.merge(&name("main"), &ahead, "x").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert_eq!(refused.detail(), Some(&ErrorDetail::FutureSnapshot { id: ahead.id().to_string() }));
    // The clock of who commits it may be another one than that of who staged it.
    world.clock.set(ahead.record().time.minus(Duration::from_mins(9)));
    let staged = world.repository.merge(&name("main"), &ahead, "x").await.unwrap();
    world.clock.set(main.record().time.plus(Duration::from_mins(1)));
    let refused = staged.commit().await.unwrap_err();
    assert_eq!(refused.error().detail(), Some(&ErrorDetail::FutureSnapshot { id: ahead.id().to_string() }));
    assert_eq!(world.repository.read("main").await.unwrap().id(), main.id());
}
