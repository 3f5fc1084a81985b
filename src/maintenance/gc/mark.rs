//! Reached the refs lead to, found by reading every node once.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::error::{Error, ErrorKind, Result};
use crate::format::{Entry, HistoryEntry, Node, VirtualFile};
use crate::handle::Repository;
use crate::id::{MapKind, NodeId, SnapshotId};
use crate::objects::{CachedValue, Objects};
use crate::refs::collection::{CondemnedRow, ObjectSet, row_of};
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
    /// Nodes and snapshots that were read, or are being read.
    seen: HashSet<CondemnedRow, Seeded>,
    marks: ObjectSet,
    pub(super) versions: u64,
    pub(super) reads: u64,
}

/// Something to be read.
#[derive(Debug, Clone, Copy)]
struct Spot {
    what: Reached,
    /// The version that led there; `None` for what a ref names.
    by: Option<SnapshotId>,
}

#[derive(Debug, Clone, Copy)]
enum Reached {
    Version(SnapshotId),
    Node(MapKind, NodeId),
}

impl Reached {
    fn row(self) -> CondemnedRow {
        match self {
            Self::Version(id) => row_of(ObjectKind::Snapshot, id.digest()),
            Self::Node(kind, id) => row_of(ObjectKind::of_nodes(kind), id.digest()),
        }
    }
}

/// Reached an object leads to.
#[derive(Debug, Default)]
struct LeadsTo {
    spots: Vec<Spot>,
    chunks: Vec<CondemnedRow>,
}

impl Marker {
    pub(super) fn new(repository: &Repository, scratch: &Path) -> Self {
        // Nodes are read once, so that a cache would only take memory.
        let objects = Objects::new(repository.storage().clone(), repository.hash(), 0);
        Self { objects, seen: HashSet::default(), marks: ObjectSet::new(IN_MEMORY, scratch), versions: 0, reads: 0 }
    }

    /// The ids in one shard that were reached, sorted.
    pub(super) fn reached(&self, shard: usize) -> Result<Vec<CondemnedRow>> {
        self.marks.read(shard)
    }

    /// Marks everything that a ref leads to: from its tip, and from both ends of all its moves.
    ///
    /// An error, which names the ref, also when something is missing or damaged: what is behind it is not known.
    pub(super) async fn mark_ref(&mut self, repository: &Repository, name: &Ref, record: &RefRecord) -> Result<()> {
        let context = |e: Error| e.context(format!("no garbage is collected, because {name} leads to something that cannot be read"));
        let (blocks, earlier) = repository.refs().blocks_of_moves(record).await.map_err(context)?;
        for id in blocks {
            self.marks.add(row_of(ObjectKind::Moves, id.digest()))?;
        }
        let ends = record.moves.iter().chain(&earlier).flat_map(|m| [m.from, m.to]);
        let roots = ends.chain([record.tip]).flatten().map(|id| Spot { what: Reached::Version(id), by: None });
        self.walk(roots.collect()).await.map_err(context)
    }

    async fn walk(&mut self, mut todo: Vec<Spot>) -> Result<()> {
        let mut reads: FuturesUnordered<BoxFuture<'static, (Spot, Result<LeadsTo>)>> = FuturesUnordered::new();
        // Reached others lead to what is being read.
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
                Ok(LeadsTo { spots, chunks }) => {
                    if let Reached::Version(id) = spot.what {
                        self.versions += 1;
                        // Whether it has a marker does not matter here: one of a version that is kept is kept.
                        self.marks.add(row_of(ObjectKind::Shallow, id.digest()))?;
                    }
                    todo.extend(spots);
                    chunks.into_iter().try_for_each(|row| self.marks.add(row))?;
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

    /// Whether something that cannot be read is behind a version that was imported without it.
    async fn was_left_out(&self, spot: Spot) -> Result<bool> {
        let is_behind = matches!(spot.what, Reached::Version(_) | Reached::Node(MapKind::History, _));
        let Some(by) = spot.by.filter(|_| is_behind) else { return Ok(false) };
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
    let maps = [(MapKind::Manifest, commit.manifest), (MapKind::Files, commit.files), (MapKind::History, commit.history)];
    let nodes = maps.into_iter().map(|(kind, root)| Reached::Node(kind, root));
    let parents = commit.parents.iter().map(|parent| Reached::Version(*parent));
    let spots = nodes.chain(parents).map(|what| Spot { what, by: Some(id) }).collect();
    Ok(LeadsTo { spots, chunks: Vec::new() })
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
