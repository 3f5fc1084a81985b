//! Differences counted by array and directory.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::key::Key;
use crate::snapshot::Snapshot;
use crate::snapshot::{Arrays, Group};

/// How many keys of a group differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ChangeCounts {
    /// Keys that only the newer side has.
    pub added: u64,
    /// Keys that only the older side has.
    pub removed: u64,
    /// Keys that both have, with different values.
    pub changed: u64,
    /// The sizes of the older values of all these keys, in bytes.
    pub old_bytes: u64,
    /// The sizes of the newer ones.
    pub new_bytes: u64,
}

/// The changes in one array or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupChanges {
    /// The array or directory.
    pub group: Group,
    /// How many keys differ, and the sizes of their values.
    pub counts: ChangeCounts,
}

/// Counts changes of keys by the array they belong to, or the directory they lie in.
#[derive(Debug)]
pub struct DiffSummary<'a> {
    arrays: Arrays<'a>,
    groups: BTreeMap<Group, ChangeCounts>,
}

impl<'a> DiffSummary<'a> {
    /// Counts nothing yet. What is an array in any of `snapshots` counts as one.
    pub fn new(snapshots: impl IntoIterator<Item = &'a Snapshot>) -> Self {
        Self { arrays: Arrays::of(snapshots), groups: BTreeMap::new() }
    }

    /// Counts one key by the sizes of its values in bytes, `None` where a side does not have it.
    ///
    /// Fast when keys come in the order of the maps, as from [`Snapshot::diff`]. After an error, or if the future is dropped, the key is
    /// not counted, and the call can be repeated.
    pub async fn add(&mut self, key: &Key, old: Option<u64>, new: Option<u64>) -> Result<()> {
        let counts = self.groups.entry(self.arrays.group_of(key).await?).or_default();
        match (old, new) {
            (None, _) => counts.added += 1,
            (_, None) => counts.removed += 1,
            _ => counts.changed += 1,
        }
        counts.old_bytes = counts.old_bytes.saturating_add(old.unwrap_or(0));
        counts.new_bytes = counts.new_bytes.saturating_add(new.unwrap_or(0));
        Ok(())
    }

    /// What was counted: arrays, then directories, each in the order of the maps.
    pub fn into_groups(self) -> Vec<GroupChanges> {
        self.groups.into_iter().map(|(group, counts)| GroupChanges { group, counts }).collect()
    }
}
