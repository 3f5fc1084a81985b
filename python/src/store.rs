//! The calls of a Zarr store that read.

use bytes::Bytes;
use firnline::{Child, Key, Prefix};
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::completion::run;
use crate::failure::Failure;
use crate::session::NativeSession;
use crate::value::Value;
use crate::view::Part;

/// A key, and from where to where; or, with only the second, the last so many bytes; or all.
type PartArguments = (String, Option<u64>, Option<u64>);

fn part(start: Option<u64>, end: Option<u64>) -> Part {
    match (start, end) {
        (None, None) => Part::All,
        (Some(start), end) => Part::Range(start, end.unwrap_or(u64::MAX)),
        (None, Some(length)) => Part::Suffix(length),
    }
}

fn value(py: Python<'_>, bytes: Option<Bytes>) -> PyResult<Py<PyAny>> {
    match bytes {
        Some(bytes) => Ok(Py::new(py, Value::new(bytes))?.into_any()),
        None => Ok(py.None()),
    }
}

/// Text that could never be a key names nothing, so nothing is found under it.
fn key(text: &str) -> Option<Key> {
    Key::new(text).ok()
}

/// The directory of a name, and the names in it that count: those that begin with the rest.
fn directory(prefix: &str) -> (Option<Prefix>, String) {
    let end = prefix.rfind('/').map_or(0, |at| at + 1);
    (prefix.get(..end).and_then(|directory| Prefix::new(directory).ok()), prefix.to_owned())
}

#[pymethods]
impl NativeSession {
    /// The bytes of a part of a value: from `start` to `end`, from `start` on, or, without `start`, the last `end`.
    #[pyo3(signature = (key, start, end, is_async, /))]
    fn get(&self, py: Python<'_>, key: &str, start: Option<u64>, end: Option<u64>, is_async: bool) -> PyResult<Py<PyAny>> {
        let Some(key) = self::key(key) else { return Ok(py.None()) };
        let live = self.live(py)?;
        let read = async move {
            let view = live.view().await?;
            view.get(&key, part(start, end)).await.map_err(|e| Failure::from(e).at(&key).on(view.base()).of_data())
        };
        run(py, is_async, read, value)
    }

    /// The bytes of many parts, as a list in their order.
    #[pyo3(signature = (parts, is_async, /))]
    fn get_parts(&self, py: Python<'_>, parts: Vec<PartArguments>, is_async: bool) -> PyResult<Py<PyAny>> {
        let parts: Vec<Option<(Key, Part)>> = parts.into_iter().map(|(text, start, end)| Some((key(&text)?, part(start, end)))).collect();
        let live = self.live(py)?;
        let read = async move {
            let view = live.view().await?;
            let valid: Vec<_> = parts.iter().flatten().cloned().collect();
            let found = view.get_parts(valid).await.map_err(|e| Failure::from(e).on(view.base()).of_data())?;
            let mut found = found.into_iter();
            Ok(parts.iter().map(|part| if part.is_some() { found.next().flatten() } else { None }).collect::<Vec<_>>())
        };
        run(py, is_async, read, |py, values| {
            let values = values.into_iter().map(|bytes| value(py, bytes)).collect::<PyResult<Vec<_>>>()?;
            Ok(PyList::new(py, values)?.into_any().unbind())
        })
    }

    /// The length of a value in bytes, `None` when there is none.
    #[pyo3(signature = (key, is_async, /))]
    fn size(&self, py: Python<'_>, key: &str, is_async: bool) -> PyResult<Py<PyAny>> {
        let Some(key) = self::key(key) else { return Ok(py.None()) };
        let live = self.live(py)?;
        let look = async move {
            let view = live.view().await?;
            let entry = view.entry(&key).await.map_err(|e| Failure::from(e).at(&key).on(view.base()).of_data())?;
            Ok(entry.map(|entry| entry.size()))
        };
        run(py, is_async, look, |py, size| size.into_py_any(py))
    }

    /// The keys that begin with a text, sorted by their bytes.
    #[pyo3(signature = (prefix, is_async, /))]
    fn list(&self, py: Python<'_>, prefix: &str, is_async: bool) -> PyResult<Py<PyAny>> {
        let (directory, begins) = directory(prefix);
        let live = self.live(py)?;
        let list = async move {
            let Some(directory) = directory else { return Ok(Vec::new()) };
            let view = live.view().await?;
            let found = view.list(&directory).await.map_err(|e| Failure::from(e).on(view.base()).of_data())?;
            let keys = found.into_iter().map(|(key, _)| key.as_str().to_owned()).filter(|key| key.starts_with(&begins));
            Ok(sorted(keys.collect()))
        };
        run(py, is_async, list, |py, keys| keys.into_py_any(py))
    }

    /// The names of keys and directories directly below a directory, sorted by their bytes.
    #[pyo3(signature = (directory, is_async, /))]
    fn list_dir(&self, py: Python<'_>, directory: &str, is_async: bool) -> PyResult<Py<PyAny>> {
        let prefix = Prefix::new(directory).ok();
        let live = self.live(py)?;
        let list = async move {
            let Some(prefix) = prefix else { return Ok(Vec::new()) };
            let view = live.view().await?;
            let found = view.children(&prefix).await.map_err(|e| Failure::from(e).on(view.base()).of_data())?;
            let names = found.iter().map(|child| match child {
                Child::Key(key, _) => key.last_segment().to_owned(),
                Child::Directory(below) => {
                    let bare = below.as_str().trim_end_matches('/');
                    bare.rsplit_once('/').map_or(bare, |(_, last)| last).to_owned()
                }
            });
            let mut names = sorted(names.collect());
            names.dedup();
            Ok(names)
        };
        run(py, is_async, list, |py, names| names.into_py_any(py))
    }

    /// How many keys lie below a directory, and the sum of their lengths in bytes.
    #[pyo3(signature = (directory, is_async, /))]
    fn size_below(&self, py: Python<'_>, directory: &str, is_async: bool) -> PyResult<Py<PyAny>> {
        let prefix = Prefix::new(directory).ok();
        let live = self.live(py)?;
        let count = async move {
            let Some(prefix) = prefix else { return Ok((0, 0)) };
            let view = live.view().await?;
            let found = view.list(&prefix).await.map_err(|e| Failure::from(e).on(view.base()).of_data())?;
            Ok((found.len(), found.iter().fold(0_u64, |sum, (_, entry)| sum.saturating_add(entry.size()))))
        };
        run(py, is_async, count, |py, counts| counts.into_py_any(py))
    }

    /// Whether nothing lies below a directory.
    #[pyo3(signature = (directory, is_async, /))]
    fn is_empty(&self, py: Python<'_>, directory: &str, is_async: bool) -> PyResult<Py<PyAny>> {
        let prefix = Prefix::new(directory).ok();
        let live = self.live(py)?;
        let look = async move {
            let Some(prefix) = prefix else { return Ok(true) };
            let view = live.view().await?;
            let found = view.children(&prefix).await.map_err(|e| Failure::from(e).on(view.base()).of_data())?;
            Ok(found.is_empty())
        };
        run(py, is_async, look, |py, is_empty| is_empty.into_py_any(py))
    }
}

/// Sorted by bytes: the order of `str`.
fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}
