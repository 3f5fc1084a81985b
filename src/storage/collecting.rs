//! What a store and a collector of garbage promise each other.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};

/// What a store promises to a collector of garbage.
#[derive(Debug)]
#[non_exhaustive]
pub struct Collecting {
    /// While it is held no other process collects there; removals that this process sends hold it themselves until they end. `None`: the
    /// store has no such lock, and collectors keep each other away by a lease.
    pub lock: Option<CollectionLock>,
    /// How long after it was sent a removal may still happen, repetitions by the client included.
    pub late: Duration,
}

impl Collecting {
    /// Without a lock: removals happen no later than `late` after they were sent.
    pub const fn by_lease(late: Duration) -> Self {
        Self { lock: None, late }
    }
}

/// A lock that is held until this is dropped.
pub struct CollectionLock {
    _held: Arc<dyn Any + Send + Sync>,
}

impl CollectionLock {
    /// Holds the lock as long as `held` is held.
    pub fn new(held: Arc<dyn Any + Send + Sync>) -> Self {
        Self { _held: held }
    }
}

impl fmt::Debug for CollectionLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CollectionLock")
    }
}

/// For how long a collector may remove objects.
///
/// A collector without a lock may be suspended at any moment, and another may take over meanwhile. So a store looks at this as late as it
/// can: after a request was signed, and before it is sent.
#[derive(Clone)]
pub struct RemovalPermit(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl RemovalPermit {
    /// It does not end: a lock is held meanwhile, or nobody can link what is removed.
    pub const fn endless() -> Self {
        Self(None)
    }

    /// It is valid as long as `is_valid` says so. Once that has said no, it must not say yes again.
    pub fn while_true(is_valid: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_valid)))
    }

    /// Whether something may be removed at this moment.
    pub fn is_valid(&self) -> bool {
        self.0.as_ref().is_none_or(|is_valid| is_valid())
    }

    /// `Unavailable` when nothing may be removed any more; `name` says what was to be removed.
    pub fn require(&self, name: &dyn fmt::Display) -> Result<()> {
        if self.is_valid() {
            return Ok(());
        }
        Err(Error::unavailable(format!("{name} was not removed: another process may have taken over the collection of garbage")))
    }
}

impl fmt::Debug for RemovalPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemovalPermit").field(&self.is_valid()).finish()
    }
}
