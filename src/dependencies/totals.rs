//! The files of a version, counted by array.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt as _;

use crate::error::Result;
use crate::format::{Entry, FileKey};
use crate::key::Prefix;
use crate::snapshot::{Arrays, Group, Snapshot};

/// How many files there are, and how much depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DependencyCounts {
    /// External files.
    pub files: u64,
    /// Keys that point into them.
    pub refs: u64,
    /// The sum of the lengths that they point at, in bytes.
    pub bytes: u64,
}

impl DependencyCounts {
    pub(super) fn add_file(&mut self, refs: u64, bytes: u64) {
        self.files += 1;
        self.refs = self.refs.saturating_add(refs);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// An array or a directory outside of arrays, and the files that its keys point into.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArrayDependencies {
    /// The array or directory.
    pub group: Group,
    /// All its files. A file that several arrays use counts for each.
    pub counts: DependencyCounts,
    /// The same for each container by name.
    pub containers: BTreeMap<String, DependencyCounts>,
}

impl Snapshot {
    /// The Zarr arrays, and the directories outside of arrays, that have keys in external files: arrays first, in the order of the
    /// maps.
    ///
    /// Reads every leaf of the manifest once, and in addition what is on the way to Zarr metadata, which is looked for in every directory
    /// outside of arrays. Holds about 150 bytes for each file of each array. Changes nothing, so it can be cancelled at any moment.
    pub async fn dependencies_by_array(&self) -> Result<Vec<ArrayDependencies>> {
        let mut arrays = Arrays::of([self]);
        let mut groups: BTreeMap<Group, HashMap<FileKey, (u64, u64)>> = BTreeMap::new();
        let mut entries = std::pin::pin!(self.list(&Prefix::all()));
        while let Some((key, entry)) = entries.try_next().await? {
            let Entry::Virtual { file, length, .. } = entry else { continue };
            let files = groups.entry(arrays.group_of(&key).await?).or_default();
            let (refs, bytes) = files.entry(file).or_default();
            *refs += 1;
            *bytes = bytes.saturating_add(length);
        }
        let of = |(group, files): (Group, HashMap<FileKey, (u64, u64)>)| {
            let mut found = ArrayDependencies { group, counts: DependencyCounts::default(), containers: BTreeMap::new() };
            for (file, (refs, bytes)) in files {
                found.counts.add_file(refs, bytes);
                found.containers.entry(file.container().to_owned()).or_default().add_file(refs, bytes);
            }
            found
        };
        Ok(groups.into_iter().map(of).collect())
    }
}
