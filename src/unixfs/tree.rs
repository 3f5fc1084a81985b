//! The whole tree of a file: built from the digests of its leaves, or read and checked against its root.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::id::{ChunkForm, ChunkId, Digest, HashAlgorithm};

use super::file::{decode, encode};
use super::layout::Layout;

/// An interior node and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreeNode {
    /// The id of `bytes`.
    pub id: ChunkId,
    /// The dag-pb block.
    pub bytes: Bytes,
}

/// The interior nodes of a file above 1 MiB and the digests of its leaves. Every digest in it is right: a tree is
/// either computed or checked from the root down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    layout: Layout,
    leaves: Vec<Digest>,
    nodes: Vec<TreeNode>,
}

/// A block of a file, as a walk in depth-first order meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TreeStep {
    /// An interior node: its place in [`Tree::nodes`].
    Node(usize),
    /// A leaf: its index in the file.
    Leaf(u64),
}

impl Tree {
    /// Builds the tree over leaves with these digests; `Invalid` when a file of `size` bytes has another number of them.
    pub(crate) fn of(hash: HashAlgorithm, size: u64, leaves: Vec<Digest>) -> Result<Self> {
        let layout = Layout::of(size)?;
        if leaves.len() as u64 != layout.leaves() {
            return Err(Error::invalid(format!("a file of {size} bytes has {} leaves, not {}", layout.leaves(), leaves.len())));
        }
        let mut nodes = Vec::new();
        let mut below = leaves.clone();
        for level in layout.levels() {
            let mut rest = below.as_slice();
            let mut digests = Vec::new();
            for index in 0..level.count {
                let shape = level.shape(index);
                let children;
                (children, rest) = rest.split_at(usize::try_from(shape.children()).expect("at most 1,024").min(rest.len()));
                let bytes = encode(shape, children);
                let digest = hash.digest(&bytes);
                digests.push(digest);
                nodes.push(TreeNode { id: ChunkId::new(ChunkForm::UnixFs, digest), bytes: bytes.into() });
            }
            below = digests;
        }
        Ok(Self { layout, leaves, nodes })
    }

    /// Reads the nodes of a file from `interior`, which holds them level by level with the root last, and checks each
    /// against its parent's link up to `root`. Differing digests or a wrong length are `Corrupt`; nodes that hash right but are of
    /// another profile are `Unsupported`.
    pub(crate) fn read(root: &ChunkId, size: u64, interior: &Bytes) -> Result<Self> {
        let layout = Layout::of(size)?;
        if interior.len() as u64 != layout.interior_len() {
            return Err(Error::corrupt(format!("its interior nodes have {} bytes, not {}", interior.len(), layout.interior_len())));
        }
        let hash = root.digest().hash();
        let mut levels = Vec::new();
        let mut wanted = vec![*root.digest()];
        for level in layout.levels().iter().rev() {
            let (mut nodes, mut children) = (Vec::new(), Vec::new());
            for (index, want) in (0..level.count).zip(wanted) {
                let bytes = interior.slice(range(level.start(index), level.shape(index).encoded_len())?);
                let id = ChunkId::new(ChunkForm::UnixFs, hash.digest(&bytes));
                if *id.digest() != want {
                    let want = ChunkId::new(ChunkForm::UnixFs, want);
                    return Err(Error::corrupt(format!("its interior node {want} has bytes that hash to {id}")));
                }
                children.extend(decode(level.shape(index), hash, &bytes)?);
                nodes.push(TreeNode { id, bytes });
            }
            levels.push(nodes);
            wanted = children;
        }
        Ok(Self { layout, leaves: wanted, nodes: levels.into_iter().rev().flatten().collect() })
    }

    /// The id of the file.
    pub(crate) fn root(&self) -> ChunkId {
        self.nodes.last().expect("a tree has a root").id
    }

    /// Where everything lies.
    pub(crate) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The digests of the leaves, in order.
    pub(crate) fn leaves(&self) -> &[Digest] {
        &self.leaves
    }

    /// The interior nodes: level by level, those over the leaves first, the root last.
    pub(crate) fn nodes(&self) -> &[TreeNode] {
        &self.nodes
    }

    /// All blocks in depth-first order, the root first: the order of a CAR file. The same content in two places of the file
    /// appears twice.
    pub(crate) fn depth_first(&self) -> Vec<TreeStep> {
        let mut steps = Vec::with_capacity(self.leaves.len() + self.nodes.len());
        let first: Vec<u64> = self
            .layout
            .levels()
            .iter()
            .scan(0, |at, level| {
                *at += level.count;
                Some(*at - level.count)
            })
            .collect();
        // Children of one node lie next to each other and heights are few, so a stack of (height, index) is enough.
        let mut stack = vec![(self.layout.levels().len(), 0)];
        while let Some((height, index)) = stack.pop() {
            let Some(level) = height.checked_sub(1).and_then(|h| self.layout.levels().get(h)) else {
                steps.push(TreeStep::Leaf(index));
                continue;
            };
            let before = first.get(height - 1).copied().unwrap_or_default();
            steps.push(TreeStep::Node(usize::try_from(before + index).expect("the nodes are in memory")));
            let children = index * super::layout::WIDTH..index * super::layout::WIDTH + level.shape(index).children();
            stack.extend(children.rev().map(|child| (height - 1, child)));
        }
        steps
    }
}

fn range(start: u64, len: u64) -> Result<std::ops::Range<usize>> {
    let too_large = |_| Error::unsupported("the file does not fit into this machine's memory");
    Ok(usize::try_from(start).map_err(too_large)?..usize::try_from(start + len).map_err(too_large)?)
}
