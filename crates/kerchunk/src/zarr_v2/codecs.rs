//! Codecs of Zarr v3 as filters and compressor of Zarr v2.
//!
//! Zarr v2 has one list as well: filters, of which the first ones change arrays and the others bytes, and the compressor as its last
//! element. Its codecs are those of `numcodecs`.

use firnline::{Error, Result};
use serde_json::{Value, json};

use super::data_type::DataType;
use super::extension::Extension;
use super::unsupported;

/// Codecs of `numcodecs` that zarr-python offers for Zarr v3 as `numcodecs.NAME` with the same configuration: those that change arrays.
const ON_ARRAYS: [&str; 6] = ["delta", "fixedscaleoffset", "quantize", "bitround", "astype", "packbits"];
/// Those that make bytes of arrays.
const ARRAYS_TO_BYTES: [&str; 2] = ["zfpy", "pcodec"];
/// Those that change bytes.
const ON_BYTES: [&str; 13] =
    ["blosc", "lz4", "zstd", "zlib", "gzip", "bz2", "lzma", "shuffle", "crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3"];

/// The order of the bytes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endian {
    Little,
    Big,
}

/// How Zarr v2 describes what codecs do.
#[derive(Debug, PartialEq)]
pub(super) struct CodecsV2 {
    /// `C` or `F`.
    pub(super) order: &'static str,
    pub(super) endian: Option<Endian>,
    pub(super) filters: Vec<Value>,
    pub(super) compressor: Option<Value>,
}

/// One codec, by what it changes.
enum Step {
    /// The order of dimensions.
    Transpose(Vec<usize>),
    /// An array.
    OnArray(Value),
    /// It makes bytes of an array: as they are, or by a codec that Zarr v2 has too.
    ToBytes(Option<Value>, Option<Endian>),
    /// Bytes.
    OnBytes(Value),
}

/// What has been read of a list of codecs.
#[derive(Debug, Default)]
struct Chain {
    is_transposed: bool,
    all: Vec<Value>,
    /// How many of them change arrays, or make bytes of them, and cannot be the compressor.
    filters: usize,
    has_bytes: bool,
    endian: Option<Endian>,
}

impl CodecsV2 {
    /// The codecs of an array of `rank` dimensions. `Unsupported`, naming the codec, if one has no counterpart.
    pub(super) fn of(codecs: Vec<Extension>, data_type: &DataType, rank: usize) -> Result<Self> {
        let mut chain = Chain::default();
        for codec in codecs {
            let name = codec.name.clone();
            if !chain.add(Step::of(codec, data_type)?, rank)? {
                return Err(Error::invalid(format!("its codec {name:?} is at the wrong place")));
            }
        }
        let Chain { is_transposed, mut all, filters, has_bytes, endian } = chain;
        if !has_bytes {
            return Err(Error::invalid("its codecs make no bytes of an array"));
        }
        let compressor = if all.len() > filters { all.pop() } else { None };
        Ok(Self { order: if is_transposed { "F" } else { "C" }, endian, filters: all, compressor })
    }
}

impl Chain {
    /// Adds a codec; `false` if it cannot come after those before it.
    fn add(&mut self, step: Step, rank: usize) -> Result<bool> {
        match step {
            Step::OnBytes(codec) if self.has_bytes => self.all.push(codec),
            Step::Transpose(order) if !self.has_bytes => self.transpose(&order, rank)?,
            Step::OnArray(codec) if !self.has_bytes => {
                self.all.push(codec);
                self.filters = self.all.len();
            }
            Step::ToBytes(_, Some(Endian::Big)) if !self.all.is_empty() => {
                return Err(unsupported(
                    "it has filters before big-endian bytes, and filters of Zarr v2 have an order of bytes of their own",
                ));
            }
            Step::ToBytes(codec, endian) if !self.has_bytes => {
                self.has_bytes = true;
                self.endian = endian;
                self.all.extend(codec);
                // Text and bytes of any length are packed by a filter; a codec of numbers can be the compressor.
                self.filters = if endian.is_none() { self.all.len() } else { self.filters };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The order of dimensions, which Zarr v2 has as C or F and before everything else.
    fn transpose(&mut self, order: &[usize], rank: usize) -> Result<()> {
        if order.iter().copied().eq(0..rank) {
            return Ok(());
        }
        if self.is_transposed || !self.all.is_empty() || !order.iter().copied().eq((0..rank).rev()) {
            return Err(unsupported("its codec transpose gives neither of the orders of Zarr v2, C and F"));
        }
        self.is_transposed = true;
        Ok(())
    }
}

impl Step {
    fn of(mut codec: Extension, data_type: &DataType) -> Result<Self> {
        let name = codec.name.clone();
        let known = |names: &[&str]| name.strip_prefix("numcodecs.").is_some_and(|name| names.contains(&name));
        match (name.as_str(), data_type) {
            ("transpose", _) => {
                let order = codec.take("order").ok_or_else(|| Error::invalid("its codec transpose has no order"))?;
                let order = serde_json::from_value(order).map_err(|e| codec.wrong("order").caused_by(e))?;
                codec.finish().map(|()| Self::Transpose(order))
            }
            ("bytes", data_type) if !data_type.is_object() => {
                let endian = match codec.take_text("endian")?.as_deref() {
                    None => None,
                    Some("little") => Some(Endian::Little),
                    Some("big") => Some(Endian::Big),
                    Some(_) => return Err(codec.wrong("endian")),
                };
                codec.finish().map(|()| Self::ToBytes(None, endian))
            }
            ("vlen-utf8", DataType::Text) | ("vlen-bytes", DataType::AnyBytes) => {
                codec.finish().map(|()| Self::ToBytes(Some(json!({ "id": name })), None))
            }
            ("gzip", _) => gzip(codec).map(Self::OnBytes),
            ("zstd", _) => zstd(codec).map(Self::OnBytes),
            ("blosc", _) => blosc(codec).map(Self::OnBytes),
            ("crc32c", _) => codec.finish().map(|()| Self::OnBytes(json!({ "id": "crc32c", "location": "end" }))),
            ("sharding_indexed", _) => Err(unsupported("its chunks are shards, which Zarr v2 does not have")),
            _ if known(&ON_BYTES) => Ok(Self::OnBytes(of_numcodecs(codec))),
            (_, data_type) if data_type.is_object() => {
                Err(unsupported(format!("its codec {name:?} has no counterpart for values of any length")))
            }
            _ if known(&ON_ARRAYS) => Ok(Self::OnArray(of_numcodecs(codec))),
            // They record the order of bytes themselves, and give values of the machine.
            _ if known(&ARRAYS_TO_BYTES) => Ok(Self::ToBytes(Some(of_numcodecs(codec)), Some(Endian::Little))),
            _ => Err(unsupported(format!("its codec {name:?} is not known in Zarr v2"))),
        }
    }
}

/// A codec of `numcodecs`: the same under both versions.
fn of_numcodecs(codec: Extension) -> Value {
    let Extension { name, mut configuration } = codec;
    configuration.insert("id".to_owned(), name.trim_start_matches("numcodecs.").into());
    Value::Object(configuration)
}

fn gzip(mut codec: Extension) -> Result<Value> {
    let level = codec.need("level", Extension::take_number)?;
    codec.finish()?;
    Ok(json!({ "id": "gzip", "level": level }))
}

fn zstd(mut codec: Extension) -> Result<Value> {
    let level = codec.take("level").unwrap_or_else(|| 0.into());
    // A frame says itself whether it ends with a checksum.
    let checksum = codec.take("checksum") == Some(Value::Bool(true));
    codec.finish()?;
    Ok(if checksum { json!({ "id": "zstd", "level": level, "checksum": true }) } else { json!({ "id": "zstd", "level": level }) })
}

fn blosc(mut codec: Extension) -> Result<Value> {
    let shuffle = match codec.take_text("shuffle")?.as_deref() {
        Some("noshuffle") | None => 0,
        Some("shuffle") => 1,
        Some("bitshuffle") => 2,
        Some(_) => return Err(codec.wrong("shuffle")),
    };
    let (cname, level) = (codec.need("cname", Extension::take_text)?, codec.need("clevel", Extension::take_number)?);
    let block = codec.take_number("blocksize")?.unwrap_or(0);
    // A block of blosc holds it.
    codec.take_number("typesize")?;
    codec.finish()?;
    Ok(json!({ "id": "blosc", "cname": cname, "clevel": level, "shuffle": shuffle, "blocksize": block }))
}
