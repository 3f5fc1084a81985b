//! The latest common ancestors of two commits, over all parents.
//!
//! Every commit is later than its parents. So the commits behind both are looked at from the latest to the earliest, and when one is looked
//! at, all its descendants have been: what is known of it then is final. A commit behind both that is not behind another such commit is one
//! of the answers. The search ends when none is left on one of the sides that is not behind an answer, and so reads little more than what
//! lies on one side only.
//!
//! A commit that this repository does not have is earlier than its children. If it is behind one of the two only, it can decide only if it
//! may meet the other side: if a commit that is behind the other one alone is earlier than those children, or is not here either.

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
    /// Of each side, in the order of [`SIDES`].
    sides: [CommonSide; 2],
    /// The commits that are not here, with the time of the earliest child.
    absent: HashMap<SnapshotId, Timestamp>,
    ahead: usize,
}

/// What the search knows of one side.
#[derive(Debug, Clone, Copy, Default)]
struct CommonSide {
    /// How many commits in the queue are on this side, or on both, and not behind an answer.
    open: usize,
    /// The earliest commit that was looked at and is on this side alone, and not behind an answer.
    earliest: Option<Timestamp>,
}

/// Whether there may be another answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommonRest {
    /// There is none.
    None,
    /// It may be among what is here.
    Here,
    /// It may be this commit, which is not here, or behind it.
    Absent(SnapshotId),
}

/// The marks of the sides.
const SIDES: [u8; 2] = [FIRST, SECOND];

impl Snapshot {
    /// The latest commits that are ancestors of both snapshots, or one of the two: those that are not ancestors of another such commit.
    /// Latest first; empty when the two have nothing in common. There is more than one only where two branches were merged
    /// into each other from states before either merge.
    ///
    /// All parents are followed. Reads the commits that only one of the two has behind it, many at a time; where one of the two is on the
    /// first-parent line of the other, only a few nodes of a history map. `NotFound` when a commit that may decide was not imported with
    /// its descendant, `Corrupt` when one is not later than its parents.
    pub async fn common_ancestors(&self, other: &Self) -> Result<Vec<SnapshotId>> {
        let (time, other_time) = (self.record().time, other.record().time);
        let (older, newer) = if time <= other_time { (self, other) } else { (other, self) };
        if Line::of(newer).contains(older.id(), older.record().time).await? {
            return Ok(vec![older.id()]);
        }
        let objects = self.repository().objects();
        let mut search = CommonSearch::new(objects);
        search.mark(self.id(), FIRST, None).await?;
        search.mark(other.id(), SECOND, None).await?;
        search.run().await
    }

    /// Whether this snapshot is `other`, or an ancestor of it over any parents. Costs as [`common_ancestors`](Self::common_ancestors).
    pub async fn is_behind(&self, other: &Self) -> Result<bool> {
        Ok(self.common_ancestors(other).await? == [self.id()])
    }
}

impl<'o> CommonSearch<'o> {
    fn new(objects: &'o Objects) -> Self {
        let (read, marks, queue, absent) = (HashMap::new(), HashMap::new(), BinaryHeap::new(), HashMap::new());
        Self { objects, read, marks, queue, sides: [CommonSide::default(); 2], absent, ahead: AHEAD }
    }

    async fn run(mut self) -> Result<Vec<SnapshotId>> {
        let mut answers = Vec::new();
        while self.rest() != CommonRest::None
            && let Some((time, id)) = self.queue.pop()
        {
            let mut marks = self.marks.get(&id).copied().unwrap_or_default();
            self.count(marks, BEHIND);
            for (side, own) in self.sides.iter_mut().zip(SIDES) {
                if marks == own {
                    side.earliest = Some(time);
                }
            }
            if marks == FIRST | SECOND {
                answers.push(id);
                marks |= BEHIND;
            }
            let Some(found) = self.read.get(&id).cloned().flatten() else { continue };
            for parent in &found.parents {
                self.mark(*parent, marks, Some((id, found.time))).await?;
            }
        }
        match self.rest() {
            CommonRest::Absent(id) => {
                Err(Error::not_found(format!("snapshot {id}, behind which the histories may meet, is not in this repository")))
            }
            CommonRest::None | CommonRest::Here => Ok(answers),
        }
    }

    fn rest(&self) -> CommonRest {
        let open = self.absent.iter().map(|(id, child)| (id, child, self.marks.get(id).copied().unwrap_or_default()));
        let open: Vec<_> = open.filter(|(_, _, marks)| marks & BEHIND == 0).collect();
        let meets = |(id, child, marks): &(&SnapshotId, &Timestamp, u8)| {
            let is_both = *marks == FIRST | SECOND;
            let may_meet = self.sides.iter().zip(SIDES).filter(|(_, side)| marks & side == 0).any(|(side, mark)| {
                let is_absent = open.iter().any(|(_, _, marks)| marks & mark != 0);
                side.open > 0 || is_absent || side.earliest.is_some_and(|earliest| earliest < **child)
            });
            (is_both || may_meet).then_some(**id)
        };
        match open.iter().filter_map(meets).min() {
            Some(id) => CommonRest::Absent(id),
            None if self.sides.iter().all(|side| side.open > 0) => CommonRest::Here,
            None => CommonRest::None,
        }
    }

    /// Counts a commit of the queue, which had marks and now has others.
    fn count(&mut self, before: u8, after: u8) {
        let is_open = |marks: u8, side: u8| usize::from(marks & BEHIND == 0 && marks & side != 0);
        for (side, mark) in self.sides.iter_mut().zip(SIDES) {
            side.open = (side.open + is_open(after, mark)).saturating_sub(is_open(before, mark));
        }
    }

    /// Adds marks to a commit, a parent of `child`.
    async fn mark(&mut self, id: SnapshotId, marks: u8, child: Option<(SnapshotId, Timestamp)>) -> Result<()> {
        self.read(id).await?;
        let time = self.read.get(&id).and_then(Option::as_ref).map(|found| found.time);
        // Of every child: a commit that was looked at before one of its children would not pass on the marks of that one.
        if let (Some(time), Some((child, at))) = (time, child.filter(|(_, at)| time.is_some_and(|time| time >= *at))) {
            return Err(Error::corrupt(format!("snapshot {child} is stamped {at}, its parent {id} {time}")));
        }
        let before = self.marks.get(&id).copied();
        let after = before.unwrap_or_default() | marks;
        self.marks.insert(id, after);
        match (time, child) {
            (Some(time), _) => {
                self.count(before.unwrap_or_default(), after);
                if before.is_none() {
                    self.queue.push((time, id));
                }
            }
            (None, Some((_, at))) => {
                let earliest = self.absent.entry(id).or_insert(at);
                *earliest = at.min(*earliest);
            }
            (None, None) => return Err(Error::not_found(format!("snapshot {id} is not in this repository"))),
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::CreateOptions;
    use crate::error::ErrorKind;
    use crate::handle::Repository;
    use crate::id::HashAlgorithm;
    use crate::storage::Memory;

    fn name(n: u8) -> SnapshotId {
        SnapshotId::of(HashAlgorithm::Sha2_256, &[n])
    }

    /// The answers for the commits 0 and 1 among those of the given times and parents; one without a time is not here.
    async fn search(commits: &[(u8, Option<i64>, &[u8])]) -> Result<Vec<SnapshotId>> {
        let repository = Repository::create_storage(Arc::new(Memory::new()), CreateOptions::default()).await?;
        let mut search = CommonSearch::new(repository.objects());
        for (n, time, parents) in commits {
            let parents = parents.iter().map(|parent| name(*parent)).collect();
            let commit = time.map(|time| CommonCommit { time: Timestamp::from_micros(time), parents });
            search.read.insert(name(*n), commit);
        }
        search.mark(name(0), FIRST, None).await?;
        search.mark(name(1), SECOND, None).await?;
        search.run().await
    }

    /// An import cannot compare the time of a parent that is not here. If that one comes later and is later than its child, it may have been
    /// looked at before the child.
    #[tokio::test]
    async fn a_parent_that_is_later_than_one_of_its_children_is_corrupt() {
        // 3 is found as a parent of 0, and looked at before 2, of which it is a parent too.
        let commits: &[(u8, Option<i64>, &[u8])] = &[(0, Some(10), &[2, 3]), (1, Some(7), &[]), (2, Some(8), &[3]), (3, Some(9), &[])];
        assert_eq!(search(commits).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[tokio::test]
    async fn a_commit_that_is_not_here_counts_only_where_it_may_decide() {
        let absent = |at: i64| {
            // 0 is a merge of 1, or of its parent 3 at this time, and of 2, whose parent 5 is not here. Nor is that of 3.
            [(0, Some(20), &[2, 3][..]), (1, Some(at), &[3]), (2, Some(10), &[5]), (3, Some(8), &[4]), (4, None, &[]), (5, None, &[])]
        };
        assert_eq!(search(&absent(15)).await.unwrap(), [name(3)], "1 is later than 2, so it is not behind that");
        assert_eq!(search(&absent(9)).await.unwrap_err().kind(), ErrorKind::NotFound, "1 may be behind 5");
        // Both sides end in what is not here.
        let ends: &[(u8, Option<i64>, &[u8])] = &[(0, Some(10), &[2]), (1, Some(9), &[3]), (2, None, &[]), (3, None, &[])];
        assert_eq!(search(ends).await.unwrap_err().kind(), ErrorKind::NotFound);
        let common: &[(u8, Option<i64>, &[u8])] = &[(0, Some(10), &[2]), (1, Some(9), &[2]), (2, None, &[])];
        assert_eq!(search(common).await.unwrap_err().kind(), ErrorKind::NotFound, "it cannot be read");
        // What is behind an answer decides nothing, also if only one side was known to have it at first.
        let behind: &[(u8, Option<i64>, &[u8])] =
            &[(0, Some(10), &[2, 4]), (1, Some(9), &[3]), (2, Some(8), &[3]), (3, Some(7), &[4]), (4, None, &[])];
        assert_eq!(search(behind).await.unwrap(), [name(3)]);
    }
}
