//! What went wrong how often, and what was under way then.

use std::fmt;

/// The kinds of things that go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fired {
    /// A read or a listing that was lost, or refused by a busy store.
    LostRead,
    /// A request that changes something, lost before it reached the store.
    LostBefore,
    /// The store did it, and the answer was lost.
    LostAfter,
    /// The caller was told that it failed, and the store did it later.
    Late,
    /// Done twice, one after the other; the caller sees the second answer.
    Twice,
    /// Done again much later.
    Echo,
    /// A replace that landed and was answered with 412.
    FalseRefusal,
    /// 429 or 503, and nothing was done.
    Busy,
    /// 403, and nothing was done.
    Denied,
    /// 409: two writers met, and nothing was done.
    Met,
    /// A gateway answered with an error for what was done.
    FalseRejection,
    /// No connection: the caller knows that nothing was sent.
    NotSent,
    /// A replace of a ref was refused, because the ref had changed.
    Refused,
    /// A removal that was lost, not answered, late or repeated.
    Removal,
    /// A removal that happened long after it was sent.
    LateRemoval,
    /// A listing that showed the past.
    StaleList,
    /// A listing that broke off.
    CutList,
    /// A process that stood still.
    Pause,
    /// A process that reached nothing for a while.
    CutOff,
    /// A process that ended at an await.
    Crash,
    /// The same with a replace of a ref on its way.
    CrashWhileSent,
    /// An answer of slow network.
    Slow,
}

const KINDS: [Fired; 22] = [
    Fired::LostRead,
    Fired::LostBefore,
    Fired::LostAfter,
    Fired::Late,
    Fired::Twice,
    Fired::Echo,
    Fired::FalseRefusal,
    Fired::Busy,
    Fired::Denied,
    Fired::Met,
    Fired::FalseRejection,
    Fired::NotSent,
    Fired::Refused,
    Fired::Removal,
    Fired::LateRemoval,
    Fired::StaleList,
    Fired::CutList,
    Fired::Pause,
    Fired::CutOff,
    Fired::Crash,
    Fired::CrashWhileSent,
    Fired::Slow,
];

/// Counts of everything.
#[derive(Debug, Clone, Default)]
pub(super) struct Coverage {
    during_commit: [u64; KINDS.len()],
    during_collection: [u64; KINDS.len()],
    during_both: [u64; KINDS.len()],
    pub(super) worlds: u64,
    pub(super) requests: u64,
    /// What processes did, by word, and how it ended.
    pub(super) ended: std::collections::BTreeMap<(&'static str, &'static str), u64>,
}

impl Coverage {
    pub(super) fn fired(&mut self, what: Fired, commit: bool, collection: bool) {
        let at = what as usize;
        self.during_commit[at] += u64::from(commit);
        self.during_collection[at] += u64::from(collection);
        self.during_both[at] += u64::from(commit && collection);
    }

    pub(super) fn ended(&mut self, what: &'static str, how: &'static str) {
        *self.ended.entry((what, how)).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        let sum = |counts: &mut [u64], others: &[u64]| counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
        sum(&mut self.during_commit, &other.during_commit);
        sum(&mut self.during_collection, &other.during_collection);
        sum(&mut self.during_both, &other.during_both);
        self.worlds += other.worlds;
        self.requests += other.requests;
        for (key, count) in &other.ended {
            *self.ended.entry(*key).or_default() += count;
        }
    }

    /// The kinds that never fired while a commit was under way, or while a collection was.
    pub(super) fn missing(&self) -> Vec<Fired> {
        KINDS.into_iter().filter(|kind| self.during_commit[*kind as usize] == 0 || self.during_collection[*kind as usize] == 0).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} worlds, {} requests", self.worlds, self.requests)?;
        writeln!(f, "{:<16}{:>14}{:>18}{:>12}", "fault", "during commit", "during collection", "both")?;
        for kind in KINDS {
            let at = kind as usize;
            let kind = format!("{kind:?}");
            writeln!(f, "{kind:<16}{:>14}{:>18}{:>12}", self.during_commit[at], self.during_collection[at], self.during_both[at])?;
        }
        for ((what, how), count) in &self.ended {
            writeln!(f, "{what:<10}{how:<22}{count:>12}")?;
        }
        Ok(())
    }
}
