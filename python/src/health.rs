//! Verifying, counting, and checking the files that a version depends on.

use firnline::{Finding, MapStats, Repository, Stats, VerifyScope};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::failure::OrRaise as _;
use crate::progress::Watch;
use crate::repository::NativeRepository;
use crate::runtime::wait_watching;

type FindingRow = (&'static str, String, String, Vec<String>, Vec<String>);

fn finding_row(finding: Finding) -> FindingRow {
    let versions = finding.versions.iter().map(ToString::to_string).collect();
    (finding.kind.word(), finding.object, finding.message, finding.keys, versions)
}

/// Entries, nodes, depth, stored bytes.
fn map_row(map: &MapStats) -> (u64, u64, u64, u64) {
    (map.entries, map.nodes, map.depth, map.stored)
}

fn stats_dict(py: Python<'_>, stats: &Stats) -> PyResult<Py<PyDict>> {
    let told = PyDict::new(py);
    let kinds = PyDict::new(py);
    for (kind, counts) in &stats.kinds {
        kinds.set_item(kind.word(), (counts.keys, counts.bytes))?;
    }
    told.set_item("kinds", kinds)?;
    let arrays = stats.arrays.iter().map(|(prefix, counts)| (prefix.as_str().trim_end_matches('/'), counts.keys, counts.bytes));
    told.set_item("arrays", arrays.collect::<Vec<_>>())?;
    told.set_item("other", (stats.other.keys, stats.other.bytes))?;
    told.set_item("manifest", map_row(&stats.manifest))?;
    told.set_item("files", map_row(&stats.files))?;
    told.set_item("history", map_row(&stats.history))?;
    told.set_item("containers", stats.containers)?;
    Ok(told.unbind())
}

/// The repository with its reports given to `watch`.
pub(crate) fn watched(repository: &Repository, watch: Option<&Watch>) -> Repository {
    watch.map_or_else(|| repository.clone(), |watch| repository.with_progress(watch.sink()))
}

#[pymethods]
impl NativeRepository {
    /// Verifies a revision, or everything: what was found, and how much was read.
    fn verify(&self, py: Python<'_>, revision: Option<&str>, progress: Option<Py<PyAny>>) -> PyResult<Py<PyDict>> {
        let watch = progress.map(Watch::new);
        let repository = watched(&self.origin.repository(py)?, watch.as_ref());
        let verify = async {
            let scope = match revision {
                Some(revision) => VerifyScope::Revision(repository.read(revision).await?),
                None => VerifyScope::Everything,
            };
            repository.verify(scope).await
        };
        let verified = wait_watching(py, verify, watch.as_ref())?.or_raise(py)?;
        let told = PyDict::new(py);
        told.set_item("findings", verified.findings.into_iter().map(finding_row).collect::<Vec<_>>())?;
        told.set_item("found", verified.found)?;
        for (name, count) in [
            ("refs", verified.refs),
            ("snapshots", verified.snapshots),
            ("nodes", verified.nodes),
            ("chunks", verified.chunks),
            ("bytes", verified.bytes),
        ] {
            told.set_item(name, count)?;
        }
        told.set_item("shallow", verified.shallow.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        Ok(told.unbind())
    }

    /// What a revision is made of.
    fn stats(&self, py: Python<'_>, revision: &str) -> PyResult<Py<PyDict>> {
        let stats = self.origin.call(py, |repository| async move { repository.read(revision).await?.stats().await })?;
        stats_dict(py, &stats)
    }
}
