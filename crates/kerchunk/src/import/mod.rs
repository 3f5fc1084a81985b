//! Reading reference sets, and staging what they refer to.
//!
//! A set is read on a thread that may block, in batches of bounded size, while the batch before is staged.

mod batch;
mod document;
mod generated;
mod json;
mod metered;
mod records;
mod sink;
mod stage;
mod store;
mod value;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use firnline::{Amount, Error, Prefix, Result, WhyUnpinned, WriteSession};
use tokio::sync::mpsc;

use crate::error::{file_error, shown};
use crate::location::ReferenceBase;
use sink::Sink;
pub(crate) use store::require_set_alone;

/// How a reference set is imported.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KerchunkImport {
    /// Below which prefix the keys are put. Default: as they are.
    pub prefix: Prefix,
    /// Stage references into files that do not exist, without a pin. Default: `false`, such a file is `NotFound`.
    pub allow_missing: bool,
    /// Write the documents of Zarr (`.zgroup`, `.zarray`, `.zattrs`, `.zmetadata`, `zarr.json`) without white space and in one spelling, so
    /// that the same references, as JSON and as Parquet, give the same entries. Default: `false`, they stay as the set spells them.
    /// A document that is no JSON, as those of Python are which hold a `NaN`, stays as it is.
    pub compact_metadata: bool,
    /// The directory in which relative paths begin. Default: `None`, that which holds the set.
    pub directory: Option<PathBuf>,
}

impl Default for KerchunkImport {
    fn default() -> Self {
        Self { prefix: Prefix::all(), allow_missing: false, compact_metadata: false, directory: None }
    }
}

impl KerchunkImport {
    /// Puts the keys below `prefix`.
    #[must_use]
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Takes references into files that do not exist.
    #[must_use]
    pub fn allow_missing(mut self) -> Self {
        self.allow_missing = true;
        self
    }

    /// Writes the documents of Zarr in one spelling.
    #[must_use]
    pub fn compact_metadata(mut self) -> Self {
        self.compact_metadata = true;
        self
    }

    /// Takes relative paths as relative to a directory, which must exist.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }
}

/// What an import staged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KerchunkSummary {
    /// References to byte ranges. A key that occurs twice in the set counts twice.
    pub references: u64,
    /// Values that the set itself holds, documents of Zarr among them.
    pub values: u64,
    /// Files that do not exist, of all that are staged in the session.
    pub missing: u64,
}

/// Stages everything that the reference set at `set` holds: a JSON file (version 0 or 1), or a directory of Parquet files with its
/// `.zmetadata`.
///
/// Each file is looked up once in a batch of references, where its place is allowed: a file that does not exist is `NotFound` unless
/// that is [allowed](KerchunkImport::allow_missing), a range past its end is `Invalid`, and both errors name the key. A reference to a
/// whole file (`[url]`) needs the size of the file. What is no reference set is `Invalid`, and so is a template that is not
/// understood, which is quoted. Of a key that occurs more than once the last counts, as in Python; what `gen` gives comes after
/// `refs`. A JSON file that is written to while it is read is `SourceChanged`; one that is replaced by another of its name is read as it
/// was.
///
/// Reports references and values as items to the repository's [`Progress`](firnline::Progress); how many there are is not known before.
///
/// Takes a few MiB for each batch, whatever the size of the set. Needs a Tokio runtime. After an error, or if the future is dropped, some
/// of the set is staged: drop the session, or delete what lies below the prefix.
pub async fn import_references(session: &WriteSession, set: &Path, options: &KerchunkImport) -> Result<KerchunkSummary> {
    let (sender, mut batches) = mpsc::channel(1);
    let (set, whole) = (set.to_path_buf(), options.clone());
    let reading = tokio::task::spawn_blocking(move || read(&set, &whole, sender));
    let mut summary = KerchunkSummary::default();
    while let Some(batch) = batches.recv().await {
        let (references, values) = stage::stage(session, batch, options).await?;
        if let Some(progress) = session.base().repository().progress() {
            progress.advance(Amount { items: references + values, bytes: 0 });
        }
        summary.references += references;
        summary.values += values;
    }
    reading.await.map_err(|e| Error::internal("the reading of a reference set did not end").caused_by(e))??;
    if options.allow_missing {
        summary.missing = session.unpinned()?.iter().filter(|file| file.why == WhyUnpinned::Missing).count() as u64;
    }
    Ok(summary)
}

/// Reads a reference set and sends what it holds.
fn read(set: &Path, options: &KerchunkImport, sender: mpsc::Sender<batch::Batch>) -> Result<()> {
    let about = std::fs::metadata(set).map_err(|e| file_error("read", set, e))?;
    let base = options.directory.as_ref().map_or_else(|| ReferenceBase::of(set), |directory| ReferenceBase::at(directory))?;
    let mut sink = Sink::new(base, options, sender);
    if about.is_dir() {
        store::read_store(set, &mut sink)?;
    } else if about.is_file() {
        json::read_json(set, &mut sink)?;
    } else {
        return Err(Error::invalid(format!("{} is neither a file nor a directory", shown(set))));
    }
    sink.flush()
}
