//! Nodes at rest: columns in one frame, digests beside it.

use std::collections::HashSet;

use bytes::Bytes;

use super::{Branch, Entry, HistoryEntry, Leaf, Node, NodeChild, Value};
use crate::error::{Error, Result};
use crate::format::column::{ColumnReader, ColumnWriter, Misfit, Slices, misfit, sum, unzigzag, zigzag};
use crate::format::envelope::{self, DIGEST, Kind};
use crate::format::file::FileKey;
use crate::format::{limits, strings};
use crate::id::{ChunkForm, ChunkId, Digest, HashAlgorithm, NodeId, SnapshotId};
use crate::key::MapKey;

/// The digests beside a frame, in the order of the rows that have one.
pub(crate) struct Digests<'a> {
    rest: std::slice::Iter<'a, [u8; DIGEST]>,
    hash: HashAlgorithm,
}

impl<'a> Digests<'a> {
    fn new(digests: &'a [[u8; DIGEST]], hash: HashAlgorithm) -> Self {
        Self { rest: digests.iter(), hash }
    }

    fn next(&mut self) -> Result<Digest, Misfit> {
        let bytes = self.rest.next().ok_or_else(|| Misfit("it has too few digests".to_owned()))?;
        Ok(Digest::new(self.hash, *bytes))
    }

    fn end(&self) -> Result<(), Misfit> {
        match self.rest.len() {
            0 => Ok(()),
            left => misfit(format!("{left} digests belong to no row")),
        }
    }
}

/// How the columns of one kind of value are written and read.
pub(crate) trait ColumnCodec: Sized {
    /// The columns of a leaf, without its keys and digests.
    type Columns<'a>;
    /// Writes the columns of a leaf, digests last.
    fn write_columns(leaf: &Leaf<Self>, out: &mut ColumnWriter);
    /// Reads the columns of `count` rows, up to the digests.
    fn read_columns<'a>(input: &mut ColumnReader<'a>, count: usize) -> Result<Self::Columns<'a>, Misfit>;
    /// Puts the leaf together; the columns have as many rows as there are keys.
    fn rows(columns: Self::Columns<'_>, keys: Vec<MapKey>, digests: &mut Digests<'_>) -> Result<Leaf<Self>, Misfit>;
}

/// The node's object.
pub(super) fn encode<V: Value>(node: &Node<V>) -> Vec<u8> {
    let mut out = ColumnWriter::default();
    out.bytes(&[node.level()]);
    match node {
        Node::Leaf(leaf) => {
            out.number(leaf.entries.len() as u64);
            strings::write(&mut out, leaf.entries.iter().map(|(key, _)| key.as_str()));
            V::write_columns(leaf, &mut out);
        }
        Node::Branch(branch) => {
            out.number(branch.children.len() as u64);
            strings::write(&mut out, branch.children.iter().map(|child| child.last.as_str()));
            out.column(&branch.children.iter().map(|child| child.entries).collect::<Vec<_>>());
            out.column(&branch.children.iter().map(|child| child.bytes).collect::<Vec<_>>());
            for child in &branch.children {
                out.beside(child.id.digest().as_bytes());
            }
        }
    }
    let (frame, beside) = out.finish();
    envelope::seal(Kind::Node(V::KIND), &beside, &frame)
}

/// Reads an object without looking at its id.
pub(super) fn decode<V: Value>(bytes: &[u8], hash: HashAlgorithm) -> Result<Node<V>> {
    let opened = envelope::open(Kind::Node(V::KIND), bytes)?;
    read(&mut ColumnReader::new(&opened.body, opened.beside), hash).map_err(|e| Error::corrupt(e.0))
}

fn read<V: Value>(input: &mut ColumnReader<'_>, hash: HashAlgorithm) -> Result<Node<V>, Misfit> {
    let level = input.byte("levels")?;
    let count = input.count(super::check::most_rows::<V>(level == 0), "rows")?;
    let mut keys = Vec::with_capacity(count);
    strings::read(input, count, "keys", |key| {
        keys.push(MapKey::new(key));
        Ok(())
    })?;
    if level > 0 {
        let (entries, sizes) = (input.column(count, "entries")?, input.column(count, "bytes")?);
        let mut digests = digests(input, hash)?;
        let children = children(keys, entries, sizes, &mut digests)?;
        digests.end()?;
        return Ok(Node::Branch(Branch { level, children }));
    }
    let columns = V::read_columns(input, count)?;
    let mut digests = digests(input, hash)?;
    let leaf = V::rows(columns, keys, &mut digests)?;
    digests.end()?;
    Ok(Node::Leaf(leaf))
}

/// The digests, which are the last of a node.
fn digests<'a>(input: &mut ColumnReader<'a>, hash: HashAlgorithm) -> Result<Digests<'a>, Misfit> {
    let (digests, rest) = input.rest_beside().as_chunks();
    input.end()?;
    if rest.is_empty() { Ok(Digests::new(digests, hash)) } else { misfit(format!("a digest has {} bytes", rest.len())) }
}

/// The children of a branch, row by row.
fn children(keys: Vec<MapKey>, entries: Vec<u64>, sizes: Vec<u64>, digests: &mut Digests<'_>) -> Result<Vec<NodeChild>, Misfit> {
    let rows = keys.into_iter().zip(entries).zip(sizes);
    rows.map(|((last, entries), bytes)| Ok(NodeChild { last, id: NodeId::from_digest(digests.next()?), entries, bytes })).collect()
}

const INLINE: u64 = 0;
const RAW: u64 = 1;
const DAG_PB: u64 = 2;
const VIRTUAL: u64 = 3;

/// The columns of a leaf of the manifest.
#[derive(Default)]
pub(crate) struct ManifestColumns<'a> {
    /// For each row: 0 inline, 1 raw chunk, 2 dag-pb chunk, 3 virtual.
    kinds: Vec<u64>,
    /// For each row: the length of the inline value, of the chunk or of the range.
    sizes: Vec<u64>,
    /// The inline values end to end.
    inline: &'a [u8],
    /// For each virtual row: the place of its file in `files`.
    places: Vec<u64>,
    /// For each virtual row: its offset minus the end of the row before it in the same file (0 for the first), zigzag.
    gaps: Vec<u64>,
    /// The files in the order of first use.
    files: Vec<FileKey>,
}

impl ColumnCodec for Entry {
    type Columns<'a> = ManifestColumns<'a>;

    fn write_columns(leaf: &Leaf<Self>, out: &mut ColumnWriter) {
        let table = super::canonical::FileTable::of(leaf.entries.iter().filter_map(|(_, entry)| entry.file()));
        let mut columns = ManifestColumns::default();
        let (mut inline, mut digests) = (Vec::new(), Vec::new());
        let mut ends = vec![0u64; table.files.len()];
        let mut places = table.places.iter();
        let mut last_place = 0;
        for (_, entry) in &leaf.entries {
            columns.kinds.push(match entry {
                Self::Inline(bytes) => {
                    inline.extend_from_slice(bytes);
                    INLINE
                }
                Self::Chunk { id, .. } => {
                    digests.extend_from_slice(id.digest().as_bytes());
                    if id.form() == ChunkForm::Raw { RAW } else { DAG_PB }
                }
                Self::Virtual { offset, length, .. } => {
                    let place = *places.next().expect("the table has a place for each virtual entry");
                    let end = ends.get_mut(place).expect("the table has every file");
                    columns.gaps.push(zigzag(offset.wrapping_sub(*end).cast_signed()));
                    *end = offset.wrapping_add(*length);
                    columns.places.push(zigzag((place as u64).wrapping_sub(last_place).cast_signed()));
                    last_place = place as u64;
                    VIRTUAL
                }
            });
            columns.sizes.push(entry.size());
        }
        out.column(&columns.kinds);
        out.column(&columns.sizes);
        out.bytes(&inline);
        out.column(&columns.places);
        out.column(&columns.gaps);
        out.number(table.files.len() as u64);
        strings::write(out, table.files.iter().map(|file| file.as_map_key().as_str()));
        out.beside(&digests);
    }

    fn read_columns<'a>(input: &mut ColumnReader<'a>, count: usize) -> Result<ManifestColumns<'a>, Misfit> {
        let (kinds, sizes) = (input.column(count, "kinds")?, input.column(count, "sizes")?);
        let lengths = kinds.iter().zip(&sizes).filter(|(kind, _)| **kind == INLINE).map(|(_, size)| *size);
        let inline = input.bytes(sum(lengths), "inline values")?;
        let virtuals = kinds.iter().filter(|kind| **kind == VIRTUAL).count();
        let (mut places, gaps) = (input.column(virtuals, "places")?, input.column(virtuals, "gaps")?);
        let mut last = 0;
        for place in &mut places {
            last = unzigzag(*place).cast_unsigned().wrapping_add(last);
            *place = last;
        }
        let file_count = input.count(limits::MANIFEST_ROWS, "files")?;
        let mut files = Vec::new();
        strings::read(input, file_count, "files", |text| push_file(&mut files, text))?;
        Ok(ManifestColumns { kinds, sizes, inline, places, gaps, files })
    }

    fn rows(columns: ManifestColumns<'_>, keys: Vec<MapKey>, digests: &mut Digests<'_>) -> Result<Leaf<Self>, Misfit> {
        if columns.inline.len() >= limits::NODE {
            return misfit(format!("its inline values have {} bytes, as many as no node has", columns.inline.len()));
        }
        check_files(&columns.files, &columns.places)?;
        let mut files: Vec<_> = columns.files.into_iter().map(|file| (file, 0_u64)).collect();
        let mut ranges = columns.places.into_iter().zip(columns.gaps);
        let mut inline = Slices(columns.inline);
        let mut entries = Vec::with_capacity(keys.len());
        for ((key, kind), size) in keys.into_iter().zip(columns.kinds).zip(columns.sizes) {
            let chunk = |form, digest| Self::Chunk { id: ChunkId::new(form, digest), size };
            let entry = match kind {
                INLINE => Self::Inline(Bytes::copy_from_slice(inline.take(size, "inline values")?)),
                RAW => chunk(ChunkForm::Raw, digests.next()?),
                DAG_PB => chunk(ChunkForm::UnixFs, digests.next()?),
                VIRTUAL => {
                    let (place, gap) = ranges.next().ok_or_else(|| Misfit("it has too few ranges".to_owned()))?;
                    let file = usize::try_from(place).ok().and_then(|place| files.get_mut(place));
                    let (file, end) = file.ok_or_else(|| Misfit(format!("a range lies in file {place}, which is not listed")))?;
                    let offset = end.wrapping_add(unzigzag(gap).cast_unsigned());
                    *end = offset.wrapping_add(size);
                    Self::Virtual { file: file.clone(), offset, length: size }
                }
                other => return misfit(format!("an entry is of unknown kind {other}")),
            };
            entries.push((key, entry));
        }
        inline.end("inline values")?;
        Ok(Leaf { entries })
    }
}

/// Refuses a table of files that is not in the order of first use, names a file twice, or one that no range lies in.
fn check_files(files: &[FileKey], places: &[u64]) -> Result<(), Misfit> {
    let mut used = 0;
    for place in places {
        if *place > used {
            return misfit(format!("a range lies in file {place}, and none before it in file {used}"));
        }
        used += u64::from(*place == used);
    }
    if used < files.len() as u64 {
        return misfit(format!("it lists {} files, and {used} are in use", files.len()));
    }
    let mut listed = HashSet::with_capacity_and_hasher(files.len(), crate::seeded::Seeded::default());
    match files.iter().find(|file| !listed.insert(*file)) {
        Some(file) => misfit(format!("it lists file {file} twice")),
        None => Ok(()),
    }
}

/// Adds a file as a leaf of the manifest lists it.
fn push_file(files: &mut Vec<FileKey>, text: &str) -> Result<(), Misfit> {
    files.push(FileKey::from_map_key(&MapKey::new(text)).map_err(|e| Misfit(e.to_string()))?);
    Ok(())
}

/// The columns of a leaf of a history: lengths of summaries, and these end to end.
pub(crate) struct HistoryColumns<'a> {
    lengths: Vec<u64>,
    summaries: &'a [u8],
}

impl ColumnCodec for HistoryEntry {
    type Columns<'a> = HistoryColumns<'a>;

    fn write_columns(leaf: &Leaf<Self>, out: &mut ColumnWriter) {
        out.column(&leaf.entries.iter().map(|(_, entry)| entry.summary.len() as u64).collect::<Vec<_>>());
        for (_, entry) in &leaf.entries {
            out.bytes(entry.summary.as_bytes());
            out.beside(entry.id.digest().as_bytes());
        }
    }

    fn read_columns<'a>(input: &mut ColumnReader<'a>, count: usize) -> Result<HistoryColumns<'a>, Misfit> {
        let lengths = input.column(count, "lengths of summaries")?;
        let summaries = input.bytes(sum(lengths.iter().copied()), "summaries")?;
        Ok(HistoryColumns { lengths, summaries })
    }

    fn rows(columns: HistoryColumns<'_>, keys: Vec<MapKey>, digests: &mut Digests<'_>) -> Result<Leaf<Self>, Misfit> {
        let mut summaries = Slices(columns.summaries);
        let mut entries = Vec::with_capacity(keys.len());
        for (key, length) in keys.into_iter().zip(columns.lengths) {
            let summary = std::str::from_utf8(summaries.take(length, "summaries")?);
            let summary = summary.map_err(|_| Misfit("a summary is not UTF-8".to_owned()))?.to_owned();
            entries.push((key, Self { id: SnapshotId::from_digest(digests.next()?), summary }));
        }
        summaries.end("summaries")?;
        Ok(Leaf { entries })
    }
}
