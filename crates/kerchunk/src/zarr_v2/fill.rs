//! Fill values: how both versions of Zarr write them, and what xarray masks.

use data_encoding::BASE64;
use firnline::{Error, Result};
use serde_json::Value;

use super::data_type::DataType;
use super::float16;

/// The fill value of a Zarr v3 array as Zarr v2 writes it. `Invalid` if the data type has no such value.
pub(super) fn converted(data_type: &DataType, fill: Value) -> Result<Value> {
    let wrong = || Error::invalid("its fill_value is not one of its data type");
    match (data_type, &fill) {
        (DataType::Bool, Value::Bool(_)) | (DataType::Unicode(_) | DataType::Text, Value::String(_)) => Ok(fill),
        (DataType::Int(_) | DataType::Uint(_), Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(fill),
        (DataType::Float(size), _) => float(*size, &fill).ok_or_else(wrong),
        (DataType::Complex(size), Value::Array(parts)) if parts.len() == 2 => {
            parts.iter().map(|part| float(size / 2, part)).collect::<Option<Vec<_>>>().map(Value::Array).ok_or_else(wrong)
        }
        // Bytes as numbers, as the specification of `r*` has them.
        (DataType::Raw(size), Value::Array(bytes)) => {
            let bytes = bytes.iter().map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect::<Option<Vec<_>>>();
            let bytes = bytes.filter(|bytes| bytes.len() as u64 == *size);
            bytes.map(|bytes| BASE64.encode(&bytes).into()).ok_or_else(wrong)
        }
        (DataType::Raw(_) | DataType::Bytes(_) | DataType::AnyBytes, Value::String(text)) => {
            BASE64.decode(text.as_bytes()).map(|_| fill).map_err(|_| wrong())
        }
        (DataType::Time(..), Value::String(text)) if text == "NaT" => Ok(i64::MIN.into()),
        (DataType::Time(..), Value::Number(number)) if number.is_i64() => Ok(fill),
        _ => Err(wrong()),
    }
}

/// A floating-point number as both versions write it; its bits, which only Zarr v3 may give, as the number that they mean.
fn float(size: u64, fill: &Value) -> Option<Value> {
    match fill {
        Value::Number(_) => Some(fill.clone()),
        Value::String(text) if matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") => Some(fill.clone()),
        Value::String(text) => {
            let digits = text.strip_prefix("0x").filter(|digits| digits.len() as u64 == 2 * size)?;
            let number = match size {
                2 => float16::from_bits(u16::from_str_radix(digits, 16).ok()?),
                4 => f64::from(f32::from_bits(u32::from_str_radix(digits, 16).ok()?)),
                8 => f64::from_bits(u64::from_str_radix(digits, 16).ok()?),
                _ => return None,
            };
            Some(number_v2(number))
        }
        _ => None,
    }
}

/// A floating-point number as Zarr v2 writes it.
fn number_v2(number: f64) -> Value {
    match number {
        n if n.is_nan() => "NaN".into(),
        n if n.is_infinite() => if n > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        n => n.into(),
    }
}

/// A floating-point number that is written as base64 of its eight bytes.
fn encoded(text: &str) -> Option<Value> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    Some(number_v2(f64::from_le_bytes(bytes.try_into().ok()?)))
}

pub(super) fn is_nan(fill: &Value) -> bool {
    fill.as_str() == Some("NaN")
}

/// Whether two fill values of Zarr v2 are the same value of the data type.
pub(super) fn are_equal(data_type: &DataType, one: &Value, other: &Value) -> bool {
    let same = |one: f64, other: f64| match data_type {
        #[expect(clippy::cast_possible_truncation, reason = "the array holds numbers of this size")]
        DataType::Float(4) | DataType::Complex(8) => (one as f32).to_bits() == (other as f32).to_bits(),
        _ => one.to_bits() == other.to_bits(),
    };
    let are_same =
        |one: &Value, other: &Value| one == other || one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| same(one, other));
    match (data_type, one, other) {
        (DataType::Float(_), _, _) => are_same(one, other),
        (DataType::Complex(_), Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| are_same(one, other))
        }
        _ => one == other,
    }
}

/// What the attribute `_FillValue` of a Zarr v3 array says, which xarray masks.
#[derive(Debug, PartialEq)]
pub(super) enum MaskV3 {
    /// There is none.
    Absent,
    /// The value, as a fill value of Zarr v2.
    Value(Value),
    /// It is not written as xarray writes values of this type.
    Unknown,
}

impl MaskV3 {
    /// Reads the attribute as xarray writes it: floating-point numbers are base64 of eight bytes, complex ones a list of two of these.
    pub(super) fn of(data_type: &DataType, attribute: Option<Value>) -> Self {
        let Some(attribute) = attribute else { return Self::Absent };
        let value = match (data_type, &attribute) {
            (DataType::Float(_), Value::String(text)) => encoded(text).or_else(|| float(0, &attribute)),
            (DataType::Complex(_), Value::Array(parts)) if parts.len() == 2 => {
                parts.iter().map(|part| part.as_str().and_then(encoded)).collect::<Option<_>>().map(Value::Array)
            }
            (DataType::Complex(_), _) => None,
            _ => converted(data_type, attribute).ok(),
        };
        value.map_or(Self::Unknown, Self::Value)
    }
}
