//! The history of a commit: exactly the first-parent line behind it.

use futures::stream;

use super::finding::{Finding, FindingKind};
use super::reach::Versions;
use super::{Verifier, is_damage};
use crate::error::Result;
use crate::format::{Commit, HistoryEntry};
use crate::history::{history_entry, history_key};
use crate::id::{MapKind, NodeId, SnapshotId};
use crate::map::{Map, Nowhere, build};
use crate::storage::ObjectName;
use crate::time::Timestamp;

/// How many keys a finding names.
const SHOWN: usize = 5;

impl Verifier<'_> {
    /// Checks the history of a version whose parents have been checked.
    pub(super) async fn check_line(&self, versions: &mut Versions, id: SnapshotId) -> Result<()> {
        let Some(commit) = versions.commits.get(&id).cloned() else { return Ok(()) };
        if self.is_shallow(id, &commit).await? {
            versions.shallow.insert(id);
            return Ok(());
        }
        let record = self.map::<HistoryEntry>(id, commit.history).await?;
        let wrong = if record.findings.is_empty() { self.compare_line(versions, &commit).await } else { Ok(Some(None)) };
        let wrong = match wrong {
            Ok(wrong) => wrong,
            Err(e) if is_damage(e.kind()) => Some(Some((e.to_string(), Vec::new()))),
            Err(e) => return Err(e),
        };
        let Some(wrong) = wrong else { return Ok(()) };
        versions.unsure.insert(id);
        if let Some((message, keys)) = wrong {
            let mut finding = Finding::new(FindingKind::History, ObjectName::node(MapKind::History, &commit.history), message).version(id);
            finding.keys = keys;
            self.findings.add(finding);
        }
        Ok(())
    }

    /// Whether a version came here without its history: its absence is then no loss.
    async fn is_shallow(&self, id: SnapshotId, commit: &Commit) -> Result<bool> {
        let storage = self.repository.storage();
        let history = ObjectName::node(MapKind::History, &commit.history);
        if storage.get(&ObjectName::shallow(&id), None).await?.is_none() {
            return Ok(false);
        }
        Ok(storage.get(&history, None).await?.is_none())
    }

    /// What is wrong with a history that could be read; `Some(None)`: it cannot be told.
    async fn compare_line(&self, versions: &Versions, commit: &Commit) -> Result<Option<Option<(String, Vec<String>)>>> {
        let shape = self.objects.shape();
        let Some(first) = commit.parents.first() else {
            let empty = build::<HistoryEntry, _>(stream::empty(), shape, &mut Nowhere).await?.root;
            let is_right = empty == commit.history && commit.since.is_none();
            return Ok((!is_right).then(|| Some(("it has entries, though its commit has no parent".to_owned(), Vec::new()))));
        };
        let Some(parent) = versions.commits.get(first).filter(|_| !versions.unsure.contains(first)) else { return Ok(Some(None)) };
        if parent.time >= commit.time {
            return Ok(Some(Some((format!("its commit is stamped {}, the parent {}", commit.time, parent.time), Vec::new()))));
        }
        let (key, entry) = history_entry(*first, parent);
        let is_start = versions.shallow.contains(first);
        let (expected, since) = if is_start {
            let entries = stream::iter([Ok((key, entry))]);
            (build(entries, shape, &mut Nowhere).await?.root, Some(parent.time))
        } else {
            let map = Map::new(&self.objects, parent.history);
            (map.edit(&[(key, Some(entry))], shape, &mut Nowhere).await?.root, parent.since)
        };
        if expected == commit.history && since == commit.since {
            return Ok(None);
        }
        let behind = if is_start { None } else { Some(parent.history) };
        let keys = self.strangers(behind, commit, *first, parent.time).await?;
        let message = if expected == commit.history {
            format!("its commit says that it reaches back to {}, it does to {}", shown(commit.since), shown(since))
        } else {
            format!("it is not the history of the parent {first} and that parent")
        };
        Ok(Some(Some((message, keys))))
    }

    /// Entries that should not be in a history, that lack in it, or that are others than they should be.
    async fn strangers(&self, behind: Option<NodeId>, commit: &Commit, parent: SnapshotId, time: Timestamp) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let history = Map::<HistoryEntry, _>::new(&self.objects, commit.history);
        let key = history_key(time);
        if history.find(key.as_str()).await?.is_none_or(|entry| entry.id != parent) {
            keys.push(key.to_string());
        }
        if let Some(behind) = behind {
            let mut diff = Map::new(&self.objects, behind).diff(&history).await?;
            while let Some(change) = diff.next().await?.filter(|_| keys.len() < SHOWN) {
                if change.key != key {
                    keys.push(change.key.to_string());
                }
            }
        }
        Ok(keys)
    }
}

fn shown(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "the beginning".to_owned(), |time| time.to_string())
}
