//! `file:` places, read on one descriptor between two `fstat`s.
//!
//! The path of a URL is percent-decoded. Where no such file exists, the path is taken as it is written, for a file whose
//! name really has a `%20`.
//!
//! A file that was never pinned is read if its change time shows that it was not touched since it was referred to: the change
//! time moves with every write, rename and change of attributes, and cannot be set back.
//!
//! A read succeeds if the file was the recorded one before the read, and is the same after it. It does not notice what the recorded
//! facts do not show, see [`validator`](super::validator). A locked digest is verified by one read of the whole file, and the verdict
//! is kept as long as the process lives and device, inode, size, date and change time stay the same.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use quick_cache::sync::Cache;

use super::access::Unreached;
use super::digest::{self, Digester, REMEMBERED};
use super::source::{ExternalPlace, ExternalSource};
use super::validator::{Difference, ExpectedFile, Stat};
use super::{file_url, url};
use crate::blocking::{blocking, brief};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Digest, HashAlgorithm};
use crate::time::Timestamp;

/// A whole file is hashed in pieces of this many bytes.
const PIECE: usize = 1 << 20;

/// Which state of which file a descriptor shows. The change time cannot be set back, so a verdict about bytes includes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// How far a change time may lie before the change: the step of the clock by which most kernels date changes.
const CLOCK_STEP: Duration = Duration::from_millis(4);

impl Identity {
    /// Whether the file was last changed, in content, name or attributes, at `moment` or before.
    fn is_untouched_since(&self, moment: Timestamp) -> bool {
        self.untouched_since().is_some_and(|since| since <= moment)
    }

    /// The moment after which the file was certainly not changed; `None` if it is not a date.
    fn untouched_since(&self) -> Option<Timestamp> {
        let (seconds, nanos) = self.changed;
        let micros = seconds.checked_mul(1_000_000)?.checked_add(nanos.checked_add(999)? / 1000)?;
        Some(Timestamp::from_micros(micros).plus(CLOCK_STEP))
    }
}

/// The digests of files that this process has read whole.
type FileDigests = Cache<(Identity, HashAlgorithm), Digest>;

/// What errors call the work on other threads.
const READING: &str = "reading an external file";

/// Reads files of this machine.
#[derive(Debug, Clone)]
pub(crate) struct FileSource {
    digests: Arc<FileDigests>,
}

impl FileSource {
    pub(crate) fn new() -> Self {
        Self { digests: Arc::new(Cache::new(REMEMBERED)) }
    }

    /// Opens a file and does `work` with it, which does not read much of it.
    async fn briefly<T: Send + 'static>(
        &self,
        place: &ExternalPlace,
        work: impl FnOnce(&OpenedFile<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        brief(READING, self.opening(place, work)).await
    }

    fn opening<T, W>(&self, place: &ExternalPlace, work: W) -> impl FnOnce() -> Result<T> + Send + use<T, W>
    where
        W: FnOnce(&OpenedFile<'_>) -> Result<T> + Send + 'static,
    {
        let (digests, place) = (Arc::clone(&self.digests), place.clone());
        move || {
            let file = open(&place)?;
            work(&OpenedFile { file, place: &place, digests: &digests })
        }
    }
}

#[async_trait]
impl ExternalSource for FileSource {
    async fn lookup(&self, place: &ExternalPlace, digest: Option<HashAlgorithm>) -> Result<Option<Stat>> {
        let look = self.opening(place, move |opened| opened.lookup(digest));
        // A digest takes reading the whole file.
        let found = if digest.is_some() { blocking(READING, look) } else { brief(READING, look) };
        match found.await {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    async fn check(&self, place: &ExternalPlace, expected: &ExpectedFile) -> Result<()> {
        let expected = expected.clone();
        let check = move |opened: &OpenedFile<'_>| {
            let (_, stat) = opened.stat()?;
            expected.compare(&stat).map_err(|difference| opened.place.differs(&difference))?;
            opened.read(0..0, &expected, || ()).map(drop)
        };
        self.briefly(place, check).await
    }

    async fn read(&self, place: &ExternalPlace, range: Range<u64>, expected: &ExpectedFile) -> Result<Bytes> {
        let expected = expected.clone();
        self.briefly(place, move |opened| opened.read(range, &expected, || ())).await
    }
}

/// Opens the file of a place if it is allowed, a regular file, and still where its links led.
pub(super) fn open(place: &ExternalPlace) -> Result<File> {
    let real = find(place)?;
    // Asked before opening: merely opening a device or a pipe can do something.
    regular(place, &real.symlink_metadata().map_err(|e| lost(place, e))?)?;
    let file = open_real(&real).map_err(|e| lost(place, e))?;
    regular(place, &file.metadata().map_err(|e| lost(place, e))?)?;
    Ok(file)
}

/// Where the file of a place really lies: by the first of its possible paths at which there is something.
fn find(place: &ExternalPlace) -> Result<PathBuf> {
    let mut failed = None;
    for named in url::paths(place.url.strip_prefix("file://").unwrap_or(&place.url)) {
        match place.access.reach(&named) {
            Ok(real) => return Ok(real),
            Err(Unreached::Denied(Some(real))) if real != named => {
                let directory = file_url(real.parent().unwrap_or(&real))?;
                let end = if directory.ends_with('/') { "" } else { "/" };
                return Err(place.denied(Some(&format!("{directory}{end}"))));
            }
            Err(Unreached::Denied(Some(_))) => return Err(place.denied(None)),
            // `NotFound` for another of the paths says more than `Denied`, and is kept.
            Err(Unreached::Denied(None)) => failed = failed.or_else(|| Some(place.denied(None))),
            Err(Unreached::Lost(e)) => {
                let error = lost(place, e);
                if error.kind() != ErrorKind::NotFound {
                    return Err(error);
                }
                failed = Some(error);
            }
        }
    }
    Err(failed.unwrap_or_else(|| Error::internal("a url has a path")))
}

fn regular(place: &ExternalPlace, meta: &std::fs::Metadata) -> Result<()> {
    if meta.is_file() {
        return Ok(());
    }
    Err(Error::unavailable(place.says(if meta.is_dir() { "is a directory" } else { "is not a regular file" })))
}

fn lost(place: &ExternalPlace, error: io::Error) -> Error {
    // A name that is too long for any file, and a file in place of a directory, mean that there is no such file.
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
            Error::not_found(place.says("does not exist")).caused_by(error)
        }
        io::ErrorKind::PermissionDenied => Error::denied(place.says("may not be read by this process")).caused_by(error),
        _ => Error::unavailable(place.says("cannot be read")).caused_by(error),
    }
}

/// Opens a path that has no links in it; if one was put there since, the kernel refuses.
pub(super) fn open_real(path: &Path) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    #[cfg(target_os = "linux")]
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), rustix::fs::ResolveFlags::NO_SYMLINKS) {
        // Old kernels and some sandboxes have no openat2; then only the last segment is protected.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {}
        other => return Ok(File::from(other?)),
    }
    Ok(File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
}

/// An open file, for as long as one answer takes.
pub(super) struct OpenedFile<'a> {
    file: File,
    place: &'a ExternalPlace,
    digests: &'a FileDigests,
}

#[cfg(test)]
impl<'a> OpenedFile<'a> {
    pub(super) fn new(source: &'a FileSource, place: &'a ExternalPlace) -> Result<Self> {
        Ok(Self { file: open(place)?, place, digests: &source.digests })
    }
}

impl OpenedFile<'_> {
    fn unreadable(&self, error: io::Error) -> Error {
        Error::unavailable(self.place.says("cannot be read")).caused_by(error)
    }

    fn stat(&self) -> Result<(Identity, Stat)> {
        let meta = self.file.metadata().map_err(|e| self.unreadable(e))?;
        let modified = meta.modified().map_err(|e| self.unreadable(e))?;
        let identity = Identity {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        };
        let (modified, untouched_since) = (Some(Timestamp::from_system(modified)), identity.untouched_since());
        Ok((identity, Stat { size: Some(meta.len()), modified, untouched_since, ..Stat::default() }))
    }

    /// Fails if the file is not in the state that was seen `before`. The change time counts only where bytes were judged
    /// by a digest: it also moves when a link is made or a mode is set.
    fn unmoved(&self, before: &Identity, strictly: bool) -> Result<()> {
        let (after, _) = self.stat()?;
        let same = Identity { changed: before.changed, ..after } == *before && (!strictly || after.changed == before.changed);
        if same { Ok(()) } else { Err(Error::source_changed(self.place.says("changed while it was read"))) }
    }

    fn lookup(&self, digest: Option<HashAlgorithm>) -> Result<Stat> {
        let (identity, mut stat) = self.stat()?;
        if let Some(hash) = digest {
            stat.digest = Some(self.digest(identity, hash)?);
            self.unmoved(&identity, true)?;
        }
        Ok(stat)
    }

    /// Reads `range`, running `meanwhile` after the bytes were read and before the file is looked at again.
    pub(super) fn read(&self, range: Range<u64>, expected: &ExpectedFile, meanwhile: impl FnOnce()) -> Result<Bytes> {
        let (identity, stat) = self.stat()?;
        let is_untouched = match expected.compare(&stat) {
            Ok(()) => false,
            // Its change time, which cannot be set back, proves the one thing that is recorded.
            Err(Difference::Unproven(_)) if expected.untouched_since().is_some_and(|pinned| identity.is_untouched_since(pinned)) => true,
            Err(difference) => return Err(self.place.differs(&difference)),
        };
        if range.end > identity.size {
            return Err(self.place.too_short(&range, Some(identity.size)));
        }
        if let Some(locked) = &expected.digest {
            self.verify(identity, locked)?;
        }
        let bytes = self.bytes(&range)?;
        meanwhile();
        self.unmoved(&identity, is_untouched || expected.digest.is_some())?;
        match bytes {
            Some(bytes) => Ok(bytes),
            None => Err(self.place.too_short(&range, Some(self.stat()?.0.size))),
        }
    }

    /// The bytes of a range inside the file; `None` if the file has become shorter meanwhile.
    fn bytes(&self, range: &Range<u64>) -> Result<Option<Bytes>> {
        let length = range.end.saturating_sub(range.start);
        let mut buffer = Vec::new();
        let room = usize::try_from(length).ok().filter(|&room| buffer.try_reserve_exact(room).is_ok());
        let Some(room) = room else {
            return Err(Error::unavailable(self.place.says(format_args!("has a range of {length} bytes, too long for memory"))));
        };
        buffer.resize(room, 0);
        match self.file.read_exact_at(&mut buffer, range.start) {
            Ok(()) => Ok(Some(buffer.into())),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(self.unreadable(e)),
        }
    }

    fn verify(&self, identity: Identity, locked: &Digest) -> Result<()> {
        let found = self.digest(identity, locked.hash())?;
        digest::require(self.place, &found, locked)
    }

    /// The digest of the whole file in this state: read once, however many callers ask.
    fn digest(&self, identity: Identity, hash: HashAlgorithm) -> Result<Digest> {
        self.digests.get_or_insert_with(&(identity, hash), || {
            let digest = self.hash_whole(identity.size, hash)?;
            // The digest of a file that changed while it was read must not be remembered.
            self.unmoved(&identity, true)?;
            Ok(digest)
        })
    }

    fn hash_whole(&self, size: u64, hash: HashAlgorithm) -> Result<Digest> {
        let mut piece = vec![0; PIECE];
        let mut digester = Digester::new(hash);
        let mut at = 0;
        // A file that grows while it is read would never end; that it grew is noticed afterwards.
        while at < size {
            let length = match self.file.read_at(&mut piece, at) {
                Ok(0) => break,
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.unreadable(e)),
            };
            digester.update(piece.get(..length).unwrap_or_default());
            at += length as u64;
        }
        Ok(digester.finish())
    }
}
