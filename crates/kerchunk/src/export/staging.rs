//! A directory that appears under its name when it is complete.

use std::path::{Path, PathBuf};
use std::{fs, io};

use firnline::{Error, Existing, Result};

use crate::error::{file_error, shown};
use crate::import::require_set_alone;

/// The file by which a directory is known to be a reference set.
pub(super) const METADATA: &str = ".zmetadata";

/// So many names of hidden directories are tried.
const MOST_LEFT: u32 = 1_000;

/// A directory that is being written inside of one with a hidden name, which is dropped with it. Its methods block.
#[derive(Debug)]
pub(super) struct StagedDirectory {
    name: PathBuf,
    existing: Existing,
    /// Inside of `hidden`.
    new: PathBuf,
    hidden: HiddenDirectory,
}

impl StagedDirectory {
    /// Makes the directory that will have the name `name`, which must be absent or an empty directory.
    ///
    /// A reference set of that name, with nothing else in it, may be replaced; no other directory ever is, so that none is lost. `Invalid`
    /// otherwise.
    pub(super) fn create(name: &Path, existing: Existing) -> Result<Self> {
        let last = name.file_name().ok_or_else(|| Error::invalid(format!("{} names no directory", shown(name))))?;
        require_free(name, existing)?;
        let hidden = HiddenDirectory::create(name, &last.to_string_lossy())?;
        let new = hidden.path.join("new");
        fs::create_dir(&new).map_err(|e| file_error("make", &new, e))?;
        Ok(Self { name: name.to_owned(), existing, new, hidden })
    }

    /// Where files of the directory are written.
    pub(super) fn path(&self) -> &Path {
        &self.new
    }

    /// Gives the directory its name.
    pub(super) fn finish(self) -> Result<()> {
        self.finish_by(|from, to| fs::rename(from, to))
    }

    fn finish_by(mut self, rename: impl Fn(&Path, &Path) -> io::Result<()>) -> Result<()> {
        let failed = |e| file_error("write", &self.name, e);
        require_free(&self.name, self.existing)?;
        if !self.name.join(METADATA).exists() {
            // An empty directory of this name is replaced by the system.
            return rename(&self.new, &self.name).map_err(failed);
        }
        let old = self.hidden.path.join("old");
        rename(&self.name, &old).map_err(failed)?;
        let Err(e) = rename(&self.new, &self.name) else { return Ok(()) };
        // The error that led here is the one to report.
        let error = failed(e);
        if rename(&old, &self.name).is_ok() {
            return Err(error);
        }
        self.hidden.is_kept = true;
        Err(error.context(format!("the reference set that was to be replaced is now {}", shown(&old))))
    }
}

fn require_free(name: &Path, existing: Existing) -> Result<()> {
    let wrong = |why: &str| Err(Error::invalid(format!("{} exists already{why}", shown(name))));
    let entries = match fs::read_dir(name) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => return wrong(" and is a file"),
        Err(e) => return Err(file_error("read", name, e)),
    };
    match (entries.count(), existing) {
        (0, _) => Ok(()),
        (_, Existing::Replace) if name.join(METADATA).is_file() => require_set_alone(name).map_err(|e| {
            e.context(format!("{} exists already and is not replaced, because not all of it is a reference set", shown(name)))
        }),
        (_, Existing::Replace) => wrong(" and is no reference set, so it is not replaced"),
        (_, Existing::Refuse) => wrong(""),
    }
}

/// Removes a directory and everything in it when dropped, unless it is kept.
#[derive(Debug)]
struct HiddenDirectory {
    path: PathBuf,
    is_kept: bool,
}

impl HiddenDirectory {
    /// Makes a new directory beside `name`. One that another export has, or that a killed one left, is passed over: in containers processes
    /// have
    /// the same few ids again and again.
    fn create(name: &Path, last: &str) -> Result<Self> {
        let mut n = 1_u32;
        loop {
            let number = if n == 1 { String::new() } else { format!("-{n}") };
            let path = name.with_file_name(format!(".{last}.firn-{}{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, is_kept: false }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && n < MOST_LEFT => n += 1,
                Err(e) => return Err(file_error("make", &path, e)),
            }
        }
    }
}

impl Drop for HiddenDirectory {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place for a set, and the names beside it.
    struct Parent(tempfile::TempDir);

    impl Parent {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn set(&self) -> PathBuf {
            self.0.path().join("set.parq")
        }

        fn names(&self) -> Vec<String> {
            fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
        }

        fn staged(&self, existing: Existing, record_size: u32) -> Result<StagedDirectory> {
            let staged = StagedDirectory::create(&self.set(), existing)?;
            fs::write(staged.path().join(METADATA), metadata(record_size)).unwrap();
            fs::create_dir_all(staged.path().join("a/b")).unwrap();
            fs::write(staged.path().join("a/b/refs.0.parq"), "").unwrap();
            Ok(staged)
        }

        fn write(&self, existing: Existing, record_size: u32) -> Result<()> {
            self.staged(existing, record_size)?.finish()
        }

        fn metadata(&self) -> String {
            fs::read_to_string(self.set().join(METADATA)).unwrap()
        }
    }

    fn metadata(record_size: u32) -> String {
        format!(r#"{{"metadata": {{".zattrs": {{"missing": NaN}}}}, "record_size": {record_size}}}"#)
    }

    #[test]
    fn a_set_appears_whole_and_nothing_is_left_behind() {
        let parent = Parent::new();
        drop(StagedDirectory::create(&parent.set(), Existing::Refuse).unwrap());
        assert!(parent.names().is_empty());
        parent.write(Existing::Refuse, 1).unwrap();
        assert!(parent.write(Existing::Refuse, 2).is_err());
        assert_eq!(parent.metadata(), metadata(1));
        parent.write(Existing::Replace, 2).unwrap();
        assert_eq!((parent.metadata(), parent.names()), (metadata(2), vec!["set.parq".to_owned()]));
        fs::remove_dir_all(parent.set()).unwrap();
        fs::create_dir(parent.set()).unwrap();
        parent.write(Existing::Refuse, 3).unwrap();
        assert_eq!(parent.metadata(), metadata(3));
    }

    #[test]
    fn only_reference_sets_with_nothing_else_in_them_are_replaced() {
        let zarr = r#"{"metadata": {".zgroup": {"zarr_format": 2}}, "zarr_consolidated_format": 1}"#;
        let set = metadata(1);
        let cases = [
            (vec![("a/0.0", "values")], "set.parq exists already and is no reference set"),
            (vec![(METADATA, zarr), ("a/0.0", "values")], ".zmetadata is no reference set"),
            (vec![(METADATA, zarr)], ".zmetadata is no reference set"),
            (vec![(METADATA, "one")], ".zmetadata is no reference set"),
            (vec![(METADATA, &*set), ("a/refs.0.parq", ""), ("a/0.0", "values")], "a/0.0"),
            (vec![(METADATA, &*set), ("notes.txt", "mine")], "notes.txt"),
            (vec![(METADATA, &*set), ("a/.zmetadata", &*set)], "a/.zmetadata"),
        ];
        for (files, why) in cases {
            let parent = Parent::new();
            for (file, text) in &files {
                let path = parent.set().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            let error = parent.write(Existing::Replace, 2).unwrap_err();
            assert_eq!(error.kind(), firnline::ErrorKind::Invalid, "{why}: {error}");
            assert!(error.to_string().contains(why), "{why}: {error}");
            for (file, text) in &files {
                assert_eq!(fs::read_to_string(parent.set().join(file)).unwrap(), *text, "{why}");
            }
            assert_eq!(parent.names(), ["set.parq"], "{why}");
        }
        let parent = Parent::new();
        fs::write(parent.set(), "a file").unwrap();
        assert!(parent.write(Existing::Replace, 4).is_err());
        assert_eq!((fs::read(parent.set()).unwrap(), parent.names()), (b"a file".to_vec(), vec!["set.parq".to_owned()]));
    }

    #[test]
    fn directories_of_others_are_left_alone_when_a_set_is_replaced() {
        let parent = Parent::new();
        parent.write(Existing::Refuse, 1).unwrap();
        let mine = parent.0.path().join(".set.parq.old");
        fs::create_dir(&mine).unwrap();
        fs::write(mine.join("notes"), "mine").unwrap();
        parent.write(Existing::Replace, 2).unwrap();
        assert_eq!((parent.metadata(), fs::read_to_string(mine.join("notes")).unwrap()), (metadata(2), "mine".to_owned()));
    }

    #[test]
    fn what_other_exports_left_is_passed_over() {
        let parent = Parent::new();
        let killed = parent.0.path().join(format!(".set.parq.firn-{}", std::process::id()));
        fs::create_dir_all(killed.join("old")).unwrap();
        let one = parent.staged(Existing::Replace, 1).unwrap();
        let other = parent.staged(Existing::Replace, 2).unwrap();
        one.finish().unwrap();
        other.finish().unwrap();
        assert_eq!(parent.metadata(), metadata(2));
        assert!(killed.join("old").exists());
        assert_eq!(parent.names().len(), 2, "{:?}", parent.names());
    }

    #[test]
    fn the_old_set_survives_whatever_fails() {
        let refused = || Err(io::Error::other("refused"));
        for fails_from in 0..3 {
            let parent = Parent::new();
            parent.write(Existing::Refuse, 1).unwrap();
            let calls = std::cell::Cell::new(0);
            let rename = |from: &Path, to: &Path| {
                // The second failure is that of putting the old set back.
                let is_refused = if fails_from == 2 { calls.get() >= 1 } else { calls.get() == fails_from };
                calls.set(calls.get() + 1);
                if is_refused { refused() } else { fs::rename(from, to) }
            };
            let error = parent.staged(Existing::Replace, 2).unwrap().finish_by(rename).unwrap_err().to_string();
            if fails_from == 2 {
                let old = parent.0.path().join(format!(".set.parq.firn-{}/old", std::process::id()));
                assert!(error.contains(old.to_str().unwrap()), "{error}");
                assert_eq!(fs::read_to_string(old.join(METADATA)).unwrap(), metadata(1));
            } else {
                assert_eq!((parent.metadata(), parent.names()), (metadata(1), vec!["set.parq".to_owned()]));
            }
        }
    }
}
