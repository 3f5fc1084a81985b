//! Trying out a directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::register::try_lock;
use super::temporary::Temporary;
use super::{Disk, Local};
use crate::error::{Error, Result};
use crate::storage::doctor::{Observation, OtherProcess};
use crate::storage::layout::unique;

/// Tries once to lock the file `path`, for the process that asks another one whether it may; releases it at once.
pub fn lock_once(path: &Path) -> Result<bool> {
    let held = try_lock(path).map_err(|e| Error::unavailable(format!("{} cannot be locked", path.display())).caused_by(e))?;
    Ok(held.is_some())
}

/// Removes the scratch directory, also after an error.
struct ScratchDirectory(PathBuf);

impl ScratchDirectory {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        // If it cannot be removed, it stays as a directory that no listing shows.
        let _ignored = fs::remove_dir_all(&self.0);
    }
}

impl Local {
    /// Observes the properties of the directory.
    pub(in crate::storage) async fn examine(&self, other: OtherProcess) -> Result<Vec<Observation>> {
        self.blocking(move |disk| Ok(disk.examine(&other))).await
    }
}

impl Disk {
    fn examine(self: &Arc<Self>, other: &OtherProcess) -> Vec<Observation> {
        if fs::metadata(&self.root).is_ok_and(|found| !found.is_dir()) {
            return vec![Observation::bad("directory", "it exists and is not a directory, so no repository can be there")];
        }
        let there = self.root.ancestors().find(|path| path.is_dir()).unwrap_or(&self.root);
        let mut seen = vec![Observation::good("directory", self.where_it_is(there))];
        if let Err(e) = fs::read(self.root.join("repo.json"))
            && e.kind() != std::io::ErrorKind::NotFound
        {
            seen.push(Observation::bad("repository", format!("its repo.json cannot be read: {e}")));
        }
        seen.push(Observation::of("file system", self.describe_file_system()));
        let scratch = ScratchDirectory(there.join(format!(".~doctor-{}", unique())));
        if let Err(e) = fs::create_dir(&scratch.0) {
            seen.push(Observation::bad("writing", format!("{} cannot be written to: {e}", there.display())));
            return seen;
        }
        seen.push(Observation::of("locks", locks(&scratch, other)));
        seen.push(Observation::of("rename", renames(&scratch).map_err(|e| Error::unavailable(e.to_string()))));
        seen.push(Observation::of("sync", self.syncs(&scratch).map_err(|e| Error::unavailable(e.to_string()))));
        seen.push(Observation::of("removal", removes(&scratch).map_err(|e| Error::unavailable(e.to_string()))));
        seen
    }

    fn where_it_is(&self, there: &Path) -> String {
        match (there == self.root, self.root.join("repo.json").is_file()) {
            (true, true) => "it holds a repository".to_owned(),
            (true, false) => "it holds no repository".to_owned(),
            (false, _) => format!("it does not exist; {} was tried", there.display()),
        }
    }

    fn syncs(&self, scratch: &ScratchDirectory) -> std::io::Result<String> {
        let file = Temporary::write(&scratch.0, &[Bytes::from_static(b"x")])?;
        file.sync()?;
        self.sync_directory(&scratch.0)?;
        Ok("files and directories can be made durable".to_owned())
    }
}

/// A lock that this process holds must keep another one out, and no longer than it is held.
fn locks(scratch: &ScratchDirectory, other: &OtherProcess) -> Result<String> {
    let path = scratch.path("lock");
    let held = try_lock(&path).map_err(|e| Error::unsupported("files cannot be locked").caused_by(e))?;
    if held.is_none() {
        return Err(Error::unsupported("a new file is locked already"));
    }
    if other(&path)? {
        return Err(Error::unsupported("two processes hold the same lock"));
    }
    drop(held);
    if other(&path)? {
        Ok("a lock keeps another process out until it is released".to_owned())
    } else {
        Err(Error::unsupported("a lock that was released still keeps others out"))
    }
}

fn renames(scratch: &ScratchDirectory) -> std::io::Result<String> {
    let name = scratch.path("name");
    let write = |text: &'static [u8]| Temporary::write(&scratch.0, &[Bytes::from_static(text)]);
    let wrong = |what: &str| Err(std::io::Error::other(what.to_owned()));
    if write(b"1")?.rename_to_new(&name)?.is_err() {
        return wrong("a new name is taken already");
    }
    if write(b"2")?.rename_to_new(&name)?.is_ok() || fs::read(&name)? != b"1" {
        return wrong("a name that is taken is given to another file");
    }
    write(b"3")?.rename_over(&name)?;
    if fs::read(&name)? != b"3" {
        return wrong("a file that was renamed onto another is not seen");
    }
    Ok("a name is given to one file, and only on purpose to another".to_owned())
}

fn removes(scratch: &ScratchDirectory) -> std::io::Result<String> {
    let name = scratch.path("garbage");
    if Temporary::write(&scratch.0, &[Bytes::from_static(b"x")])?.rename_to_new(&name)?.is_err() {
        return Err(std::io::Error::other("a new name is taken already"));
    }
    fs::remove_file(&name)?;
    if fs::symlink_metadata(&name).is_ok() {
        return Err(std::io::Error::other("a file that was removed is still there"));
    }
    Ok("what is removed is gone, so garbage can be collected".to_owned())
}
