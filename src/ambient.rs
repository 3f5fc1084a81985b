//! What the engine takes from its surroundings besides storage and clocks: pauses, random numbers, and threads that may block.
//!
//! In tests a simulation may take their place on its thread, so that one seed decides everything.

#[cfg(not(test))]
pub(crate) use real::{hash_seed, is_simulated, random, sleep, steady};
#[cfg(test)]
pub(crate) use simulated::{Ambient, hash_seed, install, is_simulated, random, sleep, steady};

/// What the operating system gives.
mod real {
    use std::hash::{BuildHasher as _, RandomState};
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    use crate::error::{Error, Result};

    /// Waits that long. Dropping the future ends the wait.
    pub(crate) async fn sleep(time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// The time since some moment in the past, which no setting of clocks changes.
    pub(crate) fn steady() -> Duration {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        BEGAN.get_or_init(Instant::now).elapsed()
    }

    /// A random number.
    pub(crate) fn random() -> Result<u64> {
        getrandom::u64().map_err(|e| Error::internal("the operating system gives no random bytes").caused_by(e))
    }

    /// A seed for a hash that nobody outside can guess; cheaper than a random number.
    pub(crate) fn hash_seed() -> u64 {
        RandomState::new().hash_one(0)
    }

    /// Whether everything is to happen on this thread, because a simulation decides the order of all that happens: never.
    #[cfg(not(test))]
    pub(crate) const fn is_simulated() -> bool {
        false
    }
}

/// The same, unless a simulation runs on this thread.
#[cfg(test)]
mod simulated {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::time::Duration;

    use futures::future::BoxFuture;

    use super::real;
    use crate::error::Result;

    /// What a simulation puts in the place of the operating system.
    pub(crate) trait Ambient: Send + Sync {
        fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
        fn steady(&self) -> Duration;
        fn random(&self) -> u64;
    }

    thread_local! {
        static HERE: RefCell<Option<Arc<dyn Ambient>>> = const { RefCell::new(None) };
    }

    /// Puts `ambient` in the place of the operating system on this thread until what is returned is dropped.
    pub(crate) fn install(ambient: Arc<dyn Ambient>) -> impl Drop {
        struct Installed;
        impl Drop for Installed {
            fn drop(&mut self) {
                HERE.set(None);
            }
        }
        HERE.set(Some(ambient));
        Installed
    }

    fn here() -> Option<Arc<dyn Ambient>> {
        HERE.with_borrow(Clone::clone)
    }

    pub(crate) async fn sleep(time: Duration) {
        match here() {
            Some(ambient) => ambient.sleep(time).await,
            None => real::sleep(time).await,
        }
    }

    pub(crate) fn steady() -> Duration {
        here().map_or_else(real::steady, |ambient| ambient.steady())
    }

    pub(crate) fn random() -> Result<u64> {
        here().map_or_else(real::random, |ambient| Ok(ambient.random()))
    }

    pub(crate) fn hash_seed() -> u64 {
        here().map_or_else(real::hash_seed, |ambient| ambient.random())
    }

    pub(crate) fn is_simulated() -> bool {
        HERE.with_borrow(Option::is_some)
    }
}
