//! Hours, days, weeks, months and years of UTC, numbered.

use chrono::{DateTime, Datelike as _, Utc};

use super::Timestamp;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// A stretch of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CalendarPeriod {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week, which begins on Monday.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl CalendarPeriod {
    /// The word for keeping one of each: `hourly`, `daily`, `weekly`, `monthly` or `yearly`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }
}

impl Timestamp {
    /// The number of the period in which the moment lies; later periods have larger numbers.
    pub(crate) fn period(self, period: CalendarPeriod) -> i64 {
        let micros = self.micros();
        let date = || DateTime::<Utc>::from_timestamp_micros(micros).unwrap_or_default();
        match period {
            CalendarPeriod::Hour => micros.div_euclid(HOUR),
            CalendarPeriod::Day => micros.div_euclid(DAY),
            // 1970 began on a Thursday.
            CalendarPeriod::Week => (micros.div_euclid(DAY) + 3).div_euclid(7),
            CalendarPeriod::Month => i64::from(date().year()) * 12 + i64::from(date().month0()),
            CalendarPeriod::Year => i64::from(date().year()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_change_where_the_calendar_says() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (period, before, after) in [
            (CalendarPeriod::Hour, "2024-02-29T12:59:59.999999Z", "2024-02-29T13:00:00Z"),
            (CalendarPeriod::Day, "2024-02-28T23:59:59.999999Z", "2024-02-29T00:00:00Z"),
            // A Sunday and a Monday.
            (CalendarPeriod::Week, "2024-03-03T23:59:59.999999Z", "2024-03-04T00:00:00Z"),
            (CalendarPeriod::Week, "1969-12-28T23:59:59.999999Z", "1969-12-29T00:00:00Z"),
            (CalendarPeriod::Month, "2024-02-29T23:59:59.999999Z", "2024-03-01T00:00:00Z"),
            (CalendarPeriod::Year, "2024-12-31T23:59:59.999999Z", "2025-01-01T00:00:00Z"),
        ] {
            assert_eq!(at(before).period(period) + 1, at(after).period(period), "{} {before}", period.word());
        }
        for (period, first, last) in [
            (CalendarPeriod::Week, "2024-12-30T00:00:00Z", "2025-01-05T23:59:59Z"),
            (CalendarPeriod::Month, "2024-02-01T00:00:00Z", "2024-02-29T23:59:59Z"),
        ] {
            assert_eq!(at(first).period(period), at(last).period(period), "{} {first}", period.word());
        }
    }
}
