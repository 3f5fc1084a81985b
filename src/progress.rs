//! Reports of how far a long operation has come.

use std::fmt;

/// An amount of work, counted in the units of the operation: files, keys, chunks or blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// How many of them.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Receives reports of how far imports, checkouts, verifications, CAR files and calls that read external files have come; see
/// [`OpenOptions::progress`].
///
/// Called often, from many tasks, while they wait: an implementation must not block. The operation does not depend on it.
///
/// [`OpenOptions::progress`]: crate::OpenOptions::progress
pub trait Progress: fmt::Debug + Send + Sync {
    /// Reports the total. Called once, before any of the work is done, by operations that know the total.
    fn expect(&self, total: Amount);

    /// Reports that so much more is done.
    fn advance(&self, done: Amount);
}
