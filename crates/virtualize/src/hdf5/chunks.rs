//! Where the chunks of a dataset lie.

use firnline::{Error, Result};
use hdf5_reader::btree_v1::{BTreeV1Key, collect_btree_v1_leaves_storage};
use hdf5_reader::chunk_index::{ChunkEntry, collect_implicit_chunk_entries, collect_v2_chunk_entries_storage, single_chunk_entry};
use hdf5_reader::error::Error as HdfError;
use hdf5_reader::extensible_array::collect_extensible_array_chunk_entries_storage;
use hdf5_reader::fixed_array::collect_fixed_array_chunk_entries_storage;
use hdf5_reader::io::Cursor;
use hdf5_reader::messages::layout::ChunkIndexing;
use hdf5_reader::{Dataset, Hdf5File};
use serde_json::Value;

use super::failed;
use crate::model::Chunks;

/// What the header of a dataset says about its chunks.
pub(super) struct ChunkLayout<'h> {
    /// Where the index begins.
    pub(super) address: u64,
    /// The lengths of a chunk, maybe followed by the length of an element.
    pub(super) dims: &'h [u32],
    /// `None`: a B-tree of version 1.
    pub(super) indexing: Option<&'h ChunkIndexing>,
    /// How long one element is.
    pub(super) element: usize,
    pub(super) filters: Vec<Value>,
}

/// Reads the index of chunks; of their data nothing. `file_len` is the length of the whole file.
pub(super) fn table(file: &Hdf5File, dataset: &Dataset, layout: &ChunkLayout<'_>, file_len: u64) -> Result<Chunks> {
    let superblock = file.superblock();
    let (dims, entries) = written(file, dataset, layout)?;
    let whole = dims.iter().try_fold(layout.element as u64, |n, len| n.checked_mul(u64::from(*len)));
    let whole = whole.ok_or_else(|| Error::corrupt("has chunks of more bytes than can be counted"))?;
    let mut chunks = Chunks { shape: dims.iter().map(|len| u64::from(*len)).collect(), ..Chunks::default() };
    chunks.filters.clone_from(&layout.filters);
    for entry in entries {
        if entry.filter_mask != 0 && !chunks.filters.is_empty() {
            return Err(Error::unsupported(format!(
                "has a chunk at {:?} to which not all filters were applied; leave the variable out",
                entry.offsets
            )));
        }
        // Unfiltered chunks are all equally long, and some indexes do not repeat it.
        let length = if chunks.filters.is_empty() || entry.size == 0 { whole } else { entry.size };
        let offset = entry.address.checked_add(superblock.base_address);
        let Some(offset) = offset.filter(|at| at.checked_add(length).is_some_and(|end| end <= file_len)) else {
            return Err(Error::corrupt(format!("has a chunk at {:?} that lies past the end of the file", entry.offsets)));
        };
        chunks.cells.extend(entry.offsets.iter().zip(&chunks.shape).map(|(at, len)| at / len));
        chunks.offset.push(offset);
        chunks.length.push(length);
    }
    Ok(chunks)
}

/// The lengths of a chunk, and the chunks within the shape in the order of their places.
fn written(file: &Hdf5File, dataset: &Dataset, layout: &ChunkLayout<'_>) -> Result<(Vec<u32>, Vec<ChunkEntry>)> {
    let shape = dataset.shape();
    let rank = shape.len();
    let dims: Vec<u32> = layout.dims.get(..rank).unwrap_or_default().to_vec();
    if dims.len() != rank || dims.contains(&0) {
        return Err(Error::corrupt(format!("has chunks of {:?} in {rank} dimensions", layout.dims)));
    }
    if Cursor::is_undefined_offset(layout.address, file.superblock().offset_size) {
        return Ok((dims, Vec::new()));
    }
    let mut entries = entries(file, dataset, layout, &dims).map_err(|e| failed(&e))?;
    if let Some(entry) = entries.iter().find(|entry| entry.offsets.len() < rank) {
        return Err(Error::corrupt(format!("has a chunk at {:?}, which is no place in {rank} dimensions", entry.offsets)));
    }
    // A chunk beyond the shape is left from before the dataset was made smaller.
    entries.retain(|entry| entry.offsets.iter().zip(shape).all(|(at, len)| at < len));
    entries.sort_unstable_by(|a, b| a.offsets.cmp(&b.offsets));
    Ok((dims, entries))
}

/// Copies the elements that lie in chunks from `all` to `out`, both of `shape`, and leaves the rest of `out` as it is.
pub(super) fn copy_written(
    file: &Hdf5File,
    dataset: &Dataset,
    layout: &ChunkLayout<'_>,
    shape: &[u64],
    all: &[u8],
    out: &mut [u8],
) -> Result<()> {
    let (dims, mut entries) = written(file, dataset, layout)?;
    entries.dedup_by(|a, b| a.offsets == b.offsets);
    for entry in entries {
        // Where the chunk begins and how far it reaches, in each dimension.
        let reach = |((at, len), most): ((&u64, &u32), &u64)| (*at, u64::from(*len).min(most - at));
        let places: Vec<(u64, u64)> = entry.offsets.iter().zip(&dims).zip(dataset.shape()).map(reach).collect();
        let Some((&(last, run), before)) = places.split_last() else { continue };
        let rows: u64 = before.iter().map(|(_, len)| len).product();
        for row in 0..rows {
            let (mut rest, mut place, mut stride) = (row, last, shape.last().copied().unwrap_or(1));
            for ((at, len), whole) in before.iter().zip(shape).rev() {
                place += (at + rest % len) * stride;
                (rest, stride) = (rest / len, stride * whole);
            }
            let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).saturating_mul(layout.element);
            let range = bytes(place)..bytes(place + run);
            if let (Some(to), Some(from)) = (out.get_mut(range.clone()), all.get(range)) {
                to.copy_from_slice(from);
            }
        }
    }
    Ok(())
}

fn entries(file: &Hdf5File, dataset: &Dataset, layout: &ChunkLayout<'_>, dims: &[u32]) -> Result<Vec<ChunkEntry>, HdfError> {
    let (storage, address, shape) = (file.storage(), layout.address, dataset.shape());
    let (offset_size, length_size) = (file.superblock().offset_size, file.superblock().length_size);
    let rank = u32::try_from(shape.len()).unwrap_or(u32::MAX);
    match layout.indexing {
        None => {
            let leaves = collect_btree_v1_leaves_storage(storage, address, offset_size, length_size, Some(rank), dims, None)?;
            leaves.into_iter().map(|(key, address)| entry(key, address, shape.len())).collect()
        }
        Some(ChunkIndexing::SingleChunk { filtered_size, filters }) => {
            Ok(vec![single_chunk_entry(address, *filtered_size, *filters, shape.len())])
        }
        Some(ChunkIndexing::Implicit) => collect_implicit_chunk_entries(address, shape, dims, layout.element, None, storage.len()),
        Some(ChunkIndexing::FixedArray { .. }) => {
            collect_fixed_array_chunk_entries_storage(storage, address, offset_size, length_size, shape, dims, None)
        }
        Some(ChunkIndexing::ExtensibleArray { .. }) => {
            let most = dataset.max_dims();
            collect_extensible_array_chunk_entries_storage(storage, address, offset_size, length_size, shape, most, dims, None)
        }
        Some(ChunkIndexing::BTreeV2) => collect_v2_chunk_entries_storage(storage, address, offset_size, length_size, rank, dims, None),
    }
}

/// The place of a chunk in a leaf of a B-tree of version 1.
fn entry(key: BTreeV1Key, address: u64, rank: usize) -> Result<ChunkEntry, HdfError> {
    let BTreeV1Key::RawData { chunk_size, filter_mask, mut offsets } = key else {
        return Err(HdfError::InvalidData("the B-tree of chunks is one of names".to_owned()));
    };
    offsets.truncate(rank);
    Ok(ChunkEntry { address, size: u64::from(chunk_size), filter_mask, offsets })
}
