//! Errors of the engine as Python exceptions. The classes are in `firnline.errors`.

use std::any::Any;
use std::error::Error as _;

use firnline::{CommitError, Conflict, ConflictKind, Error, ErrorDetail, ErrorKind, ExpiredVersion, Key, Pending, Remedy, SnapshotId};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// Why a call failed, and what it was about.
#[derive(Debug)]
pub(crate) struct Failure {
    error: Error,
    key: Option<String>,
    snapshot: Option<SnapshotId>,
    is_of_data: bool,
    conflicts: Vec<ConflictRow>,
    pending: Option<Pending>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let conflicts = match error.detail() {
            Some(ErrorDetail::ForkConflicts { named, .. } | ErrorDetail::MergeConflicts { named, .. }) => {
                named.iter().map(|printed| read_conflict(printed)).collect()
            }
            _ => Vec::new(),
        };
        Self { error, key: None, snapshot: None, is_of_data: false, conflicts, pending: None }
    }
}

impl From<&CommitError> for Failure {
    /// Takes what a failed commit tells, and leaves the session.
    fn from(failed: &CommitError) -> Self {
        let error = Error::new(failed.kind(), failed.to_string());
        let error = match failed.source() {
            Some(cause) => error.caused_by(cause.to_string()),
            None => error,
        };
        let error = match failed.error().detail() {
            Some(detail) => error.about(detail.clone()),
            None => error,
        };
        let pending = failed.pending().cloned();
        let snapshot = pending.as_ref().map(|pending| pending.id);
        Self { conflicts: failed.conflicts().iter().map(conflict_row).collect(), pending, snapshot, ..Self::from(error) }
    }
}

impl Failure {
    /// Names the key that the call was about.
    pub(crate) fn at(self, key: &Key) -> Self {
        Self { key: Some(key.as_str().to_owned()), ..self }
    }

    /// Says that the bytes of a value that exists were asked for: then "not found" is about those bytes, not about the key.
    pub(crate) fn of_data(self) -> Self {
        Self { is_of_data: true, ..self }
    }

    /// Names the snapshot that was read.
    pub(crate) fn on(self, snapshot: SnapshotId) -> Self {
        Self { snapshot: Some(snapshot), ..self }
    }

    /// A panic of the engine.
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Error::internal(format!("the engine panicked: {}", text.unwrap_or("no message"))).into()
    }

    /// The exception.
    pub(crate) fn raise(&self, py: Python<'_>) -> PyErr {
        self.exception(py).unwrap_or_else(|broken| broken)
    }

    fn exception(&self, py: Python<'_>) -> PyResult<PyErr> {
        static EXCEPTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let exception = EXCEPTION.import(py, "firnline.errors", "_from_native")?;
        let told = PyDict::new(py);
        told.set_item("key", self.key.as_deref())?;
        let expired = match self.error.detail() {
            Some(ErrorDetail::ExpiredVersion(expired)) => Some(&**expired),
            _ => None,
        };
        told.set_item("snapshot", self.snapshot.or(expired.map(|expired| expired.id)).map(|id| id.to_string()))?;
        told.set_item("expired", expired.map(expired_row))?;
        told.set_item("hint", self.error.remedy().map(hint).or_else(|| next_call(&self.error)))?;
        told.set_item("conflicts", self.conflicts.clone())?;
        if let Some(ErrorDetail::FilesRefused { files }) = self.error.detail() {
            told.set_item("files", files)?;
        }
        told.set_item("pending", self.pending.as_ref().map(|p| (p.branch.as_str().to_owned(), p.id.to_string())))?;
        let kind = if self.is_of_data && self.error.kind() == ErrorKind::NotFound { "missing data" } else { self.error.kind().word() };
        let raised = exception.call1((kind, self.error.to_string(), causes(&self.error), told))?;
        Ok(PyErr::from_value(raised))
    }
}

/// Kind, name, why.
pub(crate) type ConflictRow = (&'static str, String, Option<String>);

/// The row of a conflict.
pub(crate) fn conflict_row(conflict: &Conflict) -> ConflictRow {
    (conflict.kind.word(), conflict.name.clone(), conflict.why.clone())
}

/// When the version was committed, when its data expired, by whom, why, the nearest later version that is kept, when that was committed.
type ExpiredRow = (i64, i64, Option<String>, String, Option<String>, Option<i64>);

fn expired_row(expired: &ExpiredVersion) -> ExpiredRow {
    let ExpiredVersion { committed, expired, author, reason, nearest, .. } = expired.clone();
    let (nearest, time) = nearest.map(|(id, time)| (id.to_string(), time.micros())).unzip();
    (committed.micros(), expired.micros(), author, reason, nearest, time)
}

/// The row of a conflict that was printed: its kind and name, or the name of a key alone.
fn read_conflict(printed: &str) -> ConflictRow {
    let kinds = [ConflictKind::Array, ConflictKind::Group, ConflictKind::Container, ConflictKind::File].map(ConflictKind::word);
    match printed.split_once(' ').and_then(|(kind, name)| Some((kinds.into_iter().find(|word| *word == kind)?, name))) {
        Some((kind, name)) => (kind, name.to_owned(), None),
        None => (ConflictKind::Key.word(), printed.to_owned(), None),
    }
}

/// What led to an error, the nearest first.
fn causes(error: &Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes
}

/// The call that ends what a failed one has left behind.
fn next_call(error: &Error) -> Option<String> {
    match error.detail() {
        Some(ErrorDetail::UnfinishedCollection) => Some("repository.gc() goes on with the collection that this one leaves".to_owned()),
        _ => None,
    }
}

/// How a remedy is applied from Python.
pub(crate) fn hint(remedy: &Remedy) -> String {
    match remedy {
        Remedy::Allow(entry) => format!("open the repository with allow=[{entry:?}]"),
        Remedy::Repin(url) => {
            format!("if the present content is the intended one, call session.repin([{url:?}]) in a writable session and commit")
        }
        Remedy::Rebind(entry) => match entry.split_once('=') {
            Some((name, to)) => format!("open the repository with rebind={{{name:?}: {}}}", rebound(to)),
            None => String::new(),
        },
        _ => String::new(),
    }
}

/// A rebinding as Python writes it.
fn rebound(to: &str) -> String {
    match to.strip_suffix("=unverified") {
        Some(template) => format!("({template:?}, True)"),
        None => format!("{to:?}"),
    }
}

/// The result of a call, as an exception where it failed.
pub(crate) trait OrRaise<T> {
    /// The value, or the exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T, E: Into<Failure>> OrRaise<T> for Result<T, E> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| error.into().raise(py))
    }
}
