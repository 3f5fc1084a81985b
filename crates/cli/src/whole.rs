//! Files that appear under their names when they are complete: written beside the place under a hidden name, synced, and given the name
//! at the end.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use firnline::{Error, ErrorKind, Existing, Result};

/// A file that is being written. Dropping it before [`finish`](Self::finish) removes what was written.
#[derive(Debug)]
pub(super) struct WholeFile {
    name: PathBuf,
    existing: Existing,
    /// Where the file is written; `None` if it is a pipe or a device, which is written to as it is.
    temporary: Option<Temporary>,
}

impl WholeFile {
    /// Begins a file that will have the name `file`, and opens it for writing.
    ///
    /// A pipe or a device of that name is written to as it is. A directory is `Invalid`, and so is a file that exists, unless it is to be replaced;
    /// a missing directory above it is `NotFound`.
    pub(super) fn create(file: &Path, existing: Existing) -> Result<(Self, File)> {
        let whole = |temporary| Self { name: file.to_owned(), existing, temporary };
        match fs::metadata(file) {
            Ok(metadata) if metadata.is_dir() => return Err(Error::invalid(format!("{} is a directory", file.display()))),
            Ok(metadata) if metadata.is_file() => match existing {
                Existing::Replace => {}
                Existing::Refuse => return Err(Error::invalid(format!("{} exists already; an export never overwrites", file.display()))),
            },
            Ok(_) => {
                let out = File::options().write(true).open(file).map_err(|e| trouble(file, "cannot be written", e))?;
                return Ok((whole(None), out));
            }
            Err(_) => {}
        }
        let name = file.file_name().ok_or_else(|| Error::invalid(format!("{} names no file", file.display())))?;
        let temporary = file.with_file_name(format!(".{}.firn-{}", name.to_string_lossy(), std::process::id()));
        let out = File::options().write(true).create_new(true).open(&temporary).map_err(|e| trouble(file, "cannot be made", e))?;
        // From here on the file is this one's own: one that was there before is never removed.
        Ok((whole(Some(Temporary(temporary))), out))
    }

    /// Gives the file its name, after everything was written to `out`. A file of this name that another process made meanwhile stays, unless
    /// it is to be replaced.
    pub(super) fn finish(self, out: &File) -> Result<()> {
        let Some(temporary) = &self.temporary else { return Ok(()) };
        let named = out.sync_all().and_then(|()| match self.existing {
            Existing::Replace => fs::rename(&temporary.0, &self.name),
            Existing::Refuse => give_name(&temporary.0, &self.name),
        });
        named.map_err(|e| trouble(&self.name, "cannot be written", e))
    }
}

/// Gives the file at `temporary` the name `file`, which does not exist. A link, unlike a rename, never replaces a file that was
/// made meanwhile. Where the file system has no links, as on many USB disks, an empty file takes the name first.
fn give_name(temporary: &Path, file: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, file) {
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => {}
        done => return done,
    }
    take_name(temporary, file)
}

/// Does so where the file system has no links.
fn take_name(temporary: &Path, file: &Path) -> io::Result<()> {
    File::options().write(true).create_new(true).open(file)?;
    let renamed = fs::rename(temporary, file);
    if renamed.is_err() {
        let _ = fs::remove_file(file);
    }
    renamed
}

/// Removes a file when dropped.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The error of a file of this machine that the user named.
pub(super) fn trouble(file: &Path, what: &str, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::Invalid,
        _ => ErrorKind::of_system(&error),
    };
    Error::new(kind, format!("{} {what}", file.display())).caused_by(error)
}

/// Whether a file name stands for a standard stream.
pub(super) fn is_dash(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Whether an error came from a pipe whose reader went away.
pub(super) fn is_closed_pipe(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        if next.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            return true;
        }
        cause = next.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_has_its_name_when_it_is_complete_and_nothing_is_left_of_one_that_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("out");
        let left = || fs::read_dir(directory.path()).unwrap().count();
        let (given_up, mut out) = WholeFile::create(&file, Existing::Refuse).unwrap();
        out.write_all(b"half").unwrap();
        assert!(!file.exists() && left() == 1);
        drop(given_up);
        assert_eq!(left(), 0);

        let (whole, mut out) = WholeFile::create(&file, Existing::Refuse).unwrap();
        out.write_all(b"whole").unwrap();
        whole.finish(&out).unwrap();
        assert_eq!((fs::read(&file).unwrap(), left()), (b"whole".to_vec(), 1));

        assert_eq!(WholeFile::create(&file, Existing::Refuse).unwrap_err().kind(), ErrorKind::Invalid);
        let (given_up, _) = WholeFile::create(&file, Existing::Replace).unwrap();
        drop(given_up);
        assert_eq!((fs::read(&file).unwrap(), left()), (b"whole".to_vec(), 1));
        let (whole, mut out) = WholeFile::create(&file, Existing::Replace).unwrap();
        out.write_all(b"other").unwrap();
        whole.finish(&out).unwrap();
        assert_eq!((fs::read(&file).unwrap(), left()), (b"other".to_vec(), 1));
    }

    #[test]
    fn a_file_that_was_made_meanwhile_stays() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("out");
        let (whole, out) = WholeFile::create(&file, Existing::Refuse).unwrap();
        fs::write(&file, "mine").unwrap();
        assert_eq!(whole.finish(&out).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!((fs::read(&file).unwrap(), fs::read_dir(directory.path()).unwrap().count()), (b"mine".to_vec(), 1));
    }

    #[test]
    fn a_name_is_taken_without_links() {
        let directory = tempfile::tempdir().unwrap();
        let (temporary, file) = (directory.path().join(".v.car"), directory.path().join("v.car"));
        fs::write(&temporary, "new").unwrap();
        fs::write(&file, "mine").unwrap();
        assert_eq!(take_name(&temporary, &file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read(&temporary).unwrap(), fs::read(&file).unwrap()), (b"new".to_vec(), b"mine".to_vec()));
        fs::remove_file(&file).unwrap();
        take_name(&temporary, &file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(!temporary.exists());
    }

    /// No file system links a directory, so one stands here for a file where there are no links. It cannot replace the empty file
    /// that holds the name, which must not stay behind.
    #[test]
    fn an_empty_file_that_held_the_name_does_not_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (temporary, file) = (directory.path().join("unlinkable"), directory.path().join("v.car"));
        fs::create_dir(&temporary).unwrap();
        let error = give_name(&temporary, &file).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "the rename came after the link: {error}");
        assert!(!file.exists() && temporary.is_dir());
    }
}
