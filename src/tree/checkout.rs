//! Writes a snapshot to a directory, completely or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};

use super::{blocking, io_error};
use crate::blocking::drop_elsewhere;
use crate::budget::ByteBudget;
use crate::chunk::STREAM_COST;
use crate::error::{Error, Result};
use crate::format::Entry;
use crate::key::{Key, Prefix};
use crate::snapshot::Snapshot;
use crate::storage::{require_no_dangling_link, require_outside};

/// How many bytes files take that are written at once, where each is a piece of work of its own.
const WRITTEN: u64 = 32 << 20;
/// How many bytes such a file takes at least, and at most: it is read in pieces.
const COST: RangeInclusive<u64> = (2 << 20)..=STREAM_COST;
/// Values up to this many bytes are read and written many at a time.
const SMALL: u64 = 64 << 10;
/// How many entries are looked at together.
const TOGETHER: usize = 256;
/// How many such groups are on their way.
const GROUPS: usize = 4;
/// How long removing waits at first, and in all, for threads that still write files of a checkout that was given up.
const PAUSE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(2);

/// Which part of a snapshot is written. The default: everything.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CheckoutOptions {
    /// Only what lies below, without the prefix itself in the paths. Default: everything.
    pub prefix: Prefix,
}

impl Default for CheckoutOptions {
    fn default() -> Self {
        Self { prefix: Prefix::all() }
    }
}

impl CheckoutOptions {
    /// Writes only what lies below `prefix`, without the prefix itself in the paths.
    #[must_use]
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }
}

/// What a checkout wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CheckedOut {
    /// Files, each of them one key.
    pub files: u64,
    /// Their length together, in bytes.
    pub bytes: u64,
}

impl Snapshot {
    /// Writes every key as a file below `directory`, which must be absent or empty; every byte is verified.
    ///
    /// The files are written under a hidden name, and moved to their own names when all of them are complete. An absent directory
    /// appears by one rename. In an existing directory, which keeps its mode, owner and mount, the top-level names appear one by one.
    /// Nothing is left after an error. When the call is cancelled, what it wrote is removed by a blocking thread of the runtime; a
    /// killed process leaves files under the hidden name, `.firn-checkout-…` or `.NAME.firn-checkout-…`. Nothing is synced: after a
    /// power failure files may be cut short.
    ///
    /// `Invalid` when the directory is not empty, is a symbolic link to nothing or lies in a folder that a repository keeps for itself, and when a key would have to be a file and a directory at once. Virtual values are
    /// read from their sources and written like others.
    pub async fn checkout(&self, directory: impl Into<PathBuf>, options: &CheckoutOptions) -> Result<CheckedOut> {
        let directory = directory.into();
        let place = blocking(move || Staging::at(&directory)).await?;
        match self.fill(&place.root, options).await {
            Ok(counts) => {
                blocking(move || place.finish()).await?;
                Ok(counts)
            }
            Err(e) => {
                blocking(move || {
                    place.remove();
                    Ok(())
                })
                .await?;
                Err(e)
            }
        }
    }

    /// Writes everything below `root`.
    async fn fill(&self, root: &Root, options: &CheckoutOptions) -> Result<CheckedOut> {
        if options.prefix == Prefix::all() {
            let totals = self.totals().await?;
            self.repository().expect(totals.keys, totals.bytes);
        }
        let mut counts = CheckedOut::default();
        let mut clashes = Clashes::default();
        let inside = options.prefix.as_str().len();
        let entries = self.list(&options.prefix).map(|found| {
            let (key, entry) = found?;
            clashes.check(&key)?;
            counts.files += 1;
            counts.bytes = counts.bytes.saturating_add(entry.size());
            let path = root.path.join(key.as_str().get(inside..).unwrap_or_default());
            Ok(Item { path, key, entry })
        });
        let writers = &ByteBudget::new(WRITTEN);
        let groups = entries.try_chunks(TOGETHER).map_err(|e| e.1);
        groups.try_for_each_concurrent(GROUPS, |group| self.write_group(root, group, writers)).await?;
        Ok(counts)
    }

    /// Writes files: small ones together, others side by side.
    async fn write_group(&self, root: &Root, group: Vec<Item>, writers: &ByteBudget) -> Result<()> {
        let is_small = |item: &Item| !matches!(item.entry, Entry::Virtual { .. }) && item.entry.size() <= SMALL;
        let (small, large): (Vec<_>, Vec<_>) = group.into_iter().partition(is_small);
        let alone: FuturesUnordered<_> = large.into_iter().map(|item| self.write_file(root, item, writers)).collect();
        futures::try_join!(self.write_small(root, small), alone.try_collect::<()>())?;
        Ok(())
    }

    /// Writes small files that are not virtual: one request for all their chunks, and one visit to the disk.
    async fn write_small(&self, root: &Root, items: Vec<Item>) -> Result<()> {
        let chunk = |item: &Item| match item.entry {
            Entry::Chunk { id, size } => Some((id, size)),
            Entry::Inline(_) | Entry::Virtual { .. } => None,
        };
        let chunks: Vec<_> = items.iter().filter_map(chunk).collect();
        let mut read = self.repository().chunks().read_many(&chunks).await.into_iter();
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let bytes = match &item.entry {
                Entry::Inline(bytes) => bytes.clone(),
                _ => read.next().unwrap_or_else(|| Err(Error::internal("a chunk was not read"))).map_err(|e| e.context(&item.key))?,
            };
            values.push((item, bytes));
        }
        let root = root.clone();
        let (count, len) = (values.len() as u64, values.iter().map(|(_, bytes)| bytes.len() as u64).sum());
        blocking(move || values.iter().try_for_each(|(item, bytes)| append(&mut create(&root, &item.path, &item.key)?, bytes, &item.key)))
            .await?;
        self.repository().advance(count, len);
        Ok(())
    }

    /// Writes one value into a new file, piece by piece.
    async fn write_file(&self, root: &Root, item: Item, writers: &ByteBudget) -> Result<()> {
        let _share = writers.take(item.entry.size().clamp(*COST.start(), *COST.end())).await?;
        let Item { path, key, entry } = item;
        let (root, shown) = (root.clone(), key.clone());
        let mut file = blocking(move || create(&root, &path, &shown)).await?;
        let size = entry.size();
        let mut pieces = self.pieces_of(&key, entry, 0..size);
        while let Some(bytes) = pieces.try_next().await? {
            let (shown, len) = (key.clone(), bytes.len() as u64);
            file = blocking(move || append(&mut file, &bytes, &shown).map(|()| file)).await?;
            self.repository().advance(0, len);
        }
        self.repository().advance(1, 0);
        Ok(())
    }
}

/// A value on its way to its file.
#[derive(Debug)]
struct Item {
    path: PathBuf,
    key: Key,
    entry: Entry,
}

fn append(file: &mut File, bytes: &[u8], key: &Key) -> Result<()> {
    file.write_all(bytes).map_err(|e| Error::unavailable(format!("{key} cannot be written")).caused_by(e))
}

/// The directory in which everything is written. Other threads write the files in it, and they go on after the call was cancelled.
#[derive(Debug, Clone)]
struct Root {
    path: PathBuf,
    /// Set when everything is being removed: no new file is begun.
    given_up: Arc<AtomicBool>,
}

/// Makes a new file and the directories between it and `root`. Never `root` itself: it may have been given up.
fn create(root: &Root, path: &Path, key: &Key) -> Result<File> {
    if root.given_up.load(Ordering::Acquire) {
        return Err(Error::unavailable(format!("{key} is not written any more: the checkout was given up")));
    }
    let failed = |e: io::Error| match e.kind() {
        // The keys differ, but this file system takes their names for equal.
        io::ErrorKind::AlreadyExists => Error::invalid(format!("{key} has the same name as another key on this file system")),
        _ => io_error(path, format_args!("cannot be written for {key}"), e),
    };
    match File::options().write(true).create_new(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        done => return done.map_err(failed),
    }
    let above: Vec<_> = path.ancestors().skip(1).take_while(|directory| *directory != root.path).collect();
    for directory in above.into_iter().rev() {
        match fs::create_dir(directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
    }
    File::options().write(true).create_new(true).open(path).map_err(failed)
}

/// Notices a key that must be both a file and a directory, from keys in the order of the maps.
///
/// Everything between `a` and `a/…` in that order begins with `a`, so a stack of the keys that the present one begins
/// with is enough.
#[derive(Debug, Default)]
struct Clashes {
    open: Vec<Key>,
}

impl Clashes {
    fn check(&mut self, key: &Key) -> Result<()> {
        let text = key.as_str();
        while self.open.last().is_some_and(|above| !text.starts_with(above.as_str())) {
            self.open.pop();
        }
        let clash = self.open.iter().find(|above| text.as_bytes().get(above.as_str().len()) == Some(&b'/'));
        if let Some(file) = clash {
            return Err(Error::invalid(format!("{file} and {text} cannot both be files: {file} would have to be a directory too")));
        }
        self.open.push(key.clone());
        Ok(())
    }
}

/// Where a checkout is made before it is complete. Dropping it removes what was made.
#[derive(Debug)]
struct Staging {
    target: PathBuf,
    root: Root,
    /// Whether the target was there, so that the checkout is made in it and not beside it.
    is_inside: bool,
    /// `None` once it was removed or kept.
    debris: Option<Debris>,
}

impl Staging {
    /// Makes a hidden directory: in `directory` if that exists and is empty, beside it if it does not exist.
    fn at(directory: &Path) -> Result<Self> {
        require_no_dangling_link(directory)?;
        require_outside(directory)?;
        let (target, is_inside) = match fs::read_dir(directory) {
            Ok(mut entries) => match entries.next() {
                None => (directory.canonicalize().map_err(|e| io_error(directory, "cannot be found", e))?, true),
                Some(_) => return Err(not_empty(directory)),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let name = directory.file_name().ok_or_else(|| Error::invalid(format!("{} names no directory", directory.display())))?;
                let parent = directory.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                (parent.canonicalize().map_err(|e| io_error(parent, "does not exist; make it first", e))?.join(name), false)
            }
            Err(e) => return Err(io_error(directory, "cannot be checked out into", e)),
        };
        let name = target.file_name().filter(|_| !is_inside).map(|name| format!(".{}", name.to_string_lossy())).unwrap_or_default();
        for attempt in 0..100 {
            let hidden = format!("{name}.firn-checkout-{}-{attempt}", std::process::id());
            let path = if is_inside { target.join(hidden) } else { target.with_file_name(hidden) };
            match fs::create_dir(&path) {
                Ok(()) => {
                    let root = Root { path: path.clone(), given_up: Arc::default() };
                    return Ok(Self { target, root, is_inside, debris: Some(Debris { paths: vec![path] }) });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(io_error(&path, "cannot be made", e)),
            }
        }
        Err(Error::unavailable(format!("no name in or beside {} is free", target.display())))
    }

    /// Moves everything to its place, unless something else has appeared there meanwhile. After an error nothing is left.
    fn finish(mut self) -> Result<()> {
        let Some(mut debris) = self.debris.take() else { return Ok(()) };
        if self.is_inside {
            self.require_empty_target()?;
            self.move_up(&mut debris)?;
        } else {
            fs::rename(&self.root.path, &self.target).map_err(|e| match e.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => not_empty(&self.target),
                _ => io_error(&self.target, "cannot be made", e),
            })?;
        }
        debris.paths.clear();
        Ok(())
    }

    /// Refuses a target that holds anything but the hidden directory.
    fn require_empty_target(&self) -> Result<()> {
        let names = names(&self.target).map_err(|e| io_error(&self.target, "cannot be filled", e))?;
        if names.iter().any(|name| Some(name.as_os_str()) != self.root.path.file_name()) {
            return Err(not_empty(&self.target));
        }
        Ok(())
    }

    /// Moves what is in the hidden directory into the target that holds it.
    fn move_up(&self, debris: &mut Debris) -> Result<()> {
        let failed = |e| io_error(&self.target, "cannot be filled", e);
        for name in names(&self.root.path).map_err(failed)? {
            let place = self.target.join(&name);
            // A file that another process has put there since must be neither replaced nor removed.
            if place.symlink_metadata().is_ok() {
                return Err(not_empty(&self.target));
            }
            fs::rename(self.root.path.join(&name), &place).map_err(failed)?;
            debris.paths.push(place);
        }
        fs::remove_dir(&self.root.path).map_err(failed)
    }

    /// Removes what was made. Blocks.
    fn remove(mut self) {
        self.root.given_up.store(true, Ordering::Release);
        drop(self.debris.take());
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.root.given_up.store(true, Ordering::Release);
        let Some(debris) = self.debris.take() else { return };
        // If the runtime ends before a thread takes it on, it is removed by the thread that drops it.
        drop_elsewhere(debris);
    }
}

/// The names of what a directory holds.
fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// Files and directories of a checkout that is not complete, the hidden directory first. Removed when dropped, which blocks.
#[derive(Debug)]
struct Debris {
    paths: Vec<PathBuf>,
}

impl Drop for Debris {
    fn drop(&mut self) {
        for path in self.paths.iter().rev() {
            // What was being written when the checkout was given up needs another attempt.
            let (mut pause, mut waited) = (PAUSE, Duration::ZERO);
            while remove_all(path).is_err_and(|e| e.kind() != io::ErrorKind::NotFound) && waited < PATIENCE {
                std::thread::sleep(pause);
                waited += pause;
                pause = (pause * 2).min(PATIENCE / 40);
            }
        }
    }
}

/// Removes a file, or a directory with everything in it.
fn remove_all(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn not_empty(directory: &Path) -> Error {
    Error::invalid(format!("{} is not empty; a checkout goes only into an absent or empty directory", directory.display()))
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    #[test]
    fn a_clash_is_found_wherever_a_key_is_the_directory_of_another() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut clashing = 0;
        for _ in 0..20_000 {
            // Few letters, digits and what sorts around the slash, so that keys begin with each other.
            let mut keys: Vec<Key> = (0..rng.random_range(1..8))
                .filter_map(|_| {
                    let letters = (0..rng.random_range(1..6)).map(|_| *b"a1!/0/".get(rng.random_range(0..6)).unwrap());
                    Key::new(String::from_utf8(letters.collect()).unwrap()).ok()
                })
                .collect();
            keys.sort();
            keys.dedup();
            let is_above = |a: &Key, b: &Key| b.as_str().starts_with(&format!("{a}/"));
            let expected = keys.iter().any(|a| keys.iter().any(|b| is_above(a, b)));
            let mut clashes = Clashes::default();
            let found = keys.iter().map(|key| clashes.check(key)).find_map(Result::err);
            assert_eq!(found.is_some(), expected, "{keys:?}");
            clashing += u32::from(expected);
        }
        assert!(clashing > 500, "the keys should clash now and then, not {clashing} times");
    }

    #[test]
    fn a_place_that_is_given_up_leaves_nothing() {
        let base = tempfile::tempdir().unwrap();
        let place = Staging::at(&base.path().join("out")).unwrap();
        let (root, key) = (place.root.clone(), Key::new("a/b/c").unwrap());
        create(&root, &root.path.join("a/b/c"), &key).unwrap();
        assert_eq!(
            create(&root, &root.path.join("a/b/c"), &key).unwrap_err().kind(),
            crate::ErrorKind::Invalid,
            "a second file of one name"
        );
        drop(place);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
        // A file that was still being made when its place was given up does not bring it back.
        assert!(create(&root, &root.path.join("a/b/d"), &key).is_err());
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    /// Groups of small files are written on other threads, which went on with their group after the checkout had been dropped, faster
    /// than the directory could be emptied: it stayed under its hidden name.
    #[test]
    fn files_that_are_still_being_made_do_not_keep_the_place() {
        let base = tempfile::tempdir().unwrap();
        let place = Staging::at(&base.path().join("out")).unwrap();
        let (begun, key) = (std::sync::Barrier::new(5), Key::new("k").unwrap());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (root, begun, key) = (place.root.clone(), &begun, &key);
                scope.spawn(move || {
                    let make = |i: u32| create(&root, &root.path.join(format!("{thread}/{i}")), key).is_ok();
                    assert!((0..200).all(make));
                    begun.wait();
                    // Only the flag stops them.
                    (200..20_000).find(|i| !make(*i)).unwrap();
                });
            }
            begun.wait();
            drop(place);
        });
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_fills_up_meanwhile_is_not_replaced() {
        let base = tempfile::tempdir().unwrap();
        let target = base.path().join("out");
        for is_there in [false, true] {
            let place = Staging::at(&target).unwrap();
            assert_eq!(place.is_inside, is_there);
            create(&place.root, &place.root.path.join("k"), &Key::new("k").unwrap()).unwrap();
            if !is_there {
                fs::create_dir(&target).unwrap();
            }
            fs::write(target.join("mine"), "x").unwrap();
            assert_eq!(place.finish().unwrap_err().kind(), crate::ErrorKind::Invalid);
            assert_eq!(fs::read(target.join("mine")).unwrap(), b"x");
            assert_eq!((fs::read_dir(base.path()).unwrap().count(), fs::read_dir(&target).unwrap().count()), (1, 1));
            fs::remove_file(target.join("mine")).unwrap();
        }
    }

    /// A file that came after the target was found empty was replaced by the one of its name.
    #[test]
    fn a_file_that_comes_while_the_target_is_filled_is_not_replaced() {
        let base = tempfile::tempdir().unwrap();
        for taken in ["a", "b"] {
            let place = Staging::at(base.path()).unwrap();
            for name in ["a", "b"] {
                create(&place.root, &place.root.path.join(name), &Key::new(name).unwrap()).unwrap();
            }
            place.require_empty_target().unwrap();
            fs::write(base.path().join(taken), "mine").unwrap();
            let mut place = place;
            let mut debris = place.debris.take().unwrap();
            assert_eq!(place.move_up(&mut debris).unwrap_err().kind(), crate::ErrorKind::Invalid);
            drop(debris);
            assert_eq!(fs::read(base.path().join(taken)).unwrap(), b"mine");
            assert_eq!(names(base.path()).unwrap(), [taken], "what was moved before it is taken back");
            fs::remove_file(base.path().join(taken)).unwrap();
        }
    }

    /// A name that cannot be moved into the target takes back those that were moved before it.
    #[test]
    fn a_target_that_cannot_be_filled_is_left_empty() {
        let base = tempfile::tempdir().unwrap();
        let place = Staging::at(base.path()).unwrap();
        let hidden = place.root.path.file_name().unwrap().to_owned();
        for name in ["a", "b/c", "z"] {
            create(&place.root, &place.root.path.join(name), &Key::new(name).unwrap()).unwrap();
        }
        // A key of the very name that the hidden directory has.
        create(&place.root, &place.root.path.join(&hidden), &Key::new("x").unwrap()).unwrap();
        place.finish().unwrap_err();
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    /// Removing a large tree held up the thread of the executor that dropped the call, for up to two seconds.
    #[tokio::test]
    async fn what_is_cancelled_is_removed_by_another_thread() {
        let base = tempfile::tempdir().unwrap();
        let place = Staging::at(base.path()).unwrap();
        let begun = create(&place.root, &place.root.path.join("a/b"), &Key::new("a/b").unwrap()).unwrap();
        drop(place);
        drop(begun);
        while fs::read_dir(base.path()).unwrap().count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
