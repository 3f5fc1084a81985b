//! The decoders of garbage collection, for fuzzing: each says whether it took the bytes, and panics where a rule does not hold.

use xxhash_rust::xxh3::xxh3_64;

use super::GcState;
use super::lists::{decode_index, decode_shard, encode_index, encode_shard};
use crate::id::HashAlgorithm;

const HASH: HashAlgorithm = HashAlgorithm::Sha2_256;

/// `gc/state.json`.
pub(in crate::refs) fn state(bytes: &[u8]) -> bool {
    GcState::decode(bytes, "gc/state.json").is_ok_and(|state| {
        assert_eq!(GcState::decode(&state.encode(), "gc/state.json").ok(), Some(state));
        true
    })
}

/// The index of a list, as it is and with a checksum that fits.
pub(in crate::refs) fn index(bytes: &[u8]) -> bool {
    both(bytes, |bytes| {
        decode_index(HASH, bytes).is_some_and(|counts| {
            assert_eq!(encode_index(HASH, &counts), bytes);
            true
        })
    })
}

/// A shard of a list, as it is and with a checksum that fits. Its number is the one that it says it has.
pub(in crate::refs) fn shard(bytes: &[u8]) -> bool {
    both(bytes, |bytes| {
        let Some(number) = bytes.get(12..).and_then(|rest| rest.first_chunk()) else { return false };
        let number = u32::from_le_bytes(*number) as usize;
        decode_shard(HASH, number, bytes).is_some_and(|rows| {
            assert_eq!(encode_shard(HASH, number, &rows).ok().as_deref(), Some(bytes));
            true
        })
    })
}

fn both(bytes: &[u8], take: impl Fn(&[u8]) -> bool) -> bool {
    let is_taken = take(bytes);
    let Some((body, _)) = bytes.split_last_chunk::<8>() else { return is_taken };
    take(&[body, &xxh3_64(body).to_le_bytes()].concat()) || is_taken
}
