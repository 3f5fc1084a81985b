//! Where everything lies: a pure function of the size.

use crate::error::{Error, Result};
use crate::varint;

/// Length of every leaf but the last, in bytes.
pub(crate) const LEAF: u64 = 1 << 20;
/// The most children of a node.
pub(crate) const WIDTH: u64 = 1024;
/// The largest file that is laid out, in bytes: keeps every sum far from overflow.
pub(crate) const MAX_SIZE: u64 = 1 << 48;

/// Length of a binary CID in a link, in bytes.
const CID: u64 = crate::id::BINARY_CID as u64;

/// How many bytes a full subtree of this height covers; a leaf has height 0.
const fn span(height: u32) -> u64 {
    LEAF.saturating_mul(WIDTH.saturating_pow(height))
}

/// What is known of a node before any digest is: its height and how many bytes of the file lie below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileShape {
    /// 0 for a leaf, 1 for a node over leaves.
    pub height: u32,
    /// Bytes of the file below, at least 1.
    pub size: u64,
}

impl FileShape {
    /// How many children a node has.
    pub(crate) const fn children(self) -> u64 {
        if self.height == 0 { 0 } else { self.size.div_ceil(span(self.height - 1)) }
    }

    /// The shape of the first child, which all others but the last share, and of the last.
    pub(crate) const fn ends(self) -> (Self, Self) {
        let height = self.height.saturating_sub(1);
        let full = span(height);
        let before = (self.children().saturating_sub(1)) * full;
        let last = Self { height, size: self.size - before };
        if before == 0 { (last, last) } else { (Self { height, size: full }, last) }
    }

    /// The shapes of all children, in order.
    pub(crate) fn each_child(self) -> impl Iterator<Item = Self> {
        let (full, last) = self.ends();
        let count = self.children();
        (1..=count).map(move |i| if i == count { last } else { full })
    }

    /// What a link to it says in `Tsize`: the bytes of all blocks from here down.
    pub(crate) fn total(self) -> u64 {
        if self.height == 0 {
            return self.size;
        }
        let (full, last) = self.ends();
        self.encoded_len() + (self.children() - 1) * full.total() + last.total()
    }

    /// Length of the block, in bytes.
    pub(crate) fn encoded_len(self) -> u64 {
        if self.height == 0 {
            return self.size;
        }
        let (full, last) = self.ends();
        let others = self.children() - 1;
        let field = |body: u64| 1 + varint::len(body) + body;
        let data = self.data_len();
        others * field(full.link_len()) + field(last.link_len()) + field(data)
    }

    /// Length of the body of a link to it.
    pub(crate) fn link_len(self) -> u64 {
        (2 + CID) + 2 + (1 + varint::len(self.total()))
    }

    /// Length of the `UnixFS` message in it.
    pub(crate) fn data_len(self) -> u64 {
        let (full, last) = self.ends();
        let block_size = |child: Self| 1 + varint::len(child.size);
        2 + (1 + varint::len(self.size)) + (self.children() - 1) * block_size(full) + block_size(last)
    }
}

/// The nodes of one height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    /// How many there are.
    pub count: u64,
    /// Where the first lies, in bytes from the beginning of all nodes.
    pub offset: u64,
    full: FileShape,
    last: FileShape,
}

impl Level {
    /// The shape of node `index`.
    pub(crate) const fn shape(&self, index: u64) -> FileShape {
        if index + 1 == self.count { self.last } else { self.full }
    }

    /// Where node `index` begins, in bytes from the beginning of all nodes.
    pub(crate) fn start(&self, index: u64) -> u64 {
        self.offset + index * self.full.encoded_len()
    }

    fn end(&self) -> u64 {
        self.start(self.count - 1) + self.last.encoded_len()
    }
}

/// The nodes of a file of more than one leaf, level by level: those over the leaves first, the root last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    size: u64,
    levels: Vec<Level>,
}

impl Layout {
    /// Lays out a file of `size` bytes; `Unsupported` up to 1 MiB, where there is no tree, and above 2^48.
    pub(crate) fn of(size: u64) -> Result<Self> {
        if !(LEAF + 1..=MAX_SIZE).contains(&size) {
            return Err(Error::unsupported(format!("no tree of profile unixfs-v1-2025 has {size} bytes")));
        }
        let (mut levels, mut offset, mut height) = (Vec::new(), 0, 0);
        while levels.last().is_none_or(|level: &Level| level.count > 1) {
            height += 1;
            let full = span(height);
            let count = size.div_ceil(full);
            let last = FileShape { height, size: size - (count - 1) * full };
            let full = if count == 1 { last } else { FileShape { height, size: full } };
            let level = Level { count, offset, full, last };
            offset = level.end();
            levels.push(level);
        }
        Ok(Self { size, levels })
    }

    /// Length of the file in bytes.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// The levels, nodes over leaves first.
    pub(crate) fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// How many leaves there are.
    pub(crate) const fn leaves(&self) -> u64 {
        self.size.div_ceil(LEAF)
    }

    /// Length of leaf `index` in bytes; the index must exist.
    pub(crate) const fn leaf_len(&self, index: u64) -> u64 {
        if index + 1 == self.leaves() { self.size - index * LEAF } else { LEAF }
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> u64 {
        self.levels.iter().map(|level| level.count).sum()
    }

    /// Length of all nodes together, in bytes.
    pub(crate) fn interior_len(&self) -> u64 {
        self.levels.last().map_or(0, Level::end)
    }

    /// The shape of the root.
    pub(crate) fn root(&self) -> FileShape {
        self.levels.last().expect("a layout has at least one level").last
    }
}
