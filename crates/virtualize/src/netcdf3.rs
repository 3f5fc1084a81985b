//! NetCDF files in the classic formats (CDF-1, CDF-2, CDF-5).
//!
//! A variable along the record dimension has one piece in each record, which becomes one chunk; all others lie in one piece. Numbers are
//! big-endian, and nothing is compressed.

use std::sync::Arc;

use firnline::{Error, ErrorKind, Result};
use netcdf_reader::classic::ClassicFile;
use netcdf_reader::classic::data::compute_record_stride;
use netcdf_reader::{Error as NcError, NcAttrValue, NcAttribute, NcFormat, NcType, NcVariable};
use serde_json::{Map, Number, Value};

use crate::budget::Budget;
use crate::element::{Element, Kind, Scalar};
use crate::model::{Body, Chunks, Parsed, ParsedGroup, Values, Variable, count, is_coordinate};
use crate::parse::{MOST_COPIED, Wanted};
use crate::source::FileBytes;

/// More records than this are not looked at in one file.
const RECORDS: u64 = 1 << 24;

/// Parses a classic file.
pub(crate) fn parse(bytes: &FileBytes, format: NcFormat, wanted: &Wanted) -> Result<Parsed> {
    if !wanted.group.is_empty() {
        return Err(Error::not_found(format!("has no group {}: it is a NetCDF3 file, which has no groups", wanted.group)));
    }
    let file = ClassicFile::from_storage(Arc::clone(bytes.storage()), format).map_err(|e| failed(&e))?;
    let group = file.root_group();
    let stride = compute_record_stride(&group.variables).map_err(|e| failed(&e))?;
    let mut parsed = Parsed::default();
    let budget = Budget::of(bytes.len());
    let attributes = visible(&group.attributes, "", &mut parsed.dropped, &budget)?;
    parsed.groups.push(ParsedGroup { path: String::new(), attributes });
    for variable in &group.variables {
        if wanted.is_dropped(&variable.name) {
            continue;
        }
        let context = ClassicContext { bytes, wanted, budget: &budget, variable, stride, records: file.numrecs() };
        parsed.variables.push(context.variable(&mut parsed.dropped).map_err(|e| e.context(&variable.name))?);
    }
    Ok(parsed)
}

struct ClassicContext<'c> {
    bytes: &'c FileBytes,
    wanted: &'c Wanted,
    budget: &'c Budget,
    variable: &'c NcVariable,
    /// How many bytes after a record the next one begins.
    stride: u64,
    records: u64,
}

impl ClassicContext<'_> {
    fn variable(&self, dropped: &mut Vec<String>) -> Result<Variable> {
        let NcVariable { name, dimensions, dtype, attributes, .. } = self.variable;
        let element = element_of(dtype)?;
        let dims: Vec<String> = dimensions.iter().map(|dim| dim.name.clone()).collect();
        let shape: Vec<u64> = dimensions.iter().map(|dim| if dim.is_unlimited { self.records } else { dim.size }).collect();
        let bytes = count(&shape).and_then(|n| n.checked_mul(element.size as u64));
        let bytes = bytes.ok_or_else(|| Error::corrupt("has more bytes than can be counted"))?;
        self.check_end(bytes)?;
        let row = shape.iter().fold(element.size as u64, |n, len| n.saturating_mul((*len).max(1)));
        let weight = if bytes == 0 { row } else { bytes };
        let is_copied = shape.is_empty() || self.wanted.is_copied(name, is_coordinate(name, &dims), weight);
        let body = if is_copied { self.values(element, bytes)? } else { self.places(&shape)? };
        let element = if is_copied { element.little() } else { element };
        let stated = attributes.iter().find(|a| a.name == "_FillValue");
        let fill_attribute = stated.and_then(scalar).filter(|value| element.fill_attribute(value).is_some());
        if stated.is_some() && fill_attribute.is_none() {
            dropped.push(format!("{name}@_FillValue"));
        }
        let attributes = visible(attributes, name, dropped, self.budget)?;
        Ok(Variable { path: name.clone(), dims, shape, element, fill: None, fill_attribute, attributes, body })
    }

    /// `Corrupt` when the file ends before the last of the `bytes` of the variable.
    fn check_end(&self, bytes: u64) -> Result<()> {
        let NcVariable { data_offset, is_record_var, record_size, .. } = self.variable;
        let end = if bytes == 0 {
            Some(0)
        } else if *is_record_var {
            let last = self.records.saturating_sub(1).checked_mul(self.stride);
            last.and_then(|at| at.checked_add(*data_offset)).and_then(|at| at.checked_add(*record_size))
        } else {
            data_offset.checked_add(bytes)
        };
        match end {
            Some(end) if end <= self.bytes.len() => Ok(()),
            _ => Err(Error::corrupt("has values that lie past the end of the file")),
        }
    }

    /// Where each record of the variable begins.
    fn starts(&self) -> impl Iterator<Item = u64> + use<'_> {
        (0..self.records).map(|n| self.variable.data_offset + n * self.stride)
    }

    fn values(&self, element: Element, bytes: u64) -> Result<Body> {
        let NcVariable { data_offset, is_record_var, record_size, .. } = self.variable;
        if bytes > MOST_COPIED {
            return Err(Error::unsupported(format!("has to be copied and has {bytes} bytes; leave the variable out")));
        }
        self.budget.take(bytes)?;
        let mut values = if *is_record_var && bytes > 0 {
            let mut all = Vec::new();
            for start in self.starts() {
                all.extend(self.bytes.read(start..start + record_size)?);
            }
            all
        } else {
            self.bytes.read(*data_offset..data_offset + bytes)?
        };
        element.reorder(&mut values);
        Ok(Body::Values(Values::Bytes(values)))
    }

    fn places(&self, shape: &[u64]) -> Result<Body> {
        let NcVariable { data_offset, is_record_var, record_size, .. } = self.variable;
        if !is_record_var {
            return Ok(Body::Contiguous { offset: Some(*data_offset) });
        }
        if self.records > RECORDS {
            return Err(Error::unsupported(format!("has {} records; at most {RECORDS} are looked at", self.records)));
        }
        self.budget.take_chunks(self.records)?;
        let mut chunks = Chunks { shape: shape.to_vec(), ..Chunks::default() };
        if let Some(first) = chunks.shape.first_mut() {
            *first = 1;
        }
        if *record_size > 0 {
            for (n, start) in (0..).zip(self.starts()) {
                chunks.cells.push(n);
                chunks.cells.extend(shape.iter().skip(1).map(|_| 0));
                chunks.offset.push(start);
                chunks.length.push(*record_size);
            }
        }
        Ok(Body::Chunked(chunks))
    }
}

fn element_of(dtype: &NcType) -> Result<Element> {
    let (kind, size) = match dtype {
        NcType::Byte => (Kind::Int, 1),
        NcType::Char => (Kind::Bytes, 1),
        NcType::Short => (Kind::Int, 2),
        NcType::Int => (Kind::Int, 4),
        NcType::Float => (Kind::Float, 4),
        NcType::Double => (Kind::Float, 8),
        NcType::UByte => (Kind::UInt, 1),
        NcType::UShort => (Kind::UInt, 2),
        NcType::UInt => (Kind::UInt, 4),
        NcType::Int64 => (Kind::Int, 8),
        NcType::UInt64 => (Kind::UInt, 8),
        _ => return Err(Error::corrupt("has elements of a type that NetCDF3 does not have")),
    };
    Ok(Element::new(kind, size, true))
}

/// All attributes but `_FillValue`; the names of those that JSON cannot hold are added to `dropped`.
fn visible(attributes: &[NcAttribute], path: &str, dropped: &mut Vec<String>, budget: &Budget) -> Result<Map<String, Value>> {
    let mut out = Map::new();
    for attribute in attributes.iter().filter(|a| path.is_empty() || a.name != "_FillValue") {
        match value(&attribute.value) {
            Some(value) => {
                budget.take_json(&value)?;
                out.insert(attribute.name.clone(), value);
            }
            // It marks nothing as missing that is not so already.
            None if attribute.name == "missing_value" && is_nan(&attribute.value) => {}
            None => dropped.push(format!("{path}@{}", attribute.name)),
        }
    }
    Ok(out)
}

fn is_nan(value: &NcAttrValue) -> bool {
    match value {
        NcAttrValue::Floats(v) => v.iter().all(|x| x.is_nan()),
        NcAttrValue::Doubles(v) => v.iter().all(|x| x.is_nan()),
        _ => false,
    }
}

/// An attribute in JSON: one value as itself, several as a list, none as the empty text. `None` for numbers that JSON does not have.
fn value(value: &NcAttrValue) -> Option<Value> {
    fn list<T: Copy>(values: &[T], in_json: impl Fn(T) -> Option<Value>) -> Option<Value> {
        match values {
            [] => Some("".into()),
            [one] => in_json(*one),
            many => many.iter().copied().map(in_json).collect(),
        }
    }
    fn whole<T: Copy + Into<Value>>(values: &[T]) -> Option<Value> {
        list(values, |x| Some(x.into()))
    }
    let float = |x: f64| Number::from_f64(x).map(Value::Number);
    match value {
        NcAttrValue::Bytes(v) => whole(v),
        NcAttrValue::Chars(text) => Some(text.trim_end_matches('\0').into()),
        NcAttrValue::Shorts(v) => whole(v),
        NcAttrValue::Ints(v) => whole(v),
        NcAttrValue::Floats(v) => list(v, |x| float(f64::from(x))),
        NcAttrValue::Doubles(v) => list(v, float),
        NcAttrValue::UBytes(v) => whole(v),
        NcAttrValue::UShorts(v) => whole(v),
        NcAttrValue::UInts(v) => whole(v),
        NcAttrValue::Int64s(v) => whole(v),
        NcAttrValue::UInt64s(v) => whole(v),
        NcAttrValue::Strings(v) => Some(Value::from(v.clone())),
        NcAttrValue::UserDefined { .. } => None,
    }
}

/// The only value of an attribute.
fn scalar(attribute: &NcAttribute) -> Option<Scalar> {
    match &attribute.value {
        NcAttrValue::Floats(v) => <[f32; 1]>::try_from(v.as_slice()).ok().map(|[x]| Scalar::Float(f64::from(x))),
        NcAttrValue::Doubles(v) => <[f64; 1]>::try_from(v.as_slice()).ok().map(|[x]| Scalar::Float(x)),
        other => match value(other)? {
            Value::Number(n) => n.as_i128().map(Scalar::Int),
            Value::String(text) => Some(Scalar::Text(text)),
            _ => None,
        },
    }
}

fn failed(error: &NcError) -> Error {
    let text = error.to_string();
    let kind = if text.starts_with("unsupported") { ErrorKind::Unsupported } else { ErrorKind::Corrupt };
    Error::new(kind, text)
}
