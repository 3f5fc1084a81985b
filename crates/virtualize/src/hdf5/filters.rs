//! HDF5 filters as codecs of numcodecs, which decode the same bytes.

use firnline::{Error, Result};
use hdf5_reader::messages::filter_pipeline::FilterDescription;
use serde_json::{Value, json};

const DEFLATE: u16 = 1;
const SHUFFLE: u16 = 2;
const FLETCHER32: u16 = 3;
const BZIP2: u16 = 307;
const BLOSC: u16 = 32001;
const ZSTD: u16 = 32015;

/// The configuration of numcodecs for each filter, in the order in which they were applied. `Unsupported` for a filter whose output
/// no codec of numcodecs reads.
pub(super) fn codecs(filters: &[FilterDescription], element_size: usize) -> Result<Vec<Value>> {
    filters.iter().map(|filter| codec(filter, element_size)).collect()
}

fn codec(filter: &FilterDescription, element_size: usize) -> Result<Value> {
    let value = |n: usize| filter.client_data.get(n).copied();
    Ok(match filter.id {
        DEFLATE => json!({"id": "zlib", "level": value(0).unwrap_or(1).min(9)}),
        SHUFFLE => json!({"id": "shuffle", "elementsize": value(0).map_or(element_size, |n| n as usize)}),
        FLETCHER32 => json!({"id": "fletcher32"}),
        BZIP2 => json!({"id": "bz2", "level": value(0).unwrap_or(9).clamp(1, 9)}),
        ZSTD => json!({"id": "zstd", "level": value(0).unwrap_or(3).cast_signed()}),
        BLOSC => {
            let names = ["blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"];
            let name = usize::try_from(value(6).unwrap_or(0)).ok().and_then(|n| names.get(n)).unwrap_or(&"blosclz");
            json!({"id": "blosc", "cname": name, "clevel": value(4).unwrap_or(5).min(9), "shuffle": value(5).unwrap_or(1).min(2), "blocksize": 0})
        }
        id => {
            let known =
                [(4, "szip"), (5, "nbit"), (6, "scaleoffset"), (32000, "lzf"), (32004, "lz4"), (32008, "bitshuffle"), (32026, "blosc2")];
            let name = known.iter().find(|(n, _)| *n == id).map(|(_, name)| (*name).to_owned()).or_else(|| filter.name.clone());
            let name = name.map_or_else(|| id.to_string(), |name| format!("{id} ({name})"));
            return Err(Error::unsupported(format!(
                "has the HDF5 filter {name}, whose output no Zarr codec reads; leave the variable out"
            )));
        }
    })
}
