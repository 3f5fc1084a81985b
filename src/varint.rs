//! Unsigned LEB128 numbers, as protobuf, CIDs and CAR files write them.

/// How many bytes `n` takes.
pub(crate) const fn len(n: u64) -> u64 {
    let bits = 64 - (n | 1).leading_zeros();
    bits.div_ceil(7) as u64
}

/// Appends `n`.
#[expect(clippy::cast_possible_truncation, reason = "masked to seven bits")]
pub(crate) fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Takes a number off the front of `bytes`, of up to 64 bits and in its shortest form; else `None`.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut bits) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if bits == 63 && low > 1 || bits > 63 || *byte == 0 && bits > 0 {
            return None;
        }
        value |= low << bits;
        bits += 7;
        if *byte < 0x80 {
            return Some(value);
        }
    }
}

/// Reads one number byte by byte; accepts only the shortest form.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Decoder {
    value: u64,
    bits: u32,
}

/// Why bytes are no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MalformedVarint {
    /// More than 63 bits, which no multiformats number has.
    TooLong,
    /// The last byte adds nothing.
    NotMinimal,
}

impl Decoder {
    /// Whether no byte has been taken.
    pub(crate) const fn is_empty(&self) -> bool {
        self.bits == 0
    }

    /// Takes the next byte; `Some` when it was the last.
    pub(crate) fn push(&mut self, byte: u8) -> Result<Option<u64>, MalformedVarint> {
        if self.bits >= 63 {
            return Err(MalformedVarint::TooLong);
        }
        self.value |= u64::from(byte & 0x7f) << self.bits;
        self.bits += 7;
        match byte {
            0x80.. => Ok(None),
            0 if self.bits > 7 => Err(MalformedVarint::NotMinimal),
            _ => Ok(Some(self.value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number that fills `bytes`; `None` when they hold none in its shortest form.
    fn number(bytes: &[u8]) -> Option<u64> {
        let mut decoder = Decoder::default();
        let (last, head) = bytes.split_last()?;
        head.iter().try_for_each(|byte| decoder.push(*byte).ok().filter(Option::is_none).map(drop))?;
        decoder.push(*last).ok()?
    }

    #[test]
    fn numbers_come_back_and_have_one_form() {
        for n in (0..63).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1]) {
            let mut out = Vec::new();
            put(&mut out, n);
            assert_eq!(out.len() as u64, len(n), "{n}");
            assert_eq!(number(&out), Some(n));
            *out.last_mut().unwrap() |= 0x80;
            assert_eq!(number(&out), None, "no end");
            out.push(0);
            assert_eq!(number(&out), None, "longer than needed");
        }
        assert_eq!(number(&[0xff; 12]), None);
    }

    #[test]
    fn numbers_are_taken_one_after_the_other() {
        let numbers = [0, 1, 127, 128, u64::MAX >> 1, (u64::MAX >> 1) + 1, u64::MAX, 5];
        let mut out = Vec::new();
        for n in numbers {
            put(&mut out, n);
        }
        let mut rest = out.as_slice();
        for n in numbers {
            assert_eq!(take(&mut rest), Some(n));
        }
        assert_eq!(take(&mut rest), None, "nothing is left");
        for bad in [&[0x80][..], &[0x80, 0], &[0xff; 12], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]] {
            assert_eq!(take(&mut &*bad), None, "{bad:02x?}");
        }
        assert_eq!(len(u64::MAX), 10);
    }
}
