//! Registers: one file each, replaced under a lock that dies with its holder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::objects::open;
use super::temporary::Temporary;
use super::{Disk, lock};
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::storage::{Expected, Replaced, Version, Versioned};

/// The largest register in bytes; refs have some kilobytes. Keeps a damaged directory from filling memory.
const LARGEST: u64 = 16 << 20;

/// The pauses between two attempts to get a lock.
const LOCK_BACKOFF: Backoff = Backoff::new(Duration::from_micros(200), Duration::from_millis(20));

/// Where the lock files lie, which are neither objects nor registers and are never removed or renamed.
pub(super) const LOCKS: &str = "refs/.lock";

/// The name of the file that protects the register `name`.
pub(in crate::storage) fn lock_path(name: &str) -> String {
    format!("{LOCKS}/{}", name.strip_prefix("refs/").unwrap_or(name))
}

impl Disk {
    /// Reads a register. Its version is its bytes.
    pub(super) fn load(&self, name: &str) -> Result<Option<Versioned>> {
        self.look()?;
        let path = self.path(name);
        if lock(&self.unsettled).contains(&path) {
            self.settle(name, &path)?;
        }
        let value = self.read(name, &path)?;
        Ok(value.map(|value| Versioned { version: Version(value.clone()), value }))
    }

    /// Replaces a register, durably, if its bytes are as expected.
    pub(super) fn replace(&self, name: &str, expected: &Expected, value: Bytes) -> Replaced {
        self.try_replace(name, expected, value).unwrap_or_else(Replaced::NotSent)
    }

    /// The same; an error means that the register is as it was.
    fn try_replace(&self, name: &str, expected: &Expected, value: Bytes) -> Result<Replaced> {
        if value.len() as u64 > LARGEST {
            return Err(Error::invalid(format!("{name} would have {} bytes; a register has at most {LARGEST}", value.len())));
        }
        let path = self.path(name);
        let directory = path.parent().expect("a register's path is longer than the root's");
        // A register that exists was made after the names of its directories were durable.
        if path.is_file() {
            self.require_same_place(name)?;
        } else {
            self.directory_for_register(name, directory)?;
        }
        let _held_until_the_end = self.lock_register(name)?;
        let current = self.read(name, &path)?.map(Version);
        if !expected.admits(current.as_ref()) {
            return Ok(Replaced::Refused);
        }
        match self.write_locked(name, &path, directory, value.clone()) {
            Ok(()) => Ok(Replaced::Done(Version(value))),
            Err(Interrupted::Before(error)) => Err(error),
            Err(Interrupted::After(error)) => Ok(Replaced::Unanswered(error)),
        }
    }

    /// Makes a register durable whose replace was interrupted by an error after readers could see it: by writing it
    /// again, because a second sync alone would claim success for what the system has dropped.
    fn settle(&self, name: &str, path: &Path) -> Result<()> {
        let directory = path.parent().expect("a register's path is longer than the root's");
        let _held_until_the_end = self.lock_register(name)?;
        match self.read(name, path)? {
            Some(value) => self.write_locked(name, path, directory, value).map_err(Interrupted::into_error),
            None => self.sync_directory(directory).map_err(|e| self.trouble(name, "be made durable", e)),
        }
    }

    /// Writes a register under its lock: temporary, sync, rename, sync of the directory.
    fn write_locked(&self, name: &str, path: &Path, directory: &Path, value: Bytes) -> Result<(), Interrupted> {
        let written = Temporary::write(directory, &[value]).and_then(|temporary| temporary.sync().map(|()| temporary));
        let temporary = written.map_err(|e| {
            if e.kind() == io::ErrorKind::NotFound {
                self.directories.forget();
            }
            Interrupted::Before(self.trouble(name, "be written", e))
        })?;
        if let Err(e) = self.rename(temporary, path) {
            let error = self.trouble(name, "be written", e);
            // If the system says why it refuses, the rename did not happen. After any other failure it may have happened: also when the
            // old name is not there, because a server that was asked twice answers so about what it has done.
            if !error.is_retryable() {
                return Err(Interrupted::Before(error));
            }
            // Readers may see a value now that a power loss takes back.
            lock(&self.unsettled).insert(path.to_owned());
            return Err(Interrupted::After(error));
        }
        if let Err(e) = self.sync_directory(directory) {
            // Readers may see a value now that a power loss takes back.
            lock(&self.unsettled).insert(path.to_owned());
            return Err(Interrupted::After(self.trouble(name, "be made durable", e)));
        }
        lock(&self.unsettled).remove(path);
        Ok(())
    }

    /// Shows readers the new value.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests let it fail"))]
    fn rename(&self, temporary: Temporary, path: &Path) -> io::Result<()> {
        temporary.rename_over(path)?;
        #[cfg(test)]
        if let Some((_, answer)) = lock(&self.breaks).take_if(|(breaks, _)| breaks == path) {
            return Err(answer.into());
        }
        Ok(())
    }

    fn read(&self, name: &str, path: &Path) -> Result<Option<Bytes>> {
        self.require_real_directories(name)?;
        let file = match open(path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(e) => return self.absent(name, e).map(|()| None),
        };
        self.require_file(name, &file)?;
        let mut value = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut value).map_err(|e| self.unread(name, e))?;
        if value.len() as u64 > LARGEST {
            return Err(Error::corrupt(format!("{name} has more than {LARGEST} bytes, which no register has")).of_one_object());
        }
        Ok(Some(value.into()))
    }

    /// Takes the lock of a register, waiting for its holder until the deadline. Dropping it releases it.
    fn lock_register(&self, name: &str) -> Result<HeldLock> {
        let lock_name = lock_path(name);
        let path = self.path(&lock_name);
        let trouble = |e| self.not_locked(&lock_name, e);
        self.require_real_directories(&lock_name)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(trouble)?;
        }
        let started = Instant::now();
        for attempt in 0.. {
            match try_lock(&path) {
                Ok(Some(held)) => return Ok(held),
                Ok(None) => {}
                Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                    return Err(Error::unsupported(format!("{} lies on a file system without locks", self.root.display())).caused_by(e));
                }
                Err(e) => return Err(trouble(e)),
            }
            if started.elapsed() >= self.options.lock_deadline {
                return Err(self.locked(name, &path));
            }
            LOCK_BACKOFF.block(attempt);
        }
        Err(self.locked(name, &path))
    }

    /// Why a lock file cannot be locked, and what to do about it.
    pub(in crate::storage) fn not_locked(&self, lock_name: &str, error: io::Error) -> Error {
        let lacks_permission = error.kind() == io::ErrorKind::PermissionDenied;
        let trouble = self.trouble(lock_name, "be locked", error);
        if lacks_permission {
            trouble
                .followed_by("; give this user write permission for that file and for every directory below refs: all writers share them")
        } else {
            trouble
        }
    }

    fn locked(&self, name: &str, path: &PathBuf) -> Error {
        let holder = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
        let holder = holder.map_or_else(|| "a process that gave no number".to_owned(), |pid| format!("process {pid}"));
        let waited = self.options.lock_deadline.as_secs_f64();
        Error::locked(format!("{name} in {} is locked by {holder}, for longer than {waited} s", self.root.display()))
    }
}

/// Why a register was not written to the end.
enum Interrupted {
    /// Before any reader could see the new value: the register is as it was.
    Before(Error),
    /// When readers may already see the new value.
    After(Error),
}

impl Interrupted {
    fn into_error(self) -> Error {
        match self {
            Self::Before(error) | Self::After(error) => error,
        }
    }
}

/// A lock that this process holds until it is dropped.
#[derive(Debug)]
pub(super) struct HeldLock(File);

impl Drop for HeldLock {
    fn drop(&mut self) {
        // A process that was forked meanwhile has the file open, too, and closing one of two copies releases nothing. If this
        // fails, closing still releases the lock where there is no such process.
        let _ignored = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Tries once to take a lock, on an open file of its own, and writes the number of this process into it.
pub(super) fn try_lock(path: &Path) -> io::Result<Option<HeldLock>> {
    let file = open(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
    let mut lock = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => HeldLock(file),
        Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
        Err(Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS) => return Err(io::ErrorKind::Unsupported.into()),
        Err(e) => return Err(e.into()),
    };
    // This program never removes a lock file. If it was removed all the same, a lock on the file without a name protects nothing.
    let (held, named) = (lock.0.metadata()?, fs::symlink_metadata(path));
    if !held.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if !named.is_ok_and(|named| named.ino() == held.ino() && named.dev() == held.dev()) {
        return Ok(None);
    }
    lock.0.set_len(0)?;
    lock.0.write_all(format!("{}\n", std::process::id()).as_bytes())?;
    Ok(Some(lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that was forked during a commit kept the lock of the branch for as long as it ran, although it never used it.
    #[test]
    fn a_lock_is_released_although_another_process_has_the_file_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = try_lock(&path).unwrap().unwrap();
        // Both are one open file, as after a fork.
        let inherited = held.0.try_clone().unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
        drop(inherited);
    }
}
