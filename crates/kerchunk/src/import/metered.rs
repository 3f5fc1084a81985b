//! Reading JSON of any length in bounded memory.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use firnline::Result;

use crate::error::file_error;

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
pub(super) struct MeteredFile {
    file: File,
    left: MemberBudget,
}

impl Read for MeteredFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        let Some(left) = self.left.0.get().checked_sub(read as u64) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a member is longer than {LONGEST_MEMBER} bytes")));
        };
        self.left.0.set(left);
        Ok(read)
    }
}

/// Opens a file, and the budget of its members.
pub(super) fn open(path: &Path) -> Result<(BufReader<MeteredFile>, MemberBudget)> {
    let file = File::open(path).map_err(|e| file_error("read", path, e))?;
    let left = MemberBudget(Rc::new(Cell::new(LONGEST_MEMBER)));
    Ok((BufReader::with_capacity(BUFFER, MeteredFile { file, left: left.clone() }), left))
}
