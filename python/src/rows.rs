//! Records of the engine as tuples and dictionaries. Times are microseconds since 1970; Python makes dates of them.

use data_encoding::HEXLOWER;
use firnline::{Container, Entry, Snapshot, Timestamp, Validator, Withdrawal};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The time as Python gets it.
pub(crate) fn micros(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::micros)
}

/// What a snapshot says of itself.
pub(crate) fn commit_dict(py: Python<'_>, snapshot: &Snapshot) -> PyResult<Py<PyDict>> {
    let record = snapshot.record();
    let told = PyDict::new(py);
    told.set_item("id", snapshot.id().to_string())?;
    told.set_item("time", record.time.micros())?;
    told.set_item("message", &record.message)?;
    told.set_item("author", record.author.as_deref())?;
    told.set_item("metadata", record.meta.clone())?;
    told.set_item("parents", record.parents.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    told.set_item("since", micros(record.since))?;
    told.set_item("places", record.places.clone())?;
    told.set_item("containers", record.containers.iter().map(|c| container_dict(py, c)).collect::<PyResult<Vec<_>>>()?)?;
    told.set_item("manifest", record.manifest.to_string())?;
    told.set_item("withdrawn", snapshot.withdrawn().map(withdrawal_row))?;
    Ok(told.unbind())
}

/// Id, time, author, reason.
pub(crate) type WithdrawalRow = (String, i64, Option<String>, String);

/// The row of a withdrawal.
pub(crate) fn withdrawal_row(withdrawal: &Withdrawal) -> WithdrawalRow {
    let Withdrawal { id, time, author, reason, .. } = withdrawal.clone();
    (id.to_string(), time.micros(), author, reason)
}

/// A container.
pub(crate) fn container_dict(py: Python<'_>, container: &Container) -> PyResult<Py<PyDict>> {
    let told = PyDict::new(py);
    told.set_item("name", &container.name)?;
    told.set_item("template", &container.template)?;
    told.set_item("defaults", container.defaults.clone())?;
    told.set_item("options", container.options.clone())?;
    Ok(told.unbind())
}

/// How a value is kept, how long it is, and its id if it is a chunk.
pub(crate) type EntryRow = (&'static str, u64, Option<String>);

/// The row of an entry.
pub(crate) fn entry_row(entry: &Entry) -> EntryRow {
    let id = match entry {
        Entry::Chunk { id, .. } => Some(id.cid().to_string()),
        Entry::Inline(_) | Entry::Virtual { .. } => None,
    };
    (entry.kind().word(), entry.size(), id)
}

/// Size, date, `ETag`, version, digest, and when they were recorded.
pub(crate) type ValidatorRow = (Option<u64>, Option<i64>, Option<String>, Option<String>, Option<String>, i64);

/// The row of a validator. An `ETag` that is no text is given with escapes.
pub(crate) fn validator_row(validator: Validator) -> ValidatorRow {
    let Validator { size, modified, etag, version, digest, pinned_at } = validator;
    let etag = etag.map(|etag| String::from_utf8(etag).unwrap_or_else(|e| e.as_bytes().escape_ascii().to_string()));
    let digest = digest.map(|digest| HEXLOWER.encode(&digest));
    (size, micros(modified), etag, version, digest, pinned_at.micros())
}
