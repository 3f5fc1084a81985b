//! The bytes of one file for a parser that runs on a thread that may block.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use firnline::{Error, ExternalFile, Result, block_on};
use hdf5_reader::storage::{BlockCacheStorage, DynStorage, RangeRequestStorage};
use tokio::runtime::Handle;

/// The metadata of a file lies scattered in it. Files on a network are therefore read in blocks of this many bytes,
const REMOTE_BLOCK: usize = 1 << 20;
/// and local ones in blocks of so many.
const LOCAL_BLOCK: usize = 1 << 16;
/// How many bytes of blocks are kept of one file.
const KEPT: usize = 16 << 20;

/// The bytes of one state of one file.
pub(crate) struct FileBytes {
    url: String,
    len: u64,
    storage: DynStorage,
    /// The first error of a read. Parsers only pass its text on, or go on without what they did not get.
    failed: Arc<Mutex<Option<Error>>>,
}

impl FileBytes {
    /// Blocks are read when they are first asked for, and kept as long as there is room. `runtime` must be driven by another thread than
    /// the one that reads.
    pub(crate) fn new(file: Arc<ExternalFile>, runtime: Handle) -> Self {
        let block = if file.url().starts_with("file:") { LOCAL_BLOCK } else { REMOTE_BLOCK };
        let (url, len) = (file.url().to_owned(), file.size());
        Self::of(url, len, block, move |range| block_on(&runtime, file.read(range)).map(|bytes| bytes.to_vec()))
    }

    /// A file of `len` bytes that is read with `read`, in blocks of so many bytes.
    pub(crate) fn of(url: String, len: u64, block: usize, read: impl Fn(Range<u64>) -> Result<Vec<u8>> + Send + Sync + 'static) -> Self {
        let failed: Arc<Mutex<Option<Error>>> = Arc::default();
        let told = Arc::clone(&failed);
        let ranges = RangeRequestStorage::new(len, move |offset, len| {
            read(offset..offset.saturating_add(len as u64)).map_err(|e| {
                let text = e.to_string();
                told.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
                hdf5_reader::error::Error::Other(text)
            })
        });
        let storage: DynStorage = Arc::new(BlockCacheStorage::new(Arc::new(ranges), block, KEPT / block));
        Self { url, len, storage, failed }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn storage(&self) -> &DynStorage {
        &self.storage
    }

    /// The first error of a read, if one failed.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reads a range through the blocks; past the end of the file it is `Corrupt`.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let len = usize::try_from(range.end.saturating_sub(range.start)).ok().filter(|_| range.end <= self.len());
        let Some(len) = len else {
            return Err(Error::corrupt(format!("bytes {}..{} lie past its end of {} bytes", range.start, range.end, self.len())));
        };
        let read = self.storage.read_range(range.start, len);
        read.map(|bytes| bytes.to_vec()).map_err(|e| self.failure().unwrap_or_else(|| Error::unavailable(e.to_string())))
    }
}
