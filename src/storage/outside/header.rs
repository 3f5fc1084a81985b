//! What the headers of requests and answers say.

use std::time::{Duration, SystemTime};

use super::FileFacts;
use crate::time::{Clock as _, SystemClock, Timestamp};

/// A moment as a header has it, to the second before it; `None` for years that no header can name.
pub(super) fn date(moment: Timestamp) -> Option<String> {
    let seconds = u64::try_from(moment.micros().div_euclid(1_000_000)).ok().filter(|_| moment <= Timestamp::MAX)?;
    Some(httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
}

/// The moment that a header names, in any of the three forms of RFC 9110; `None` for what is no date after 1969.
pub(in crate::storage) fn parse_date(text: &str) -> Option<Timestamp> {
    httpdate::parse_http_date(text).ok().map(Timestamp::from_system)
}

/// How long to wait by a `Retry-After`, which names seconds or a date.
pub(in crate::storage) fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    let until = |date: Timestamp| date.since(SystemClock.now());
    number(text).map(Duration::from_secs).or_else(|| parse_date(text).map(until))
}

/// A strong `ETag` without its quotes; weak ones say nothing of bytes. Some servers leave the quotes out.
pub(in crate::storage) fn strong_etag(value: &[u8]) -> Option<Vec<u8>> {
    if value.starts_with(b"W/") || value.is_empty() {
        return None;
    }
    let bare = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    (!bare.is_empty() && !bare.contains(&b'"')).then(|| bare.to_vec())
}

/// `bytes 0-9/100` as the first byte, the byte after the last and the length of the whole where it is told.
pub(in crate::storage) fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, whole) = text.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (number(first)?, number(last)?);
    let whole = if whole == "*" { None } else { Some(number(whole)?) };
    let end = last.checked_add(1)?;
    (first < end && whole.is_none_or(|whole| end <= whole)).then_some((first, end, whole))
}

/// The length in the `Content-Range` of an answer without a range: `bytes */100`.
pub(super) fn unsatisfied_length(text: &str) -> Option<u64> {
    number(text.trim().strip_prefix("bytes ")?.trim().strip_prefix("*/")?)
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

/// The facts about the file in the headers of an answer, without its size.
pub(super) fn facts<'h>(header: impl Fn(&str) -> Option<&'h [u8]>) -> FileFacts {
    let text = |name: &str| header(name).and_then(|value| std::str::from_utf8(value).ok());
    FileFacts {
        size: None,
        modified: text("last-modified").and_then(parse_date),
        etag: header("etag").and_then(strong_etag),
        version: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_of_whole_seconds_and_lead_back() {
        let moment = Timestamp::from_micros(1_717_200_000_999_999);
        assert_eq!(date(moment).unwrap(), "Sat, 01 Jun 2024 00:00:00 GMT");
        assert_eq!(parse_date(&date(moment).unwrap()), Some(Timestamp::from_micros(1_717_200_000_000_000)));
        assert_eq!(date(Timestamp::from_micros(-1)), None);
        assert_eq!(date(Timestamp::from_micros(i64::MAX)), None);
        assert_eq!(parse_date("Saturday, 01-Jun-24 00:00:00 GMT"), Some(Timestamp::from_micros(1_717_200_000_000_000)));
        for wrong in
            ["", "yesterday", "0", "Sat, 01 Jun 1924 00:00:00 GMT", "Sat, 01 Jun 12024 00:00:00 GMT", "Sat, 99 Jun 2024 00:00:00 GMT"]
        {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_wait_is_of_seconds_or_until_a_date() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sat, 01 Jun 2024 00:00:00 GMT"), Some(Duration::ZERO), "a date that is past");
        let later = date(SystemClock.now().plus(Duration::from_mins(2))).unwrap();
        assert!(retry_after(&later).is_some_and(|wait| (90..=120).contains(&wait.as_secs())));
        assert_eq!(retry_after("soon"), None);
        assert_eq!(retry_after("-1"), None);
    }

    #[test]
    fn only_strong_etags_count() {
        assert_eq!(strong_etag(b"\"abc\""), Some(b"abc".to_vec()));
        assert_eq!(strong_etag(b"abc"), Some(b"abc".to_vec()));
        for weak in [&b"W/\"abc\""[..], b"", b"\"\"", b"\"a\"b\""] {
            assert_eq!(strong_etag(weak), None);
        }
    }

    #[test]
    fn ranges_are_read_strictly() {
        assert_eq!(content_range("bytes 0-9/100"), Some((0, 10, Some(100))));
        assert_eq!(content_range("bytes 5-5/*"), Some((5, 6, None)));
        for wrong in [
            "0-9/100",
            "bytes 9-0/100",
            "bytes 0-100/100",
            "bytes -9/100",
            "bytes 0-+9/100",
            "bytes */100",
            "bytes 0-18446744073709551615/*",
        ] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
        assert_eq!(unsatisfied_length("bytes */47"), Some(47));
    }
}
