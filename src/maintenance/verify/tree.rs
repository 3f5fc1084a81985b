//! The nodes of a map, each read once and held against every parent that announces it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};

use super::finding::{Finding, FindingKind};
use super::{NodeSlot, Verifier, is_damage, lock};
use crate::error::{Error, Result};
use crate::format::{Branch, Entry, HistoryEntry, Leaf, MOST_NODE, Node, NodeChild, VirtualFile};
use crate::id::{ChunkId, NodeId, SnapshotId};
use crate::key::MapKey;
use crate::map::{MapTotals, judge};
use crate::objects::CachedValue;
use crate::storage::{Extent, ObjectName};

/// How many leaves of one branch are looked at at once.
const WIDE: usize = 16;
/// How many branches of one branch.
const NARROW: usize = 2;

/// What a node is by itself, whatever its place.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum NodeState {
    Good,
    /// It breaks a rule; the first finding says which.
    Bad,
    /// It could not be read, as the first finding says. Nothing below is known.
    #[default]
    Lost,
}

/// What a node turned out to be, kept so that the next parent need not read it again.
#[derive(Debug, Default)]
pub(super) struct NodeRecord {
    /// Whether it and all nodes below could be read.
    pub(super) is_whole: bool,
    state: NodeState,
    level: u8,
    first: Option<MapKey>,
    last: Option<MapKey>,
    totals: MapTotals,
    /// Whether it is a branch with a single child.
    has_single_child: bool,
    /// Whether the cut rule ends it and everything on its right edge.
    is_closed: bool,
    /// The findings about it and everything below it.
    pub(super) findings: Vec<usize>,
}

/// A value of which the chunks are known.
pub(super) trait Holding: CachedValue {
    /// The chunks of a leaf, with their keys and sizes.
    fn chunks(leaf: &Leaf<Self>) -> Vec<(MapKey, ChunkId, u64)>;
}

impl Holding for Entry {
    fn chunks(leaf: &Leaf<Self>) -> Vec<(MapKey, ChunkId, u64)> {
        let chunk = |(key, entry): &(MapKey, Self)| match entry {
            Self::Chunk { id, size } => Some((key.clone(), *id, *size)),
            Self::Inline(_) | Self::Virtual { .. } => None,
        };
        leaf.entries.iter().filter_map(chunk).collect()
    }
}

impl Holding for VirtualFile {
    fn chunks(_: &Leaf<Self>) -> Vec<(MapKey, ChunkId, u64)> {
        Vec::new()
    }
}

impl Holding for HistoryEntry {
    fn chunks(_: &Leaf<Self>) -> Vec<(MapKey, ChunkId, u64)> {
        Vec::new()
    }
}

impl Verifier<'_> {
    /// Checks a map of `version` and everything below it.
    pub(super) async fn map<V: Holding>(&self, version: SnapshotId, root: NodeId) -> Result<Arc<NodeRecord>> {
        let record = self.subtree::<V>(version, root).await?;
        if record.has_single_child {
            let name = ObjectName::node(V::KIND, &root);
            self.findings.add(Finding::new(FindingKind::Misplaced, name, "it is a root with a single child").version(version));
        }
        Ok(record)
    }

    fn subtree<V: Holding>(&self, version: SnapshotId, id: NodeId) -> BoxFuture<'_, Result<Arc<NodeRecord>>> {
        Box::pin(async move {
            let slot = lock(&self.nodes).entry((V::KIND, id)).or_insert_with(|| NodeSlot::Busy(Arc::default())).clone();
            let mut is_new = false;
            let record = match slot {
                NodeSlot::Read(record) => record,
                NodeSlot::Busy(cell) => {
                    let read = async {
                        is_new = true;
                        self.read_node::<V>(version, id).await.map(Arc::new)
                    };
                    cell.get_or_try_init(|| read).await?.clone()
                }
            };
            if is_new {
                lock(&self.nodes).insert((V::KIND, id), NodeSlot::Read(Arc::clone(&record)));
            } else {
                record.findings.iter().for_each(|at| self.findings.reach(*at, version));
            }
            Ok(record)
        })
    }

    async fn read_node<V: Holding>(&self, version: SnapshotId, id: NodeId) -> Result<NodeRecord> {
        let name = ObjectName::node(V::KIND, &id);
        let lost = |kind, message: String| {
            let at = self.findings.add(Finding::new(kind, &name, message).version(version));
            NodeRecord { findings: vec![at], ..NodeRecord::default() }
        };
        let bytes = {
            let _permit = self.permits.acquire().await.map_err(|e| Error::internal("reads were closed").caused_by(e))?;
            match self.repository.storage().get(&name, Extent::Whole { at_most: MOST_NODE }).await {
                // It is not even of a length that it can have.
                Err(e) if is_damage(&e) => return Ok(lost(FindingKind::Corrupt, e.to_string())),
                found => found?,
            }
        };
        let Some(bytes) = bytes else { return Ok(lost(FindingKind::Missing, format!("{} node {id} does not exist", V::KIND))) };
        self.nodes_read.fetch_add(1, Ordering::Relaxed);
        let node = match Node::<V>::decode_verified(&bytes, id) {
            Ok(node) => node,
            Err(e) if is_damage(&e) => return Ok(lost(FindingKind::Corrupt, e.to_string())),
            Err(e) => return Err(e),
        };
        let mut record = NodeRecord {
            is_whole: true,
            state: NodeState::Good,
            level: node.level(),
            last: node.last_key().cloned(),
            ..NodeRecord::default()
        };
        match judge(id, &node, self.objects.shape()) {
            Ok(judged) => {
                record.totals = judged.totals;
                record.is_closed = judged.is_cut;
            }
            Err(e) => {
                let at = self.findings.add(Finding::new(FindingKind::Misplaced, &name, e.to_string()).version(version));
                record.state = NodeState::Bad;
                record.findings.push(at);
                record.is_closed = true;
            }
        }
        match &node {
            Node::Leaf(leaf) => self.check_leaf(version, leaf, &mut record).await?,
            Node::Branch(branch) => self.check_branch::<V>(version, branch, &mut record).await?,
        }
        Ok(record)
    }

    async fn check_leaf<V: Holding>(&self, version: SnapshotId, leaf: &Leaf<V>, record: &mut NodeRecord) -> Result<()> {
        record.first = leaf.entries.first().map(|(key, _)| key.clone());
        record.findings.extend(self.check_chunks(version, V::chunks(leaf)).await?);
        Ok(())
    }

    async fn check_branch<V: Holding>(&self, version: SnapshotId, branch: &Branch, record: &mut NodeRecord) -> Result<()> {
        record.has_single_child = branch.children.len() < 2;
        let width = if branch.level == 1 { WIDE } else { NARROW };
        let below = branch.children.iter().map(|child| child.id).collect::<Vec<_>>().into_iter().map(|id| self.subtree::<V>(version, id));
        let below: Vec<_> = stream::iter(below).buffered(width).try_collect().await?;
        let mut low = None;
        for (at, (child, found)) in branch.children.iter().zip(&below).enumerate() {
            record.findings.extend(&found.findings);
            record.is_whole &= found.is_whole;
            if let Some(own) = found.findings.first().filter(|_| found.state != NodeState::Good) {
                self.findings.affect(*own, child.last.as_str());
            }
            let is_last = at + 1 == branch.children.len();
            if found.state != NodeState::Lost
                && let Err(wrong) = fits(child, found, branch.level, low, is_last)
            {
                let name = ObjectName::node(V::KIND, &child.id);
                let finding = Finding::new(FindingKind::Misplaced, name, wrong).version(version).key(&child.last);
                record.findings.push(self.findings.add(finding));
            }
            low = Some(&child.last);
            if at == 0 {
                record.first.clone_from(&found.first);
            }
            if is_last {
                record.is_closed &= found.is_closed || found.state == NodeState::Lost;
            }
        }
        Ok(())
    }
}

/// Whether a node is what its parent announces; the error says what it is instead.
fn fits(child: &NodeChild, found: &NodeRecord, parent: u8, low: Option<&MapKey>, is_last: bool) -> Result<(), String> {
    if parent.checked_sub(1) != Some(found.level) {
        return Err(format!("it has level {} under a parent of level {parent}", found.level));
    }
    match &found.last {
        Some(last) if *last == child.last => {}
        last => return Err(format!("it ends with {last:?}, its parent says {:?}", child.last)),
    }
    if (found.totals.entries, found.totals.bytes) != (child.entries, child.bytes) {
        return Err(format!(
            "it holds {} entries of {} bytes, its parent says {} of {}",
            found.totals.entries, found.totals.bytes, child.entries, child.bytes
        ));
    }
    if let (Some(first), Some(low)) = (&found.first, low)
        && first <= low
    {
        return Err(format!("it begins with {first:?}, which does not follow {low:?}"));
    }
    if !is_last && !found.is_closed {
        return Err("it ends where the cut rule does not end it".to_owned());
    }
    Ok(())
}
