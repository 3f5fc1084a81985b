//! Attributes as netCDF and xarray show them.

use firnline::Result;
use hdf5_reader::group::Group;
use hdf5_reader::messages::attribute::AttributeMessage;
use hdf5_reader::messages::dataspace::DataspaceType;
use hdf5_reader::messages::datatype::{StringPadding, StringSize, VarLenKind};
use hdf5_reader::{Attribute, ByteOrder, Datatype};
use serde_json::{Map, Number, Value};

use crate::budget::Budget;
use crate::element::{self, Element, Kind, Scalar};

/// Attributes by which HDF5, its dimension scales and netCDF4 organise a file. Users do not see them.
const HIDDEN: [&str; 9] = [
    "CLASS",
    "DIMENSION_LIST",
    "NAME",
    "REFERENCE_LIST",
    "_NCProperties",
    "_Netcdf4Coordinates",
    "_Netcdf4Dimid",
    "_nc3_strict",
    "DIMENSION_LABELS",
];

/// Decodes attributes, as far as there is memory for them: each string of an attribute may be a reference to the same long one.
pub(super) struct AttributeReader<'r> {
    pub(super) root: &'r Group,
    pub(super) budget: &'r Budget,
}

impl AttributeReader<'_> {
    /// Looks up the strings of an attribute. `Unsupported` when they take too much memory; an attribute whose strings are not found has
    /// none.
    pub(super) fn decode(&self, stored: &AttributeMessage) -> Result<Attribute> {
        self.budget.take(stored.raw_data.len() as u64)?;
        let shape = match stored.dataspace.dataspace_type {
            DataspaceType::Scalar => Vec::new(),
            DataspaceType::Null => vec![0],
            DataspaceType::Simple => stored.dataspace.dims.clone(),
        };
        let (name, datatype, raw_data) = (stored.name.clone(), stored.datatype.clone(), stored.raw_data.clone());
        let mut attribute = Attribute { name, datatype, shape, raw_data, decoded_strings: None };
        attribute.decoded_strings = self.texts(&attribute)?;
        Ok(attribute)
    }

    /// The strings of any length; `None` if there are none or one is not found.
    fn texts(&self, attribute: &Attribute) -> Result<Option<Vec<String>>> {
        let padding = match &attribute.datatype {
            Datatype::String { size: StringSize::Variable, padding, .. } => *padding,
            Datatype::VarLen { base, kind: VarLenKind::String, padding, .. } if base.is_vlen_string_base() => *padding,
            _ => return Ok(None),
        };
        let Some(count) = attribute.num_elements().ok().and_then(|n| usize::try_from(n).ok()) else { return Ok(None) };
        let width = 4 + usize::from(self.root.offset_size()) + 4;
        let mut texts = Vec::new();
        for reference in attribute.raw_data.chunks_exact(width).take(count) {
            let Ok(bytes) = self.root.resolve_vlen_reference_bytes(reference, 1) else { return Ok(None) };
            self.budget.take(bytes.len() as u64 + size_of::<String>() as u64)?;
            texts.push(text(&bytes, padding));
        }
        Ok((texts.len() == count).then_some(texts))
    }
}

/// The attributes of a group that users see; the names of those that JSON cannot hold are added to `dropped`.
pub(super) fn of_group(
    reader: &AttributeReader<'_>,
    stored: &[AttributeMessage],
    path: &str,
    dropped: &mut Vec<String>,
) -> Result<Map<String, Value>> {
    let mut out = Map::new();
    for stored in stored.iter().filter(|a| !HIDDEN.contains(&a.name.as_str())) {
        let attribute = reader.decode(stored)?;
        match values(&attribute) {
            Some(value) => {
                reader.budget.take_json(&value)?;
                out.insert(attribute.name, value);
            }
            // It marks nothing as missing that is not so already.
            None if attribute.name == "missing_value" && is_nan(&attribute) => {}
            None => dropped.push(format!("{path}@{}", attribute.name)),
        }
    }
    Ok(out)
}

/// Like [`of_group`] for a variable of elements of this type, and the attribute `_FillValue` by itself.
pub(super) fn of_variable(
    reader: &AttributeReader<'_>,
    stored: &[AttributeMessage],
    element: Element,
    path: &str,
    dropped: &mut Vec<String>,
) -> Result<(Map<String, Value>, Option<Scalar>)> {
    let (fill, others): (Vec<_>, Vec<_>) = stored.iter().cloned().partition(|a| a.name == "_FillValue");
    let out = of_group(reader, &others, path, dropped)?;
    let Some(stored) = fill.first() else { return Ok((out, None)) };
    let fill = scalar(&reader.decode(stored)?).filter(|value| element.fill_attribute(value).is_some());
    if fill.is_none() {
        dropped.push(format!("{path}@_FillValue"));
    }
    Ok((out, fill))
}

fn is_nan(attribute: &Attribute) -> bool {
    numbers(attribute).is_some_and(|all| all.iter().all(|x| matches!(x, Scalar::Float(x) if x.is_nan())))
}

/// The type of the elements of an attribute, if they are numbers.
fn number_type(datatype: &Datatype) -> Option<Element> {
    match datatype {
        Datatype::FixedPoint { size, signed, byte_order } => {
            let kind = if *signed { Kind::Int } else { Kind::UInt };
            Some(Element::new(kind, usize::from(*size), *byte_order == ByteOrder::BigEndian))
        }
        Datatype::FloatingPoint { size, byte_order } => {
            Some(Element::new(Kind::Float, usize::from(*size), *byte_order == ByteOrder::BigEndian))
        }
        Datatype::Enum { base, .. } => number_type(base),
        _ => None,
    }
}

fn number(element: Element, bytes: &[u8]) -> Scalar {
    match element.kind {
        Kind::Float => Scalar::Float(element::float(bytes)),
        Kind::Int => Scalar::Int(element::signed(bytes)),
        _ => Scalar::Int(i128::try_from(element::unsigned(bytes)).unwrap_or(i128::MAX)),
    }
}

fn numbers(attribute: &Attribute) -> Option<Vec<Scalar>> {
    let element = number_type(&attribute.datatype).filter(|e| matches!(e.size, 1 | 2 | 4 | 8))?;
    let mut bytes = attribute.raw_data.clone();
    element.reorder(&mut bytes);
    let count = usize::try_from(attribute.num_elements().ok()?).ok()?;
    let values: Vec<_> = bytes.chunks_exact(element.size).take(count).map(|bytes| number(element, bytes)).collect();
    (values.len() == count).then_some(values)
}

fn texts(attribute: &Attribute) -> Option<Vec<String>> {
    if let Some(texts) = &attribute.decoded_strings {
        return Some(texts.clone());
    }
    match &attribute.datatype {
        Datatype::String { size: StringSize::Fixed(len), padding, .. } => {
            let len = usize::try_from(*len).ok().filter(|len| *len > 0)?;
            Some(attribute.raw_data.chunks_exact(len).map(|bytes| text(bytes, *padding)).collect())
        }
        _ => None,
    }
}

/// The text of a padded string; bytes that are not UTF-8 are taken for Latin-1.
pub(super) fn text(bytes: &[u8], padding: StringPadding) -> String {
    let bytes = match padding {
        StringPadding::SpacePad => bytes.trim_ascii_end(),
        _ => bytes.split(|b| *b == 0).next().unwrap_or_default(),
    };
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().map(|b| char::from(*b)).collect(), str::to_owned)
}

/// An attribute in JSON: one value as itself, several as a list, none as the empty text. `None` for references, records, lists of lists,
/// and numbers that JSON does not have.
fn values(attribute: &Attribute) -> Option<Value> {
    if attribute.shape.contains(&0) {
        return Some("".into());
    }
    if attribute.shape.iter().filter(|len| **len > 1).count() > 1 {
        return None;
    }
    let mut values: Vec<Value> = match numbers(attribute) {
        Some(numbers) => numbers.into_iter().map(in_json).collect::<Option<_>>()?,
        None => texts(attribute)?.into_iter().map(Value::String).collect(),
    };
    if values.len() == 1 { values.pop() } else { Some(Value::Array(values)) }
}

fn in_json(scalar: Scalar) -> Option<Value> {
    Some(match scalar {
        Scalar::Int(x) => Value::Number(Number::from_i128(x)?),
        Scalar::Float(x) => Value::Number(Number::from_f64(x)?),
        Scalar::Text(text) => Value::String(text),
    })
}

/// The only value of an attribute.
fn scalar(attribute: &Attribute) -> Option<Scalar> {
    let mut all: Vec<Scalar> = match numbers(attribute) {
        Some(numbers) => numbers,
        None => texts(attribute)?.into_iter().map(Scalar::Text).collect(),
    };
    all.pop().filter(|_| all.is_empty())
}
