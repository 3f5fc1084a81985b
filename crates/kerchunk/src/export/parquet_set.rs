//! Reference sets as directories of Parquet files.
//!
//! `.zmetadata` holds all documents, and `NAME/refs.N.parq` the references of the chunks of an array, counted row by row:
//! row r of file N is chunk N · `record_size` + r.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firnline::{Error, ErrorKind, Existing, Result, Snapshot};
use serde::de::IgnoredAny;

use super::node::{ChunkAt, ExportRole, ExportedArray};
use super::options::{ExportOptions, ExportSummary, V3Metadata};
use super::place::ByteRange;
use super::record::{RecordFormat, RecordWriter};
use super::staging::{METADATA, StagedDirectory};
use super::walk::{ExportEntry, ExportValue, ExportWalk};
use crate::error::file_error;
use crate::masked::masked;
use crate::zarr_v2::{text, zarray_grid};

/// fsspec walks all records of an array to find out of what protocol its references are, and fails where one is missing. Arrays with at
/// most so many records get them all, empty ones too.
const WHOLE: u64 = 1_000;

/// How many bytes of values and of URLs of one record are gathered, before they are written as a group of rows.
const MOST_BYTES: usize = 64 << 20;

/// Writes what a snapshot holds as a kerchunk reference set of Parquet files, as fsspec and xarray open it.
///
/// Like [`export_json`](super::export_json), but such a set has less room. Metadata has to be JSON of Zarr v2. All other keys have to be
/// chunks on the grid of an array that does not lie at the root and whose chunks have names with `.` between the indices. Everything
/// else is `Unsupported`, with the key and the reason. An empty range at the beginning of a file becomes an empty value. The
/// consolidated metadata of the root is left out, because the set has its own file of that name.
///
/// `directory` must be absent or empty, or a reference set and nothing else if `existing` says that it is replaced; `Invalid` otherwise,
/// naming what else is there. It appears when it is complete: nothing is left after an error and when the future is dropped. A killed
/// process leaves a directory with the hidden name `.NAME.firn-…`, in which `old` is the set that was being replaced. Nothing is synced.
/// Takes memory for
/// the references of one record and for 64 MiB of its values and URLs. Needs a Tokio runtime.
pub async fn export_parquet(snapshot: &Snapshot, options: &ExportOptions, directory: &Path, existing: Existing) -> Result<ExportSummary> {
    export_by(snapshot, options, directory, existing, MOST_BYTES).await
}

/// As [`export_parquet`]; at most `most_bytes` of values and URLs, and one more value, are held in memory.
pub(super) async fn export_by(
    snapshot: &Snapshot,
    options: &ExportOptions,
    directory: &Path,
    existing: Existing,
    most_bytes: usize,
) -> Result<ExportSummary> {
    if options.v3_metadata == V3Metadata::Keep {
        return Err(Error::invalid("a set of Parquet files holds Zarr v2 metadata only; keep that of Zarr v3 in JSON"));
    }
    let mut walk = ExportWalk::new(snapshot, options).await?;
    let directory = directory.to_owned();
    let staged = blocking(move || StagedDirectory::create(&directory, existing)).await?;
    let mut set = ParquetSet::new(staged.path(), u64::from(options.record_size.get()), most_bytes)?;
    while let Some(ExportEntry { key, value, role }) = walk.next().await? {
        let added = match role {
            ExportRole::Chunk(array, at) => set.chunk(&array, at, value).await,
            ExportRole::Metadata => set.document(&key, value),
            ExportRole::Other => Err(unsupported("it is neither metadata of Zarr v2 nor a chunk of an array")),
        };
        added.map_err(|e| e.context(&key))?;
    }
    let mut notes = set.finish().await?;
    blocking(move || staged.finish()).await?;
    let mut summary = walk.finish();
    summary.notes.append(&mut notes);
    Ok(summary)
}

/// A set that is being written.
struct ParquetSet {
    root: PathBuf,
    format: RecordFormat,
    record_size: u64,
    most_bytes: usize,
    /// The text of each.
    documents: Vec<(String, String)>,
    /// The names of arrays that have records.
    begun: HashSet<String>,
    open: Option<OpenArray>,
    notes: Vec<String>,
}

/// The array whose chunks are being written.
struct OpenArray {
    array: Arc<ExportedArray>,
    total: u64,
    /// The record that is being filled, and its rows that are not in its file yet.
    record: u64,
    rows: Vec<(usize, ExportValue)>,
    /// The length of the values among these rows together, and of the URLs, of which neighbours that are equal count once.
    bytes: usize,
    /// The URL of the reference before.
    place: Option<Arc<str>>,
    /// The file of the record, if it was begun.
    file: Option<RecordWriter>,
    /// How many records have been written or passed over.
    done: u64,
}

impl ParquetSet {
    fn new(root: &Path, record_size: u64, most_bytes: usize) -> Result<Self> {
        Ok(Self {
            root: root.to_owned(),
            format: RecordFormat::new()?,
            record_size,
            most_bytes,
            documents: Vec::new(),
            begun: HashSet::new(),
            open: None,
            notes: Vec::new(),
        })
    }

    /// Adds a document, which is JSON.
    fn document(&mut self, key: &str, value: ExportValue) -> Result<()> {
        let ExportValue::Bytes(bytes) = value else {
            return Err(unsupported("it is metadata in an external file"));
        };
        if key == METADATA {
            self.notes.push("the consolidated metadata of the root is left out".to_owned());
            return Ok(());
        }
        // Python writes `NaN` into documents, and reads it again.
        serde_json::from_slice::<IgnoredAny>(&masked(&bytes)).map_err(|e| unsupported("it is no JSON").caused_by(e))?;
        let document = std::str::from_utf8(&bytes).map_err(|e| unsupported("it is not UTF-8").caused_by(e))?;
        self.documents.push((key.to_owned(), document.trim_ascii().to_owned()));
        Ok(())
    }

    /// Adds a chunk, which comes after those with smaller numbers.
    async fn chunk(&mut self, array: &Arc<ExportedArray>, at: ChunkAt, value: ExportValue) -> Result<()> {
        let ChunkAt::Number(number) = at else {
            return Err(unsupported(format!("it lies outside of the grid of its array, which has {} chunks", array.grid.shown())));
        };
        if !self.open.as_ref().is_some_and(|open| Arc::ptr_eq(&open.array, array)) {
            self.close().await?;
            self.open(array).await?;
        }
        let (record, row) = (number / self.record_size, number % self.record_size);
        let row = usize::try_from(row).map_err(|_| Error::internal("a record does not fit into memory"))?;
        if self.open.as_ref().is_some_and(|open| open.record != record) {
            self.flush().await?;
        }
        let open = self.open.as_mut().ok_or_else(|| Error::internal("no array is open"))?;
        open.record = record;
        open.bytes += match &value {
            ExportValue::Bytes(bytes) => bytes.len(),
            ExportValue::Range(ByteRange { place, .. }) if open.place.as_ref() == Some(place) => 0,
            ExportValue::Range(ByteRange { place, .. }) => open.place.insert(Arc::clone(place)).len(),
        };
        open.rows.push((row, value));
        if open.bytes > self.most_bytes { self.spill(row + 1).await } else { Ok(()) }
    }

    /// Writes the rows that were gathered into the file of their record, which goes on with the row `end`.
    async fn spill(&mut self, end: usize) -> Result<()> {
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        let (rows, file) = (std::mem::take(&mut open.rows), open.file.take());
        (open.bytes, open.place) = (0, None);
        let (format, path) = (self.format.clone(), self.root.join(record_file(&open.array.name, open.record)));
        let file = blocking(move || {
            let mut file = file.map_or_else(|| format.create(path), Ok)?;
            file.add(end, &rows)?;
            Ok(file)
        });
        open.file = Some(file.await?);
        Ok(())
    }

    async fn open(&mut self, array: &Arc<ExportedArray>) -> Result<()> {
        let ExportedArray { name, grid, separator } = &**array;
        if name.is_empty() {
            return Err(unsupported("it belongs to an array at the root"));
        }
        if *separator != '.' && grid.rank() > 1 {
            return Err(unsupported(format!("its array separates indices by {separator:?}")));
        }
        if name.split('/').any(|segment| segment.starts_with(".z")) {
            return Err(unsupported(format!("the array {name:?} has a name that is taken for metadata")));
        }
        let total = grid.total().ok_or_else(|| unsupported("its array has 2^64 chunks or more"))?;
        self.begin(name).await?;
        self.open =
            Some(OpenArray { array: Arc::clone(array), total, record: 0, rows: Vec::new(), bytes: 0, place: None, file: None, done: 0 });
        Ok(())
    }

    async fn begin(&mut self, name: &str) -> Result<()> {
        self.begun.insert(name.to_owned());
        let directory = self.root.join(name);
        blocking(move || std::fs::create_dir_all(&directory).map_err(|e| file_error("make", &directory, e))).await
    }

    /// Writes the record that is being filled, and empty ones before it.
    async fn flush(&mut self) -> Result<()> {
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        let (name, total, record, from) = (open.array.name.clone(), open.total, open.record, open.done);
        let (rows, file) = (std::mem::take(&mut open.rows), open.file.take());
        (open.done, open.bytes, open.place) = (record + 1, 0, None);
        self.write_empty(&name, total, from..record).await?;
        self.write(&name, total, record, file, rows).await
    }

    /// Writes everything of the array that is open.
    async fn close(&mut self) -> Result<()> {
        self.flush().await?;
        let Some(OpenArray { array, total, done, .. }) = self.open.take() else { return Ok(()) };
        self.write_empty(&array.name, total, done..total.div_ceil(self.record_size)).await
    }

    async fn write_empty(&self, name: &str, total: u64, records: std::ops::Range<u64>) -> Result<()> {
        if total.div_ceil(self.record_size) > WHOLE {
            return Ok(());
        }
        for record in records {
            self.write(name, total, record, None, Vec::new()).await?;
        }
        Ok(())
    }

    /// Ends the file of a record, of which `file` is what was written before.
    async fn write(&self, name: &str, total: u64, record: u64, file: Option<RecordWriter>, rows: Vec<(usize, ExportValue)>) -> Result<()> {
        let count = self.record_size.min(total - record * self.record_size);
        let count = usize::try_from(count).map_err(|_| Error::internal("a record does not fit into memory"))?;
        let (format, path) = (self.format.clone(), self.root.join(record_file(name, record)));
        blocking(move || file.map_or_else(|| format.create(path), Ok)?.finish(count, &rows)).await
    }

    /// Writes what is left; what a reader has to know.
    async fn finish(mut self) -> Result<Vec<String>> {
        self.close().await?;
        for (name, total) in self.without_chunks() {
            self.begin(&name).await?;
            self.write_empty(&name, total, 0..total.div_ceil(self.record_size)).await?;
        }
        let is_nested = self.documents.iter().any(|(key, _)| key.ends_with("/.zgroup"));
        if is_nested {
            self.notes.push("there are groups below the root: fsspec opens the set only if it is given remote_protocol or fs".to_owned());
        }
        let file = self.metadata_file()?;
        let path = self.root.join(METADATA);
        blocking(move || std::fs::write(&path, file).map_err(|e| file_error("write", &path, e))).await?;
        Ok(self.notes)
    }

    /// `.zmetadata`, in which documents are spelt as in the snapshot.
    fn metadata_file(&self) -> Result<String> {
        let mut file = r#"{"metadata":{"#.to_owned();
        for (at, (key, document)) in self.documents.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            file.extend([separator, &text(key)?, ":", document]);
        }
        file.extend([r#"},"record_size":"#, &self.record_size.to_string(), "}"]);
        Ok(file)
    }

    /// The arrays of which no chunk exists, and how many chunks each could have.
    fn without_chunks(&self) -> Vec<(String, u64)> {
        let arrays = self.documents.iter().filter_map(|(key, document)| {
            let name = key.strip_suffix("/.zarray").filter(|name| !self.begun.contains(*name))?;
            let (grid, _) = zarray_grid(document.as_bytes()).ok()?;
            Some((name.to_owned(), grid.total().filter(|total| *total > 0)?))
        });
        arrays.collect()
    }
}

/// The path of a record below the root.
fn record_file(name: &str, record: u64) -> PathBuf {
    Path::new(name).join(format!("refs.{record}.parq"))
}

fn unsupported(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{}, which a set of Parquet files cannot hold; export JSON", why.into()))
}

/// Runs work with files on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("writing a reference set did not end").caused_by(e))?
}
