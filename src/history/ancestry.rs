//! The ancestors of a commit, read from its history map alone.

use futures::stream;

use super::Resolved;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Commit, HistoryEntry};
use crate::id::{NodeId, SnapshotId};
use crate::key::MapKey;
use crate::map::{Map, NodeSink, Span, build};
use crate::objects::Objects;
use crate::snapshot::Snapshot;
use crate::storage::{Extent, ObjectName};
use crate::time::Timestamp;

/// The key of a commit in the history maps of its descendants: decimal microseconds.
pub(crate) fn history_key(time: Timestamp) -> MapKey {
    MapKey::new(time.micros().to_string())
}

/// What the history maps of its descendants hold of a commit.
fn history_entry(id: SnapshotId, commit: &Commit) -> (MapKey, HistoryEntry) {
    (history_key(commit.time), HistoryEntry { id, summary: commit.summary().to_owned() })
}

/// What a commit records about its ancestors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind {
    /// The root of its history map.
    pub(crate) root: NodeId,
    /// The time before which the map lists nothing although the line goes on; `None`: the map begins with the line.
    pub(crate) since: Option<Timestamp>,
}

impl Behind {
    /// Takes it from `commit`.
    pub(crate) const fn of(commit: &Commit) -> Self {
        Self { root: commit.history, since: commit.since }
    }
}

/// A commit together with its id and the repository's objects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) id: SnapshotId,
    pub(crate) commit: &'a Commit,
}

impl<'a> Line<'a> {
    /// The line of a snapshot.
    pub(crate) fn of(snapshot: &'a Snapshot) -> Self {
        Line { objects: snapshot.repository().objects(), id: snapshot.id(), commit: snapshot.record() }
    }

    /// Whether the commit was imported without its history.
    ///
    /// Loads the nodes at the end of the history map. `Corrupt` when they are missing or damaged, or when the map does not end with
    /// the parent, and no import recorded that the history is not here.
    pub(crate) async fn is_shallow(&self) -> Result<bool> {
        let wrong = match self.is_behind().await {
            Ok(true) => return Ok(false),
            // An imported commit names a history map by its id alone: a map of another line may be here under that id.
            Ok(false) => {
                Error::corrupt(format!("the history {} of snapshot {} does not end with its parent", self.commit.history, self.id))
            }
            Err(e) if e.kind() == ErrorKind::Corrupt => e,
            Err(e) => return Err(e),
        };
        // The marker distinguishes a shallow commit from a damaged one. It costs a request, so it is read only here.
        let marker = self.objects.storage().get(&ObjectName::shallow(&self.id), Extent::Range(0..0)).await?;
        if marker.is_some() { Ok(true) } else { Err(wrong) }
    }

    /// Whether the history map ends with the first parent, and begins where the commit says.
    async fn is_behind(&self) -> Result<bool> {
        let last = self.history().scan_back(Span::all()).next().await?;
        let ends_right = match (&last, self.commit.parents.first()) {
            (None, None) => true,
            (Some((key, entry)), Some(parent)) => entry.id == *parent && parse_history_key(key)? < self.commit.time,
            _ => false,
        };
        match self.commit.since.filter(|_| ends_right) {
            None => Ok(ends_right),
            Some(since) => {
                let first = self.history().scan(Span::all()).next().await?;
                Ok(first.is_some_and(|(key, _)| key == history_key(since)))
            }
        }
    }

    /// The history of a child of this commit: that of this commit, and the commit itself.
    ///
    /// Requires that the commit is not [shallow](Self::is_shallow). `Corrupt` when its history lists the commit's own time.
    pub(crate) async fn extended(&self, sink: &mut impl NodeSink<HistoryEntry>) -> Result<Behind> {
        let (key, entry) = history_entry(self.id, self.commit);
        if self.history().find(key.as_str()).await?.is_some() {
            return Err(Error::corrupt(format!("the history of snapshot {} lists its own time", self.id)));
        }
        let root = self.history().edit(&[(key, Some(entry))], self.objects.shape(), sink).await?.root;
        Ok(Behind { root, since: self.commit.since })
    }

    /// The history of a child that begins with this commit: what a commit on top of a shallow one has.
    pub(crate) async fn restarted(&self, sink: &mut impl NodeSink<HistoryEntry>) -> Result<Behind> {
        let entries = stream::iter([Ok(history_entry(self.id, self.commit))]);
        Ok(Behind { root: build(entries, self.objects.shape(), sink).await?.root, since: Some(self.commit.time) })
    }

    /// `NotFound` when the commit was imported without its history.
    pub(crate) async fn require_history(&self) -> Result<()> {
        if self.is_shallow().await? { Err(unknown_before(self.commit.time)) } else { Ok(()) }
    }

    pub(crate) fn history(&self) -> Map<'a, HistoryEntry, Objects> {
        Map::new(self.objects, self.commit.history)
    }

    /// The latest commit of the line that is not later than `time`, this one included.
    ///
    /// `None` when the line began later; `NotFound` when the history does not reach back that far.
    pub(crate) async fn floor(&self, time: Timestamp) -> Result<Option<(Timestamp, SnapshotId)>> {
        if self.commit.time <= time {
            return Ok(Some((self.commit.time, self.id)));
        }
        self.require_history().await?;
        match self.history().floor(history_key(time).as_str()).await? {
            Some((key, entry)) => Ok(Some((parse_history_key(&key)?, entry.id))),
            None => self.require_known(time).map(|()| None),
        }
    }

    /// The commit `n` steps back, 0 being this one.
    pub(crate) async fn back(&self, n: u64) -> Result<SnapshotId> {
        if n == 0 {
            return Ok(self.id);
        }
        self.require_history().await?;
        let mut scan = self.history().scan_back(Span::all());
        for _ in 1..n {
            if scan.next().await?.is_none() {
                break;
            }
        }
        if let Some((_, entry)) = scan.next().await? {
            return Ok(entry.id);
        }
        self.require_known(Timestamp::MIN)?;
        Err(Error::not_found(format!("snapshot {} has fewer than {n} ancestors", self.id)))
    }

    /// Whether `id`, committed at `time`, is this commit or one before it on the line.
    pub(crate) async fn contains(&self, id: SnapshotId, time: Timestamp) -> Result<bool> {
        if self.id == id {
            return Ok(true);
        }
        if self.is_shallow().await? {
            return Ok(false);
        }
        let found = self.history().find(history_key(time).as_str()).await?;
        Ok(found.is_some_and(|entry| entry.id == id))
    }

    /// `NotFound` when `time` lies before the first commit that the history map lists, and the line goes on before it.
    pub(crate) fn require_known(&self, time: Timestamp) -> Result<()> {
        match self.commit.since {
            Some(since) if time < since => Err(unknown_before(since)),
            _ => Ok(()),
        }
    }
}

fn unknown_before(time: Timestamp) -> Error {
    Error::not_found(format!("history before {time} is not in this repository"))
}

/// The time in a key of a history map.
pub(super) fn parse_history_key(key: &MapKey) -> Result<Timestamp> {
    let micros = key.as_str().parse().map_err(|e| Error::corrupt(format!("history key {key:?} is not a time")).caused_by(e))?;
    Ok(Timestamp::from_micros(micros))
}

impl Resolved {
    /// The line of the resolved snapshot.
    pub(crate) fn line<'a>(&'a self, objects: &'a Objects) -> Line<'a> {
        Line { objects, id: self.id, commit: &self.commit }
    }
}
