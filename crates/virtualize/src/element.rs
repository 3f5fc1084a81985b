//! The type of an array's elements: as the file has it, and as Zarr names it.

use data_encoding::BASE64;
use serde_json::{Number, Value, json};

use crate::ZarrFormat;

/// What an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    UInt,
    Float,
    /// Two floats, the real part first.
    Complex,
    /// A string of a fixed number of bytes.
    Bytes,
    /// A string of any length: read and stored, since a file keeps the bytes of all strings in one heap.
    Text,
}

/// The type of the elements of one variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) kind: Kind,
    /// In bytes; 0 for [`Kind::Text`].
    pub(crate) size: usize,
    /// The most significant byte comes first.
    pub(crate) is_big: bool,
}

/// One value of an attribute, as far as it can be a fill value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Int(i128),
    Float(f64),
    Text(String),
}

impl Element {
    pub(crate) const TEXT: Self = Self { kind: Kind::Text, size: 0, is_big: false };

    pub(crate) const fn new(kind: Kind, size: usize, is_big: bool) -> Self {
        Self { kind, size, is_big: is_big && size > 1 && !matches!(kind, Kind::Bytes | Kind::Bool) }
    }

    /// The same with the least significant byte first, as values are stored that are copied into the repository.
    pub(crate) const fn little(self) -> Self {
        Self { is_big: false, ..self }
    }

    /// How many bytes change their order together.
    const fn width(self) -> usize {
        match self.kind {
            Kind::Bytes | Kind::Bool | Kind::Text => 1,
            Kind::Complex => self.size / 2,
            Kind::Int | Kind::UInt | Kind::Float => self.size,
        }
    }

    /// Puts the bytes of values of this type into little-endian order.
    pub(crate) fn reorder(self, bytes: &mut [u8]) {
        if self.is_big && self.width() > 1 {
            bytes.chunks_exact_mut(self.width()).for_each(<[u8]>::reverse);
        }
    }

    /// The name that Zarr gives the type.
    pub(crate) fn data_type(self, format: ZarrFormat) -> Value {
        let bits = self.size * 8;
        if format == ZarrFormat::V2 {
            let letter = match self.kind {
                Kind::Bool => "b",
                Kind::Int => "i",
                Kind::UInt => "u",
                Kind::Float => "f",
                Kind::Complex => "c",
                Kind::Bytes => "S",
                Kind::Text => return "|O".into(),
            };
            let order = if self.width() == 1 {
                "|"
            } else if self.is_big {
                ">"
            } else {
                "<"
            };
            return format!("{order}{letter}{}", self.size).into();
        }
        match self.kind {
            Kind::Bool => "bool".into(),
            Kind::Int => format!("int{bits}").into(),
            Kind::UInt => format!("uint{bits}").into(),
            Kind::Float => format!("float{bits}").into(),
            Kind::Complex => format!("complex{bits}").into(),
            Kind::Bytes => json!({"name": "null_terminated_bytes", "configuration": {"length_bytes": self.size}}),
            Kind::Text => "string".into(),
        }
    }

    /// The codec of version 3 that turns elements into bytes.
    pub(crate) fn bytes_codec(self) -> Value {
        match self.kind {
            Kind::Text => json!({"name": "vlen-utf8"}),
            _ if self.width() == 1 => json!({"name": "bytes"}),
            _ => json!({"name": "bytes", "configuration": {"endian": if self.is_big { "big" } else { "little" }}}),
        }
    }

    /// How Zarr writes one value; `bytes` are in little-endian order. `None` stands for the zero of the type.
    pub(crate) fn value(self, bytes: Option<&[u8]>) -> Value {
        let zero = vec![0; self.size];
        let bytes = bytes.filter(|bytes| bytes.len() == self.size).unwrap_or(&zero);
        match self.kind {
            Kind::Bool => Value::Bool(bytes.first().is_some_and(|b| *b != 0)),
            Kind::Int => Number::from_i128(signed(bytes)).map_or(Value::Null, Value::Number),
            Kind::UInt => Number::from_u128(unsigned(bytes)).map_or(Value::Null, Value::Number),
            Kind::Float => float_value(float(bytes)),
            Kind::Complex => {
                let (re, im) = bytes.split_at(self.size / 2);
                json!([float_value(float(re)), float_value(float(im))])
            }
            Kind::Bytes => BASE64.encode(bytes).into(),
            Kind::Text => "".into(),
        }
    }

    /// Whether a number is one of these integers.
    fn holds(self, x: i128) -> bool {
        let bytes = x.to_le_bytes();
        let bytes = bytes.get(..self.size).unwrap_or_default();
        x == if self.kind == Kind::Int { signed(bytes) } else { unsigned(bytes).cast_signed() }
    }

    /// Whether version 3 has room for the attribute `_FillValue`: of strings xarray writes it, and then does not open the whole group.
    pub(crate) const fn can_state_fill(self, format: ZarrFormat) -> bool {
        matches!(format, ZarrFormat::V2) || !matches!(self.kind, Kind::Bytes | Kind::Text)
    }

    /// How xarray writes the attribute `_FillValue` of a variable of this type in version 3; `None` where it cannot be of this type.
    pub(crate) fn fill_attribute(self, value: &Scalar) -> Option<Value> {
        Some(match (self.kind, value) {
            (Kind::Float, Scalar::Float(x)) => BASE64.encode(&x.to_le_bytes()).into(),
            #[expect(clippy::cast_precision_loss, reason = "a fill value of a float that is written as an integer")]
            (Kind::Float, Scalar::Int(x)) => BASE64.encode(&(*x as f64).to_le_bytes()).into(),
            (Kind::Int | Kind::UInt, Scalar::Int(x)) if self.holds(*x) => Value::Number(Number::from_i128(*x)?),
            #[expect(clippy::cast_possible_truncation, reason = "a fill value of integers that is written as a float")]
            (Kind::Int | Kind::UInt, Scalar::Float(x)) if x.fract() == 0.0 && self.holds(*x as i128) => {
                Value::Number(Number::from_i128(*x as i128)?)
            }
            (Kind::Bytes, Scalar::Text(text)) if text.len() <= self.size => BASE64.encode(text.as_bytes()).into(),
            (Kind::Text, Scalar::Text(text)) => text.clone().into(),
            _ => return None,
        })
    }

    /// The fill value of version 2 that says the same as the attribute `_FillValue`.
    pub(crate) fn fill_number(self, value: &Scalar) -> Option<Value> {
        #[expect(clippy::cast_precision_loss, reason = "a fill value of a float that is written as an integer")]
        match (self.kind, value) {
            (Kind::Float, Scalar::Float(x)) => Some(float_value(*x)),
            (Kind::Float, Scalar::Int(x)) => Some(float_value(*x as f64)),
            _ => self.fill_attribute(value),
        }
    }
}

/// Two's complement, least significant byte first; at most 8 bytes.
pub(crate) fn signed(bytes: &[u8]) -> i128 {
    let bits = u32::try_from(bytes.len().min(16) * 8).unwrap_or(128);
    if bits == 0 {
        return 0;
    }
    let shift = 128 - bits;
    (unsigned(bytes).cast_signed() << shift) >> shift
}

/// An unsigned number, least significant byte first.
pub(crate) fn unsigned(bytes: &[u8]) -> u128 {
    bytes.iter().take(16).rev().fold(0, |n, b| (n << 8) | u128::from(*b))
}

/// An IEEE number of 2, 4 or 8 bytes, least significant byte first; of other lengths 0.
pub(crate) fn float(bytes: &[u8]) -> f64 {
    if let Ok(bytes) = <[u8; 8]>::try_from(bytes) {
        return f64::from_le_bytes(bytes);
    }
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return f64::from(f32::from_le_bytes(bytes));
    }
    <[u8; 2]>::try_from(bytes).map_or(0.0, |bytes| half(u16::from_le_bytes(bytes)))
}

fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from((bits >> 10) & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    }
}

/// A float in JSON, in the words of Zarr where JSON has no number for it.
pub(crate) fn float_value(x: f64) -> Value {
    match Number::from_f64(x) {
        Some(number) => Value::Number(number),
        None if x.is_nan() => "NaN".into(),
        None if x > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_their_width_and_sign() {
        assert_eq!(signed(&[0xff]), -1);
        assert_eq!(signed(&(-32767_i16).to_le_bytes()), -32767);
        assert_eq!(signed(&i64::MIN.to_le_bytes()), i128::from(i64::MIN));
        assert_eq!(unsigned(&u64::MAX.to_le_bytes()), u128::from(u64::MAX));
        for (bits, value) in [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (0x0001, 2_f64.powi(-24)), (0xfc00, f64::NEG_INFINITY)] {
            assert_eq!(half(bits).to_bits(), value.to_bits(), "{bits:x}");
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn big_endian_values_are_turned_by_their_width() {
        let mut bytes = vec![0, 1, 0, 2];
        Element::new(Kind::Int, 2, true).reorder(&mut bytes);
        assert_eq!(bytes, [1, 0, 2, 0]);
        let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 2];
        Element::new(Kind::Complex, 8, true).reorder(&mut bytes);
        assert_eq!(bytes, [1, 0, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn fill_values_are_written_as_xarray_reads_them() {
        // base64.standard_b64encode(struct.pack("<d", -9999.0)) in Python.
        let float = Element::new(Kind::Float, 4, false);
        assert_eq!(float.fill_attribute(&Scalar::Float(-9999.0)), Some("AAAAAICHw8A=".into()));
        assert_eq!(float.value(Some(&f32::NAN.to_le_bytes())), Value::from("NaN"));
        let int = Element::new(Kind::Int, 2, false);
        assert_eq!(int.fill_attribute(&Scalar::Int(-32767)), Some(json!(-32767)));
        assert_eq!(int.value(Some(&(-5_i16).to_le_bytes())), json!(-5));
        assert_eq!(int.value(None), json!(0));
        // What was no UTF-8 in the file may have more bytes than an element.
        let letter = Element::new(Kind::Bytes, 1, false);
        assert_eq!(letter.fill_attribute(&Scalar::Text(" ".to_owned())), Some("IA==".into()));
        assert_eq!(letter.fill_attribute(&Scalar::Text("\u{fffd}".to_owned())), None);
    }
}
