//! Every file of a directory, as keys. Blocks on the disk.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::cache::Facts;
use super::io_error;
use crate::error::{Error, Result};
use crate::key::{Key, MapKey, Prefix};
use crate::storage::is_local_disk;

/// The names by which a repository is recognised.
const OF_A_REPOSITORY: [&str; 3] = ["repo.json", "refs", "snapshots"];

/// A file on its way in.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) key: Key,
    /// Its length when it was found, in bytes.
    pub(super) size: u64,
    /// Its path below the directory: the key without the prefix.
    pub(super) name: String,
    pub(super) facts: Facts,
    /// Whether `facts` are those of the disk, not of a copy that may be stale.
    pub(super) is_local: bool,
}

/// Walks a directory, depth first and in the order of the keys.
///
/// Calls `each` with every file, and with an error for everything that cannot become a key. The walk ends when `each` returns `false`.
#[derive(Debug)]
pub(super) struct TreeWalk<F> {
    prefix: Prefix,
    each: F,
    /// The directories from the first down to this one, by device and inode: what makes a loop visible.
    above: Vec<(u64, u64)>,
    /// The devices met so far, which links and mounts lead to, and whether they are local disks.
    devices: HashMap<u64, bool>,
    empty_directories: u64,
}

/// Something in a directory, symbolic links followed.
struct WalkedChild {
    /// By this children are sorted: its name, with a final `/` if it is a directory.
    name: MapKey,
    path: PathBuf,
    metadata: Metadata,
}

impl<F: FnMut(Result<Found>) -> bool> TreeWalk<F> {
    pub(super) fn new(prefix: Prefix, each: F) -> Self {
        Self { prefix, each, above: Vec::new(), devices: HashMap::new(), empty_directories: 0 }
    }

    /// Walks everything below `root`; returns how many empty directories there are. An error is one of `root` itself.
    pub(super) fn run(mut self, path: &Path) -> Result<u64> {
        let metadata = root(path)?;
        self.directory(path, "", &metadata);
        Ok(self.empty_directories)
    }

    /// `inside` is the path of `path` below the root, empty or ending in `/`. Says whether to go on.
    fn directory(&mut self, path: &Path, inside: &str, metadata: &Metadata) -> bool {
        let identity = (metadata.dev(), metadata.ino());
        let is_loop = self.above.contains(&identity);
        let children = if is_loop {
            Err(Error::invalid(format!("{} links back to a directory that contains it", path.display())))
        } else {
            Self::children(path)
        };
        let children = match children {
            Ok(children) => children,
            Err(e) => return (self.each)(Err(e)),
        };
        self.above.push(identity);
        self.empty_directories += u64::from(children.is_empty());
        let goes_on = children.into_iter().all(|child| match child {
            Ok(child) => self.child(child, inside),
            Err(e) => (self.each)(Err(e)),
        });
        self.above.pop();
        goes_on
    }

    /// What is in a directory, what has no place in the order of keys first.
    fn children(path: &Path) -> Result<Vec<Result<WalkedChild>>> {
        if OF_A_REPOSITORY.iter().all(|name| path.join(name).exists()) {
            return Err(Error::invalid(format!("{} is a Firnline repository, which cannot be imported as data", path.display())));
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(|e| io_error(path, "cannot be listed", e))? {
            names.push(entry.map_err(|e| io_error(path, "cannot be listed", e))?.file_name());
        }
        names.sort_unstable();
        let mut children: Vec<_> = names.iter().map(|name| WalkedChild::read(path.join(name), name)).collect();
        children.sort_by(|a, b| a.as_ref().ok().map(|child| &child.name).cmp(&b.as_ref().ok().map(|child| &child.name)));
        Ok(children)
    }

    fn child(&mut self, WalkedChild { name, path, metadata }: WalkedChild, inside: &str) -> bool {
        let inside = format!("{inside}{name}");
        if metadata.is_dir() {
            return self.directory(&path, &inside, &metadata);
        }
        let key = self.prefix.join(&inside).map_err(|e| e.context(path.display()));
        let is_local = *self.devices.entry(metadata.dev()).or_insert_with(|| is_local_disk(&path));
        let (size, facts) = (metadata.len(), Facts::of(&metadata));
        (self.each)(key.map(|key| Found { path, key, size, name: inside, facts, is_local }))
    }
}

/// Makes sure that `path` can be walked.
pub(super) fn root(path: &Path) -> Result<Metadata> {
    let metadata = fs::metadata(path).map_err(|e| io_error(path, "cannot be read", e))?;
    if metadata.is_dir() { Ok(metadata) } else { Err(Error::invalid(format!("{} is not a directory", path.display()))) }
}

impl WalkedChild {
    fn read(path: PathBuf, name: &OsStr) -> Result<Self> {
        let Some(name) = name.to_str() else {
            return Err(Error::invalid(format!("{} has a name that is not UTF-8, so it can be no key", path.display())));
        };
        let metadata = fs::metadata(&path).map_err(|e| io_error(&path, "cannot be read", e))?;
        if !metadata.is_dir() && !metadata.is_file() {
            return Err(Error::invalid(format!("{} is neither a file nor a directory", path.display())));
        }
        let name = if metadata.is_dir() { MapKey::new(format!("{name}/")) } else { MapKey::new(name) };
        Ok(Self { name, path, metadata })
    }
}
