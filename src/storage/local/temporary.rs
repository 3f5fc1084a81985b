//! Files on their way to their name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::storage::layout::unique;

/// How the name of every temporary begins. `~` occurs in the name of no object and no register.
const MARK: &str = ".~";

/// Whether a file or directory is a temporary, which is no object.
pub(super) fn is_temporary(file_name: &str) -> bool {
    file_name.starts_with(MARK)
}

/// A file under a name that no reader looks for. Removed on drop unless it was given its name.
pub(super) struct Temporary {
    path: PathBuf,
    file: Option<File>,
}

impl Temporary {
    /// A path in `directory` that no other temporary has.
    pub(super) fn path_in(directory: &Path) -> PathBuf {
        directory.join(format!("{MARK}{}", unique()))
    }

    /// Makes a new, empty file at `path`, which comes from [`path_in`](Self::path_in).
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { path, file: Some(file) })
    }

    /// Writes `parts` to a new file in `directory`. Nothing is synced.
    pub(super) fn write(directory: &Path, parts: &[Bytes]) -> io::Result<Self> {
        let temporary = Self::create(Self::path_in(directory))?;
        if let [whole] = parts {
            temporary.file().write_all(whole)?;
            return Ok(temporary);
        }
        let mut out = BufWriter::with_capacity(64 << 10, temporary.file());
        for part in parts {
            out.write_all(part)?;
        }
        out.flush()?;
        drop(out);
        Ok(temporary)
    }

    pub(super) fn file(&self) -> &File {
        self.file.as_ref().expect("the file is taken only when the temporary ends")
    }

    /// Makes the content durable; the name is not.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file().sync_all()
    }

    /// Gives the file its name, and replaces any file of that name.
    pub(super) fn rename_over(mut self, to: &Path) -> io::Result<File> {
        fs::rename(&self.path, to)?;
        Ok(self.file.take().expect("a temporary ends once"))
    }

    /// Gives the file its name if no other file has it; otherwise hands the temporary back.
    pub(super) fn rename_to_new(mut self, to: &Path) -> io::Result<Result<File, Self>> {
        match rename_to_new(&self.path, to) {
            Ok(()) => Ok(Ok(self.file.take().expect("a temporary ends once"))),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Err(self)),
            Err(e) => Err(e),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.file.is_some() {
            // If it cannot be removed, it stays as garbage that no listing shows.
            let _ignored = fs::remove_file(&self.path);
        }
    }
}

/// Renames, and fails with `AlreadyExists` when the name is taken.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_to_new(from, to),
        answer => Ok(answer?),
    }
}

/// Renames, and fails with `AlreadyExists` when the name is taken.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    link_to_new(from, to)
}

/// The same in two steps, for file systems without an exclusive rename. A crash between them leaves a second, temporary
/// name of the object.
fn link_to_new(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    let _ignored = fs::remove_file(from);
    Ok(())
}
