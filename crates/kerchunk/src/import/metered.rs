//! Reading JSON of any length in bounded memory.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

use firnline::{Error, ErrorKind, Result};

use crate::error::{file_error, shown};

/// The longest member of an object: a key with its value, in bytes. A parser holds one in memory.
pub(super) const LONGEST_MEMBER: u64 = 64 << 20;

/// How much is read at once, in bytes.
const BUFFER: usize = 1 << 18;

/// How much may be read before the next member begins.
#[derive(Debug, Clone)]
pub(super) struct MemberBudget(Rc<Cell<u64>>);

impl MemberBudget {
    /// Says that a member begins. What is in the buffer already does not count.
    pub(super) fn renew(&self) {
        self.0.set(LONGEST_MEMBER);
    }
}

/// A file of which no member is longer than [`LONGEST_MEMBER`].
#[derive(Debug)]
pub(super) struct MeteredFile<'f> {
    file: &'f File,
    left: MemberBudget,
}

impl Read for MeteredFile<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        let Some(left) = self.left.0.get().checked_sub(read as u64) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a member is longer than {LONGEST_MEMBER} bytes")));
        };
        self.left.0.set(left);
        Ok(read)
    }
}

/// A file that is read more than once and has to be the same each time. It is opened once, so that one that takes its name changes nothing.
#[derive(Debug)]
pub(super) struct RepeatedFile<'p> {
    pub(super) path: &'p Path,
    file: File,
    /// Its length, and when it was changed last.
    state: (u64, SystemTime),
}

impl<'p> RepeatedFile<'p> {
    pub(super) fn open(path: &'p Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| file_error("read", path, e))?;
        let state = state(path, &file)?;
        Ok(Self { path, file, state })
    }

    /// The whole of it, and the budget of its members.
    pub(super) fn read(&self) -> Result<(BufReader<MeteredFile<'_>>, MemberBudget)> {
        let mut file = &self.file;
        file.rewind().map_err(|e| file_error("read", self.path, e))?;
        let left = MemberBudget(Rc::new(Cell::new(LONGEST_MEMBER)));
        Ok((BufReader::with_capacity(BUFFER, MeteredFile { file, left: left.clone() }), left))
    }

    /// `SourceChanged` if it was written to since it was opened.
    pub(super) fn require_unchanged(&self) -> Result<()> {
        if state(self.path, &self.file)? == self.state {
            return Ok(());
        }
        let why = format!("{} was changed while it was read; import it again when nothing writes to it", shown(self.path));
        Err(Error::new(ErrorKind::SourceChanged, why))
    }
}

fn state(path: &Path, file: &File) -> Result<(u64, SystemTime)> {
    let about = file.metadata().and_then(|about| Ok((about.len(), about.modified()?)));
    about.map_err(|e| file_error("read", path, e))
}
