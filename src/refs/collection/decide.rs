//! What follows from what was read: the decisions of writers beside garbage collection, as functions of values alone.
//!
//! Why each of them is as it is, and what is lost otherwise, is shown by the model in `crates/protocol-model`, which calls them.

use super::GcState;
use super::rules::{GcRule, holds};

/// Whether a ref may be pointed at its target now, as far as garbage collection is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Vouched {
    /// Nothing of the target can be removed before the ref keeps it.
    Safe,
    /// A collection is under way that may remove a part of it, or may turn out not to.
    Wait,
}

/// What a writer does that has looked for what it touches in the lists of collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum AfterLook {
    /// It publishes, and knows of this collection.
    Clear {
        /// The last collection that it knows of.
        known: u64,
    },
    /// It looks again when the collection has come further.
    Wait,
    /// It writes again what is condemned, and only then knows of this collection.
    WriteAgain {
        /// The last collection that it knows of when everything is written.
        known: u64,
    },
}

/// The last collection that a session knows of, if it has read this state and a ref of this epoch, in any order.
pub(crate) fn known_at_open(state: &GcState, of_ref: u64) -> u64 {
    if holds(GcRule::KnowRefs) { state.finished().min(of_ref) } else { state.finished() }
}

/// Whether a writer must look at the lists before it replaces a ref of this epoch.
pub(crate) fn must_look(of_ref: u64, known: u64) -> bool {
    of_ref > known && holds(GcRule::Check)
}

/// What follows when `state` was read, then its lists, and then what refs keep of the further parents.
pub(crate) fn looked(state: &GcState, is_condemned: bool, others: Vouched) -> AfterLook {
    if !is_condemned && others == Vouched::Safe {
        AfterLook::Clear { known: state.finished() }
    } else if state.is_running() && holds(GcRule::WaitForEnd) {
        AfterLook::Wait
    } else {
        AfterLook::WriteAgain { known: state.epoch }
    }
}

/// Whether a ref may be pointed at a version that some ref keeps. `state` was read before the refs that may keep it, and after the one that
/// is pointed at it; `by_raised` tells whether one of those that keep it had been raised to the epoch of `state`.
pub(crate) fn vouched(state: &GcState, by_raised: bool) -> Vouched {
    let is_safe = !state.is_running() || by_raised || !holds(GcRule::TargetRaised);
    if is_safe { Vouched::Safe } else { Vouched::Wait }
}

/// The epoch of a ref that is made in place of a placeholder or a deleted ref of epoch `before`. `state` was read after that was there.
pub(crate) fn epoch_of_created(before: u64, state: &GcState) -> u64 {
    let present = if holds(GcRule::CreateInEpoch) { state.epoch } else { 0 };
    before.max(present)
}
