//! What a directory of a snapshot is, and what the keys in it become in a reference set.

use std::sync::Arc;

use firnline::{Entry, Error, ErrorKind, Key, Result, Snapshot};

use crate::zarr_v2::{
    ArrayDocuments, ChunkKeys, ConvertedArray, ConvertedNode, DOCUMENT_V3, DOCUMENTS, RegularGrid, convert, is_document, name_v2, text,
    zarray_grid,
};

/// The metadata of every group of Zarr v2.
const GROUP: &str = r#"{"zarr_format":2}"#;

/// Whether a key is a document of Zarr of any version.
pub(super) fn is_metadata(key: &str) -> bool {
    is_document(last_segment(key))
}

fn last_segment(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(_, last)| last)
}

/// What an entry is in a Zarr v2 hierarchy.
#[derive(Debug)]
pub(super) enum ExportRole {
    /// Metadata of a group or an array.
    Metadata,
    /// A chunk of an array.
    Chunk(Arc<ExportedArray>, ChunkAt),
    /// Neither.
    Other,
}

impl ExportRole {
    /// Of a key that lies in no array.
    pub(super) fn outside_of_arrays(key: &str) -> Self {
        if DOCUMENTS.contains(&last_segment(key)) { Self::Metadata } else { Self::Other }
    }
}

/// Where a chunk lies in the grid of its array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkAt {
    /// The chunk of this number, counted row by row.
    Number(u64),
    /// Outside of the grid, where no reader looks, or too far to be counted.
    Outside,
}

/// An array as it is in the set.
#[derive(Debug)]
pub(super) struct ExportedArray {
    /// Its name in the set; empty for an array at the root.
    pub(super) name: String,
    pub(super) grid: RegularGrid,
    /// What stands between the indices in the names of its chunks.
    pub(super) separator: char,
}

/// A directory on the way to the entry that is looked at.
#[derive(Debug)]
pub(super) struct Directory {
    /// Its name in the set with the final `/`; empty for the root.
    pub(super) name: String,
    node: Node,
}

/// What the metadata of a directory says that it is.
#[derive(Debug)]
enum Node {
    /// Neither a group of Zarr v3 nor an array.
    Plain,
    /// A group of Zarr v3, with the text of its attributes.
    Group(Option<String>),
    /// An array of Zarr v2; `None` if its metadata is not understood here. It is written as it is.
    ArrayV2(Option<(Arc<ExportedArray>, ChunkKeys)>),
    /// An array of Zarr v3.
    ArrayV3(Box<ArrayV3>),
}

#[derive(Debug)]
struct ArrayV3 {
    array: ConvertedArray,
    exported: Arc<ExportedArray>,
    /// How many of its chunks exist.
    chunks: u64,
}

/// A document that is written beside the entries of the snapshot: its key in the set and its text.
pub(super) type NewDocument = (String, String);

impl Directory {
    /// Reads what the directory `name` of the set is, which lies below `prefix` in the snapshot.
    ///
    /// `Unsupported`, naming the document and the reason, if it is an array of Zarr v3 that Zarr v2 cannot express.
    pub(super) async fn read(snapshot: &Snapshot, prefix: &str, name: &str) -> Result<Self> {
        let node = match document(snapshot, &format!("{prefix}{name}{DOCUMENT_V3}")).await? {
            Some(key) => Self::version_3(snapshot, &key, name).await.map_err(|e| e.context(&key))?,
            None => match document(snapshot, &format!("{prefix}{name}.zarray")).await? {
                Some(key) => Node::ArrayV2(Self::version_2(snapshot, &key, name).await?),
                None => Node::Plain,
            },
        };
        Ok(Self { name: name.to_owned(), node })
    }

    async fn version_3(snapshot: &Snapshot, key: &Key, name: &str) -> Result<Node> {
        let bytes = snapshot.get(key).await?.unwrap_or_default();
        Ok(match convert(&bytes)? {
            ConvertedNode::Group(attributes) if attributes.is_empty() => Node::Group(None),
            ConvertedNode::Group(attributes) => Node::Group(Some(text(&attributes)?)),
            ConvertedNode::Array(array) => {
                let exported = ExportedArray { name: bare(name), grid: array.grid.clone(), separator: '.' };
                Node::ArrayV3(Box::new(ArrayV3 { array: *array, exported: Arc::new(exported), chunks: 0 }))
            }
        })
    }

    async fn version_2(snapshot: &Snapshot, key: &Key, name: &str) -> Result<Option<(Arc<ExportedArray>, ChunkKeys)>> {
        // A document in an external file is referred to as it is.
        if matches!(snapshot.entry(key).await?, Some(Entry::Virtual { .. })) {
            return Ok(None);
        }
        let bytes = snapshot.get(key).await?.unwrap_or_default();
        Ok(zarray_grid(&bytes).ok().map(|(grid, separator)| {
            let exported = ExportedArray { name: bare(name), grid, separator };
            (Arc::new(exported), ChunkKeys::v2(separator))
        }))
    }

    pub(super) fn is_array(&self) -> bool {
        matches!(self.node, Node::ArrayV2(_) | Node::ArrayV3(_))
    }

    /// The documents that are written when the directory is entered.
    pub(super) fn opening(&self) -> Vec<NewDocument> {
        let Node::Group(attributes) = &self.node else { return Vec::new() };
        let group = (format!("{}.zgroup", self.name), GROUP.to_owned());
        let attributes = attributes.as_ref().map(|text| (format!("{}.zattrs", self.name), text.clone()));
        std::iter::once(group).chain(attributes).collect()
    }

    /// The documents that are written when the last entry of the directory was, and what their reader has to know.
    pub(super) fn closing(&self) -> Result<(Vec<NewDocument>, Option<String>)> {
        let Node::ArrayV3(array) = &self.node else { return Ok((Vec::new(), None)) };
        let is_complete = array.array.grid.total() == Some(array.chunks);
        let ArrayDocuments { zarray, zattrs, note } = array.array.documents(is_complete)?;
        let attributes = zattrs.map(|text| (format!("{}.zattrs", self.name), text));
        let documents = std::iter::once((format!("{}.zarray", self.name), zarray)).chain(attributes).collect();
        Ok((documents, note.map(|note| format!("{}: {note}", array.exported.name))))
    }

    /// The key that a key of this directory has in the set, and what is under it; `None` for a document that is written in another form.
    ///
    /// `Unsupported` for a key that has no place in a Zarr v2 hierarchy.
    pub(super) fn place(&mut self, key: &str) -> Result<Option<(String, ExportRole)>> {
        let name = key.get(self.name.len()..).unwrap_or_default();
        match &mut self.node {
            Node::Plain => Ok(Some((key.to_owned(), ExportRole::outside_of_arrays(key)))),
            Node::Group(_) | Node::ArrayV3(_) if name == DOCUMENT_V3 => Ok(None),
            Node::Group(_) | Node::ArrayV3(_) if DOCUMENTS.contains(&name) => Err(both(&self.name)),
            Node::ArrayV2(_) if DOCUMENTS.contains(&name) => Ok(Some((key.to_owned(), ExportRole::Metadata))),
            Node::Group(_) | Node::ArrayV2(None) => Ok(Some((key.to_owned(), ExportRole::Other))),
            Node::ArrayV2(Some((array, keys))) => {
                let role = match keys.indices(name, array.grid.rank()) {
                    Some(indices) => ExportRole::Chunk(Arc::clone(array), at(&array.grid, &indices)),
                    None => ExportRole::Other,
                };
                Ok(Some((key.to_owned(), role)))
            }
            Node::ArrayV3(array) => {
                let Some(indices) = array.array.keys.indices(name, array.exported.grid.rank()) else {
                    let why = format!("it is neither the metadata nor a chunk of the Zarr v3 array {}", array.exported.name);
                    return Err(Error::new(ErrorKind::Unsupported, why));
                };
                let at = at(&array.exported.grid, &indices);
                array.chunks += u64::from(at != ChunkAt::Outside);
                let key = format!("{}{}", self.name, name_v2(&indices));
                Ok(Some((key, ExportRole::Chunk(Arc::clone(&array.exported), at))))
            }
        }
    }
}

fn at(grid: &RegularGrid, indices: &[u64]) -> ChunkAt {
    grid.number(indices).map_or(ChunkAt::Outside, ChunkAt::Number)
}

fn both(directory: &str) -> Error {
    let shown = if directory.is_empty() { "the root" } else { directory };
    Error::new(ErrorKind::Unsupported, format!("{shown} has metadata of Zarr v2 and of Zarr v3; delete one of them"))
}

fn bare(directory: &str) -> String {
    directory.trim_end_matches('/').to_owned()
}

/// The key of a document, if it exists. A name that is too long for a key is none.
async fn document(snapshot: &Snapshot, name: &str) -> Result<Option<Key>> {
    let Ok(key) = Key::new(name) else { return Ok(None) };
    Ok(snapshot.entry(&key).await?.map(|_| key))
}
