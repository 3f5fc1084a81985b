//! Reading the times that people write: RFC 3339, a bare date, `now`, `36h`, `2 days ago`.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use super::Timestamp;
use crate::error::{Error, Result};

/// Reads a moment as a person writes it.
///
/// RFC 3339 with an offset (`T` or a space between date and time; the seconds may be left out), a bare date (its first moment in UTC), `now`, or a span before now:
/// a whole number with `s`, `m`, `h`, `d` or `w` (or the word), with or without `ago`. A time of day without an offset is refused,
/// because it is ambiguous.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp> {
    let trimmed = text.trim();
    if trimmed == "now" {
        return Ok(now);
    }
    match span(trimmed, now).filter(|time| is_printable(*time)) {
        Some(time) => Ok(time),
        None => absolute(text).ok_or_else(|| refused(text, "2025-03-01, 2025-03-01T12:00:00Z, now, 36h or \"2 days ago\"")),
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// Reads RFC 3339 with an offset, or a bare date (its first moment in UTC). Times that depend on the present, such as `36h`,
    /// are read by [`parse_time`].
    fn from_str(text: &str) -> Result<Self> {
        absolute(text).ok_or_else(|| refused(text, "2025-03-01 or 2025-03-01T12:00:00Z"))
    }
}

/// Whether a moment prints as RFC 3339.
fn is_printable(time: Timestamp) -> bool {
    (Timestamp::MIN..=Timestamp::MAX).contains(&time)
}

/// Reads a moment that does not depend on the present.
fn absolute(text: &str) -> Option<Timestamp> {
    let trimmed = text.trim();
    rfc3339(trimmed).or_else(|| date(trimmed)).filter(|time| is_printable(*time))
}

/// The error about a text that is no time; `forms` are examples of what is.
fn refused(text: &str, forms: &str) -> Error {
    let trimmed = text.trim();
    if ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
        .iter()
        .any(|form| NaiveDateTime::parse_from_str(trimmed, form).is_ok())
    {
        return Error::invalid(format!("time {text:?} has no offset; add one, as in {trimmed}Z or {trimmed}+02:00"));
    }
    Error::invalid(format!("time {text:?} is not understood; write {forms}"))
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    let time = DateTime::parse_from_rfc3339(text).ok();
    let time = time.or_else(|| DateTime::parse_from_rfc3339(&with_seconds(text)?).ok());
    // Moments between two microseconds round down: nothing can have happened in between.
    time.map(|t| Timestamp::from_micros(t.timestamp_micros()))
}

/// The same time with the seconds that it was written without: `2025-03-01T12:00Z`.
fn with_seconds(text: &str) -> Option<String> {
    let (minutes, offset) = text.split_at_checked("2025-03-01T12:00".len())?;
    matches!(offset.bytes().next(), Some(b'Z' | b'z' | b'+' | b'-')).then(|| format!("{minutes}:00{offset}"))
}

fn date(text: &str) -> Option<Timestamp> {
    // chrono takes "2025-3-1" too; a date that is written short may be meant otherwise.
    let day = (text.len() == 10).then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()).flatten()?;
    Some(Timestamp::from_micros(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros()))
}

fn span(text: &str, now: Timestamp) -> Option<Timestamp> {
    let bare = text.strip_suffix("ago").map_or(text, str::trim_end);
    let digits = bare.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = bare.split_at(digits);
    let seconds: u64 = match unit.trim() {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 7 * 86_400,
        _ => return None,
    };
    let seconds = count.parse::<u64>().ok()?.checked_mul(seconds)?;
    let micros = i64::try_from(seconds.checked_mul(1_000_000)?).ok()?;
    Some(Timestamp::from_micros(now.micros().checked_sub(micros)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_750_000_000_123_456);

    #[test]
    fn every_documented_form_is_read() {
        let read = |text: &str| parse_time(text, NOW).unwrap().to_string();
        assert_eq!(read("2025-03-01"), "2025-03-01T00:00:00.000000Z");
        assert_eq!(read("2025-03-01T12:00:00Z"), "2025-03-01T12:00:00.000000Z");
        assert_eq!(read("2025-03-01 12:00:00.5+02:00"), "2025-03-01T10:00:00.500000Z");
        assert_eq!(read("2025-03-01T12:00Z"), "2025-03-01T12:00:00.000000Z");
        assert_eq!(read("2025-03-01 12:00+02:00"), "2025-03-01T10:00:00.000000Z");
        assert_eq!(read("now"), NOW.to_string());
        for (text, seconds) in [("36h", 129_600), ("2d", 172_800), ("2 days ago", 172_800), ("90s", 90), ("1 week", 604_800)] {
            assert_eq!(parse_time(text, NOW).unwrap().micros(), NOW.micros() - seconds * 1_000_000, "{text}");
        }
    }

    #[test]
    fn a_time_without_offset_is_refused_with_a_hint() {
        let error = parse_time("2025-03-01T12:00:00", NOW).unwrap_err();
        assert!(error.to_string().contains("2025-03-01T12:00:00Z"), "{error}");
        for bad in [
            "",
            "yesterday",
            "2025-13-01",
            "2025-3-1",
            "99999999999999999999d",
            "d",
            "-3d",
            "2025",
            "3",
            "2025-03-01T1:00Z",
            "2025-03-01T25:00Z",
        ] {
            assert!(parse_time(bad, NOW).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back_exactly() {
        for time in [NOW, Timestamp::MIN, Timestamp::MAX, Timestamp::from_micros(-1)] {
            assert_eq!(parse_time(&time.to_string(), NOW).unwrap(), time);
        }
    }
}
