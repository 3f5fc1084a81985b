//! Version 2: a fixed header that says where a version 1 file lies inside.
//!
//! ```text
//! 0   pragma            11 bytes   0x0a and {"version": 2} in DAG-CBOR
//! 11  characteristics   16 bytes   the first bit: the index lists every block; the rest must be zero
//! 27  data offset       u64 le     where the version 1 file begins
//! 35  data size         u64 le
//! 43  index offset      u64 le     0: no index
//! ```

use crate::error::{Error, Result};

/// What a version 2 file has in place of a header, without its length.
pub(super) const PRAGMA: [u8; 10] = *b"\xa1gversion\x02";
/// Length of the header that follows the pragma, in bytes.
pub(super) const HEADER: usize = 40;
/// The first bit of the characteristics.
const FULLY_INDEXED: u8 = 0x80;
/// Where the header ends.
const HEADER_END: u64 = 51;

/// Where the version 1 file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InnerCar {
    /// Its first byte, from the end of the header.
    pub skip: u64,
    /// Its length.
    pub size: u64,
}

/// Reads the header after the pragma; `Corrupt` when its parts overlap, `Unsupported` for unknown characteristics.
pub(super) fn decode(bytes: &[u8; HEADER]) -> Result<InnerCar> {
    let (characteristics, numbers) = bytes.split_at(16);
    let mut numbers = numbers.as_chunks::<8>().0.iter().map(|n| u64::from_le_bytes(*n));
    let mut next = || numbers.next().unwrap_or_default();
    let (offset, size, index) = (next(), next(), next());
    let known = characteristics.iter().enumerate().all(|(i, &b)| b == 0 || (i, b) == (0, FULLY_INDEXED));
    if !known {
        return Err(Error::unsupported("the CAR file has unknown characteristics, at byte 11"));
    }
    let end = offset.checked_add(size).filter(|_| offset >= HEADER_END && size > 0);
    let Some(end) = end else {
        return Err(Error::corrupt(format!("the CAR header says that {size} bytes of data lie at byte {offset}, at byte 27")));
    };
    if index != 0 && index < end {
        return Err(Error::corrupt(format!("the CAR header says that the index at byte {index} lies inside the data, at byte 43")));
    }
    Ok(InnerCar { skip: offset - HEADER_END, size })
}
