//! The references that are measured: compressed chunks one after the other in files, as a reanalysis in monthly files.

use std::ops::Range;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// How many references one step of the array has.
pub(crate) const PER_STEP: u64 = 100;

/// The place of a reference in the grid of chunks.
pub(crate) fn coordinates(n: u64) -> [u64; 3] {
    [n / PER_STEP, n % PER_STEP / 10, n % 10]
}

/// The file that a reference lies in.
pub(crate) fn file(n: u64, refs: u64, files: u64) -> u64 {
    n * files / refs
}

/// The place of a file.
pub(crate) fn url(file: u64) -> String {
    format!("s3://reanalysis/air/{}/air_{file:05}.nc", 1980 + file / 24)
}

/// References in the order of their keys: number, file, range. Lengths have 16 random bits (64 to 128 KiB), so that 2.0
/// bytes for each is the least that any encoding needs.
pub(crate) fn references(refs: u64, files: u64) -> impl Iterator<Item = (u64, u64, Range<u64>)> {
    let mut random = SmallRng::seed_from_u64(refs);
    let (mut last, mut end) = (0, 4096);
    (0..refs).map(move |n| {
        let next = file(n, refs, files);
        if next != last {
            (last, end) = (next, 4096);
        }
        let start = end;
        end += random.random_range(1 << 16..1 << 17);
        (n, last, start..end)
    })
}

/// New places for references, at random: number, range.
pub(crate) fn changes(refs: u64, seed: u64) -> impl Iterator<Item = (u64, Range<u64>)> {
    let mut random = SmallRng::seed_from_u64(seed);
    std::iter::repeat_with(move || {
        let n = random.random_range(0..refs);
        let offset = u64::from(random.random::<u32>());
        (n, offset..offset + 40_000)
    })
}

/// A chunk that shares nothing with any other, too long to lie inline.
pub(crate) fn chunk(n: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SmallRng::seed_from_u64(n).fill(bytes.as_mut_slice());
    bytes
}

/// What an array says of itself.
pub(crate) fn metadata(n: u64) -> String {
    format!(
        r#"{{"zarr_format":3,"node_type":"array","shape":[{n},100,100],"data_type":"float32","chunk_grid":{{"name":"regular","configuration":{{"chunk_shape":[1,10,10]}}}},"chunk_key_encoding":{{"name":"default"}},"fill_value":"NaN","codecs":[{{"name":"bytes","configuration":{{"endian":"little"}}}}],"attributes":{{"revised":{n}}}}}"#
    )
}
