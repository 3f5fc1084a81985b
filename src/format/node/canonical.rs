//! Nodes in strict DAG-CBOR: the form whose hash is a node's id.
//!
//! ```text
//! manifest leaf = [0, [[container, [arg…]]…], [[key, Entry]…]]       the second item: files used here, in order of first use
//! files leaf    = [0, [[file key, VirtualFile]…]]
//! history leaf  = [0, [[time key, &Commit, summary]…]]
//! branch        = [level ≥ 1, [[last key, &child, entries, bytes]…]]
//! ```

use std::collections::HashMap;

use serde::ser::{Serialize, Serializer};
use serde_bytes::Bytes as CborBytes;

use super::{Branch, Entry, HistoryEntry, Leaf};
use crate::dagcbor;
use crate::format::file::{FileKey, VirtualFile};
use crate::key::MapKey;

/// How leaves of one kind of value are written.
pub(crate) trait LeafCodec: Sized {
    /// The canonical form of a leaf.
    fn encode_leaf(leaf: &Leaf<Self>) -> Vec<u8>;
}

/// The canonical form of a branch.
pub(super) fn encode_branch(branch: &Branch) -> Vec<u8> {
    let rows: Vec<_> = branch.children.iter().map(|c| (c.last.as_str(), c.id.cid(), c.entries, c.bytes)).collect();
    dagcbor::encode(&(branch.level, rows))
}

/// An entry of the manifest, with the file of a virtual one replaced by its place in the leaf's table.
enum Row<'a> {
    Inline(&'a [u8]),
    Chunk(cid::Cid, u64),
    Virtual(usize, u64, u64),
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Inline(bytes) => serializer.serialize_bytes(bytes),
            Self::Chunk(cid, size) => (cid, size).serialize(serializer),
            Self::Virtual(index, offset, length) => (index, offset, length).serialize(serializer),
        }
    }
}

/// The files that a leaf's entries point into, in order of first use.
pub(super) struct FileTable<'a> {
    pub(super) files: Vec<&'a FileKey>,
    index: HashMap<&'a FileKey, usize>,
}

impl<'a> FileTable<'a> {
    pub(super) fn of(entries: &'a [(MapKey, Entry)]) -> Self {
        let mut table = Self { files: Vec::new(), index: HashMap::new() };
        for (_, entry) in entries {
            if let Entry::Virtual { file, .. } = entry {
                table.index.entry(file).or_insert_with(|| {
                    table.files.push(file);
                    table.files.len() - 1
                });
            }
        }
        table
    }

    pub(super) fn index_of(&self, file: &FileKey) -> usize {
        *self.index.get(file).expect("the table was made of the same entries")
    }
}

impl LeafCodec for Entry {
    fn encode_leaf(leaf: &Leaf<Self>) -> Vec<u8> {
        let table = FileTable::of(&leaf.entries);
        let files: Vec<_> = table.files.iter().map(|f| (f.container(), f.args().collect::<Vec<_>>())).collect();
        let rows: Vec<_> = leaf
            .entries
            .iter()
            .map(|(key, entry)| {
                let row = match entry {
                    Entry::Inline(bytes) => Row::Inline(bytes),
                    Entry::Chunk { id, size } => Row::Chunk(id.cid(), *size),
                    Entry::Virtual { file, offset, length } => Row::Virtual(table.index_of(file), *offset, *length),
                };
                (key.as_str(), row)
            })
            .collect();
        dagcbor::encode(&(0, files, rows))
    }
}

impl LeafCodec for VirtualFile {
    fn encode_leaf(leaf: &Leaf<Self>) -> Vec<u8> {
        let rows: Vec<_> = leaf
            .entries
            .iter()
            .map(|(key, f)| {
                let etag = f.etag.as_deref().map(CborBytes::new);
                let digest = f.digest.as_deref().map(CborBytes::new);
                let modified = f.modified.map(|t| t.micros());
                (key.as_str(), (f.size, modified, etag, f.version.as_deref(), digest, f.pinned_at.micros(), f.refs, f.bytes))
            })
            .collect();
        dagcbor::encode(&(0, rows))
    }
}

impl LeafCodec for HistoryEntry {
    fn encode_leaf(leaf: &Leaf<Self>) -> Vec<u8> {
        let rows: Vec<_> = leaf.entries.iter().map(|(key, h)| (key.as_str(), h.id.cid(), h.summary.as_str())).collect();
        dagcbor::encode(&(0, rows))
    }
}
