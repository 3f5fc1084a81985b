//! Which Zarr array a key belongs to: all that is known of Zarr here is where an array begins.

use serde::Deserialize;

use super::Snapshot;
use crate::error::Result;
use crate::format::Entry;
use crate::key::{Key, Prefix};

/// The group in which a key is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// A Zarr array, with everything below it.
    Array(Prefix),
    /// A directory outside of arrays, without what lies in directories below it.
    Directory(Prefix),
}

impl Group {
    /// Where it lies.
    pub const fn prefix(&self) -> &Prefix {
        match self {
            Self::Array(prefix) | Self::Directory(prefix) => prefix,
        }
    }

    /// What it is in one word: `array` or `directory`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Array(_) => "array",
            Self::Directory(_) => "directory",
        }
    }
}

/// Finds the groups of many keys. They may come in any order; in the order of the maps, each directory outside of arrays is examined
/// once.
#[derive(Debug)]
pub(crate) struct Arrays<'a> {
    snapshots: Vec<&'a Snapshot>,
    /// The directories from the root down to that of the last key, or to the array that it lies in.
    open: Vec<(Prefix, bool)>,
}

impl<'a> Arrays<'a> {
    /// An array is what is one in any of `snapshots`.
    pub(crate) fn of(snapshots: impl IntoIterator<Item = &'a Snapshot>) -> Self {
        Self { snapshots: snapshots.into_iter().collect(), open: Vec::new() }
    }

    pub(crate) async fn group_of(&mut self, key: &Key) -> Result<Group> {
        let text = key.as_str();
        while self.open.last().is_some_and(|(directory, _)| !directory.contains(text)) {
            self.open.pop();
        }
        loop {
            let next = match self.open.last() {
                None => Prefix::all(),
                Some((array, true)) => return Ok(Group::Array(array.clone())),
                Some((above, false)) => {
                    let start = above.as_str().len();
                    let name = text.get(start..).and_then(|rest| rest.find('/'));
                    match name.and_then(|len| text.get(..start + len)) {
                        Some(directory) => Prefix::new(directory)?,
                        None => return Ok(Group::Directory(above.clone())),
                    }
                }
            };
            let is_array = self.is_array(&next).await?;
            self.open.push((next, is_array));
        }
    }

    pub(crate) async fn is_array(&self, directory: &Prefix) -> Result<bool> {
        for snapshot in &self.snapshots {
            // A directory has no metadata if its name is too long for the key of the metadata.
            if let Ok(v2) = directory.join(".zarray")
                && snapshot.entry(&v2).await?.is_some()
            {
                return Ok(true);
            }
            let Ok(v3) = directory.join("zarr.json") else { continue };
            // Virtual values are not read for this.
            if let Some(entry @ (Entry::Inline(_) | Entry::Chunk { .. })) = snapshot.entry(&v3).await? {
                let bytes = snapshot.value_of(&v3, &entry, None).await?;
                if serde_json::from_slice::<Metadata>(&bytes).is_ok_and(|metadata| metadata.node_type == "array") {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

#[derive(Deserialize)]
struct Metadata {
    node_type: String,
}
