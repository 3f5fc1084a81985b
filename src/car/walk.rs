//! The blocks of a version in depth-first order, each as often as it is linked.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};

use super::distinct::Name;
use super::trees::ChunkTrees;
use crate::chunk::{ChunkStore, Sized};
use crate::error::{Error, Result};
use crate::format::{Commit, Entry, Node, VirtualFile};
use crate::id::{ChunkForm, ChunkId, Cid, NodeId, SnapshotId};
use crate::map;
use crate::objects::{CachedValue, Objects};
use crate::unixfs::{Tree, TreeStep};

/// How many trees of chunks are loaded ahead.
const AHEAD: usize = 16;

/// A block that the walk met, not yet read if it is payload.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// The block's CID.
    pub(super) cid: Cid,
    /// Its length in bytes.
    pub(super) len: u64,
    pub(super) source: LinkSource,
}

/// Where the bytes of a block are.
#[derive(Debug, Clone)]
pub(super) enum LinkSource {
    /// Here already: a commit, a node, an interior node of a chunk.
    Bytes(Bytes),
    /// A chunk that is one block.
    Chunk(ChunkId, u64),
    /// A leaf of a larger one.
    Leaf(Arc<Tree>, u64),
}

impl Link {
    /// The binary CID.
    pub(super) fn name(&self) -> Result<Name> {
        let name = self.cid.to_bytes().try_into();
        name.map_err(|_| Error::internal(format!("{} is not a CID of this format", self.cid)))
    }

    fn of_bytes(cid: Cid, bytes: Bytes) -> Self {
        Self { cid, len: bytes.len() as u64, source: LinkSource::Bytes(bytes) }
    }
}

/// Walks one version. Holds a path of nodes and the trees of the chunks that come next.
pub(super) struct CarWalk {
    chunks: ChunkStore,
    trees: Arc<ChunkTrees>,
    /// Chunks of `ready` of which the trees have not been sent for, in order.
    wanted: VecDeque<Sized>,
    /// Trees of the chunks before those.
    ahead: FuturesOrdered<BoxFuture<'static, Result<Arc<Tree>>>>,
    /// Blocks to give out, in order.
    ready: VecDeque<CarDue>,
    maps: VecDeque<MapCursor>,
}

enum CarDue {
    Link(Link),
    /// The blocks of a chunk of more than one.
    Tree,
}

enum MapCursor {
    Files(CarNodes<VirtualFile>),
    Manifest(CarNodes<Entry>),
}

impl CarWalk {
    pub(super) fn new(objects: &Objects, chunks: &ChunkStore, trees: &Arc<ChunkTrees>, id: SnapshotId, commit: &Commit) -> Self {
        let root = Link::of_bytes(id.cid(), commit.canonical().into());
        // In the order of the commit's own fields: `files` sorts before `manifest`.
        let maps = [MapCursor::Files(CarNodes::new(objects, commit.files)), MapCursor::Manifest(CarNodes::new(objects, commit.manifest))];
        Self {
            chunks: chunks.clone(),
            trees: trees.clone(),
            wanted: VecDeque::new(),
            ahead: FuturesOrdered::new(),
            ready: [CarDue::Link(root)].into(),
            maps: maps.into(),
        }
    }

    /// The next block; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Link>> {
        loop {
            match self.ready.pop_front() {
                Some(CarDue::Link(link)) => return Ok(Some(link)),
                Some(CarDue::Tree) => self.open_chunk().await?,
                None => match self.maps.front_mut() {
                    None => return Ok(None),
                    Some(map) => match map.advance(&mut self.ready).await? {
                        Some(chunks) => chunks.into_iter().for_each(|chunk| self.link_chunk(chunk)),
                        None => drop(self.maps.pop_front()),
                    },
                },
            }
        }
    }

    /// Appends a chunk to what is given out.
    fn link_chunk(&mut self, (id, size): Sized) {
        match id.form() {
            ChunkForm::Raw => self.ready.push_back(CarDue::Link(Link { cid: id.cid(), len: size, source: LinkSource::Chunk(id, size) })),
            ChunkForm::UnixFs => {
                self.wanted.push_back((id, size));
                self.ready.push_back(CarDue::Tree);
            }
        }
    }

    /// Puts the blocks of the next chunk of more than one block at the front.
    async fn open_chunk(&mut self) -> Result<()> {
        while self.ahead.len() < AHEAD
            && let Some(chunk) = self.wanted.pop_front()
        {
            let (chunks, trees) = (self.chunks.clone(), self.trees.clone());
            self.ahead.push_back(Box::pin(async move { trees.get(&chunks, chunk).await }));
        }
        let tree = self.ahead.next().await.ok_or_else(|| Error::internal("a chunk was met whose tree was not sent for"))??;
        let id = tree.root();
        let hash = id.digest().hash();
        for step in tree.depth_first().into_iter().rev() {
            let link = match step {
                TreeStep::Node(at) => tree.nodes().get(at).map(|node| Link::of_bytes(node.id.cid(), node.bytes.clone())),
                TreeStep::Leaf(index) => usize::try_from(index).ok().and_then(|at| tree.leaves().get(at)).map(|digest| {
                    debug_assert_eq!(digest.hash(), hash);
                    let cid = ChunkId::new(ChunkForm::Raw, *digest).cid();
                    Link { cid, len: tree.layout().leaf_len(index), source: LinkSource::Leaf(tree.clone(), index) }
                }),
            };
            let link = link.ok_or_else(|| Error::internal(format!("the tree of chunk {id} has no block where its own walk leads")))?;
            self.ready.push_front(CarDue::Link(link));
        }
        Ok(())
    }
}

impl MapCursor {
    /// Gives out the next node, and returns the chunks that it links; `None` when there is no node.
    async fn advance(&mut self, ready: &mut VecDeque<CarDue>) -> Result<Option<Vec<Sized>>> {
        let mut chunks = Vec::new();
        match self {
            Self::Files(nodes) => {
                let Some((id, node)) = nodes.next().await? else { return Ok(None) };
                ready.push_back(CarDue::Link(Link::of_bytes(id.cid(), node.canonical().into())));
            }
            Self::Manifest(nodes) => {
                let Some((id, node)) = nodes.next().await? else { return Ok(None) };
                ready.push_back(CarDue::Link(Link::of_bytes(id.cid(), node.canonical().into())));
                if let Node::Leaf(leaf) = &*node {
                    chunks.extend(leaf.entries.iter().filter_map(|(_, entry)| match entry {
                        Entry::Chunk { id, size } => Some((*id, *size)),
                        Entry::Inline(_) | Entry::Virtual { .. } => None,
                    }));
                }
            }
        }
        Ok(Some(chunks))
    }
}

/// The nodes of one map, parents before children, loaded ahead.
struct CarNodes<V: CachedValue>(map::Walk<'static, V, Objects>);

impl<V: CachedValue> CarNodes<V> {
    fn new(objects: &Objects, root: NodeId) -> Self {
        Self(map::Walk::shared(Arc::new(objects.clone()), root).eager())
    }

    async fn next(&mut self) -> Result<Option<(NodeId, Arc<Node<V>>)>> {
        match self.0.next().await {
            Some(visit) => visit.node.map(|node| Some((visit.id, node))),
            None => Ok(None),
        }
    }
}
