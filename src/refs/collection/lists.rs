//! The lists of what a collection condemns: an index, and one object for each `<xx>` in which something is condemned.
//!
//! ```text
//! index   0  magic "FIRNGCIX"      shard   0  magic "FIRNGCSH"
//!         8  u16 version = 2               8  u16 version = 2
//!        10  u16 code of the hash         10  u16 code of the hash
//!        12  u32 0                        12  u32 number of the shard
//!        16  u32 × 1024: digests in       16  u32 × 9: digests of each kind
//!            each shard                   52  32 bytes each: the digests, kind after kind, sorted within
//!            u64 XXH3-64 of all before        u64 XXH3-64 of all before
//! ```
//!
//! All numbers are little-endian. Objects of a list are immutable, because the name of a list is used by one collector only. A part
//! that cannot be read counts as naming everything: a writer then does too much.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::CondemnedRow;
use crate::error::{Error, Result};
use crate::id::HashAlgorithm;
use crate::storage::layout::{ObjectKind, SHARDS};

const INDEX: [u8; 8] = *b"FIRNGCIX";
const SHARD: [u8; 8] = *b"FIRNGCSH";
/// Version 1 had no lists of changed keys, and was never released.
const VERSION: u16 = 2;
/// Length of an index in bytes.
pub(super) const INDEX_LEN: u64 = (HEAD + 4 * SHARDS + 8) as u64;
const HEAD: usize = 16;
const KINDS: usize = ObjectKind::ALL.len();
const SHARD_HEAD: usize = HEAD + 4 * KINDS;

/// Length in bytes of a shard with so many digests.
pub(super) const fn shard_len(digests: u32) -> u64 {
    SHARD_HEAD as u64 + 32 * digests as u64 + 8
}

/// The digests in each shard of a list.
pub(crate) type ListCounts = Vec<u32>;

fn head(magic: [u8; 8], hash: HashAlgorithm, shard: usize) -> Vec<u8> {
    let mut out = magic.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend(u16::try_from(hash.code()).unwrap_or(0).to_le_bytes());
    out.extend(u32::try_from(shard).unwrap_or(u32::MAX).to_le_bytes());
    out
}

fn sealed(mut out: Vec<u8>) -> Bytes {
    let checksum = xxh3_64(&out);
    out.extend(checksum.to_le_bytes());
    out.into()
}

/// What follows the head, if head, length and checksum are right.
fn opened(bytes: &[u8], magic: [u8; 8], hash: HashAlgorithm, shard: usize) -> Option<&[u8]> {
    let (body, checksum) = bytes.split_last_chunk::<8>()?;
    let rest = body.strip_prefix(head(magic, hash, shard).as_slice())?;
    (xxh3_64(body) == u64::from_le_bytes(*checksum)).then_some(rest)
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks::<4>().0.iter().map(|number| u32::from_le_bytes(*number))
}

/// The bytes of an index.
pub(super) fn encode_index(hash: HashAlgorithm, counts: &ListCounts) -> Bytes {
    let mut out = head(INDEX, hash, 0);
    out.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
    sealed(out)
}

/// Reads an index; `None` when it is not one.
pub(super) fn decode_index(hash: HashAlgorithm, bytes: &[u8]) -> Option<ListCounts> {
    let counts: ListCounts = numbers(opened(bytes, INDEX, hash, 0)?).collect();
    (counts.len() == SHARDS && bytes.len() as u64 == INDEX_LEN).then_some(counts)
}

/// The bytes of a shard. `rows` are sorted, each once.
pub(super) fn encode_shard(hash: HashAlgorithm, shard: usize, rows: &[CondemnedRow]) -> Result<Bytes> {
    let mut counts = [0_u32; KINDS];
    for row in rows {
        let count = counts.get_mut(usize::from(row[0])).ok_or_else(|| Error::internal("a kind of object that does not exist"))?;
        *count = count.checked_add(1).ok_or_else(|| Error::unsupported("more than 2^32 objects of one kind in one folder"))?;
    }
    let mut out = head(SHARD, hash, shard);
    out.reserve(4 * KINDS + 32 * rows.len() + 8);
    out.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
    out.extend(rows.iter().flat_map(|row| row.iter().skip(1)));
    Ok(sealed(out))
}

/// Reads a shard; `None` when it is not that one.
pub(super) fn decode_shard(hash: HashAlgorithm, shard: usize, bytes: &[u8]) -> Option<Vec<CondemnedRow>> {
    let (counts, digests) = opened(bytes, SHARD, hash, shard)?.split_at_checked(4 * KINDS)?;
    let (digests, rest) = digests.as_chunks::<32>();
    let total: u64 = numbers(counts).map(u64::from).sum();
    if !rest.is_empty() || total != digests.len() as u64 {
        return None;
    }
    let kinds = numbers(counts).enumerate().flat_map(|(kind, count)| std::iter::repeat_n(kind, usize::try_from(count).unwrap_or(0)));
    let mut rows = Vec::with_capacity(digests.len());
    for (kind, digest) in kinds.zip(digests) {
        let mut row = [0; 33];
        let (first, others) = row.split_first_mut()?;
        *first = u8::try_from(kind).ok()?;
        others.copy_from_slice(digest);
        rows.push(row);
    }
    rows.is_sorted_by(|a, b| a < b).then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<CondemnedRow> {
        let mut rows: Vec<CondemnedRow> =
            (0..40_u8).map(|n| std::array::from_fn(|at| if at == 0 { n % 9 } else { n.wrapping_mul(91) })).collect();
        rows.sort_unstable();
        rows
    }

    #[test]
    fn lists_survive_their_bytes_and_nothing_else_is_one() {
        let hash = HashAlgorithm::Blake3;
        for rows in [Vec::new(), rows()] {
            let bytes = encode_shard(hash, 7, &rows).unwrap();
            assert_eq!(bytes.len() as u64, shard_len(u32::try_from(rows.len()).unwrap()));
            assert_eq!(decode_shard(hash, 7, &bytes), Some(rows));
            assert_eq!((decode_shard(hash, 8, &bytes), decode_shard(HashAlgorithm::Sha2_256, 7, &bytes)), (None, None));
        }
        let counts: ListCounts = (0..1024).map(|n| n * n).collect();
        let index = encode_index(hash, &counts);
        assert_eq!((index.len() as u64, decode_index(hash, &index)), (INDEX_LEN, Some(counts)));
        let shard = encode_shard(hash, 7, &rows()).unwrap();
        for bytes in [index, shard] {
            for at in 0..bytes.len() {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 1;
                assert!(decode_index(hash, &damaged).is_none() && decode_shard(hash, 7, &damaged).is_none(), "byte {at}");
                assert!(decode_index(hash, &bytes[..at]).is_none() && decode_shard(hash, 7, &bytes[..at]).is_none(), "cut at {at}");
            }
        }
    }

    #[test]
    fn rows_out_of_order_are_no_list() {
        let hash = HashAlgorithm::Sha2_256;
        let mut rows = rows();
        rows.swap(0, 1);
        assert_eq!(decode_shard(hash, 0, &encode_shard(hash, 0, &rows).unwrap()), None);
        let twice = [rows[3], rows[3]];
        assert_eq!(decode_shard(hash, 0, &encode_shard(hash, 0, &twice).unwrap()), None);
    }

    /// The bytes as `docs/format.md` describes them, made by another program.
    #[test]
    fn lists_have_not_moved() {
        let row = |kind: u8, byte: u8| -> CondemnedRow { std::array::from_fn(|at| if at == 0 { kind } else { byte }) };
        let shard = encode_shard(HashAlgorithm::Sha2_256, 7, &[row(0, 1), row(4, 2), row(4, 3), row(8, 4)]).unwrap();
        let head = "4649524e474353480200120007000000010000000000000000000000000000000200000000000000000000000000000001000000";
        let digests = ["01", "02", "03", "04"].map(|byte| byte.repeat(32)).concat();
        assert_eq!(data_encoding::HEXLOWER.encode(&shard), format!("{head}{digests}a313dd0226d04858"));
        let index = encode_index(HashAlgorithm::Blake3, &(0..1024).collect());
        assert_eq!(index.get(..16).unwrap(), b"FIRNGCIX\x02\x00\x1e\x00\x00\x00\x00\x00");
        assert_eq!(data_encoding::HEXLOWER.encode(index.last_chunk::<8>().unwrap()), "a55499440335fdc8");
    }
}
