//! The versions that refs lead to, over all parents.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::READS;
use crate::storage::{Extent, ObjectName};
use crate::time::Timestamp;

/// A version, as far as it matters here.
#[derive(Debug, Clone)]
pub(super) struct VersionNode {
    pub(super) time: Timestamp,
    pub(super) summary: String,
    parents: Vec<SnapshotId>,
}

/// Versions and their parents. A parent that is not here was not imported.
#[derive(Debug, Default)]
pub(super) struct VersionGraph(HashMap<SnapshotId, VersionNode>);

impl VersionGraph {
    /// Reads everything behind `roots`, many at a time. Holds about 250 bytes for each version. `Corrupt` when something is lost that was
    /// not left out when a descendant was imported: what is behind it would be taken for what nothing leads to.
    pub(super) async fn behind(repository: &Repository, roots: impl IntoIterator<Item = SnapshotId>) -> Result<Self> {
        let mut graph = Self::default();
        let (mut todo, mut seen) = (roots.into_iter().map(|id| (id, None)).collect::<Vec<_>>(), HashSet::new());
        let mut absent = Vec::new();
        let mut reads = FuturesUnordered::new();
        loop {
            while reads.len() < READS
                && let Some((id, child)) = todo.pop()
            {
                if seen.insert(id) {
                    reads.push(async move { (id, child, repository.objects().try_commit(&id).await) }.boxed());
                }
            }
            let Some((id, child, commit)) = reads.next().await else { break };
            let Some(commit) = commit? else {
                absent.push((id, child));
                continue;
            };
            todo.extend(commit.parents.iter().map(|parent| (*parent, Some(id))));
            let node = VersionNode { time: commit.time, summary: commit.summary().to_owned(), parents: commit.parents.clone() };
            graph.0.insert(id, node);
        }
        for (id, child) in absent {
            graph.require_left_out(repository, id, child).await?;
        }
        Ok(graph)
    }

    /// Refuses what is not here, unless it is behind a version that was imported without it. Children of it may differ in that.
    async fn require_left_out(&self, repository: &Repository, id: SnapshotId, child: Option<SnapshotId>) -> Result<()> {
        let others = self.0.iter().filter(|(_, node)| node.parents.contains(&id)).map(|(child, _)| *child);
        for child in child.into_iter().chain(others) {
            if repository.storage().get(&ObjectName::shallow(&child), Extent::Range(0..0)).await?.is_some() {
                return Ok(());
            }
        }
        let to = child.map_or_else(|| "a branch or a tag leads to it".to_owned(), |child| format!("it is a parent of {child}"));
        Err(Error::corrupt(format!("nothing expires, because snapshot {id} is lost, and what is behind it is not known: {to}")))
    }

    /// Every version.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SnapshotId, &VersionNode)> {
        self.0.iter().map(|(id, node)| (*id, node))
    }

    /// The first-parent line behind `tip`, which comes first.
    pub(super) fn line(&self, tip: SnapshotId) -> Vec<(SnapshotId, &VersionNode)> {
        let mut line = Vec::new();
        let mut next = Some(tip);
        while let Some((id, node)) = next.and_then(|id| Some((id, self.0.get(&id)?))) {
            line.push((id, node));
            next = node.parents.first().copied();
        }
        line
    }

    /// Whether `id` was committed after `other`; no if either is not here.
    pub(super) fn is_later(&self, id: SnapshotId, other: SnapshotId) -> bool {
        matches!((self.0.get(&id), self.0.get(&other)), (Some(one), Some(other)) if one.time > other.time)
    }

    /// The versions at which what is behind one of `tips` meets what is behind another: nearly all latest common ancestors of two tips, and
    /// others. A third tip that has both ways behind it hides one from a walk that begins with that tip, and not from one in the other order.
    pub(super) fn forks(&self, tips: &[SnapshotId]) -> HashSet<SnapshotId> {
        let mut forks = HashSet::new();
        self.walk_forks(tips.iter().copied(), &mut forks);
        self.walk_forks(tips.iter().rev().copied(), &mut forks);
        forks
    }

    /// Looks at each version once, and notes those that are reached from a tip after an earlier one.
    fn walk_forks(&self, tips: impl Iterator<Item = SnapshotId>, forks: &mut HashSet<SnapshotId>) {
        let mut by = HashMap::new();
        for (number, tip) in tips.enumerate() {
            let mut todo = vec![tip];
            while let Some(id) = todo.pop() {
                let Some(node) = self.0.get(&id) else { continue };
                match by.entry(id) {
                    Entry::Vacant(free) => {
                        free.insert(number);
                        todo.extend(&node.parents);
                    }
                    Entry::Occupied(first) if *first.get() != number => {
                        forks.insert(id);
                    }
                    Entry::Occupied(_) => {}
                }
            }
        }
    }

    /// Everything behind `roots`, over all parents, these included, as far as `is_in` holds.
    pub(super) fn reach(&self, roots: impl IntoIterator<Item = SnapshotId>, is_in: impl Fn(SnapshotId) -> bool) -> HashSet<SnapshotId> {
        let (mut todo, mut reached) = (Vec::from_iter(roots), HashSet::new());
        while let Some(id) = todo.pop() {
            if let Some(node) = self.0.get(&id).filter(|_| is_in(id))
                && reached.insert(id)
            {
                todo.extend(&node.parents);
            }
        }
        reached
    }
}
