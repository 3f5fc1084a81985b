//! The calls of a session and of its store that stage changes.

use bytes::Bytes;
use firnline::{Existing, Key, Prefix, Repinned, UnpinnedFile};
use futures::FutureExt as _;
use futures::future::ready;
use pyo3::IntoPyObjectExt as _;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::completion::run;
use crate::failure::{Failure, OrRaise as _};
use crate::rows::{ValidatorRow, validator_row};
use crate::session::NativeSession;

/// Copies the bytes of an object with the buffer protocol: the memory of an array may change after the call.
fn copied(value: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    if let Ok(buffer) = PyBuffer::<u8>::get(value) {
        return Ok(buffer.to_vec(value.py())?.into());
    }
    let buffer = PyBuffer::<i8>::get(value)?;
    Ok(buffer.to_vec(value.py())?.into_iter().map(i8::cast_unsigned).collect::<Vec<_>>().into())
}

#[expect(clippy::unnecessary_wraps, reason = "what `run` calls can fail")]
fn none(py: Python<'_>, (): ()) -> PyResult<Py<PyAny>> {
    Ok(py.None())
}

/// URL, what differs in words, state before, state after.
type RepinnedRow = (String, String, ValidatorRow, ValidatorRow);

#[pymethods]
impl NativeSession {
    /// Stages a value.
    #[pyo3(signature = (key, value, is_async, /))]
    fn set(&self, py: Python<'_>, key: &str, value: &Bound<'_, PyAny>, is_async: bool) -> PyResult<Py<PyAny>> {
        let key = Key::new(key).or_raise(py)?;
        let (live, value) = (self.live(py)?, copied(value)?);
        let set = async move { live.session().await?.set(&key, value).await.map_err(|e| Failure::from(e).at(&key).of_data()) };
        run(py, is_async, set, none)
    }

    /// Stages a value unless there is one. Says whether it was staged.
    #[pyo3(signature = (key, value, is_async, /))]
    fn set_if_absent(&self, py: Python<'_>, key: &str, value: &Bound<'_, PyAny>, is_async: bool) -> PyResult<Py<PyAny>> {
        let key = Key::new(key).or_raise(py)?;
        let (live, value) = (self.live(py)?, copied(value)?);
        let set = async move { live.session().await?.set_if_absent(&key, value).await.map_err(|e| Failure::from(e).at(&key).of_data()) };
        run(py, is_async, set, |py, is_set| is_set.into_py_any(py))
    }

    /// Stages the removal of a key. Says whether there was one.
    #[pyo3(signature = (key, is_async, /))]
    fn delete(&self, py: Python<'_>, key: &str, is_async: bool) -> PyResult<Py<PyAny>> {
        let key = Key::new(key).ok();
        let live = self.live(py)?;
        let delete = async move {
            let session = live.session().await?;
            match key {
                Some(key) => session.delete(&key).await.map_err(|e| Failure::from(e).at(&key).of_data()),
                None => Ok(false),
            }
        };
        run(py, is_async, delete, |py, was_there| was_there.into_py_any(py))
    }

    /// Stages the removal of everything below a directory.
    #[pyo3(signature = (directory, is_async, /))]
    fn delete_dir(&self, py: Python<'_>, directory: &str, is_async: bool) -> PyResult<Py<PyAny>> {
        let prefix = Prefix::new(directory).or_raise(py)?;
        let live = self.live(py)?;
        let delete = async move {
            live.session().await?.delete_prefix(&prefix);
            Ok(())
        };
        run(py, is_async, delete, none)
    }

    /// Waits until the store has every chunk that was staged so far.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.stage(py, |session| session.flush().boxed())
    }

    /// How many keys a commit would set, point elsewhere, delete, and leave as they are.
    fn changes(&self, py: Python<'_>) -> PyResult<(u64, u64, u64, u64)> {
        let changes = self.stage(py, |session| session.changes().boxed())?;
        Ok((changes.set, changes.pointed, changes.deleted, changes.unchanged))
    }

    /// Whether a commit would have something to write.
    fn has_changes(&self, py: Python<'_>) -> PyResult<bool> {
        self.stage(py, |session| ready(Ok(!session.is_unchanged())).boxed())
    }

    /// Whether a commit would find everything there already.
    fn changes_nothing(&self, py: Python<'_>) -> PyResult<bool> {
        self.stage(py, |session| session.changes_nothing().boxed())
    }

    /// Stages a copy of what a name means in another snapshot: keys and bytes.
    fn copy(&self, py: Python<'_>, revision: &str, source: String, to: String, replace: bool) -> PyResult<(u64, u64)> {
        let from = self.origin.snapshot(py, revision)?;
        let copied = self.stage(py, move |session| {
            let copy = async move {
                let source = from.find_named(&source).await?;
                session.copy_from(&from, &source, &to, existing(replace)).await
            };
            copy.boxed()
        })?;
        Ok((copied.keys, copied.bytes))
    }

    /// Stages a move: keys and bytes.
    fn rename(&self, py: Python<'_>, source: String, to: String, replace: bool) -> PyResult<(u64, u64)> {
        let moved = self.stage(py, move |session| async move { session.rename(&source, &to, existing(replace)).await }.boxed())?;
        Ok((moved.keys, moved.bytes))
    }

    /// Looks up files anew, all or those at some places, and stages what their sources tell now.
    fn repin(&self, py: Python<'_>, places: Option<Vec<String>>) -> PyResult<Vec<RepinnedRow>> {
        let repinned = self.stage(py, move |session| {
            let repin = async move {
                match places {
                    Some(places) => session.repin(&places.iter().map(String::as_str).collect::<Vec<_>>()).await,
                    None => session.repin_all().await,
                }
            };
            repin.boxed()
        })?;
        let row = |file: Repinned| {
            let differences = file.differences();
            (file.url, differences, validator_row(file.before), validator_row(file.after))
        };
        Ok(repinned.into_iter().map(row).collect())
    }

    /// The staged files of which nothing is recorded that would show a change.
    fn unpinned(&self, py: Python<'_>) -> PyResult<Vec<UnpinnedRow>> {
        let files = self.stage(py, |session| ready(session.unpinned()).boxed())?;
        Ok(files.into_iter().map(unpinned_row).collect())
    }

    /// The directories with such files: URL, how many there are, one of them.
    fn unpinned_places(&self, py: Python<'_>) -> PyResult<Vec<(String, u64, UnpinnedRow)>> {
        let places = self.stage(py, |session| ready(session.unpinned_places()).boxed())?;
        Ok(places.into_iter().map(|place| (place.place, place.files, unpinned_row(place.first))).collect())
    }
}

/// URL, why nothing is recorded, problem, step that helps.
type UnpinnedRow = (String, &'static str, Option<String>, Option<String>);

fn unpinned_row(file: UnpinnedFile) -> UnpinnedRow {
    let remedy = file.remedy.as_ref().map(crate::failure::hint);
    (file.url, file.why.word(), file.problem, remedy)
}

const fn existing(replace: bool) -> Existing {
    if replace { Existing::Replace } else { Existing::Refuse }
}
