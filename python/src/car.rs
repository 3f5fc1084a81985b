//! CAR files, and versions as directories.

use std::path::{Path, PathBuf};

use firnline::{CheckoutOptions, Error, ErrorKind, ImportOptions, ImportTarget, Prefix, Result, Snapshot};
use pyo3::prelude::*;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt as _, BufReader, BufWriter};

use crate::failure::OrRaise as _;
use crate::health::watched;
use crate::progress::Watch;
use crate::repository::NativeRepository;
use crate::runtime::wait_watching;

/// How much is read or written at once, in bytes.
const BUFFER: usize = 1 << 20;

#[pymethods]
impl NativeRepository {
    /// Writes a revision as a CAR file, which must not exist: its root, blocks and bytes.
    fn export_car(&self, py: Python<'_>, revision: &str, path: PathBuf, progress: Option<Py<PyAny>>) -> PyResult<(String, u64, u64)> {
        let watch = progress.map(Watch::new);
        let repository = watched(&self.origin.repository(py)?, watch.as_ref());
        // Made here, so that a call that is interrupted knows what to remove.
        let file = std::fs::File::create_new(&path).map_err(|e| at(&path, "cannot be made", e)).or_raise(py)?;
        let export = async { export_to(&repository.read(revision).await?, file, &path).await };
        let exported = wait_watching(py, export, watch.as_ref());
        if !matches!(exported, Ok(Ok(_))) {
            // The error that led here is the one to report.
            let _ = std::fs::remove_file(&path);
        }
        let summary = exported?.or_raise(py)?;
        Ok((summary.root.to_string(), summary.blocks, summary.bytes))
    }

    /// Imports a CAR file: the version, its time, blocks, blocks left out, bytes, whether its past is unknown.
    fn import_car(
        &self,
        py: Python<'_>,
        path: PathBuf,
        branch: Option<&str>,
        tag: Option<&str>,
        max_bytes: Option<u64>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(String, u64, u64, u64, bool)> {
        let watch = progress.map(Watch::new);
        let repository = watched(&self.origin.repository(py)?, watch.as_ref());
        let target = match (branch, tag) {
            (Some(branch), None) => branch.parse().map(ImportTarget::Branch),
            (None, Some(tag)) => tag.parse().map(ImportTarget::Tag),
            _ => Err(Error::invalid("an import names either a branch or a tag")),
        };
        let target = target.or_raise(py)?;
        let import = async {
            let file = File::open(&path).await.map_err(|e| at(&path, "cannot be opened", e))?;
            let mut options = ImportOptions::default();
            options.max_bytes = max_bytes;
            let length = file.metadata().await.map_err(|e| at(&path, "cannot be read", e))?;
            options.file_len = length.is_file().then_some(length.len());
            repository.import_car_with(BufReader::with_capacity(BUFFER, file), target, options).await
        };
        let imported = wait_watching(py, import, watch.as_ref())?.or_raise(py)?;
        Ok((imported.id.to_string(), imported.blocks, imported.unlinked, imported.bytes, imported.is_shallow))
    }

    /// Writes what lies below a prefix of a revision into an absent or empty directory: files and bytes.
    fn checkout(
        &self,
        py: Python<'_>,
        revision: &str,
        directory: PathBuf,
        prefix: &str,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(u64, u64)> {
        let watch = progress.map(Watch::new);
        let repository = watched(&self.origin.repository(py)?, watch.as_ref());
        let checkout = async {
            let options = CheckoutOptions::default().prefix(Prefix::new(prefix)?);
            repository.read(revision).await?.checkout(directory, &options).await
        };
        let done = wait_watching(py, checkout, watch.as_ref())?.or_raise(py)?;
        Ok((done.files, done.bytes))
    }
}

async fn export_to(snapshot: &Snapshot, file: std::fs::File, path: &Path) -> Result<firnline::CarSummary> {
    let mut out = BufWriter::with_capacity(BUFFER, File::from_std(file));
    let summary = snapshot.export_car(&mut out).await.map_err(|e| e.context(path.display()))?;
    out.shutdown().await.map_err(|e| at(path, "cannot be written", e))?;
    out.get_ref().sync_all().await.map_err(|e| at(path, "cannot be written", e))?;
    Ok(summary)
}

fn at(path: &Path, what: &str, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
        _ => ErrorKind::of_system(&error),
    };
    Error::new(kind, format!("{} {what}: {error}", path.display())).caused_by(error)
}
