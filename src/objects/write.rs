//! Writing chunks, nodes and snapshots: many at a time, within one byte budget, until the store has acknowledged each.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::FutureExt as _;
use tokio::runtime::{Handle, Id as RuntimeId};
use tokio::sync::Notify;

use super::cache::node_weight;
use super::unacknowledged::{AttemptEnd, UploadError, UploadJob, UploadProgress, UploadsState};
use super::{CachedValue, Objects};
use crate::blocking::panicked;
use crate::budget::{ByteBudget, Share};
use crate::error::{Error, Result};
use crate::format::{ChangeList, Node, SnapshotObject};
use crate::id::{Digest, NodeId, SnapshotId};
use crate::map::NodeSink;
use crate::storage::ObjectName;
use crate::storage::layout::ObjectKind;

/// How many objects are sent at once, however small they are.
const IN_FLIGHT: usize = 64;

/// Objects on their way to the store. Any number of tasks and threads may use it at once. Dropping it cancels the uploads; objects
/// that were written stay as unreferenced garbage.
///
/// Every object is written, also when one of its name exists: that one may be torn, unsynced, or about to be collected. An
/// object is forgotten only when the store has acknowledged it. Until then its bytes are kept here, outside of the task
/// that sends them, so an attempt that fails, panics, or disappears with its runtime loses nothing:
/// [`finish`](Self::finish) sends it again. A runtime that nobody drives may never end the attempts that it began, so callers on
/// another runtime wait only for attempts of their own: an object may be sent once by each.
pub(crate) struct Uploads {
    objects: Objects,
    budget: ByteBudget,
    shared: Arc<UploadsShared>,
    /// The nodes and snapshots that were sent since the last draft began.
    drafted: Mutex<Vec<(ObjectKind, Digest)>>,
}

/// What callers and attempts share. The lock is held for a few map operations, and never while anything is awaited.
#[derive(Default)]
struct UploadsShared {
    state: Mutex<UploadsState>,
    /// Told of every attempt that ends.
    ended: Notify,
}

/// An attempt under way. If it is dropped before it ends, it has vanished, mostly with the runtime of its task.
struct Attempt {
    shared: Weak<UploadsShared>,
    name: ObjectName,
    number: u64,
    end: AttemptEnd,
}

impl Attempt {
    /// Runs the job, and notes how it ends.
    async fn run(mut self, job: UploadJob) {
        self.end = match AssertUnwindSafe(async move { job().await }).catch_unwind().await {
            Ok(Ok(())) => AttemptEnd::Stored,
            Ok(Err(e)) => AttemptEnd::Failed(e),
            Err(panic) => AttemptEnd::Failed(panicked(&format!("storing {}", self.name), &*panic).into()),
        };
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        shared.lock().end(&self.name, self.number, std::mem::replace(&mut self.end, AttemptEnd::Vanished));
        shared.ended.notify_waiters();
    }
}

impl UploadsShared {
    fn lock(&self) -> MutexGuard<'_, UploadsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runtime of the caller.
fn here() -> Option<RuntimeId> {
    Handle::try_current().ok().map(|runtime| runtime.id())
}

impl Uploads {
    /// Uploads with a byte budget of their own: [`OpenOptions::upload_bytes`](crate::OpenOptions::upload_bytes).
    pub(crate) fn new(objects: &Objects) -> Self {
        Self { objects: objects.clone(), budget: ByteBudget::new(objects.upload_bytes), shared: Arc::default(), drafted: Mutex::default() }
    }

    /// Begins a draft: what was sent before is not a part of it.
    pub(crate) fn begin_draft(&self) {
        self.drafted.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The nodes and snapshots that were sent since the last draft began. Chunks are not among them.
    pub(crate) fn drafted(&self) -> Vec<(ObjectKind, Digest)> {
        self.drafted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_drafted(&self, kind: ObjectKind, digest: Digest) {
        self.drafted.lock().unwrap_or_else(PoisonError::into_inner).push((kind, digest));
    }

    /// The bytes that may be held for uploads at once.
    ///
    /// Readers that take their share from it before they read must hand it to [`send`](Self::send), and must watch
    /// [`failure`](Self::failure) while they wait: uploads that failed hold their shares until they are sent again.
    pub(crate) fn budget(&self) -> &ByteBudget {
        &self.budget
    }

    /// Waits until `bytes` more may be sent, in the order of the calls. What failed before is sent again if it takes the room that is
    /// needed.
    ///
    /// An error is that of an earlier upload, which is kept. If the future is dropped, all unacknowledged objects are kept.
    pub(crate) async fn reserve(&self, bytes: u64) -> Result<Share> {
        let share = self.room(bytes).await?;
        self.turn().await;
        Ok(share)
    }

    async fn room(&self, bytes: u64) -> Result<Share> {
        let mut share = pin!(self.budget.take(bytes));
        if let Some(free) = share.as_mut().now_or_never() {
            return free;
        }
        self.shared.lock().visit(here());
        loop {
            self.resume().await;
            // Other callers that hold a part of the budget go on by themselves. Uploads without an attempt do not.
            let stuck = self.wait_until(|state| match (state.running_in(here()), state.has_idle_in(here())) {
                (0, is_idle) => state.failure(here()).map(Some).or_else(|| is_idle.then_some(None)),
                _ => None,
            });
            tokio::select! {
                biased;
                free = share.as_mut() => return free,
                error = stuck => if let Some(error) = error { return Err(error) },
            }
        }
    }

    /// Waits until fewer objects are being sent than may be at once: for callers that have their share already. Several callers that
    /// wait may each send one more.
    pub(crate) async fn turn(&self) {
        self.wait_until(|state| (state.running_in(here()) < IN_FLIGHT).then_some(())).await;
    }

    /// Looks at the state now, and again whenever an attempt has ended, until there is an answer.
    async fn wait_until<T>(&self, mut look: impl FnMut(&mut UploadsState) -> Option<T>) -> T {
        loop {
            let mut ended = pin!(self.shared.ended.notified());
            ended.as_mut().enable();
            let answer = look(&mut self.shared.lock());
            if let Some(answer) = answer {
                return answer;
            }
            ended.await;
        }
    }

    /// Begins to send an object. `job` is called once for each attempt, in a task; it must own the bytes.
    pub(crate) fn send<F>(&self, name: &ObjectName, share: Share, job: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), UploadError>> + Send + 'static,
    {
        {
            let mut state = self.shared.lock();
            if state.unacknowledged.get(name).is_some_and(|known| !known.is_refused()) {
                // The same name means the same bytes: an object that is under way already is not sent twice.
                return;
            }
            state.add(name, share, Arc::new(move || Box::pin(job())));
            state.visit(here());
        }
        self.start(name);
        if self.shared.lock().has_many_callers() {
            // Callers on other runtimes wait only for attempts of their own, and must begin one.
            self.shared.ended.notify_waiters();
        }
    }

    /// Begins an attempt in the runtime of the caller; without one the object waits for [`finish`](Self::finish).
    fn start(&self, name: &ObjectName) {
        let Ok(runtime) = Handle::try_current() else { return };
        let Some((number, job)) = self.shared.lock().begin(name, Some(runtime.id())) else { return };
        // Not under the lock: a runtime that is shutting down drops the task at once, and that takes the lock.
        let task = runtime.spawn(self.attempt(name, number).run(job)).abort_handle();
        self.shared.lock().note_task(name, number, task);
    }

    fn attempt(&self, name: &ObjectName, number: u64) -> Attempt {
        Attempt { shared: Arc::downgrade(&self.shared), name: name.clone(), number, end: AttemptEnd::Vanished }
    }

    /// Sends again what failed, what disappeared with its runtime, and what another runtime is sending, which may not run any more.
    pub(crate) async fn resume(&self) {
        let here = here();
        let idle = self.shared.lock().idle_in(here);
        for name in idle {
            if here.is_some() {
                self.turn().await;
                self.start(&name);
                continue;
            }
            // Without a runtime for tasks, one after the other.
            let begun = self.shared.lock().begin(&name, None);
            if let Some((number, job)) = begun {
                self.attempt(&name, number).run(job).await;
            }
        }
    }

    /// Waits until an upload fails, and gives the error; for ever if none does. If the future is dropped, all unacknowledged objects
    /// are kept.
    pub(crate) async fn failure(&self) -> Error {
        self.shared.lock().visit(here());
        loop {
            let here = here();
            let ended = self.wait_until(|state| match state.failure(here) {
                Some(error) => Some(Some(error)),
                // Another caller was told of the failure, or the attempt is elsewhere. Its share of the budget may be what is needed.
                None => (state.running_in(here) == 0 && state.has_idle_in(here)).then_some(None),
            });
            match ended.await {
                Some(error) => return error,
                None => self.resume().await,
            }
        }
    }

    /// Writes a snapshot, after its own reader has accepted it: `Internal` otherwise, and nothing is sent.
    pub(crate) async fn snapshot(&self, id: SnapshotId, object: &SnapshotObject) -> Result<()> {
        let (name, storage, bytes) = (ObjectName::snapshot(&id), self.objects.storage.clone(), bytes::Bytes::from(object.encode()));
        SnapshotObject::decode_verified(&bytes, id).map_err(|e| refused(&name, &e))?;
        let share = self.reserve(bytes.len() as u64).await?;
        self.note_drafted(ObjectKind::Snapshot, *id.digest());
        self.send(&name.clone(), share, move || {
            let (storage, bytes, name) = (storage.clone(), bytes.clone(), name.clone());
            async move { Ok(storage.put(&name, &[bytes]).await?) }
        });
        Ok(())
    }

    /// Writes the list of the keys that a snapshot changed. A list that cannot be stored is left out: it is only a help, and a store that
    /// is out of order refuses the snapshot, too.
    ///
    /// No collection has to be asked about it before the snapshot is published: where one removes it, it is absent.
    pub(crate) async fn changes(&self, id: SnapshotId, bytes: bytes::Bytes) -> Result<()> {
        let (name, storage) = (ObjectName::changes(&id), self.objects.storage.clone());
        if let Err(error) = ChangeList::decode(&bytes, self.objects.hash) {
            tracing::warn!(error = %refused(&name, &error), "a commit goes without its list of changed keys");
            return Ok(());
        }
        let share = self.reserve(bytes.len() as u64).await?;
        self.send(&name.clone(), share, move || {
            let (storage, bytes, name) = (storage.clone(), bytes.clone(), name.clone());
            async move {
                if let Err(error) = storage.put(&name, &[bytes]).await {
                    tracing::warn!(%name, %error, "a commit goes without its list of changed keys");
                }
                Ok(())
            }
        });
        Ok(())
    }

    /// Waits until the store has acknowledged every object that was sent before this call, after sending again what failed or
    /// disappeared. Nothing is durable before the storage's barrier.
    ///
    /// An error is that of one upload; all that are unacknowledged are kept, and the next call sends them again. If the future is
    /// dropped, all unacknowledged objects are kept.
    pub(crate) async fn finish(&self) -> Result<()> {
        let last = self.shared.lock().turns;
        self.wait_for(|state, here| state.progress(last, here)).await
    }

    /// Waits like [`finish`](Self::finish) for the objects `names`; those that were not sent count as acknowledged.
    pub(crate) async fn arrived(&self, names: &[ObjectName]) -> Result<()> {
        if names.iter().all(|name| !self.shared.lock().unacknowledged.contains_key(name)) {
            return Ok(());
        }
        self.wait_for(|state, here| state.progress_of(names, here)).await
    }

    async fn wait_for(&self, progress: impl Fn(&mut UploadsState, Option<RuntimeId>) -> UploadProgress) -> Result<()> {
        loop {
            self.resume().await;
            let here = here();
            let ended = self.wait_until(|state| match progress(state, here) {
                UploadProgress::Running => None,
                ended => Some(ended),
            });
            match ended.await {
                UploadProgress::Acknowledged => return Ok(()),
                UploadProgress::Failed(error) => return Err(error),
                // Another caller was told of the failure, or the attempts disappeared.
                UploadProgress::Idle | UploadProgress::Running => {}
            }
        }
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        let unacknowledged = std::mem::take(&mut self.shared.lock().unacknowledged);
        // Not under the lock, which an attempt takes when it is dropped.
        let attempts = unacknowledged.into_values().flat_map(|upload| upload.attempts);
        attempts.filter_map(|attempt| attempt.task).for_each(|task| task.abort());
    }
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        write!(
            f,
            "uploads({} not acknowledged, {} under way)",
            state.unacknowledged.len(),
            state.running.values().map(BTreeSet::len).sum::<usize>()
        )
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
        self.note_drafted(ObjectKind::of_nodes(V::KIND), *id.digest());
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
