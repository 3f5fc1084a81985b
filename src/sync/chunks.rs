//! Copying the chunks of versions: only those that the target has not, many at a time.

use std::collections::HashSet;

use tokio::task::JoinSet;

use super::SyncRun;
use super::options::SyncReport;
use super::saves::{PushSaves, chunk_row};
use crate::chunk::{ChunkStore, Sized};
use crate::commit::ImportSaves;
use crate::error::{Error, Result};
use crate::format::{Entry, Leaf, Node};
use crate::id::{ChunkId, NodeId, SnapshotId};
use crate::map::Walk;
use crate::refs::RefKind;
use crate::refs::collection::ObjectSet;
use crate::seeded::Seeded;
use crate::time::Timestamp;

/// How many ids of chunks that the target has are remembered, so that none of them is sent again.
const MOST_KNOWN: usize = 1 << 20;
/// How many chunks are gathered before it is decided which of them are sent.
const GATHERED: usize = 1 << 16;
/// How many bytes a row of a manifest takes, about, at rest.
const ROW: u64 = 48;
/// Fewer bytes of chunks than this are sent without a search for copies of them.
const WORTH_A_SEARCH: u64 = 1 << 20;
/// How many bytes of chunks are read and sent together, about, how many chunks, and how many batches at once.
const BATCH_BYTES: u64 = 4 << 20;
const BATCH_CHUNKS: usize = 256;
const BATCHES: usize = 8;

/// Gathers the chunks of versions and sends those that the target has not.
pub(super) struct ChunkCopier<'a> {
    sync: SyncRun<'a>,
    saves: PushSaves<'a>,
    /// Chunks that the target has: in versions that were met, or because they were sent.
    known: HashSet<ChunkId, Seeded>,
    /// Chunks that may have to be sent.
    wanted: Vec<Sized>,
    /// The manifests of the versions before the present one.
    bases: Vec<NodeId>,
    /// Whether a search in them was worth it.
    is_worth: bool,
    /// Bytes and chunks sent since the last save.
    since_save: (u64, u64),
    report: SyncReport,
    /// Versions of the target in which chunks were found.
    pub(super) relied: Vec<(SnapshotId, Timestamp)>,
}

impl<'a> ChunkCopier<'a> {
    pub(super) async fn begin(sync: SyncRun<'a>) -> Result<Self> {
        Ok(Self {
            sync,
            saves: PushSaves::begin(sync).await?,
            known: HashSet::default(),
            wanted: Vec::new(),
            bases: Vec::new(),
            is_worth: true,
            since_save: (0, 0),
            report: SyncReport::default(),
            relied: Vec::new(),
        })
    }

    /// The last garbage collection of which a run knows that relies on what earlier runs sent.
    pub(super) fn known(&self) -> u64 {
        self.saves.known()
    }

    /// Whether a save failed because of a garbage collection.
    pub(super) const fn is_overtaken(&self) -> bool {
        self.saves.is_overtaken()
    }

    /// Begins a version whose parents, which the target has, have these manifests.
    pub(super) fn begin_version(&mut self, bases: &[NodeId]) {
        self.bases = bases.to_vec();
        self.is_worth = !bases.is_empty();
    }

    /// Notes the chunks of a leaf that the target has.
    pub(super) fn note_old(&mut self, node: &Node<Entry>) {
        let Node::Leaf(leaf) = node else { return };
        for (id, _) in chunks_in(leaf) {
            self.know(id);
        }
    }

    fn know(&mut self, id: ChunkId) -> bool {
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(id)
    }

    /// Gathers the chunks of a new leaf; sends some when there are many.
    pub(super) async fn want(&mut self, leaf: &Leaf<Entry>, touched: &mut ObjectSet) -> Result<()> {
        for chunk in chunks_in(leaf) {
            if self.know(chunk.0) {
                self.wanted.push(chunk);
            }
        }
        if self.wanted.len() >= GATHERED { self.send(touched).await } else { Ok(()) }
    }

    /// Sends what was gathered and the target has not, and waits until it has arrived. Notes it in `touched`.
    pub(super) async fn send(&mut self, touched: &mut ObjectSet) -> Result<()> {
        let mut wanted = std::mem::take(&mut self.wanted);
        for chunk in self.saves.take_known(&mut wanted)? {
            touched.add(chunk_row(&chunk))?;
            self.report.reused += 1;
        }
        self.leave_out_copies(&mut wanted).await?;
        if self.sync.options.no_chunks && !wanted.is_empty() {
            self.leave_out_kept(&mut wanted).await?;
            if let Some((id, _)) = wanted.first() {
                return Err(Error::invalid(format!(
                    "{} chunks, among them {id}, are in no branch and no tag of {}; send them too",
                    wanted.len(),
                    self.sync.to.storage()
                )));
            }
        }
        for chunk in &wanted {
            touched.add(chunk_row(chunk))?;
        }
        self.send_all(wanted).await
    }

    /// Leaves out chunks that the versions before have under other keys, if reading all of their manifests costs less than sending.
    async fn leave_out_copies(&mut self, wanted: &mut Vec<Sized>) -> Result<()> {
        let bytes = bytes_of(wanted);
        if !self.is_worth || bytes < WORTH_A_SEARCH {
            return Ok(());
        }
        let objects = self.sync.from.objects();
        for base in self.bases.clone() {
            let entries = crate::map::Map::<Entry, _>::new(objects, base).totals().await?.entries;
            if entries.saturating_mul(ROW) < bytes {
                let before = wanted.len();
                leave_out(objects, base, wanted).await?;
                self.is_worth = before > 0 && (before - wanted.len()) * 10 >= before;
            }
        }
        Ok(())
    }

    /// Leaves out chunks that the tips of the target have.
    async fn leave_out_kept(&mut self, wanted: &mut Vec<Sized>) -> Result<()> {
        let to = self.sync.to;
        let (branches, tags) = futures::try_join!(to.refs().list(RefKind::Branch), to.refs().list(RefKind::Tag))?;
        for (_, state) in branches.into_iter().chain(tags) {
            let Some(tip) = state?.record.tip else { continue };
            let commit = to.objects().commit(&tip).await?;
            if !wanted.is_empty() && leave_out(to.objects(), commit.manifest, wanted).await? {
                self.relied.push((tip, commit.time));
            }
        }
        Ok(())
    }

    async fn send_all(&mut self, wanted: Vec<Sized>) -> Result<()> {
        let (from, to) = (self.sync.from.chunks(), self.sync.to.chunks());
        let mut under_way: JoinSet<Result<Vec<Sized>>> = JoinSet::new();
        let steps = self.sync.options.steps;
        let mut batches = batches(&wanted, steps.keys).peekable();
        while batches.peek().is_some() || !under_way.is_empty() {
            let is_due = self.since_save.0 >= steps.bytes.max(1) || self.since_save.1 >= steps.keys.max(1);
            if is_due && under_way.is_empty() {
                self.saves.save().await?;
                self.since_save = (0, 0);
                continue;
            }
            if !is_due
                && under_way.len() < BATCHES
                && let Some(batch) = batches.next()
            {
                self.since_save = (self.since_save.0 + bytes_of(batch), self.since_save.1 + batch.len() as u64);
                under_way.spawn(copy(from.clone(), to.clone(), batch.to_vec()));
                continue;
            }
            let Some(done) = under_way.join_next().await else { continue };
            let sent = done.map_err(|e| Error::internal("the copying of chunks did not run to its end").caused_by(e))??;
            let (chunks, bytes) = (sent.len() as u64, bytes_of(&sent));
            (self.report.chunks, self.report.chunk_bytes) = (self.report.chunks + chunks, self.report.chunk_bytes + bytes);
            self.sync.to.advance(chunks, bytes);
            self.saves.note(&sent);
        }
        Ok(())
    }

    /// The branch of the saves, if there is one, and what was sent.
    pub(super) fn finish(self) -> (Option<ImportSaves>, SyncReport) {
        (self.saves.finish(), self.report)
    }
}

fn bytes_of(chunks: &[Sized]) -> u64 {
    chunks.iter().fold(0, |sum, (_, size)| sum.saturating_add(*size))
}

fn chunks_in(leaf: &Leaf<Entry>) -> impl Iterator<Item = Sized> {
    leaf.entries.iter().filter_map(|(_, entry)| match entry {
        Entry::Chunk { id, size } => Some((*id, *size)),
        Entry::Inline(_) | Entry::Virtual { .. } => None,
    })
}

/// Takes the chunks out of `wanted` that a manifest has; tells whether it has any.
async fn leave_out(objects: &crate::objects::Objects, manifest: NodeId, wanted: &mut Vec<Sized>) -> Result<bool> {
    let looked_for: HashSet<ChunkId, Seeded> = wanted.iter().map(|(id, _)| *id).collect();
    let mut found = HashSet::<ChunkId, Seeded>::default();
    let mut walk = Walk::<Entry, _>::shared(std::sync::Arc::new(objects.clone()), manifest).eager();
    while let Some(visit) = walk.next().await {
        if let Node::Leaf(leaf) = &*visit.node? {
            found.extend(chunks_in(leaf).map(|(id, _)| id).filter(|id| looked_for.contains(id)));
        }
    }
    wanted.retain(|(id, _)| !found.contains(id));
    Ok(!found.is_empty())
}

/// Cuts chunks into batches; one that is large is a batch by itself.
fn batches(chunks: &[Sized], most: u64) -> impl Iterator<Item = &[Sized]> {
    let most = usize::try_from(most).unwrap_or(usize::MAX).clamp(1, BATCH_CHUNKS);
    let mut rest = chunks;
    std::iter::from_fn(move || {
        let mut bytes = 0_u64;
        let fits = |(_, size): &&Sized| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add((*size).max(1));
            is_first || bytes <= BATCH_BYTES
        };
        let len = rest.iter().take(most).take_while(fits).count();
        let (batch, others) = rest.split_at_checked(len)?;
        rest = others;
        (!batch.is_empty()).then_some(batch)
    })
}

/// Copies a batch, and returns it.
async fn copy(from: ChunkStore, to: ChunkStore, batch: Vec<Sized>) -> Result<Vec<Sized>> {
    match batch.as_slice() {
        [one] if ChunkStore::is_large(one.1) => from.copy_large(&to, *one).await?,
        many => from.copy_many(&to, many).await?,
    }
    Ok(batch)
}
