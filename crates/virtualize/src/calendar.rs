//! Units of time as the CF conventions write them: `days since 2025-01-01 00:00:00`.

/// Nanoseconds.
const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;

/// How days are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calendar {
    /// Julian before the reform of 1582, Gregorian after it.
    Standard,
    ProlepticGregorian,
    Julian,
    NoLeap,
    AllLeap,
    /// Twelve months of 30 days.
    Days360,
}

/// A unit of a fixed length, and the time from which it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeUnits {
    /// In nanoseconds.
    pub(crate) length: i128,
    /// In nanoseconds, from a day that depends only on the calendar.
    pub(crate) epoch: i128,
}

impl Calendar {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "standard" | "gregorian" => Self::Standard,
            "proleptic_gregorian" => Self::ProlepticGregorian,
            "julian" => Self::Julian,
            "noleap" | "365_day" => Self::NoLeap,
            "all_leap" | "366_day" => Self::AllLeap,
            "360_day" => Self::Days360,
            _ => return None,
        })
    }

    /// The number of a day; `None` if the calendar does not have it.
    fn day(self, year: i128, month: i128, day: i128) -> Option<i128> {
        if self == Self::Standard {
            return match (year, month, day) {
                date if date >= (1582, 10, 15) => Self::ProlepticGregorian.day(year, month, day),
                // The day after 4 October was 15 October. Days of both are counted from the same one.
                date if date <= (1582, 10, 4) => Some(Self::Julian.day(year, month, day)? - 2),
                _ => None,
            };
        }
        let before = year - 1;
        let (is_leap, days) = match self {
            Self::Standard | Self::ProlepticGregorian => {
                let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
                (is_leap, 365 * before + before / 4 - before / 100 + before / 400)
            }
            Self::Julian => (year % 4 == 0, 365 * before + before / 4),
            Self::NoLeap => (false, 365 * before),
            Self::AllLeap => (true, 366 * before),
            Self::Days360 => (false, 360 * before),
        };
        let february = if is_leap { 29 } else { 28 };
        let months = match self {
            Self::Days360 => [30; 12],
            _ => [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31],
        };
        let index = usize::try_from(month).ok()?.checked_sub(1)?;
        let is_there = (1..=9999).contains(&year) && (1..=*months.get(index)?).contains(&day);
        is_there.then(|| days + months.iter().take(index).sum::<i128>() + day - 1)
    }
}

impl TimeUnits {
    /// `None` for a unit that has no fixed length, a date that the calendar does not have, or another text.
    pub(crate) fn parse(text: &str, calendar: Calendar) -> Option<Self> {
        let (unit, since) = text.split_once(" since ")?;
        let length = match unit.trim().to_ascii_lowercase().as_str() {
            "weeks" | "week" => 7 * DAY,
            "days" | "day" | "d" => DAY,
            "hours" | "hour" | "hrs" | "hr" | "h" => 3600 * SECOND,
            "minutes" | "minute" | "mins" | "min" => 60 * SECOND,
            "seconds" | "second" | "secs" | "sec" | "s" => SECOND,
            "milliseconds" | "millisecond" | "msecs" | "msec" | "ms" => 1_000_000,
            "microseconds" | "microsecond" | "us" => 1000,
            "nanoseconds" | "nanosecond" | "ns" => 1,
            _ => return None,
        };
        let since = since.trim();
        let (date, clock) = since.split_once(['T', 't', ' ']).unwrap_or((since, ""));
        let date: Vec<i128> = date.split('-').map(number).collect::<Option<_>>()?;
        let [year, month, day] = *date.as_slice() else { return None };
        Some(Self { length, epoch: calendar.day(year, month, day)? * DAY + of_day(clock.trim())? })
    }
}

fn number(digits: &str) -> Option<i128> {
    let is_number = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// The nanoseconds from midnight in Greenwich: `hh:mm:ss.fff`, and maybe a zone.
fn of_day(clock: &str) -> Option<i128> {
    let end = clock.find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.')).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at_checked(end)?;
    if clock.is_empty() {
        return (zone.is_empty() || is_greenwich(zone)).then_some(0);
    }
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let parts: Vec<i128> = whole.split(':').map(number).collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match *parts.as_slice() {
        [hours, minutes] if fraction.is_empty() => (hours, minutes, 0),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        [hours] if fraction.is_empty() => (hours, 0, 0),
        _ => return None,
    };
    let fraction = if fraction.is_empty() { 0 } else { number(fraction)? * 10_i128.pow(9 - u32::try_from(fraction.len()).ok()?) };
    let is_time = hours < 24 && minutes < 60 && seconds < 60;
    is_time.then_some(((hours * 60 + minutes) * 60 + seconds) * SECOND + fraction)?.checked_sub(of_zone(zone.trim())?)
}

fn is_greenwich(zone: &str) -> bool {
    matches!(zone.trim().to_ascii_uppercase().as_str(), "" | "Z" | "UTC" | "GMT")
}

/// How much later the clocks of a zone are than those in Greenwich.
fn of_zone(zone: &str) -> Option<i128> {
    if is_greenwich(zone) {
        return Some(0);
    }
    let (sign, rest) = if let Some(rest) = zone.strip_prefix('+') { (1, rest) } else { (-1, zone.strip_prefix('-')?) };
    let (hours, minutes) = match rest.split_once(':') {
        Some((hours, minutes)) => (number(hours)?, number(minutes)?),
        None if rest.len() == 4 => (number(rest.get(..2)?)?, number(rest.get(2..)?)?),
        None => (number(rest)?, 0),
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60 * SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(calendar: &str, from: &str, to: &str) -> Option<i128> {
        let calendar = Calendar::named(calendar)?;
        let epoch = |date: &str| TimeUnits::parse(&format!("days since {date}"), calendar).map(|units| units.epoch);
        Some((epoch(to)? - epoch(from)?) / DAY)
    }

    #[test]
    fn days_are_counted_as_in_each_calendar() {
        // As cftime counts them.
        for (calendar, from, to, count) in [
            ("standard", "1970-01-01", "2025-02-01", Some(20_120)),
            ("gregorian", "1582-10-04", "1582-10-15", Some(1)),
            ("standard", "0001-01-01", "1970-01-01", Some(719_164)),
            ("standard", "1582-10-10", "1970-01-01", None),
            ("proleptic_gregorian", "0001-01-01", "1970-01-01", Some(719_162)),
            ("julian", "1900-02-28", "1900-03-01", Some(2)),
            ("standard", "1900-02-28", "1900-03-01", Some(1)),
            ("noleap", "2000-02-28", "2001-03-01", Some(366)),
            ("all_leap", "2001-02-28", "2001-03-01", Some(2)),
            ("360_day", "2000-02-30", "2001-02-30", Some(360)),
            ("noleap", "2000-02-29", "2001-03-01", None),
            ("standard", "2025-00-01", "2025-01-01", None),
            ("standard", "2025-13-01", "2025-01-01", None),
            ("standard", "2025-01", "2025-01-01", None),
        ] {
            assert_eq!(days(calendar, from, to), count, "{calendar} {from} {to}");
        }
    }

    #[test]
    fn units_are_read_in_the_forms_that_files_have() {
        let parse = |text: &str| TimeUnits::parse(text, Calendar::Standard);
        let midnight = parse("days since 2000-01-01");
        for text in [
            "day since 2000-1-1",
            "Days since 2000-01-01T00:00:00Z",
            "days since 2000-01-01 00:00:00.0",
            "days since 2000-01-01 02:00 +02:00",
        ] {
            assert_eq!(parse(text), midnight, "{text}");
        }
        assert_eq!(parse("ms since 2000-01-01 00:00:00.25").map(|units| units.epoch - midnight.unwrap().epoch), Some(SECOND / 4));
        for text in [
            "months since 2000-01-01",
            "years since 2000-01-01",
            "days since yesterday",
            "days since 2000-01-01 25:00",
            "days since -1-01-01",
            "days",
            "K",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
