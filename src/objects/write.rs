//! Writing nodes and snapshots: many at a time, bounded, awaited together.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{CachedValue, Objects};
use crate::error::{Error, Result};
use crate::format::{Node, SnapshotObject};
use crate::id::{NodeId, SnapshotId};
use crate::map::NodeSink;
use crate::storage::ObjectName;

/// How many objects are on their way at once.
const IN_FLIGHT: usize = 64;

/// Objects on their way to the store. Dropping it abandons what has not arrived: garbage, never damage.
///
/// Every object is written, also when one of its name is there already: that one may be torn, unsynced, or about to
/// be collected.
#[derive(Debug)]
pub(crate) struct Uploads {
    objects: Objects,
    tasks: JoinSet<Result<()>>,
}

impl Uploads {
    pub(crate) fn new(objects: &Objects) -> Self {
        Self { objects: objects.clone(), tasks: JoinSet::new() }
    }

    /// Starts one upload; waits while too many are under way.
    pub(crate) async fn spawn(&mut self, task: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
        while self.tasks.len() >= IN_FLIGHT {
            self.join_one().await?;
        }
        self.tasks.spawn(task);
        Ok(())
    }

    async fn join_one(&mut self) -> Result<()> {
        match self.tasks.join_next().await {
            None => Ok(()),
            Some(Ok(done)) => done,
            Some(Err(e)) => Err(Error::internal("an upload did not run to its end").caused_by(e)),
        }
    }

    /// Writes a snapshot.
    pub(crate) async fn snapshot(&mut self, id: SnapshotId, object: SnapshotObject) -> Result<()> {
        let objects = self.objects.clone();
        self.spawn(async move { objects.storage.put(&ObjectName::snapshot(&id), &[object.encode().into()]).await }).await
    }

    /// Waits until everything has arrived. Nothing is durable before the storage's barrier.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        while !self.tasks.is_empty() {
            self.join_one().await?;
        }
        Ok(())
    }
}

impl<V: CachedValue> NodeSink<V> for Uploads {
    async fn store(&mut self, id: NodeId, node: Arc<Node<V>>) -> Result<()> {
        self.objects.keep(id, &node);
        let objects = self.objects.clone();
        self.spawn(async move {
            let name = ObjectName::node(V::KIND, &id);
            objects.storage.put(&name, &[node.encode_at_rest().into()]).await
        })
        .await
    }
}
