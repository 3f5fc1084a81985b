//! Trees of files: imports a directory or the objects of a bucket as keys, writes keys to a directory, compares the two.
//!
//! A file's path below the directory, its parts joined by `/`, is its key; its bytes are the value. Directories
//! themselves are not stored: an empty one has no keys, and neither dates nor permissions are kept.

mod cache;
mod checkout;
mod diff;
mod files;
mod import;
mod load;
mod source;
mod steps;
mod walk;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;

use crate::error::{Error, ErrorKind};

pub use cache::ImportCache;
pub use checkout::{CheckedOut, CheckoutOptions};
pub use diff::TreeChange;
pub use import::{Effect, Leftovers, Reading, TreeOptions, TreeSummary};
pub use source::ImportSource;
pub use steps::SteppedImport;

/// What the operating system refused, in terms of what to do next.
fn io_error(path: &Path, what: impl fmt::Display, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::of_system(&error),
    };
    Error::new(kind, format!("{} {what}", path.display())).caused_by(error)
}

/// Runs blocking file work on a thread that may block.
fn blocking<T: Send + 'static>(work: impl FnOnce() -> crate::Result<T> + Send + 'static) -> crate::blocking::Blocking<T> {
    crate::blocking::blocking("work on a file", work)
}
