//! Errors: what went wrong in the repository, carried through the error types of zarrs.

use std::error::Error as StdError;
use std::sync::Arc;
use std::{fmt, io};

use firnline::{Error, ErrorKind};
use zarrs_storage::StorageError;

/// The [`firnline::Error`] that led to an error of zarrs; `None` if the error has another cause.
///
/// Takes a [`StorageError`] of a store of this crate, and every error that zarrs makes of it and that keeps it as a source, such as an
/// `ArrayError`. [`Error::kind`] tells an external file that changed ([`ErrorKind::SourceChanged`]) from one that is gone
/// ([`ErrorKind::NotFound`]), from a place that is not allowed ([`ErrorKind::Denied`]) and from damage ([`ErrorKind::Corrupt`]).
///
/// ```
/// use firnline::{ErrorKind, Key};
/// use zarrs_firnline::firnline_error;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use zarrs_firnline::AsyncFirnlineStore;
/// use zarrs_storage::{AsyncWritableStorageTraits, StoreKey};
///
/// let repository = firnline::Repository::create("memory:").await?;
/// let store = AsyncFirnlineStore::new(repository.write("main").await?);
/// let error = store.set(&StoreKey::new("a/../b")?, "".into()).await.unwrap_err();
/// assert_eq!(firnline_error(&error).map(firnline::Error::kind), Some(ErrorKind::Invalid));
/// # Ok(())
/// # }
/// ```
pub fn firnline_error<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e Error> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

/// An error of the engine inside an [`io::Error`], which shows its message and keeps it as its source.
#[derive(Debug)]
struct EngineError(Error);

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for EngineError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// The error of a store that has `error` as its source: the one variant of [`StorageError`] that carries any error.
pub(crate) fn storage_error(error: Error) -> StorageError {
    StorageError::IOError(Arc::new(io::Error::new(io_kind(error.kind()), EngineError(error))))
}

/// The nearest kind of [`io::Error`]. An object or file that is missing is not `NotFound`, because a caller could take that for an
/// absent key, which is never an error.
fn io_kind(kind: ErrorKind) -> io::ErrorKind {
    match kind {
        ErrorKind::Invalid => io::ErrorKind::InvalidInput,
        ErrorKind::Denied | ErrorKind::NoPermission => io::ErrorKind::PermissionDenied,
        ErrorKind::Corrupt => io::ErrorKind::InvalidData,
        ErrorKind::Unsupported => io::ErrorKind::Unsupported,
        ErrorKind::StorageFull => io::ErrorKind::StorageFull,
        ErrorKind::Locked => io::ErrorKind::ResourceBusy,
        _ => io::ErrorKind::Other,
    }
}
