//! The ancestors of a commit, read from its history map alone.

use super::Resolved;
use crate::error::{Error, Result};
use crate::format::{Commit, HistoryEntry, history_key, parse_history_key};
use crate::id::SnapshotId;
use crate::map::{Map, Span};
use crate::objects::Objects;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

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

impl Resolved {
    /// The line of the resolved snapshot.
    pub(crate) fn line<'a>(&'a self, objects: &'a Objects) -> Line<'a> {
        Line { objects, id: self.id, commit: &self.commit }
    }
}
