//! Moments in microseconds of UTC, and the clock that tells them.

mod calendar;
mod parse;

use std::fmt;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use calendar::CalendarPeriod;
pub use parse::parse_time;

/// The largest difference between this machine's clock and a store's with which a ref is still written there.
pub(crate) const SKEW: Duration = Duration::from_mins(1);

/// If a time is further ahead of this machine's clock than this, one of the two clocks is wrong.
pub(crate) const FUTURE: Duration = Duration::from_mins(10);

/// A moment: microseconds since 1970-01-01T00:00:00Z, which may be negative.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last moment that prints as RFC 3339 (the end of the year 9999).
    pub const MAX: Self = Self(253_402_300_799_999_999);
    /// The first moment that prints as RFC 3339 (the beginning of the year 0).
    pub const MIN: Self = Self(-62_167_219_200_000_000);

    /// The moment `micros` microseconds after 1970 began.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970 began.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The next moment, one microsecond later.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The moment `span` later; stops at the largest.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The moment `span` earlier; stops at the smallest.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The moment of a file's date. Dates outside of the range become its first or last moment.
    pub fn from_system(time: SystemTime) -> Self {
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self(micros(after)),
            Err(before) => Self(-micros(before.duration())),
        }
    }
}

/// Refuses the time of a clock that no commit and no move can have: one before 1970, or after the year 9999.
pub(crate) fn recordable(now: Timestamp) -> Result<Timestamp> {
    // A little before the end, so that what is stamped later than it can still be printed.
    let latest = Timestamp::MAX.minus(FUTURE);
    if now.micros() >= 0 && now <= latest {
        return Ok(now);
    }
    let year = if now.micros() < 0 { "before 1970" } else { "after the year 9999" };
    Err(Error::invalid(format!("this machine's clock shows {now}: times {year} cannot be recorded; set the clock")))
}

/// RFC 3339 in UTC with six decimals: `2025-03-01T12:00:00.000000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_micros(self.0) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true)),
            None => write!(f, "{} µs since 1970", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Tells the time. Injected wherever a moment is recorded, so that a test can replay a history.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::from_system(SystemTime::now())
    }
}
