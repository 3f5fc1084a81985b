//! The blocks of a version in depth-first order, each as often as it is linked.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::distinct::Name;
use crate::chunk::ChunkStore;
use crate::error::{Error, Result};
use crate::format::{Commit, Entry, Node, VirtualFile};
use crate::id::{ChunkForm, ChunkId, Cid, NodeId, SnapshotId};
use crate::map;
use crate::objects::{CachedValue, Objects};
use crate::unixfs::{Step, Tree};

/// A block that the walk met, not yet read if it is payload.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// The block's CID.
    pub(super) cid: Cid,
    /// Its length in bytes.
    pub(super) len: u64,
    pub(super) source: Source,
}

/// Where the bytes of a block are.
#[derive(Debug, Clone)]
pub(super) enum Source {
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
        name.map_err(|_| Error::internal(format!("{} is no CID of this format", self.cid)))
    }

    fn of_bytes(cid: Cid, bytes: Bytes) -> Self {
        Self { cid, len: bytes.len() as u64, source: Source::Bytes(bytes) }
    }
}

/// Walks one version. Holds a path of nodes and the tree of one chunk.
pub(super) struct Walk {
    chunks: ChunkStore,
    /// Blocks to give out, first first; of chunks that have not been looked at, only the entries.
    ready: VecDeque<Due>,
    maps: VecDeque<Cursor>,
}

enum Due {
    Link(Link),
    Chunk(ChunkId, u64),
}

enum Cursor {
    Files(Nodes<VirtualFile>),
    Manifest(Nodes<Entry>),
}

impl Walk {
    pub(super) fn new(objects: &Objects, chunks: &ChunkStore, id: SnapshotId, commit: &Commit) -> Self {
        let root = Link::of_bytes(id.cid(), commit.canonical().into());
        // In the order of the commit's own fields: `files` sorts before `manifest`.
        let maps = [Cursor::Files(Nodes::new(objects, commit.files)), Cursor::Manifest(Nodes::new(objects, commit.manifest))];
        Self { chunks: chunks.clone(), ready: [Due::Link(root)].into(), maps: maps.into() }
    }

    /// The next block; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Link>> {
        loop {
            match self.ready.pop_front() {
                Some(Due::Link(link)) => return Ok(Some(link)),
                Some(Due::Chunk(id, size)) => self.open_chunk(id, size).await?,
                None => match self.maps.front_mut() {
                    None => return Ok(None),
                    Some(map) => {
                        if !map.advance(&mut self.ready).await? {
                            self.maps.pop_front();
                        }
                    }
                },
            }
        }
    }

    /// Puts the blocks of a chunk at the front.
    async fn open_chunk(&mut self, id: ChunkId, size: u64) -> Result<()> {
        let Some(tree) = self.chunks.tree(&id, size).await? else {
            self.ready.push_front(Due::Link(Link { cid: id.cid(), len: size, source: Source::Chunk(id, size) }));
            return Ok(());
        };
        let tree = Arc::new(tree);
        let hash = id.digest().hash();
        for step in tree.depth_first().into_iter().rev() {
            let link = match step {
                Step::Node(at) => tree.nodes().get(at).map(|node| Link::of_bytes(node.id.cid(), node.bytes.clone())),
                Step::Leaf(index) => usize::try_from(index).ok().and_then(|at| tree.leaves().get(at)).map(|digest| {
                    debug_assert_eq!(digest.hash(), hash);
                    let cid = ChunkId::new(ChunkForm::Raw, *digest).cid();
                    Link { cid, len: tree.layout().leaf_len(index), source: Source::Leaf(tree.clone(), index) }
                }),
            };
            let link = link.ok_or_else(|| Error::internal(format!("the tree of chunk {id} has no block where its own walk leads")))?;
            self.ready.push_front(Due::Link(link));
        }
        Ok(())
    }
}

impl Cursor {
    /// Gives out the next node and what it links besides nodes; `false` when there is none.
    async fn advance(&mut self, ready: &mut VecDeque<Due>) -> Result<bool> {
        match self {
            Self::Files(nodes) => {
                let Some((id, node)) = nodes.next().await? else { return Ok(false) };
                ready.push_back(Due::Link(Link::of_bytes(id.cid(), node.canonical().into())));
            }
            Self::Manifest(nodes) => {
                let Some((id, node)) = nodes.next().await? else { return Ok(false) };
                ready.push_back(Due::Link(Link::of_bytes(id.cid(), node.canonical().into())));
                if let Node::Leaf(leaf) = &*node {
                    ready.extend(leaf.entries.iter().filter_map(|(_, entry)| match entry {
                        Entry::Chunk { id, size } => Some(Due::Chunk(*id, *size)),
                        Entry::Inline(_) | Entry::Virtual { .. } => None,
                    }));
                }
            }
        }
        Ok(true)
    }
}

/// The nodes of one map, parents before children, loaded ahead.
struct Nodes<V: CachedValue>(map::Walk<'static, V, Objects>);

impl<V: CachedValue> Nodes<V> {
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
