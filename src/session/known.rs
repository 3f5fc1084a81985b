//! The last garbage collection that a session knows of.

use std::sync::atomic::{AtomicU64, Ordering};

/// The epoch of the last collection of which a session knows that it removes nothing any more that the session has read since.
///
/// What later collections condemn must be looked at before the session publishes on a ref that they have raised. So the number only
/// falls while the session stages, whenever it reads another ref, and rises only when the commit has looked.
#[derive(Debug)]
pub(crate) struct KnownEpoch {
    epoch: AtomicU64,
    /// Whether it has risen since the base of the session was read: the base may have expired before one of the collections since.
    has_risen: bool,
}

impl KnownEpoch {
    pub(crate) const fn new(epoch: u64) -> Self {
        Self { epoch: AtomicU64::new(epoch), has_risen: false }
    }

    pub(crate) fn get(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether the base of the session may have lost its data to a collection up to this one.
    pub(crate) const fn has_risen(&self) -> bool {
        self.has_risen
    }

    /// Notes that the session has a base that was read from a ref just now.
    pub(crate) const fn rebased(&mut self) {
        self.has_risen = false;
    }

    /// Notes that something of a ref of this epoch, or of a session that knows of no more than this, may be linked.
    pub(crate) fn lower(&self, epoch: u64) {
        self.epoch.fetch_min(epoch, Ordering::AcqRel);
    }

    /// Notes that nothing that the session touched was removed by the collections up to this one.
    pub(crate) fn raise(&mut self, epoch: u64) {
        let known = self.epoch.get_mut();
        self.has_risen |= epoch > *known;
        *known = epoch.max(*known);
    }
}
