//! What is wrong, as a verification reports it.

use std::fmt;
use std::sync::Mutex;

use super::lock;
use crate::id::SnapshotId;

/// More findings than this are counted, not kept.
const KEPT: usize = 10_000;
/// How many keys a finding names.
const KEYS: usize = 5;
/// How many versions a finding names.
pub(super) const VERSIONS: usize = 100;

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// An object that something names does not exist.
    Missing,
    /// An object cannot be read, or is not what its name says.
    Corrupt,
    /// A node is whole, but not the one that belongs in its place: order, sums, cuts.
    Misplaced,
    /// The virtual-file manifest counts other references than the manifest holds.
    Miscounted,
    /// A reference ends beyond the known size of its file.
    PastEnd,
    /// No container gives an external file an address.
    Unplaced,
    /// The history of a commit is not the line behind it.
    History,
    /// The list of changed keys beside a snapshot says other than its manifest and that of its first parent.
    Misrecorded,
}

impl FindingKind {
    /// The word in which messages and JSON name this kind.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Corrupt => "corrupt",
            Self::Misplaced => "misplaced",
            Self::Miscounted => "miscounted",
            Self::PastEnd => "past end",
            Self::Unplaced => "unplaced",
            Self::History => "history",
            Self::Misrecorded => "misrecorded",
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What sort of thing.
    pub kind: FindingKind,
    /// The object, by its name in the store.
    pub object: String,
    /// What is wrong with it, in one line.
    pub message: String,
    /// Keys whose values are affected, at most 5: of a node the last key below it, of a chunk keys that hold it.
    pub keys: Vec<String>,
    /// Versions that reach the object, at most 100. Of a lost `main`: snapshots that no ref keeps.
    pub versions: Vec<SnapshotId>,
}

impl Finding {
    pub(super) fn new(kind: FindingKind, object: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { kind, object: object.to_string(), message: message.into(), keys: Vec::new(), versions: Vec::new() }
    }

    pub(super) fn version(mut self, id: SnapshotId) -> Self {
        self.versions.push(id);
        self
    }

    pub(super) fn key(mut self, key: impl fmt::Display) -> Self {
        self.keys.push(key.to_string());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.kind.word(), self.object, self.message)
    }
}

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Mutex<(Vec<Finding>, u64)>);

impl Findings {
    /// Adds a finding; the number by which to add to it. Numbers past the limit lead nowhere.
    pub(super) fn add(&self, finding: Finding) -> usize {
        let mut findings = lock(&self.0);
        findings.1 += 1;
        if findings.0.len() >= KEPT {
            return usize::MAX;
        }
        findings.0.push(finding);
        findings.0.len() - 1
    }

    /// Says that another version reaches the object.
    pub(super) fn reach(&self, at: usize, version: SnapshotId) {
        if let Some(finding) = lock(&self.0).0.get_mut(at)
            && finding.versions.len() < VERSIONS
            && !finding.versions.contains(&version)
        {
            finding.versions.push(version);
        }
    }

    /// Says that the value of another key is affected.
    pub(super) fn affect(&self, at: usize, key: &str) {
        if let Some(finding) = lock(&self.0).0.get_mut(at)
            && finding.keys.len() < KEYS
            && !finding.keys.iter().any(|known| known == key)
        {
            finding.keys.push(key.to_owned());
        }
    }

    pub(super) fn into_parts(self) -> (Vec<Finding>, u64) {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
