//! A directory on local disk: objects are files, registers are files that one lock each protects.
//!
//! - An *object* is written to a temporary beside its place and renamed onto it, never onto an existing one: a name
//!   that is taken is either written over in place with the same bytes (its content is dirty again, so the next
//!   barrier carries it to the disk) or, when it holds anything else, replaced by a file that was synced first.
//!   So nothing that another writer made durable is ever exchanged for something that is not.
//! - [`barrier`](Storage::barrier) syncs the files put since the last one, and every directory that gained a name.
//! - No symbolic link inside the directory is followed, for reading or for writing, and nothing but regular files is read or
//!   written: a repository may come from a stranger. The directory itself may be a link. To spread a repository over several
//!   disks, mount them inside it.
//! - A *register* is replaced under `flock` on a file of its own below `refs/.lock/`; readers take no lock.
//! - Objects are removed only by the process that holds `flock` on `gc/.lock`, and no directory is.
//!
//! A process killed at any moment leaves temporaries (`.~…`, which no listing shows) and nothing to repair. Opening and
//! reading create nothing. The first call that finds the directory remembers which one it is: when it vanishes or
//! another takes its place (an unmounted disk), reads are `Unavailable`, not absent.

mod barrier;
mod collection;
mod directory;
mod examine;
mod filesystem;
mod inside;
mod listing;
mod mount;
mod objects;
mod register;
mod temporary;
mod trouble;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::{
    Collecting, CollectionLock, Expected, Extent, Object, ObjectMeta, ObjectName, ObjectSource, ObjectWriter, RegisterName, RemovalPermit,
    Replaced, Storage, Versioned, WholeObject, many,
};
use crate::blocking::{blocking, brief};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Timestamp;

pub use examine::lock_once;
pub(crate) use filesystem::is_local_disk;
pub(crate) use inside::{require_no_dangling_link, require_outside};

#[cfg(test)]
pub(super) use barrier::MOST;
#[cfg(test)]
pub(super) use filesystem::{FileSystem, Hazard};
#[cfg(test)]
pub(super) use register::lock_path;

/// What to do with file systems that other machines write to, or whose promises a daemon keeps (NFS, SMB, FUSE …), and with those of
/// unknown kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum NetworkFileSystems {
    /// Refuse every write as `Unsupported`; reading works.
    #[default]
    Refuse,
    /// Write, trusting that one machine at a time writes or collects garbage there, and that locks, renames and syncs mean to its
    /// processes what they mean on a local disk. Where that is not so, two writers can overwrite each other's commits.
    Trust,
}

/// How a directory is used. Every default is the safe choice.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LocalOptions {
    /// Default: [`NetworkFileSystems::Refuse`].
    pub network: NetworkFileSystems,
    /// How long a replace waits for another process to release a register before it fails as `Unavailable`, naming
    /// that process. A lock is held for one small write and two syncs. Default: 30 s.
    pub lock_deadline: Duration,
    /// Up to so many files and directories a barrier syncs one by one, side by side; more than that with one `syncfs`,
    /// which also waits for whatever else is being written to the same file system. So many files are also kept open
    /// between put and barrier. At 0 every barrier is a `syncfs`. Default: 4, so that a commit, which writes about ten files
    /// into as many directories, waits for the disk once for all of them.
    pub sync_individually: usize,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { network: NetworkFileSystems::Refuse, lock_deadline: Duration::from_secs(30), sync_individually: 4 }
    }
}

impl LocalOptions {
    /// Sets [`network`](Self::network).
    #[must_use]
    pub const fn network(mut self, network: NetworkFileSystems) -> Self {
        self.network = network;
        self
    }

    /// Sets [`lock_deadline`](Self::lock_deadline).
    #[must_use]
    pub const fn lock_deadline(mut self, deadline: Duration) -> Self {
        self.lock_deadline = deadline;
        self
    }

    /// Sets [`sync_individually`](Self::sync_individually).
    #[must_use]
    pub const fn sync_individually(mut self, files: usize) -> Self {
        self.sync_individually = files;
        self
    }
}

/// A store in a directory. A clone is the same handle: a barrier of one covers what the other has put.
///
/// When a sync fails, what it covered may be lost although the system keeps showing it, and a second sync would
/// wrongly succeed. Therefore the handle keeps failing its barriers until those objects have been put again, which
/// writes new files. A caller that no longer holds the bytes opens the directory anew and starts over.
#[derive(Clone)]
pub struct Local {
    pub(super) disk: Arc<Disk>,
}

/// The state of a handle, shared with the threads that do its blocking work.
pub(super) struct Disk {
    root: PathBuf,
    options: LocalOptions,
    /// Which directory the root was when it was first found: device and inode.
    identity: std::sync::OnceLock<(u64, u64)>,
    pub(super) directories: directory::Directories,
    unsynced: Mutex<barrier::Unsynced>,
    /// Held by the barrier that runs: one at a time, so that an error of the file system reaches the one it concerns.
    syncing: Mutex<()>,
    /// Registers whose last replace by this handle was seen by readers but failed to become durable.
    unsettled: Mutex<std::collections::HashSet<PathBuf>>,
    /// The lock of the collection that this handle carries out, if it does.
    collecting: Mutex<Weak<register::HeldLock>>,
    /// The register whose next rename is done and answered with this error.
    #[cfg(test)]
    breaks: Mutex<Option<(PathBuf, rustix::io::Errno)>>,
}

impl Local {
    /// A handle on the directory `root`, which need not exist: the first write creates it. Relative paths are taken
    /// from the present working directory, now and not later.
    pub fn open(root: impl AsRef<Path>, options: LocalOptions) -> Result<Self> {
        let root = root.as_ref();
        let absolute = std::path::absolute(root)
            .map_err(|e| Error::invalid(format!("{:?} is not a path to a directory", root.display())).caused_by(e))?;
        let disk = Disk {
            root: absolute,
            options,
            identity: std::sync::OnceLock::new(),
            directories: directory::Directories::default(),
            unsynced: Mutex::default(),
            syncing: Mutex::default(),
            unsettled: Mutex::default(),
            collecting: Mutex::default(),
            #[cfg(test)]
            breaks: Mutex::default(),
        };
        Ok(Self { disk: Arc::new(disk) })
    }

    /// The directory, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.disk.root
    }

    /// Does blocking work for each of many, one after the other on one thread: a hop between threads costs more than a
    /// small file.
    async fn each<I, T>(&self, items: Vec<I>, work: impl Fn(&Disk, &I) -> Result<T> + Send + 'static) -> Vec<Result<T>>
    where
        I: Send + 'static,
        T: Send + 'static,
    {
        let count = items.len();
        match self.blocking(move |disk| Ok(items.iter().map(|item| work(disk, item)).collect())).await {
            Ok(answers) => answers,
            Err(e) => (0..count).map(|_| Err(e.copied())).collect(),
        }
    }

    /// Does blocking work on a thread that may block. The work goes on when the caller stops waiting.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Arc<Disk>) -> Result<T> + Send + 'static) -> Result<T> {
        let disk = Arc::clone(&self.disk);
        blocking(FILES, move || work(&disk)).await
    }

    /// Like [`blocking`](Self::blocking), for reads of a file, which a caller that may block does itself.
    async fn reading<T: Send + 'static>(&self, work: impl FnOnce(&Arc<Disk>) -> Result<T> + Send + 'static) -> Result<T> {
        let disk = Arc::clone(&self.disk);
        brief(FILES, move || work(&disk)).await
    }
}

impl Disk {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// Puts a disk into states that tests cannot bring about on a real one.
#[cfg(test)]
impl Disk {
    pub(super) fn doubt(&self, path: &Path) {
        lock(&self.unsynced).doubtful.insert(path.to_owned());
    }

    pub(super) fn unsettle(&self, path: &Path) {
        lock(&self.unsettled).insert(path.to_owned());
    }

    /// Lets the next rename of a register be done and answered with an error, as by a disk that breaks down on the way, or by a server
    /// that was asked twice.
    pub(super) fn break_rename(&self, path: &Path, answer: rustix::io::Errno) {
        *lock(&self.breaks) = Some((path.to_owned(), answer));
    }
}

/// Reads of more than this many bytes get their memory on the thread that asks. The system's allocator keeps an arena for each of many
/// threads that block, and in each of them memory that was freed: readers of large objects held twice and three times what they read.
const APART: u64 = 256 << 10;

/// What errors call the work on other threads.
const FILES: &str = "work on the files of a repository";

/// Locks state that no panic can leave half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "local {}", self.disk.root.display())
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("root", &self.disk.root).field("options", &self.disk.options).finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Storage for Local {
    async fn get(&self, name: &ObjectName, extent: Extent) -> Result<Option<Bytes>> {
        let found = {
            let name = name.clone();
            self.reading(move |disk| {
                let Some(part) = disk.find(name.as_str(), extent)? else { return Ok(None) };
                if part.len() > APART {
                    return Ok(Some(Err(part)));
                }
                let room = part.room(name.as_str())?;
                disk.read_part(name.as_str(), &part, room).map(|bytes| Some(Ok(bytes)))
            })
        };
        match found.await? {
            None => Ok(None),
            Some(Ok(bytes)) => Ok(Some(bytes)),
            Some(Err(part)) => {
                let (name, room) = (name.clone(), part.room(name.as_str())?);
                self.reading(move |disk| disk.read_part(name.as_str(), &part, room)).await.map(Some)
            }
        }
    }

    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<()> {
        let (name, parts) = (name.clone(), parts.to_vec());
        self.blocking(move |disk| disk.put(name.as_str(), &parts)).await
    }

    async fn get_many(&self, wanted: &[WholeObject]) -> Vec<Result<Option<Bytes>>> {
        self.each(wanted.to_vec(), |disk, (name, at_most)| disk.get(name.as_str(), Extent::Whole { at_most: *at_most })).await
    }

    async fn put_many(&self, objects: &[Object]) -> Vec<Result<()>> {
        self.each(objects.to_vec(), |disk, (name, parts)| disk.put(name.as_str(), parts)).await
    }

    async fn put_from(&self, name: &ObjectName, source: &dyn ObjectSource) -> Result<()> {
        many::put_from(self, name, source).await
    }

    fn writer(&self) -> Option<Box<dyn ObjectWriter>> {
        Some(Box::new(writer::LocalWriter::new(Arc::clone(&self.disk))))
    }

    async fn barrier(&self) -> Result<()> {
        self.blocking(|disk| disk.barrier()).await
    }

    fn list<'a>(&'a self, prefix: &str) -> BoxStream<'a, Result<ObjectMeta>> {
        listing::list(Arc::clone(&self.disk), prefix.to_owned())
    }

    async fn load(&self, name: &RegisterName) -> Result<Option<Versioned>> {
        let name = name.clone();
        self.reading(move |disk| disk.load(name.as_str())).await
    }

    async fn replace(&self, name: &RegisterName, expected: &Expected, value: Bytes) -> Replaced {
        let (disk, name, expected) = (Arc::clone(&self.disk), name.clone(), expected.clone());
        let replaced = blocking(FILES, move || Ok(disk.replace(name.as_str(), &expected, value))).await;
        replaced.unwrap_or_else(|error| match error.kind() {
            // It panicked on the way.
            ErrorKind::Internal => Replaced::Unanswered(error),
            // It never began.
            _ => Replaced::NotSent(error),
        })
    }

    async fn delete_many(&self, names: &[ObjectName], permit: &RemovalPermit) -> Vec<Result<()>> {
        // The work goes on when the caller stops waiting, so it holds the lock itself until it ends.
        let (held, permit) = (self.disk.collection_lock(), permit.clone());
        self.each(names.to_vec(), move |disk, name| {
            let _held_until_the_end = &held;
            permit.require(name)?;
            disk.delete(name.as_str())
        })
        .await
    }

    async fn collecting(&self) -> Result<Collecting> {
        let begun = self.blocking(|disk| Ok((disk.lock_collection()?, disk.late_removals()))).await;
        begun.map(|(held, late)| Collecting { lock: Some(CollectionLock::new(held)), late })
    }

    fn clock(&self) -> Option<Timestamp> {
        None
    }
}
