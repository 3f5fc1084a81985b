//! What the refs lead to, found by reading every node once.
//!
//! A version that was imported in part has a marker, and names parents and a history of which anything may be missing. What lies behind it
//! is kept as far as it is here. That something is missing there is no reason to refuse, unless another version that has no marker leads to
//! it, too: so what must be whole is walked first, and what may be incomplete is remembered apart.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::error::{Error, ErrorKind, Result};
use crate::format::{Entry, HistoryEntry, Node, VirtualFile};
use crate::handle::Repository;
use crate::history::ListedMarks;
use crate::id::{MapKind, NodeId, SnapshotId};
use crate::objects::{CachedValue, Objects};
use crate::refs::collection::{CondemnedRow, ObjectSet, row_of};
use crate::refs::retention::RetiredVersions;
use crate::refs::{Ref, RefRecord};
use crate::seeded::Seeded;
use crate::storage::layout::ObjectKind;
use crate::storage::{Extent, ObjectName};

/// How many objects are read at once.
const WIDE: usize = 64;
/// How many bytes of the ids of what was reached lie in memory.
const IN_MEMORY: usize = 32 << 20;

/// Collects the ids of everything that refs lead to. Keeps about 70 bytes for each node and snapshot, and the ids of chunks on disk.
pub(super) struct Marker {
    objects: Objects,
    /// Nodes and snapshots that were read, or are being read, and must be whole with all that they lead to.
    seen: HashSet<CondemnedRow, Seeded>,
    /// The same of what only versions with a marker lead to.
    seen_behind: HashSet<CondemnedRow, Seeded>,
    /// The versions with a marker, once they were listed.
    marked: Option<ListedMarks>,
    marks: ObjectSet,
    /// Versions whose data keeps nothing, unless a ref points at them. Read once, before anything is condemned: what expires later stays
    /// until the next collection, so that writers which found it kept lose nothing.
    retired: RetiredVersions,
    /// Versions that are looked at as if they had expired, also if a ref points at them.
    as_expired: HashSet<SnapshotId>,
    pub(super) versions: u64,
    /// How many of them keep no data.
    pub(super) expired: u64,
    pub(super) reads: u64,
}

/// Something to be read.
#[derive(Debug, Clone, Copy)]
struct Spot {
    what: Reached,
    /// The version that led there; `None` for what a ref names.
    by: Option<SnapshotId>,
}

impl Spot {
    /// Whether this is before the version that led there, and no part of it.
    const fn is_behind(self) -> bool {
        matches!(self.what, Reached::Version(_) | Reached::Node(MapKind::History, _))
    }
}

#[derive(Debug, Clone, Copy)]
enum Reached {
    Version(SnapshotId),
    /// The data of a version that is on record as expired, and that a ref points at.
    Data(SnapshotId),
    Node(MapKind, NodeId),
}

impl Reached {
    fn row(self) -> CondemnedRow {
        match self {
            Self::Version(id) => row_of(ObjectKind::Snapshot, id.digest()),
            // The name of its marker, which is kept with the version.
            Self::Data(id) => row_of(ObjectKind::Shallow, id.digest()),
            Self::Node(kind, id) => row_of(ObjectKind::of_nodes(kind), id.digest()),
        }
    }
}

/// What an object leads to.
#[derive(Debug, Default)]
struct LeadsTo {
    spots: Vec<Spot>,
    chunks: Vec<CondemnedRow>,
    /// The maps of a version that are its data.
    data: Vec<Spot>,
    /// The first parent of a version.
    first_parent: Option<SnapshotId>,
}

impl Marker {
    pub(super) fn new(repository: &Repository, scratch: &Path, retired: RetiredVersions, as_expired: HashSet<SnapshotId>) -> Self {
        // Nodes are read once, so that a cache would only take memory.
        let objects = Objects::new(repository.storage().clone(), repository.hash(), 0);
        Self {
            objects,
            seen: HashSet::default(),
            seen_behind: HashSet::default(),
            marked: None,
            marks: ObjectSet::new(IN_MEMORY, scratch),
            retired,
            as_expired,
            versions: 0,
            expired: 0,
            reads: 0,
        }
    }

    /// The ids in one shard that were reached, sorted.
    pub(super) fn reached(&self, shard: usize) -> Result<Vec<CondemnedRow>> {
        self.marks.read(shard)
    }

    /// Marks everything that a ref leads to: from its tip, and from both ends of all its moves; of versions that have expired, all but
    /// their data.
    ///
    /// An error, which names the ref, also when something is missing or damaged: what is behind it is not known.
    pub(super) async fn mark_ref(&mut self, repository: &Repository, name: &Ref, record: &RefRecord) -> Result<()> {
        let context = |e: Error| e.context(format!("no garbage is collected, because {name} leads to something that cannot be read"));
        let (blocks, earlier) = repository.refs().blocks_of_moves(record).await.map_err(context)?;
        for id in blocks {
            self.marks.add(row_of(ObjectKind::Moves, id.digest()))?;
        }
        let ends = record.moves.iter().chain(&earlier).flat_map(|m| [m.from, m.to]);
        let versions = ends.chain([record.tip]).flatten().map(Reached::Version);
        let shown = record.tip.filter(|tip| self.drops(*tip) && !self.as_expired.contains(tip)).map(Reached::Data);
        let roots = versions.chain(shown).map(|what| Spot { what, by: None }).collect();
        if self.marked.is_none() {
            self.marked = Some(ListedMarks::list(&**repository.storage(), repository.hash()).await?);
        }
        let mut behind = Vec::new();
        self.walk(roots, &mut behind).await.map_err(context)?;
        self.walk_behind(behind).await.map_err(context)
    }

    /// Marks the data of a version: its two manifests, its chunks, and its list of changed keys.
    pub(super) async fn mark_data(&mut self, id: SnapshotId) -> Result<()> {
        // Nothing of the data of a version is behind it.
        self.walk(vec![Spot { what: Reached::Data(id), by: None }], &mut Vec::new()).await
    }

    /// Whether the data of a version keeps nothing unless a ref points at it.
    fn drops(&self, id: SnapshotId) -> bool {
        self.as_expired.contains(&id) || self.retired.act_of(id).is_some()
    }

    /// Reads what must be whole. What versions with a marker lead to is added to `behind`.
    async fn walk(&mut self, mut todo: Vec<Spot>, behind: &mut Vec<Spot>) -> Result<()> {
        let mut reads: FuturesUnordered<BoxFuture<'static, (Spot, Result<LeadsTo>)>> = FuturesUnordered::new();
        // Others that lead to what is being read.
        let mut flying: HashMap<CondemnedRow, Vec<Spot>, Seeded> = HashMap::default();
        loop {
            while reads.len() < WIDE
                && let Some(spot) = todo.pop()
            {
                let row = spot.what.row();
                if let Some(others) = flying.get_mut(&row) {
                    others.push(spot);
                } else if self.seen.insert(row) {
                    self.reads += 1;
                    flying.insert(row, Vec::new());
                    let objects = self.objects.clone();
                    reads.push(async move { (spot, look(&objects, spot).await) }.boxed());
                }
            }
            let Some((spot, found)) = reads.next().await else { return Ok(()) };
            let row = spot.what.row();
            let others = flying.remove(&row).unwrap_or_default();
            self.marks.add(row)?;
            match found {
                Ok(found) => {
                    let is_marked = matches!(spot.what, Reached::Version(id) if self.is_marked(id));
                    for next in self.take(spot, found)? {
                        if is_marked && next.is_behind() { behind.push(next) } else { todo.push(next) }
                    }
                }
                Err(e) if is_loss(&e) && self.was_left_out(spot).await? => {
                    // Others may lead to it that were not imported without it.
                    self.seen.remove(&row);
                    todo.extend(others);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads what may be incomplete, as far as it is here.
    async fn walk_behind(&mut self, mut todo: Vec<Spot>) -> Result<()> {
        let mut reads = FuturesUnordered::new();
        loop {
            while reads.len() < WIDE
                && let Some(spot) = todo.pop()
            {
                let row = spot.what.row();
                if !self.seen.contains(&row) && self.seen_behind.insert(row) {
                    self.reads += 1;
                    let objects = self.objects.clone();
                    reads.push(async move { (spot, look(&objects, spot).await) }.boxed());
                }
            }
            let Some((spot, found)) = reads.next().await else { return Ok(()) };
            self.marks.add(spot.what.row())?;
            match found {
                Ok(found) => todo.extend(self.take(spot, found)?),
                Err(e) if is_loss(&e) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Marks what an object leads to and that needs not be read; the rest is returned.
    fn take(&mut self, spot: Spot, LeadsTo { mut spots, chunks, data, first_parent }: LeadsTo) -> Result<Vec<Spot>> {
        if let Reached::Version(id) = spot.what {
            self.versions += 1;
            if self.drops(id) {
                self.expired += 1;
            } else {
                spots.extend(data);
                self.mark_list(id, first_parent)?;
            }
            // Whether it has a marker does not matter here: one of a version that is kept is kept.
            self.marks.add(row_of(ObjectKind::Shallow, id.digest()))?;
        }
        if let Reached::Data(id) = spot.what {
            self.mark_list(id, first_parent)?;
        }
        chunks.into_iter().try_for_each(|row| self.marks.add(row))?;
        Ok(spots)
    }

    /// Marks the list of the keys that a version changed, which may not exist. It also holds what the first parent had under them, inline
    /// values among it, so it is kept only as long as the data of both is.
    fn mark_list(&mut self, id: SnapshotId, first_parent: Option<SnapshotId>) -> Result<()> {
        if first_parent.is_none_or(|parent| self.drops(parent)) {
            return Ok(());
        }
        self.marks.add(row_of(ObjectKind::Changes, id.digest()))
    }

    fn is_marked(&self, id: SnapshotId) -> bool {
        self.marked.as_ref().is_some_and(|marked| marked.has(id))
    }

    /// Whether something that cannot be read is behind a version that was imported without it.
    async fn was_left_out(&self, spot: Spot) -> Result<bool> {
        let Some(by) = spot.by.filter(|_| spot.is_behind()) else { return Ok(false) };
        Ok(self.objects.storage().get(&ObjectName::shallow(&by), Extent::Range(0..0)).await?.is_some())
    }
}

fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound)
}

/// Reads an object and tells what it leads to.
async fn look(objects: &Objects, spot: Spot) -> Result<LeadsTo> {
    match spot.what {
        Reached::Version(id) => look_at_version(objects, id).await,
        Reached::Data(id) => {
            let found = look_at_version(objects, id).await?;
            Ok(LeadsTo { spots: found.data, first_parent: found.first_parent, ..LeadsTo::default() })
        }
        Reached::Node(MapKind::Manifest, id) => {
            let chunk = |entry: &Entry| match entry {
                Entry::Chunk { id, .. } => Some(row_of(ObjectKind::of_chunk(id.form()), id.digest())),
                Entry::Inline(_) | Entry::Virtual { .. } => None,
            };
            look_at_node::<Entry>(objects, spot, id, |found, entry| found.chunks.extend(chunk(entry))).await
        }
        Reached::Node(MapKind::Files, id) => look_at_node::<VirtualFile>(objects, spot, id, |_, _| {}).await,
        Reached::Node(MapKind::History, id) => {
            let version = |entry: &HistoryEntry| Spot { what: Reached::Version(entry.id), by: spot.by };
            look_at_node::<HistoryEntry>(objects, spot, id, |found, entry| found.spots.push(version(entry))).await
        }
    }
}

async fn look_at_version(objects: &Objects, id: SnapshotId) -> Result<LeadsTo> {
    let object = objects.read_snapshot(&id).await?;
    let commit = object.ok_or_else(|| Error::not_found(format!("snapshot {id} is not in this repository")))?.commit;
    let spots = |what: Vec<Reached>| what.into_iter().map(|what| Spot { what, by: Some(id) }).collect();
    let parents = commit.parents.iter().map(|parent| Reached::Version(*parent));
    let line = [Reached::Node(MapKind::History, commit.history)].into_iter().chain(parents).collect();
    let data = vec![Reached::Node(MapKind::Manifest, commit.manifest), Reached::Node(MapKind::Files, commit.files)];
    let first_parent = commit.parents.first().copied();
    Ok(LeadsTo { spots: spots(line), chunks: Vec::new(), data: spots(data), first_parent })
}

async fn look_at_node<V: CachedValue>(objects: &Objects, spot: Spot, id: NodeId, take: impl Fn(&mut LeadsTo, &V)) -> Result<LeadsTo> {
    let mut found = LeadsTo::default();
    match objects.read_node::<V>(id).await? {
        Node::Leaf(leaf) => leaf.entries.iter().for_each(|(_, value)| take(&mut found, value)),
        Node::Branch(branch) => {
            found.spots = branch.children.iter().map(|child| Spot { what: Reached::Node(V::KIND, child.id), by: spot.by }).collect();
        }
    }
    Ok(found)
}
