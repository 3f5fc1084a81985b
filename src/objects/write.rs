//! Writing chunks, nodes and snapshots: many at a time, within one byte budget, until the store has acknowledged each.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::runtime::{Handle, Id as RuntimeId};
use tokio::task::{Id as TaskId, JoinError, JoinSet};

use super::cache::node_weight;
use super::{CachedValue, Objects};
use crate::blocking::not_finished;
use crate::budget::{ByteBudget, Share};
use crate::error::{Error, Result};
use crate::format::{Node, SnapshotObject};
use crate::id::{NodeId, SnapshotId};
use crate::map::NodeSink;
use crate::storage::ObjectName;

/// How many objects are sent at once, however small they are.
const IN_FLIGHT: usize = 64;

/// Makes one attempt to store an object. It owns the bytes, and is kept until one attempt was acknowledged.
type UploadJob = Arc<dyn Fn() -> BoxFuture<'static, Result<(), UploadError>> + Send + Sync>;

/// Why an object was not stored.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// Its own reader would refuse it. Nothing was sent, and no attempt will succeed.
    Refused(Error),
    /// The attempt failed. Another one may succeed.
    Failed(Error),
}

impl From<Error> for UploadError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// An object that the store has not acknowledged.
struct Upload {
    job: UploadJob,
    /// What its bytes take of the budget, also while no attempt is under way.
    _share: Share,
    state: UploadState,
}

enum UploadState {
    /// No attempt is under way; with the error of the last one, unless that was told to the caller already.
    Waiting(Option<Error>),
    /// An attempt is under way.
    Running { task: TaskId, runtime: RuntimeId },
    /// It cannot be stored.
    Refused(Error),
}

/// Objects on their way to the store. Dropping it cancels the uploads; objects that were written stay as unreferenced garbage.
///
/// Every object is written, also when one of its name exists: that one may be torn, unsynced, or about to be collected. An
/// object is forgotten only when the store has acknowledged it. Until then its bytes are kept here, outside of the task
/// that sends them, so an attempt that fails, panics, or disappears with its runtime loses nothing:
/// [`finish`](Self::finish) sends it again.
pub(crate) struct Uploads {
    objects: Objects,
    budget: ByteBudget,
    unacknowledged: BTreeMap<ObjectName, Upload>,
    tasks: JoinSet<(ObjectName, Result<(), UploadError>)>,
}

impl Uploads {
    /// Uploads with a byte budget of their own: [`OpenOptions::upload_bytes`](crate::OpenOptions::upload_bytes).
    pub(crate) fn new(objects: &Objects) -> Self {
        let budget = ByteBudget::new(objects.upload_bytes);
        Self { objects: objects.clone(), budget, unacknowledged: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// The bytes that may be held for uploads at once.
    ///
    /// Readers that take their share from it before they read must hand it to [`send`](Self::send), and must watch
    /// [`failure`](Self::failure) while they wait: uploads that failed hold their shares until they are sent again.
    pub(crate) fn budget(&self) -> &ByteBudget {
        &self.budget
    }

    /// Waits until `bytes` more may be sent. What failed before is sent again if it takes the room that is needed.
    ///
    /// An error is that of an earlier upload, which is kept. If the future is dropped, all unacknowledged objects are kept.
    pub(crate) async fn reserve(&mut self, bytes: u64) -> Result<Share> {
        let mut resumed = false;
        loop {
            self.collect();
            if self.tasks.len() < IN_FLIGHT
                && let Some(share) = self.budget.try_take(bytes)
            {
                return Ok(share);
            }
            if !resumed {
                self.resume().await;
                resumed = true;
            } else if self.tasks.is_empty() {
                return Err(self.take_error());
            } else {
                self.join_one().await;
            }
        }
    }

    /// Waits until fewer objects are being sent than may be at once: for callers that have their share already.
    pub(crate) async fn turn(&mut self) {
        self.collect();
        while self.tasks.len() >= IN_FLIGHT {
            self.join_one().await;
        }
    }

    /// Begins to send an object. `job` is called once for each attempt, in a task; it must own the bytes.
    pub(crate) fn send<F>(&mut self, name: &ObjectName, share: Share, job: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), UploadError>> + Send + 'static,
    {
        let is_new = self.unacknowledged.get(name).is_none_or(|known| matches!(known.state, UploadState::Refused(_)));
        if is_new {
            // The same name means the same bytes: an object that is under way already is not sent twice.
            let upload = Upload { job: Arc::new(move || Box::pin(job())), _share: share, state: UploadState::Waiting(None) };
            self.unacknowledged.insert(name.clone(), upload);
            self.start(name);
        }
    }

    /// Begins an attempt; without a runtime it waits for [`finish`](Self::finish).
    fn start(&mut self, name: &ObjectName) {
        let (Some(upload), Ok(runtime)) = (self.unacknowledged.get_mut(name), Handle::try_current()) else { return };
        let (job, owned) = (Arc::clone(&upload.job), name.clone());
        let task = self.tasks.spawn(async move {
            let stored = job().await;
            (owned, stored)
        });
        upload.state = UploadState::Running { task: task.id(), runtime: runtime.id() };
    }

    /// Notes the result of every attempt that has ended.
    fn collect(&mut self) {
        while let Some(joined) = self.tasks.try_join_next() {
            self.note(joined);
        }
    }

    /// Waits for one attempt to end.
    async fn join_one(&mut self) {
        if let Some(joined) = self.tasks.join_next().await {
            self.note(joined);
        }
    }

    fn note(&mut self, joined: Result<(ObjectName, Result<(), UploadError>), JoinError>) {
        let (name, ended) = match joined {
            Ok((name, Ok(()))) => {
                self.unacknowledged.remove(&name);
                return;
            }
            Ok((name, Err(UploadError::Failed(e)))) => (name, UploadState::Waiting(Some(e))),
            Ok((name, Err(UploadError::Refused(e)))) => (name, UploadState::Refused(e)),
            Err(e) => {
                let id = e.id();
                let is_it = |upload: &Upload| matches!(upload.state, UploadState::Running { task, .. } if task == id);
                let Some((name, _)) = self.unacknowledged.iter().find(|(_, upload)| is_it(upload)) else { return };
                let name = name.clone();
                // A task that disappeared with its runtime is no failure: it is sent again when that is needed.
                let error = e.is_panic().then(|| not_finished(&format!("storing {name}"), e));
                (name, UploadState::Waiting(error))
            }
        };
        if let Some(upload) = self.unacknowledged.get_mut(&name) {
            upload.state = ended;
        }
    }

    /// Sends again what failed and what disappeared with its runtime.
    pub(crate) async fn resume(&mut self) {
        let Ok(here) = Handle::try_current().map(|runtime| runtime.id()) else { return self.drive().await };
        self.collect();
        // Another runtime may not run any more, so that waiting for its tasks would never end.
        let is_elsewhere = |upload: &Upload| matches!(upload.state, UploadState::Running { runtime, .. } if runtime != here);
        if self.unacknowledged.values().any(is_elsewhere) {
            self.abandon_tasks();
        }
        let waiting = |upload: &Upload| matches!(upload.state, UploadState::Waiting(_));
        let names: Vec<_> = self.unacknowledged.iter().filter(|(_, upload)| waiting(upload)).map(|(name, _)| name.clone()).collect();
        for name in names {
            while self.tasks.len() >= IN_FLIGHT {
                self.join_one().await;
            }
            self.start(&name);
        }
    }

    /// Aborts the tasks; what they were sending waits for another attempt. Writing an object twice is harmless.
    fn abandon_tasks(&mut self) {
        self.tasks = JoinSet::new();
        for upload in self.unacknowledged.values_mut() {
            if matches!(upload.state, UploadState::Running { .. }) {
                upload.state = UploadState::Waiting(None);
            }
        }
    }

    /// Stores one after the other what waits, where there is no runtime for tasks.
    async fn drive(&mut self) {
        self.abandon_tasks();
        let names: Vec<_> = self.unacknowledged.keys().cloned().collect();
        for name in names {
            if let Some(upload) = self.unacknowledged.get(&name) {
                let stored = (upload.job)().await;
                self.note(Ok((name, stored)));
            }
        }
    }

    /// Waits until an upload fails, and gives the error; for ever if none does. If the future is dropped, all unacknowledged objects
    /// are kept.
    pub(crate) async fn failure(&mut self) -> Error {
        loop {
            self.collect();
            if self.unacknowledged.values().any(|upload| matches!(upload.state, UploadState::Waiting(Some(_)) | UploadState::Refused(_))) {
                return self.take_error();
            }
            if self.tasks.is_empty() {
                // Without a runtime only this call can go on with what waits, and free its share of the budget.
                if Handle::try_current().is_err() && !self.unacknowledged.is_empty() {
                    self.drive().await;
                    continue;
                }
                std::future::pending::<()>().await;
            }
            self.join_one().await;
        }
    }

    /// The error of an upload that failed. One that can never succeed is forgotten with it: its map is built anew, or not used.
    fn take_error(&mut self) -> Error {
        let refused = self.unacknowledged.iter().find(|(_, upload)| matches!(upload.state, UploadState::Refused(_)));
        if let Some(name) = refused.map(|(name, _)| name.clone())
            && let Some(Upload { state: UploadState::Refused(error), .. }) = self.unacknowledged.remove(&name)
        {
            return error;
        }
        let errors = self.unacknowledged.values_mut().filter_map(|upload| match &mut upload.state {
            UploadState::Waiting(error) => error.take(),
            _ => None,
        });
        let fallback = || Error::unavailable(format!("{} objects were not acknowledged by the store", self.objects.storage));
        let first = { errors }.next();
        first.unwrap_or_else(fallback)
    }

    /// Writes a snapshot, after its own reader has accepted it: `Internal` otherwise, and nothing is sent.
    pub(crate) async fn snapshot(&mut self, id: SnapshotId, object: &SnapshotObject) -> Result<()> {
        let (name, storage, bytes) = (ObjectName::snapshot(&id), self.objects.storage.clone(), bytes::Bytes::from(object.encode()));
        SnapshotObject::decode_verified(&bytes, id).map_err(|e| refused(&name, &e))?;
        let share = self.reserve(bytes.len() as u64).await?;
        self.send(&name.clone(), share, move || {
            let (storage, bytes, name) = (storage.clone(), bytes.clone(), name.clone());
            async move { Ok(storage.put(&name, &[bytes]).await?) }
        });
        Ok(())
    }

    /// Waits until the store has acknowledged every object, after sending again what failed or disappeared. `Ok` means that nothing
    /// is left unacknowledged; nothing is durable before the storage's barrier.
    ///
    /// An error is that of one upload; all that are unacknowledged are kept, and the next call sends them again. No upload is under way
    /// after an error. If the future is dropped, all unacknowledged objects are kept.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        self.resume().await;
        while !self.tasks.is_empty() {
            self.join_one().await;
        }
        if self.unacknowledged.is_empty() { Ok(()) } else { Err(self.take_error()) }
    }
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uploads({} not acknowledged, {} under way)", self.unacknowledged.len(), self.tasks.len())
    }
}

/// The error for an object that was made here and that its own reader refuses.
fn refused(name: &ObjectName, why: &Error) -> Error {
    Error::internal(format!("{name} was not written, because its reader would refuse it: {why}"))
}

impl<V: CachedValue> NodeSink<V> for Uploads {
    /// The node is decoded as a reader would decode it before it is sent; where that fails, [`finish`](Uploads::finish) fails
    /// with `Internal` and the node is not sent.
    async fn store(&mut self, id: NodeId, node: Arc<Node<V>>) -> Result<()> {
        let (name, storage) = (ObjectName::node(V::KIND, &id), self.objects.storage.clone());
        // At rest it is smaller than in memory.
        let share = self.reserve(node_weight(&node)).await?;
        self.objects.keep(id, &node);
        self.send(&name.clone(), share, move || {
            let (storage, node, name) = (storage.clone(), node.clone(), name.clone());
            async move {
                let bytes = bytes::Bytes::from(node.encode_at_rest());
                drop(node);
                Node::<V>::decode_verified(&bytes, id).map_err(|e| UploadError::Refused(refused(&name, &e)))?;
                Ok(storage.put(&name, &[bytes]).await?)
            }
        });
        Ok(())
    }
}
