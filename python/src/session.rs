//! A session that Python opened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firnline::{Error, ForkSession, Snapshot, SnapshotId, WriteSession};
use futures::future::BoxFuture;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::sync::RwLock;

use crate::failure::{Failure, OrRaise as _};
use crate::progress::{Watch, reporting};
use crate::repository::Origin;
use crate::rows::{commit_dict, container_dict};
use crate::runtime::{OfProcess, wait, wait_watching};
use crate::view::{Live, Staging, View};

/// Why a session is of no use in a process that was forked.
const FORKED: &str = "this writable session was opened before this process was forked, and belongs to the parent process; \
                      use session.fork() to write from several processes";

/// A read-only or a writable session.
#[pyclass(frozen, module = "firnline._firnline", name = "NativeSession")]
pub(crate) struct NativeSession {
    pub(crate) origin: Arc<Origin>,
    /// Locked only while the interpreter's lock is held.
    current: Mutex<Current>,
    is_final: Option<bool>,
}

struct Current {
    live: OfProcess<Live>,
    /// The snapshot that is read, or on which changes are staged.
    snapshot: SnapshotId,
    branch: Option<String>,
    is_read_only: bool,
}

impl NativeSession {
    pub(crate) fn reading(origin: Arc<Origin>, snapshot: Snapshot, is_final: Option<bool>) -> Self {
        let id = snapshot.id();
        Self::new(
            origin,
            Current { live: OfProcess::new(Live::Reading(snapshot)), snapshot: id, branch: None, is_read_only: true },
            is_final,
        )
    }

    pub(crate) fn writing(origin: Arc<Origin>, session: WriteSession) -> Self {
        let (id, branch) = (session.base().id(), session.branch().as_str().to_owned());
        let live = Live::Writing(Arc::new(RwLock::new(Staging::Open(session))));
        Self::new(origin, Current { live: OfProcess::new(live), snapshot: id, branch: Some(branch), is_read_only: false }, None)
    }

    pub(crate) fn forking(origin: Arc<Origin>, fork: ForkSession) -> Self {
        let (id, branch) = (fork.base().id(), fork.branch().as_str().to_owned());
        let live = Live::Writing(Arc::new(RwLock::new(Staging::Fork(fork))));
        Self::new(origin, Current { live: OfProcess::new(live), snapshot: id, branch: Some(branch), is_read_only: false }, None)
    }

    fn new(origin: Arc<Origin>, current: Current, is_final: Option<bool>) -> Self {
        Self { origin, current: Mutex::new(current), is_final }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session as it is in this process.
    pub(crate) fn live(&self, py: Python<'_>) -> PyResult<Live> {
        let snapshot = {
            let current = self.current();
            if let Some(live) = current.live.get() {
                return Ok(live.clone());
            }
            if !current.is_read_only {
                return Err(Failure::from(Error::invalid(FORKED)).raise(py));
            }
            current.snapshot
        };
        // Zarr takes "not found" for an absent key, and these are objects that a value depends on.
        let missing = |failure: Failure| failure.on(snapshot).of_data();
        let repository = self.origin.opened(py)?.map_err(missing).or_raise(py)?;
        let read = wait(py, repository.read_revision(&snapshot.into()))?;
        let live = Live::Reading(read.map_err(|e| missing(e.into())).or_raise(py)?);
        self.current().live = OfProcess::new(live.clone());
        Ok(live)
    }

    /// The lock of a writable session; raises if the session is read-only.
    pub(crate) fn staging(&self, py: Python<'_>) -> PyResult<Arc<RwLock<Staging>>> {
        match self.live(py)? {
            Live::Writing(staging) => Ok(staging),
            Live::Reading(_) => Err(Failure::from(Error::invalid("the session is read-only; open a writable one")).raise(py)),
        }
    }

    /// The branch that a commit advances.
    pub(crate) fn branch_name(&self) -> Option<String> {
        self.current().branch.clone()
    }

    /// From now on the session reads `snapshot` and is read-only.
    pub(crate) fn settle_on(&self, snapshot: Snapshot) {
        let mut current = self.current();
        (current.snapshot, current.is_read_only) = (snapshot.id(), true);
        let old = std::mem::replace(&mut current.live, OfProcess::new(Live::Reading(snapshot)));
        drop(current);
        drop(old);
    }

    /// From now on changes are staged on `snapshot`.
    pub(crate) fn base_on(&self, snapshot: SnapshotId) {
        self.current().snapshot = snapshot;
    }

    /// Waits for a call of the writable session.
    pub(crate) fn stage<T, F>(&self, py: Python<'_>, call: F) -> PyResult<T>
    where
        T: Send,
        F: for<'s> FnOnce(&'s WriteSession) -> BoxFuture<'s, firnline::Result<T>> + Send,
    {
        self.stage_watching(py, None, call)
    }

    /// Like [`stage`](Self::stage), and tells a callback how far the call has come.
    pub(crate) fn stage_watching<T, F>(&self, py: Python<'_>, progress: Option<Py<PyAny>>, call: F) -> PyResult<T>
    where
        T: Send,
        F: for<'s> FnOnce(&'s WriteSession) -> BoxFuture<'s, firnline::Result<T>> + Send,
    {
        let live = self.live(py)?;
        let watch = progress.map(Watch::new);
        let staged = async move { call(&*live.session().await?).await };
        wait_watching(py, reporting(watch.as_ref(), staged), watch.as_ref())?.or_raise(py)
    }

    /// Waits for a call on what the session reads.
    fn snapshot(&self, py: Python<'_>) -> PyResult<Snapshot> {
        let live = self.live(py)?;
        let view = wait(py, live.view())?.or_raise(py)?;
        Ok(match &view {
            View::Snapshot(snapshot) => snapshot.clone(),
            View::Session(session) => session.base().clone(),
        })
    }
}

#[pymethods]
impl NativeSession {
    #[getter]
    fn snapshot_id(&self) -> String {
        self.current().snapshot.to_string()
    }

    #[getter]
    fn branch(&self) -> Option<String> {
        self.branch_name()
    }

    #[getter]
    fn is_read_only(&self) -> bool {
        self.current().is_read_only
    }

    #[getter]
    fn is_final(&self) -> Option<bool> {
        self.is_final
    }

    /// What the snapshot says of itself that is read, or on which changes are staged.
    fn commit_info(&self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        commit_dict(py, &self.snapshot(py)?)
    }

    /// The containers of the snapshot that is read, or on which changes are staged.
    fn containers(&self, py: Python<'_>) -> PyResult<Vec<Py<PyDict>>> {
        self.snapshot(py)?.record().containers.iter().map(|container| container_dict(py, container)).collect()
    }
}
