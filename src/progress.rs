//! How far a long operation has come, for whoever looks on.

use std::fmt;

/// An amount of work: of files, keys, chunks or blocks, whatever the operation is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// How many of them.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Is told how far imports, checkouts, verifications and CAR files have come; see [`OpenOptions::progress`].
///
/// Called often, from many tasks, while they wait: an implementation must not block. Nothing depends on what it does.
///
/// [`OpenOptions::progress`]: crate::OpenOptions::progress
pub trait Progress: fmt::Debug + Send + Sync {
    /// So much there will be in all. Told once, before any of it is done, by operations that know it.
    fn expect(&self, total: Amount);

    /// So much more is done.
    fn advance(&self, done: Amount);
}
