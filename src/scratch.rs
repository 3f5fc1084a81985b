//! Scratch space on local disk: files that no name leads to, for what does not fit into memory.

pub(crate) mod partitions;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::blocking::drop_elsewhere;
use crate::error::{Error, ErrorKind, Result};

/// Makes a file without a name in `directory`, so that it goes when the process goes. `Unavailable` names the directory.
///
/// For bytes that have a digest of their own; all others go to a [`Scratch`].
#[expect(clippy::disallowed_methods, reason = "the name of a scratch file is gone at once and decides nothing")]
pub(crate) fn file(directory: &Path) -> Result<File> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|e| Error::internal("the operating system gives no random bytes").caused_by(e))?;
    let path = directory.join(format!("firn-scratch-{:016x}", u64::from_le_bytes(random)));
    let failed = |e| failed(directory, e);
    let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
    std::fs::remove_file(&path).map_err(failed)?;
    Ok(file)
}

/// What went wrong in `directory`, and what to do about it.
pub(crate) fn failed(directory: &Path, e: std::io::Error) -> Error {
    let place = directory.display();
    Error::new(
        ErrorKind::of_system(&e),
        format!("scratch space in {place} failed; make room there, or set TMPDIR to a directory with room"),
    )
    .caused_by(e)
}

/// A file without a name. Closing it deletes what was written to it, which takes long where that is much, so that is done on
/// a thread that may block.
#[derive(Debug)]
struct Unnamed(Option<File>);

impl Unnamed {
    fn file(&self) -> std::io::Result<&File> {
        self.0.as_ref().ok_or_else(|| std::io::Error::other("it is closed"))
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        drop_elsewhere(self.0.take());
    }
}

/// A scratch file that only grows. What was written can be read as long as a [`ScratchPlace`] of it is held.
#[derive(Debug)]
pub(crate) struct Scratch {
    file: Arc<Unnamed>,
    directory: Arc<Path>,
    len: u64,
}

impl Scratch {
    /// Makes one in `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        Ok(Self { file: Arc::new(Unnamed(Some(file(directory)?))), directory: PathBuf::from(directory).into(), len: 0 })
    }

    /// The one in `slot`, made in `directory` if there is none yet.
    pub(crate) fn or_new<'s>(slot: &'s mut Option<Self>, directory: &Path) -> Result<&'s mut Self> {
        match slot {
            Some(scratch) => Ok(scratch),
            none => Ok(none.insert(Self::new(directory)?)),
        }
    }

    /// Writes `bytes`. After an error the file is as it was.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<ScratchPlace> {
        self.file.file().and_then(|file| file.write_all_at(bytes, self.len)).map_err(|e| failed(&self.directory, e))?;
        let (file, directory) = (Arc::clone(&self.file), Arc::clone(&self.directory));
        let place = ScratchPlace { file, directory, at: self.len, len: bytes.len(), checksum: xxh3_64(bytes) };
        self.len += bytes.len() as u64;
        Ok(place)
    }
}

/// Where bytes lie in a scratch file.
#[derive(Debug, Clone)]
pub(crate) struct ScratchPlace {
    file: Arc<Unnamed>,
    directory: Arc<Path>,
    at: u64,
    len: usize,
    checksum: u64,
}

impl ScratchPlace {
    /// Reads the bytes; `Unavailable` when they are not the ones that were written.
    pub(crate) fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.len];
        self.file.file().and_then(|file| file.read_exact_at(&mut bytes, self.at)).map_err(|e| failed(&self.directory, e))?;
        if xxh3_64(&bytes) == self.checksum {
            return Ok(bytes);
        }
        Err(failed(&self.directory, std::io::Error::other("it does not hold what was written to it")))
    }
}

#[cfg(test)]
impl ScratchPlace {
    /// The same place on a disk that has changed what is there.
    pub(crate) fn damaged(&self) -> Self {
        Self { checksum: !self.checksum, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_for_as_long_as_anybody_holds_its_place() {
        let place = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::new(place.path()).unwrap();
        let places: Vec<_> = [b"one".as_slice(), b"", b"three"].map(|bytes| scratch.put(bytes).unwrap()).into();
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "no name leads to it");
        drop(scratch);
        assert_eq!(places.iter().map(|p| p.read().unwrap()).collect::<Vec<_>>(), [b"one".as_slice(), b"", b"three"]);
        assert_eq!(places[0].damaged().read().unwrap_err().kind(), crate::ErrorKind::Unavailable);
    }

    #[test]
    fn a_directory_without_room_is_named() {
        let place = tempfile::tempdir().unwrap();
        let absent = place.path().join("absent");
        let error = Scratch::new(&absent).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Unavailable);
        assert!(error.to_string().contains(absent.to_str().unwrap()) && error.to_string().contains("TMPDIR"), "{error}");
    }
}
