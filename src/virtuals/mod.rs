//! External files: how they are named, allowed, pinned, checked and read.
//!
//! A virtual entry points at bytes that the repository does not hold. Naming ([`Locator`]) turns a URL into a container and
//! arguments; [`Access`] says from where a reader takes bytes at all; a [`Validator`] is what was known of a file when it was
//! pinned; and [`Virtuals`] asks and reads, giving an error of its own kind for everything that can be wrong. It never answers with
//! bytes that are not the committed ones as far as the validators tell. See [`validator`] for what they do not tell: a change
//! that leaves size and date as they were is noticed only where a digest is locked.
//!
//! Every build reads `file:`; `http:` and `https:`, `s3:`, `gs:` and `az:` are read by builds with the features `http`, `aws`,
//! `gcp` and `azure`. URLs of all of them can be named and recorded by every build.

mod access;
mod container;
mod digest;
mod file;
mod locate;
#[cfg(feature = "remote")]
mod remote;
mod source;
mod template;
mod url;
mod validator;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::format::{Container, FileKey, VirtualFile};
use crate::id::HashAlgorithm;
use crate::time::Timestamp;

pub use access::{Access, Allow, Rebind};
pub use locate::Locator;
pub use validator::Validator;

use file::FileSource;
use source::{Place, Source};
use url::Scheme;
use validator::Expected;

/// The `file:` URL of an absolute path, cleaned of empty and `.` segments; relative paths, `..` and paths that are not UTF-8
/// are `Invalid`.
pub fn file_url(path: &Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| Error::invalid(format!("path {} is not UTF-8", path.display())))?;
    if !text.starts_with('/') {
        return Err(Error::invalid(format!("path {} is not absolute", url::shown(text))));
    }
    let segments: Vec<&str> = text.split('/').filter(|segment| !matches!(*segment, "" | ".")).collect();
    let url = format!("file:///{}", segments.join("/"));
    url::parse(&url).map(|_| url.clone())
}

/// What to find out when a file is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lookup {
    /// The present moment: becomes [`Validator::pinned_at`].
    pub(crate) now: Timestamp,
    /// When an importer read the file to find its references; a later change is `SourceChanged`.
    pub(crate) scanned_at: Option<Timestamp>,
    /// Lock a digest of this kind: reads the whole file.
    pub(crate) digest: Option<HashAlgorithm>,
}

impl Lookup {
    /// Only what the source tells for free.
    pub(crate) const fn at(now: Timestamp) -> Self {
        Self { now, scanned_at: None, digest: None }
    }
}

/// How a file stands to its record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileState {
    /// As recorded, in everything that the source tells.
    Unchanged,
    /// Another file by now; says what differs.
    Changed(String),
    /// It does not exist.
    Missing(String),
    /// Cut short, or not of its locked digest.
    Corrupt(String),
    /// Not allowed by this reader, so not asked.
    Denied(String),
    /// The source could not be asked.
    Unreachable(String),
    /// This build cannot ask or verify it.
    Unverifiable(String),
}

impl FileState {
    /// The word for it in output: `unchanged`, `changed`, `missing`, `corrupt`, `denied`, `unreachable`, `unverifiable`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed(_) => "changed",
            Self::Missing(_) => "missing",
            Self::Corrupt(_) => "corrupt",
            Self::Denied(_) => "denied",
            Self::Unreachable(_) => "unreachable",
            Self::Unverifiable(_) => "unverifiable",
        }
    }

    /// The message that names the file and what is wrong; empty when nothing is.
    pub fn message(&self) -> &str {
        match self {
            Self::Unchanged => "",
            Self::Changed(m) | Self::Missing(m) | Self::Corrupt(m) | Self::Denied(m) | Self::Unreachable(m) | Self::Unverifiable(m) => m,
        }
    }

    fn of(outcome: Result<()>) -> Result<Self> {
        let Err(error) = outcome else { return Ok(Self::Unchanged) };
        let message = error.to_string();
        Ok(match error.kind() {
            ErrorKind::SourceChanged => Self::Changed(message),
            ErrorKind::NotFound => Self::Missing(message),
            ErrorKind::Corrupt => Self::Corrupt(message),
            ErrorKind::Denied => Self::Denied(message),
            ErrorKind::Unavailable => Self::Unreachable(message),
            ErrorKind::Unsupported => Self::Unverifiable(message),
            _ => return Err(error),
        })
    }
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Asks and reads external files in the name of one reader. Cheap to clone; any number of calls may run at once.
#[derive(Debug, Clone)]
pub(crate) struct Virtuals {
    access: Arc<Access>,
    files: FileSource,
    #[cfg(feature = "remote")]
    remote: remote::RemoteSource,
}

impl Default for Virtuals {
    /// Allows nothing.
    fn default() -> Self {
        Self::new(Access::default())
    }
}

impl Virtuals {
    /// Reads what `access` allows.
    pub(crate) fn new(access: Access) -> Self {
        Self {
            files: FileSource::new(),
            #[cfg(feature = "remote")]
            remote: remote::RemoteSource::new(access.waits()),
            access: Arc::new(access),
        }
    }

    /// Asks what the source tells of a file, to pin it.
    ///
    /// `None` when it cannot be asked, because it is not allowed, this build does not speak its scheme, or the reader put its
    /// container elsewhere (what a copy says must not be recorded of the original): then [`Validator::staged_at`] is all
    /// there is. A file that does not exist is `NotFound`; one that was modified after [`Lookup::scanned_at`] is
    /// `SourceChanged`; a source that does not answer is `Unavailable`.
    pub(crate) async fn lookup(&self, containers: &[Container], file: &FileKey, lookup: Lookup) -> Result<Option<Validator>> {
        let (place, rebind) = self.place(containers, file, None)?;
        if rebind.is_some() {
            return Ok(None);
        }
        let source = match self.source(&place) {
            Ok(source) => source,
            Err(e) if matches!(e.kind(), ErrorKind::Denied | ErrorKind::Unsupported) => return Ok(None),
            Err(e) => return Err(e),
        };
        let stat = match source.lookup(&place, lookup.digest).await {
            Ok(Some(stat)) => stat,
            Ok(None) => return Err(Error::not_found(place.says("does not exist"))),
            Err(e) if e.kind() == ErrorKind::Denied => return Ok(None),
            Err(e) => return Err(e),
        };
        if let (Some(scanned_at), Some(modified)) = (lookup.scanned_at, stat.modified)
            && modified > scanned_at
        {
            let why = format!("changed after it was scanned: modified {modified}, scanned {scanned_at}");
            return Err(Error::source_changed(place.says(why)));
        }
        Ok(Some(Validator::seen(stat, lookup.now)))
    }

    /// Reads exactly `range` of a file for `key`, if the file is still the recorded one.
    ///
    /// `NotFound` absent · `Unavailable` unreachable, or no regular file · `SourceChanged` another file than recorded, or changing
    /// under the read · `Corrupt` shorter than recorded or than the range needs, or not of its locked digest · `Denied` not allowed ·
    /// `Unsupported` not readable or not verifiable by this build.
    pub(crate) async fn read(
        &self,
        containers: &[Container],
        file: &FileKey,
        record: &VirtualFile,
        range: Range<u64>,
        key: &str,
    ) -> Result<Bytes> {
        if range.start > range.end {
            return Err(Error::invalid(format!("{key}: range {}..{} of file {file} ends before it begins", range.start, range.end)));
        }
        let (place, rebind) = self.place(containers, file, Some(key))?;
        let source = self.source(&place)?;
        let expected = Expected::of(record, rebind).map_err(|e| unverifiable(&place, &e))?;
        source.read(&place, range, &expected).await
    }

    /// Whether a file is as recorded. A locked digest is verified too, which reads the whole file unless this process has done so
    /// before. Errors only when the record or its container cannot be understood.
    pub(crate) async fn check(&self, containers: &[Container], file: &FileKey, record: &VirtualFile) -> Result<FileState> {
        let (place, rebind) = self.place(containers, file, None)?;
        let outcome = async {
            let source = self.source(&place)?;
            let expected = Expected::of(record, rebind).map_err(|e| unverifiable(&place, &e))?;
            source.check(&place, &expected).await
        };
        FileState::of(outcome.await)
    }

    fn place(&self, containers: &[Container], file: &FileKey, key: Option<&str>) -> Result<(Place, Option<&Rebind>)> {
        let resolved = locate::resolve_for(&self.access, containers, file).map_err(|e| match key {
            Some(key) => e.context(key),
            None => e,
        })?;
        let place = Place {
            key: key.map(str::to_owned),
            container: file.container().to_owned(),
            url: resolved.url,
            prefix: resolved.prefix,
            options: resolved.options,
            access: Arc::clone(&self.access),
        };
        Ok((place, self.access.rebound(file.container())))
    }

    /// The source for a place that is not plainly forbidden. Where a `file:` leads is only known to its source.
    fn source(&self, place: &Place) -> Result<&dyn Source> {
        let scheme = url::parse(&place.url)?.scheme;
        if scheme == Scheme::File {
            return Ok(&self.files);
        }
        if !self.access.permits(&place.url) {
            return Err(place.denied(None));
        }
        match scheme {
            #[cfg(feature = "http")]
            Scheme::Http | Scheme::Https => Ok(&self.remote),
            #[cfg(feature = "aws")]
            Scheme::S3 => Ok(&self.remote),
            #[cfg(feature = "gcp")]
            Scheme::Gs => Ok(&self.remote),
            #[cfg(feature = "azure")]
            Scheme::Az => Ok(&self.remote),
            _ => Err(Error::unsupported(place.says(format_args!("has a scheme that this build cannot read: {scheme}")))),
        }
    }
}

/// Names the file in an error about its record.
fn unverifiable(place: &Place, error: &Error) -> Error {
    Error::new(error.kind(), place.says(error))
}
