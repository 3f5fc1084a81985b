//! Lists of versions whose data has expired, with the acts by which it did. Immutable, named by the hash of their bytes.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::dagcbor;
use crate::error::{Error, Result};
use crate::id::{Digest, SnapshotId};
use crate::refs::collection::{CondemnedRow, row_of};
use crate::storage::layout::ObjectKind;
use crate::time::Timestamp;

/// The version of lists that this build reads and writes.
const VERSION: u32 = 1;
/// How many rows a list has at most: 37 MB.
pub(super) const MOST_ROWS: u64 = 1_000_000;
/// The longest list that is read, in bytes: so many rows, and acts of the longest texts for the rest.
pub(super) const LONGEST: u64 = 64 << 20;
/// The longest reason, author or description of rules, in bytes.
pub(super) const LONGEST_TEXT: usize = 4 << 10;
/// What an act takes beside its texts, in bytes, and a list beside its acts: at most.
const LONGEST_FRAME: usize = 256;
/// A row: an object, and the number of an act.
const ROW: usize = 37;

/// By whom, when and why the data of versions expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActRecord {
    /// Acts are counted from 1.
    pub(crate) number: u32,
    pub(crate) time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<String>,
    pub(crate) reason: String,
    /// What was kept, in words.
    pub(crate) rules: String,
    /// How many versions expired.
    pub(crate) versions: u64,
    /// By which the writer knows its own act again.
    pub(crate) nonce: u64,
}

impl ActRecord {
    pub(super) fn has_proper_texts(&self) -> bool {
        let texts = [Some(&self.reason), Some(&self.rules), self.author.as_ref()];
        texts.into_iter().flatten().all(|text| text.len() <= LONGEST_TEXT)
    }
}

/// A list that was read, or is to be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RetentionList {
    /// In the order of their numbers.
    pub(super) acts: Vec<ActRecord>,
    /// What they retired, sorted, each once.
    pub(super) rows: Vec<(CondemnedRow, u32)>,
}

/// A list as it is stored: canonical DAG-CBOR.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredList {
    v: u32,
    acts: Vec<ActRecord>,
    rows: RowBytes,
}

impl RetentionList {
    /// The act by which the data of a version expired, if this list names it.
    pub(crate) fn act_of(&self, id: SnapshotId) -> Option<&ActRecord> {
        let wanted = row_of(ObjectKind::Snapshot, id.digest());
        let at = self.rows.binary_search_by_key(&wanted, |(row, _)| *row).ok()?;
        let (_, number) = self.rows.get(at)?;
        self.act(*number)
    }

    /// The act of that number, if it is in this list.
    pub(super) fn act(&self, number: u32) -> Option<&ActRecord> {
        let at = self.acts.binary_search_by_key(&number, |act| act.number).ok()?;
        self.acts.get(at)
    }

    /// Whether a list that holds both can be read.
    pub(super) fn has_room_for(&self, other: &Self) -> bool {
        let texts = |act: &ActRecord| act.reason.len() + act.rules.len() + act.author.as_ref().map_or(0, String::len) + LONGEST_FRAME;
        let bytes = self.acts.iter().chain(&other.acts).map(texts).sum::<usize>() + (self.rows.len() + other.rows.len()) * ROW;
        bytes as u64 <= LONGEST
    }

    /// Takes over what another list holds.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.acts.extend(other.acts.iter().cloned());
        self.acts.sort_by_key(|act| act.number);
        self.rows.extend(&other.rows);
        self.rows.sort_unstable();
        // A version expires once: by the first act that named it.
        self.rows.dedup_by_key(|(row, _)| *row);
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut rows = Vec::with_capacity(self.rows.len() * ROW);
        for (row, act) in &self.rows {
            rows.extend_from_slice(row);
            rows.extend_from_slice(&act.to_be_bytes());
        }
        dagcbor::encode(&StoredList { v: VERSION, acts: self.acts.clone(), rows: RowBytes(rows) })
    }

    /// Reads the bytes of the list `what`. `Unsupported` for another version, `Corrupt` for what no build of this version writes.
    pub(super) fn decode(bytes: &[u8], what: &str) -> Result<Self> {
        let corrupt = |why: &str| Error::corrupt(format!("{what} is not a list of expired versions: {why}"));
        let stored: StoredList = dagcbor::decode(bytes, what)?;
        if stored.v != VERSION {
            return Err(Error::unsupported(format!("{what} has version {}; this build knows {VERSION}; upgrade", stored.v)));
        }
        let (whole, rest) = stored.rows.0.as_chunks::<ROW>();
        if whole.is_empty() || !rest.is_empty() || whole.len() as u64 > MOST_ROWS {
            return Err(corrupt("the length of its rows is wrong"));
        }
        let mut list = Self { acts: stored.acts, rows: Vec::with_capacity(whole.len()) };
        if !list.acts.is_sorted_by(|a, b| a.number < b.number) || !list.acts.iter().all(ActRecord::has_proper_texts) {
            return Err(corrupt("its acts are out of order, or have too long texts"));
        }
        for row in whole {
            let (Some(object), Some(act)) = (row.first_chunk::<33>(), row.last_chunk::<4>()) else { continue };
            list.rows.push((*object, u32::from_be_bytes(*act)));
        }
        if !list.rows.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(corrupt("its rows are out of order"));
        }
        let is_version = |row: &CondemnedRow| row.first() == Some(&(ObjectKind::Snapshot as u8));
        if !list.rows.iter().all(|(row, act)| is_version(row) && list.act(*act).is_some()) {
            return Err(corrupt("a row is not that of a version, or names an act that is not there"));
        }
        Ok(list)
    }
}

/// The row of a version.
pub(super) fn version_row(digest: &Digest, act: u32) -> (CondemnedRow, u32) {
    (row_of(ObjectKind::Snapshot, digest), act)
}

/// Bytes, which serde would write as a list of numbers.
struct RowBytes(Vec<u8>);

impl Serialize for RowBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for RowBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyBytes;
        impl Visitor<'_> for AnyBytes {
            type Value = RowBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<RowBytes, E> {
                Ok(RowBytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<RowBytes, E> {
                Ok(RowBytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(AnyBytes)
    }
}
