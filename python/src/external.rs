//! What becomes of external files: locking, moving, copying them in, and the containers that name them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use firnline::{
    ChecksumList, Container, ContainerSuggestion, Error, FilesRenamed, HashAlgorithm, ImportSaves, ImportSteps, LockOptions, Prefix,
    RelocateOptions, Relocated, SnapshotId, VendorOptions, Vendored,
};
use futures::FutureExt as _;
use futures::future::ready;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::failure::OrRaise as _;
use crate::health::watched;
use crate::progress::Watch;
use crate::repository::NativeRepository;
use crate::rows::{container_dict, validator_row};
use crate::runtime::wait_watching;
use crate::session::NativeSession;
use crate::stream::{Cell, Row, row};

/// Name, template, defaults, options.
type ContainerArguments = (String, String, BTreeMap<String, String>, BTreeMap<String, String>);

fn container((name, template, defaults, options): ContainerArguments) -> Container {
    let mut container = Container::new(name, template);
    (container.defaults, container.options) = (defaults, options);
    container
}

pub(crate) fn container_cells(container: Container) -> Vec<Cell> {
    let pairs = |pairs: BTreeMap<String, String>| Cell::Pairs(pairs.into_iter().collect());
    row![container.name, container.template, pairs(container.defaults), pairs(container.options)].0
}

/// Reads a list of checksums; errors name the file.
async fn checksum_list(file: &Path, hash: HashAlgorithm) -> firnline::Result<ChecksumList> {
    let shown = file.display();
    let bytes = tokio::fs::read(file).await.map_err(|e| {
        let kind =
            if e.kind() == std::io::ErrorKind::NotFound { firnline::ErrorKind::NotFound } else { firnline::ErrorKind::of_system(&e) };
        Error::new(kind, format!("{shown} cannot be read: {e}")).caused_by(e)
    })?;
    let text = String::from_utf8(bytes).map_err(|_| Error::invalid(format!("{shown} is not UTF-8")))?;
    ChecksumList::parse(&text, hash).map_err(|e| e.context(shown))
}

/// Files that were locked (URL, digest), how many were before, and names of the list: unmatched, ambiguous, unusable.
type LockedRow = (Vec<Row>, u64, Vec<String>, Vec<String>, Vec<String>);

/// Files that moved (from, to, what differs, state before, state after), containers, references and leaves that are rewritten.
type RelocatedRow = (Vec<Row>, Vec<Row>, u64, u64);

fn relocated_row(moved: Relocated) -> RelocatedRow {
    let file = |file: firnline::RelocatedFile| {
        let differences = file.differences();
        let mut cells = row![file.from, file.to, differences].0;
        for validator in [file.before, file.after] {
            let (size, modified, etag, version, digest, pinned_at) = validator_row(validator);
            cells.extend(row![size, modified, etag, version, digest, pinned_at].0);
        }
        Row(cells)
    };
    let containers = moved.containers.into_iter().map(|container| Row(container_cells(container))).collect();
    (moved.files.into_iter().map(file).collect(), containers, moved.refs, moved.leaves)
}

fn suggestion_row(suggestion: ContainerSuggestion) -> Row {
    let mut cells = container_cells(suggestion.container);
    cells.extend(row![suggestion.is_new, suggestion.files, suggestion.refs, suggestion.bytes_saved].0);
    Row(cells)
}

/// Files, references, leaves, bytes saved.
type RenamedRow = (u64, u64, u64, i64);

#[pymethods]
impl NativeSession {
    /// Stages digests of files: all that the branch depends on, or those at some places; by reading them, or from a list.
    fn lock_dependencies(
        &self,
        py: Python<'_>,
        places: Vec<String>,
        from_: Option<PathBuf>,
        hash: &str,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<LockedRow> {
        let mut options = LockOptions::default();
        options.places = places;
        options.hash = hash.parse::<HashAlgorithm>().or_raise(py)?;
        let (locked, unusable) = self.stage_watching(py, progress, move |session| {
            let lock = async move {
                if let Some(file) = from_ {
                    options.list = Some(checksum_list(&file, options.hash).await?);
                }
                let unusable = options.list.as_ref().map(|list| list.unusable.clone()).unwrap_or_default();
                Ok((session.lock(options).await?, unusable))
            };
            lock.boxed()
        })?;
        let files = locked.files.into_iter().map(|file| row![file.url, HEXLOWER.encode(&file.digest)]).collect();
        Ok((files, locked.already, locked.unmatched, locked.ambiguous, unusable))
    }

    /// Stages that files lie elsewhere.
    #[expect(clippy::too_many_arguments, reason = "as Python passes them")]
    fn move_dependencies(
        &self,
        py: Python<'_>,
        old: String,
        new: String,
        digests: bool,
        unverified: bool,
        container_options: Option<BTreeMap<String, String>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<RelocatedRow> {
        let mut options = RelocateOptions::default();
        (options.digests, options.accept_unverified, options.container_options) = (digests, unverified, container_options);
        let moved = self.stage_watching(py, progress, move |session| async move { session.relocate(&old, &new, options).await }.boxed())?;
        Ok(relocated_row(moved))
    }

    /// The containers that a new reference may use.
    fn staged_containers(&self, py: Python<'_>) -> PyResult<Vec<Py<PyDict>>> {
        let containers = self.stage(py, |session| ready(Ok(session.containers())).boxed())?;
        containers.iter().map(|container| container_dict(py, container)).collect()
    }

    /// Stages a container of a new name.
    fn add_container(&self, py: Python<'_>, definition: ContainerArguments) -> PyResult<()> {
        self.stage(py, move |session| ready(session.add_container(container(definition))).boxed())
    }

    /// Stages another definition of a container.
    fn change_container(&self, py: Python<'_>, definition: ContainerArguments) -> PyResult<()> {
        self.stage(py, move |session| session.change_container(container(definition)).boxed())
    }

    /// Stages the removal of a container.
    fn remove_container(&self, py: Python<'_>, name: String) -> PyResult<()> {
        self.stage(py, move |session| async move { session.remove_container(&name).await }.boxed())
    }

    /// Stages containers, and for each file the name that a new reference would get.
    fn rename_files(&self, py: Python<'_>, containers: Vec<ContainerArguments>) -> PyResult<RenamedRow> {
        let containers: Vec<Container> = containers.into_iter().map(container).collect();
        let FilesRenamed { files, refs, leaves, bytes_saved, .. } =
            self.stage(py, move |session| async move { session.rename_files(&containers).await }.boxed())?;
        Ok((files, refs, leaves, bytes_saved))
    }
}

/// Where copies were saved: the branch, and its tip.
type SavesRow = (String, String);

#[pymethods]
impl NativeRepository {
    /// Containers that would make names shorter: name, template, defaults, options, whether it is new, files, references, bytes saved.
    fn suggest_containers(&self, py: Python<'_>, revision: &str) -> PyResult<Vec<Row>> {
        let found = self.origin.call(py, |repository| async move { repository.read(revision).await?.suggest_containers().await })?;
        Ok(found.into_iter().map(suggestion_row).collect())
    }

    /// Copies virtual values into the repository, and stages them: the session, keys, bytes, keys of an earlier run, bytes read, and where
    /// the copies were saved.
    #[expect(clippy::type_complexity, reason = "a row")]
    fn vendor(
        &self,
        py: Python<'_>,
        branch: &str,
        prefix: &str,
        container: Option<String>,
        save_bytes: Option<u64>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(NativeSession, (u64, u64, u64, u64), Option<SavesRow>)> {
        let mut options = VendorOptions::default().prefix(Prefix::new(prefix).or_raise(py)?);
        options.container = container;
        options.steps = save_bytes.map_or(options.steps, |bytes| ImportSteps::default().bytes(bytes));
        let watch = progress.map(Watch::new);
        let repository = watched(&self.origin.repository(py)?, watch.as_ref());
        let Vendored { session, summary, saves } = wait_watching(py, repository.vendor(branch, &options), watch.as_ref())?.or_raise(py)?;
        let counts = (summary.keys, summary.bytes, summary.reused, summary.bytes_read);
        let saves = saves.map(|saves| (saves.branch.to_string(), saves.tip.to_string()));
        Ok((NativeSession::writing(self.origin.clone(), session), counts, saves))
    }

    /// Deletes the branch on which copies were saved, unless something else has been saved there since.
    fn delete_saves(&self, py: Python<'_>, saves: SavesRow) -> PyResult<()> {
        let (branch, tip) = saves;
        let saves = ImportSaves { branch: branch.parse().or_raise(py)?, tip: tip.parse::<SnapshotId>().or_raise(py)? };
        self.origin.call(py, |repository| async move { repository.delete_saves(&saves).await })
    }
}
