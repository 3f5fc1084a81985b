//! Spans of time, as options name them.

use std::time::Duration;

/// Reads `30s`, `90m`, `36h`, `7d` or `0`.
pub(super) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || "is not a time such as 90m, 36h, 7d or 0".to_owned();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let n = digits.parse::<u64>().map_err(|_| wrong())?;
    let seconds = match unit {
        "" if n == 0 => 1,
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(wrong()),
    };
    // Far less than a clock can hold, and more than anybody waits.
    n.checked_mul(seconds).filter(|span| *span <= 100 * 366 * 24 * 3600).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_a_unit() {
        for (text, seconds) in [("0", 0), ("30s", 30), ("90m", 5400), ("36h", 129_600), ("7d", 604_800)] {
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "h", "-1h", "1w", "1.5h", "99999999999999999999d", "999999999d"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }
}
