//! Errors of the operating system, with the names of the repository.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind as Io};

use super::Disk;
use crate::error::{Error, ErrorKind, Result};

/// The message about a symbolic link inside a repository.
const LINK: &str = ": a symbolic link has its name, and links inside a repository are not followed; put the file or directory itself there";

/// Whether a file was not opened because a symbolic link has its name.
pub(super) fn is_link(error: &io::Error) -> bool {
    // Systems of the BSD family say "too many links" instead.
    [rustix::io::Errno::LOOP, rustix::io::Errno::MLINK].iter().any(|link| error.raw_os_error() == Some(link.raw_os_error()))
}

impl Disk {
    /// An error of the system while doing `what` (`be read`) with the object or directory `name`.
    pub(in crate::storage) fn trouble(&self, name: &str, what: &str, error: io::Error) -> Error {
        let kind = if is_link(&error) { ErrorKind::Corrupt } else { ErrorKind::of_system(&error) };
        let why = match error.kind() {
            Io::StorageFull => ": the disk is full",
            Io::QuotaExceeded => ": the disk quota is used up",
            Io::ReadOnlyFilesystem => ": the file system is mounted read-only",
            Io::PermissionDenied => ": this process lacks the permission",
            Io::NotADirectory => ": a file lies where a directory is needed",
            Io::IsADirectory => ": a directory lies where a file is needed",
            Io::InvalidFilename => ": the name is too long for the file system",
            _ if is_link(&error) => LINK,
            _ => "",
        };
        Error::new(kind, format!("{name} in {} cannot {what}{why}", self.root.display())).caused_by(error)
    }

    /// An error of the system while reading `name`, which is there. A missing permission, a disk that cannot read a file, and something
    /// that is no file are conditions of this object alone.
    pub(in crate::storage) fn unread(&self, name: &str, error: io::Error) -> Error {
        use rustix::io::Errno;
        let of_one =
            is_link(&error) || [Errno::IO, Errno::ACCESS, Errno::PERM].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()));
        // A socket, or a device without a driver.
        if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) {
            return self.no_file(name);
        }
        let trouble = self.trouble(name, "be read", error);
        if of_one { trouble.of_one_object() } else { trouble }
    }

    /// Refuses a directory, a pipe or a device that was opened in the place of a file.
    pub(super) fn require_file(&self, name: &str, file: &File) -> Result<Metadata> {
        let meta = file.metadata().map_err(|e| self.unread(name, e))?;
        if meta.is_file() { Ok(meta) } else { Err(self.no_file(name)) }
    }

    fn no_file(&self, name: &str) -> Error {
        let path = self.path(name);
        let what = match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => "a directory",
            _ => "a pipe, a socket or a device",
        };
        Error::corrupt(format!("{} is {what} and not a file; remove it or move it away", path.display())).of_one_object()
    }

    /// Refuses a file in the place of a directory of the repository on the way to `name`, or of `name` itself.
    fn require_directories(&self, name: &str) -> Result<()> {
        let ends = name.match_indices('/').map(|(at, _)| at).chain([name.len()]);
        for part in ends.filter_map(|end| name.get(..end)) {
            let path = self.path(part);
            match std::fs::symlink_metadata(&path) {
                Ok(meta) if !meta.is_dir() && !meta.is_symlink() && part != name => {
                    let message = format!("{} is a file and not a directory; remove it or move it away", path.display());
                    return Err(Error::corrupt(message));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses to go through a symbolic link on the way to `name`: it could lead to files that are not the repository's. The
    /// root itself may be a link, or lie behind one.
    pub(super) fn require_real_directories(&self, name: &str) -> Result<()> {
        let Some((directory, _file)) = name.rsplit_once('/') else { return Ok(()) };
        if directory.is_empty() || self.directories.is_real(directory) {
            return Ok(());
        }
        let ends = directory.match_indices('/').map(|(at, _)| at).chain([directory.len()]);
        for part in ends.filter_map(|end| directory.get(..end)).filter(|part| !self.directories.is_real(part)) {
            match std::fs::symlink_metadata(self.path(part)) {
                Ok(meta) if meta.is_symlink() => {
                    return Err(Error::corrupt(format!("{part} in {} cannot be used{LINK}", self.root.display())));
                }
                Ok(_) => self.directories.note_real(part),
                // Any other error shows when the file is opened.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Tells "does not exist" (`Ok`) from "cannot be reached", after the system said that a file is not there.
    pub(super) fn absent(&self, name: &str, error: io::Error) -> Result<()> {
        match error.kind() {
            Io::NotFound => {}
            Io::NotADirectory => self.require_directories(name)?,
            _ => return Err(self.unread(name, error)),
        }
        if self.identity.get().is_none() && !self.found_root()? {
            return Ok(()); // Nothing was ever there.
        }
        self.same_root(name)
    }

    /// Checks that the root is still the directory that this handle knows.
    pub(super) fn same_root(&self, name: &str) -> Result<()> {
        if self.found_root()? {
            return Ok(());
        }
        Err(Error::unavailable(format!(
            "{name} cannot be reached: the directory {} vanished, or another took its place, while it was open",
            self.root.display()
        )))
    }

    /// Whether the root is there and still the directory that it was; remembers it when it is seen first.
    pub(super) fn found_root(&self) -> Result<bool> {
        match std::fs::metadata(&self.root) {
            Ok(meta) if meta.is_dir() => {
                let now = super::directory::identity(&meta);
                Ok(*self.identity.get_or_init(|| now) == now)
            }
            Ok(_) => Err(Error::invalid(format!("{} is not a directory", self.root.display()))),
            Err(e) if e.kind() == Io::NotFound => Ok(false),
            Err(e) => Err(self.trouble("the repository", "be reached", e)),
        }
    }

    /// Remembers which directory the root is, at the first read.
    pub(super) fn look(&self) -> Result<()> {
        if self.identity.get().is_none() {
            self.found_root()?;
        }
        Ok(())
    }
}
