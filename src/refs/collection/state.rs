//! The register of garbage collection: who collects, how far, and which collections have finished.
//!
//! Every change of it is one conditional replace that raises `seq`. The rules of the changes are here, as functions of the value alone.

use serde::{Deserialize, Serialize};

use super::super::record::{LARGEST_SEQ, MOST_EPOCH};
use super::rules::{GcRule, holds};
use crate::error::{Error, Result};

/// The version of the register that this build reads and writes.
const VERSION: u32 = 1;
/// The largest epoch that is read.
const LARGEST_EPOCH: u64 = LARGEST_SEQ;
/// How many lists of finished collections are kept. Sessions that are older than all of them write everything again.
pub(crate) const KEPT_LISTS: usize = 64;
/// The longest name of a list or an owner, in bytes.
const LONGEST_NAME: usize = 96;
/// The longest register that is read, in bytes.
const LONGEST: usize = 64 << 10;

/// How far a collection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GcPhase {
    /// None is under way.
    Idle,
    /// The refs are being raised to the new epoch. Nothing is removed yet.
    Fence,
    /// What the list names is being removed.
    Sweep,
}

/// The list of a collection that has finished.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FinishedList {
    pub(crate) epoch: u64,
    pub(crate) id: String,
}

/// The value of the register.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GcState {
    v: u32,
    /// Grows by one at every replace, for ever; when the register is made anew, to the microseconds since 1970.
    pub(crate) seq: u64,
    /// Grows by one with every collection that has begun, and when the register is made anew.
    pub(crate) epoch: u64,
    pub(crate) phase: GcPhase,
    /// The nonce of the collector; `None` while idle.
    pub(crate) owner: Option<String>,
    /// What the collection under way condemns; `None` while idle.
    pub(crate) list: Option<String>,
    /// The lists of the last collections that have finished, oldest first. One that was given up has none.
    pub(crate) lists: Vec<FinishedList>,
}

/// Where what was condemned since some epoch is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListsSince {
    /// In these lists.
    These(Vec<String>),
    /// Partly in lists that are not kept any more: anything may have been condemned.
    Forgotten,
}

impl GcState {
    /// The state of a repository in which nothing was ever collected.
    pub(crate) const fn absent() -> Self {
        Self { v: VERSION, seq: 0, epoch: 0, phase: GcPhase::Idle, owner: None, list: None, lists: Vec::new() }
    }

    /// The state that replaces one that is damaged or was lost. `epoch` is above every one that there was; the list `lost` cannot be read, so that
    /// everything counts as condemned until then. `None` for a number that no collection comes to.
    pub(crate) fn anew(epoch: u64, seq: u64, lost: String) -> Option<Self> {
        let lists = vec![FinishedList { epoch, id: lost }];
        let state = Self { seq: seq.min(LARGEST_SEQ >> 1), epoch, lists, ..Self::absent() };
        (epoch <= MOST_EPOCH && state.check().is_ok()).then_some(state)
    }

    /// The bytes of the register.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a state holds only strings, numbers and lists");
        bytes.push(b'\n');
        bytes
    }

    /// Reads the bytes of the register `what`. `Unsupported` for another version, `Corrupt` for what no build of this version writes.
    pub(super) fn decode(bytes: &[u8], what: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct StateVersion {
            v: u32,
        }
        let corrupt = |why: String| {
            Error::corrupt(format!("{what} does not say how garbage is collected: {why}; make it anew with: firn gc --repair"))
        };
        if bytes.len() > LONGEST {
            return Err(corrupt(format!("it has {} bytes", bytes.len())));
        }
        let StateVersion { v } = serde_json::from_slice(bytes).map_err(|e| corrupt(e.to_string()))?;
        if v != VERSION {
            return Err(Error::unsupported(format!("{what} has version {v}; this build knows {VERSION}; upgrade")));
        }
        let state: Self = serde_json::from_slice(bytes).map_err(|e| corrupt(e.to_string()))?;
        state.check().map_err(|why| corrupt(why.to_owned()))?;
        Ok(state)
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.seq > LARGEST_SEQ || self.epoch > LARGEST_EPOCH {
            return Err("a number is too large");
        }
        if self.is_running() != self.owner.is_some() || self.is_running() != self.list.is_some() {
            return Err("a collection under way has an owner and a list, and no other has");
        }
        if self.is_running() && self.epoch == 0 {
            return Err("a collection is under way in epoch 0");
        }
        if self.lists.len() > KEPT_LISTS {
            return Err("it has too many lists");
        }
        let names = self.lists.iter().map(|list| &list.id).chain(&self.owner).chain(&self.list);
        if !names.into_iter().all(|name| is_name(name)) {
            return Err("a name is not one that collections have");
        }
        let ends = (self.lists.first().map_or(1, |list| list.epoch), self.lists.last().map_or(0, |list| list.epoch));
        if !self.lists.is_sorted_by(|a, b| a.epoch < b.epoch) || ends.0 == 0 || ends.1 > self.finished() {
            return Err("the epochs of its lists are out of order");
        }
        Ok(())
    }

    /// Whether a collection is under way.
    pub(crate) const fn is_running(&self) -> bool {
        !matches!(self.phase, GcPhase::Idle)
    }

    /// The last collection that removes nothing any more.
    pub(crate) fn finished(&self) -> u64 {
        if self.is_running() && holds(GcRule::KnowFinished) { self.epoch.saturating_sub(1) } else { self.epoch }
    }

    /// Where everything is listed that the collections after `known` condemn, up to the one under way.
    ///
    /// A collection without a list was given up before it removed anything, unless its list was forgotten: only the oldest are.
    pub(crate) fn lists_since(&self, known: u64) -> ListsSince {
        let oldest = self.lists.first().map_or(0, |list| list.epoch);
        if self.lists.len() >= KEPT_LISTS && known.saturating_add(1) < oldest {
            return ListsSince::Forgotten;
        }
        let finished = self.lists.iter().filter(|list| list.epoch > known).map(|list| &list.id);
        let running = self.list.iter().filter(|_| self.epoch > known);
        ListsSince::These(finished.chain(running).cloned().collect())
    }

    fn successor(&self) -> Self {
        Self { seq: self.seq + 1, ..self.clone() }
    }

    /// A collection begins: the refs are raised to the next epoch. Only an idle state has this successor.
    pub(crate) fn fenced(&self, owner: &str, list: &str) -> Self {
        let (owner, list) = (Some(owner.to_owned()), Some(list.to_owned()));
        let epoch = self.epoch + u64::from(holds(GcRule::EpochAtFence));
        Self { epoch, phase: GcPhase::Fence, owner, list, ..self.successor() }
    }

    /// Every ref has been raised, and what `list` names is led to by none: removing begins.
    pub(crate) fn sweeping(&self, list: &str) -> Self {
        let epoch = self.epoch + u64::from(!holds(GcRule::EpochAtFence));
        Self { epoch, phase: GcPhase::Sweep, list: Some(list.to_owned()), ..self.successor() }
    }

    /// The owner goes on.
    pub(crate) fn renewed(&self) -> Self {
        self.successor()
    }

    /// Another collector ends it. The list stays: a part of it has been removed.
    pub(crate) fn taken_over(&self, owner: &str) -> Self {
        Self { owner: Some(owner.to_owned()), ..self.successor() }
    }

    /// The collection has removed nothing and ends. The epoch stays, because refs have been raised to it.
    pub(crate) fn given_up(&self) -> Self {
        Self { phase: GcPhase::Idle, owner: None, list: None, ..self.successor() }
    }

    /// Every removal has happened: the collection has finished.
    pub(crate) fn done(&self) -> Self {
        let mut next = self.given_up();
        next.lists.extend(self.list.clone().map(|id| FinishedList { epoch: self.epoch, id }));
        let forgotten = next.lists.len().saturating_sub(KEPT_LISTS);
        next.lists.drain(..forgotten);
        next
    }
}

fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn collected(times: usize) -> GcState {
        (0..times).fold(GcState::absent(), |state, n| {
            let state = state.fenced("owner", &format!("{n}-pre"));
            state.sweeping(&format!("{n}-final")).done()
        })
    }

    #[test]
    fn states_survive_their_bytes_and_count_up() {
        let idle = collected(2);
        let fence = idle.fenced("ab-1", "3-ab-pre");
        let sweep = fence.sweeping("3-ab-final");
        let steps =
            [idle.clone(), fence.clone(), fence.given_up(), sweep.clone(), sweep.renewed(), sweep.taken_over("other"), sweep.done()];
        for state in &steps {
            assert_eq!(GcState::decode(&state.encode(), "x").unwrap(), *state);
        }
        for (state, (seq, epoch, finished)) in
            steps.iter().zip([(6, 2, 2), (7, 3, 2), (8, 3, 3), (8, 3, 2), (9, 3, 2), (9, 3, 2), (9, 3, 3)])
        {
            assert_eq!((state.seq, state.epoch, state.finished()), (seq, epoch, finished), "{state:?}");
        }
        assert_eq!(sweep.taken_over("other").list, sweep.list, "a part of it is gone");
    }

    #[test]
    fn a_session_looks_through_every_list_since_it_began() {
        let these = |names: &[&str]| ListsSince::These(names.iter().map(|name| (*name).to_owned()).collect());
        let idle = collected(2);
        assert_eq!(idle.lists_since(2), these(&[]));
        assert_eq!(idle.lists_since(1), these(&["1-final"]));
        assert_eq!(idle.lists_since(0), these(&["0-final", "1-final"]));
        let fence = idle.fenced("o", "2-pre");
        assert_eq!(
            (fence.lists_since(2), fence.lists_since(1), fence.lists_since(3)),
            (these(&["2-pre"]), these(&["1-final", "2-pre"]), these(&[]))
        );
        // One that was given up removed nothing.
        let after = fence.given_up().fenced("o", "3-pre").sweeping("3-final").done();
        assert_eq!((after.lists_since(2), after.lists_since(1)), (these(&["3-final"]), these(&["1-final", "3-final"])));
        // One that was forgotten may have removed anything.
        let long = collected(KEPT_LISTS + 3);
        assert_eq!(long.lists.len(), KEPT_LISTS);
        assert_eq!((long.lists_since(2), long.lists_since(0)), (ListsSince::Forgotten, ListsSince::Forgotten));
        assert!(matches!(long.lists_since(3), ListsSince::These(lists) if lists.len() == KEPT_LISTS));
        assert!(matches!(collected(KEPT_LISTS).lists_since(0), ListsSince::These(lists) if lists.len() == KEPT_LISTS));
    }

    #[test]
    fn nonsense_is_corrupt_and_newer_versions_are_unsupported() {
        let text = String::from_utf8(collected(1).fenced("o", "l").encode()).unwrap();
        let kind = |text: &str| GcState::decode(text.as_bytes(), "x").unwrap_err().kind();
        assert_eq!(kind(&text.replace("\"v\": 1", "\"v\": 2").replace("\"phase\"", "\"state\"")), ErrorKind::Unsupported);
        for (from, to) in [
            ("fence", "idle"),
            ("fence", "something"),
            ("\"owner\": \"o\"", "\"owner\": null"),
            ("\"list\": \"l\"", "\"list\": null"),
            ("\"list\": \"l\"", "\"list\": \"../x\""),
            ("\"epoch\": 2", "\"epoch\": 1"),
            ("\"epoch\": 2", "\"epoch\": 18446744073709551615"),
            ("\"epoch\": 1", "\"epoch\": 0"),
            ("\"seq\"", "\"sequence\""),
        ] {
            assert!(text.contains(from), "{text}");
            assert_eq!(kind(&text.replace(from, to)), ErrorKind::Corrupt, "{from} -> {to}");
        }
        assert_eq!((kind(""), kind("{}"), kind("null")), (ErrorKind::Corrupt, ErrorKind::Corrupt, ErrorKind::Corrupt));
    }
}
