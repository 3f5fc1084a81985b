//! A directory that appears under its name when it is complete.

use std::fs;
use std::path::{Path, PathBuf};

use firnline::{Error, Existing, Result};

use crate::error::{file_error, shown};

/// The file by which a directory is known to be a reference set.
pub(super) const METADATA: &str = ".zmetadata";

/// A directory that is being written under a hidden name. Dropping it before [`finish`](Self::finish) removes it. Its methods block.
#[derive(Debug)]
pub(super) struct StagedDirectory {
    name: PathBuf,
    existing: Existing,
    temporary: Removed,
}

impl StagedDirectory {
    /// Makes the directory that will have the name `name`, which must be absent or an empty directory.
    ///
    /// A reference set of that name may be replaced; nothing else ever is, so that no other directory is lost. `Invalid` otherwise.
    pub(super) fn create(name: &Path, existing: Existing) -> Result<Self> {
        let last = name.file_name().ok_or_else(|| Error::invalid(format!("{} names no directory", shown(name))))?;
        require_free(name, existing)?;
        let hidden = |what: &str| name.with_file_name(format!(".{}.{what}-{}", last.to_string_lossy(), std::process::id()));
        let temporary = hidden("firn");
        fs::create_dir(&temporary).map_err(|e| file_error("make", name, e))?;
        Ok(Self { name: name.to_owned(), existing, temporary: Removed(temporary) })
    }

    /// Where files of the directory are written.
    pub(super) fn path(&self) -> &Path {
        &self.temporary.0
    }

    /// Gives the directory its name.
    pub(super) fn finish(self) -> Result<()> {
        let failed = |e| file_error("write", &self.name, e);
        require_free(&self.name, self.existing)?;
        if !self.name.join(METADATA).exists() {
            // An empty directory of this name is replaced by the system.
            return fs::rename(self.path(), &self.name).map_err(failed);
        }
        let old = Removed(self.path().with_extension("old"));
        fs::rename(&self.name, &old.0).map_err(failed)?;
        if let Err(e) = fs::rename(self.path(), &self.name) {
            // The error that led here is the one to report.
            let _ = fs::rename(&old.0, &self.name);
            return Err(failed(e));
        }
        Ok(())
    }
}

fn require_free(name: &Path, existing: Existing) -> Result<()> {
    let wrong = |why: &str| Err(Error::invalid(format!("{} exists already{why}", shown(name))));
    let entries = match fs::read_dir(name) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => return wrong(" and is a file"),
        Err(e) => return Err(file_error("read", name, e)),
    };
    let is_set = name.join(METADATA).is_file();
    match (entries.count(), existing) {
        (0, _) => Ok(()),
        (_, Existing::Replace) if is_set => Ok(()),
        (_, Existing::Replace) => wrong(" and is no reference set, so it is not replaced"),
        (_, Existing::Refuse) => wrong(""),
    }
}

/// Removes a directory and everything in it when dropped, if it is there.
#[derive(Debug)]
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reference_sets_are_replaced_and_nothing_is_left_behind() {
        let parent = tempfile::tempdir().unwrap();
        let name = parent.path().join("set.parq");
        let names = || fs::read_dir(parent.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
        let write = |existing, text: &str| {
            let staged = StagedDirectory::create(&name, existing)?;
            fs::write(staged.path().join(METADATA), text).unwrap();
            fs::create_dir(staged.path().join("a")).unwrap();
            staged.finish()
        };
        drop(StagedDirectory::create(&name, Existing::Refuse).unwrap());
        assert!(names().is_empty());
        write(Existing::Refuse, "one").unwrap();
        assert!(write(Existing::Refuse, "two").is_err());
        assert_eq!(fs::read(name.join(METADATA)).unwrap(), b"one");
        write(Existing::Replace, "two").unwrap();
        assert_eq!((fs::read(name.join(METADATA)).unwrap(), names()), (b"two".to_vec(), vec!["set.parq".to_owned()]));

        fs::remove_file(name.join(METADATA)).unwrap();
        let error = write(Existing::Replace, "three").unwrap_err().to_string();
        assert!(error.contains("is no reference set"), "{error}");
        fs::remove_dir_all(&name).unwrap();
        fs::create_dir(&name).unwrap();
        write(Existing::Refuse, "into an empty directory").unwrap();
        fs::remove_dir_all(&name).unwrap();
        fs::write(&name, "a file").unwrap();
        assert!(write(Existing::Replace, "four").is_err());
        assert_eq!((fs::read(&name).unwrap(), names()), (b"a file".to_vec(), vec!["set.parq".to_owned()]));
    }
}
