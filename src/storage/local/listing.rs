//! What lies in the directory, as names.

use std::fs::{self, DirEntry};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::sync::mpsc;

use super::Disk;
use super::register::LOCKS;
use super::temporary::is_temporary;
use crate::error::{Error, Result};
use crate::storage::ObjectMeta;
use crate::time::Timestamp;

/// Names that the walking thread may be ahead of the reader.
const AHEAD: usize = 1024;

/// Lists what begins with `prefix`. A thread walks while the stream is read, and stops when it is dropped.
pub(super) fn list(disk: Arc<Disk>, prefix: String) -> BoxStream<'static, Result<ObjectMeta>> {
    let start = async move {
        let (found, receiver) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || disk.walk(&prefix, &found));
        stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|item| (item, receiver)) })
    };
    stream::once(start).flatten().boxed()
}

/// The reader has gone, so nobody wants the rest.
struct Gone;

impl Disk {
    fn walk(&self, prefix: &str, found: &mpsc::Sender<Result<ObjectMeta>>) {
        let start = prefix.rsplit_once('/').map_or("", |(directory, _)| directory);
        let locks = start.strip_prefix(LOCKS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if locks || start.split('/').any(|segment| matches!(segment, "." | "..")) || start.starts_with('/') || start.contains("//") {
            return; // No name begins like this.
        }
        let mut directories = vec![start.to_owned()];
        if let Err(e) = self.look() {
            let _gone = found.blocking_send(Err(e));
            return;
        }
        while let Some(directory) = directories.pop() {
            if self.walk_one(&directory, prefix, &mut directories, found).is_err() {
                return;
            }
        }
    }

    /// Sends the files of one directory and notes the directories in it.
    fn walk_one(
        &self,
        directory: &str,
        prefix: &str,
        directories: &mut Vec<String>,
        found: &mpsc::Sender<Result<ObjectMeta>>,
    ) -> Result<(), Gone> {
        let send = |item| found.blocking_send(item).map_err(|_| Gone);
        let entries = match fs::read_dir(self.path(directory)) {
            Ok(entries) => entries,
            Err(e) => return self.absent(directory, e).or_else(|e| send(Err(e))),
        };
        for entry in entries {
            match entry.and_then(|entry| look_at(&entry, directory)) {
                Ok(Some((name, Found::Directory))) => {
                    let below = format!("{name}/");
                    if name != LOCKS && (below.starts_with(prefix) || prefix.starts_with(&below)) {
                        directories.push(name);
                    }
                }
                Ok(Some((name, Found::File { size, modified }))) => {
                    if name.starts_with(prefix) {
                        send(Ok(ObjectMeta { name, size, modified }))?;
                    }
                }
                Ok(None) => {}
                Err(e) => send(Err(self.unlisted(directory, e)))?,
            }
        }
        Ok(())
    }

    fn unlisted(&self, directory: &str, error: io::Error) -> Error {
        let shown = if directory.is_empty() { "the repository" } else { directory };
        self.trouble(shown, "be listed", error)
    }
}

/// What has a name in a directory.
enum Found {
    Directory,
    File { size: u64, modified: Timestamp },
}

/// The name and kind of an entry; `None` for what is no object: temporaries, sockets and the like, names that are not
/// UTF-8, and what vanished in the meantime.
fn look_at(entry: &DirEntry, directory: &str) -> io::Result<Option<(String, Found)>> {
    let file_name = entry.file_name();
    let Some(file_name) = file_name.to_str().filter(|name| !is_temporary(name)) else { return Ok(None) };
    let name = if directory.is_empty() { file_name.to_owned() } else { format!("{directory}/{file_name}") };
    if entry.file_type()?.is_dir() {
        return Ok(Some((name, Found::Directory)));
    }
    let path: PathBuf = entry.path();
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let found = if meta.is_dir() {
        Found::Directory
    } else if meta.is_file() {
        Found::File { size: meta.len(), modified: Timestamp::from_system(meta.modified()?) }
    } else {
        return Ok(None);
    };
    Ok(Some((name, found)))
}
