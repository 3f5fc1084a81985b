//! The decoders of refs, of garbage collection and of expired versions, for fuzzing: each says whether it took the bytes, and panics where a rule does not hold.

use super::RefRecord;
use super::collection::fuzzed;
use super::retention::fuzzed as retired;
use crate::time::Timestamp;

/// The register of a branch or a tag, and what is made of one that is damaged.
pub(crate) fn record(bytes: &[u8]) -> bool {
    drop(RefRecord::salvaged(bytes, Timestamp::from_micros(1_740_830_400_000_000)));
    RefRecord::decode(bytes, "a ref").is_ok_and(|record| {
        assert_eq!(RefRecord::decode(&record.encode(), "a ref").ok(), Some(record));
        true
    })
}

/// A block of earlier moves.
pub(crate) fn moves_block(bytes: &[u8]) -> bool {
    super::moves::is_block(bytes)
}

/// `gc/state.json`.
pub(crate) fn collection_state(bytes: &[u8]) -> bool {
    fuzzed::state(bytes)
}

/// The index of a list of condemned objects.
pub(crate) fn list_index(bytes: &[u8]) -> bool {
    fuzzed::index(bytes)
}

/// A shard of a list of condemned objects.
pub(crate) fn list_shard(bytes: &[u8]) -> bool {
    fuzzed::shard(bytes)
}

/// `retention/state.json`.
pub(crate) fn retention_state(bytes: &[u8]) -> bool {
    retired::state(bytes)
}

/// A list of expired versions.
pub(crate) fn retention_list(bytes: &[u8]) -> bool {
    retired::list(bytes)
}
