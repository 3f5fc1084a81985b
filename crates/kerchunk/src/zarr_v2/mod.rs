//! Documents of Zarr v3 as documents of Zarr v2, which is the version that readers of kerchunk sets expect. Pure: bytes and values, no I/O.
//!
//! A chunk of the array means the same bytes under both documents, or the array is refused with the reason. Errors do not name the
//! document: the caller does.

mod codecs;
mod data_type;
mod extension;
mod fields;
mod fill;
mod float16;
mod grid;
#[cfg(test)]
mod tests;

use firnline::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::Value;

use codecs::CodecsV2;
use data_type::DataType;
use extension::Extension;
use fields::Fields;
use fill::MaskV3;

pub(crate) use grid::{ChunkKeys, RegularGrid, name_v2, write_name_v2, zarray_grid};

/// The documents of Zarr v2.
pub(crate) const DOCUMENTS: [&str; 4] = [".zarray", ".zattrs", ".zgroup", ".zmetadata"];
/// The document of Zarr v3.
pub(crate) const DOCUMENT_V3: &str = "zarr.json";

/// Whether this is the last segment of the key of a document of Zarr, of any version.
pub(crate) fn is_document(name: &str) -> bool {
    name == DOCUMENT_V3 || DOCUMENTS.contains(&name)
}

/// The attribute in which xarray looks for the names of dimensions of a Zarr v2 array.
const DIMENSIONS: &str = "_ARRAY_DIMENSIONS";
/// The attribute that says which value xarray masks. Zarr v2 has its fill value for this.
const FILL_VALUE: &str = "_FillValue";

/// A group or an array of Zarr v3, ready to be written as one of Zarr v2.
#[derive(Debug)]
pub(crate) enum ConvertedNode {
    /// The attributes of a group.
    Group(Fields),
    /// An array.
    Array(Box<ConvertedArray>),
}

/// An array of Zarr v3, ready to be written as one of Zarr v2.
#[derive(Debug)]
pub(crate) struct ConvertedArray {
    /// How many chunks it has along each dimension.
    pub(crate) grid: RegularGrid,
    /// How its chunks are named in the v3 hierarchy. In Zarr v2 their names are numbers with a `.` between any two.
    pub(crate) keys: ChunkKeys,
    shape: Vec<u64>,
    chunks: Vec<u64>,
    data_type: DataType,
    codecs: CodecsV2,
    /// The fill value as Zarr v2 writes it.
    fill: Value,
    attributes: Fields,
}

/// The documents of a Zarr v2 array.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ArrayDocuments {
    pub(crate) zarray: String,
    /// `None` if the array has no attributes.
    pub(crate) zattrs: Option<String>,
    /// What a reader of the v2 array has to know, in words.
    pub(crate) note: Option<String>,
}

/// `.zarray`, in the order in which zarr-python writes it.
#[derive(Serialize)]
struct ArrayV2<'a> {
    shape: &'a [u64],
    chunks: &'a [u64],
    dtype: String,
    fill_value: Value,
    order: &'static str,
    filters: Option<&'a [Value]>,
    compressor: Option<&'a Value>,
    zarr_format: u64,
}

/// Reads a `zarr.json`.
///
/// `Invalid` if it is none, `Unsupported` with the reason if Zarr v2 cannot express it or this version does not know how.
pub(crate) fn convert(document: &[u8]) -> Result<ConvertedNode> {
    let wrong = |why: &str| Error::invalid(why);
    let mut fields: Fields = serde_json::from_slice(document).map_err(|e| wrong("it is no JSON object").caused_by(e))?;
    if fields.take::<u64>("zarr_format")? != Some(3) {
        return Err(wrong("its zarr_format is not 3"));
    }
    let attributes = fields.take("attributes")?.unwrap_or_default();
    let node = match fields.take::<String>("node_type")?.as_deref() {
        // A copy of the documents below.
        Some("group") => fields.take::<Value>("consolidated_metadata").map(|_| ConvertedNode::Group(attributes)),
        Some("array") => ConvertedArray::take(&mut fields, attributes).map(|array| ConvertedNode::Array(Box::new(array))),
        _ => Err(wrong("its node_type is neither group nor array")),
    }?;
    match fields.iter().find(|(_, value)| extension::must_be_understood(value)) {
        Some((name, _)) => Err(unsupported(format!("its field {name:?} is not known"))),
        None => Ok(node),
    }
}

impl ConvertedArray {
    /// Takes the fields of an array out of its document.
    fn take(fields: &mut Fields, attributes: Fields) -> Result<Self> {
        if fields.take::<Vec<Value>>("storage_transformers")?.is_some_and(|all| !all.is_empty()) {
            return Err(unsupported("it has storage transformers"));
        }
        let shape: Vec<u64> = fields.need("shape")?;
        let chunks = grid::regular(fields.need::<Extension>("chunk_grid")?)?;
        let grid = RegularGrid::new(&shape, &chunks)?;
        let keys = ChunkKeys::of(fields.need::<Extension>("chunk_key_encoding")?)?;
        let data_type = DataType::of(fields.need::<Extension>("data_type")?)?;
        let codecs = CodecsV2::of(fields.need("codecs")?, &data_type, shape.len())?;
        let fill = fill::converted(&data_type, fields.need("fill_value")?)?;
        let mut attributes = attributes;
        match fields.take::<Vec<Option<String>>>("dimension_names")?.map(|names| names.into_iter().collect::<Option<Vec<_>>>()) {
            Some(Some(names)) => attributes.set(DIMENSIONS, &names)?,
            _ if shape.is_empty() => attributes.set(DIMENSIONS, &[(); 0])?,
            // Dimensions without names have none in Zarr v2 either.
            _ => {}
        }
        Ok(Self { grid, keys, shape, chunks, data_type, codecs, fill, attributes })
    }

    /// The documents of the array, of which all chunks exist if it `is_complete`.
    ///
    /// xarray masks the fill value of a Zarr v2 array, but of a Zarr v3 array the attribute `_FillValue`. Where both cannot be kept, the
    /// fill value is, because absent chunks read as it; then the note says so.
    pub(crate) fn documents(&self, is_complete: bool) -> Result<ArrayDocuments> {
        let mut attributes = self.attributes.clone();
        let mask = MaskV3::of(&self.data_type, attributes.get(FILL_VALUE)?);
        let (fill, note) = match mask {
            // A fill value that is no number is missing data as well, whichever value says so.
            MaskV3::Value(value) if is_complete || fill::is_nan(&self.fill) || fill::are_equal(&self.data_type, &value, &self.fill) => {
                attributes.remove(FILL_VALUE);
                (value, None)
            }
            MaskV3::Absent if fill::is_nan(&self.fill) => (self.fill.clone(), None),
            MaskV3::Absent | MaskV3::Unknown if is_complete => (Value::Null, None),
            _ => (self.fill.clone(), Some(self.note())),
        };
        let array = ArrayV2 {
            shape: &self.shape,
            chunks: &self.chunks,
            dtype: self.data_type.dtype(self.codecs.endian)?,
            fill_value: fill,
            order: self.codecs.order,
            filters: Some(self.codecs.filters.as_slice()).filter(|all| !all.is_empty()),
            compressor: self.codecs.compressor.as_ref(),
            zarr_format: 2,
        };
        let zattrs = if attributes.is_empty() { None } else { Some(text(&attributes)?) };
        Ok(ArrayDocuments { zarray: text(&array)?, zattrs, note })
    }

    fn note(&self) -> String {
        format!(
            "absent chunks read as {}, which xarray takes for missing data in Zarr v2: open it with use_zarr_fill_value_as_mask=False",
            self.fill
        )
    }
}

/// A value as compact JSON.
pub(crate) fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal("a document cannot be written").caused_by(e))
}

fn unsupported(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, why)
}
