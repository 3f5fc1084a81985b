//! The versions of one or more lines, and what the dependencies of each are read from.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::error::{Error, Result};
use crate::format::{Commit, Container};
use crate::handle::Repository;
use crate::history::{Line, LogEntry};
use crate::id::{NodeId, SnapshotId};
use crate::map::Span;
use crate::refs::READS;
use crate::storage::{Extent, ObjectName};
use crate::time::Timestamp;

/// A version of a line.
#[derive(Debug, Clone)]
pub(super) struct LineVersion {
    pub(super) at: LogEntry,
    /// The root of its files map.
    pub(super) files: NodeId,
    pub(super) containers: Arc<Vec<Container>>,
}

/// Every version behind some snapshots, each once.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Those of one line next to each other, oldest first.
    pub(super) versions: Vec<LineVersion>,
    /// Where in the list another line begins, or other containers.
    breaks: Vec<usize>,
    /// The latest time before which a line goes on without being known here.
    pub(super) since: Option<Timestamp>,
}

impl Lines {
    /// The versions on the first-parent lines of `tips`, and on those of the other parents of their versions.
    ///
    /// Versions whose data has expired are left out. Reads the snapshot of each version. One that a history lists and that is not here is `Corrupt`, and so is another parent, unless
    /// its child was imported without it.
    pub(super) async fn behind(repository: &Repository, tips: Vec<SnapshotId>) -> Result<Self> {
        let retention = repository.known_retention().await?;
        let mut lines = Self::default();
        let (mut todo, mut seen) = (VecDeque::from(tips), HashSet::new());
        while let Some(tip) = todo.pop_front() {
            if seen.contains(&tip) {
                continue;
            }
            let ids = lines.line_of(repository, tip, &mut seen).await?;
            lines.breaks.push(lines.versions.len());
            let reads = ids.into_iter().rev().map(|id| async move { Ok::<_, Error>((id, listed(repository, id, tip).await?)) });
            let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffered(READS);
            while let Some((id, commit)) = reads.try_next().await? {
                for parent in commit.parents.iter().skip(1).filter(|parent| !seen.contains(parent)) {
                    if repository.objects().try_commit(parent).await?.is_some() {
                        todo.push_back(*parent);
                    } else {
                        require_left_out(repository, *parent, id).await?;
                        lines.since = lines.since.max(Some(commit.time));
                    }
                }
                if !retention.is_expired(id) {
                    lines.push(id, &commit);
                }
            }
        }
        Ok(lines)
    }

    /// The ids of a line that were not seen, latest first.
    async fn line_of(&mut self, repository: &Repository, tip: SnapshotId, seen: &mut HashSet<SnapshotId>) -> Result<Vec<SnapshotId>> {
        let commit = repository.objects().commit(&tip).await?;
        let line = Line { objects: repository.objects(), id: tip, commit: &commit };
        seen.insert(tip);
        let mut ids = vec![tip];
        if line.is_shallow().await? {
            self.since = self.since.max(Some(commit.time));
            return Ok(ids);
        }
        let mut scan = line.history().scan_back(Span::all());
        while let Some((_, entry)) = scan.next().await? {
            // All that comes before a version that was seen was seen with it.
            if !seen.insert(entry.id) {
                return Ok(ids);
            }
            ids.push(entry.id);
        }
        self.since = self.since.max(commit.since);
        Ok(ids)
    }

    /// Adds the next version of a line.
    pub(super) fn push(&mut self, id: SnapshotId, commit: &Commit) {
        let same = self.versions.last().filter(|last| *last.containers == commit.containers);
        let containers = same.map(|last| Arc::clone(&last.containers));
        if containers.is_none() {
            self.breaks.push(self.versions.len());
        }
        let containers = containers.unwrap_or_else(|| Arc::new(commit.containers.clone()));
        let at = LogEntry { id, time: commit.time, summary: commit.summary().to_owned() };
        self.versions.push(LineVersion { at, files: commit.files, containers });
    }

    /// The roots of the files maps, in the order of the versions.
    pub(super) fn roots(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.versions.iter().map(|version| version.files)
    }

    /// The parts of a range of versions within which all are of one line and have the same containers.
    pub(super) fn pieces(&self, range: std::ops::Range<usize>) -> Vec<std::ops::Range<usize>> {
        let from = self.breaks.partition_point(|at| *at <= range.start);
        let mut starts: Vec<usize> = vec![range.start];
        starts.extend(self.breaks.iter().skip(from).take_while(|at| **at < range.end));
        starts.dedup();
        let ends = starts.iter().skip(1).copied().chain([range.end]);
        starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
    }
}

/// `Corrupt` unless `child` was imported without its other parent, which is not here.
async fn require_left_out(repository: &Repository, parent: SnapshotId, child: SnapshotId) -> Result<()> {
    match repository.storage().get(&ObjectName::shallow(&child), Extent::Range(0..0)).await? {
        Some(_) => Ok(()),
        None => Err(Error::corrupt(format!("snapshot {parent}, a parent of {child}, is not in this repository"))),
    }
}

/// The commit of a version that the history of `tip` lists.
async fn listed(repository: &Repository, id: SnapshotId, tip: SnapshotId) -> Result<Arc<Commit>> {
    let found = repository.objects().try_commit(&id).await?;
    found.ok_or_else(|| Error::corrupt(format!("snapshot {id}, which the history of {tip} lists, is not in this repository")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::with_roots;
    use crate::error::ErrorKind;
    use crate::id::HashAlgorithm;
    use crate::objects::Uploads;

    /// A lost parent was once passed over like one that was never imported.
    #[tokio::test]
    async fn another_parent_that_is_absent_is_lost_unless_its_child_was_imported_without_it() {
        let repository = Repository::create("memory:").await.unwrap();
        let session = repository.write("main").await.unwrap();
        session.set(&"k".parse().unwrap(), "v").await.unwrap();
        let (objects, mut commit) = (repository.objects(), session.commit("second").await.unwrap().record().clone());
        let mut uploads = Uploads::new(objects);
        commit.parents.push(SnapshotId::of(HashAlgorithm::Sha2_256, b"other"));
        let id = commit.id(objects.hash());
        let object = with_roots(objects, commit.clone(), &mut uploads).await.unwrap();
        uploads.snapshot(id, &object).await.unwrap();
        uploads.finish().await.unwrap();
        let lost = Lines::behind(&repository, vec![id]).await.unwrap_err();
        assert!(lost.kind() == ErrorKind::Corrupt && lost.to_string().contains("a parent of"), "{lost}");
        repository.storage().put(&ObjectName::shallow(&id), &[]).await.unwrap();
        let known = Lines::behind(&repository, vec![id]).await.unwrap();
        assert_eq!((known.versions.len(), known.since), (2, Some(commit.time)), "it and its first parent");
    }
}
