//! Errors of files, JSON and Parquet as errors of the engine, which name the file.

use std::io;
use std::path::Path;

use firnline::{Error, ErrorKind, printable_line};

/// The name of a file as messages show it.
pub(crate) fn shown(path: &Path) -> String {
    printable_line(&path.display().to_string()).into_owned()
}

/// A file that could not be read or written; `what` was being done. A file that does not exist is `NotFound`.
pub(crate) fn file_error(what: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::of_system(&error),
    };
    Error::new(kind, format!("cannot {what} {}", shown(path))).caused_by(error)
}

/// A file that is not the JSON that was expected. Trouble of the disk while it is read keeps its own kind.
pub(crate) fn json_error(path: &Path, error: serde_json::Error) -> Error {
    // What a reader of this crate refuses is of the kind `InvalidData`.
    if error.is_io() && error.io_error_kind() != Some(io::ErrorKind::InvalidData) {
        return file_error("read", path, error.into());
    }
    Error::invalid(format!("{} is no reference set", shown(path))).caused_by(error)
}

/// A file that is not the Parquet that was expected.
pub(crate) fn parquet_error(path: &Path, error: parquet::errors::ParquetError) -> Error {
    Error::invalid(format!("{} cannot be read as Parquet", shown(path))).caused_by(error)
}
