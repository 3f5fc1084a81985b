//! Every file of a directory, as keys. Blocks on the disk.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::io_error;
use crate::error::{Error, Result};
use crate::key::{Key, Prefix};

/// What tells a directory that is a repository from one that holds data.
const OF_A_REPOSITORY: [&str; 3] = ["repo.json", "refs", "snapshots"];

/// A file on its way in.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) key: Key,
    /// Its length when it was found, in bytes.
    pub(super) size: u64,
}

/// Walks a directory, depth first, and hands every file to `each`, which ends the walk by saying `false`.
#[derive(Debug)]
pub(super) struct Walk<F> {
    prefix: Prefix,
    each: F,
    /// The directories from the first down to this one, by device and inode: what makes a loop visible.
    above: Vec<(u64, u64)>,
    empty_directories: u64,
}

impl<F: FnMut(Found) -> bool> Walk<F> {
    pub(super) fn new(prefix: Prefix, each: F) -> Self {
        Self { prefix, each, above: Vec::new(), empty_directories: 0 }
    }

    /// Walks everything below `root`; returns how many empty directories there are.
    pub(super) fn run(mut self, root: &Path) -> Result<u64> {
        let metadata = fs::metadata(root).map_err(|e| io_error(root, "cannot be imported", e))?;
        if !metadata.is_dir() {
            return Err(Error::invalid(format!("{} is no directory; a single file is stored with put", root.display())));
        }
        self.directory(root, "", &metadata)?;
        Ok(self.empty_directories)
    }

    /// `inside` is the path of `path` below the root, empty or ending in `/`. Says whether to go on.
    fn directory(&mut self, path: &Path, inside: &str, metadata: &Metadata) -> Result<bool> {
        let identity = (metadata.dev(), metadata.ino());
        if self.above.contains(&identity) {
            return Err(Error::invalid(format!("{} leads back to a directory that it lies in", path.display())));
        }
        if OF_A_REPOSITORY.iter().all(|name| path.join(name).exists()) {
            return Err(Error::invalid(format!("{} is a Firnline repository, whose objects are no data to import", path.display())));
        }
        self.above.push(identity);
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(|e| io_error(path, "cannot be listed", e))? {
            names.push(entry.map_err(|e| io_error(path, "cannot be listed", e))?.file_name());
        }
        self.empty_directories += u64::from(names.is_empty());
        // In the order of the file names, so that the same tree always fails at the same file.
        names.sort_unstable();
        for name in names {
            let path = path.join(&name);
            let Some(name) = name.to_str() else {
                return Err(Error::invalid(format!("{} has a name that is not UTF-8, so it can be no key", path.display())));
            };
            if !self.entry(path, &format!("{inside}{name}"))? {
                return Ok(false);
            }
        }
        self.above.pop();
        Ok(true)
    }

    /// Symbolic links are followed, to files and to directories.
    fn entry(&mut self, path: PathBuf, inside: &str) -> Result<bool> {
        let metadata = fs::metadata(&path).map_err(|e| io_error(&path, "cannot be imported", e))?;
        if metadata.is_dir() {
            return self.directory(&path, &format!("{inside}/"), &metadata);
        }
        if !metadata.is_file() {
            return Err(Error::invalid(format!("{} is neither a file nor a directory", path.display())));
        }
        let key = self.prefix.join(inside).map_err(|e| e.context(path.display()))?;
        Ok((self.each)(Found { path, key, size: metadata.len() }))
    }
}
