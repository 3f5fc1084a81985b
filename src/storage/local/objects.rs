//! Immutable objects: read, written once, written again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use bytes::Bytes;

use super::temporary::Temporary;
use super::trouble::is_link;
use super::{Disk, lock};
use crate::error::{Error, Result};
use crate::storage::{Extent, check_extent};

/// How much of an existing object is compared at a time, in bytes.
const COMPARED: usize = 256 << 10;

/// What was found where an object is to be written.
enum ExistingFile {
    /// Nothing.
    Absent,
    /// The same bytes, which have been written over it again.
    Refreshed(File),
    /// Something else, or something that may not be written to.
    Other,
}

impl Disk {
    /// Reads an object or a part of it.
    pub(super) fn get(&self, name: &str, extent: Extent) -> Result<Option<Bytes>> {
        self.look()?;
        self.require_real_directories(name)?;
        let file = match open(&self.path(name), OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(e) => return self.absent(name, e).map(|()| None),
        };
        let meta = self.require_file(name, &file)?;
        let range = check_extent(name, meta.len(), extent)?;
        let mut bytes = zeros(range.end - range.start)
            .ok_or_else(|| Error::unsupported(format!("{name} has {} bytes, more than this machine's memory holds", meta.len())))?;
        match file.read_exact_at(&mut bytes, range.start) {
            Ok(()) => Ok(Some(bytes.into())),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Error::corrupt(format!("{name} became shorter than {} bytes while it was read", range.end)).caused_by(e))
            }
            Err(e) => Err(self.unread(name, e)),
        }
    }

    /// Writes an object; the next barrier makes it durable.
    pub(super) fn put(&self, name: &str, parts: &[Bytes]) -> Result<()> {
        let path = self.path(name);
        let directory = path.parent().expect("an object's path is longer than the root's");
        self.relieve()?;
        // A sync that fails while this writes may have been about this file, so it is written again.
        while !self.put_once(name, &path, directory, parts)? {}
        Ok(())
    }

    /// Writes an object; false when a barrier failed meanwhile.
    fn put_once(&self, name: &str, path: &Path, directory: &Path, parts: &[Bytes]) -> Result<bool> {
        let failures = lock(&self.unsynced).failures;
        let file = self.in_directory(name, directory, || self.write(path, directory, parts))?;
        Ok(lock(&self.unsynced).insert(path, file, self.options.sync_individually, failures))
    }

    /// Writes something into the directory of object `name`, which is made if need be.
    pub(super) fn in_directory<T>(&self, name: &str, directory: &Path, write: impl Fn() -> io::Result<T>) -> Result<T> {
        self.directory_for_object(name, directory)?;
        let mut written = write();
        if written.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            // A directory that this handle has seen was removed: make sure of all of them again.
            self.directories.forget();
            self.directory_for_object(name, directory)?;
            written = write();
        }
        written.map_err(|e| self.trouble(name, "be written", e))
    }

    fn write(&self, path: &Path, directory: &Path, parts: &[Bytes]) -> io::Result<File> {
        let doubtful = lock(&self.unsynced).doubtful.contains(path);
        let mut existing = if doubtful { ExistingFile::Other } else { refresh(path, parts)? };
        if matches!(existing, ExistingFile::Absent) {
            match Temporary::write(directory, parts)?.rename_to_new(path)? {
                Ok(file) => return Ok(file),
                Err(_another_was_faster) => existing = refresh(path, parts)?,
            }
        }
        match existing {
            ExistingFile::Refreshed(file) => Ok(file),
            ExistingFile::Absent | ExistingFile::Other => {
                let temporary = Temporary::write(directory, parts)?;
                // The existing file may be durable and in use, so it is replaced only by a durable one.
                temporary.sync()?;
                temporary.rename_over(path)
            }
        }
    }
}

/// So many zero bytes, if the machine has room for them.
fn zeros(length: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(length).ok()?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).ok()?;
    bytes.resize(length, 0);
    Some(bytes)
}

/// Opens a file. Does not follow a symbolic link, and does not wait should it be a pipe.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    use rustix::fs::OFlags;
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits()).unwrap_or(0);
    options.custom_flags(flags).open(path)
}

/// Writes the same bytes over an object, so that the next sync carries it to the disk even if an earlier one failed. Readers notice
/// nothing.
fn refresh(path: &Path, parts: &[Bytes]) -> io::Result<ExistingFile> {
    use io::ErrorKind::{NotFound, PermissionDenied};
    let file = match open(path, OpenOptions::new().read(true).write(true)) {
        Ok(file) => file,
        Err(e) if e.kind() == NotFound => return Ok(ExistingFile::Absent),
        // A file of another user can still be replaced with write permission for the directory. So can a link, which is not followed.
        Err(e) if e.kind() == PermissionDenied || is_link(&e) => return Ok(ExistingFile::Other),
        Err(e) => return Err(e),
    };
    let meta = file.metadata()?;
    let total: u64 = parts.iter().map(|part| part.len() as u64).sum();
    if !meta.is_file() || meta.len() != total || !holds(&file, parts)? {
        return Ok(ExistingFile::Other);
    }
    let mut offset = 0;
    for part in parts {
        file.write_all_at(part, offset)?;
        offset += part.len() as u64;
    }
    Ok(ExistingFile::Refreshed(file))
}

/// Whether a file begins with `parts`.
fn holds(file: &File, parts: &[Bytes]) -> io::Result<bool> {
    let mut buffer = vec![0; parts.iter().map(Bytes::len).max().unwrap_or(0).min(COMPARED)];
    let mut offset = 0;
    for piece in parts.iter().flat_map(|part| part.chunks(COMPARED)) {
        let Some(found) = buffer.get_mut(..piece.len()) else { return Ok(false) };
        match file.read_exact_at(found, offset) {
            Ok(()) if found == piece => offset += piece.len() as u64,
            Ok(()) => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}
