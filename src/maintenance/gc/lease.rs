//! The right to remove objects: a lock where the store has one, else a lease.
//!
//! A collector removes nothing unless it saw the register of collections with its own number a short while ago. It goes on raising the
//! number; another collector takes over only when the number has stood still for longer than that, by its own clock. So a collector that
//! was suspended, or cut off, removes nothing any more when another has taken over.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::error::{Error, Result};
use crate::refs::Refs;
use crate::refs::collection::rules::{GcRule, holds};
use crate::refs::collection::{Advanced, GcHeld, GcState};
use crate::storage::elapsed::elapsed;
use crate::storage::{Collecting, RemovalPermit};

/// For how long a collector that saw its own number may remove objects.
pub(super) const LEASE: Duration = Duration::from_mins(5);
/// How long the number must stand still before another collector takes over: longer, because no two clocks run alike.
pub(super) const STILL: Duration = Duration::from_mins(6);
/// After how long a collector raises its number.
const RENEW: Duration = Duration::from_secs(100);

/// Tells collectors how much time has passed, and lets it pass.
pub(crate) trait GcClock: fmt::Debug + Send + Sync {
    /// The time since some moment in the past, suspensions of the machine included.
    fn now(&self) -> Duration;

    /// Waits.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
}

/// The clock of the operating system.
#[derive(Debug)]
pub(crate) struct ElapsedClock;

impl GcClock for ElapsedClock {
    fn now(&self) -> Duration {
        elapsed()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// A clock on which time passes as soon as somebody waits for it.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Default)]
pub(super) struct HurriedClock(std::sync::atomic::AtomicU64);

#[cfg(any(test, feature = "testing"))]
impl GcClock for HurriedClock {
    fn now(&self) -> Duration {
        elapsed() + Duration::from_micros(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.0.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), std::sync::atomic::Ordering::SeqCst);
        Box::pin(tokio::task::yield_now())
    }
}

/// A collection that this process carries out.
#[derive(Debug)]
pub(super) struct Lease<'r> {
    refs: &'r Refs,
    clock: Arc<dyn GcClock>,
    /// What the store promises. The lock in it is held until the lease is dropped.
    store: Collecting,
    /// The register, with the number of this collector.
    held: GcHeld,
    /// A moment before which the register was not seen to be that.
    seen: Duration,
}

impl<'r> Lease<'r> {
    /// Changes the register from `before` to `next`, and holds it from then on; `None` when another collector was first.
    pub(super) async fn take(
        refs: &'r Refs,
        clock: &Arc<dyn GcClock>,
        store: Collecting,
        before: &GcHeld,
        next: GcState,
    ) -> Result<Option<Self>> {
        let seen = clock.now();
        let Advanced::Won(held) = refs.advance(before, next).await? else { return Ok(None) };
        Ok(Some(Self { refs, clock: Arc::clone(clock), store, held, seen }))
    }

    /// The register as this collector has written it last.
    pub(super) const fn state(&self) -> &GcState {
        &self.held.state
    }

    /// Changes the register; an error of kind `Locked` when another collector has taken over.
    pub(super) async fn advance(&mut self, next: GcState) -> Result<()> {
        let seen = self.clock.now();
        match self.refs.advance(&self.held, next).await? {
            Advanced::Won(held) => (self.held, self.seen) = (held, seen),
            Advanced::Lost => return Err(taken_over()),
        }
        Ok(())
    }

    /// Raises the number if that is due.
    pub(super) async fn renew(&mut self) -> Result<()> {
        if self.age() < RENEW || !holds(GcRule::Lease) { Ok(()) } else { self.advance(self.held.state.renewed()).await }
    }

    /// The permit to remove objects, which ends when another collector may take over. `Locked` if that may have happened already.
    pub(super) fn permit(&self) -> Result<RemovalPermit> {
        if self.store.lock.is_some() || !holds(GcRule::Lease) {
            return Ok(RemovalPermit::endless());
        }
        let (clock, end) = (Arc::clone(&self.clock), self.seen.saturating_add(LEASE));
        let permit = RemovalPermit::while_true(move || clock.now() < end);
        if permit.is_valid() { Ok(permit) } else { Err(taken_over()) }
    }

    /// Waits until no removal that was sent before can happen any more.
    pub(super) async fn wait_for_removals(&mut self, at_least: Duration) -> Result<()> {
        let end = self.clock.now().saturating_add(self.store.late.max(at_least));
        loop {
            let left = end.saturating_sub(self.clock.now());
            if left.is_zero() || !holds(GcRule::LateRemovals) {
                return Ok(());
            }
            self.clock.sleep(left.min(RENEW)).await;
            self.renew().await?;
        }
    }

    /// The register, and what the store promises, for a collection that follows.
    pub(super) fn into_parts(self) -> (GcHeld, Collecting) {
        (self.held, self.store)
    }

    fn age(&self) -> Duration {
        self.clock.now().saturating_sub(self.seen)
    }
}

fn taken_over() -> Error {
    Error::locked("another process has taken over this garbage collection, or ended it")
}

/// Waits until a collection of another process has certainly stopped; `Locked` when it goes on. Needs no wait under a lock.
pub(super) async fn wait_for_owner(refs: &Refs, clock: &dyn GcClock, store: &Collecting, found: &GcHeld) -> Result<()> {
    if store.lock.is_some() {
        return Ok(());
    }
    let end = clock.now().saturating_add(STILL);
    loop {
        let left = end.saturating_sub(clock.now());
        clock.sleep(left.min(Duration::from_secs(10))).await;
        if refs.collection().await?.state.seq != found.state.seq {
            return Err(Error::locked("another process collects garbage there at this moment"));
        }
        if left.is_zero() {
            return Ok(());
        }
    }
}
