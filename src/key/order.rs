//! The order of the maps, as an encoding compared bytewise and as a comparison that needs no buffer.
//!
//! The encoding copies the bytes, and before each maximal run of n ASCII digits writes `0x39` while n ≥ 9 (each
//! taking 9 from n), then always one byte `0x30 + n`.

use std::cmp::Ordering;

/// Appends the encoding of `key` to `out`: comparing encodings bytewise is the order of the maps, and hashing
/// them is what cuts the nodes.
pub(crate) fn encode(key: &str, out: &mut Vec<u8>) {
    let mut rest = key.as_bytes();
    while let Some(first) = rest.first() {
        let is_digit = first.is_ascii_digit();
        let end = rest.iter().position(|b| b.is_ascii_digit() != is_digit).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        if is_digit {
            out.extend(std::iter::repeat_n(b'9', end / 9));
            out.push(b'0' + u8::try_from(end % 9).expect("a remainder below 9 fits"));
        }
        out.extend_from_slice(run);
        rest = tail;
    }
}

/// Compares two strings as their encodings compare.
#[expect(clippy::many_single_char_names, reason = "two of each thing: x of a, y of b")]
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let same = shared_len(a, b);
    let ((head, rest_a), (_, rest_b)) = (a.split_at(same), b.split_at(same));
    let (Some(x), Some(y)) = (rest_a.first(), rest_b.first()) else {
        // One is a prefix of the other. If the cut lies inside a run of digits, the runs differ in length, and
        // the longer run sorts later; else the shorter string does sort first. Either way: by length.
        return a.len().cmp(&b.len());
    };
    match (digits(rest_a), digits(rest_b)) {
        // Runs that differ in length, and begin where the strings differ or before. The digits they share count for both.
        (n, m) if n != m && (n.min(m) > 0 || head.last().is_some_and(u8::is_ascii_digit)) => n.cmp(&m),
        // Only one side has a run here: its first encoded byte is the length byte, the other's is its own byte.
        (0, n) if n > 0 => x.cmp(&length_byte(n)),
        (n, 0) if n > 0 => length_byte(n).cmp(y),
        // Equal lengths, or no run on either side: the first difference decides.
        _ => x.cmp(y),
    }
}

/// How many bytes two strings share at their beginning. Compares eight at a time: neighbours in a map share most of their keys.
pub(crate) fn shared_len(a: &[u8], b: &[u8]) -> usize {
    let ((words_a, _), (words_b, _)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut same = 0;
    for (x, y) in words_a.iter().zip(words_b) {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return same + (differ.trailing_zeros() / 8) as usize;
        }
        same += 8;
    }
    let rest = a.iter().skip(same).zip(b.iter().skip(same));
    same + rest.take_while(|(x, y)| x == y).count()
}

/// How many digits a string begins with.
fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|c| c.is_ascii_digit()).count()
}

/// The first byte written before a run of `n` digits.
fn length_byte(n: usize) -> u8 {
    b'0' + u8::try_from(n.min(9)).expect("at most 9")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(key: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode(key, &mut out);
        out
    }

    #[test]
    fn numbers_sort_as_numbers() {
        let sorted = ["", "a", "a/", "a//", "a/0", "a/9", "a/10", "a/0123", "a/999999999", "a/1000000000", "aa", "b"];
        for pair in sorted.windows(2) {
            assert!(encoded(pair[0]) < encoded(pair[1]), "{pair:?}");
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
    }

    #[test]
    fn what_two_strings_share_is_counted_across_words() {
        for shared in 0..40 {
            let (a, b) = ("k".repeat(shared) + "a/c/0/100/200", "k".repeat(shared) + "b/c/0/100/200");
            assert_eq!(shared_len(a.as_bytes(), b.as_bytes()), shared);
            assert_eq!(shared_len(a.as_bytes(), &a.as_bytes()[..shared]), shared, "one is the beginning of the other");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::testing::property_cases(20_000)))]
        #[test]
        fn comparing_is_comparing_encodings(a in "[0-9a/.:;é!]{0,24}|[0-9]{0,40}", b in "[0-9a/.:;é!]{0,24}|[0-9]{0,40}", cut in 0usize..24) {
            // Half of the pairs share a beginning, where the runs of digits meet.
            let shared: String = a.chars().take(cut).chain(b.chars()).collect();
            for other in [&b, &shared] {
                prop_assert_eq!(compare(&a, other), encoded(&a).cmp(&encoded(other)), "{:?} {:?}", &a, other);
            }
        }
    }
}
