//! Lists the names in the directory.

use std::fs::{self, DirEntry};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};

use super::Disk;
use super::collection::COLLECTION_LOCK;
use super::register::LOCKS;
use super::temporary::is_temporary;
use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::storage::{ObjectMeta, layout};
use crate::time::Timestamp;

/// Names that are found at a time, about.
const BATCH: usize = 1024;

/// Lists what begins with `prefix`.
///
/// A thread finds some names at a time and ends before they are read: a thread that waited for its reader would hold one of
/// the runtime's threads for blocking work, which the reader may need for what it does with each name.
pub(super) fn list(disk: Arc<Disk>, prefix: String) -> BoxStream<'static, Result<ObjectMeta>> {
    let walk = ListingWalk::new(disk, prefix);
    let batches = stream::try_unfold(walk, |mut walk| async move {
        let work = blocking("a listing", move || {
            let found = walk.next_batch();
            Ok((found, walk))
        });
        let (found, walk) = work.await?;
        let more = !found.is_empty();
        Ok::<_, Error>(more.then(|| (stream::iter(found), walk)))
    });
    batches.try_flatten().boxed()
}

/// A walk through a directory and what lies below it.
struct ListingWalk {
    disk: Arc<Disk>,
    prefix: String,
    /// Directories that have not been begun, by their names from the root.
    directories: Vec<String>,
    /// The directory that has, and what is left of it.
    current: Option<(String, fs::ReadDir)>,
    /// Whether the root has been looked at.
    begun: bool,
}

impl ListingWalk {
    fn new(disk: Arc<Disk>, prefix: String) -> Self {
        let start = prefix.rsplit_once('/').map_or("", |(directory, _)| directory);
        let locks = start.strip_prefix(LOCKS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        // No name begins like this.
        let nothing =
            locks || start.split('/').any(|segment| matches!(segment, "." | "..")) || start.starts_with('/') || start.contains("//");
        let directories = if nothing { Vec::new() } else { vec![start.to_owned()] };
        Self { disk, prefix, directories, current: None, begun: false }
    }

    /// The names that come next; empty at the end.
    fn next_batch(&mut self) -> Vec<Result<ObjectMeta>> {
        let mut found = Vec::new();
        if !self.begun {
            self.begun = true;
            if let Err(e) = self.disk.look() {
                self.directories.clear();
                return vec![Err(e)];
            }
        }
        while found.len() < BATCH {
            let Some((directory, entries)) = &mut self.current else {
                let Some(directory) = self.directories.pop() else { break };
                match self.disk.open_listing(&directory) {
                    Ok(entries) => self.current = entries.map(|entries| (directory, entries)),
                    Err(e) => found.push(Err(e)),
                }
                continue;
            };
            let Some(entry) = entries.next() else {
                self.current = None;
                continue;
            };
            match entry.and_then(|entry| look_at(&entry, directory)) {
                Ok(Some((name, ListedAs::Directory))) => {
                    let below = format!("{name}/");
                    if name != LOCKS && (below.starts_with(&self.prefix) || self.prefix.starts_with(&below)) {
                        self.directories.push(name);
                    }
                }
                Ok(Some((name, ListedAs::File { size, modified }))) if name.starts_with(&self.prefix) && name != COLLECTION_LOCK => {
                    found.push(Ok(ObjectMeta { name, size, modified }));
                }
                Ok(Some((_, ListedAs::File { .. })) | None) => {}
                Err(e) => found.push(Err(self.disk.unlisted(directory, e))),
            }
        }
        found
    }
}

impl Disk {
    /// Opens a directory to read its names; `None` when it does not exist.
    fn open_listing(&self, directory: &str) -> Result<Option<fs::ReadDir>> {
        // The directory itself must not be a link either.
        self.require_real_directories(&format!("{directory}/"))?;
        match fs::read_dir(self.path(directory)) {
            Ok(entries) => Ok(Some(entries)),
            // Its name ends in a slash, so that a file in its own place is refused too.
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => self.absent(&format!("{directory}/"), e).map(|()| None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.absent(directory, e).map(|()| None),
            Err(e) => Err(self.unlisted(directory, e)),
        }
    }

    fn unlisted(&self, directory: &str, error: io::Error) -> Error {
        let shown = if directory.is_empty() { "the repository" } else { directory };
        self.trouble(shown, "be listed", error)
    }
}

/// What an entry of a directory is.
enum ListedAs {
    Directory,
    File { size: u64, modified: Timestamp },
}

/// The name and kind of an entry; `None` for what is no object: temporaries, names that are not UTF-8, and what vanished in the meantime.
/// A symbolic link to a file, a pipe, a socket and a device are shown as a file, so that reading it says what is wrong, and so is a
/// directory in the place of a ref. A link to a directory is an error, because the names behind it are not listed.
fn look_at(entry: &DirEntry, directory: &str) -> io::Result<Option<(String, ListedAs)>> {
    let file_name = entry.file_name();
    let Some(file_name) = file_name.to_str().filter(|name| !is_temporary(name)) else { return Ok(None) };
    let name = if directory.is_empty() { file_name.to_owned() } else { format!("{directory}/{file_name}") };
    let is_ref = name.starts_with(layout::REFS) && name.ends_with(layout::REF_SUFFIX);
    if !is_ref && entry.file_type()?.is_dir() {
        return Ok(Some((name, ListedAs::Directory)));
    }
    let path: PathBuf = entry.path();
    let meta = match fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    if meta.is_symlink() && path.is_dir() {
        return Err(rustix::io::Errno::LOOP.into());
    }
    if meta.is_dir() && !is_ref {
        return Ok(Some((name, ListedAs::Directory)));
    }
    Ok(Some((name, ListedAs::File { size: meta.len(), modified: Timestamp::from_system(meta.modified()?) })))
}
