//! Errors of the operating system, with the names of the repository.

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

    /// Refuses to go through a symbolic link on the way to `name`: it could lead to files that are not the repository's. The
    /// root itself may be a link, or lie behind one.
    pub(super) fn require_real_directories(&self, name: &str) -> Result<()> {
        let Some((directory, _file)) = name.rsplit_once('/') else { return Ok(()) };
        if directory.is_empty() || self.directories.is_real(directory) {
            return Ok(());
        }
        let ends = directory.match_indices('/').map(|(at, _)| at).chain([directory.len()]);
        for part in ends.filter_map(|end| directory.get(..end)) {
            match std::fs::symlink_metadata(self.path(part)) {
                Ok(meta) if meta.is_symlink() => {
                    return Err(Error::corrupt(format!("{part} in {} cannot be used{LINK}", self.root.display())));
                }
                Ok(_) => {}
                // Any other error shows when the file is opened.
                Err(_) => return Ok(()),
            }
        }
        self.directories.note_real(directory);
        Ok(())
    }

    /// Tells "does not exist" (`Ok`) from "cannot be reached", after the system said that a file is not there.
    pub(super) fn absent(&self, name: &str, error: io::Error) -> Result<()> {
        if !matches!(error.kind(), Io::NotFound | Io::NotADirectory) {
            return Err(self.trouble(name, "be read", error));
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
