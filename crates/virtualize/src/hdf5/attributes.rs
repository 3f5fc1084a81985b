//! Attributes as netCDF and xarray show them.

use hdf5_reader::messages::datatype::{StringPadding, StringSize, VarLenKind};
use hdf5_reader::{Attribute, ByteOrder, Datatype};
use serde_json::{Map, Number, Value};

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

/// The attributes of a group that users see; the names of those that JSON cannot hold are added to `dropped`.
pub(super) fn of_group(attributes: &[Attribute], path: &str, dropped: &mut Vec<String>) -> Map<String, Value> {
    let mut out = Map::new();
    for attribute in attributes.iter().filter(|a| !HIDDEN.contains(&a.name.as_str())) {
        match values(attribute) {
            Some(value) => _ = out.insert(attribute.name.clone(), value),
            // It marks nothing as missing that is not so already.
            None if attribute.name == "missing_value" && is_nan(attribute) => {}
            None => dropped.push(format!("{path}@{}", attribute.name)),
        }
    }
    out
}

/// Like [`of_group`] for a variable of elements of this type, and the attribute `_FillValue` by itself.
pub(super) fn of_variable(
    attributes: &[Attribute],
    element: Element,
    path: &str,
    dropped: &mut Vec<String>,
) -> (Map<String, Value>, Option<Scalar>) {
    let (fill, others): (Vec<_>, Vec<_>) = attributes.iter().cloned().partition(|a| a.name == "_FillValue");
    let out = of_group(&others, path, dropped);
    let Some(attribute) = fill.first() else { return (out, None) };
    let fill = scalar(attribute).filter(|value| element.fill_attribute(value).is_some());
    if fill.is_none() {
        dropped.push(format!("{path}@_FillValue"));
    }
    (out, fill)
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
        // Bytes that are no UTF-8. A reference whose text is not found stays a reference, which ends with the upper half of a small number.
        Datatype::VarLen { kind: VarLenKind::String, .. } if attribute.shape.is_empty() && !attribute.raw_data.ends_with(&[0, 0]) => {
            Some(vec![text(&attribute.raw_data, StringPadding::NullTerminate)])
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
