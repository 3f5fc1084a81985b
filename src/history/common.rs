//! The latest common ancestors of two commits, over all parents.
//!
//! Every commit is later than its parents. So the commits behind both are looked at from the latest to the earliest, and when one is looked
//! at, all its descendants have been: what is known of it then is final. A commit behind both that is not behind another such commit is one
//! of the answers. The search ends when only commits behind an answer are left, and so reads little more than what lies on one side only.

use std::collections::{BinaryHeap, HashMap};

use futures::{StreamExt as _, stream};

use super::ancestry::Line;
use crate::error::{Error, Result};
use crate::id::SnapshotId;
use crate::map::Span;
use crate::objects::Objects;
use crate::refs::READS;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// It is behind the first of the two commits, or is that.
const FIRST: u8 = 1;
/// It is behind the second of them, or is that.
const SECOND: u8 = 2;
/// It is behind an answer.
const BEHIND: u8 = 4;

/// How many commits of a line are read ahead at first, and at most.
const AHEAD: usize = 8;
const MOST_AHEAD: usize = 256;

/// What the search knows of a commit.
#[derive(Debug, Clone)]
struct CommonCommit {
    time: Timestamp,
    parents: Vec<SnapshotId>,
}

struct CommonSearch<'o> {
    objects: &'o Objects,
    /// Commits that were read, `None` for those that this repository does not have.
    read: HashMap<SnapshotId, Option<CommonCommit>>,
    marks: HashMap<SnapshotId, u8>,
    /// The commits that were found and not looked at, the latest first.
    queue: BinaryHeap<(Timestamp, SnapshotId)>,
    /// How many of them are not behind an answer.
    open: usize,
    ahead: usize,
}

impl Snapshot {
    /// The latest commits that are ancestors of both snapshots, or one of the two: those that are not ancestors of another such commit.
    /// Latest first; empty when the two have nothing in common. There is more than one only where two branches were merged
    /// into each other from states before either merge.
    ///
    /// All parents are followed. Reads the commits that only one of the two has behind it, many at a time; where one of the two is on the
    /// first-parent line of the other, only a few nodes of a history map. `NotFound` when a commit that may decide was not imported with
    /// its descendant.
    pub async fn common_ancestors(&self, other: &Self) -> Result<Vec<SnapshotId>> {
        let (time, other_time) = (self.record().time, other.record().time);
        let (older, newer) = if time <= other_time { (self, other) } else { (other, self) };
        if Line::of(newer).contains(older.id(), older.record().time).await? {
            return Ok(vec![older.id()]);
        }
        let objects = self.repository().objects();
        let mut search =
            CommonSearch { objects, read: HashMap::new(), marks: HashMap::new(), queue: BinaryHeap::new(), open: 0, ahead: AHEAD };
        search.mark(self.id(), FIRST, None).await?;
        search.mark(other.id(), SECOND, None).await?;
        search.run().await
    }

    /// Whether this snapshot is `other`, or an ancestor of it over any parents. Costs as [`common_ancestors`](Self::common_ancestors).
    pub async fn is_behind(&self, other: &Self) -> Result<bool> {
        Ok(self.common_ancestors(other).await? == [self.id()])
    }
}

impl CommonSearch<'_> {
    async fn run(mut self) -> Result<Vec<SnapshotId>> {
        let mut answers = Vec::new();
        while self.open > 0
            && let Some((_, id)) = self.queue.pop()
        {
            let mut marks = self.marks.get(&id).copied().unwrap_or_default();
            let is_open = marks & BEHIND == 0;
            self.open -= usize::from(is_open);
            if marks == FIRST | SECOND {
                answers.push(id);
                marks |= BEHIND;
            }
            let Some(found) = self.read.get(&id).cloned().flatten() else {
                if is_open {
                    return Err(Error::not_found(format!("snapshot {id}, behind which the histories may meet, is not in this repository")));
                }
                continue;
            };
            for parent in &found.parents {
                self.mark(*parent, marks, Some((id, found.time))).await?;
            }
        }
        Ok(answers)
    }

    /// Adds marks to a commit, a parent of `child`.
    async fn mark(&mut self, id: SnapshotId, marks: u8, child: Option<(SnapshotId, Timestamp)>) -> Result<()> {
        let before = self.marks.get(&id).copied();
        let after = before.unwrap_or_default() | marks;
        self.marks.insert(id, after);
        if let Some(before) = before {
            self.open -= usize::from(before & BEHIND == 0 && after & BEHIND != 0);
            return Ok(());
        }
        self.read(id).await?;
        // What is not here comes last: all that may lie in front of it has been seen by then.
        let time = self.read.get(&id).and_then(Option::as_ref).map_or(Timestamp::MIN, |found| found.time);
        if let Some((child, at)) = child.filter(|(_, at)| time >= *at) {
            return Err(Error::corrupt(format!("snapshot {child} is stamped {at}, its parent {id} {time}")));
        }
        self.queue.push((time, id));
        self.open += usize::from(after & BEHIND == 0);
        Ok(())
    }

    /// Reads a commit, and together with it those before it on its line.
    async fn read(&mut self, id: SnapshotId) -> Result<()> {
        if self.read.contains_key(&id) {
            return Ok(());
        }
        let Some(commit) = self.objects.try_commit(&id).await? else {
            self.read.insert(id, None);
            return Ok(());
        };
        self.read.insert(id, Some(CommonCommit { time: commit.time, parents: commit.parents.clone() }));
        let line = Line { objects: self.objects, id, commit: &commit };
        let (mut ids, mut scan) = (Vec::new(), line.history().scan_back(Span::all()));
        // Only to be faster: a history that is not here, or not right, costs time and decides nothing.
        while ids.len() < self.ahead
            && let Ok(Some((_, entry))) = scan.next().await
            && !self.read.contains_key(&entry.id)
        {
            ids.push(entry.id);
        }
        self.ahead = (self.ahead * 2).min(MOST_AHEAD);
        let objects = self.objects;
        let mut reads = stream::iter(ids).map(|id| async move { (id, objects.try_commit(&id).await) }).buffer_unordered(READS);
        while let Some((id, read)) = reads.next().await {
            if let Ok(Some(commit)) = read {
                self.read.insert(id, Some(CommonCommit { time: commit.time, parents: commit.parents.clone() }));
            }
        }
        Ok(())
    }
}
