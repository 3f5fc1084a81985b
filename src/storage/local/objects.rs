//! Immutable objects: read, written once, written again.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

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

/// A part of an object that is about to be read.
pub(super) struct FilePart {
    file: File,
    range: Range<u64>,
}

impl FilePart {
    /// How many bytes it has.
    pub(super) const fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Memory for it, if the machine has so much.
    pub(super) fn room(&self, name: &str) -> Result<Vec<u8>> {
        let mut room = Vec::new();
        let reserved = usize::try_from(self.len()).is_ok_and(|len| room.try_reserve_exact(len).is_ok());
        if reserved {
            return Ok(room);
        }
        Err(Error::unsupported(format!("{} bytes of {name} are more than this machine's memory holds", self.len())))
    }
}

impl Disk {
    /// Reads an object or a part of it.
    pub(super) fn get(&self, name: &str, extent: Extent) -> Result<Option<Bytes>> {
        let Some(part) = self.find(name, extent)? else { return Ok(None) };
        let room = part.room(name)?;
        self.read_part(name, &part, room).map(Some)
    }

    /// Opens an object for reading a part of it, which lies inside it.
    pub(super) fn find(&self, name: &str, extent: Extent) -> Result<Option<FilePart>> {
        self.look()?;
        self.require_real_directories(name)?;
        let file = match open(&self.path(name), OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(e) => return self.absent(name, e).map(|()| None),
        };
        let meta = self.require_file(name, &file)?;
        let range = check_extent(name, meta.len(), extent)?;
        Ok(Some(FilePart { file, range }))
    }

    /// Reads a part of an object into `room`, which was made for it and is empty.
    pub(super) fn read_part(&self, name: &str, part: &FilePart, mut room: Vec<u8>) -> Result<Bytes> {
        match fill(&mut room, part) {
            Ok(()) => Ok(room.into()),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Error::corrupt(format!("{name} became shorter than {} bytes while it was read", part.range.end)).caused_by(e))
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

/// Reads a part of a file into the capacity of `room`, which is not written to before.
fn fill(room: &mut Vec<u8>, part: &FilePart) -> io::Result<()> {
    let wanted = usize::try_from(part.len()).unwrap_or(usize::MAX);
    while room.len() < wanted {
        let offset = part.range.start + room.len() as u64;
        match rustix::io::pread(&part.file, spare_capacity(room), offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    // An allocator may have given more than was asked for, and the file may go on.
    room.truncate(wanted);
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::storage::{Local, LocalOptions};

    #[test]
    fn a_part_is_read_into_the_memory_that_was_made_for_it() {
        let place = tempfile::tempdir().unwrap();
        let disk = Local::open(place.path(), LocalOptions::default()).unwrap().disk;
        std::fs::write(place.path().join("file"), b"0123456789").unwrap();
        let part = |range: Range<u64>| disk.find("file", Extent::Range(range)).unwrap().unwrap();
        for range in [0..10, 0..0, 10..10, 3..7, 9..10] {
            let wanted = &b"0123456789"[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            let part = part(range);
            assert_eq!(disk.read_part("file", &part, part.room("file").unwrap()).unwrap(), wanted);
            // More memory than is needed gives no more of the file.
            assert_eq!(disk.read_part("file", &part, Vec::with_capacity(100)).unwrap(), wanted);
        }
        let part = part(3..10);
        File::options().write(true).open(place.path().join("file")).unwrap().set_len(9).unwrap();
        let failed = disk.read_part("file", &part, part.room("file").unwrap()).unwrap_err();
        assert_eq!((failed.kind(), failed.to_string().contains("became shorter than 10 bytes")), (ErrorKind::Corrupt, true));
    }
}
