//! Whether a collection has to be ended by the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells, after a collection was interrupted, whether it has left something for the next one. Clones tell the same.
#[derive(Debug, Clone, Default)]
pub struct GcHandle {
    unfinished: Arc<AtomicBool>,
}

impl GcHandle {
    /// Whether a collection with these options has begun, or has taken over the one of another process, and has not ended: if it is
    /// interrupted now, the next [`begin_gc`](crate::Repository::begin_gc) ends it. Until then nothing that is needed is missing, and
    /// writers that need what it condemns wait.
    ///
    /// True from the moment at which that is sent to the store, so also if it is not known whether it has begun.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished.load(Ordering::Relaxed)
    }

    pub(super) fn begins(&self) {
        self.unfinished.store(true, Ordering::Relaxed);
    }

    pub(super) fn ends(&self) {
        self.unfinished.store(false, Ordering::Relaxed);
    }
}
