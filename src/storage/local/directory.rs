//! Making directories, and syncing their names.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use super::{Disk, NetworkFileSystems, lock};
use crate::error::Result;

/// What this handle knows about directories.
#[derive(Default)]
pub(in crate::storage) struct Directories {
    /// Those whose own name is durable, or will be with the next barrier.
    for_objects: Mutex<HashSet<PathBuf>>,
    /// Those whose own name is durable.
    for_registers: Mutex<HashSet<PathBuf>>,
    /// Those that were seen not to lie behind a symbolic link, by their names from the root.
    real: Mutex<HashSet<String>>,
    /// The root, opened before the first object was written: `syncfs` on it tells of every failed write since.
    root: OnceLock<File>,
    /// Set when a directory below the root lies on another file system: then one `syncfs` is not enough.
    several_file_systems: AtomicBool,
}

/// What tells one directory from another.
pub(super) fn identity(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

impl Directories {
    /// The open root, and whether syncing its file system covers everything below.
    pub(super) fn root(&self) -> Option<&File> {
        if self.several_file_systems.load(Ordering::Acquire) { None } else { self.root.get() }
    }

    /// Behaves as if a directory were on another file system.
    #[cfg(test)]
    pub(in crate::storage) fn never_sync_whole(&self) {
        self.several_file_systems.store(true, Ordering::Release);
    }

    /// Whether a directory was seen not to lie behind a symbolic link.
    pub(super) fn is_real(&self, name: &str) -> bool {
        lock(&self.real).contains(name)
    }

    /// Notes that a directory does not lie behind a symbolic link.
    pub(super) fn note_real(&self, name: &str) {
        lock(&self.real).insert(name.to_owned());
    }

    /// Forgets what earlier calls made sure of, because it failed or vanished.
    pub(super) fn forget(&self) {
        lock(&self.for_objects).clear();
        lock(&self.for_registers).clear();
        lock(&self.real).clear();
    }
}

impl Disk {
    /// Makes `directory` for an object if it does not exist. The next barrier makes its name durable.
    pub(super) fn directory_for_object(&self, name: &str, directory: &Path) -> Result<()> {
        if lock(&self.directories.for_objects).contains(directory) {
            return Ok(());
        }
        self.require_real_directories(name)?;
        let missing = self.missing(directory, &self.directories.for_objects);
        let parents = self.make(name, &missing)?;
        let meta = fs::metadata(directory).map_err(|e| self.trouble(name, "be written", e))?;
        if self.identity.get().is_some_and(|(device, _)| *device != meta.dev()) {
            self.directories.several_file_systems.store(true, Ordering::Release);
        }
        // In this order: a thread that finds the directory known relies on its name being pending.
        lock(&self.unsynced).directories.extend(parents);
        lock(&self.directories.for_objects).extend(missing);
        Ok(())
    }

    /// Makes `directory` for a register if it does not exist, and makes its name durable.
    pub(super) fn directory_for_register(&self, name: &str, directory: &Path) -> Result<()> {
        self.require_real_directories(name)?;
        let missing = self.missing(directory, &self.directories.for_registers);
        if missing.is_empty() {
            return Ok(());
        }
        for parent in self.make(name, &missing)? {
            self.sync_directory(&parent).map_err(|e| self.trouble(name, "be made durable", e))?;
        }
        lock(&self.directories.for_registers).extend(missing);
        Ok(())
    }

    /// Refuses to write to a file system that cannot hold a repository, or if the root is not the directory that it was.
    pub(super) fn require_same_place(&self, name: &str) -> Result<()> {
        if self.directories.root.get().is_none() {
            self.check_file_system()?;
        }
        self.same_root(name)
    }

    /// The directories from the root (or what must be created above it) down to `directory` that are not in `known`.
    fn missing(&self, directory: &Path, known: &Mutex<HashSet<PathBuf>>) -> Vec<PathBuf> {
        let known = lock(known);
        let inside = |path: &&Path| path.starts_with(&self.root) || !path.exists();
        let mut chain: Vec<_> =
            directory.ancestors().take_while(inside).filter(|path| !known.contains(*path)).map(Path::to_owned).collect();
        chain.reverse();
        chain
    }

    /// Creates those directories, outermost first, and returns the ones that hold their names.
    ///
    /// All of them count, also where the directory was already there: its creator may not have synced its name.
    fn make(&self, name: &str, chain: &[PathBuf]) -> Result<Vec<PathBuf>> {
        if self.directories.root.get().is_none() {
            self.check_file_system()?;
        }
        if self.identity.get().is_some() {
            self.same_root(name)?;
        }
        for directory in chain {
            match fs::create_dir(directory) {
                Ok(()) => {}
                Err(_) if directory.is_dir() => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(self.trouble(name, "be written", io::Error::from(io::ErrorKind::NotADirectory)));
                }
                Err(e) => return Err(self.trouble(name, "be written", e)),
            }
        }
        self.same_root(name)?;
        if self.directories.root.get().is_none() {
            let root = File::open(&self.root).map_err(|e| self.trouble(name, "be written", e))?;
            let _another_thread_was_first = self.directories.root.set(root);
        }
        Ok(chain.iter().filter_map(|directory| directory.parent()).map(Path::to_owned).collect())
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.open_directory(directory)?.map_or(Ok(()), |open| self.sync_names(&open))
    }

    /// Syncs an open directory. Some network file systems cannot; where they are trusted, that is no error.
    pub(super) fn sync_names(&self, directory: &File) -> io::Result<()> {
        match directory.sync_all() {
            Err(e)
                if self.options.network == NetworkFileSystems::Trust
                    && matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                Ok(())
            }
            answer => answer,
        }
    }

    /// Opens a directory to sync it. `None` is one outside the repository that may not be read: this handle could not
    /// have created anything in it without the right to.
    pub(super) fn open_directory(&self, directory: &Path) -> io::Result<Option<File>> {
        match File::open(directory) {
            Ok(open) => Ok(Some(open)),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && !directory.starts_with(&self.root) => Ok(None),
            Err(e) => Err(e),
        }
    }
}
