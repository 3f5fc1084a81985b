//! The last garbage collection that a session knows of.

use std::sync::atomic::{AtomicU64, Ordering};

/// The epoch of the last collection of which a session knows that it removes nothing any more that the session has read since.
///
/// What later collections condemn must be looked at before the session publishes on a ref that they have raised. So the number only
/// falls while the session stages, whenever it reads another ref, and rises only when the commit has looked.
#[derive(Debug)]
pub(crate) struct KnownEpoch(AtomicU64);

impl KnownEpoch {
    pub(crate) const fn new(epoch: u64) -> Self {
        Self(AtomicU64::new(epoch))
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Notes that something of a ref of this epoch, or of a session that knows of no more than this, may be linked.
    pub(crate) fn lower(&self, epoch: u64) {
        self.0.fetch_min(epoch, Ordering::AcqRel);
    }

    /// Notes that nothing that the session touched was removed by the collections up to this one.
    pub(crate) fn raise(&mut self, epoch: u64) {
        let known = self.0.get_mut();
        *known = epoch.max(*known);
    }
}
