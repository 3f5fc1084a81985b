//! Which commit last changed each array, or each key, below a prefix.
//!
//! For arrays the line is followed back from commit to commit. What two neighbours share is told by the ids of nodes and is not read, and
//! an array that was found is not looked at again. A search by halves would be faster and wrong: an array that is the same in two versions
//! may have been changed and changed back in between.
//!
//! For keys the versions of the line are read as one union of maps, each node once.

use std::collections::{HashMap, HashSet};

use futures::{Stream, StreamExt as _, TryStreamExt as _};

use super::log::LogEntry;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{ChangeList, Entry};
use crate::id::{NodeId, SnapshotId};
use crate::key::{Key, Prefix};
use crate::map::{Map, MapNumbers, Spans, Union};
use crate::snapshot::{Arrays, Child, KeyOrPrefix, Snapshot};
use crate::storage::ObjectName;
use crate::zarr;

/// How many commits are read ahead.
const AHEAD: usize = 8;

/// The commit that last changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blamed {
    /// The key; or the prefix of an array, with everything below it.
    pub name: KeyOrPrefix,
    /// The commit.
    pub commit: LogEntry,
    /// Whether it made the change. `false`: it is the oldest commit of the line that this repository has, and has the same; whether
    /// an earlier one made it is not known. `false` also where versions before it have expired, one of which may have made it.
    pub is_known: bool,
}

impl Snapshot {
    /// The commits of the first-parent line, this one included, that last changed each array at or below `prefix`, and each key there that
    /// lies in no array, in the order of their names. A merge is named for what it brought.
    ///
    /// A prefix inside an array counts as one. Only what is stored under keys is compared: not the states of external files. Reads the
    /// snapshot of each commit back to the last that is named, and of their manifests the nodes below `prefix` that neighbours do not
    /// share, of each array at most until the first difference. Holds the names in memory. `NotFound` when nothing lies there, `Corrupt`
    /// when a commit of the line is lost.
    pub async fn blame(&self, prefix: &Prefix) -> Result<Vec<Blamed>> {
        self.blame_by(prefix, false).await
    }

    /// Like [`blame`](Self::blame), but believes the lists of changed keys that the writers of the commits recorded, as
    /// [`recorded_diff`](Self::recorded_diff) does, and reads one instead of the nodes that two neighbours do not share. Neighbours beside
    /// which there is none are compared.
    ///
    /// **Nothing proves that the lists are right**: a change that one leaves out is attributed to an older commit. `Corrupt` also when a
    /// list is damaged, or belongs to other versions.
    pub async fn recorded_blame(&self, prefix: &Prefix) -> Result<Vec<Blamed>> {
        self.blame_by(prefix, true).await
    }

    async fn blame_by(&self, prefix: &Prefix, believes: bool) -> Result<Vec<Blamed>> {
        let names = self.blamed_names(prefix).await?;
        if names.is_empty() {
            return Err(Error::not_found(format!("nothing lies below {} in snapshot {}", prefix.as_str(), self.id())));
        }
        let mut open: HashMap<String, usize> = names.iter().enumerate().map(|(at, name)| (name.as_str().to_owned(), at)).collect();
        let mut found: Vec<Option<(LogEntry, bool)>> = vec![None; names.len()];
        let mut line = std::pin::pin!(self.line());
        let retention = self.repository().known_retention().await?;
        let mut newer: Option<(LogEntry, NodeId)> = None;
        // Whether the line is whole, and whether versions after the one that comes next have expired.
        let (mut is_whole, mut follows_expired) = (true, false);
        while !open.is_empty() {
            let older = match line.try_next().await {
                Err(e) if e.kind() == ErrorKind::NotFound && newer.is_some() => {
                    is_whole = false;
                    None
                }
                older => older?,
            };
            let Some(older) = older else { break };
            if retention.is_expired(older.0.id) {
                follows_expired = true;
                continue;
            }
            if let Some((entry, manifest)) = newer.filter(|(_, newer)| *newer != older.1) {
                // Between versions that are no neighbours any more there is no list.
                let list = if believes && !follows_expired { self.list_between(older.1, entry.id, manifest).await? } else { None };
                let changed = match list {
                    Some(list) => first_listed(&list, &mut open),
                    None => self.first_changes(older.1, manifest, &names, &mut open).await?,
                };
                for at in changed {
                    if let Some(found) = found.get_mut(at) {
                        *found = Some((entry.clone(), !follows_expired));
                    }
                }
            }
            newer = Some(older);
            follows_expired = false;
        }
        is_whole &= !follows_expired;
        // What is left is as the first commit of the line made it.
        let oldest = newer.map(|(entry, _)| entry);
        let blamed = names.into_iter().zip(found).filter_map(|(name, found)| {
            let (commit, is_known) = found.or_else(|| Some((oldest.clone()?, is_whole)))?;
            Some(Blamed { name, commit, is_known })
        });
        Ok(blamed.collect())
    }

    /// The commits of the first-parent line, this one included, that last changed each key below `prefix`, in the order of the maps.
    ///
    /// Otherwise as [`blame`](Self::blame). Reads the snapshot of every commit of the line, and each node below `prefix` of their manifests
    /// once, however many versions share it, before the first item; holds about 200 bytes for each of them.
    pub async fn blame_keys(&self, prefix: &Prefix) -> Result<impl Stream<Item = Result<Blamed>> + Send + use<>> {
        let retention = self.repository().known_retention().await?;
        let (mut versions, mut is_whole) = (Vec::new(), true);
        // The versions before which others have expired.
        let mut after_expired = HashSet::new();
        let mut line = std::pin::pin!(self.line());
        loop {
            match line.try_next().await {
                Ok(Some((entry, _))) if retention.is_expired(entry.id) => {
                    after_expired.extend(versions.last().map(|(newer, _): &(LogEntry, NodeId)| newer.id));
                }
                Ok(Some(version)) => versions.push(version),
                Ok(None) => break,
                Err(e) if e.kind() == ErrorKind::NotFound && !versions.is_empty() => {
                    is_whole = false;
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        versions.reverse();
        let (entries, roots): (Vec<LogEntry>, Vec<NodeId>) = versions.into_iter().unzip();
        let inside = prefix.clone();
        let wanted = Box::new(move |key: &crate::key::MapKey, _: &Entry| inside.contains(key.as_str()));
        let union = Union::<Entry, _>::open(self.nodes(), roots, Spans::beginnings([prefix.as_str().to_owned()]), wanted).await?;
        Ok(union.into_stream().try_filter_map(move |(key, values)| {
            let found = last_change(&values, entries.len()).and_then(|at| Some((at, entries.get(at)?.clone())));
            let blamed = found.map(|(at, entry)| {
                let is_known = (is_whole || at > 0) && !after_expired.contains(&entry.id);
                (entry, is_known)
            });
            let blamed =
                blamed.map(|(commit, is_known)| Key::new(key.as_str()).map(|key| Blamed { name: KeyOrPrefix::Key(key), commit, is_known }));
            futures::future::ready(blamed.transpose())
        }))
    }

    /// The commits of the line, latest first, with the root of the manifest of each.
    ///
    /// Ends as [`log`](Self::log). A commit that the history lists has been in this repository, so it is `Corrupt` when it is not.
    fn line(&self) -> impl Stream<Item = Result<(LogEntry, NodeId)>> + Send + use<> {
        let of = self.clone();
        let reads = self.log().map(move |entry| {
            let of = of.clone();
            async move {
                let entry = entry?;
                if entry.id == of.id() {
                    return Ok((entry, of.record().manifest));
                }
                let (id, tip) = (entry.id, of.id());
                let commit = of.repository().objects().try_commit(&id).await?;
                let commit = commit.ok_or_else(|| Error::corrupt(format!("snapshot {id}, which lies behind {tip}, does not exist")))?;
                Ok((entry, commit.manifest))
            }
        });
        reads.buffered(AHEAD)
    }

    /// What [`blame`](Self::blame) tells apart below `prefix`.
    async fn blamed_names(&self, prefix: &Prefix) -> Result<Vec<KeyOrPrefix>> {
        let arrays = Arrays::of([self]);
        for above in zarr::directories(prefix.as_str()) {
            let above = Prefix::new(above)?;
            if arrays.is_array(&above).await? {
                let is_there = self.has_below(prefix).await?;
                return Ok(if is_there { vec![KeyOrPrefix::Prefix(prefix.clone())] } else { Vec::new() });
            }
        }
        let (mut names, mut todo) = (Vec::new(), vec![Child::Directory(prefix.clone())]);
        while let Some(next) = todo.pop() {
            match next {
                Child::Key(key, _) => names.push(KeyOrPrefix::Key(key)),
                Child::Directory(array) if arrays.is_array(&array).await? => names.push(KeyOrPrefix::Prefix(array)),
                Child::Directory(group) => todo.extend(self.children(&group).await?.into_iter().rev()),
            }
        }
        Ok(names)
    }

    /// What the writer of the version `id` recorded, if anything, of what led from one manifest to its own.
    async fn list_between(&self, older: NodeId, id: SnapshotId, newer: NodeId) -> Result<Option<ChangeList>> {
        let list = self.repository().objects().read_changes(&id).await?;
        match &list {
            Some(list) if list.manifests != [older, newer] => Err(Error::corrupt(format!(
                "{} is the list of other versions; compare the snapshots themselves, and verify the repository",
                ObjectName::changes(&id)
            ))),
            _ => Ok(list),
        }
    }

    /// Takes out of `open` what differs between two neighbours, by its number.
    async fn first_changes(
        &self,
        older: NodeId,
        newer: NodeId,
        names: &[KeyOrPrefix],
        open: &mut HashMap<String, usize>,
    ) -> Result<Vec<usize>> {
        let objects = self.repository().objects();
        let (old, new) = (Map::<Entry, _>::new(objects, older), Map::<Entry, _>::new(objects, newer));
        let mut diff = old.diff_in_all(&new, Spans::beginnings(open.keys().cloned())).await?;
        let mut found = Vec::new();
        while let Some(change) = diff.next().await? {
            let key = change.key.as_str();
            let Some(at) = take_open(open, key) else { continue };
            found.push(at);
            if open.is_empty() {
                break;
            }
            if let Some(KeyOrPrefix::Prefix(array)) = names.get(at) {
                diff.skip(array);
            }
        }
        Ok(found)
    }
}

/// Takes out of `open` that to which a key belongs.
fn take_open(open: &mut HashMap<String, usize>, key: &str) -> Option<usize> {
    let name = zarr::directories(key).chain([key]).find(|name| open.contains_key(*name))?.to_owned();
    open.remove(&name)
}

/// Takes out of `open` what a list names, by its number.
fn first_listed(list: &ChangeList, open: &mut HashMap<String, usize>) -> Vec<usize> {
    list.changes.iter().filter_map(|change| take_open(open, change.key.as_str())).collect()
}

/// The version from which on a key has had the value that it has in the last of `count` versions; `None` if that does not have it.
fn last_change(values: &[(Entry, MapNumbers)], count: usize) -> Option<usize> {
    let last = values.iter().filter_map(|(_, numbers)| numbers.ranges().last());
    last.filter(|range| range.end == count).map(|range| range.start).next()
}
