//! What the header of an object says and `hdf5-reader` does not pass on.

use firnline::{Error, Result};
use hdf5_reader::Hdf5File;
use hdf5_reader::error::Error as HdfError;
use hdf5_reader::io::Cursor;

use super::failed;

const LAYOUT: u16 = 8;
const CONTINUATION: u16 = 16;
/// A header lies in at most so many blocks.
const BLOCKS: usize = 1024;

/// Whether chunks that reach past the shape of the dataset at `address` were stored without its filters.
pub(super) fn leaves_edges_unfiltered(file: &Hdf5File, address: u64) -> Result<bool> {
    let layout = layout(file, address).map_err(|e| failed(&e))?;
    match layout.as_deref() {
        // A chunked layout of version 4 or later, and the first of its flags.
        Some([version, 2, flags, ..]) if *version >= 4 => Ok(flags & 1 == 1),
        Some(_) => Ok(false),
        None => Err(Error::corrupt("does not say where its values are")),
    }
}

/// The bytes of the message about the layout.
fn layout(file: &Hdf5File, address: u64) -> Result<Option<Vec<u8>>, HdfError> {
    let (offset_size, length_size) = (file.superblock().offset_size, file.superblock().length_size);
    let head = read(file, address, 64)?;
    let mut cursor = Cursor::new(&head);
    let is_marked = head.starts_with(b"OHDR");
    let (start, len, has_order) = if is_marked {
        cursor.skip(5)?;
        let flags = cursor.read_u8()?;
        cursor.skip(if flags & 0x20 == 0 { 0 } else { 16 } + if flags & 0x10 == 0 { 0 } else { 4 })?;
        let len = cursor.read_uvar(1 << (flags & 3))?;
        (cursor.position(), len, flags & 4 != 0)
    } else {
        cursor.skip(8)?;
        (16, u64::from(cursor.read_u32_le()?), false)
    };
    // Each block with what comes before and after its messages.
    let mut blocks = vec![(address.saturating_add(start), len, 0)];
    let mut seen = 0;
    while let Some((at, len, around)) = blocks.pop() {
        seen += 1;
        if seen > BLOCKS {
            return Err(HdfError::InvalidData("the header of an object has too many blocks".to_owned()));
        }
        let bytes = read(file, at, len)?;
        let bytes = bytes.get(around..bytes.len().saturating_sub(around)).unwrap_or_default();
        let mut cursor = Cursor::new(bytes);
        let head = if is_marked { 4 + if has_order { 2 } else { 0 } } else { 8 };
        while (bytes.len() as u64).saturating_sub(cursor.position()) >= head {
            let kind = if is_marked { u16::from(cursor.read_u8()?) } else { cursor.read_u16_le()? };
            let len = usize::from(cursor.read_u16_le()?);
            cursor.skip(if is_marked { 1 + if has_order { 2 } else { 0 } } else { 4 })?;
            let body = cursor.read_bytes(len)?.to_vec();
            if kind == LAYOUT {
                return Ok(Some(body));
            }
            if kind == CONTINUATION {
                let mut cursor = Cursor::new(&body);
                let (at, len) = (cursor.read_offset(offset_size)?, cursor.read_length(length_size)?);
                // A block of a marked header has a mark of four bytes, and ends with a sum of four.
                blocks.push((at, len, if is_marked { 4 } else { 0 }));
            }
        }
    }
    Ok(None)
}

/// As many of `len` bytes as there are.
fn read(file: &Hdf5File, at: u64, len: u64) -> Result<Vec<u8>, HdfError> {
    let len = len.min(file.storage().len().saturating_sub(at)).min(1 << 26);
    let bytes = file.storage().read_range(at, usize::try_from(len).unwrap_or_default())?;
    Ok(bytes.to_vec())
}
