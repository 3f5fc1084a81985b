//! Byte ranges as zarrs asks for them, resolved to offsets.

use std::ops::Range;

use zarrs_storage::byte_range::{ByteRange, InvalidByteRangeError};

/// The offsets of a range whose end does not depend on the size of the value; `None` for others, and where the sum overflows.
fn bounded(range: ByteRange) -> Option<Range<u64>> {
    match range {
        ByteRange::FromStart(start, Some(length)) => Some(start..start.checked_add(length)?),
        ByteRange::FromStart(_, None) | ByteRange::Suffix(_) => None,
    }
}

/// The offsets of a range in a value of `size` bytes, in which it must lie.
pub(crate) fn resolve(range: ByteRange, size: u64) -> Result<Range<u64>, InvalidByteRangeError> {
    let resolved = match range {
        ByteRange::FromStart(start, None) => Some(start..size),
        ByteRange::FromStart(..) => bounded(range),
        ByteRange::Suffix(length) => size.checked_sub(length).map(|start| start..size),
    };
    let inside = resolved.filter(|range| range.start <= range.end && range.end <= size);
    inside.ok_or_else(|| InvalidByteRangeError::new(range, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_resolved_with_the_size_and_must_lie_inside() {
        let ok = |range| resolve(range, 10).unwrap();
        assert_eq!(ok(ByteRange::FromStart(0, None)), 0..10);
        assert_eq!(ok(ByteRange::FromStart(10, None)), 10..10);
        assert_eq!(ok(ByteRange::FromStart(3, Some(4))), 3..7);
        assert_eq!(ok(ByteRange::FromStart(10, Some(0))), 10..10);
        assert_eq!(ok(ByteRange::Suffix(10)), 0..10);
        assert_eq!(ok(ByteRange::Suffix(0)), 10..10);
        for outside in [
            ByteRange::FromStart(11, None),
            ByteRange::FromStart(3, Some(8)),
            ByteRange::FromStart(11, Some(0)),
            ByteRange::FromStart(1, Some(u64::MAX)),
            ByteRange::Suffix(11),
        ] {
            assert!(resolve(outside, 10).is_err(), "{outside:?}");
        }
        assert_eq!(bounded(ByteRange::FromStart(3, Some(4))), Some(3..7));
        assert_eq!(bounded(ByteRange::FromStart(1, Some(u64::MAX))), None);
    }
}
