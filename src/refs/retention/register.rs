//! The register of retention: where the lists of expired versions lie.

use serde::{Deserialize, Serialize};

use super::lists::{LONGEST_TEXT, MOST_ROWS};
use crate::error::{Error, Result};
use crate::id::{Cid, SnapshotId};
use crate::refs::record::LARGEST_SEQ;
use crate::storage::ObjectName;
use crate::time::Timestamp;

/// The version of the register that this build reads and writes.
const VERSION: u32 = 1;
/// The longest register that is read, in bytes.
const LONGEST: usize = 1 << 20;
/// How much of it is left to the names of lists.
const NAMES: usize = 1 << 14;
/// How many lists there are at most. Each is more than half as long as the one before it, or as long as a list can be.
pub(super) const MOST_LISTS: usize = 64;
/// How many versions can have expired: what a reader holds of them is about 700 MB then.
const MOST_RETIRED: u64 = 1 << 24;
/// How many versions can be withdrawn at once.
pub(super) const MOST_WITHDRAWN: usize = 1_000;

/// A list, as the register names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListName {
    /// The id of its bytes.
    #[serde(with = "cid_text")]
    pub(super) id: Cid,
    /// How many rows it has.
    pub(super) rows: u64,
}

impl ListName {
    /// Where the list lies.
    pub(crate) fn object(&self) -> ObjectName {
        ObjectName::retention(&self.id)
    }
}

/// The value of the register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetentionState {
    v: u32,
    /// Grows by one at every replace, for ever.
    pub(super) seq: u64,
    /// The number of the last act.
    pub(super) acts: u32,
    /// When the latest version was committed whose data has expired; `None` while there is none.
    pub(super) latest: Option<Timestamp>,
    /// The lists, the oldest acts first.
    pub(super) lists: Vec<ListName>,
    /// The versions that were withdrawn, sorted by their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) withdrawn: Vec<WithdrawnRecord>,
}

/// A version that was withdrawn: it can be read, and every reader is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WithdrawnRecord {
    #[serde(with = "snapshot_text")]
    pub(crate) id: SnapshotId,
    pub(crate) time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<String>,
    pub(crate) reason: String,
}

impl RetentionState {
    /// The state of a repository in which nothing has ever expired.
    pub(crate) const fn absent() -> Self {
        Self { v: VERSION, seq: 0, acts: 0, latest: None, lists: Vec::new(), withdrawn: Vec::new() }
    }

    /// Whether a version that was committed at `time` may have expired.
    pub(crate) fn may_list(&self, time: Timestamp) -> bool {
        self.latest.is_some_and(|latest| time <= latest)
    }

    /// The lists of expired versions.
    pub(crate) fn lists(&self) -> &[ListName] {
        &self.lists
    }

    /// Whether anything has expired.
    pub(crate) const fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// What is on record about a version that was withdrawn.
    pub(crate) fn withdrawn(&self, id: SnapshotId) -> Option<&WithdrawnRecord> {
        self.withdrawn.iter().find(|record| record.id == id)
    }

    /// Every version that was withdrawn.
    pub(crate) fn all_withdrawn(&self) -> &[WithdrawnRecord] {
        &self.withdrawn
    }

    /// The next value, with another record about a version, or without one. `Invalid` when it would be too large.
    pub(super) fn with_withdrawn(&self, id: SnapshotId, record: Option<WithdrawnRecord>) -> Result<Self> {
        let mut next = self.clone();
        next.seq += 1;
        next.withdrawn.retain(|known| known.id != id);
        next.withdrawn.extend(record);
        next.withdrawn.sort_by_key(|known| known.id);
        if next.withdrawn.len() > MOST_WITHDRAWN || next.encode().len() > LONGEST - NAMES {
            return Err(Error::invalid(format!("at most {MOST_WITHDRAWN} versions can be withdrawn, with 1 MiB of reasons together")));
        }
        next.check().map_err(Error::invalid)?;
        Ok(next)
    }

    /// The next value, with one act more, and these lists. `Invalid` when no build could read it.
    pub(super) fn with_lists(&self, acts: u32, lists: Vec<ListName>, latest: Timestamp) -> Result<Self> {
        let latest = self.latest.max(Some(latest));
        let next = Self { seq: self.seq + 1, acts, latest, lists, ..self.clone() };
        next.check().map_err(Error::invalid)?;
        if next.encode().len() > LONGEST {
            return Err(Error::invalid("too many versions are withdrawn, with too long reasons; take back what is not needed any more"));
        }
        Ok(next)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a state holds only strings, numbers and lists");
        bytes.push(b'\n');
        bytes
    }

    /// Reads the bytes of the register `what`. `Unsupported` for another version, `Corrupt` for what no build of this version writes.
    pub(super) fn decode(bytes: &[u8], what: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct RetentionVersion {
            v: u32,
        }
        let corrupt = |why: String| Error::corrupt(format!("{what} does not say what has expired: {why}"));
        if bytes.len() > LONGEST {
            return Err(corrupt(format!("it has {} bytes", bytes.len())));
        }
        let RetentionVersion { v } = serde_json::from_slice(bytes).map_err(|e| corrupt(e.to_string()))?;
        if v != VERSION {
            return Err(Error::unsupported(format!("{what} has version {v}; this build knows {VERSION}; upgrade")));
        }
        let state: Self = serde_json::from_slice(bytes).map_err(|e| corrupt(e.to_string()))?;
        state.check().map_err(|why| corrupt(why.to_owned()))?;
        Ok(state)
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.seq == 0 || self.seq > LARGEST_SEQ {
            return Err("its sequence number is out of range");
        }
        if self.lists.len() > MOST_LISTS {
            return Err("it has too many lists");
        }
        let is_new = |list: &ListName| self.lists.iter().filter(|other| other.id == list.id).count() == 1;
        if self.lists.iter().any(|list| list.rows == 0 || list.rows > MOST_ROWS || !is_new(list)) {
            return Err("a list has too few or too many rows, or stands there twice");
        }
        if self.lists.iter().map(|list| list.rows).sum::<u64>() > MOST_RETIRED {
            return Err("its lists have too many rows");
        }
        let texts = self.withdrawn.iter().flat_map(|record| [Some(&record.reason), record.author.as_ref()]).flatten();
        if self.withdrawn.len() > MOST_WITHDRAWN || !texts.into_iter().all(|text| text.len() <= LONGEST_TEXT) {
            return Err("too many versions were withdrawn, or with too long texts");
        }
        if !self.withdrawn.is_sorted_by(|a, b| a.id < b.id) {
            return Err("the versions that were withdrawn are out of order");
        }
        if self.lists.is_empty() != (self.acts == 0) || self.lists.is_empty() != self.latest.is_none() {
            return Err("its acts and its lists do not fit together");
        }
        Ok(())
    }
}

mod snapshot_text {
    use serde::{Deserializer, Serializer};

    use super::cid_text;
    use crate::id::SnapshotId;

    pub(super) fn serialize<S: Serializer>(id: &SnapshotId, serializer: S) -> Result<S::Ok, S::Error> {
        cid_text::serialize(&id.cid(), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SnapshotId, D::Error> {
        SnapshotId::from_cid(&cid_text::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

mod cid_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::id::{Cid, parse_cid};

    pub(super) fn serialize<S: Serializer>(cid: &Cid, serializer: S) -> Result<S::Ok, S::Error> {
        cid.to_string().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cid, D::Error> {
        parse_cid(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
