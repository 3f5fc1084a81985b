//! Taking a session out of a store that others may still hold.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// How many others held what has just been found shared; at least one, although the last of them may be gone by now.
pub(crate) fn others<T>(shared: &Arc<T>) -> usize {
    (Arc::strong_count(shared) - 1).max(1)
}

/// A session could not be taken out of its store, because the store or the session is still held elsewhere.
///
/// Nothing has changed: [`into_store`](Self::into_store) gives the store back. Usually an array or a group holds the store; drop it
/// and take the session again.
pub struct StillShared<T> {
    store: Arc<T>,
    holders: usize,
}

impl<T> StillShared<T> {
    pub(crate) fn new(store: Arc<T>, holders: usize) -> Self {
        Self { store, holders }
    }

    /// A store that has other holders itself.
    pub(crate) fn of(store: Arc<T>) -> Self {
        let holders = others(&store);
        Self::new(store, holders)
    }

    /// The store, as it was.
    pub fn into_store(self) -> Arc<T> {
        self.store
    }
}

impl<T> fmt::Display for StillShared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, s) = (self.holders, if self.holders == 1 { "" } else { "s" });
        write!(
            f,
            "the session of the store cannot be taken: {count} other holder{s} of it, such as arrays and groups, must be dropped first"
        )
    }
}

impl<T> fmt::Debug for StillShared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T> StdError for StillShared<T> {}
