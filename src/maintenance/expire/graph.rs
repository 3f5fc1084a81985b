//! The versions that refs lead to, over all parents.

use std::collections::{HashMap, HashSet};

use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::error::Result;
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::READS;
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
    /// Reads everything behind `roots`, many at a time. Holds about 250 bytes for each version.
    pub(super) async fn behind(repository: &Repository, roots: impl IntoIterator<Item = SnapshotId>) -> Result<Self> {
        let mut graph = Self::default();
        let (mut todo, mut seen) = (Vec::from_iter(roots), HashSet::new());
        let mut reads = FuturesUnordered::new();
        loop {
            while reads.len() < READS
                && let Some(id) = todo.pop()
            {
                if seen.insert(id) {
                    reads.push(async move { (id, repository.objects().try_commit(&id).await) }.boxed());
                }
            }
            let Some((id, commit)) = reads.next().await else { return Ok(graph) };
            let Some(commit) = commit? else { continue };
            todo.extend(&commit.parents);
            let node = VersionNode { time: commit.time, summary: commit.summary().to_owned(), parents: commit.parents.clone() };
            graph.0.insert(id, node);
        }
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
