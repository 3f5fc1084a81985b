//! Checks that the virtual-file manifest agrees with the manifest, by counting anew: a whole version, or the difference to an older
//! version that is known to agree.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Result};
use crate::format::{Commit, Entry, FileKey, VirtualFile};
use crate::id::NodeId;
use crate::key::MapKey;
use crate::map::{Map, MapChange, Span};
use crate::objects::{CachedValue, Objects};

/// How many keys a finding names.
const SHOWN: usize = 3;

/// What is wrong with one external file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The counts differ from what the manifest holds.
    Miscounted {
        /// References and bytes by the virtual-file manifest.
        said: (u64, u64),
        /// References and bytes in the manifest.
        found: (i128, i128),
    },
    /// A reference ends beyond the known size.
    PastEnd {
        /// Where it ends.
        end: u64,
        /// The size.
        size: u64,
    },
    /// No container gives it an address.
    Unplaced(String),
}

/// A file about which manifest and virtual-file manifest do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Miscount {
    /// The file.
    pub(crate) file: FileKey,
    /// Some of the keys that point into it.
    pub(crate) keys: Vec<MapKey>,
    /// What is wrong.
    pub(crate) wrong: Wrong,
}

impl fmt::Display for Miscount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        match &self.wrong {
            Wrong::Miscounted { said, found } => write!(
                f,
                "the files map counts {} references of {} bytes into {file}, the manifest holds {} of {}",
                said.0, said.1, found.0, found.1
            ),
            Wrong::PastEnd { end, size } => write!(f, "a reference into {file} ends at byte {end}, the file at byte {size}"),
            Wrong::Unplaced(why) => f.write_str(why),
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    refs: i128,
    bytes: i128,
    end: u64,
    keys: Vec<MapKey>,
}

/// Compares the two manifests of `new`, or what changed in them since `old`, of which the same must have been found right.
pub(crate) async fn recount(objects: &Objects, old: Option<&Commit>, new: &Commit) -> Result<Vec<Miscount>> {
    // Other containers give other addresses to files that did not change.
    let old = old.filter(|old| old.containers == new.containers);
    let mut tallies = tally(objects, old.map(|old| old.manifest), new.manifest).await?;
    let mut wrong = Vec::new();
    let mut is_resized = false;
    let mut changes = Changes::<VirtualFile>::of(objects, old.map(|old| old.files), new.files).await?;
    while let Some(MapChange { key, old: before, new: after }) = changes.next().await? {
        let file = FileKey::from_map_key(&key)?;
        let tally = tallies.remove(&file).unwrap_or_default();
        is_resized |= before.as_ref().is_some_and(|before| after.as_ref().is_some_and(|after| after.size != before.size));
        let count = |record: &Option<VirtualFile>| record.as_ref().map_or((0, 0), |record| (record.refs, record.bytes));
        let (before, said) = (count(&before), count(&after));
        let found = (i128::from(before.0) + tally.refs, i128::from(before.1) + tally.bytes);
        let is_idle = after.is_some() && said.0 == 0;
        if found != (i128::from(said.0), i128::from(said.1)) || is_idle {
            wrong.push(Miscount { file: file.clone(), keys: tally.keys.clone(), wrong: Wrong::Miscounted { said, found } });
        }
        if let Some(record) = after {
            if let Err(e) = file.url(&new.containers) {
                wrong.push(Miscount { file: file.clone(), keys: tally.keys.clone(), wrong: Wrong::Unplaced(e.to_string()) });
            }
            wrong.extend(past_end(&file, &tally, &record));
        }
    }
    drop(changes);
    if is_resized && old.is_some() {
        // References that did not change may now end beyond the file.
        return Box::pin(recount(objects, None, new)).await;
    }
    for (file, tally) in tallies {
        wrong.extend(unlisted(objects, old, new, file, tally).await?);
    }
    Ok(wrong)
}

fn past_end(file: &FileKey, tally: &Tally, record: &VirtualFile) -> Option<Miscount> {
    let size = record.size.filter(|size| *size < tally.end)?;
    Some(Miscount { file: file.clone(), keys: tally.keys.clone(), wrong: Wrong::PastEnd { end: tally.end, size } })
}

/// A file whose references changed, though its record did not.
async fn unlisted(objects: &Objects, old: Option<&Commit>, new: &Commit, file: FileKey, tally: Tally) -> Result<Option<Miscount>> {
    let record = match old {
        Some(_) => Map::<VirtualFile, _>::new(objects, new.files).find(file.as_map_key().as_str()).await?,
        None => None,
    };
    let said = record.as_ref().map_or((0, 0), |record| (record.refs, record.bytes));
    if (tally.refs, tally.bytes) != (0, 0) || (record.is_none() && !tally.keys.is_empty()) {
        let found = (i128::from(said.0) + tally.refs, i128::from(said.1) + tally.bytes);
        return Ok(Some(Miscount { file, keys: tally.keys, wrong: Wrong::Miscounted { said, found } }));
    }
    Ok(record.and_then(|record| past_end(&file, &tally, &record)))
}

async fn tally(objects: &Objects, old: Option<NodeId>, new: NodeId) -> Result<BTreeMap<FileKey, Tally>> {
    let mut tallies = BTreeMap::<FileKey, Tally>::new();
    let mut changes = Changes::<Entry>::of(objects, old, new).await?;
    while let Some(change) = changes.next().await? {
        if let Some(Entry::Virtual { file, length, .. }) = &change.old {
            let tally = tallies.entry(file.clone()).or_default();
            tally.refs -= 1;
            tally.bytes -= i128::from(*length);
        }
        if let Some(Entry::Virtual { file, offset, length }) = &change.new {
            let tally = tallies.entry(file.clone()).or_default();
            tally.refs += 1;
            tally.bytes += i128::from(*length);
            let end = offset.saturating_add(*length);
            // The key that reaches furthest comes first: it is the one to blame for a range past the end.
            if end > tally.end {
                tally.end = end;
                tally.keys.insert(0, change.key);
                tally.keys.truncate(SHOWN);
            } else if tally.keys.len() < SHOWN {
                tally.keys.push(change.key);
            }
        }
    }
    Ok(tallies)
}

/// What leads from one map to another, or the whole of one.
enum Changes<'a, V: CachedValue> {
    Diff(Box<crate::map::Diff<'a, V>>),
    Scan(Box<crate::map::Scan<'a, V, Objects>>),
}

impl<'a, V: CachedValue> Changes<'a, V> {
    async fn of(objects: &'a Objects, old: Option<NodeId>, new: NodeId) -> Result<Self> {
        let new = Map::<V, _>::new(objects, new);
        Ok(match old {
            Some(old) => Self::Diff(Box::new(Map::<V, _>::new(objects, old).diff(&new).await?)),
            None => Self::Scan(Box::new(new.scan(Span::all()))),
        })
    }

    async fn next(&mut self) -> Result<Option<MapChange<V>>, Error> {
        match self {
            Self::Diff(diff) => diff.next().await,
            Self::Scan(scan) => Ok(scan.next().await?.map(|(key, value)| MapChange { key, old: None, new: Some(value) })),
        }
    }
}
