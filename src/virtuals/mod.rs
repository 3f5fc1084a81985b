//! External files: how they are named, allowed, pinned, checked and read.
//!
//! A virtual entry points at bytes that the repository does not hold. Naming ([`Locator`]) turns a URL into a container and arguments;
//! [`Access`] says from where a reader takes bytes at all; a [`Validator`] is what was known of a file when it was pinned; and
//! [`Virtuals`] looks up and reads files, with a distinct kind of error for everything that can be wrong. It returns bytes only if the
//! validators show no change. See [`validator`] for changes that they do not show: a change that keeps size and date is noticed only
//! where a digest is locked.
//!
//! Every build reads `file:`; `http:` and `https:`, `s3:`, `gs:` and `az:` are read by builds with the features `http`, `aws`,
//! `gcp` and `azure`. URLs of all of them can be named and recorded by every build.

mod access;
mod allow;
mod configuration;
mod container;
mod digest;
mod external;
mod file;
#[cfg(feature = "remote")]
mod grants;
mod locate;
mod rebind;
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
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Remedy, Result};
use crate::format::{Container, FileKey, VirtualFile};
use crate::id::HashAlgorithm;
use crate::percent;
use crate::storage::CloudOptions;
use crate::text::printable_line;
use crate::time::Timestamp;

pub use access::Access;
pub(crate) use access::RangeJoining;
pub use allow::Allow;
pub use configuration::{configured_remotes, remote_place};
pub use external::ExternalFile;
pub(crate) use locate::FileUrls;
pub use locate::{Located, Locator};
pub use rebind::Rebind;
pub(crate) use url::{is_at_or_below, paths as url_paths, shown as shown_url};
pub use validator::Validator;
pub(crate) use validator::{hex, locked_hash, multihash};

use file::FileSource;
use source::{ExternalPlace, ExternalSource};
use url::UrlScheme;
use validator::ExpectedFile;

/// The `file:` URL of an absolute path, percent-encoded as other tools write it and without empty and `.` segments; relative
/// paths and `..` are `Invalid`.
pub fn file_url(path: &Path) -> Result<String> {
    let shown = || printable_line(&path.display().to_string()).into_owned();
    if !path.is_absolute() {
        return Err(Error::invalid(format!("path {} is not absolute", shown())));
    }
    let segments: Vec<&[u8]> =
        path.as_os_str().as_bytes().split(|b| *b == b'/').filter(|segment| !matches!(*segment, b"" | b".")).collect();
    if segments.contains(&&b".."[..]) {
        return Err(Error::invalid(format!("path {} has the segment \"..\"; write the path without it", shown())));
    }
    Ok(format!("file:///{}", percent::encoded_path(&segments.join(&b'/'))))
}

/// The path that a `file:` URL means, percent-decoded: the inverse of [`file_url`]. `Invalid` for any other URL, and for one that cannot
/// be recorded.
///
/// Reading a virtual value tries the path as it is written, too, where no file of the decoded name exists. This function does not look.
pub fn file_path(url: &str) -> Result<PathBuf> {
    let parts = url::parse(url)?;
    if parts.scheme != UrlScheme::File {
        return Err(Error::invalid(format!("url {} is no file: url", url::shown(url))));
    }
    url::paths(parts.path).next().ok_or_else(|| Error::internal("a file url has no path"))
}

#[cfg(test)]
impl Looked {
    /// What was told, if the source was asked.
    pub(crate) fn told(self) -> Option<Validator> {
        match self {
            Self::Told { validator, .. } => Some(validator),
            Self::Unasked(_) => None,
        }
    }
}

/// What to find out when a file is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VirtualLookup {
    /// The present moment: becomes [`Validator::pinned_at`].
    pub(crate) now: Timestamp,
    /// When an importer read the file to find its references; a later change is `SourceChanged`.
    pub(crate) scanned_at: Option<Timestamp>,
    /// Lock a digest of this kind: reads the whole file.
    pub(crate) digest: Option<HashAlgorithm>,
}

impl VirtualLookup {
    /// Only what the source tells for free.
    pub(crate) const fn at(now: Timestamp) -> Self {
        Self { now, scanned_at: None, digest: None }
    }
}

/// Whether a file is the recorded one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileState {
    /// It agrees with the record, and both tell enough to recognise it.
    Unchanged,
    /// The file at the place is not the recorded one.
    Changed,
    /// It does not exist.
    Missing,
    /// It is cut short, or does not have its locked digest.
    Corrupt,
    /// The reader has not allowed its place, or its server denies it.
    Denied,
    /// The source does not answer.
    Unreachable,
    /// Nothing is recorded of it that would show a change, its source tells too little, this build cannot read it, or its source cannot be
    /// asked with the settings and credentials that the reader or its container gives.
    Unverifiable,
}

impl FileState {
    /// The word for it in output: `ok`, `changed`, `missing`, `corrupt`, `forbidden`, `unreachable`, `unverifiable`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unchanged => "ok",
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Corrupt => "corrupt",
            Self::Denied => "forbidden",
            Self::Unreachable => "unreachable",
            Self::Unverifiable => "unverifiable",
        }
    }

    fn of(kind: ErrorKind) -> Option<Self> {
        Some(match kind {
            ErrorKind::SourceChanged => Self::Changed,
            ErrorKind::NotFound => Self::Missing,
            ErrorKind::Corrupt => Self::Corrupt,
            ErrorKind::Denied => Self::Denied,
            ErrorKind::Unavailable => Self::Unreachable,
            ErrorKind::Unsupported => Self::Unverifiable,
            _ => return None,
        })
    }
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How thoroughly a file is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckDepth {
    /// What the source tells is compared with what is recorded; no byte is read.
    Facts,
    /// A locked digest is verified besides.
    Digest,
}

/// The answer to whether a file is the recorded one.
#[derive(Debug)]
pub struct FileCheck {
    state: FileState,
    problem: Option<Error>,
}

impl FileCheck {
    /// The state of the file.
    pub const fn state(&self) -> FileState {
        self.state
    }

    /// What differs, or why the file could not be verified; `None` when it is [`Unchanged`](FileState::Unchanged).
    pub fn problem(&self) -> Option<&Error> {
        self.problem.as_ref()
    }

    fn of(outcome: Result<()>) -> Result<Self> {
        let Err(error) = outcome else { return Ok(Self { state: FileState::Unchanged, problem: None }) };
        match FileState::of(error.kind()) {
            Some(state) => Ok(Self { state, problem: Some(error) }),
            None => Err(error),
        }
    }
}

/// The answer to a [`lookup`](Virtuals::lookup).
#[derive(Debug)]
pub(crate) enum Looked {
    /// What the source tells now.
    Told {
        /// How this state of the file will be recognised.
        validator: Validator,
        /// The source proves that nobody touched the file after this moment.
        untouched_since: Option<Timestamp>,
    },
    /// The source was not asked, or denied it: says why.
    Unasked(Error),
}

/// Looks up and reads external files for one reader. Cheap to clone; any number of calls may run at once.
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
        Self::beside(Access::default(), CloudOptions::default())
    }
}

impl Virtuals {
    /// Reads what `access` allows.
    #[cfg(test)]
    pub(crate) fn new(access: Access) -> Self {
        Self::beside(access, CloudOptions::default())
    }

    /// Reads what `access` allows, for a repository that is itself reached as `repository` says.
    pub(crate) fn beside(access: Access, repository: CloudOptions) -> Self {
        #[cfg(not(feature = "remote"))]
        drop(repository);
        Self {
            files: FileSource::new(),
            #[cfg(feature = "remote")]
            remote: remote::RemoteSource::new(&access, repository),
            access: Arc::new(access),
        }
    }

    /// Which ranges of one file are read by one request.
    pub(crate) fn joining(&self) -> RangeJoining {
        self.access.joining()
    }

    /// Asks what the source tells of a file, to pin it.
    ///
    /// [`Unasked`](Looked::Unasked) when it cannot be asked, because it is not allowed, this build does not speak its scheme,
    /// or the reader put its container elsewhere (what a copy says must not be recorded of the original): then
    /// [`Validator::staged_at`] is all there is. A file that does not exist is `NotFound`; one that was modified after
    /// [`VirtualLookup::scanned_at`] is `SourceChanged`; a source that does not answer is `Unavailable`.
    pub(crate) async fn lookup(&self, containers: &[Container], file: &FileKey, lookup: VirtualLookup) -> Result<Looked> {
        let (place, rebind) = self.place(containers, file, None)?;
        if rebind.is_some() {
            return Ok(Looked::Unasked(Error::unsupported(place.says("is read from another place here, whose dates are not its own"))));
        }
        let source = match self.source(&place) {
            Ok(source) => source,
            Err(e) if matches!(e.kind(), ErrorKind::Denied | ErrorKind::Unsupported) => return Ok(Looked::Unasked(e)),
            Err(e) => return Err(e),
        };
        let stat = match source.lookup(&place, lookup.digest).await {
            Ok(Some(stat)) => stat,
            Ok(None) => return Err(Error::not_found(place.says("does not exist"))),
            Err(e) if e.kind() == ErrorKind::Denied => return Ok(Looked::Unasked(e)),
            Err(e) => return Err(e),
        };
        if let (Some(scanned_at), Some(modified)) = (lookup.scanned_at, stat.modified)
            && modified > scanned_at
        {
            let why = format!("changed after it was scanned: modified {modified}, scanned {scanned_at}");
            return Err(Error::source_changed(place.says(why)));
        }
        let untouched_since = stat.untouched_since;
        Ok(Looked::Told { validator: Validator::seen(stat, lookup.now), untouched_since })
    }

    /// Whether a [`lookup`](Self::lookup) of a file would not ask, because its URL is not allowed. Where a local file really lies is
    /// known to its source only.
    pub(crate) fn is_refused(&self, urls: &mut FileUrls<'_>, file: &FileKey) -> Result<bool> {
        if self.access.rebound(file.container()).is_some() {
            return Ok(false);
        }
        let url = urls.url(file)?;
        Ok(!url.starts_with("file:") && !self.access.permits(&url))
    }

    /// The error of a read of a file whose URL is not allowed; `None` of one that would be asked.
    pub(crate) fn refusal(&self, containers: &[Container], file: &FileKey) -> Result<Option<Error>> {
        let (place, _) = self.place(containers, file, None)?;
        Ok(self.source(&place).err().filter(|e| e.kind() == ErrorKind::Denied))
    }

    /// Reads exactly `range` of a file for `key`, if the file is still the recorded one.
    ///
    /// `NotFound` absent · `Unavailable` unreachable, or no regular file · `SourceChanged` another file than recorded, or changing
    /// under the read · `Corrupt` shorter than recorded or than the range needs, or not of its locked digest · `Denied` not allowed ·
    /// `Unsupported` not readable by this build, or not verifiable: of a file that is not pinned, unless the reader accepts that.
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
        let expected = ExpectedFile::of(record, rebind).map_err(|e| unverifiable(&place, rebind, &e))?;
        let expected = expected.accepting_unpinned(self.access.accepts_unpinned(&place.url));
        source.read(&place, range, &expected).await
    }

    /// Whether a file is as recorded. By its digest, a locked one is verified too, which reads the whole file unless this process has
    /// done so before. A file that is not pinned is never `Unchanged`, whatever the reader accepts. Errors only when the record or its
    /// container cannot be understood: what is wrong with the settings of one place must not hide the state of all other files.
    pub(crate) async fn check(
        &self,
        containers: &[Container],
        file: &FileKey,
        record: &VirtualFile,
        depth: CheckDepth,
    ) -> Result<FileCheck> {
        let (place, rebind) = self.place(containers, file, None)?;
        let outcome = async {
            let source = self.source(&place)?;
            let expected = match depth {
                CheckDepth::Digest => ExpectedFile::of(record, rebind),
                CheckDepth::Facts => ExpectedFile::by_facts(record, rebind),
            };
            let expected = expected.map_err(|e| unverifiable(&place, rebind, &e))?;
            Ok(source.check(&place, &expected).await)
        };
        match outcome.await {
            Ok(Err(error)) if error.kind() == ErrorKind::Invalid => Ok(FileCheck { state: FileState::Unverifiable, problem: Some(error) }),
            Ok(checked) => FileCheck::of(checked),
            Err(error) => FileCheck::of(Err(error)),
        }
    }

    fn place(&self, containers: &[Container], file: &FileKey, key: Option<&str>) -> Result<(ExternalPlace, Option<&Rebind>)> {
        let resolved = locate::resolve_for(&self.access, containers, file).map_err(|e| match key {
            Some(key) => e.context(key),
            None => e,
        })?;
        let place = ExternalPlace {
            key: key.map(str::to_owned),
            container: file.container().to_owned(),
            url: resolved.url,
            prefix: resolved.prefix,
            options: resolved.options,
            access: Arc::clone(&self.access),
        };
        Ok((place, self.access.rebound(file.container())))
    }

    /// The source for a place, unless its URL is not allowed. Where a `file:` URL leads is checked by its source.
    fn source(&self, place: &ExternalPlace) -> Result<&dyn ExternalSource> {
        let scheme = url::parse(&place.url)?.scheme;
        if scheme == UrlScheme::File {
            return Ok(&self.files);
        }
        if !self.access.permits(&place.url) {
            return Err(place.denied(None));
        }
        match scheme {
            #[cfg(feature = "http")]
            UrlScheme::Http | UrlScheme::Https => Ok(&self.remote),
            #[cfg(feature = "aws")]
            UrlScheme::S3 => Ok(&self.remote),
            #[cfg(feature = "gcp")]
            UrlScheme::Gs => Ok(&self.remote),
            #[cfg(feature = "azure")]
            UrlScheme::Az => Ok(&self.remote),
            _ => Err(Error::unsupported(place.says(format_args!("has a scheme that this build cannot read: {scheme}")))),
        }
    }
}

/// Names the file in an error about its record, and says how the reader can accept what nothing proves.
fn unverifiable(place: &ExternalPlace, rebind: Option<&Rebind>, error: &Error) -> Error {
    let accepting = rebind.filter(|rebind| !rebind.accept_unverified).map(|rebind| Rebind { accept_unverified: true, ..rebind.clone() });
    let remedy = accepting.map(|rebind| Remedy::Rebind(format!("{}={rebind}", printable_line(&place.container))));
    Error::new(error.kind(), place.says(error)).remedied_by(remedy)
}
