//! The soft links of a group. `hdf5-reader` lists those that lead to something, and is silent about the others.

use hdf5_reader::btree_v1::collect_btree_v1_leaves_storage;
use hdf5_reader::btree_v2::{BTreeV2Header, BTreeV2Record, collect_btree_v2_records_storage};
use hdf5_reader::error::Error as HdfError;
use hdf5_reader::fractal_heap::{FractalHeap, FractalHeapDirectBlockCache};
use hdf5_reader::group::Group;
use hdf5_reader::io::Cursor;
use hdf5_reader::local_heap::LocalHeap;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::link::{self, LinkMessage, LinkTarget};
use hdf5_reader::messages::link_info::LinkInfoMessage;
use hdf5_reader::messages::symbol_table_msg::SymbolTableMessage;
use hdf5_reader::object_header::ObjectHeader;
use hdf5_reader::symbol_table::SymbolTableNode;

use crate::budget::Budget;

/// What an entry of a symbol table is when it is a soft link.
const SOFT: u32 = 2;

/// A name in a group, and the path to which it leads.
pub(super) type SoftLink = (String, String);

/// The soft links of a group, wherever they lead. Many may have one text, so what they take is taken from `budget`.
pub(super) fn soft_links(group: &Group, budget: &Budget) -> Result<Vec<SoftLink>, HdfError> {
    let header = ObjectHeader::parse_at_storage(group.storage(), group.address(), group.offset_size(), group.length_size())?;
    let mut found = Vec::new();
    for message in &header.messages {
        match message {
            HdfMessage::SymbolTable(table) => found.extend(in_table(group, table, budget)?),
            HdfMessage::Link(link) => found.extend(soft(link)),
            HdfMessage::LinkInfo(info) if !Cursor::is_undefined_offset(info.fractal_heap_address, group.offset_size()) => {
                found.extend(in_heap(group, info, budget)?);
            }
            _ => {}
        }
    }
    Ok(found)
}

fn soft(link: &LinkMessage) -> Option<SoftLink> {
    match &link.target {
        LinkTarget::Soft { path } => Some((link.name.clone(), path.clone())),
        LinkTarget::Hard { .. } | LinkTarget::External { .. } => None,
    }
}

/// Links as files of old versions keep them.
fn in_table(group: &Group, table: &SymbolTableMessage, budget: &Budget) -> Result<Vec<SoftLink>, HdfError> {
    let (storage, offset_size, length_size) = (group.storage(), group.offset_size(), group.length_size());
    let heap = LocalHeap::parse_at_storage(storage, table.heap_address, offset_size, length_size)?;
    let leaves = collect_btree_v1_leaves_storage(storage, table.btree_address, offset_size, length_size, None, &[], None)?;
    let (mut names, mut found) = (None, Vec::new());
    for (_, address) in leaves {
        // A mark, a version and how many entries there are.
        let mark = storage.read_range(address, 8)?;
        let mut cursor = Cursor::new(&mark);
        cursor.skip(6)?;
        let len = 8 + usize::from(cursor.read_u16_le()?) * (2 * usize::from(offset_size) + 24);
        let node = SymbolTableNode::parse(&mut Cursor::new(&storage.read_range(address, len)?), offset_size, length_size)?;
        for entry in node.entries.iter().filter(|entry| entry.cache_type == SOFT) {
            if names.is_none() {
                let len = usize::try_from(heap.data_segment_size).map_err(|_| HdfError::InvalidData("a heap is too long".to_owned()))?;
                names = Some(storage.read_range(heap.data_segment_address, len)?);
            }
            let names: &[u8] = names.as_deref().unwrap_or_default();
            let target = entry.scratch.first_chunk::<4>().map_or(0, |place| u64::from(u32::from_le_bytes(*place)));
            let link = (text_at(names, entry.link_name_offset)?, text_at(names, target)?);
            found.push(within(budget, link)?);
        }
    }
    Ok(found)
}

/// The link, if there is room for it.
fn within(budget: &Budget, link: SoftLink) -> Result<SoftLink, HdfError> {
    let bytes = (link.0.len() + link.1.len() + size_of::<SoftLink>()) as u64;
    budget.take(bytes).map_err(|e| HdfError::ResourceLimit(e.to_string()))?;
    Ok(link)
}

/// A text that ends with a zero.
fn text_at(names: &[u8], place: u64) -> Result<String, HdfError> {
    let rest = usize::try_from(place).ok().and_then(|place| names.get(place..));
    let text = rest.and_then(|rest| rest.split(|byte| *byte == 0).next());
    let text = text.ok_or_else(|| HdfError::InvalidData("the name of a link lies past the end of its heap".to_owned()))?;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Links of a group that has many.
fn in_heap(group: &Group, info: &LinkInfoMessage, budget: &Budget) -> Result<Vec<SoftLink>, HdfError> {
    let (storage, offset_size, length_size) = (group.storage(), group.offset_size(), group.length_size());
    let heap = FractalHeap::parse_at_storage(storage, info.fractal_heap_address, offset_size, length_size)?;
    let index = BTreeV2Header::parse_at_storage(storage, info.btree_name_index_address, offset_size, length_size)?;
    let records = collect_btree_v2_records_storage(storage, &index, offset_size, length_size, None, &[], None)?;
    let (mut blocks, mut found) = (FractalHeapDirectBlockCache::default(), Vec::new());
    for record in &records {
        let (BTreeV2Record::LinkNameHash { heap_id, .. } | BTreeV2Record::CreationOrder { heap_id, .. }) = record else { continue };
        let bytes = heap.get_object_storage_cached(heap_id, storage, offset_size, length_size, &mut blocks)?;
        let link = soft(&link::parse(&mut Cursor::new(&bytes), offset_size, length_size, bytes.len())?);
        found.extend(link.map(|link| within(budget, link)).transpose()?);
    }
    Ok(found)
}
