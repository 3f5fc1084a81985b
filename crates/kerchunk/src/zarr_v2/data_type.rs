//! Data types of Zarr v3 as those of Zarr v2.

use firnline::{Error, Result};

use super::codecs::Endian;
use super::extension::Extension;
use super::unsupported;

/// A data type that both versions of Zarr have. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DataType {
    Bool,
    Int(u64),
    Uint(u64),
    Float(u64),
    Complex(u64),
    /// Bytes without a meaning.
    Raw(u64),
    /// Bytes that end with the first zero after which there are only zeros.
    Bytes(u64),
    /// So many code points of four bytes each.
    Unicode(u64),
    /// `datetime64` (`M`) and `timedelta64` (`m`): 8 bytes that count a unit, such as `ns` or `10s`.
    Time(char, String),
    /// Text of any length.
    Text,
    /// Bytes of any length.
    AnyBytes,
}

impl DataType {
    pub(super) fn of(mut data_type: Extension) -> Result<Self> {
        let name = data_type.name.clone();
        let found = match name.as_str() {
            "bool" => Self::Bool,
            "int8" => Self::Int(1),
            "int16" => Self::Int(2),
            "int32" => Self::Int(4),
            "int64" => Self::Int(8),
            "uint8" => Self::Uint(1),
            "uint16" => Self::Uint(2),
            "uint32" => Self::Uint(4),
            "uint64" => Self::Uint(8),
            "float16" => Self::Float(2),
            "float32" => Self::Float(4),
            "float64" => Self::Float(8),
            "complex64" => Self::Complex(8),
            "complex128" => Self::Complex(16),
            "raw_bytes" => Self::Raw(data_type.need("length_bytes", Extension::take_number)?),
            "null_terminated_bytes" => Self::Bytes(data_type.need("length_bytes", Extension::take_number)?),
            "fixed_length_utf32" => {
                let length = data_type.need("length_bytes", Extension::take_number)?;
                Self::Unicode(if length.is_multiple_of(4) { length / 4 } else { return Err(data_type.wrong("length_bytes")) })
            }
            "numpy.datetime64" => Self::Time('M', unit(&mut data_type)?),
            "numpy.timedelta64" => Self::Time('m', unit(&mut data_type)?),
            "string" => Self::Text,
            "bytes" | "variable_length_bytes" => Self::AnyBytes,
            _ => match name.strip_prefix('r').and_then(|bits| bits.parse::<u64>().ok()) {
                Some(bits) if bits > 0 && bits.is_multiple_of(8) => Self::Raw(bits / 8),
                _ => return Err(unsupported(format!("its data type {name:?} is not known in Zarr v2"))),
            },
        };
        data_type.finish()?;
        Ok(found)
    }

    /// Whether its values are objects of any length, which a codec of their own writes.
    pub(super) const fn is_object(&self) -> bool {
        matches!(self, Self::Text | Self::AnyBytes)
    }

    /// Whether the order of the bytes of a value matters.
    pub(super) const fn has_order(&self) -> bool {
        match self {
            Self::Int(size) | Self::Uint(size) => *size > 1,
            Self::Float(_) | Self::Complex(_) | Self::Unicode(_) | Self::Time(..) => true,
            Self::Bool | Self::Raw(_) | Self::Bytes(_) | Self::Text | Self::AnyBytes => false,
        }
    }

    /// The data type as Zarr v2 writes it. `Invalid` if the order of the bytes matters and is not known.
    pub(super) fn dtype(&self, endian: Option<Endian>) -> Result<String> {
        let order = match (self.has_order(), endian) {
            (false, _) => '|',
            (true, Some(Endian::Little)) => '<',
            (true, Some(Endian::Big)) => '>',
            (true, None) => return Err(Error::invalid("its codec bytes has no endian, and its values have several bytes")),
        };
        Ok(match self {
            Self::Bool => "|b1".to_owned(),
            Self::Int(size) => format!("{order}i{size}"),
            Self::Uint(size) => format!("{order}u{size}"),
            Self::Float(size) => format!("{order}f{size}"),
            Self::Complex(size) => format!("{order}c{size}"),
            Self::Raw(size) => format!("|V{size}"),
            Self::Bytes(size) => format!("|S{size}"),
            Self::Unicode(points) => format!("{order}U{points}"),
            Self::Time(kind, unit) if unit.is_empty() => format!("{order}{kind}8"),
            Self::Time(kind, unit) => format!("{order}{kind}8[{unit}]"),
            Self::Text | Self::AnyBytes => "|O".to_owned(),
        })
    }
}

/// The unit that a time counts, as `numpy` writes it in brackets.
fn unit(time: &mut Extension) -> Result<String> {
    const UNITS: [&str; 13] = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"];
    let (unit, scale) = (time.need("unit", Extension::take_text)?, time.take_number("scale_factor")?.unwrap_or(1));
    match (unit.as_str(), scale) {
        ("generic", 1) => Ok(String::new()),
        ("μs", 1) => Ok("us".to_owned()),
        (unit, 1) if UNITS.contains(&unit) => Ok(unit.to_owned()),
        (unit, scale) if UNITS.contains(&unit) && scale > 0 => Ok(format!("{scale}{unit}")),
        _ => Err(time.wrong("unit")),
    }
}
