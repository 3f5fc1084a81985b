//! One dataset as a variable.

use firnline::{Error, Result};
use hdf5_reader::io::Cursor;
use hdf5_reader::messages::HdfMessage;
use hdf5_reader::messages::attribute::AttributeMessage;
use hdf5_reader::messages::dataspace::DataspaceType;
use hdf5_reader::messages::datatype::{StringPadding, StringSize, VarLenKind};
use hdf5_reader::messages::filter_pipeline::FilterDescription;
use hdf5_reader::messages::layout::{ChunkIndexing, DataLayout};
use hdf5_reader::object_header::ObjectHeader;
use hdf5_reader::{ByteOrder, Dataset, Datatype, Hdf5File};

use super::attributes::AttributeReader;
use super::chunks::{self, ChunkLayout};
use super::dimensions::DatasetDims;
use super::header::leaves_edges_unfiltered;
use super::{attributes, failed, filters};
use crate::element::{Element, Kind};
use crate::model::{Body, Values, Variable, count, is_coordinate};
use crate::parse::{MOST_COPIED, Wanted};
use crate::source::FileBytes;

/// So many bytes a string of a fixed length may have: each fill value holds one.
const LONGEST: u32 = 1 << 16;

/// What a dataset is looked at with.
pub(super) struct DatasetContext<'c> {
    pub(super) bytes: &'c FileBytes,
    pub(super) file: &'c Hdf5File,
    pub(super) wanted: &'c Wanted,
    /// The path of the variable.
    pub(super) name: &'c str,
    pub(super) reader: &'c AttributeReader<'c>,
    /// The attributes of the dataset.
    pub(super) attributes: &'c [AttributeMessage],
}

impl DatasetContext<'_> {
    /// Makes a variable of a dataset; the names of attributes that JSON cannot hold are added to `dropped`.
    pub(super) fn variable(&self, dataset: &Dataset, dims: &DatasetDims, dropped: &mut Vec<String>) -> Result<Variable> {
        let header = self.file.get_or_parse_header(dataset.address()).map_err(|e| failed(&e))?;
        let is_null = |m: &HdfMessage| matches!(m, HdfMessage::Dataspace(space) if space.dataspace_type == DataspaceType::Null);
        if header.messages.iter().any(is_null) {
            return Err(Error::unsupported("has no elements and no shape, which a Zarr array cannot say; leave the variable out"));
        }
        let element = element_of(dataset)?;
        let (attributes, fill_attribute) = attributes::of_variable(self.reader, self.attributes, element, self.name, dropped)?;
        // Not that of the crate, which takes the attribute `_FillValue` where the file states no value.
        let mut fill = stated_fill(&header).filter(|bytes| bytes.len() == element.size).map(<[u8]>::to_vec);
        if let Some(bytes) = &mut fill {
            element.reorder(bytes);
            pad(dataset.dtype(), bytes);
        }
        let body = self.body(dataset, dims, element, &header)?;
        let element = if matches!(body, Body::Values(_)) { element.little() } else { element };
        let (path, shape) = (self.name.to_owned(), dims.shape.clone());
        Ok(Variable { path, dims: dims.names.clone(), shape, element, fill, fill_attribute, attributes, body })
    }

    fn body(&self, dataset: &Dataset, dims: &DatasetDims, element: Element, header: &ObjectHeader) -> Result<Body> {
        if header.messages.iter().any(|m| matches!(m, HdfMessage::ExternalFiles(_))) {
            return Err(Error::unsupported("keeps its values in other files; leave the variable out"));
        }
        let layout = layout(header)?;
        self.check_edges(dataset, layout, header)?;
        let size = if element.kind == Kind::Text { dataset.vlen_reference_size() } else { element.size };
        let bytes = count(&dims.shape).and_then(|n| n.checked_mul(size as u64));
        let bytes = bytes.ok_or_else(|| Error::corrupt("has more bytes than can be counted"))?;
        let weight = if bytes == 0 { weight_of_row(&dims.shape, layout, size) } else { bytes };
        let is_small = self.wanted.is_copied(self.name, is_coordinate(self.name, &dims.names), weight);
        let must_copy = element.kind == Kind::Text
            || dims.shape.is_empty()
            || matches!(layout, DataLayout::Compact { .. })
            || matches!(dataset.dtype(), Datatype::String { size: StringSize::Fixed(_), padding: StringPadding::SpacePad, .. });
        if is_small || must_copy {
            if bytes > MOST_COPIED {
                return Err(Error::unsupported(format!("has to be copied and has {bytes} bytes; leave the variable out")));
            }
            self.reader.budget.take(bytes)?;
            return self.values(dataset, dims, element, header).map(Body::Values);
        }
        match layout {
            DataLayout::Compact { .. } => Err(Error::internal("a compact dataset was not copied")),
            DataLayout::Contiguous { address, .. } => self.contiguous(*address, bytes),
            DataLayout::Chunked { address, dims: lengths, chunk_indexing, .. } => {
                let of_header = pipeline(header);
                let filters = filters::codecs(of_header, element.size)?;
                let indexing: Option<&ChunkIndexing> = chunk_indexing.as_ref();
                let layout = ChunkLayout { address: *address, dims: lengths, indexing, element: element.size, filters };
                let table = chunks::table(self.file, dataset, &layout, self.bytes.len())?;
                self.reader.budget.take_chunks(table.offset.len() as u64)?;
                Ok(Body::Chunked(table))
            }
        }
    }

    /// `Unsupported` when some chunks have filters and those at the edges have none.
    fn check_edges(&self, dataset: &Dataset, layout: &DataLayout, header: &ObjectHeader) -> Result<()> {
        // Only later layouts can say so.
        let DataLayout::Chunked { dims, chunk_indexing: Some(_), .. } = layout else { return Ok(()) };
        let has_edges = dataset.shape().iter().zip(dims).any(|(len, chunk)| !len.is_multiple_of(u64::from((*chunk).max(1))));
        if pipeline(header).is_empty() || !has_edges || !leaves_edges_unfiltered(self.file, dataset.address())? {
            return Ok(());
        }
        Err(Error::unsupported("has filters, but not on the chunks at its edges, which Zarr cannot say; leave the variable out"))
    }

    /// Reads all elements.
    fn values(&self, dataset: &Dataset, dims: &DatasetDims, element: Element, header: &ObjectHeader) -> Result<Values> {
        let padded = dataset.clone().with_padded_shape(&dims.shape).map_err(|e| failed(&e))?;
        let mut bytes = padded.read_raw_bytes().map_err(|e| failed(&e))?;
        let stated = stated_fill(header);
        let taken = dataset.fill_value().and_then(|fill| fill.value.as_deref());
        if taken.is_some() && taken != stated {
            self.fill_unwritten(dataset, dims, &mut bytes, header)?;
        }
        if element.kind == Kind::Text {
            return self.texts(dataset, &bytes).map(Values::Texts);
        }
        element.reorder(&mut bytes);
        if element.kind == Kind::Bytes {
            bytes.chunks_exact_mut(element.size).for_each(|bytes| pad(dataset.dtype(), bytes));
        }
        Ok(Values::Bytes(bytes))
    }

    /// Gives elements that were never written the value that the file states for them, or zero.
    fn fill_unwritten(&self, dataset: &Dataset, dims: &DatasetDims, bytes: &mut Vec<u8>, header: &ObjectHeader) -> Result<()> {
        let size = dataset.raw_element_size().map_err(|e| failed(&e))?;
        let fill = stated_fill(header).filter(|fill| fill.len() == size).map_or_else(|| vec![0; size], <[u8]>::to_vec);
        let unwritten = || fill.iter().copied().cycle().take(bytes.len()).collect::<Vec<u8>>();
        match layout(header)? {
            DataLayout::Contiguous { address, .. } if Cursor::is_undefined_offset(*address, self.file.superblock().offset_size) => {
                *bytes = unwritten();
            }
            DataLayout::Chunked { address, dims: lengths, chunk_indexing, .. } => {
                let indexing = chunk_indexing.as_ref();
                let layout = ChunkLayout { address: *address, dims: lengths, indexing, element: size, filters: Vec::new() };
                let mut out = unwritten();
                chunks::copy_written(self.file, dataset, &layout, &dims.shape, bytes, &mut out)?;
                *bytes = out;
            }
            DataLayout::Contiguous { .. } | DataLayout::Compact { .. } => {}
        }
        Ok(())
    }

    /// The strings that `references` lead to; `Unsupported` when they have too many bytes.
    fn texts(&self, dataset: &Dataset, references: &[u8]) -> Result<Vec<String>> {
        let (Datatype::String { padding, .. } | Datatype::VarLen { padding, .. }) = dataset.dtype() else {
            return Err(Error::internal("numbers were taken for strings"));
        };
        let (mut out, mut left) = (Vec::new(), MOST_COPIED);
        for reference in references.chunks_exact(dataset.vlen_reference_size()) {
            let bytes = dataset.resolve_vlen_reference_bytes(reference, 1).map_err(|e| failed(&e))?;
            left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                Error::unsupported(format!(
                    "has strings of more than {MOST_COPIED} bytes, which would have to be copied; leave the variable out"
                ))
            })?;
            self.reader.budget.take(bytes.len() as u64)?;
            out.push(attributes::text(&bytes, *padding));
        }
        Ok(out)
    }

    fn contiguous(&self, address: u64, bytes: u64) -> Result<Body> {
        let superblock = self.file.superblock();
        if Cursor::is_undefined_offset(address, superblock.offset_size) || bytes == 0 {
            return Ok(Body::Contiguous { offset: None });
        }
        let offset = address.checked_add(superblock.base_address);
        let is_inside = |at: &u64| at.checked_add(bytes).is_some_and(|end| end <= self.bytes.len());
        let offset = offset.filter(is_inside).ok_or_else(|| Error::corrupt("has values that lie past the end of the file"))?;
        Ok(Body::Contiguous { offset: Some(offset) })
    }
}

/// The bytes of a row, or of a chunk, of a dataset that has no elements yet.
fn weight_of_row(shape: &[u64], layout: &DataLayout, size: usize) -> u64 {
    let row: Vec<u64> = match layout {
        DataLayout::Chunked { dims, .. } => dims.iter().take(shape.len()).map(|len| u64::from(*len)).collect(),
        _ => shape.iter().map(|len| (*len).max(1)).collect(),
    };
    count(&row).and_then(|n| n.checked_mul(size as u64)).unwrap_or(u64::MAX)
}

fn layout(header: &ObjectHeader) -> Result<&DataLayout> {
    let found = header.messages.iter().find_map(|m| if let HdfMessage::DataLayout(layout) = m { Some(&layout.layout) } else { None });
    found.ok_or_else(|| Error::corrupt("does not say where its values are"))
}

/// The value of elements that were never written, in the order of the file; `None`: zero.
fn stated_fill(header: &ObjectHeader) -> Option<&[u8]> {
    header.messages.iter().find_map(|m| if let HdfMessage::FillValue(fill) = m { fill.value.as_deref() } else { None })
}

/// Pads a string of a fixed length with zeros, as the HDF5 library gives it to readers that know no other form.
fn pad(datatype: &Datatype, bytes: &mut [u8]) {
    let Datatype::String { size: StringSize::Fixed(_), padding, .. } = datatype else { return };
    let end = match padding {
        StringPadding::SpacePad => bytes.iter().rposition(|b| *b != b' ').map_or(0, |last| last + 1),
        StringPadding::NullTerminate => bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()),
        StringPadding::NullPad => bytes.len(),
    };
    bytes.get_mut(end..).unwrap_or_default().fill(0);
}

fn pipeline(header: &ObjectHeader) -> &[FilterDescription] {
    let found = header.messages.iter().find_map(|m| if let HdfMessage::FilterPipeline(p) = m { Some(&p.filters) } else { None });
    found.map_or(&[], Vec::as_slice)
}

/// The type of the elements; `Unsupported` for one that Zarr arrays have no common name for.
fn element_of(dataset: &Dataset) -> Result<Element> {
    let element = match dataset.dtype() {
        Datatype::Enum { base, members } if is_bool(base, members.iter().map(|m| m.name.as_str())) => Element::new(Kind::Bool, 1, false),
        Datatype::Enum { base, .. } => number(base)?,
        Datatype::Compound { fields, size } => match fields.as_slice() {
            [re, im] if re.datatype == im.datatype && re.name == "r" && im.name == "i" => {
                let part = number(&re.datatype)?;
                let is_packed = re.byte_offset == 0 && im.byte_offset as usize == part.size && *size as usize == 2 * part.size;
                if part.kind != Kind::Float || !matches!(part.size, 4 | 8) || !is_packed {
                    return Err(unsupported("records (compound elements)"));
                }
                Element::new(Kind::Complex, 2 * part.size, part.is_big)
            }
            _ => return Err(unsupported("records (compound elements)")),
        },
        Datatype::String { size: StringSize::Fixed(len), .. } if !(1..=LONGEST).contains(len) => {
            return Err(unsupported(&format!("strings of {len} bytes each")));
        }
        Datatype::String { size: StringSize::Fixed(len), .. } => Element::new(Kind::Bytes, *len as usize, false),
        Datatype::String { size: StringSize::Variable, .. } | Datatype::VarLen { kind: VarLenKind::String, .. } => Element::TEXT,
        Datatype::VarLen { .. } => return Err(unsupported("lists of any length")),
        Datatype::Array { .. } => return Err(unsupported("arrays as elements")),
        Datatype::Opaque { .. } => return Err(unsupported("opaque elements")),
        Datatype::Reference { .. } => return Err(unsupported("references to other objects")),
        other => number(other)?,
    };
    if matches!(element.kind, Kind::Int | Kind::UInt | Kind::Float) {
        check_plain(dataset, element)?;
    }
    Ok(element)
}

fn unsupported(what: &str) -> Error {
    Error::unsupported(format!("has {what}, which Zarr arrays cannot refer to; leave the variable out"))
}

fn is_bool<'n>(base: &Datatype, names: impl Iterator<Item = &'n str>) -> bool {
    matches!(base, Datatype::FixedPoint { size: 1, .. }) && names.eq(["FALSE", "TRUE"])
}

fn number(datatype: &Datatype) -> Result<Element> {
    let (kind, size, order) = match datatype {
        Datatype::FixedPoint { size, signed, byte_order } => (if *signed { Kind::Int } else { Kind::UInt }, *size, byte_order),
        Datatype::FloatingPoint { size, byte_order } => (Kind::Float, *size, byte_order),
        Datatype::Bitfield { size, byte_order } => (Kind::UInt, *size, byte_order),
        _ => return Err(unsupported("elements that are no numbers")),
    };
    let is_known = if kind == Kind::Float { matches!(size, 2 | 4 | 8) } else { matches!(size, 1 | 2 | 4 | 8) };
    if !is_known {
        return Err(unsupported(&format!("numbers of {size} bytes")));
    }
    Ok(Element::new(kind, usize::from(size), *order == ByteOrder::BigEndian))
}

/// Refuses numbers that do not use all bits of their bytes in the usual way, such as bfloat16.
fn check_plain(dataset: &Dataset, element: Element) -> Result<()> {
    let raw = dataset.raw_datatype().map_err(|e| failed(&e))?;
    // Of an enumeration the base type follows, with its own head of eight bytes.
    let head = if raw.first().is_some_and(|class| class & 0x0f == 8) { 8 } else { 0 };
    let at = |n: usize| raw.get(head + n).copied().map_or(0, u32::from);
    let (offset, precision) = (at(8) | at(9) << 8, at(10) | at(11) << 8);
    let is_float = element.kind == Kind::Float;
    // Exponent: place and size. Mantissa: place and size.
    let fields = [at(12), at(13), at(14), at(15)];
    let usual = match element.size {
        2 => [10, 5, 0, 10],
        4 => [23, 8, 0, 23],
        _ => [52, 11, 0, 52],
    };
    if offset != 0 || precision as usize != element.size * 8 || (is_float && fields != usual) {
        return Err(unsupported("numbers in a form that processors do not know"));
    }
    Ok(())
}
