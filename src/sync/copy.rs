//! Copying versions: of each, what its parents have not.

use std::collections::HashMap;
use std::sync::Arc;

use super::SyncRun;
use super::chunks::ChunkCopier;
use super::marks::SyncMarks;
use super::options::SyncReport;
use super::versions::{CopiedData, LackingVersion, ThereVersion};
use crate::commit::ImportSaves;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Commit, Entry, HistoryEntry, Node, Roots, SnapshotObject, VirtualFile};
use crate::history::{Followed, KeptPart, Line, PastMark, check_claims, follows, require_earlier, require_places};
use crate::id::{MapKind, NodeId, SnapshotId};
use crate::map::{Lacked, Lacking, NodeSink, build};
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
    /// The markers of the target, as they were before.
    marks: SyncMarks<'a>,
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

impl<'a> Copier<'a> {
    pub(super) async fn begin(sync: SyncRun<'a>, known: u64, there: HashMap<SnapshotId, ThereVersion>) -> Result<Self> {
        let chunks = ChunkCopier::begin(sync).await?;
        Ok(Self {
            sync,
            uploads: Uploads::new(sync.to.objects()),
            marks: SyncMarks::of(sync.to),
            known: known.min(chunks.known()),
            chunks,
            touched: ObjectSet::new(IN_MEMORY, &sync.to.scratch()),
            relied: there.iter().map(|(id, there)| (*id, there.time, there.part())).collect(),
            there,
            nodes: 0,
        })
    }

    /// Whether the run failed because a garbage collection removes what had arrived.
    pub(super) const fn is_overtaken(&self) -> bool {
        self.chunks.is_overtaken()
    }

    /// Copies a version whose parents are there, or are left out on both sides.
    pub(super) async fn version(&mut self, version: &LackingVersion) -> Result<()> {
        let place = self.sync.from.storage().clone();
        let Err(mut error) = self.copy(version).await else { return Ok(()) };
        // It may have expired meanwhile.
        if let Ok(commit) = self.sync.from.objects().commit(&version.id).await {
            error = Snapshot::new(self.sync.from.clone(), version.id, commit).explained(error).await;
        }
        Err(error.context(format!("version {} of {place}", version.id)))
    }

    async fn copy(&mut self, version: &LackingVersion) -> Result<()> {
        let id = version.id;
        let object = self.sync.from.objects().read_snapshot(&id).await?;
        let SnapshotObject { commit, roots } = object.ok_or_else(|| Error::not_found("it does not exist any more"))?;
        check_claims(self.sync.from.objects(), &commit).await?;
        let mut bases: Vec<SnapshotId> = Vec::new();
        for there in commit.parents.iter().filter_map(|parent| self.there.get(parent)) {
            require_earlier(there.time, commit.time)?;
            bases.extend(&there.bases);
        }
        // Two parents that have expired hand on the same ones.
        bases.sort_unstable();
        bases.dedup();
        if matches!(version.data, CopiedData::Copied) {
            let mut others = Vec::new();
            for base in &bases {
                others.push(self.sync.from.objects().commit(base).await?);
            }
            let roots = |root: fn(&Commit) -> NodeId| others.iter().map(|base| root(base)).collect::<Vec<_>>();
            self.map::<VirtualFile>(commit.files, &roots(|base| base.files)).await?;
            self.manifest(commit.manifest, &roots(|base| base.manifest)).await?;
            bases = vec![id];
        }
        let found = match self.past(&commit).await {
            // The source has it without what was before it, so that was only a claim; it is not believed here either.
            Err(error) if version.is_cut && error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(%id, %error, "a version is copied without what it says of its past");
                PastMark::History
            }
            found => found?,
        };
        let roots = if found == PastMark::History { Roots { history: None, ..roots } } else { roots };
        // Before the snapshot: without a marker, what it names counts as there.
        self.mark(version, &commit, found).await?;
        self.touched.add(row_of(ObjectKind::Snapshot, id.digest()))?;
        let time = commit.time;
        self.uploads.snapshot(id, &SnapshotObject { commit, roots }).await?;
        self.uploads.begin_draft();
        let has_history = found != PastMark::History;
        self.there.insert(id, ThereVersion { time, has_history, is_in_source: !version.is_cut, bases });
        Ok(())
    }

    /// Marks a version of which something is left out.
    async fn mark(&mut self, version: &LackingVersion, commit: &Commit, found: PastMark) -> Result<()> {
        if found == PastMark::History && !version.is_cut {
            self.require_no_history(version.id, commit).await?;
        }
        let there = self.marks.before(version.id).await?;
        let mark = match (found, there) {
            (PastMark::Whole, PastMark::Whole) => return Ok(()),
            // What a ref keeps is as the target has it, until the refs say that there is more.
            (_, PastMark::Whole) if version.is_kept => return Ok(()),
            (_, there) if version.is_kept => there,
            // Whole also where a run that was stopped had left something out.
            (found, _) => found,
        };
        self.touched.add(row_of(ObjectKind::Shallow, version.id.digest()))?;
        mark.write(&**self.sync.to.storage(), version.id).await
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

    /// Sends the history of a version if the target has what is before it, and tells what is left out. The history is made anew from that
    /// of the first parent: a source is not believed what came before.
    async fn past(&mut self, commit: &Commit) -> Result<PastMark> {
        let Some((first, others)) = commit.parents.split_first() else {
            build(futures::stream::empty(), self.sync.to.objects().shape(), &mut Histories(self)).await?;
            return Ok(PastMark::Whole);
        };
        let Some(parent) = self.there.get(first).cloned() else { return Ok(PastMark::History) };
        let others_are_there = others.iter().all(|other| self.there.contains_key(other));
        // Of a parent that the source has without its history, the target has the history alone, perhaps on its way there.
        let objects = if parent.is_in_source {
            self.sync.from.objects().clone()
        } else {
            self.uploads.finish().await?;
            self.sync.to.objects().clone()
        };
        let record = objects.commit(first).await?;
        require_places(*first, &record, commit)?;
        let line = Line { objects: &objects, id: *first, commit: &record };
        match follows(line, parent.has_history, commit, &mut Histories(self)).await? {
            Followed::Yes if others_are_there => Ok(PastMark::Whole),
            Followed::Yes => Ok(PastMark::OtherParents),
            Followed::Unknown => Ok(PastMark::History),
            Followed::Unreadable(error) => Err(error),
        }
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

/// Sends the nodes of histories.
struct Histories<'c, 'a>(&'c mut Copier<'a>);

impl NodeSink<HistoryEntry> for Histories<'_, '_> {
    async fn store(&mut self, id: NodeId, node: Arc<Node<HistoryEntry>>) -> Result<()> {
        self.0.node(id, node).await
    }
}
