//! What earlier imports found out about files and objects, so that the next need not read them again.
//!
//! A file of the cache is one line with the version and a checksum of the rest, and the rows as JSON. A cache file that cannot be read
//! back is ignored: the imported files are read, and the cache file is replaced.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::io::Write as _;
use std::mem;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::source::ImportSource;
use super::{blocking, io_error};
use crate::error::Result;
use crate::format::Entry;
use crate::id::{ChunkId, parse_cid};
use crate::storage::layout::unique;
use crate::time::Timestamp;

/// How a file of this version begins.
const HEAD: &str = "firn import cache 2";
/// How long a file must have been left alone when it is read, in microseconds: longer than the steps of any clock by which
/// file systems date, so that a later write shows in its dates.
const SETTLED: i128 = 2_000_000;

/// The metadata of a file. Writing to the file, or replacing it, changes at least one of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// When the inode changed last, which no program can set.
    changed: (i64, i64),
    device: u64,
    inode: u64,
}

impl Facts {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// Whether both are of files on one file system.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.device == other.device
    }

    /// Whether a file that was read from `moment` on will show by its dates when it is written to after that.
    pub(super) fn is_settled(&self, moment: Timestamp) -> bool {
        let is_old = |(seconds, nanos): (i64, i64)| {
            let micros = i128::from(seconds) * 1_000_000 + i128::from(nanos) / 1000;
            micros + SETTLED < i128::from(moment.micros())
        };
        is_old(self.modified) && is_old(self.changed)
    }
}

/// By what a change of something imported shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SourceFacts {
    /// Of a file on local disk.
    File(Facts),
    /// Of an object: its length, and its strong `ETag`.
    Object { size: u64, etag: String },
}

impl SourceFacts {
    /// The length in bytes.
    const fn size(&self) -> u64 {
        match self {
            Self::File(facts) => facts.size,
            Self::Object { size, .. } => *size,
        }
    }
}

/// What was in a file or an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CacheRow {
    pub(super) facts: SourceFacts,
    /// The id of its bytes as a chunk, also where they are stored inline.
    pub(super) id: ChunkId,
}

impl CacheRow {
    /// The entry that staging the file would make, if `entry` is of a size and kind that it can be; of an inline one the bytes
    /// are still to be compared.
    pub(super) fn may_be(&self, entry: &Entry, inline: usize) -> bool {
        let of_source = self.facts.size();
        let is_inline = of_source <= inline as u64;
        match entry {
            Entry::Inline(bytes) => is_inline && bytes.len() as u64 == of_source,
            Entry::Chunk { id, size } => !is_inline && *id == self.id && *size == of_source,
            Entry::Virtual { .. } => false,
        }
    }
}

/// By path below the imported place.
pub(super) type CacheRows = BTreeMap<String, CacheRow>;

/// Where imports remember what they read, so that later ones skip files that have not changed since. Clones are one cache.
///
/// A directory on local disk with one file for each place that was imported, whatever the repository; it can be deleted at
/// any time. While an import runs this takes a few hundred bytes of memory for each file. What an import learned is written by
/// [`keep`](Self::keep), which is to be called once its changes are committed.
#[derive(Debug, Clone)]
pub struct ImportCache {
    directory: Arc<Path>,
    learned: Arc<Mutex<BTreeMap<PathBuf, CacheRows>>>,
}

impl ImportCache {
    /// A cache in `directory`, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into().into(), learned: Arc::default() }
    }

    /// Writes what imports learned since the last call. `Unavailable` when that fails: the files of earlier calls stay, and later imports
    /// read again what was not written.
    ///
    /// Dropping the future does not stop the writing. Each file is replaced as a whole.
    pub async fn keep(&self) -> Result<()> {
        let learned = mem::take(&mut *self.learned.lock().unwrap_or_else(PoisonError::into_inner));
        let directory = Arc::clone(&self.directory);
        blocking(move || learned.iter().try_for_each(|(place, rows)| write(&directory, place, rows))).await
    }

    /// What is known of what lies in `imported`; empty if the cache cannot be read.
    pub(super) async fn rows(&self, imported: ImportSource) -> Result<CacheRows> {
        let directory = Arc::clone(&self.directory);
        blocking(move || Ok(place(&directory, &imported).and_then(|place| read(&place)).unwrap_or_default())).await
    }

    /// Remembers what was found in `imported` until it is kept.
    pub(super) async fn learn(&self, imported: ImportSource, rows: CacheRows) -> Result<()> {
        let directory = Arc::clone(&self.directory);
        if let Some(place) = blocking(move || Ok(place(&directory, &imported))).await? {
            self.learned.lock().unwrap_or_else(PoisonError::into_inner).insert(place, rows);
        }
        Ok(())
    }
}

/// The file for an imported place.
fn place(directory: &Path, imported: &ImportSource) -> Option<PathBuf> {
    Some(directory.join(blake3::hash(&imported.identity()?).to_hex().as_str()))
}

fn read(place: &Path) -> Option<CacheRows> {
    let bytes = fs::read(place).ok()?;
    let line = bytes.iter().position(|byte| *byte == b'\n')?;
    let (head, body) = (bytes.get(..line)?, bytes.get(line + 1..)?);
    if head != self::head(body).as_bytes() {
        return None;
    }
    let rows: Vec<(String, SourceFacts, String)> = serde_json::from_slice(body).ok()?;
    let row = |(name, facts, id): (String, SourceFacts, String)| {
        let id = ChunkId::from_cid(&parse_cid(&id).ok()?).ok()?;
        Some((name, CacheRow { facts, id }))
    };
    rows.into_iter().map(row).collect()
}

fn head(body: &[u8]) -> String {
    format!("{HEAD} {:016x}", xxh3_64(body))
}

/// Replaces a file as a whole. Nothing is synced: a file that a power failure cut short fails its checksum and is ignored.
fn write(directory: &Path, place: &Path, rows: &CacheRows) -> Result<()> {
    let failed = |e| io_error(place, "cannot be written", e);
    // Only the owner may read the names and sizes of the files.
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let rows: Vec<_> = rows.iter().map(|(name, row)| (name, &row.facts, row.id.to_string())).collect();
    let body = serde_json::to_vec(&rows).map_err(|e| failed(e.into()))?;
    let temporary = place.with_extension(unique());
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(format!("{}\n", head(&body)).as_bytes())?;
        file.write_all(&body)?;
        fs::rename(&temporary, place)
    })();
    written.map_err(|e| {
        // If it cannot be removed, it stays as garbage that is never read.
        let _ignored = fs::remove_file(&temporary);
        failed(e)
    })
}
