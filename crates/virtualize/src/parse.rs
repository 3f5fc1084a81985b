//! Finds out what a file is and has it parsed.

use std::collections::{BTreeMap, BTreeSet};

use firnline::{Error, Result};

use crate::model::Parsed;
use crate::source::FileBytes;
use crate::{hdf5, netcdf3};

/// No variable of more bytes is read and copied into the repository.
pub(crate) const MOST_COPIED: u64 = 64 << 20;

/// What is asked for of a file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// The group whose variables are meant, without slashes around it; empty for the root.
    pub(crate) group: String,
    /// Names, or paths, of variables and groups that are left out.
    pub(crate) drop: BTreeSet<String>,
    pub(crate) copied: Copied,
}

/// Which variables are read and copied, rather than referred to.
#[derive(Debug, Clone)]
pub(crate) enum Copied {
    /// Coordinates, and every variable of at most so many bytes.
    Smaller(u64),
    /// These, by path; and of the others of `undecided`, coordinates and those of at most so many bytes.
    Named { paths: BTreeSet<String>, undecided: BTreeMap<String, u64> },
}

impl Copied {
    /// These and no other.
    pub(crate) const fn named(paths: BTreeSet<String>) -> Self {
        Self::Named { paths, undecided: BTreeMap::new() }
    }
}

impl Default for Copied {
    fn default() -> Self {
        Self::Smaller(0)
    }
}

impl Wanted {
    pub(crate) fn is_dropped(&self, path: &str) -> bool {
        self.drop.contains(path) || path.rsplit('/').next().is_some_and(|name| self.drop.contains(name))
    }

    /// Whether a variable of so many bytes is copied. Of one without rows those of a row, or of a chunk, are meant: of 0 bytes is every one
    /// in a file without rows, and those that follow are kept as the first one.
    pub(crate) fn is_copied(&self, path: &str, is_coordinate: bool, bytes: u64) -> bool {
        let is_small = |limit: u64| bytes <= limit || (is_coordinate && bytes <= MOST_COPIED);
        match &self.copied {
            Copied::Smaller(limit) => is_small(*limit),
            Copied::Named { paths, undecided } => paths.contains(path) || undecided.get(path).is_some_and(|limit| is_small(*limit)),
        }
    }
}

/// Parses a file. Blocks; a parser that panics on damaged bytes takes down only the thread that calls this.
pub(crate) fn parse(bytes: &FileBytes, wanted: &Wanted) -> Result<Parsed> {
    let parsed = detect(bytes).and_then(|found| match found {
        Found::Hdf5 => hdf5::parse(bytes, wanted),
        Found::Classic(format) => netcdf3::parse(bytes, format, wanted),
    });
    // What the parser says is only a copy of it, and what it found without these bytes is not what the file holds.
    match bytes.failure() {
        Some(failed) => Err(failed),
        None => parsed.map_err(|e| e.context(bytes.url())),
    }
}

enum Found {
    Hdf5,
    Classic(netcdf_reader::NcFormat),
}

const HDF5: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

fn detect(bytes: &FileBytes) -> Result<Found> {
    use netcdf_reader::NcFormat;
    let head = bytes.read(0..bytes.len().min(8))?;
    match head.as_slice() {
        [b'C', b'D', b'F', 1, ..] => return Ok(Found::Classic(NcFormat::Classic)),
        [b'C', b'D', b'F', 2, ..] => return Ok(Found::Classic(NcFormat::Offset64)),
        [b'C', b'D', b'F', 5, ..] => return Ok(Found::Classic(NcFormat::Cdf5)),
        [b'G', b'R', b'I', b'B', ..] => return Err(other("a GRIB file")),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => return Err(other("a TIFF file")),
        _ if head == HDF5 => return Ok(Found::Hdf5),
        _ => {}
    }
    // Behind a block of the user's, whose length is a power of two.
    let mut at = 512_u64;
    while at.checked_add(8).is_some_and(|end| end <= bytes.len()) {
        if bytes.read(at..at + 8)? == HDF5 {
            return Ok(Found::Hdf5);
        }
        at *= 2;
    }
    Err(Error::unsupported("is neither HDF5 (NetCDF4) nor NetCDF3"))
}

fn other(what: &str) -> Error {
    Error::unsupported(format!("is {what}, which only VirtualiZarr can parse: see the guide to the Python package"))
}

#[cfg(test)]
mod tests {
    use firnline::ErrorKind;

    use super::*;

    /// Two variables with dimensions, whose names and units lie in heaps.
    const FILE: &[u8] = include_bytes!("../tests/files/dimensions.h5");

    fn parsed(block: usize, failing: Option<usize>) -> (Result<Parsed>, BTreeSet<usize>) {
        let read = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        let told = std::sync::Arc::clone(&read);
        let bytes = FileBytes::of("file:///a.h5".to_owned(), FILE.len() as u64, block, move |range| {
            let (start, end) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
            let blocks = start / block..end.div_ceil(block);
            told.lock().unwrap().extend(blocks.clone());
            match failing {
                Some(n) if blocks.contains(&n) => Err(Error::unavailable("the server has a cold")),
                _ => Ok(FILE[start..end].to_vec()),
            }
        });
        let parsed = parse(&bytes, &Wanted { copied: Copied::Smaller(1 << 20), ..Wanted::default() });
        let read = read.lock().unwrap().clone();
        (parsed, read)
    }

    #[test]
    fn a_read_that_fails_anywhere_is_the_outcome() {
        let (whole, read) = parsed(256, None);
        let whole = whole.unwrap();
        let v = whole.variables.iter().find(|v| v.path == "v").unwrap();
        assert_eq!((v.dims.join(" "), &v.attributes["units"]), ("time x".to_owned(), &"a unit in a heap".into()));
        assert!(read.len() > 10, "{read:?}");
        for n in read {
            let failed = parsed(256, Some(n)).0.unwrap_err();
            assert!(failed.kind() == ErrorKind::Unavailable && failed.to_string().contains("a cold"), "{n}: {failed}");
        }
    }
}
