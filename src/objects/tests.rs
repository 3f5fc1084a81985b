//! Many readers of one node.

use std::sync::Arc;

use futures::{FutureExt, future};

use super::{Objects, Uploads};
use crate::error::{ErrorKind, Result};
use crate::format::{Entry, Leaf, Node, VirtualFile};
use crate::id::{HashAlgorithm, NodeId};
use crate::key::MapKey;
use crate::map::{NodeSink, NodeSource};
use crate::storage::{Memory, ObjectName, Observed, Storage};

const HASH: HashAlgorithm = HashAlgorithm::Sha2_256;

fn node() -> Node<Entry> {
    leaf("a", "1".into())
}

fn leaf(key: &str, value: Vec<u8>) -> Node<Entry> {
    Node::Leaf(Leaf { entries: vec![(MapKey::new(key), Entry::Inline(value.into()))] })
}

async fn put(storage: &dyn Storage, node: &Node<Entry>) -> NodeId {
    let id = node.id(HASH);
    storage.put(&ObjectName::node(crate::id::MapKind::Manifest, &id), &[node.encode_at_rest().into()]).await.unwrap();
    id
}

fn objects(cache_bytes: u64) -> (Arc<Observed>, Objects) {
    let storage = Arc::new(Observed::new(Arc::new(Memory::new())));
    (Arc::clone(&storage), Objects::new(storage, HASH, cache_bytes))
}

async fn load(objects: &Objects, id: NodeId) -> Result<Arc<Node<Entry>>> {
    objects.load(id).await
}

#[tokio::test]
async fn readers_who_miss_a_node_at_once_make_one_request() {
    for cache_bytes in [1 << 20, 0] {
        let (storage, objects) = objects(cache_bytes);
        let id = put(&*storage, &node()).await;
        let found = future::join_all((0..20).map(|_| load(&objects, id))).await;
        assert!(found.into_iter().all(|found| *found.unwrap() == node()));
        assert_eq!(storage.counts().gets, 1, "with {cache_bytes} bytes of cache");
        load(&objects, id).await.unwrap();
        assert_eq!(storage.counts().gets, if cache_bytes == 0 { 2 } else { 1 }, "nothing is kept beyond the cache");
    }
}

#[tokio::test]
async fn a_reader_that_leaves_or_rests_strands_nobody() {
    let (storage, objects) = objects(1 << 20);
    let id = put(&*storage, &node()).await;
    let mut leaves = load(&objects, id).boxed();
    let mut rests = load(&objects, id).boxed();
    let mut stays = load(&objects, id).boxed();
    for reader in [&mut leaves, &mut rests, &mut stays] {
        assert!(reader.now_or_never().is_none(), "each waits");
    }
    drop(leaves);
    assert_eq!(*stays.await.unwrap(), node());
    assert_eq!(storage.counts().gets, 1);
    assert_eq!(*rests.await.unwrap(), node());
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_is_cut_off() {
    let (storage, objects) = objects(1 << 20);
    let id = put(&*storage, &node()).await;
    assert!(load(&objects, id).now_or_never().is_none());
    tokio::task::yield_now().await;
    assert_eq!(storage.counts().gets, 0);
    assert_eq!(*load(&objects, id).await.unwrap(), node());
}

#[tokio::test]
async fn an_error_goes_to_all_who_wait_and_is_not_kept() {
    let (storage, objects) = objects(1 << 20);
    let id = node().id(HASH);
    let found = future::join_all((0..3).map(|_| load(&objects, id))).await;
    for error in found {
        let error = error.unwrap_err();
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(&id.to_string()), "{error}");
    }
    assert_eq!(storage.counts().gets, 1);
    put(&*storage, &node()).await;
    assert_eq!(*load(&objects, id).await.unwrap(), node());
}

/// Every entry weighed the same, whatever it held: where metadata is inline, the cache took ten times the memory it was given.
#[tokio::test]
async fn what_is_kept_is_bounded_in_bytes() {
    let bytes = 1 << 20;
    for (key, value) in [(1, 1024), (1000, 0)] {
        let (storage, objects) = objects(bytes);
        let mut ids = Vec::new();
        for i in 0..3000_u32 {
            let id = put(&*storage, &leaf(&format!("{}{i}", "k".repeat(key)), vec![1; value])).await;
            load(&objects, id).await.unwrap();
            ids.push(id);
        }
        let kept = ids.iter().filter(|id| objects.cached::<Entry>(**id).is_some()).count();
        assert!(kept > 10, "{kept} are kept");
        assert!((kept * (key + value)) as u64 <= bytes, "{kept} of {} bytes are kept", key + value);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// A read ran on the runtime of whoever asked first. When that was a runtime that nobody drove, or that ended, those on other
/// runtimes waited for ever, or were told of an internal error.
#[test]
fn readers_on_several_runtimes_do_not_depend_on_each_other() {
    let (storage, objects) = objects(0);
    let (resting, driven) = (runtime(), runtime());
    let id = driven.block_on(put(&*storage, &node()));
    let mut first = load(&objects, id).boxed();
    resting.block_on(async { assert!((&mut first).now_or_never().is_none(), "its task has not run") });
    let found = driven.block_on(async { tokio::time::timeout(std::time::Duration::from_mins(1), load(&objects, id)).await });
    assert_eq!(*found.expect("nobody drives the other runtime").unwrap(), node());
    // The reader that is left goes on elsewhere when the runtime of its task is gone.
    drop(resting);
    assert_eq!(*driven.block_on(first).unwrap(), node());
}

#[test]
fn a_node_is_read_without_a_runtime() {
    let (storage, objects) = objects(1 << 20);
    let id = futures::executor::block_on(put(&*storage, &node()));
    assert_eq!(*futures::executor::block_on(load(&objects, id)).unwrap(), node());
}

/// A node that its own reader refuses was uploaded, and then made its branch unreadable for ever: a server's `ETag` of 257 bytes was enough.
#[tokio::test]
async fn a_node_that_its_reader_would_refuse_is_not_uploaded() {
    let (storage, objects) = objects(1 << 20);
    let record =
        VirtualFile { etag: Some(vec![b'e'; 100_000]), ..crate::Validator::staged_at(crate::Timestamp::from_micros(1)).record(1, 1) };
    let node = Node::Leaf(Leaf { entries: vec![(MapKey::new("era5/a.nc"), record)] });
    let id = node.id(HASH);
    let mut uploads = Uploads::new(&objects);
    uploads.store(id, Arc::new(node)).await.unwrap();
    let error = uploads.finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains(&ObjectName::node(crate::id::MapKind::Files, &id).to_string()), "{error}");
    assert_eq!(storage.counts().puts, 0, "nothing was sent");
    uploads.finish().await.expect("a commit without the node can be made");
    NodeSink::<Entry>::store(&mut uploads, self::node().id(HASH), Arc::new(self::node())).await.unwrap();
    uploads.finish().await.unwrap();
    assert_eq!(storage.counts().objects_written, 1);
}

#[tokio::test]
async fn an_object_that_is_under_way_is_not_sent_twice() {
    let (storage, objects) = objects(1 << 20);
    let mut uploads = Uploads::new(&objects);
    for _ in 0..10 {
        NodeSink::<Entry>::store(&mut uploads, node().id(HASH), Arc::new(node())).await.unwrap();
    }
    uploads.finish().await.unwrap();
    assert_eq!(storage.counts().puts, 1);
}

/// Without a runtime, `finish` waited for ever for the tasks of a runtime that nobody drives.
#[test]
fn uploads_that_a_runtime_began_are_finished_without_one() {
    for is_gone in [false, true] {
        let (storage, objects) = objects(1 << 20);
        let mut uploads = Uploads::new(&objects);
        let resting = runtime();
        resting.block_on(NodeSink::<Entry>::store(&mut uploads, node().id(HASH), Arc::new(node()))).unwrap();
        let kept = (!is_gone).then_some(resting);
        uploads.finish().now_or_never().expect("no task of another runtime is waited for").unwrap();
        assert_eq!(storage.counts().objects_written, 1);
        drop(kept);
    }
}

/// Without a runtime, whoever waited for room and watched for failures waited for ever: nothing went on with the uploads.
#[test]
fn watching_for_failures_without_a_runtime_goes_on_with_the_uploads() {
    let (storage, objects) = objects(1 << 20);
    let mut uploads = Uploads::new(&objects);
    let all = objects.upload_bytes;
    let send = |uploads: &mut Uploads, why: Option<&'static str>| {
        let (name, share) =
            (ObjectName::node(crate::id::MapKind::Manifest, &node().id(HASH)), uploads.budget().take(all).now_or_never().unwrap().unwrap());
        let (storage, owned) = (Arc::clone(&storage), name.clone());
        uploads.send(&name, share, move || {
            let (storage, name) = (Arc::clone(&storage), owned.clone());
            async move {
                match why {
                    Some(why) => Err(crate::Error::unavailable(why).into()),
                    None => Ok(storage.put(&name, &["x".into()]).await?),
                }
            }
        });
    };
    send(&mut uploads, None);
    assert!(uploads.budget().take(1).now_or_never().is_none(), "there is no room");
    assert!(uploads.failure().now_or_never().is_none(), "nothing failed");
    assert_eq!(storage.counts().objects_written, 1);
    assert!(uploads.budget().take(all).now_or_never().is_some(), "the room is free");
    send(&mut uploads, Some("the store is away"));
    let error = uploads.failure().now_or_never().expect("the only upload failed");
    assert_eq!(error.to_string(), "the store is away");
}

/// A caller that waits for room on a runtime was not told of an upload that was sent without one, and waited for ever.
#[test]
fn an_upload_that_is_sent_elsewhere_is_driven_by_who_waits_for_its_room() {
    let (storage, objects) = objects(1 << 20);
    let uploads = Uploads::new(&objects);
    let share = uploads.reserve(objects.upload_bytes).now_or_never().unwrap().unwrap();
    let driven = runtime();
    let mut waits = Box::pin(uploads.reserve(1));
    driven.block_on(async { assert!((&mut waits).now_or_never().is_none(), "there is no room") });
    let name = ObjectName::node(crate::id::MapKind::Manifest, &node().id(HASH));
    let (sent, owned) = (Arc::clone(&storage), name.clone());
    uploads.send(&name, share, move || {
        let (storage, name) = (Arc::clone(&sent), owned.clone());
        async move { Ok(storage.put(&name, &["x".into()]).await?) }
    });
    driven.block_on(async { tokio::time::timeout(std::time::Duration::from_mins(1), waits).await }).expect("it is driven").unwrap();
    assert_eq!(storage.counts().objects_written, 1);
}

/// On a runtime that is shutting down every task is dropped at once: beginning another one in its place went on for ever.
#[test]
fn a_runtime_that_is_shutting_down_is_an_error() {
    let (storage, objects) = objects(1 << 20);
    let mut uploads = Uploads::new(&objects);
    futures::executor::block_on(NodeSink::<Entry>::store(&mut uploads, node().id(HASH), Arc::new(node()))).unwrap();
    let ended = runtime();
    let handle = ended.handle().clone();
    drop(ended);
    let error = {
        let _guard = handle.enter();
        futures::executor::block_on(uploads.finish()).unwrap_err()
    };
    assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("shutting down"), "{error}");
    runtime().block_on(uploads.finish()).unwrap();
    assert_eq!(storage.counts().objects_written, 1, "nothing is lost");
}

#[test]
fn objects_are_uploaded_without_a_runtime() {
    let (storage, objects) = objects(1 << 20);
    let mut uploads = Uploads::new(&objects);
    futures::executor::block_on(NodeSink::<Entry>::store(&mut uploads, node().id(HASH), Arc::new(node()))).unwrap();
    futures::executor::block_on(uploads.finish()).unwrap();
    assert_eq!(storage.counts().objects_written, 1);
}
