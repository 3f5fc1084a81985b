//! One state of one external file, for importers that find byte ranges in it.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::url::shown;
use super::{Located, Looked, Validator, VirtualLookup, Virtuals};
use crate::error::{Error, Result};
use crate::format::{Container, VirtualFile};
use crate::time::Timestamp;

/// An external file in the state in which it was when it was opened: for importers that parse a file and then refer to parts of it.
///
/// Every read is a conditional read of that state, so all bytes that an importer sees, and the references that it stages with
/// [`validator`](Self::validator), are about one state of the file. A file that changes meanwhile is `SourceChanged`.
///
/// Made by [`WriteSession::external_file`](crate::WriteSession::external_file). Reads change nothing and can be cancelled at any
/// moment.
pub struct ExternalFile {
    url: String,
    located: Located,
    containers: Vec<Container>,
    size: u64,
    record: VirtualFile,
    virtuals: Virtuals,
    reads: AtomicU64,
}

impl fmt::Debug for ExternalFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalFile").field("url", &shown(&self.url)).field("size", &self.size).finish_non_exhaustive()
    }
}

impl ExternalFile {
    /// Looks the file at `url` up; `located` is its name, and `containers` holds the container of that name.
    pub(crate) async fn open(virtuals: Virtuals, containers: Vec<Container>, located: Located, url: &str, now: Timestamp) -> Result<Self> {
        let validator = match virtuals.lookup(&containers, &located.file, VirtualLookup::at(now)).await? {
            Looked::Told { validator, .. } => validator,
            Looked::Unasked(why) => return Err(why),
        };
        let size = validator
            .size
            .ok_or_else(|| Error::unsupported(format!("{} cannot be opened: its source does not tell how long it is", shown(url))))?;
        let record = validator.record(0, 0);
        Ok(Self { url: url.to_owned(), located, containers, size, record, virtuals, reads: AtomicU64::new(0) })
    }

    /// The URL with which it was opened.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Length of the whole file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How the state that was opened is recognised. Stage references with it
    /// ([`VirtualOptions::validator`](crate::VirtualOptions::validator), [`VirtualRefs::validators`](crate::VirtualRefs::validators)),
    /// so that they are pinned to what was parsed.
    pub fn validator(&self) -> Validator {
        Validator::of(&self.record)
    }

    /// How many reads were asked for so far; of a remote file each is at least one request.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Reads exactly the bytes `range` of the state that was opened.
    ///
    /// `SourceChanged` if the file is not in that state any more, `Corrupt` if it is shorter than the range needs, `NotFound` if it is
    /// gone, `Unavailable` if its source does not answer, `Unsupported` if its source tells too little to notice a change and the
    /// reader does not accept that ([`Allow`](crate::Allow), word `unpinned`).
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let name = self.url.rsplit('/').next().unwrap_or(&self.url);
        self.virtuals.read(&self.containers, &self.located.file, &self.record, range, name).await
    }
}
