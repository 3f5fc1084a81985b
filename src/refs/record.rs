//! The record in the register of a ref, and its encoding.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::MoveTo;
use super::collection::rules::{GcRule, holds};
use crate::error::{Error, Result};
use crate::id::{Cid, SnapshotId, parse_cid};
use crate::time::Timestamp;

/// The version of a record without moves of the operations that came later.
const VERSION: u32 = 1;
/// The version of a record that has had such moves. A build that knows only version 1 refuses it, and does not take it for a damaged one.
pub(super) const LATER_VERSION: u32 = 2;

/// The largest sequence number that is read: one that leaves room for more replaces than will ever be made.
pub(super) const LARGEST_SEQ: u64 = 1 << 62;

/// The largest epoch that a ref has: one that leaves room for more collections than there will ever be.
pub(crate) const MOST_EPOCH: u64 = 1 << 61;

/// The record of a ref. Every write raises `seq`, so its bytes never repeat.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefRecord {
    /// Raised by the first move that an earlier version does not know, and then kept.
    pub(super) v: u32,
    /// Grows by at least one at every replace, for ever, also through delete and re-create.
    pub(crate) seq: u64,
    /// The last garbage collection that has raised it; every other replace carries it unchanged.
    pub(crate) epoch: u64,
    /// The snapshot it points at; `None` when deleted, or when its creation has only begun.
    #[serde(with = "optional_snapshot")]
    pub(crate) tip: Option<SnapshotId>,
    /// The latest moves, oldest first.
    pub(crate) moves: Vec<Move>,
    /// The block of the moves before these.
    #[serde(with = "optional_cid")]
    pub(crate) older: Option<Cid>,
    /// What a tag says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) about: Option<TagInfo>,
}

/// A change of a ref that is not a plain commit onto its tip.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Move {
    /// The ref's sequence number that the move wrote.
    pub seq: u64,
    /// When; later than everything that happened to the ref before.
    pub time: Timestamp,
    /// Where the ref pointed; `None` when it did not exist.
    #[serde(with = "optional_snapshot")]
    pub from: Option<SnapshotId>,
    /// Where it points after the move; `None` when the move deleted it.
    #[serde(with = "optional_snapshot")]
    pub to: Option<SnapshotId>,
    /// What was done.
    pub op: MoveOp,
}

/// What moved a ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MoveOp {
    /// It was made.
    Create,
    /// It was deleted.
    Delete,
    /// It was pointed elsewhere.
    Reset,
    /// A CAR file was imported under it.
    Import,
    /// Its record was damaged and was replaced. What the ref showed before is not known.
    Repair,
    /// It was pointed at a descendant of its tip, without a merge commit.
    FastForward,
    /// Its latest commits became one.
    Squash,
    /// What happened to it last was taken back.
    Undo,
    /// An undo was taken back.
    Redo,
    /// It was pointed at what another repository pushed to it.
    Push,
    /// It was pointed at what was pulled from another repository.
    Pull,
}

impl MoveOp {
    /// The word in which it is printed.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Reset => "reset",
            Self::Import => "import",
            Self::Repair => "repair",
            Self::FastForward => "fast-forward",
            Self::Squash => "squash",
            Self::Undo => "undo",
            Self::Redo => "redo",
            Self::Push => "push",
            Self::Pull => "pull",
        }
    }

    /// The first version of records and blocks that has it.
    pub(super) const fn version(self) -> u32 {
        match self {
            Self::Create | Self::Delete | Self::Reset | Self::Import | Self::Repair => VERSION,
            Self::FastForward | Self::Squash | Self::Undo | Self::Redo | Self::Push | Self::Pull => LATER_VERSION,
        }
    }
}

/// What a tag says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TagInfo {
    /// Why the tag was made, for people.
    pub message: String,
    /// When it was made.
    pub time: Timestamp,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Anything else, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
}

impl RefRecord {
    /// The first value of a register: readers see no ref yet.
    pub(crate) fn placeholder() -> Self {
        Self { v: VERSION, seq: 1, epoch: 0, tip: None, moves: Vec::new(), older: None, about: None }
    }

    /// The same ref one write later.
    pub(crate) fn successor(&self) -> Self {
        Self { seq: self.seq + 1, ..self.clone() }
    }

    /// What a commit makes of it.
    pub(crate) fn committed(&self, tip: SnapshotId) -> Self {
        Self { tip: Some(tip), ..self.successor() }
    }

    /// What a garbage collection makes of it; `None` if it has been raised so far already. Never lowers the epoch.
    pub(crate) fn raised(&self, epoch: u64) -> Option<Self> {
        let is_done = self.epoch == epoch || self.epoch > epoch && holds(GcRule::NeverLower);
        (!is_done).then(|| Self { epoch, ..self.successor() })
    }

    /// What a move at `time` makes of it, and the move, which is still to be added. Raises the sequence number by `step` more than another
    /// replace does.
    pub(super) fn moved(&self, epoch: u64, to: &MoveTo, time: Timestamp, step: u64) -> (Self, Move) {
        let mut next = Self { epoch, tip: to.to, about: to.about.clone(), ..self.successor() };
        next.seq += step;
        let done = Move { seq: next.seq, time, from: self.tip, to: to.to, op: to.op };
        (next, done)
    }

    /// Adds a move, for which there is room.
    pub(super) fn add_move(&mut self, new: Move) {
        self.v = self.v.max(new.op.version());
        self.moves.push(new);
    }

    /// The snapshots of which one has a commit in its history, if the ref ever held that commit after sequence number `since`: the tip, and
    /// what newer moves came from. `moves` are those of the ref, back to that number at least.
    pub(crate) fn ends_since<'r>(&self, moves: &'r [Move], since: u64) -> impl Iterator<Item = SnapshotId> + use<'r> {
        self.tip.into_iter().chain(moves.iter().filter(move |m| m.seq > since).filter_map(|m| m.from))
    }

    /// Whether the ref has shown the same ever since `earlier`: its tip and its moves are those.
    pub(crate) fn shows_the_same(&self, earlier: &Self) -> bool {
        self.tip == earlier.tip && self.moves == earlier.moves && self.older == earlier.older
    }

    /// The bytes of the register: JSON that a person can read.
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a record holds only strings, numbers and lists");
        bytes.push(b'\n');
        bytes.into()
    }

    /// Reads the bytes of the register `what`; a version this build does not know is `Unsupported`.
    pub(crate) fn decode(bytes: &[u8], what: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct RecordVersion {
            v: u32,
        }
        let corrupt = |e| Error::corrupt(format!("{what} is not a valid ref")).caused_by(e);
        let RecordVersion { v } = serde_json::from_slice(bytes).map_err(corrupt)?;
        if !(VERSION..=LATER_VERSION).contains(&v) {
            return Err(Error::unsupported(format!("{what} has version {v}; this build knows {VERSION} and {LATER_VERSION}")));
        }
        let record: Self = serde_json::from_slice(bytes).map_err(corrupt)?;
        if record.seq > LARGEST_SEQ {
            return Err(Error::corrupt(format!("{what} is not a valid ref: its sequence number {} is too large", record.seq)));
        }
        if record.epoch > MOST_EPOCH {
            return Err(Error::corrupt(format!("{what} is not a valid ref: there was no collection {}", record.epoch)));
        }
        Ok(record)
    }
}

mod optional_cid {
    use super::{Cid, Deserialize, Deserializer, Serialize, Serializer, parse_cid};

    #[expect(clippy::ref_option, reason = "serde passes fields by reference")]
    pub(super) fn serialize<S: Serializer>(cid: &Option<Cid>, serializer: S) -> Result<S::Ok, S::Error> {
        cid.as_ref().map(ToString::to_string).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cid>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|t| parse_cid(&t)).transpose().map_err(serde::de::Error::custom)
    }
}

mod optional_snapshot {
    use super::{Deserializer, Serializer, SnapshotId, optional_cid};

    #[expect(clippy::ref_option, reason = "serde passes fields by reference")]
    pub(super) fn serialize<S: Serializer>(id: &Option<SnapshotId>, serializer: S) -> Result<S::Ok, S::Error> {
        optional_cid::serialize(&id.map(|i| i.cid()), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SnapshotId>, D::Error> {
        let cid = optional_cid::deserialize(deserializer)?;
        cid.map(|c| SnapshotId::from_cid(&c)).transpose().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::HashAlgorithm;

    fn record() -> RefRecord {
        let tip = SnapshotId::of(HashAlgorithm::Sha2_256, b"tip");
        let create = Move { seq: 2, time: Timestamp::from_micros(7), from: None, to: Some(tip), op: MoveOp::Create };
        RefRecord { seq: 3, tip: Some(tip), moves: vec![create], ..RefRecord::placeholder() }
    }

    #[test]
    fn a_record_survives_its_bytes() {
        let bytes = record().encode();
        assert_eq!(RefRecord::decode(&bytes, "x").unwrap(), record());
        assert_eq!(RefRecord::decode(&bytes, "x").unwrap().encode(), bytes);
    }

    #[test]
    fn newer_records_are_unsupported_and_damaged_ones_corrupt() {
        let text = String::from_utf8(record().encode().to_vec()).unwrap();
        let newer = text.replace("\"v\": 1", "\"v\": 3").replace("\"seq\"", "\"sequence\"");
        assert_eq!(RefRecord::decode(newer.as_bytes(), "x").unwrap_err().kind(), crate::ErrorKind::Unsupported);
        for bad in [
            "",
            "{}",
            "null",
            &text.replace("\"epoch\": 0,", ""),
            &text.replace("bafy", "bafk"),
            &text.replace("\"older\"", "\"elder\""),
            &text.replace("\"seq\": 3", &format!("\"seq\": {}", u64::MAX)),
        ] {
            assert_eq!(RefRecord::decode(bad.as_bytes(), "x").unwrap_err().kind(), crate::ErrorKind::Corrupt, "{bad}");
        }
    }
}
