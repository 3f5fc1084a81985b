//! Writing nodes and snapshots: many at a time, bounded, awaited together.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::task::JoinSet;

use super::{CachedValue, Objects};
use crate::error::{Error, Result};
use crate::format::{Node, SnapshotObject};
use crate::id::{NodeId, SnapshotId};
use crate::map::NodeSink;
use crate::storage::ObjectName;

/// How many objects are on their way at once.
const IN_FLIGHT: usize = 64;

/// Makes one attempt at an upload; kept until one succeeds.
type Job = Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Objects on their way to the store. Dropping it abandons what has not arrived: garbage, never damage.
///
/// Every object is written, also when one of its name is there already: that one may be torn, unsynced, or about to
/// be collected. One that failed is kept and sent again when [`finish`](Self::finish) is called again, so whoever
/// gets an error can try once more and lose nothing.
pub(crate) struct Uploads {
    objects: Objects,
    under_way: JoinSet<Result<(), (Error, Job)>>,
    failed: Vec<Job>,
}

impl Uploads {
    pub(crate) fn new(objects: &Objects) -> Self {
        Self { objects: objects.clone(), under_way: JoinSet::new(), failed: Vec::new() }
    }

    /// Starts one upload; waits while too many are under way. `job` is called once for each attempt.
    pub(crate) async fn spawn<F>(&mut self, job: impl Fn() -> F + Send + Sync + 'static) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        // The new one first: it must be among those that are tried again if an older one is found to have failed.
        self.start(Box::new(move || Box::pin(job())));
        while self.under_way.len() > IN_FLIGHT {
            self.join_one().await?;
        }
        Ok(())
    }

    fn start(&mut self, job: Job) {
        let attempt = job();
        self.under_way.spawn(async move { attempt.await.map_err(|error| (error, job)) });
    }

    async fn join_one(&mut self) -> Result<()> {
        match self.under_way.join_next().await {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err((error, job)))) => {
                self.failed.push(job);
                Err(error)
            }
            Some(Err(e)) => Err(Error::internal("an upload did not run to its end").caused_by(e)),
        }
    }

    /// Writes a snapshot.
    pub(crate) async fn snapshot(&mut self, id: SnapshotId, object: &SnapshotObject) -> Result<()> {
        let storage = self.objects.storage.clone();
        let bytes = bytes::Bytes::from(object.encode());
        self.spawn(move || {
            let (storage, bytes) = (storage.clone(), bytes.clone());
            async move { storage.put(&ObjectName::snapshot(&id), &[bytes]).await }
        })
        .await
    }

    /// Sends what failed before, and waits until everything has arrived. Nothing is durable before the storage's
    /// barrier.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        for job in std::mem::take(&mut self.failed) {
            self.start(job);
        }
        // Wait for all of them even if one fails: an error must not leave writes running behind the caller's back.
        let mut outcome = Ok(());
        while !self.under_way.is_empty() {
            outcome = outcome.and(self.join_one().await);
        }
        outcome
    }
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uploads({} under way, {} failed)", self.under_way.len(), self.failed.len())
    }
}

impl<V: CachedValue> NodeSink<V> for Uploads {
    async fn store(&mut self, id: NodeId, node: Arc<Node<V>>) -> Result<()> {
        self.objects.keep(id, &node);
        let storage = self.objects.storage.clone();
        self.spawn(move || {
            let (storage, node) = (storage.clone(), node.clone());
            async move { storage.put(&ObjectName::node(V::KIND, &id), &[node.encode_at_rest().into()]).await }
        })
        .await
    }
}
