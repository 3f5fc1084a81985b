//! Nodes as they are stored: columns in a `FlatBuffer`, compressed, digests beside it.

use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::{Branch, Child, Entry, HistoryEntry, Leaf, Node, Value};
use crate::error::{Error, Result};
use crate::format::column::{self, Misfit, Slices, bytes, misfit, unzigzag, zigzag};
use crate::format::envelope::{self, DIGEST, Kind};
use crate::format::file::{FileKey, MAX_FILE_KEY};
use crate::format::generated::node as fb;
use crate::id::{ChunkForm, ChunkId, Digest, HashAlgorithm, NodeId, SnapshotId};
use crate::key::MapKey;

/// The digests beside a frame, in the order of the rows that have one.
pub(crate) struct Digests<'a> {
    rest: std::slice::Iter<'a, [u8; DIGEST]>,
    hash: HashAlgorithm,
}

impl Digests<'_> {
    pub(super) fn next(&mut self) -> Result<Digest, Misfit> {
        let bytes = self.rest.next().ok_or_else(|| Misfit("it has too few digests".to_owned()))?;
        Ok(Digest::new(self.hash, *bytes))
    }
}

/// How the columns of one kind of value are written and read.
pub(crate) trait ColumnCodec: Sized {
    /// Writes the columns of a leaf into a table of `args`, and the digests of its rows beside it.
    fn write_columns<'f>(f: &mut FlatBufferBuilder<'f>, leaf: &Leaf<Self>, digests: &mut Vec<u8>, args: &mut fb::NodeArgs<'f>);
    /// Reads the values of `keys`.
    fn read_columns(node: &fb::Node<'_>, keys: Vec<MapKey>, digests: &mut Digests<'_>) -> Result<Leaf<Self>, Misfit>;
}

/// The node's object.
pub(super) fn encode<V: Value>(node: &Node<V>) -> Vec<u8> {
    let mut f = FlatBufferBuilder::with_capacity(16 << 10);
    let mut digests = Vec::new();
    let mut args = fb::NodeArgs::default();
    let count = match node {
        Node::Leaf(leaf) => {
            args.keys = column::write_strings(&mut f, leaf.entries.iter().map(|(key, _)| key.as_str()));
            V::write_columns(&mut f, leaf, &mut digests, &mut args);
            leaf.entries.len()
        }
        Node::Branch(branch) => {
            args.keys = column::write_strings(&mut f, branch.children.iter().map(|child| child.last.as_str()));
            args.branch = Some(write_branch(&mut f, branch, &mut digests));
            branch.children.len()
        }
    };
    args.count = u32::try_from(count).expect("a node has at most 65,536 rows");
    let root = fb::Node::create(&mut f, &args);
    f.finish(root, None);
    envelope::seal(Kind::Node(V::KIND), &digests, f.finished_data())
}

fn write_branch<'f>(f: &mut FlatBufferBuilder<'f>, branch: &Branch, digests: &mut Vec<u8>) -> WIPOffset<fb::Branch<'f>> {
    digests.extend(branch.children.iter().flat_map(|child| *child.id.digest().as_bytes()));
    let entries: Vec<_> = branch.children.iter().map(|child| child.entries).collect();
    let sizes: Vec<_> = branch.children.iter().map(|child| child.bytes).collect();
    let (entries, sizes) = (column::write(f, &entries), column::write(f, &sizes));
    fb::Branch::create(f, &fb::BranchArgs { level: branch.level, entries, bytes: sizes })
}

/// Reads an object without looking at its id.
pub(super) fn decode<V: Value>(bytes: &[u8], hash: HashAlgorithm) -> Result<Node<V>> {
    let opened = envelope::open(Kind::Node(V::KIND), bytes)?;
    let node = fb::root_as_node(&opened.body).map_err(|e| Error::corrupt("its FlatBuffer is malformed").caused_by(e))?;
    super::check::rows::<V>(node.count() as usize, node.branch().is_none())?;
    let mut digests = Digests { rest: opened.digests.iter(), hash };
    let node = read(&node, &mut digests).map_err(|e| Error::corrupt(e.0))?;
    match digests.rest.len() {
        0 => Ok(node),
        left => Err(Error::corrupt(format!("{left} digests belong to no row"))),
    }
}

fn read<V: Value>(node: &fb::Node<'_>, digests: &mut Digests<'_>) -> Result<Node<V>, Misfit> {
    let count = node.count() as usize;
    let mut keys = Vec::with_capacity(count);
    column::read_strings(node.keys(), count, MAX_FILE_KEY, "keys", |key| {
        keys.push(MapKey::new(key));
        Ok(())
    })?;
    match node.branch() {
        Some(branch) => read_branch(&branch, keys, digests).map(Node::Branch),
        None => V::read_columns(node, keys, digests).map(Node::Leaf),
    }
}

fn read_branch(branch: &fb::Branch<'_>, keys: Vec<MapKey>, digests: &mut Digests<'_>) -> Result<Branch, Misfit> {
    let entries = column::read(branch.entries(), keys.len(), "entries")?;
    let sizes = column::read(branch.bytes(), keys.len(), "bytes")?;
    let mut children = Vec::with_capacity(keys.len());
    for ((last, entries), bytes) in keys.into_iter().zip(entries).zip(sizes) {
        children.push(Child { last, id: NodeId::from_digest(digests.next()?), entries, bytes });
    }
    Ok(Branch { level: branch.level(), children })
}

const INLINE: u8 = 0;
const RAW: u8 = 1;
const DAG_PB: u8 = 2;
const VIRTUAL: u8 = 3;

impl ColumnCodec for Entry {
    fn write_columns<'f>(f: &mut FlatBufferBuilder<'f>, leaf: &Leaf<Self>, digests: &mut Vec<u8>, args: &mut fb::NodeArgs<'f>) {
        let table = super::canonical::FileTable::of(&leaf.entries);
        let rows = leaf.entries.len();
        let (mut kinds, mut sizes, mut inline) = (Vec::with_capacity(rows), Vec::with_capacity(rows), Vec::new());
        let mut gaps = Vec::with_capacity(table.places.len());
        let mut ends = vec![0u64; table.files.len()];
        let mut places = table.places.iter();
        for (_, entry) in &leaf.entries {
            kinds.push(match entry {
                Self::Inline(bytes) => {
                    inline.extend_from_slice(bytes);
                    INLINE
                }
                Self::Chunk { id, .. } => {
                    digests.extend_from_slice(id.digest().as_bytes());
                    if id.form() == ChunkForm::Raw { RAW } else { DAG_PB }
                }
                Self::Virtual { offset, length, .. } => {
                    let end = places.next().and_then(|place| ends.get_mut(*place)).expect("the table has a place for each virtual entry");
                    gaps.push(zigzag(offset.wrapping_sub(*end).cast_signed()));
                    *end = offset.wrapping_add(*length);
                    VIRTUAL
                }
            });
            sizes.push(entry.size());
        }
        let places: Vec<_> = table.places.iter().map(|place| *place as u64).collect();
        let columns = fb::ManifestLeafArgs {
            kinds: column::write_bytes(f, &kinds),
            sizes: column::write(f, &sizes),
            inline: column::write_bytes(f, &inline),
            places: column::write(f, &places),
            gaps: column::write(f, &gaps),
            files: column::write_strings(f, table.files.iter().map(|file| file.as_map_key().as_str())),
            file_count: u32::try_from(table.files.len()).expect("a leaf has no more files than rows"),
        };
        args.manifest = Some(fb::ManifestLeaf::create(f, &columns));
    }

    fn read_columns(node: &fb::Node<'_>, keys: Vec<MapKey>, digests: &mut Digests<'_>) -> Result<Leaf<Self>, Misfit> {
        let leaf = node.manifest().ok_or_else(|| Misfit("it is no leaf of the manifest".to_owned()))?;
        let kinds = bytes(leaf.kinds());
        if kinds.len() != keys.len() {
            return misfit(format!("it has {} kinds for {} keys", kinds.len(), keys.len()));
        }
        let sizes = column::read(leaf.sizes(), keys.len(), "sizes")?;
        let virtuals = kinds.iter().map(|kind| usize::from(*kind == VIRTUAL)).sum();
        let places = column::read(leaf.places(), virtuals, "places")?;
        let gaps = column::read(leaf.gaps(), virtuals, "gaps")?;
        let mut files = read_files(&leaf)?;
        let mut ranges = places.into_iter().zip(gaps);
        let mut inline = Slices::new(bytes(leaf.inline()));
        let mut entries = Vec::with_capacity(keys.len());
        for ((key, kind), size) in keys.into_iter().zip(kinds).zip(sizes) {
            let chunk = |form, digest| Self::Chunk { id: ChunkId::new(form, digest), size };
            let entry = match *kind {
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

/// The files of a leaf, each with the end of the last range read in it.
fn read_files(leaf: &fb::ManifestLeaf<'_>) -> Result<Vec<(FileKey, u64)>, Misfit> {
    let mut files = Vec::new();
    column::read_strings(leaf.files(), leaf.file_count() as usize, MAX_FILE_KEY, "files", |text| {
        let file = FileKey::from_map_key(&MapKey::new(text)).map_err(|e| Misfit(e.to_string()))?;
        files.push((file, 0));
        Ok(())
    })?;
    Ok(files)
}

impl ColumnCodec for HistoryEntry {
    fn write_columns<'f>(f: &mut FlatBufferBuilder<'f>, leaf: &Leaf<Self>, digests: &mut Vec<u8>, args: &mut fb::NodeArgs<'f>) {
        digests.extend(leaf.entries.iter().flat_map(|(_, entry)| *entry.id.digest().as_bytes()));
        let lengths: Vec<_> = leaf.entries.iter().map(|(_, entry)| entry.summary.len() as u64).collect();
        let summaries: Vec<_> = leaf.entries.iter().flat_map(|(_, entry)| entry.summary.bytes()).collect();
        let columns = fb::HistoryLeafArgs { summary_lengths: column::write(f, &lengths), summaries: column::write_bytes(f, &summaries) };
        args.history = Some(fb::HistoryLeaf::create(f, &columns));
    }

    fn read_columns(node: &fb::Node<'_>, keys: Vec<MapKey>, digests: &mut Digests<'_>) -> Result<Leaf<Self>, Misfit> {
        let leaf = node.history().ok_or_else(|| Misfit("it is no leaf of a history".to_owned()))?;
        let lengths = column::read(leaf.summary_lengths(), keys.len(), "lengths of summaries")?;
        let mut summaries = Slices::new(bytes(leaf.summaries()));
        let mut entries = Vec::with_capacity(keys.len());
        for (key, length) in keys.into_iter().zip(lengths) {
            let summary = std::str::from_utf8(summaries.take(length, "summaries")?);
            let summary = summary.map_err(|_| Misfit("a summary is not UTF-8".to_owned()))?.to_owned();
            entries.push((key, Self { id: SnapshotId::from_digest(digests.next()?), summary }));
        }
        summaries.end("summaries")?;
        Ok(Leaf { entries })
    }
}
