//! Which history a commit may have, and whether the one that it names is known to be that.
//!
//! The history of a child is that of its first parent and the parent itself, with the parent's `since`; or, on top of a shallow parent, one
//! that begins with the parent, whose time is then its `since`. [`Line::behind_child`] makes these maps and is what a commit, an import and
//! `verify` use. [`Line::is_shallow`] is what readers use: it comes to the same answer from the ends of the maps.

use futures::stream;

use super::ancestry::Line;
use super::marks::PastMark;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Commit, HistoryEntry, history_key, parse_history_key};
use crate::id::{NodeId, SnapshotId};
use crate::key::MapKey;
use crate::map::{NodeSink, Span, build};
use crate::refs::is_unreadable;
use crate::storage::{Extent, ObjectName};
use crate::time::Timestamp;

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

/// What the history maps of its descendants hold of a commit.
fn history_entry(id: SnapshotId, commit: &Commit) -> (MapKey, HistoryEntry) {
    (history_key(commit.time), HistoryEntry { id, summary: commit.summary().to_owned() })
}

/// What the first parent tells of the history that a commit names.
enum BehindJudgement {
    /// It is the history of a child of the parent.
    Right,
    /// It ends with the parent, but the parent or the history of the parent cannot be read.
    Unproved,
    /// It is not the history of a child of the parent.
    Wrong,
}

impl Line<'_> {
    /// Whether the commit was imported without its history, and no later import has brought it.
    ///
    /// Loads the nodes at the end of the history map, the first parent and the root of its history. `Corrupt` when the map is missing or
    /// damaged, or is not that of a child of the parent, and no import recorded that the history is not here.
    pub(crate) async fn is_shallow(&self) -> Result<bool> {
        let wrong = match self.judge().await {
            Ok(BehindJudgement::Right) => return Ok(false),
            Ok(BehindJudgement::Unproved) => None,
            // An imported commit names a history map by its id alone: a map of another line may be here under that id.
            Ok(BehindJudgement::Wrong) => {
                let (history, id) = (self.commit.history, self.id);
                Some(Error::corrupt(format!("the history {history} of snapshot {id} is not that of its parent and that parent")))
            }
            Err(e) if e.kind() == ErrorKind::Corrupt => Some(e),
            Err(e) => return Err(e),
        };
        // The marker distinguishes a shallow commit from a damaged one, and a claim from what was proved when it was written. It costs a
        // request, so it is read only here.
        let marker = self.objects.storage().get(&ObjectName::shallow(&self.id), Extent::Range(0..0)).await?;
        match wrong {
            _ if marker.is_some() => Ok(true),
            None => Ok(false),
            Some(wrong) => Err(wrong),
        }
    }

    /// Whether everything that the history lists is known to be here, so that a child may have the history of this commit and the commit
    /// itself, and a ref that shows the commit keeps what is before it.
    ///
    /// Not if the commit came without its history. That may be here all the same, with a version beside this one, which has the same
    /// history and may have been copied in part. Costs a request more than [`is_shallow`](Self::is_shallow). Errors as for that.
    pub(crate) async fn vouches(&self) -> Result<bool> {
        if self.commit.parents.is_empty() {
            return Ok(true);
        }
        Ok(!self.is_shallow().await? && PastMark::read(&**self.objects.storage(), self.id).await? != PastMark::History)
    }

    /// Whether the history map is here and ends with the first parent: then the parent has been in this repository.
    pub(crate) async fn ends_with_parent(&self) -> Result<bool> {
        let last = self.history().scan_back(Span::all()).next().await?;
        Ok(match (&last, self.commit.parents.first()) {
            (None, None) => true,
            (Some((key, entry)), Some(parent)) => entry.id == *parent && parse_history_key(key)? < self.commit.time,
            _ => false,
        })
    }

    /// Compares the history with the first parent, without making it anew.
    ///
    /// Every stored history node is a part of a map that was made on a parent known here. So a node that ends with the parent holds the
    /// latest entries of the parent's history and the parent. It is the whole of that exactly when it has one entry more
    /// than the history of the parent.
    async fn judge(&self) -> Result<BehindJudgement> {
        let Some(first) = self.commit.parents.first() else {
            let is_right = self.commit.since.is_none() && self.ends_with_parent().await?;
            return Ok(if is_right { BehindJudgement::Right } else { BehindJudgement::Wrong });
        };
        let (ends_right, parent) = futures::join!(self.ends_with_parent(), self.objects.try_commit(first));
        if !ends_right? {
            return Ok(BehindJudgement::Wrong);
        }
        let parent = match parent {
            Ok(Some(parent)) => parent,
            Ok(None) => return Ok(BehindJudgement::Unproved),
            Err(e) if is_unreadable(&e) => return Ok(BehindJudgement::Unproved),
            Err(e) => return Err(e),
        };
        let parent = Line { objects: self.objects, id: *first, commit: &parent };
        let entries = self.history().totals().await?.entries;
        let is_right = if parent.begins_history(self.commit.since) {
            entries == 1
        } else if self.commit.since == parent.commit.since {
            match parent.history().totals().await {
                Ok(before) => Some(entries) == before.entries.checked_add(1),
                Err(e) if is_unreadable(&e) => return Ok(BehindJudgement::Unproved),
                Err(e) => return Err(e),
            }
        } else {
            false
        };
        Ok(if is_right { BehindJudgement::Right } else { BehindJudgement::Wrong })
    }

    /// Whether a child that says that its history reaches back to `since` has one that begins with this commit. The first commit of a line
    /// is never shallow, so no history begins with it in this sense.
    pub(crate) fn begins_history(&self, since: Option<Timestamp>) -> bool {
        since == Some(self.commit.time) && !self.commit.parents.is_empty()
    }

    /// The history of a child of this commit that says that it reaches back to `since`; `None` when there is none.
    ///
    /// `is_shallow` tells whether this commit is [shallow](Self::is_shallow). Errors as for [`extended`](Self::extended). Gives the nodes
    /// to `sink`.
    pub(crate) async fn behind_child(
        &self,
        since: Option<Timestamp>,
        is_shallow: bool,
        sink: &mut impl NodeSink<HistoryEntry>,
    ) -> Result<Option<Behind>> {
        if self.begins_history(since) {
            self.restarted(sink).await.map(Some)
        } else if since == self.commit.since && !is_shallow {
            self.extended(sink).await.map(Some)
        } else {
            Ok(None)
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
}
