//! The history of a commit: exactly the first-parent line behind it.

use std::sync::Arc;

use futures::stream;

use super::finding::{Finding, FindingKind};
use super::reach::Versions;
use super::tree::NodeRecord;
use super::{Verifier, is_damage};
use crate::error::Result;
use crate::format::{Commit, HistoryEntry, history_key};
use crate::history::{Behind, Line};
use crate::id::{MapKind, NodeId, SnapshotId};
use crate::map::{Map, Nowhere, build};
use crate::storage::{Extent, ObjectName};
use crate::time::Timestamp;

/// What a history turned out to be.
enum LineJudgement {
    /// The line behind its commit.
    Right,
    /// It cannot be told: a node or the parent cannot be read.
    Unknown,
    /// Another one. Names keys that should not be in it or that it lacks.
    Wrong { message: String, keys: Vec<String> },
}

/// How many keys a finding names.
const SHOWN: usize = 5;

/// The history of a version as it was read.
pub(super) struct ReadLine {
    /// Whether the version was imported without what came before it.
    is_marked: bool,
    /// `None` where the history did not come with it.
    record: Option<Arc<NodeRecord>>,
}

impl Verifier<'_> {
    /// Reads the history of a version.
    pub(super) async fn read_line(&self, id: SnapshotId, commit: &Commit) -> Result<ReadLine> {
        let marker = ObjectName::shallow(&id);
        let is_marked = match self.repository.storage().get(&marker, Extent::Range(0..0)).await {
            // Readers fail, but what it says is clear.
            Err(e) if is_damage(&e) => {
                self.findings.add(Finding::new(FindingKind::Corrupt, &marker, e.to_string()).version(id));
                true
            }
            found => found?.is_some(),
        };
        if is_marked && !self.exists(&ObjectName::node(MapKind::History, &commit.history)).await? {
            return Ok(ReadLine { is_marked, record: None });
        }
        let record = self.map::<HistoryEntry>(id, commit.history).await?;
        Ok(ReadLine { is_marked, record: Some(record) })
    }

    /// Checks the history of a version, which has been read, as have been checked those of its parents.
    pub(super) async fn check_line(&self, versions: &mut Versions, id: SnapshotId, commit: &Commit, line: ReadLine) -> Result<()> {
        let ReadLine { is_marked, record } = line;
        let Some(record) = record else {
            versions.shallow.insert(id);
            return Ok(());
        };
        let judged = if record.findings.is_empty() { self.compare_line(versions, commit).await } else { Ok(LineJudgement::Unknown) };
        let judged = match judged {
            Ok(judged) => judged,
            Err(e) if is_damage(&e) => LineJudgement::Wrong { message: e.to_string(), keys: Vec::new() },
            Err(e) => return Err(e),
        };
        match judged {
            LineJudgement::Right => {}
            // Its parent is not here, and nothing proves the history that it names.
            LineJudgement::Unknown if is_marked && commit.parents.first().is_some_and(|first| !versions.is_known(first)) => {
                versions.shallow.insert(id);
            }
            LineJudgement::Unknown => {
                versions.unsure.insert(id);
            }
            // It was imported with a history that nothing proved then. Another line's map is here under that id, which no reader shows.
            LineJudgement::Wrong { .. } if is_marked => {
                versions.shallow.insert(id);
            }
            LineJudgement::Wrong { message, keys } => {
                versions.unsure.insert(id);
                let object = ObjectName::node(MapKind::History, &commit.history);
                let mut finding = Finding::new(FindingKind::History, object, message).version(id);
                finding.keys = keys;
                self.findings.add(finding);
            }
        }
        Ok(())
    }

    /// Compares a history that could be read with the two that a child of its parent may have: that of the parent and the parent
    /// itself, or one that begins with the parent.
    async fn compare_line(&self, versions: &Versions, commit: &Commit) -> Result<LineJudgement> {
        let wrong = |message: String, keys| Ok(LineJudgement::Wrong { message, keys });
        let Some(first) = commit.parents.first() else {
            let empty = build::<HistoryEntry, _>(stream::empty(), self.objects.shape(), &mut Nowhere).await?.root;
            return if empty == commit.history && commit.since.is_none() {
                Ok(LineJudgement::Right)
            } else {
                wrong("it has entries, though its commit has no parent".to_owned(), Vec::new())
            };
        };
        let Some(parent) = versions.commits.get(first).filter(|_| !versions.unsure.contains(first)) else {
            return Ok(LineJudgement::Unknown);
        };
        if parent.time >= commit.time {
            return wrong(format!("its commit is stamped {}, the parent {}", commit.time, parent.time), Vec::new());
        }
        let (claimed, line) = (Behind::of(commit), Line { objects: &self.objects, id: *first, commit: parent });
        let is_start = versions.shallow.contains(first);
        if line.behind_child(claimed.since, is_start, &mut Nowhere).await? == Some(claimed) {
            return Ok(LineJudgement::Right);
        }
        let expected = if is_start { line.restarted(&mut Nowhere).await? } else { line.extended(&mut Nowhere).await? };
        let behind = if is_start { None } else { Some(parent.history) };
        let keys = self.strangers(behind, commit, *first, parent.time).await?;
        let message = if claimed.root == expected.root {
            format!("its commit says that it reaches back to {}, it does to {}", shown(claimed.since), shown(expected.since))
        } else {
            format!("it is not the history of the parent {first} and that parent")
        };
        wrong(message, keys)
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
