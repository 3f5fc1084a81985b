//! The decoders of expired versions, for fuzzing: each says whether it took the bytes, and panics where a rule does not hold.

use super::{RetentionList, RetentionState};

/// `retention/state.json`.
pub(in crate::refs) fn state(bytes: &[u8]) -> bool {
    RetentionState::decode(bytes, "retention/state.json").is_ok_and(|state| {
        assert_eq!(RetentionState::decode(&state.encode(), "retention/state.json").ok(), Some(state));
        true
    })
}

/// A list of expired versions.
pub(in crate::refs) fn list(bytes: &[u8]) -> bool {
    RetentionList::decode(bytes, "a list").is_ok_and(|list| {
        assert_eq!(list.encode(), bytes, "a list has one form");
        true
    })
}
