//! Reading nodes and snapshots: from the cache, else from storage, verified against their ids. Readers that miss the same node at the
//! same time share one read.

use std::sync::Arc;

use super::{CachedValue, Objects};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{ChangeList, Commit, MOST_CHANGES, MOST_NODE, MOST_SNAPSHOT, Node, SnapshotObject};
use crate::id::{NodeId, SnapshotId};
use crate::map::NodeSource;
use crate::storage::{Extent, ObjectName};

impl<V: CachedValue> NodeSource<V> for Objects {
    async fn load(&self, id: NodeId) -> Result<Arc<Node<V>>> {
        if let Some(node) = V::cache(&self.caches).get(&id) {
            return Ok(node);
        }
        let read = || {
            let objects = self.clone();
            async move {
                let node = Arc::new(objects.read_node(id).await?);
                objects.keep(id, &node);
                Ok(node)
            }
        };
        V::cache(&self.caches).read(id, read).await
    }
}

impl Objects {
    /// Reads a node from storage, whether it is cached or not.
    pub(crate) async fn read_node<V: CachedValue>(&self, id: NodeId) -> Result<Node<V>> {
        Ok(self.read_node_sized(id).await?.0)
    }

    /// Like [`read_node`](Self::read_node), with the length of the stored object in bytes.
    pub(crate) async fn read_node_sized<V: CachedValue>(&self, id: NodeId) -> Result<(Node<V>, u64)> {
        let name = ObjectName::node(V::KIND, &id);
        let bytes = self.storage.get(&name, Extent::Whole { at_most: MOST_NODE }).await?;
        let bytes = bytes.ok_or_else(|| Error::corrupt(format!("{name}, which is needed here, does not exist")))?;
        let node = Node::decode_verified(&bytes, id).map_err(|e| e.context(&name))?;
        Ok((node, bytes.len() as u64))
    }

    /// A node that needs no request.
    pub(crate) fn cached<V: CachedValue>(&self, id: NodeId) -> Option<Arc<Node<V>>> {
        V::cache(&self.caches).get(&id)
    }

    /// Keeps a decoded node for later readers.
    pub(super) fn keep<V: CachedValue>(&self, id: NodeId, node: &Arc<Node<V>>) {
        V::cache(&self.caches).insert(id, node.clone());
    }

    /// Keeps the commit of a snapshot that is known to be in storage.
    pub(crate) fn keep_commit(&self, id: SnapshotId, commit: &Arc<Commit>) {
        self.caches.commits.insert(id, Arc::clone(commit));
    }

    /// The commit of a snapshot that must be there; its absence is `NotFound`, naming the snapshot.
    pub(crate) async fn commit(&self, id: &SnapshotId) -> Result<Arc<Commit>> {
        let found = self.try_commit(id).await?;
        found.ok_or_else(|| Error::not_found(format!("snapshot {id} is not in this repository")))
    }

    /// The commit of a snapshot, or `None` when this repository does not have it.
    pub(crate) async fn try_commit(&self, id: &SnapshotId) -> Result<Option<Arc<Commit>>> {
        if let Some(commit) = self.caches.commits.get(id) {
            return Ok(Some(commit));
        }
        if id.digest().hash() != self.hash {
            return Err(Error::unsupported(format!(
                "snapshot {id} has ids of hash {}; {} has {}, and hashes are never mixed",
                id.digest().hash(),
                self.storage,
                self.hash
            )));
        }
        let Some(object) = self.read_snapshot(id).await? else { return Ok(None) };
        let SnapshotObject { commit, roots } = object;
        // The small roots came along and were verified with the rest: the next step needs no request for them.
        if let Some(root) = &roots.manifest {
            self.keep(commit.manifest, root);
        }
        if let Some(root) = &roots.files {
            self.keep(commit.files, root);
        }
        if let Some(root) = &roots.history {
            self.keep(commit.history, root);
        }
        let commit = Arc::new(commit);
        self.keep_commit(*id, &commit);
        Ok(Some(commit))
    }

    /// Reads what the writer of a snapshot recorded of the keys that it changed; `None` where there is no list, or none that this
    /// reader may read. Nothing proves that it is right.
    pub(crate) async fn read_changes(&self, id: &SnapshotId) -> Result<Option<ChangeList>> {
        let name = ObjectName::changes(id);
        let read = self.storage.get(&name, Extent::Whole { at_most: MOST_CHANGES }).await;
        let Some(bytes) = read.or_else(|error| match error.kind() {
            // Some stores refuse to tell a reader that an object does not exist.
            ErrorKind::NoPermission | ErrorKind::Denied => {
                tracing::debug!(%name, %error, "what the writer of a snapshot recorded cannot be read");
                Ok(None)
            }
            _ => Err(error),
        })?
        else {
            return Ok(None);
        };
        ChangeList::decode(&bytes, self.hash).map(Some).map_err(|e| e.context(&name))
    }

    /// Reads a snapshot object from storage, whether it is cached or not.
    pub(crate) async fn read_snapshot(&self, id: &SnapshotId) -> Result<Option<SnapshotObject>> {
        let name = ObjectName::snapshot(id);
        let Some(bytes) = self.storage.get(&name, Extent::Whole { at_most: MOST_SNAPSHOT }).await? else { return Ok(None) };
        SnapshotObject::decode_verified(&bytes, *id).map(Some).map_err(|e| e.context(&name))
    }
}
