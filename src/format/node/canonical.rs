//! Nodes in strict DAG-CBOR: the form whose hash is a node's id.
//!
//! ```text
//! manifest leaf = [0, [[container, [arg…]]…], [[key, Entry]…]]       the second item: files used here, in order of first use
//! files leaf    = [0, [[file key, VirtualFile]…]]
//! history leaf  = [0, [[time key, &Commit, summary]…]]
//! branch        = [level ≥ 1, [[last key, &child, entries, bytes]…]]
//! ```

use std::collections::HashMap;

use bytes::Bytes;

use super::{Branch, Entry, HistoryEntry, Leaf, Node, NodeChild, Value};
use crate::dagcbor::{Malformed, Reader, Writer};
use crate::error::{Error, Result};
use crate::format::file::{FileKey, MAX_FILE_ARGS, MAX_FILE_KEY, VirtualFile};
use crate::format::limits;
use crate::id::{ChunkId, NodeId, SnapshotId, cid_from_bytes};
use crate::key::MapKey;
use crate::time::Timestamp;

/// How leaves of one kind of value are written and read.
pub(crate) trait LeafCodec: Sized {
    /// Appends what follows the level of a leaf.
    fn write_leaf(leaf: &Leaf<Self>, out: &mut Writer);
    /// Reads what follows the level of a leaf.
    fn read_leaf(input: &mut Reader<'_>) -> Result<Leaf<Self>>;
    /// How many items a leaf has, the level among them.
    const ITEMS: usize;
}

/// The canonical form of a node.
pub(super) fn encode<V: Value>(node: &Node<V>) -> Vec<u8> {
    match node {
        Node::Leaf(leaf) => {
            let mut w = Writer::with_capacity(64 * leaf.entries.len() + 16);
            w.array(V::ITEMS);
            w.uint(0);
            V::write_leaf(leaf, &mut w);
            w.finish()
        }
        Node::Branch(branch) => {
            let mut w = Writer::with_capacity(96 * branch.children.len() + 16);
            w.array(2);
            w.uint(branch.level.into());
            w.array(branch.children.len());
            for child in &branch.children {
                w.array(4);
                w.text(child.last.as_str());
                w.link(&child.id.to_bytes());
                w.uint(child.entries);
                w.uint(child.bytes);
            }
            w.finish()
        }
    }
}

/// Reads a node's shape. What its values must be besides is checked by [`super::check`].
pub(super) fn decode<V: Value>(bytes: &[u8]) -> Result<Node<V>> {
    super::check::length(bytes.len())?;
    let mut r = Reader::new(bytes);
    // Only a leaf of the manifest has three items; whether it is one shows after the level.
    let items = r.array(3, 1)?;
    let at = r.at();
    let level = r.uint()?;
    let level = u8::try_from(level).ok().filter(|level| *level <= limits::LEVEL);
    let level = level.ok_or_else(|| Malformed { at, wrong: format!("a level above {}", limits::LEVEL) })?;
    if items != if level == 0 { V::ITEMS } else { 2 } {
        return Err(Error::corrupt(format!("a {} node of level {level} does not have {items} items", V::KIND)));
    }
    let node = if level == 0 { Node::Leaf(V::read_leaf(&mut r)?) } else { Node::Branch(read_branch(level, &mut r)?) };
    r.end()?;
    Ok(node)
}

fn read_branch(level: u8, r: &mut Reader<'_>) -> Result<Branch> {
    let count = r.array(limits::ROWS, 44)?;
    let mut children = Vec::with_capacity(count);
    for _ in 0..count {
        r.tuple(4)?;
        children.push(NodeChild {
            last: MapKey::new(r.text(MAX_FILE_KEY)?),
            id: NodeId::from_cid(&cid_from_bytes(r.link()?)?)?,
            entries: r.uint()?,
            bytes: r.uint()?,
        });
    }
    Ok(Branch { level, children })
}

/// The files that a leaf's entries point into, in order of first use.
pub(in crate::format) struct FileTable<'a> {
    pub(in crate::format) files: Vec<&'a FileKey>,
    /// For each virtual entry, in order, the place of its file in `files`.
    pub(in crate::format) places: Vec<usize>,
}

impl<'a> FileTable<'a> {
    pub(in crate::format) fn of(used: impl IntoIterator<Item = &'a FileKey>) -> Self {
        let mut table = Self { files: Vec::new(), places: Vec::new() };
        let mut index: HashMap<&FileKey, usize, _> = HashMap::with_hasher(crate::seeded::Seeded::default());
        let mut last: Option<(&FileKey, usize)> = None;
        for file in used {
            // Neighbours mostly share their file.
            let place = match last {
                Some((same, place)) if same == file => place,
                _ => *index.entry(file).or_insert_with(|| {
                    table.files.push(file);
                    table.files.len() - 1
                }),
            };
            last = Some((file, place));
            table.places.push(place);
        }
        table
    }
}

impl LeafCodec for Entry {
    const ITEMS: usize = 3;

    fn write_leaf(leaf: &Leaf<Self>, w: &mut Writer) {
        let table = FileTable::of(leaf.entries.iter().filter_map(|(_, entry)| entry.file()));
        write_files(w, &table);
        let mut places = table.places.iter().copied();
        w.array(leaf.entries.len());
        for (key, entry) in &leaf.entries {
            w.array(2);
            w.text(key.as_str());
            write_entry(w, entry, &mut places);
        }
    }

    fn read_leaf(r: &mut Reader<'_>) -> Result<Leaf<Self>> {
        let count = r.array(limits::MANIFEST_ROWS, 4)?;
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            files.push(read_file(r)?);
        }
        let count = r.array(limits::MANIFEST_ROWS, 4)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            r.tuple(2)?;
            let key = MapKey::new(r.text(crate::key::MAX_KEY)?);
            entries.push((key, read_entry(r, &files)?));
        }
        Ok(Leaf { entries })
    }
}

/// Writes the files that entries point into.
pub(in crate::format) fn write_files(w: &mut Writer, table: &FileTable<'_>) {
    w.array(table.files.len());
    for file in &table.files {
        w.array(2);
        w.text(file.container());
        w.array(file.args().count());
        file.args().for_each(|arg| w.text(arg));
    }
}

/// Writes an entry; a virtual one takes the place of its file from `places`.
pub(in crate::format) fn write_entry(w: &mut Writer, entry: &Entry, places: &mut impl Iterator<Item = usize>) {
    match entry {
        Entry::Inline(bytes) => w.bytes(bytes),
        Entry::Chunk { id, size } => {
            w.array(2);
            w.link(&id.to_bytes());
            w.uint(*size);
        }
        Entry::Virtual { offset, length, .. } => {
            w.array(3);
            w.uint(places.next().expect("the table has a place for each virtual entry") as u64);
            w.uint(*offset);
            w.uint(*length);
        }
    }
}

pub(in crate::format) fn read_file(r: &mut Reader<'_>) -> Result<FileKey> {
    r.tuple(2)?;
    let at = r.at();
    let container = r.text(MAX_FILE_KEY)?;
    let count = r.array(MAX_FILE_ARGS, 1)?;
    let args = (0..count).map(|_| r.text(MAX_FILE_KEY)).collect::<Result<Vec<_>, _>>()?;
    FileKey::new(container, args).map_err(|e| Malformed { at, wrong: e.to_string() }.into())
}

pub(in crate::format) fn read_entry(r: &mut Reader<'_>, files: &[FileKey]) -> Result<Entry> {
    if r.major()? == 2 {
        return Ok(Entry::Inline(Bytes::copy_from_slice(r.bytes(limits::INLINE_METADATA)?)));
    }
    let at = r.at();
    match r.array(3, 1)? {
        2 => Ok(Entry::Chunk { id: ChunkId::from_cid(&cid_from_bytes(r.link()?)?)?, size: r.uint()? }),
        3 => {
            let place = r.uint()?;
            let file = usize::try_from(place).ok().and_then(|place| files.get(place));
            let file = file.ok_or_else(|| Malformed { at, wrong: format!("file {place} of {}", files.len()) })?.clone();
            Ok(Entry::Virtual { file, offset: r.uint()?, length: r.uint()? })
        }
        n => Err(Malformed { at, wrong: format!("an entry of {n} items") }.into()),
    }
}

impl LeafCodec for VirtualFile {
    const ITEMS: usize = 2;

    fn write_leaf(leaf: &Leaf<Self>, w: &mut Writer) {
        w.array(leaf.entries.len());
        for (key, file) in &leaf.entries {
            w.array(2);
            w.text(key.as_str());
            write_virtual_file(w, file);
        }
    }

    fn read_leaf(r: &mut Reader<'_>) -> Result<Leaf<Self>> {
        let count = r.array(limits::ROWS, 12)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            r.tuple(2)?;
            let key = MapKey::new(r.text(MAX_FILE_KEY)?);
            entries.push((key, read_virtual_file(r)?));
        }
        Ok(Leaf { entries })
    }
}

pub(in crate::format) fn write_virtual_file(w: &mut Writer, file: &VirtualFile) {
    w.array(8);
    w.optional(file.size, Writer::uint);
    w.optional(file.modified, |w, time| w.int(time.micros()));
    w.optional(file.etag.as_deref(), Writer::bytes);
    w.optional(file.version.as_deref(), Writer::text);
    w.optional(file.digest.as_deref(), Writer::bytes);
    w.int(file.pinned_at.micros());
    w.uint(file.refs);
    w.uint(file.bytes);
}

pub(in crate::format) fn read_virtual_file(r: &mut Reader<'_>) -> Result<VirtualFile, Malformed> {
    r.tuple(8)?;
    Ok(VirtualFile {
        size: if r.null()? { None } else { Some(r.uint()?) },
        modified: if r.null()? { None } else { Some(Timestamp::from_micros(r.int()?)) },
        etag: if r.null()? { None } else { Some(r.bytes(limits::ETAG)?.to_vec()) },
        version: if r.null()? { None } else { Some(r.text(limits::FILE_VERSION)?.to_owned()) },
        digest: if r.null()? { None } else { Some(r.bytes(limits::FILE_DIGEST)?.to_vec()) },
        pinned_at: Timestamp::from_micros(r.int()?),
        refs: r.uint()?,
        bytes: r.uint()?,
    })
}

impl LeafCodec for HistoryEntry {
    const ITEMS: usize = 2;

    fn write_leaf(leaf: &Leaf<Self>, w: &mut Writer) {
        w.array(leaf.entries.len());
        for (key, entry) in &leaf.entries {
            w.array(3);
            w.text(key.as_str());
            w.link(&entry.id.to_bytes());
            w.text(&entry.summary);
        }
    }

    fn read_leaf(r: &mut Reader<'_>) -> Result<Leaf<Self>> {
        let count = r.array(limits::ROWS, 44)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            r.tuple(3)?;
            let key = MapKey::new(r.text(limits::SUMMARY)?);
            let id = SnapshotId::from_cid(&cid_from_bytes(r.link()?)?)?;
            entries.push((key, Self { id, summary: r.text(limits::SUMMARY)?.to_owned() }));
        }
        Ok(Leaf { entries })
    }
}
