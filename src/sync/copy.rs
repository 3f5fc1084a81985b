//! Copying versions: of each, what its parents have not.

use std::collections::HashMap;
use std::sync::Arc;

use super::SyncRun;
use super::chunks::ChunkCopier;
use super::options::SyncReport;
use super::versions::{CopiedData, LackingVersion, ThereVersion};
use crate::commit::ImportSaves;
use crate::error::{Error, Result};
use crate::format::{Commit, Entry, HistoryEntry, Node, Roots, SnapshotObject, VirtualFile};
use crate::history::{KeptPart, Line};
use crate::id::{MapKind, NodeId, SnapshotId};
use crate::map::{Lacked, Lacking, NodeSink as _};
use crate::objects::{CachedValue, Uploads};
use crate::refs::collection::{ObjectSet, row_of};
use crate::snapshot::Snapshot;
use crate::storage::layout::ObjectKind;
use crate::storage::{Extent, ObjectName};
use crate::time::Timestamp;

/// How many bytes of the ids of what was sent lie in memory.
const IN_MEMORY: usize = 8 << 20;

/// Copies versions to the target. What it sends is durable after [`finish`](Self::finish).
pub(super) struct Copier<'a> {
    sync: SyncRun<'a>,
    uploads: Uploads,
    chunks: ChunkCopier<'a>,
    known: u64,
    touched: ObjectSet,
    /// The versions that refs of the target keep.
    relied: Vec<(SnapshotId, Timestamp, KeptPart)>,
    /// Those, and the ones that were copied.
    there: HashMap<SnapshotId, ThereVersion>,
    nodes: u64,
}

/// What was copied, and what it rests on.
pub(super) struct SyncCopied {
    pub(super) report: SyncReport,
    /// The last garbage collection of the target of which the run knows.
    pub(super) known: u64,
    /// What was sent, and what earlier runs had sent.
    pub(super) touched: ObjectSet,
    /// Versions that refs of the target keep, and whose parts were not sent.
    pub(super) relied: Vec<(SnapshotId, Timestamp, KeptPart)>,
    /// The branch on which the run noted what it sent.
    pub(super) saves: Option<ImportSaves>,
}

/// How much of the past of a version the target will have.
struct Past {
    /// Whether its history map is copied, and the map that the target has already.
    history: Option<Vec<NodeId>>,
    /// Whether something of it is not there, which a marker says.
    is_marked: bool,
}

impl<'a> Copier<'a> {
    pub(super) async fn begin(sync: SyncRun<'a>, known: u64, there: HashMap<SnapshotId, ThereVersion>) -> Result<Self> {
        let chunks = ChunkCopier::begin(sync).await?;
        Ok(Self {
            sync,
            uploads: Uploads::new(sync.to.objects()),
            known: known.min(chunks.known()),
            chunks,
            touched: ObjectSet::new(IN_MEMORY, &sync.to.scratch()),
            relied: there.iter().map(|(id, there)| (*id, there.time, there.part())).collect(),
            there,
            nodes: 0,
        })
    }

    /// Copies a version whose parents are there, or are left out on both sides.
    pub(super) async fn version(&mut self, version: &LackingVersion) -> Result<()> {
        let place = self.sync.from.storage().clone();
        let Err(error) = self.copy(version).await else { return Ok(()) };
        // It may have expired meanwhile.
        let source = Snapshot::new(self.sync.from.clone(), version.id, version.commit.clone());
        Err(source.explained(error).await.context(format!("version {} of {place}", version.id)))
    }

    async fn copy(&mut self, version: &LackingVersion) -> Result<()> {
        let LackingVersion { id, commit, data } = version;
        let mut bases: Vec<Arc<Commit>> = Vec::new();
        for base in commit.parents.iter().filter_map(|parent| self.there.get(parent)).flat_map(|there| &there.bases) {
            if !bases.contains(base) {
                bases.push(base.clone());
            }
        }
        if matches!(data, CopiedData::Copied) {
            let others = |root: fn(&Commit) -> NodeId| bases.iter().map(|base| root(base)).collect::<Vec<_>>();
            self.map::<VirtualFile>(commit.files, &others(|base| base.files)).await?;
            self.manifest(commit.manifest, &others(|base| base.manifest)).await?;
            bases = vec![commit.clone()];
        }
        let past = self.past(*id, commit).await?;
        if let Some(base) = &past.history {
            self.map::<HistoryEntry>(commit.history, base).await?;
        }
        let object = self.sync.from.objects().read_snapshot(id).await?;
        let SnapshotObject { commit: read, roots } = object.ok_or_else(|| Error::not_found("it does not exist any more"))?;
        let roots = if past.history.is_some() { roots } else { Roots { history: None, ..roots } };
        // Before the snapshot: without a marker, what it names counts as there.
        if past.is_marked {
            if past.history.is_none() {
                self.require_no_history(*id, commit).await?;
            }
            self.touched.add(row_of(ObjectKind::Shallow, id.digest()))?;
            self.sync.to.storage().put(&ObjectName::shallow(id), &[]).await?;
        }
        self.touched.add(row_of(ObjectKind::Snapshot, id.digest()))?;
        self.uploads.snapshot(*id, &SnapshotObject { commit: read, roots }).await?;
        self.uploads.begin_draft();
        let has_history = past.history.is_some();
        self.there.insert(*id, ThereVersion { commit: Some(commit.clone()), time: commit.time, has_history, bases });
        Ok(())
    }

    /// Refuses to mark a version as shallow beside its own history: what is there of it may be a part that a run left which was stopped.
    async fn require_no_history(&self, id: SnapshotId, commit: &Commit) -> Result<()> {
        let to = self.sync.to.storage();
        let name = ObjectName::node(MapKind::History, &commit.history);
        if to.get(&name, Extent::Range(0..0)).await?.is_none() {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "{to} has parts of the history of {id}, left by a run that was stopped, and so cannot be given the version without its history; \
             copy it with its history, or remove those parts with firn gc"
        )))
    }

    /// How much of what is before a version can be named there.
    async fn past(&self, id: SnapshotId, commit: &Commit) -> Result<Past> {
        let others_are_there = commit.parents.iter().skip(1).all(|parent| self.there.contains_key(parent));
        let left_out = Past { history: None, is_marked: true };
        let Some(first) = commit.parents.first() else { return Ok(Past { history: Some(Vec::new()), is_marked: false }) };
        let Some(parent) = self.there.get(first) else { return Ok(left_out) };
        let line = Line { objects: self.sync.from.objects(), id, commit };
        if line.is_shallow().await? {
            return Ok(left_out);
        }
        let begins_here = commit.since == Some(parent.time);
        if !begins_here && !parent.has_history {
            return Ok(left_out);
        }
        let base = parent.commit.iter().filter(|_| !begins_here).map(|parent| parent.history).collect();
        Ok(Past { history: Some(base), is_marked: !others_are_there })
    }

    async fn map<V: CachedValue>(&mut self, root: NodeId, others: &[NodeId]) -> Result<()> {
        let source = Arc::new(self.sync.from.objects().clone());
        let mut lacking = Lacking::<V, _>::open(source, root, others, false).await?;
        while let Some(node) = lacking.next().await? {
            if let Lacked::New(id, node) = node {
                self.node(id, node).await?;
            }
        }
        Ok(())
    }

    /// Copies a manifest and its chunks.
    async fn manifest(&mut self, root: NodeId, others: &[NodeId]) -> Result<()> {
        let source = Arc::new(self.sync.from.objects().clone());
        let mut lacking = Lacking::<Entry, _>::open(source, root, others, true).await?;
        self.chunks.begin_version(others);
        while let Some(node) = lacking.next().await? {
            match node {
                Lacked::Old(node) => self.chunks.note_old(&node),
                Lacked::New(id, node) => {
                    if let Node::Leaf(leaf) = &*node {
                        self.chunks.want(leaf, &mut self.touched).await?;
                    }
                    self.node(id, node).await?;
                }
            }
        }
        self.chunks.send(&mut self.touched).await
    }

    async fn node<V: CachedValue>(&mut self, id: NodeId, node: Arc<Node<V>>) -> Result<()> {
        self.touched.add(row_of(ObjectKind::of_nodes(V::KIND), id.digest()))?;
        self.nodes += 1;
        self.uploads.store(id, node).await.map_err(|e| e.context(self.sync.to.storage()))
    }

    /// Waits until everything that was sent is durable.
    pub(super) async fn finish(mut self) -> Result<SyncCopied> {
        self.uploads.finish().await?;
        self.sync.to.storage().barrier().await?;
        self.relied.extend(self.chunks.relied.drain(..).map(|(id, time)| (id, time, KeptPart::Data)));
        let (saves, counts) = self.chunks.finish();
        let report = SyncReport { nodes: self.nodes, ..counts };
        Ok(SyncCopied { report, known: self.known, touched: self.touched, relied: self.relied, saves })
    }
}
