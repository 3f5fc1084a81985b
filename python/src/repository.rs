//! A repository that Python opened.

use std::sync::{Arc, Mutex, PoisonError};

use firnline::{Error, ErrorDetail, ErrorKind, Ref, RefKind, Repository, Revision, Snapshot};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::failure::{Failure, OrRaise as _};
use crate::options::OpenArguments;
use crate::rows::commit_dict;
use crate::runtime::{OfProcess, wait};
use crate::session::NativeSession;

/// An opened repository, and how to open it again.
#[pyclass(frozen, module = "firnline._firnline", name = "NativeRepository")]
pub(crate) struct NativeRepository {
    pub(crate) origin: Arc<Origin>,
}

/// Where a repository was opened, how, and the engine's handle of it.
pub(crate) struct Origin {
    place: String,
    arguments: OpenArguments,
    /// The handle. Locked only while the interpreter's lock is held.
    handle: Mutex<OfProcess<Repository>>,
}

impl Origin {
    /// The engine's handle. In a process that was forked after the repository was opened, the repository is opened anew: the parent's
    /// handle has locks and tasks of threads that do not exist here.
    pub(crate) fn repository(&self, py: Python<'_>) -> PyResult<Repository> {
        self.opened(py)?.or_raise(py)
    }

    /// Like [`repository`](Self::repository), for callers that have more to say about a failure to open it anew.
    pub(crate) fn opened(&self, py: Python<'_>) -> PyResult<Result<Repository, Failure>> {
        {
            let opened = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
            // The bytes of a repository in memory are in the memory that was copied, and nowhere else.
            let usable = if self.is_in_memory() { opened.of_any_process() } else { opened.get() };
            if let Some(repository) = usable {
                return Ok(Ok(repository.clone()));
            }
        }
        let options = self.arguments.to_options().or_raise(py)?;
        let repository = match wait(py, Repository::open_with(&self.place, options))? {
            Ok(repository) => repository,
            Err(error) => return Ok(Err(error.into())),
        };
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = OfProcess::new(repository.clone());
        Ok(Ok(repository))
    }

    fn is_in_memory(&self) -> bool {
        self.place.starts_with("memory:")
    }

    /// Runs a call of the engine on the repository, and waits for it.
    pub(crate) fn call<T, E, F>(&self, py: Python<'_>, call: impl FnOnce(Repository) -> F) -> PyResult<T>
    where
        T: Send,
        E: Into<Failure> + Send,
        F: Future<Output = Result<T, E>> + Send,
    {
        let repository = self.repository(py)?;
        wait(py, call(repository))?.or_raise(py)
    }

    /// The snapshot that `revision` means.
    pub(crate) fn snapshot(&self, py: Python<'_>, revision: &str) -> PyResult<Snapshot> {
        self.call(py, |repository| async move { repository.read(revision).await })
    }

    /// The same for what its record and its history tell: also if its data has expired.
    pub(crate) fn record(&self, py: Python<'_>, revision: &str) -> PyResult<Snapshot> {
        self.call(py, |repository| async move { repository.read_record(&revision.parse()?).await })
    }
}

impl NativeRepository {
    /// A repository that was opened at `place` by `arguments`.
    pub(crate) fn new(place: String, arguments: OpenArguments, repository: Repository) -> Self {
        Self { origin: Arc::new(Origin { place, arguments, handle: Mutex::new(OfProcess::new(repository)) }) }
    }
}

#[pymethods]
impl NativeRepository {
    #[staticmethod]
    fn create(py: Python<'_>, place: String, hash: &str, arguments: OpenArguments) -> PyResult<Self> {
        let options = arguments.to_create(hash).or_raise(py)?;
        let repository = wait(py, Repository::create_with(&place, options))?.or_raise(py)?;
        Ok(Self::new(place, arguments, repository))
    }

    #[staticmethod]
    fn open(py: Python<'_>, place: String, arguments: OpenArguments) -> PyResult<Self> {
        let options = arguments.to_options().or_raise(py)?;
        let repository = wait(py, Repository::open_with(&place, options))?.or_raise(py)?;
        Ok(Self::new(place, arguments, repository))
    }

    /// Opens a repository, or makes one where there is none.
    #[staticmethod]
    fn open_or_create(py: Python<'_>, place: String, hash: &str, arguments: OpenArguments) -> PyResult<Self> {
        let (open, create) = (arguments.to_options().or_raise(py)?, arguments.to_create(hash).or_raise(py)?);
        let opened = wait(py, async {
            match Repository::open_with(&place, open.clone()).await {
                Err(error) if is_no_repository(&error) => match Repository::create_with(&place, create).await {
                    // Another process made it in between.
                    Err(error) if error.kind() == ErrorKind::Conflict => Repository::open_with(&place, open).await.map_err(|_| error),
                    created => created,
                },
                opened => opened,
            }
        })?;
        Ok(Self::new(place, arguments, opened.or_raise(py)?))
    }

    /// Whether there is a repository at a place.
    #[staticmethod]
    fn exists(py: Python<'_>, place: &str, arguments: OpenArguments) -> PyResult<bool> {
        let options = arguments.to_options().or_raise(py)?.read_only();
        match wait(py, Repository::open_with(place, options))? {
            Ok(_) => Ok(true),
            Err(error) if is_no_repository(&error) => Ok(false),
            Err(error) => Err(Failure::from(error).raise(py)),
        }
    }

    #[getter]
    fn hash(&self, py: Python<'_>) -> PyResult<&'static str> {
        Ok(self.origin.repository(py)?.hash().name())
    }

    /// Opens a read-only session on a revision.
    fn read(&self, py: Python<'_>, revision: &str) -> PyResult<NativeSession> {
        let (snapshot, is_final) = self.origin.call(py, |repository| async move {
            let resolved = repository.resolve(&revision.parse::<Revision>()?).await?;
            let snapshot = repository.read_revision(&resolved.id.into()).await?;
            Ok::<_, Error>((snapshot, resolved.is_final))
        })?;
        Ok(NativeSession::reading(self.origin.clone(), snapshot, is_final))
    }

    /// Opens a session that will advance a branch.
    fn write(&self, py: Python<'_>, branch: &str) -> PyResult<NativeSession> {
        let session = self.origin.call(py, |repository| async move { repository.write(branch).await })?;
        Ok(NativeSession::writing(self.origin.clone(), session))
    }

    /// Opens a fork of a session, which `NativeSession.fork` described.
    fn resume_fork(&self, py: Python<'_>, fork: Vec<u8>) -> PyResult<NativeSession> {
        let fork = self.origin.call(py, |repository| async move { repository.resume_fork(&fork).await })?;
        Ok(NativeSession::forking(self.origin.clone(), fork))
    }

    /// What a snapshot says of itself.
    fn commit(&self, py: Python<'_>, revision: &str) -> PyResult<Py<PyDict>> {
        let snapshot = self.origin.record(py, revision)?;
        commit_dict(py, &snapshot)
    }

    /// The content id of what a key or a path holds in a revision.
    fn content_id(&self, py: Python<'_>, revision: &str, name: &str) -> PyResult<String> {
        self.origin.call(py, |repository| async move {
            let snapshot = repository.read(revision).await?;
            match snapshot.find_named(name).await? {
                firnline::KeyOrPrefix::Prefix(prefix) => Ok(snapshot.content_id(&prefix).await?.to_string()),
                firnline::KeyOrPrefix::Key(key) => match snapshot.value_id(&key).await? {
                    Some(id) => Ok(id.cid().to_string()),
                    None => Err(Error::not_found(format!("{key} is not in snapshot {}", snapshot.id()))),
                },
            }
        })
    }
}

fn is_no_repository(error: &Error) -> bool {
    matches!(error.detail(), Some(ErrorDetail::NoRepository))
}

/// Reads a name as that of a branch or a tag.
pub(crate) fn reference(kind: RefKind, name: &str) -> firnline::Result<Ref> {
    Ok(Ref { kind, name: name.parse()? })
}
