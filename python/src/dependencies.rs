//! External files: which a version depends on, who depends on them, and whether they are as recorded.

use firnline::{
    ArrayDependencies, CheckOptions, Dependency, DependencyChange, DependencyCounts, DependencyHistory, Error, KeyUse, LogEntry, PlaceUse,
    Ref, RefUse, Sample, Validator, VirtualFile,
};
use futures::TryStreamExt as _;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::external::container_cells;
use crate::failure::{OrRaise as _, hint};
use crate::repository::NativeRepository;
use crate::rows::{micros, validator_row};
use crate::runtime::wait;
use crate::stream::{Cell, NativeRows, Row, row};

/// What is known of a file, as cells.
pub(crate) fn validator_cells(validator: Validator) -> Vec<Cell> {
    let (is_pinned, is_racy) = (validator.is_pinned(), validator.is_racy());
    let (size, modified, etag, version, digest, pinned_at) = validator_row(validator);
    row![size, modified, etag, version, digest, pinned_at, is_pinned, is_racy].0
}

/// URL, container, arguments, what is known, references, bytes.
fn file_cells(url: String, file: &firnline::FileKey, record: &VirtualFile) -> Vec<Cell> {
    let args: Vec<String> = file.args().map(str::to_owned).collect();
    let mut cells = row![url, file.container().to_owned(), args].0;
    cells.extend(validator_cells(Validator::of(record)));
    cells.extend(row![record.refs, record.bytes].0);
    cells
}

fn dependency_row(found: Dependency) -> Row {
    Row(file_cells(found.url, &found.file, &found.record))
}

/// The same, and for the first and the last version that uses the file its id and time, and how many versions do.
fn ever_row(found: DependencyHistory) -> Row {
    let mut cells = file_cells(found.url, &found.file, &found.record);
    for LogEntry { id, time, .. } in [found.first, found.last] {
        cells.extend(row![id.to_string(), time.micros()].0);
    }
    cells.push(found.versions.into());
    Row(cells)
}

fn counts_row(counts: DependencyCounts) -> [Cell; 3] {
    [counts.files.into(), counts.refs.into(), counts.bytes.into()]
}

fn with_counts(mut head: Row, counts: DependencyCounts) -> Row {
    head.0.extend(counts_row(counts));
    head
}

/// Array or directory, of what kind it is, counts, and the counts for each container.
fn array_row(found: ArrayDependencies) -> Row {
    let kind = found.group.word();
    let path = found.group.prefix().as_str().trim_end_matches('/').to_owned();
    let containers: Vec<Row> = found.containers.into_iter().map(|(name, counts)| with_counts(row![name], counts)).collect();
    let mut cells = with_counts(row![path, kind], found.counts);
    cells.0.push(containers.into());
    cells
}

/// What, name or URL, what happened, what differs in words, references and bytes before and now.
fn change_row(change: DependencyChange) -> Row {
    let (happened, differences) = (change.word(), change.differences());
    let counts = |file: &Option<Box<VirtualFile>>| (file.as_ref().map(|f| f.refs), file.as_ref().map(|f| f.bytes));
    match change {
        DependencyChange::File { url, old, new, .. } => {
            let ((old_refs, old_bytes), (new_refs, new_bytes)) = (counts(&old), counts(&new));
            row!["file", url, happened, differences, old_refs, old_bytes, new_refs, new_bytes]
        }
        DependencyChange::Container { name, .. } => {
            row!["container", name, happened, differences, Cell::Absent, Cell::Absent, Cell::Absent, Cell::Absent]
        }
        // A kind of change that this module does not know yet.
        other => row!["other", format!("{other:?}"), happened, differences, Cell::Absent, Cell::Absent, Cell::Absent, Cell::Absent],
    }
}

/// `branch` or `tag`, name, id, time, message, counts.
fn ref_use_row(found: RefUse) -> Row {
    let Ref { kind, name } = found.reference;
    let LogEntry { id, time, summary, .. } = found.at;
    with_counts(row![kind.word(), name.to_string(), id.to_string(), time.micros(), summary], found.counts)
}

/// Key, URL, offset, length, and the branches and tags.
fn key_use_row(found: KeyUse) -> Row {
    let refs: Vec<String> = found.refs.iter().map(|r| format!("{}:{}", r.kind, r.name)).collect();
    row![found.key.as_str().to_owned(), found.url, found.offset, found.length, refs]
}

/// Files that are not in a list of checksums: URL, why.
type LeftOut = Vec<(String, &'static str)>;

/// Refs, versions, how many of each were asked, before what time there are other versions, whether any container can name such a file.
type PlaceUseRow = (Vec<Row>, Vec<Row>, u64, u64, Option<i64>, bool);

fn place_use_row(used: PlaceUse) -> PlaceUseRow {
    let version = |found: firnline::VersionUse| {
        let LogEntry { id, time, summary, .. } = found.at;
        with_counts(row![id.to_string(), time.micros(), summary], found.counts)
    };
    let refs = used.refs.into_iter().map(ref_use_row).collect();
    let versions = used.versions.into_iter().map(version).collect();
    (refs, versions, used.asked_refs, used.asked_versions, micros(used.since), used.is_in_a_container)
}

#[pymethods]
impl NativeRepository {
    /// The external files of a revision: one row for each.
    fn dependencies(&self, py: Python<'_>, revision: &str) -> PyResult<NativeRows> {
        let snapshot = self.origin.snapshot(py, revision)?;
        Ok(NativeRows::new(snapshot.dependencies().map_ok(dependency_row)))
    }

    /// The external files of a revision and of all before it; how many versions these are, and before what time there are others.
    fn dependency_history(&self, py: Python<'_>, revision: &str) -> PyResult<(NativeRows, u64, Option<i64>)> {
        let snapshot = self.origin.snapshot(py, revision)?;
        let (known, files) = wait(py, snapshot.dependency_history())?.or_raise(py)?;
        Ok((NativeRows::new(files.map_ok(ever_row)), known.versions, micros(known.since)))
    }

    /// The containers of a revision, with what depends on each.
    fn container_uses(&self, py: Python<'_>, revision: &str) -> PyResult<Vec<Row>> {
        let found = self.origin.call(py, |repository| async move { repository.read(revision).await?.container_uses().await })?;
        Ok(found.into_iter().map(|(container, counts)| with_counts(Row(container_cells(container)), counts)).collect())
    }

    /// The arrays of a revision, with what they depend on.
    fn dependencies_by_array(&self, py: Python<'_>, revision: &str) -> PyResult<Vec<Row>> {
        let found = self.origin.call(py, |repository| async move { repository.read(revision).await?.dependencies_by_array().await })?;
        Ok(found.into_iter().map(array_row).collect())
    }

    /// What differs between the dependencies of two revisions.
    fn diff_dependencies(&self, py: Python<'_>, old: &str, new: &str) -> PyResult<NativeRows> {
        let (old, new) =
            self.origin.call(py, |repository| async move { futures::try_join!(repository.read(old), repository.read(new)) })?;
        Ok(NativeRows::new(old.diff_dependencies(&new).map_ok(change_row)))
    }

    /// Which branches, tags and versions depend on the files at a URL.
    fn who_uses(&self, py: Python<'_>, url: &str, all_history: bool) -> PyResult<PlaceUseRow> {
        let used = self.origin.call(py, |repository| async move { repository.who_uses(url, all_history).await })?;
        Ok(place_use_row(used))
    }

    /// The keys that point into the files at a URL.
    fn keys_using(&self, py: Python<'_>, url: &str) -> PyResult<NativeRows> {
        let repository = self.origin.repository(py)?;
        let keys = wait(py, repository.keys_using(url))?.or_raise(py)?;
        Ok(NativeRows::new(keys.map_ok(key_use_row)))
    }

    /// Whether the files of a revision are still those that were pinned: URL, state, what is wrong, what would help, references, bytes.
    fn check_dependencies(&self, py: Python<'_>, revision: &str, sample: Option<(f64, u64)>, digests: bool) -> PyResult<NativeRows> {
        let snapshot = self.origin.snapshot(py, revision)?;
        let mut options = CheckOptions::default();
        options.sample = sample.map(|(percent, seed)| Sample { percent, seed });
        options.digests = digests;
        let checks = snapshot.check_dependencies(&options).or_raise(py)?;
        let row = |checked: firnline::CheckedDependency| {
            let (state, problem) = (checked.check.state().word(), checked.check.problem());
            let (problem, remedy) = (problem.map(ToString::to_string), problem.and_then(Error::remedy).map(hint));
            let record = &checked.dependency.record;
            row![checked.dependency.url, state, problem, remedy, record.refs, record.bytes]
        };
        Ok(NativeRows::new(checks.map_ok(row)))
    }

    /// A list of checksums for `sha256sum -c`, and the files that are not in it: URL, why.
    fn checksums<'py>(&self, py: Python<'py>, revision: &str, relative_to: Option<&str>) -> PyResult<(Bound<'py, PyBytes>, LeftOut)> {
        let (list, left_out) = self.origin.call(py, |repository| async move {
            let mut files = std::pin::pin!(repository.read(revision).await?.dependencies());
            let (mut list, mut left_out) = (Vec::new(), Vec::new());
            while let Some(file) = files.try_next().await? {
                match file.checksum_line(relative_to) {
                    Ok(line) => list.extend_from_slice(&line),
                    Err(why) => left_out.push((file.url, why.word())),
                }
            }
            Ok::<_, Error>((list, left_out))
        })?;
        Ok((PyBytes::new(py, &list), left_out))
    }
}
