//! Garbage collection.

use std::time::Duration;

use firnline::{CountsByKind, Error, GcOptions, GcPlan, GcReport, ObjectCounts, Result};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::failure::OrRaise as _;
use crate::health::watched;
use crate::progress::Watch;
use crate::repository::NativeRepository;
use crate::runtime::{note, wait_watching};

/// What is told where a collection was interrupted.
const UNFINISHED: &str = "the garbage collection is unfinished: nothing that is needed was removed, and the next one ends it";

/// Objects, bytes.
type CountsRow = (u64, u64);

/// The row of counts.
pub(crate) fn counts_row(counts: ObjectCounts) -> CountsRow {
    (counts.objects, counts.bytes)
}

/// Kind, and how much of it was stored, is garbage, was removed.
type KindRow = (&'static str, u64, u64, u64, u64, u64, u64);

fn kind_rows(plan: &GcPlan, removed: &CountsByKind) -> Vec<KindRow> {
    let row = |kind: &'static str| {
        let of = |counts: &CountsByKind| counts.get::<str>(kind).copied().map_or((0, 0), counts_row);
        let ((stored, stored_bytes), (garbage, garbage_bytes), (gone, gone_bytes)) = (of(&plan.stored), of(&plan.garbage), of(removed));
        (kind, stored, stored_bytes, garbage, garbage_bytes, gone, gone_bytes)
    };
    plan.stored.keys().copied().map(row).collect()
}

/// A report as a dictionary; of a plan alone the rest of it is zero.
fn report_dict(py: Python<'_>, report: &GcReport, dry_run: bool) -> PyResult<Py<PyDict>> {
    let (told, plan) = (PyDict::new(py), &report.plan);
    told.set_item("dry_run", dry_run)?;
    told.set_item("kinds", kind_rows(plan, &report.removed))?;
    told.set_item("young", counts_row(plan.young))?;
    told.set_item("foreign", counts_row(plan.foreign))?;
    for (name, count) in [
        ("epoch", report.epoch),
        ("refs", plan.refs),
        ("versions", plan.versions),
        ("reads", plan.reads),
        ("saved", report.saved),
        ("failed", report.failed),
        ("calls", report.calls),
    ] {
        told.set_item(name, count)?;
    }
    told.set_item("problem", report.problem.as_deref())?;
    told.set_item("seconds", report.took.as_secs_f64())?;
    told.set_item("resumed", report.resumed)?;
    Ok(told.unbind())
}

/// Reads a length of time that the argument `name` gives.
pub(crate) fn seconds(name: &str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| Error::invalid(format!("{name} is {seconds} seconds, which is not a length of time")))
}

/// Options with how long to wait, if that is said.
fn waiting(options: GcOptions, wait: Option<f64>) -> Result<GcOptions> {
    Ok(match wait {
        Some(wait) => options.wait(seconds("wait", wait)?),
        None => options,
    })
}

#[pymethods]
impl NativeRepository {
    /// Collects garbage, or only tells what would be removed.
    fn gc(&self, py: Python<'_>, dry_run: bool, grace: f64, wait: Option<f64>, progress: Option<Py<PyAny>>) -> PyResult<Py<PyDict>> {
        let options = waiting(GcOptions::default().grace(seconds("grace", grace).or_raise(py)?), wait).or_raise(py)?;
        let watch = progress.map(Watch::new);
        let (repository, handle) = (watched(&self.origin.repository(py)?, watch.as_ref()), options.handle());
        let collect = async {
            if dry_run {
                let mut report = GcReport::default();
                report.plan = repository.plan_gc(&options).await?;
                return Ok::<_, Error>(report);
            }
            repository.gc(&options).await
        };
        let collected = wait_watching(py, collect, watch.as_ref()).inspect_err(|interrupt| {
            if handle.is_unfinished() {
                note(py, interrupt, UNFINISHED);
            }
        })?;
        report_dict(py, &collected.or_raise(py)?, dry_run)
    }

    /// Makes the register of collections anew if it is damaged or was lost: what was wrong, and the number of the last collection.
    fn repair_gc(&self, py: Python<'_>, wait: Option<f64>) -> PyResult<(Option<String>, u64)> {
        let options = waiting(GcOptions::default(), wait).or_raise(py)?;
        let repaired = self.origin.call(py, |repository| async move { repository.repair_gc(&options).await })?;
        Ok((repaired.wrong, repaired.epoch))
    }

    /// Whether garbage is being collected: in a word, and the number of the last collection that has begun.
    fn gc_status(&self, py: Python<'_>) -> PyResult<(&'static str, u64)> {
        let status = self.origin.call(py, |repository| async move { repository.gc_status().await })?;
        Ok((status.activity.word(), status.epoch))
    }
}
