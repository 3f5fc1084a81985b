//! Growing pauses between attempts: the one place where this crate decides how long to wait before it tries again.

#[cfg(feature = "remote")]
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// The pauses after the first, the second and every further failure: each twice as long as the one before, up to a longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// No pauses at all: for tests that replay one order of events.
    pub(crate) const NONE: Self = Self { first: Duration::ZERO, longest: Duration::ZERO };

    /// Pauses from `first` to `longest`.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The same, but no pause is longer than `longest`.
    pub(crate) fn at_most(self, longest: Duration) -> Self {
        Self { longest: self.longest.min(longest), ..self }
    }

    /// How long to wait when so many attempts have failed before the last one.
    pub(crate) fn pause(self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }

    /// The same within a random half, so that those who failed together do not all come back together.
    #[cfg(feature = "remote")]
    pub(crate) fn uneven_pause(self, failures: u32) -> Duration {
        let half = self.pause(failures) / 2;
        let drawn = RandomState::new().hash_one(failures) % 1024;
        half + half.mul_f64(f64::from(u32::try_from(drawn).unwrap_or(0)) / 1024.0)
    }

    /// Waits that long. Dropping the future ends the wait.
    pub(crate) async fn wait(self, failures: u32) {
        let pause = self.pause(failures);
        if !pause.is_zero() {
            crate::ambient::sleep(pause).await;
        }
    }

    /// Waits that long on a thread that may block.
    pub(crate) fn block(self, failures: u32) {
        std::thread::sleep(self.pause(failures));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "remote")]
    #[test]
    fn uneven_pauses_lie_in_the_later_half_and_differ() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let drawn: Vec<_> = (0..20).map(|_| backoff.uneven_pause(1)).collect();
        assert!(drawn.iter().all(|pause| (Duration::from_millis(100)..=Duration::from_millis(200)).contains(pause)), "{drawn:?}");
        assert!(drawn.iter().any(|pause| *pause != drawn[0]), "{drawn:?}");
        assert_eq!(Backoff::NONE.uneven_pause(3), Duration::ZERO);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_never_overflow() {
        let backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
        let pauses: Vec<_> = [0, 1, 2, 6, 7, 31, 32, u32::MAX].map(|n| backoff.pause(n).as_millis()).into();
        assert_eq!(pauses, [20, 40, 80, 1280, 2000, 2000, 2000, 2000]);
        assert_eq!(Backoff::NONE.pause(u32::MAX), Duration::ZERO);
        let endless = Backoff::new(Duration::MAX, Duration::MAX);
        assert_eq!(endless.pause(40), Duration::MAX);
    }
}
