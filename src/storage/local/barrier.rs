//! Everything that was put becomes durable at once.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Disk, lock};
use crate::error::{Error, Result};

/// Syncs that run side by side, at most.
const PARALLEL: usize = 16;

/// Objects that a handle remembers between barriers, at most about so many: then a put syncs them itself.
pub(in crate::storage) const MOST: usize = if cfg!(test) { 200 } else { 1 << 16 };

/// What a handle has put and no barrier has made durable.
#[derive(Default)]
pub(super) struct Unsynced {
    /// Objects, with the file while few are open: a sync of the very file that was written to tells of every failure.
    files: HashMap<PathBuf, Option<File>>,
    /// Directories that gained a name.
    pub(super) directories: HashSet<PathBuf>,
    /// Objects that a failed barrier covered. A second sync would claim success for data that the system has dropped.
    pub(super) doubtful: HashSet<PathBuf>,
    /// Counts the barriers in which a sync failed.
    pub(super) failures: u64,
}

/// Why a barrier did not succeed.
enum Failure {
    /// A sync could not be requested. It may be tried again.
    NotAsked(PathBuf, io::Error),
    /// A sync failed: what it covered may be lost.
    NotSynced(PathBuf, io::Error),
}

impl Unsynced {
    /// Notes an object whose writing began after so many `failures`. Tells whether it is good: when a barrier failed
    /// since then, it is doubtful instead.
    pub(super) fn insert(&mut self, path: &Path, file: File, keep_open: usize, failures: u64) -> bool {
        if self.failures != failures {
            self.doubtful.insert(path.to_owned());
            return false;
        }
        self.doubtful.remove(path);
        if let Some(parent) = path.parent().filter(|parent| !self.directories.contains(*parent)) {
            self.directories.insert(parent.to_owned());
        }
        let open = (self.files.len() < keep_open).then_some(file);
        self.files.insert(path.to_owned(), open);
        true
    }
}

impl Disk {
    /// Keeps a long run of puts without a barrier from filling memory with names.
    pub(super) fn relieve(&self) -> Result<()> {
        let full = {
            let unsynced = lock(&self.unsynced);
            // Doubtful objects must be put again before any barrier helps, so they do not stand in the way of puts.
            unsynced.files.len() >= MOST && unsynced.doubtful.is_empty()
        };
        if full { self.barrier() } else { Ok(()) }
    }

    /// How many objects the next barrier has to sync.
    #[cfg(test)]
    pub(in crate::storage) fn unsynced(&self) -> usize {
        lock(&self.unsynced).files.len()
    }

    /// Makes everything durable that was put before the call.
    ///
    /// One barrier runs at a time; those that wait find most of their work done. What is put meanwhile belongs to the
    /// next one. The work cannot be cancelled half-way: it runs on a thread of its own to its end.
    pub(super) fn barrier(&self) -> Result<()> {
        let _one_at_a_time = lock(&self.syncing);
        let (files, directories) = {
            let mut unsynced = lock(&self.unsynced);
            if let Some(example) = unsynced.doubtful.iter().next() {
                return Err(self.doubtful(example, unsynced.doubtful.len()));
            }
            (std::mem::take(&mut unsynced.files), std::mem::take(&mut unsynced.directories))
        };
        let Err(failure) = self.sync(&files, &directories) else { return Ok(()) };
        let mut unsynced = lock(&self.unsynced);
        unsynced.directories.extend(directories);
        match failure {
            Failure::NotAsked(path, error) => {
                for (path, file) in files {
                    unsynced.files.entry(path).or_insert(file);
                }
                Err(self.trouble(&self.name_of(&path), "be made durable", error))
            }
            Failure::NotSynced(path, error) => {
                // What was put meanwhile is doubtful too: a sync of the whole file system reports its failure only once.
                unsynced.failures += 1;
                let meanwhile = std::mem::take(&mut unsynced.files);
                unsynced.doubtful.extend(files.into_keys().chain(meanwhile.into_keys()));
                self.directories.forget();
                Err(self.trouble(&self.name_of(&path), "be made durable", error))
            }
        }
    }

    fn doubtful(&self, example: &Path, count: usize) -> Error {
        Error::unavailable(format!(
            "a sync failed earlier, so {count} objects such as {} must be put again, or the repository in {} opened anew",
            self.name_of(example),
            self.root.display()
        ))
    }

    /// The name of a file or directory as the repository spells it.
    fn name_of(&self, path: &Path) -> String {
        match path.strip_prefix(&self.root) {
            Ok(inside) if !inside.as_os_str().is_empty() => inside.display().to_string(),
            _ => path.display().to_string(),
        }
    }

    fn sync(&self, files: &HashMap<PathBuf, Option<File>>, directories: &HashSet<PathBuf>) -> Result<(), Failure> {
        if files.len() + directories.len() > self.options.sync_individually
            && let Some(root) = self.directories.root()
            && let Some(answer) = sync_file_system(root)
        {
            return answer.map_err(|e| Failure::NotSynced(self.root.clone(), e));
        }
        let files = files.iter().map(|(path, file)| (path.as_path(), file.as_ref(), true));
        let directories = directories.iter().map(|path| (path.as_path(), None, false));
        let all: Vec<_> = files.chain(directories).collect();
        side_by_side(&all, |&(path, open, is_file)| {
            let not_synced = |e| Failure::NotSynced(path.to_owned(), e);
            if let Some(file) = open {
                return file.sync_all().map_err(not_synced);
            }
            let opened = if is_file { File::open(path).map(Some) } else { self.open_directory(path) };
            match opened {
                Ok(opened) => {
                    opened.map_or(Ok(()), |file| if is_file { file.sync_all() } else { self.sync_names(&file) }).map_err(not_synced)
                }
                // It was removed, so only putting it again helps.
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(not_synced(e)),
                Err(e) => Err(Failure::NotAsked(path.to_owned(), e)),
            }
        })
    }
}

/// Runs `work` on all items, some at a time, all of them even when some fail. A failed sync outranks other failures.
fn side_by_side<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<(), Failure> + Sync) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let worst = Mutex::new(Ok(()));
    let run = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(failure) = work(item) {
                let mut worst = lock(&worst);
                if worst.is_ok() || matches!(failure, Failure::NotSynced(..)) {
                    *worst = Err(failure);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..items.len().min(PARALLEL) {
            // If a thread cannot be started, the other threads, and this one, do its share.
            let _joined_at_the_end = std::thread::Builder::new().name("firnline-sync".to_owned()).spawn_scoped(scope, run);
        }
        run();
    });
    worst.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Syncs the file system that holds `root`; `None` where the system cannot.
#[cfg(target_os = "linux")]
fn sync_file_system(root: &File) -> Option<io::Result<()>> {
    use rustix::io::Errno;
    match rustix::fs::syncfs(root) {
        Err(Errno::NOSYS | Errno::NOTSUP | Errno::PERM) => None,
        answer => Some(answer.map_err(io::Error::from)),
    }
}

/// Syncs the file system that holds `root`; `None` where the system cannot.
#[cfg(not(target_os = "linux"))]
fn sync_file_system(_root: &File) -> Option<io::Result<()>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_that_overlaps_a_failed_barrier_is_doubtful() {
        let file = || tempfile::tempfile().unwrap();
        let (mut unsynced, path) = (Unsynced::default(), Path::new("/repo/chunks/x"));
        let before = unsynced.failures;
        unsynced.failures += 1;
        assert!(!unsynced.insert(path, file(), 64, before), "it must be written again");
        assert!(unsynced.doubtful.contains(path) && unsynced.files.is_empty());
        let now = unsynced.failures;
        assert!(unsynced.insert(path, file(), 64, now));
        assert!(unsynced.doubtful.is_empty() && unsynced.directories.contains(Path::new("/repo/chunks")));
    }

    #[test]
    fn every_item_is_synced_even_when_some_fail_and_a_failed_sync_outranks_the_rest() {
        let done = AtomicUsize::new(0);
        let items: Vec<_> = (0..100).collect();
        let answer = side_by_side(&items, |n| {
            done.fetch_add(1, Ordering::Relaxed);
            let error = io::Error::other("injected");
            match n {
                50 => Err(Failure::NotSynced(PathBuf::from("50"), error)),
                n if n % 10 == 0 => Err(Failure::NotAsked(PathBuf::from("other"), error)),
                _ => Ok(()),
            }
        });
        assert_eq!(done.into_inner(), 100);
        assert!(matches!(answer, Err(Failure::NotSynced(path, _)) if path == Path::new("50")));
    }
}
