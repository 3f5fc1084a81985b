//! Log, differences, the history of a key, the files that a version depends on.

use firnline::{Change, Clock as _, Entry, Error, Key, LogEntry, Prefix, Validator};
use futures::TryStreamExt as _;
use pyo3::prelude::*;

use crate::failure::OrRaise as _;
use crate::repository::NativeRepository;
use crate::rows::{EntryRow, ValidatorRow, entry_row, validator_row};

/// What changed: kind, name, how, and how the value was kept before and is now.
type ChangeRow = (&'static str, String, &'static str, Option<EntryRow>, Option<EntryRow>);

#[pymethods]
impl NativeRepository {
    /// The commits of a revision's line, latest first: id, time, summary, when its data expired, when it was withdrawn.
    #[expect(clippy::type_complexity, reason = "a row")]
    fn log(&self, py: Python<'_>, revision: &str, limit: Option<usize>) -> PyResult<Vec<(String, i64, String, Option<i64>, Option<i64>)>> {
        let (entries, retention) = self.origin.call(py, |repository| async move {
            let mut log = std::pin::pin!(repository.read_record(&revision.parse()?).await?.log());
            let mut entries = Vec::new();
            while limit.is_none_or(|limit| entries.len() < limit)
                && let Some(entry) = log.try_next().await?
            {
                entries.push(entry);
            }
            Ok::<_, Error>((entries, repository.known_retention().await?))
        })?;
        let row = |entry: LogEntry| {
            let expired = retention.expired(entry.id).map(|act| act.time.micros());
            let withdrawn = retention.withdrawn(entry.id).map(|withdrawal| withdrawal.time.micros());
            (entry.id.to_string(), entry.time.micros(), entry.summary, expired, withdrawn)
        };
        Ok(entries.into_iter().map(row).collect())
    }

    /// What differs between two revisions, below a prefix.
    fn diff(&self, py: Python<'_>, old: &str, new: &str, prefix: &str) -> PyResult<Vec<ChangeRow>> {
        self.origin.call(py, |repository| async move {
            let (old, new) = futures::try_join!(repository.read(old), repository.read(new))?;
            let changes = old.diff(&new, &Prefix::new(prefix)?);
            changes.map_ok(change_row).try_collect().await
        })
    }

    /// The commits that changed a key: id, time, summary, event, how the value is kept, URL, whether it was this commit.
    #[expect(clippy::type_complexity, reason = "a row")]
    fn versions_of(
        &self,
        py: Python<'_>,
        key: &str,
        revision: &str,
    ) -> PyResult<Vec<(String, i64, String, &'static str, Option<EntryRow>, Option<String>, bool)>> {
        let versions: Vec<_> = self.origin.call(py, |repository| async move {
            let snapshot = repository.read(revision).await?;
            snapshot.key_history(&Key::new(key)?).try_collect().await
        })?;
        let row = |v: firnline::KeyVersion| {
            (v.id.to_string(), v.time.micros(), v.summary, v.event.word(), v.entry.as_ref().map(entry_row), v.url, v.is_known)
        };
        Ok(versions.into_iter().map(row).collect())
    }

    /// Keys, bytes, files and ancestors of a revision.
    fn totals(&self, py: Python<'_>, revision: &str) -> PyResult<(u64, u64, u64, u64)> {
        let totals = self.origin.call(py, |repository| async move { repository.read(revision).await?.totals().await })?;
        Ok((totals.keys, totals.bytes, totals.files, totals.ancestors))
    }

    /// The snapshot that a branch showed at a time, its time, and whether that is final.
    fn as_of(&self, py: Python<'_>, branch: &str, time: i64) -> PyResult<(String, bool)> {
        let time = firnline::Timestamp::from_micros(time);
        let found = self.origin.call(py, |repository| async move { repository.as_of(&branch.parse()?, time).await })?;
        Ok((found.id.to_string(), found.is_final))
    }

    /// Reads a time as the engine does, in microseconds since 1970.
    #[staticmethod]
    fn parse_time(py: Python<'_>, text: &str) -> PyResult<i64> {
        Ok(firnline::parse_time(text, firnline::SystemClock.now()).or_raise(py)?.micros())
    }

    /// Where the value of a key comes from: how it is kept, URL, offset, container, what is known of the file.
    #[expect(clippy::type_complexity, reason = "a row")]
    fn origin(
        &self,
        py: Python<'_>,
        revision: &str,
        key: &str,
    ) -> PyResult<Option<(EntryRow, Option<(String, u64, String, ValidatorRow)>)>> {
        let found = self.origin.call(py, |repository| async move { repository.read(revision).await?.origin(&Key::new(key)?).await })?;
        let row = |origin: firnline::Origin| {
            let offset = if let Entry::Virtual { offset, .. } = &origin.entry { *offset } else { 0 };
            let source = origin.source.map(|s| (s.url, offset, s.container.name, validator_row(Validator::of(&s.record))));
            (entry_row(&origin.entry), source)
        };
        Ok(found.map(row))
    }
}

fn change_row(change: Change) -> ChangeRow {
    match change {
        Change::Key { key, old, new } => {
            let (old, new) = (old.as_ref().map(entry_row), new.as_ref().map(entry_row));
            ("key", key.as_str().to_owned(), event(old.is_some(), new.is_some()), old, new)
        }
        Change::Container { name, old, new } => ("container", name, event(old.is_some(), new.is_some()), None, None),
        Change::File { file, .. } => ("file", file.to_string(), "changed", None, None),
        // A kind of change that this module does not know yet.
        other => ("other", format!("{other:?}"), "changed", None, None),
    }
}

const fn event(before: bool, after: bool) -> &'static str {
    match (before, after) {
        (false, _) => "added",
        (true, false) => "removed",
        (true, true) => "changed",
    }
}
