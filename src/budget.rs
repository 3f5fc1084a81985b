//! A bound on bytes held at once, shared by everything that holds a [`Share`] of it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// The bytes that one share of the semaphore stands for: its permits are counted in a `u32`.
const UNIT: u64 = 1024;

/// How many bytes may be held at once. Cheap to clone; clones share the bound.
#[derive(Debug, Clone)]
pub(crate) struct ByteBudget {
    free: Arc<Semaphore>,
    units: u32,
}

/// A part of a [`ByteBudget`], given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    _held: OwnedSemaphorePermit,
}

impl ByteBudget {
    /// A bound of `bytes`, rounded to whole KiB; at least one.
    pub(crate) fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        let permits = usize::try_from(units).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(permits)), units }
    }

    /// Waits for a share of `bytes`, in the order of the calls. A value larger than the whole budget takes all of it, so that it is
    /// held alone. The caller must see to it that what holds the rest goes on.
    pub(crate) async fn take(&self, bytes: u64) -> Result<Share> {
        let held = Arc::clone(&self.free).acquire_many_owned(self.units_of(bytes)).await;
        let held = held.map_err(|e| Error::internal("a byte budget was closed").caused_by(e))?;
        Ok(Share { _held: held })
    }

    fn units_of(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn try_take(budget: &ByteBudget, bytes: u64) -> Option<Share> {
        budget.take(bytes).now_or_never().map(Result::unwrap)
    }

    #[test]
    fn shares_add_up_to_the_budget_and_come_back() {
        let budget = ByteBudget::new(10 * UNIT);
        let first = try_take(&budget, 6 * UNIT).unwrap();
        assert!(try_take(&budget, 4 * UNIT + 1).is_none());
        let second = try_take(&budget, 4 * UNIT).unwrap();
        assert!(try_take(&budget.clone(), 0).is_none(), "an empty value counts one unit");
        drop(first);
        assert!(try_take(&budget, 6 * UNIT).is_some());
        drop(second);
    }

    #[test]
    fn a_value_larger_than_the_budget_is_held_alone() {
        for bytes in [0, 1, UNIT, 3 * UNIT] {
            let budget = ByteBudget::new(bytes);
            let small = try_take(&budget, 1).unwrap();
            assert!(try_take(&budget, u64::MAX).is_none());
            drop(small);
            let _large = try_take(&budget, u64::MAX).unwrap();
            assert!(try_take(&budget, 1).is_none());
            assert!(budget.take(1).now_or_never().is_none());
        }
    }
}
