//! Which commit last changed something, and which made it bad.

use std::sync::{Mutex, MutexGuard, PoisonError};

use firnline::{BisectVerdict, Bisection, Blamed, KeyOrPrefix, LogEntry, Prefix, SnapshotId};
use futures::TryStreamExt as _;
use pyo3::prelude::*;

use crate::failure::OrRaise as _;
use crate::repository::NativeRepository;
use crate::runtime::wait;
use crate::stream::{NativeRows, Row, row};

/// Id, time, summary.
type LogRow = (String, i64, String);

fn log_row(entry: &LogEntry) -> LogRow {
    (entry.id.to_string(), entry.time.micros(), entry.summary.clone())
}

/// The key, or the prefix of an array with its final `/`; id, time and summary of the commit; whether it made the change.
fn blamed_row(blamed: Blamed) -> Row {
    let Blamed { name, commit, is_known, .. } = blamed;
    let name = match name {
        KeyOrPrefix::Key(key) => key.to_string(),
        KeyOrPrefix::Prefix(prefix) => prefix.to_string(),
    };
    row![name, commit.id.to_string(), commit.time.micros(), commit.summary, is_known]
}

/// A search for the first bad version of a line.
#[pyclass(frozen, module = "firnline._firnline")]
pub(crate) struct NativeBisection {
    /// Locked only while the interpreter's lock is held.
    search: Mutex<Bisection>,
}

impl NativeBisection {
    fn search(&self) -> MutexGuard<'_, Bisection> {
        self.search.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl NativeBisection {
    /// The id of the version to look at next; `None` at the end of the search.
    fn next_version(&self) -> Option<String> {
        self.search().next().map(|entry| entry.id.to_string())
    }

    /// Notes whether a version is good; `None`: it cannot be told.
    fn mark(&self, py: Python<'_>, version: &str, is_good: Option<bool>) -> PyResult<()> {
        let id = version.parse::<SnapshotId>().or_raise(py)?;
        let verdict = match is_good {
            Some(true) => BisectVerdict::Good,
            Some(false) => BisectVerdict::Bad,
            None => BisectVerdict::Skip,
        };
        self.search().mark(id, verdict);
        Ok(())
    }

    /// The versions of which one is the first bad one, oldest first.
    fn suspects(&self) -> Vec<LogRow> {
        self.search().suspects().iter().map(log_row).collect()
    }
}

#[pymethods]
impl NativeRepository {
    /// The commits that last changed each array, and each key outside of arrays.
    fn blame(&self, py: Python<'_>, prefix: &str, revision: &str) -> PyResult<Vec<Row>> {
        let found = self.origin.call(py, |repository| async move {
            let snapshot = repository.read(revision).await?;
            snapshot.blame(&Prefix::new(prefix)?).await
        })?;
        Ok(found.into_iter().map(blamed_row).collect())
    }

    /// The commits that last changed each key.
    fn blame_keys(&self, py: Python<'_>, prefix: &str, revision: &str) -> PyResult<NativeRows> {
        let (snapshot, prefix) = (self.origin.snapshot(py, revision)?, Prefix::new(prefix).or_raise(py)?);
        let found = wait(py, snapshot.blame_keys(&prefix))?.or_raise(py)?;
        Ok(NativeRows::new(found.map_ok(blamed_row)))
    }

    /// Begins a search for the first bad version between a good and a bad one.
    fn bisect(&self, py: Python<'_>, good: &str, bad: &str) -> PyResult<NativeBisection> {
        let search = self.origin.call(py, |repository| async move {
            let (good, bad) = futures::try_join!(repository.read(good), repository.read(bad))?;
            bad.bisect(&good).await
        })?;
        Ok(NativeBisection { search: Mutex::new(search) })
    }
}
