//! Finds out what a file is and has it parsed.

use std::collections::BTreeSet;

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
    /// These, by path.
    Named(BTreeSet<String>),
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

    pub(crate) fn is_copied(&self, path: &str, is_coordinate: bool, bytes: u64) -> bool {
        match &self.copied {
            Copied::Smaller(limit) => bytes <= *limit || (is_coordinate && bytes <= MOST_COPIED),
            Copied::Named(paths) => paths.contains(path),
        }
    }
}

/// Parses a file. Blocks; a parser that panics on damaged bytes takes down only the thread that calls this.
pub(crate) fn parse(bytes: &FileBytes, wanted: &Wanted) -> Result<Parsed> {
    let parsed = detect(bytes).and_then(|found| match found {
        Found::Hdf5 => hdf5::parse(bytes, wanted),
        Found::Classic(format) => netcdf3::parse(bytes, format, wanted),
    });
    // What the parser says is only a copy of it.
    parsed.map_err(|e| bytes.failure().unwrap_or_else(|| e.context(bytes.url())))
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
