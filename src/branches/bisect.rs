//! Searching a line for the first version that is bad.

use std::collections::HashSet;

use futures::TryStreamExt as _;

use crate::error::{Error, Result};
use crate::history::{Line, LogEntry};
use crate::id::SnapshotId;
use crate::snapshot::Snapshot;

/// What was found out about a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BisectVerdict {
    /// It is as it should be.
    Good,
    /// It is not.
    Bad,
    /// It cannot be told.
    Skip,
}

/// A search for the first bad version on a line between a good and a bad one. It holds no connection to the repository.
#[derive(Debug, Clone)]
pub struct Bisection {
    /// The versions after the good one up to the bad one, oldest first. The last is bad.
    suspects: Vec<LogEntry>,
    skipped: HashSet<SnapshotId>,
}

impl Snapshot {
    /// Begins a search for the first version on the first-parent line behind `bad`, `bad` included, that is bad, where `good` is good: the
    /// halves of the line are tried in turn, so about log2 of its length versions have to be looked at.
    ///
    /// `Invalid` when `good` is not before `bad` on that line. Holds the ids and summaries of the versions between the two in memory, and
    /// reads them from the history map alone. Versions whose data has expired count as skipped. Only reads.
    pub async fn bisect(&self, good: &Self) -> Result<Bisection> {
        if good.id() == self.id() || !Line::of(self).contains(good.id(), good.record().time).await? {
            return Err(Error::invalid(format!(
                "snapshot {} is not before {} on its first-parent line; to search a line that was merged, name its tip",
                good.id(),
                self.id()
            )));
        }
        let mut suspects = Vec::new();
        let mut log = std::pin::pin!(self.log());
        while let Some(entry) = log.try_next().await?.filter(|entry| entry.id != good.id()) {
            suspects.push(entry);
        }
        suspects.reverse();
        let retention = self.repository().known_retention().await?;
        let skipped = suspects.iter().map(|entry| entry.id).filter(|id| retention.is_expired(*id)).collect();
        Ok(Bisection { suspects, skipped })
    }
}

impl Bisection {
    /// The version to look at next: the one in the middle, or the next to it that was not skipped. `None` when the search is at its end.
    pub fn next(&self) -> Option<&LogEntry> {
        let (_, untried) = self.suspects.split_last()?;
        let middle = (untried.len().saturating_sub(1)) / 2;
        let (before, after) = untried.split_at_checked(middle)?;
        let is_open = |entry: &&LogEntry| !self.skipped.contains(&entry.id);
        let (up, down) = (after.iter().position(|entry| is_open(&entry)), before.iter().rev().position(|entry| is_open(&entry)));
        match (up, down) {
            (Some(up), Some(down)) if down + 1 < up => before.iter().rev().nth(down),
            (Some(up), _) => after.get(up),
            (None, Some(down)) => before.iter().rev().nth(down),
            (None, None) => None,
        }
    }

    /// Notes what was found out about a version of the line; one that is not between the good and the bad ones any more changes nothing.
    pub fn mark(&mut self, id: SnapshotId, verdict: BisectVerdict) {
        let Some(at) = self.suspects.iter().position(|entry| entry.id == id) else { return };
        match verdict {
            BisectVerdict::Good if at + 1 < self.suspects.len() => drop(self.suspects.drain(..=at)),
            BisectVerdict::Bad => self.suspects.truncate(at + 1),
            BisectVerdict::Skip => drop(self.skipped.insert(id)),
            // The last one is known to be bad.
            BisectVerdict::Good => {}
        }
    }

    /// The versions of which one is the first bad one, oldest first: one when the search has found it, several while it goes on, and at its
    /// end when those before the last were skipped.
    pub fn suspects(&self) -> &[LogEntry] {
        &self.suspects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::HashAlgorithm;
    use crate::time::Timestamp;

    fn line(length: usize) -> Bisection {
        let entry = |n: usize| LogEntry {
            id: SnapshotId::of(HashAlgorithm::Sha2_256, &n.to_le_bytes()),
            time: Timestamp::from_micros(i64::try_from(n).unwrap()),
            summary: n.to_string(),
        };
        Bisection { suspects: (0..length).map(entry).collect(), skipped: HashSet::new() }
    }

    /// Plays a search in which versions from `bad` on are bad and some cannot be told; how many were looked at, and what is left.
    fn search(length: usize, bad: usize, cannot: impl Fn(usize) -> bool) -> (usize, Vec<usize>) {
        let (mut bisection, mut looks) = (line(length), 0);
        while let Some(next) = bisection.next().cloned() {
            looks += 1;
            let n: usize = next.summary.parse().unwrap();
            let told = if n >= bad { BisectVerdict::Bad } else { BisectVerdict::Good };
            bisection.mark(next.id, if cannot(n) { BisectVerdict::Skip } else { told });
        }
        (looks, bisection.suspects().iter().map(|entry| entry.summary.parse().unwrap()).collect())
    }

    #[test]
    fn the_first_bad_version_is_found_in_about_log2_steps() {
        for length in 1..70 {
            for bad in 0..length {
                let (looks, left) = search(length, bad, |_| false);
                assert_eq!(left, [bad], "of {length}");
                let most = length.next_power_of_two().ilog2() as usize;
                assert!(looks <= most, "{looks} looks for {bad} of {length}");
            }
        }
    }

    /// Whatever is skipped, the first bad version is among what is left, and only skipped ones are left before the last.
    #[test]
    fn skipped_versions_are_left_over_with_the_first_bad_one_among_them() {
        for length in 1..24 {
            for bad in 0..length {
                for stride in 1..5 {
                    let cannot = |n: usize| n.is_multiple_of(stride) && n + 1 < length;
                    let (looks, left) = search(length, bad, cannot);
                    assert!(left.contains(&bad), "{bad} of {length}, {stride}: {left:?}");
                    assert!(left[..left.len() - 1].iter().all(|n| cannot(*n)), "{left:?}");
                    assert!(looks <= length, "no version is asked about twice");
                }
            }
        }
    }
}
