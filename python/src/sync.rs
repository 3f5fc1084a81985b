//! Copying versions between repositories.

use firnline::{Ref, RefKind, Result, SyncOptions, SyncRef, SyncReport, SyncedRef};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::failure::OrRaise as _;
use crate::health::watched;
use crate::options::OpenArguments;
use crate::progress::{Watch, reporting};
use crate::repository::NativeRepository;
use crate::runtime::{note, wait_watching};

/// What is told where a copy was interrupted.
const UNFINISHED: &str =
    "the same call ends the copy, and goes on after the last GiB or 100,000 chunks; branches and tags may have been moved already";

/// What Python says about a copy; the keys of a dictionary.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
#[expect(clippy::struct_excessive_bools, reason = "those of the engine's options")]
pub(crate) struct SyncArguments {
    /// Branches, and tags as `tag:NAME`, and the names that they get, if others; all if there are none.
    refs: Vec<(String, Option<String>)>,
    force: bool,
    dry_run: bool,
    shallow: bool,
    no_chunks: bool,
}

impl SyncArguments {
    fn into_options(self) -> Result<SyncOptions> {
        let mut options = SyncOptions::default();
        for (source, name) in self.refs {
            let mut names = SyncRef::same(Ref::named(&source)?);
            if let Some(name) = name {
                names.target.name = name.parse()?;
            }
            options = options.with(names);
        }
        (options.force, options.dry_run, options.shallow, options.no_chunks) = (self.force, self.dry_run, self.shallow, self.no_chunks);
        Ok(options)
    }
}

/// Kind, name where it goes to, name where it comes from, what became of it, what it showed before, what it shows.
type SyncedRow = (&'static str, String, String, &'static str, Option<String>, String);

fn synced_row(synced: &SyncedRef) -> SyncedRow {
    let SyncedRef { source, target, outcome, from, to, .. } = synced;
    let kind = if target.kind == RefKind::Tag { "tag" } else { "branch" };
    (kind, target.name.to_string(), source.name.to_string(), outcome.word(), from.map(|id| id.to_string()), to.to_string())
}

fn report_dict(py: Python<'_>, report: &SyncReport, dry_run: bool) -> PyResult<Py<PyDict>> {
    let told = PyDict::new(py);
    told.set_item("refs", report.refs.iter().map(synced_row).collect::<Vec<_>>())?;
    for (name, count) in [
        ("versions", report.versions),
        ("nodes", report.nodes),
        ("chunks", report.chunks),
        ("chunk_bytes", report.chunk_bytes),
        ("reused", report.reused),
    ] {
        told.set_item(name, count)?;
    }
    told.set_item("dry_run", dry_run)?;
    Ok(told.unbind())
}

#[pymethods]
impl NativeRepository {
    /// Copies branches and tags to another repository, or from it.
    fn sync(
        &self,
        py: Python<'_>,
        other: &Self,
        pull: bool,
        arguments: SyncArguments,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Py<PyDict>> {
        let (watch, options) = (progress.map(Watch::new), arguments.into_options().or_raise(py)?);
        let (from, to) = if pull { (other, self) } else { (self, other) };
        let (from, to) = (from.origin.repository(py)?, watched(&to.origin.repository(py)?, watch.as_ref()));
        let copy = async { if pull { to.pull(&from, &options).await } else { from.push(&to, &options).await } };
        let copied = wait_watching(py, copy, watch.as_ref()).inspect_err(|interrupt| told_if(py, interrupt, !options.dry_run))?;
        report_dict(py, &copied.or_raise(py)?, options.dry_run)
    }

    /// Makes a repository with what this one has; the new one, and what was copied.
    fn clone_to(
        &self,
        py: Python<'_>,
        place: String,
        open: OpenArguments,
        arguments: SyncArguments,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(Self, Py<PyDict>)> {
        let (watch, options) = (progress.map(Watch::new), arguments.into_options().or_raise(py)?);
        let (from, to) = (self.origin.repository(py)?, open.to_options().or_raise(py)?);
        // The new repository gives its reports to the call, as every one that was opened from Python.
        let copy = reporting(watch.as_ref(), Box::pin(from.clone_to(&place, to, &options)));
        let made = wait_watching(py, copy, watch.as_ref()).inspect_err(|interrupt| told_if(py, interrupt, true))?;
        let (made, report) = made.or_raise(py)?;
        let report = report_dict(py, &report, false)?;
        Ok((Self::new(place, open, made), report))
    }
}

fn told_if(py: Python<'_>, interrupt: &PyErr, has_begun: bool) {
    if has_begun {
        note(py, interrupt, UNFINISHED);
    }
}

/// The repositories that the user's configuration file names, by name.
#[pyfunction]
pub(crate) fn configured_remotes(py: Python<'_>) -> PyResult<Vec<(String, String)>> {
    Ok(py.detach(firnline::configured_remotes).or_raise(py)?.into_iter().collect())
}

/// The place of a repository that is named by such a name, or by itself.
#[pyfunction]
pub(crate) fn remote_place(py: Python<'_>, named: &str) -> PyResult<String> {
    py.detach(|| firnline::remote_place(named)).or_raise(py)
}
