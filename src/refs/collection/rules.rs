//! The rules without which a collection beside writers loses data.
//!
//! They hold always. Tests switch one off at a time, on one thread, to see that the test of its hazard, or the model in
//! `crates/protocol-model`, notices.

/// A rule, by what it makes sure of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum GcRule {
    /// Every ref is raised behind the fence, so that replaces on their way fail.
    Raise,
    /// What the refs lead to is marked again after they were raised.
    MarkAgain,
    /// The value of a ref that was raised is marked, also if the ref has changed since.
    MarkRaised,
    /// The refs are listed again behind the fence.
    ListAgain,
    /// No epoch is ever lowered.
    NeverLower,
    /// The epoch begins at the fence, so that writers see it before the sweep.
    EpochAtFence,
    /// The name of a list holds the nonce of its collector.
    OwnLists,
    /// A writer looks at the lists of the collections that it does not know of.
    Check,
    /// A writer that needs what is condemned waits until the collection has ended.
    WaitForEnd,
    /// A writer that has looked while a collection is under way knows of the one before it.
    KnowFinished,
    /// A session knows of no more than the refs that it has read.
    KnowRefs,
    /// A writer looks for the chunks among its staged changes, whether it has written them or not.
    CountChunks,
    /// A collection ends only when no removal can be late.
    LateRemovals,
    /// Objects are removed only under a lease.
    Lease,
    /// A ref that is made is of the present epoch.
    CreateInEpoch,
    /// While a collection is under way, a ref is pointed only at what a ref keeps that was raised.
    TargetRaised,
    /// A block of moves is not written while it is removed.
    Blocks,
    /// A merge publishes only if its further parents are kept.
    OtherParents,
    /// A snapshot is sent on top of one value of its branch only.
    SendOnce,
}

#[cfg(test)]
impl GcRule {
    /// All of them.
    pub(crate) const ALL: [Self; 19] = [
        Self::Raise,
        Self::MarkAgain,
        Self::ListAgain,
        Self::NeverLower,
        Self::EpochAtFence,
        Self::OwnLists,
        Self::Check,
        Self::WaitForEnd,
        Self::KnowFinished,
        Self::KnowRefs,
        Self::CountChunks,
        Self::LateRemovals,
        Self::Lease,
        Self::CreateInEpoch,
        Self::TargetRaised,
        Self::Blocks,
        Self::MarkRaised,
        Self::OtherParents,
        Self::SendOnce,
    ];
}

/// Whether a rule holds: always.
#[cfg(not(any(test, feature = "testing")))]
pub(crate) const fn holds(_: GcRule) -> bool {
    true
}

#[cfg(any(test, feature = "testing"))]
thread_local! {
    static OFF: std::cell::Cell<Option<GcRule>> = const { std::cell::Cell::new(None) };
}

/// Whether a rule holds on this thread.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn holds(rule: GcRule) -> bool {
    OFF.get() != Some(rule)
}

/// Switches a rule off on this thread until what is returned is dropped.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn without(rule: GcRule) -> impl Drop {
    struct On;
    impl Drop for On {
        fn drop(&mut self) {
            OFF.set(None);
        }
    }
    OFF.set(Some(rule));
    On
}
