//! A register of collections, and lists, that were written by somebody who may write but not remove.

use super::*;
use crate::refs::collection::{Advanced, CondemnedRow, GcHeld, ListWriter, row_of};
use crate::storage::layout::{SHARDS, shard_of};

/// Writes a list of everything that is stored.
async fn list_of_everything(world: &World, id: &str) {
    let mut shards: Vec<Vec<CondemnedRow>> = vec![Vec::new(); SHARDS];
    for at in world.names().await {
        if let Some((kind, digest)) = ObjectName::parse(&at, HashAlgorithm::Sha2_256) {
            shards[shard_of(digest.as_bytes())].push(row_of(kind, &digest));
        }
    }
    let mut list = ListWriter::new(world.repository.refs(), id.to_owned());
    for (shard, mut rows) in shards.into_iter().enumerate() {
        rows.sort_unstable();
        list.add(shard, &rows).await.unwrap();
    }
    let (_, count) = list.finish().await.unwrap();
    assert!(count > 5, "{count}");
}

/// The register says that a sweep was left, and its list names what `main` leads to. The next honest collection removed all of it.
#[tokio::test]
async fn a_sweep_that_is_forged_removes_nothing() {
    let world = World::new().await;
    world.leave(7).await;
    list_of_everything(&world, "1-forged").await;
    let found = world.repository.refs().collection().await.unwrap();
    let fence = GcHeld { state: found.state.fenced("somebody", "1-forged"), ..found.clone() };
    let Advanced::Won(_) = world.repository.refs().advance(&found, fence.state.sweeping("1-forged")).await.unwrap() else { panic!() };
    let report = world.gc().await;
    assert!(report.resumed && report.removed["chunks"].objects == 1 && !world.is_there(7).await, "{report:?}");
    world.holds("main", "first", 1).await;
    world.commit("main", "x", 9).await;
    world.verify().await;
}

/// The list of a collection is replaced between its writing and the removals.
#[tokio::test]
async fn a_list_that_was_replaced_removes_nothing_more() {
    let world = World::new().await;
    world.leave(7).await;
    let (collector, reading) = world.held_at(|operation, name| operation == Operation::Get && name.ends_with("/index")).await;
    let task = world.collect(collector);
    reading.reached().await;
    let list = world.repository.refs().collection().await.unwrap().state.list.unwrap();
    list_of_everything(&world, &list).await;
    reading.open();
    let report = task.await.unwrap().unwrap();
    assert_eq!(report.removed["chunks"].objects, 1);
    assert!(!world.is_there(7).await);
    world.holds("main", "first", 1).await;
    world.verify().await;
}
