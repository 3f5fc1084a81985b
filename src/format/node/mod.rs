//! A node of a Merkle map: a leaf of entries, or a branch over children.

mod at_rest;
mod at_rest_files;
mod canonical;
mod check;

use std::fmt;

use bytes::Bytes;

use super::file::{FileKey, VirtualFile};
use super::limits;
use crate::error::{Error, Result};
use crate::id::{ChunkId, HashAlgorithm, MapKind, NodeId, SnapshotId};
use crate::key::MapKey;
use crate::time::Timestamp;

pub(in crate::format) use canonical::{FileTable, read_entry, read_file, read_virtual_file, write_entry, write_files, write_virtual_file};
pub(in crate::format) use check::{CheckEntry, same_hash};

/// What is stored under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The value itself: at most 1 KiB, or 4 KiB for Zarr metadata.
    Inline(Bytes),
    /// A chunk in this repository.
    Chunk {
        /// Its id.
        id: ChunkId,
        /// Its length in bytes.
        size: u64,
    },
    /// A virtual value: a byte range of an external file.
    Virtual {
        /// The file.
        file: FileKey,
        /// Where the range begins, in bytes.
        offset: u64,
        /// How long it is, in bytes.
        length: u64,
    },
}

impl Entry {
    /// The external file of a virtual value; `None` for a native one.
    pub fn file(&self) -> Option<&FileKey> {
        match self {
            Self::Virtual { file, .. } => Some(file),
            Self::Inline(_) | Self::Chunk { .. } => None,
        }
    }

    /// The length of the value, in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Chunk { size, .. } => *size,
            Self::Virtual { length, .. } => *length,
        }
    }

    /// How long the value of `key` may be, in bytes, to be stored inline; a longer one is a stored chunk. Nothing else decides
    /// it, so equal content has equal entries.
    pub fn inline_limit(key: &str) -> usize {
        let last = key.rsplit_once('/').map_or(key, |(_, last)| last);
        if matches!(last, "zarr.json" | ".zarray" | ".zattrs" | ".zgroup") { limits::INLINE_METADATA } else { limits::INLINE }
    }
}

/// A commit as the history map lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The commit.
    pub id: SnapshotId,
    /// The first line of its message, at most 72 bytes.
    pub summary: String,
}

/// The key of a commit in the history maps of its descendants: decimal microseconds.
pub(crate) fn history_key(time: Timestamp) -> MapKey {
    MapKey::new(time.micros().to_string())
}

/// The time in a key of a history map.
pub(crate) fn parse_history_key(key: &MapKey) -> Result<Timestamp> {
    let micros = key.as_str().parse().map_err(|e| Error::corrupt(format!("history key {key:?} is not a time")).caused_by(e))?;
    Ok(Timestamp::from_micros(micros))
}

/// A value that a map can hold: what the cut rule and the sums need to know of it, and how leaves of it are written.
pub(crate) trait Value:
    canonical::LeafCodec + at_rest::ColumnCodec + check::CheckEntry + Clone + PartialEq + fmt::Debug + Send + Sync + Sized + 'static
{
    /// The map that holds such values.
    const KIND: MapKind;
    /// The weight of an entry in the cut rule.
    fn weight(&self) -> u64;
    /// The length of the text inside the value (inline bytes, summary), which bounds a node's size.
    fn text_len(&self) -> usize;
    /// What the entry adds to the `bytes` of the branches above it.
    fn size(&self) -> u64;
    /// The external file that the entry points into.
    fn file(&self) -> Option<&FileKey>;
}

impl Value for Entry {
    const KIND: MapKind = MapKind::Manifest;

    fn weight(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64 + 8,
            Self::Chunk { .. } => 40,
            Self::Virtual { .. } => 8,
        }
    }

    fn text_len(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::Chunk { .. } | Self::Virtual { .. } => 0,
        }
    }

    fn size(&self) -> u64 {
        // The method of the same name above.
        Entry::size(self)
    }

    fn file(&self) -> Option<&FileKey> {
        Entry::file(self)
    }
}

impl Value for VirtualFile {
    const KIND: MapKind = MapKind::Files;

    fn weight(&self) -> u64 {
        40
    }

    fn text_len(&self) -> usize {
        0
    }

    fn size(&self) -> u64 {
        0
    }

    fn file(&self) -> Option<&FileKey> {
        None
    }
}

impl Value for HistoryEntry {
    const KIND: MapKind = MapKind::History;

    fn weight(&self) -> u64 {
        40 + self.summary.len() as u64
    }

    fn text_len(&self) -> usize {
        self.summary.len()
    }

    fn size(&self) -> u64 {
        0
    }

    fn file(&self) -> Option<&FileKey> {
        None
    }
}

/// Entries in the order of their keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Leaf<V> {
    /// The entries; empty only in the root of an empty map.
    pub entries: Vec<(MapKey, V)>,
}

/// One child of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeChild {
    /// The last key below the child.
    pub last: MapKey,
    /// The child.
    pub id: NodeId,
    /// How many entries lie below it.
    pub entries: u64,
    /// The sum of their sizes, in bytes.
    pub bytes: u64,
}

/// Children in the order of their last keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Branch {
    /// The height above the leaves: 1 or more, one more than that of every child.
    pub level: u8,
    /// The children, at least one.
    pub children: Vec<NodeChild>,
}

/// A node of a map of `V`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node<V> {
    /// Level 0.
    Leaf(Leaf<V>),
    /// Every level above.
    Branch(Branch),
}

impl<V: Value> Node<V> {
    /// The node's canonical form; its hash is the node's id.
    pub(crate) fn canonical(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads a canonical form; `hash` is that of the repository.
    ///
    /// Bytes that are no canonical node of this kind, or one that no writer makes, are `Corrupt`; ids of another hash are
    /// `Unsupported`. Whether the node is cut where it must be shows only in its map.
    pub(crate) fn decode_canonical(bytes: &[u8], hash: HashAlgorithm) -> Result<Self> {
        let name = |e: Error| e.context(format_args!("{} node", V::KIND));
        let node = canonical::decode(bytes).map_err(name)?;
        check::node(&node, hash).map_err(name)?;
        // What the reader lets through (the order of the file table, files that nothing uses) shows here.
        if node.canonical() == bytes { Ok(node) } else { Err(name(Error::corrupt("it is not in canonical form"))) }
    }

    /// The node's object, as it is stored under its id.
    pub(crate) fn encode_at_rest(&self) -> Vec<u8> {
        at_rest::encode(self)
    }

    /// Reads an object that was found under the name `expected` and checks that its content has that id.
    ///
    /// `Corrupt`, showing both ids, when it has another; `Unsupported` when a newer version wrote it.
    pub(crate) fn decode_verified(bytes: &[u8], expected: NodeId) -> Result<Self> {
        let hash = expected.digest().hash();
        let name = |e: Error| e.context(format_args!("{} node {expected}", V::KIND));
        let node = at_rest::decode(bytes, hash).map_err(name)?;
        let canonical = node.canonical();
        let found = NodeId::of(hash, &canonical);
        if found != expected {
            return Err(name(Error::corrupt(format!("its content has the id {found}"))));
        }
        check::length(canonical.len()).map_err(name)?;
        check::node(&node, hash).map_err(name)?;
        Ok(node)
    }

    /// The node's id.
    pub(crate) fn id(&self, hash: HashAlgorithm) -> NodeId {
        NodeId::of(hash, &self.canonical())
    }

    /// The height above the leaves.
    pub(crate) const fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Branch(branch) => branch.level,
        }
    }

    /// The last key below, unless the node is the root of an empty map.
    pub(crate) fn last_key(&self) -> Option<&MapKey> {
        match self {
            Self::Leaf(leaf) => leaf.entries.last().map(|(key, _)| key),
            Self::Branch(branch) => branch.children.last().map(|child| &child.last),
        }
    }
}
