//! Many readers of one node.

use std::sync::Arc;

use futures::{FutureExt, future};

use super::Objects;
use crate::error::{ErrorKind, Result};
use crate::format::{Entry, Leaf, Node};
use crate::id::{HashAlgorithm, NodeId};
use crate::key::MapKey;
use crate::map::NodeSource;
use crate::storage::{Memory, ObjectName, Observed, Storage};

const HASH: HashAlgorithm = HashAlgorithm::Sha2_256;

fn node() -> Node<Entry> {
    Node::Leaf(Leaf { entries: vec![(MapKey::new("a"), Entry::Inline("1".into()))] })
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
