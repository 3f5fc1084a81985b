//! Reference sets of kerchunk.

use std::num::NonZeroU32;
use std::path::PathBuf;

use firnline::{Error, Existing, Prefix};
use firnline_kerchunk::{ExportOptions, ExportSummary, KerchunkImport, V3Metadata, export_json, export_parquet, import_references};
use futures::FutureExt as _;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::failure::OrRaise as _;
use crate::repository::NativeRepository;
use crate::session::NativeSession;

/// What Python says about an export; the keys of a dictionary.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct ExportArguments {
    prefix: String,
    inline_limit: Option<u64>,
    record_size: Option<u32>,
    keep_v3: bool,
}

impl ExportArguments {
    fn to_options(&self) -> firnline::Result<ExportOptions> {
        let mut options = ExportOptions::default().prefix(Prefix::new(&self.prefix)?);
        options.inline_limit = self.inline_limit.unwrap_or(options.inline_limit);
        options.v3_metadata = if self.keep_v3 { V3Metadata::Keep } else { V3Metadata::Convert };
        if let Some(size) = self.record_size {
            let size = NonZeroU32::new(size).ok_or_else(|| Error::invalid("record_size is 0; a file holds at least one reference"))?;
            options = options.record_size(size);
        }
        Ok(options)
    }
}

/// References, values, bytes of values, stored chunks, notes.
type ExportRow = (u64, u64, u64, u64, Vec<String>);

fn export_row(summary: ExportSummary) -> ExportRow {
    (summary.references, summary.values, summary.value_bytes, summary.stored_chunks, summary.notes)
}

#[pymethods]
impl NativeSession {
    /// Stages everything that a reference set holds: references, values, files that do not exist. Relative paths begin in `directory`, or
    /// in
    /// that of the set.
    #[expect(clippy::too_many_arguments, reason = "as Python passes them")]
    fn import_kerchunk(
        &self,
        py: Python<'_>,
        set: PathBuf,
        prefix: &str,
        allow_missing: bool,
        compact_metadata: bool,
        directory: Option<PathBuf>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<(u64, u64, u64)> {
        let mut options = KerchunkImport::default().prefix(Prefix::new(prefix).or_raise(py)?);
        (options.allow_missing, options.compact_metadata, options.directory) = (allow_missing, compact_metadata, directory);
        let done =
            self.stage_watching(py, progress, move |session| async move { import_references(session, &set, &options).await }.boxed())?;
        Ok((done.references, done.values, done.missing))
    }
}

#[pymethods]
impl NativeRepository {
    /// Gives a revision as a reference set in JSON.
    fn kerchunk_json<'py>(
        &self,
        py: Python<'py>,
        revision: &str,
        arguments: ExportArguments,
    ) -> PyResult<(Bound<'py, PyBytes>, ExportRow)> {
        let options = arguments.to_options().or_raise(py)?;
        let (written, json) = self.origin.call(py, |repository| async move {
            let mut json = Vec::new();
            let written = export_json(&repository.read(revision).await?, &options, &mut json).await?;
            Ok::<_, Error>((written, json))
        })?;
        Ok((PyBytes::new(py, &json), export_row(written)))
    }

    /// Writes a revision as a reference set in JSON to a file that exists.
    fn export_kerchunk_json(&self, py: Python<'_>, revision: &str, file: PathBuf, arguments: ExportArguments) -> PyResult<ExportRow> {
        let options = arguments.to_options().or_raise(py)?;
        let written = self.origin.call(py, |repository| async move {
            let trouble = |e: std::io::Error| {
                Error::new(firnline::ErrorKind::of_system(&e), format!("{} cannot be written: {e}", file.display())).caused_by(e)
            };
            let mut out = tokio::fs::File::options().write(true).open(&file).await.map_err(trouble)?;
            let written = export_json(&repository.read(revision).await?, &options, &mut out).await?;
            out.sync_all().await.map_err(trouble)?;
            Ok::<_, Error>(written)
        })?;
        Ok(export_row(written))
    }

    /// Writes a revision as a reference set of Parquet files into a directory.
    fn export_kerchunk_parquet(
        &self,
        py: Python<'_>,
        revision: &str,
        directory: PathBuf,
        replace: bool,
        arguments: ExportArguments,
    ) -> PyResult<ExportRow> {
        let options = arguments.to_options().or_raise(py)?;
        let existing = if replace { Existing::Replace } else { Existing::Refuse };
        let written = self.origin.call(py, |repository| async move {
            export_parquet(&repository.read(revision).await?, &options, &directory, existing).await
        })?;
        Ok(export_row(written))
    }
}
