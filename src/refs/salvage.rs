//! A register whose bytes are not a valid ref: what can still be recovered from them, and the record that replaces them.

use super::RefRecord;
use super::record::LARGEST_SEQ;
use crate::id::SnapshotId;
use crate::time::Timestamp;

impl RefRecord {
    /// The record on top of which a damaged register is replaced.
    ///
    /// Its sequence number is at least every number that the bytes give for one, and at least the number of microseconds
    /// since 1970. No ref is replaced once in every microsecond since then, nor moved, by up to 2^16 each time, tens of thousands of
    /// millions of times, so the number is also above the one that was lost, and the successor's bytes repeat no earlier ones.
    /// The epoch is 0: the caller raises it to the present one. The moves are lost, because a list with gaps would give wrong
    /// answers about the past.
    pub(super) fn salvaged(bytes: &[u8], now: Timestamp) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let told = values_of(&text, "seq").filter_map(leading_number).filter(|seq| *seq <= LARGEST_SEQ).max();
        let elapsed = u64::try_from(now.micros()).unwrap_or(0);
        let seq = told.unwrap_or(0).max(elapsed).min(LARGEST_SEQ);
        let tip = values_of(&text, "tip").find_map(quoted_snapshot);
        let mut record = Self::placeholder();
        (record.seq, record.tip) = (seq, tip);
        record
    }
}

/// The text after every `"name":`.
fn values_of<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let mark = format!("\"{name}\"");
    let ends: Vec<_> = text.match_indices(&mark).map(|(at, found)| at + found.len()).collect();
    ends.into_iter().filter_map(|end| Some(text.get(end..)?.trim_start().strip_prefix(':')?.trim_start()))
}

fn leading_number(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

fn quoted_snapshot(text: &str) -> Option<SnapshotId> {
    text.strip_prefix('"')?.split('"').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::HashAlgorithm;

    /// A lower sequence number would let the bytes of a register repeat, and a delayed replace succeed on them.
    #[test]
    fn the_number_is_above_everything_that_can_be_told() {
        let now = Timestamp::from_micros(1_750_000_000_000_000);
        for (bytes, seq) in [
            (&b""[..], 1_750_000_000_000_000),
            (b"\xff\x00{\"seq\": 12", 1_750_000_000_000_000),
            (b"{\"seq\" : 1750000000000009, \"moves\": [{\"seq\":7", 1_750_000_000_000_009),
            (b"{\"seq\": 99999999999999999999999999", 1_750_000_000_000_000),
            (b"{\"seq\": 18446744073709551615", 1_750_000_000_000_000),
        ] {
            assert_eq!(RefRecord::salvaged(bytes, now).seq, seq, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_tip_is_told_only_by_a_whole_id() {
        let id = SnapshotId::of(HashAlgorithm::Sha2_256, b"tip");
        let tip = |text: &str| RefRecord::salvaged(text.as_bytes(), Timestamp::MIN).tip;
        assert_eq!(tip(&format!("{{\"v\": x, \"tip\": \"{id}\", \"mo")), Some(id));
        let text = id.to_string();
        assert_eq!(tip(&format!("\"tip\": \"{}", text.get(..40).unwrap())), None);
        assert_eq!(tip("\"tip\": null"), None);
    }
}
