//! The grid of chunks of an array, and the names of its chunks.

use std::fmt::Write as _;

use firnline::{Error, Result};
use serde::Deserialize;

use super::extension::Extension;
use super::unsupported;
use crate::masked::masked;

/// How many chunks an array has along each dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegularGrid {
    counts: Vec<u64>,
}

impl RegularGrid {
    /// `Invalid` if both have not the same length, or if a chunk is empty.
    pub(crate) fn new(shape: &[u64], chunks: &[u64]) -> Result<Self> {
        if shape.len() != chunks.len() {
            return Err(Error::invalid(format!("its shape has {} dimensions and its chunks have {}", shape.len(), chunks.len())));
        }
        let count = |(len, chunk): (&u64, &u64)| match (len, chunk) {
            (0, _) => Some(0),
            (_, 0) => None,
            (len, chunk) => Some(len.div_ceil(*chunk)),
        };
        let counts = shape.iter().zip(chunks).map(count).collect::<Option<Vec<_>>>();
        counts.map(|counts| Self { counts }).ok_or_else(|| Error::invalid("its chunks have the length 0"))
    }

    pub(crate) fn rank(&self) -> usize {
        self.counts.len()
    }

    /// How many chunks there are; `None` beyond 2^64.
    pub(crate) fn total(&self) -> Option<u64> {
        // An empty dimension leaves no chunk, however many there are along the others.
        if self.counts.contains(&0) {
            return Some(0);
        }
        self.counts.iter().try_fold(1_u64, |total, count| total.checked_mul(*count))
    }

    /// The number of a chunk, counted row by row from 0; `None` if the grid has no such chunk or its number is 2^64 or more.
    pub(crate) fn number(&self, indices: &[u64]) -> Option<u64> {
        if indices.len() != self.counts.len() {
            return None;
        }
        indices.iter().zip(&self.counts).try_fold(
            0_u64,
            |number, (index, count)| {
                if index < count { number.checked_mul(*count)?.checked_add(*index) } else { None }
            },
        )
    }

    /// The indices of the chunk of a number below [`total`](Self::total): what [`number`](Self::number) is the inverse of.
    pub(crate) fn indices(&self, number: u64) -> Vec<u64> {
        let mut rest = number;
        let mut indices: Vec<u64> = self
            .counts
            .iter()
            .rev()
            .map(|count| {
                let count = (*count).max(1);
                let index = rest % count;
                rest /= count;
                index
            })
            .collect();
        indices.reverse();
        indices
    }

    /// Goes to the chunk of the next number; after the last one to the first.
    pub(crate) fn step(&self, indices: &mut [u64]) {
        for (index, count) in indices.iter_mut().zip(&self.counts).rev() {
            *index += 1;
            if *index < *count {
                return;
            }
            *index = 0;
        }
    }

    /// The grid as messages show it: `3 x 4`.
    pub(crate) fn shown(&self) -> String {
        self.counts.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ")
    }
}

/// How the chunks of an array are named below the name of the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkKeys {
    /// Whether a `c` stands before the indices.
    has_prefix: bool,
    /// What stands between any two parts.
    separator: char,
}

impl ChunkKeys {
    /// The names of a Zarr v2 array.
    pub(crate) const fn v2(separator: char) -> Self {
        Self { has_prefix: false, separator }
    }

    /// The names of a Zarr v3 array.
    pub(super) fn of(mut encoding: Extension) -> Result<Self> {
        let (has_prefix, usual) = match encoding.name.as_str() {
            "default" => (true, "/"),
            "v2" => (false, "."),
            name => return Err(unsupported(format!("its chunk key encoding {name:?} is not known"))),
        };
        let separator = encoding.take_text("separator")?;
        let separator = match separator.as_deref().unwrap_or(usual) {
            "/" => '/',
            "." => '.',
            _ => return Err(encoding.wrong("separator")),
        };
        encoding.finish()?;
        Ok(Self { has_prefix, separator })
    }

    /// The indices of the chunk of this name, in an array with so many dimensions; `None` if it is no name of a chunk.
    pub(crate) fn indices(self, name: &str, rank: usize) -> Option<Vec<u64>> {
        let rest = match (self.has_prefix, rank) {
            (true, 0) => return (name == "c").then(Vec::new),
            (false, 0) => return (name == "0").then(Vec::new),
            (true, _) => name.strip_prefix('c')?.strip_prefix(self.separator)?,
            (false, _) => name,
        };
        let indices = rest.split(self.separator).map(index).collect::<Option<Vec<_>>>()?;
        (indices.len() == rank).then_some(indices)
    }
}

/// The name of a chunk of a Zarr v2 array with the separator `.`.
pub(crate) fn name_v2(indices: &[u64]) -> String {
    let mut name = String::new();
    write_name_v2(indices, '.', &mut name);
    name
}

/// Appends the name of a chunk of a Zarr v2 array.
pub(crate) fn write_name_v2(indices: &[u64], separator: char, out: &mut String) {
    if indices.is_empty() {
        out.push('0');
    }
    for (n, index) in indices.iter().enumerate() {
        if n > 0 {
            out.push(separator);
        }
        // Writing into text does not fail.
        let _ = write!(out, "{index}");
    }
}

/// What of `.zarray` says where chunks lie.
#[derive(Deserialize)]
struct ZarrayV2 {
    zarr_format: Option<u64>,
    shape: Vec<u64>,
    chunks: Vec<u64>,
    dimension_separator: Option<String>,
}

/// How many chunks a `.zarray` says that there are, and what separates the indices in their names. `Invalid` if it is not understood. Its
/// fill
/// value may be a `NaN` as Python writes it.
pub(crate) fn zarray_grid(document: &[u8]) -> Result<(RegularGrid, char)> {
    let array: ZarrayV2 =
        serde_json::from_slice(&masked(document)).map_err(|e| Error::invalid("it says nothing of shape and chunks").caused_by(e))?;
    if let Some(other) = array.zarr_format.filter(|format| *format != 2) {
        return Err(Error::invalid(format!("it is of Zarr format {other}, not 2")));
    }
    let separator = match array.dimension_separator.as_deref() {
        None | Some(".") => '.',
        Some("/") => '/',
        Some(other) => return Err(Error::invalid(format!("its separator of indices is {other:?}, which is neither . nor /"))),
    };
    Ok((RegularGrid::new(&array.shape, &array.chunks)?, separator))
}

/// A number as names of chunks write it: decimal, without leading zeros.
fn index(text: &str) -> Option<u64> {
    let is_plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    if is_plain { text.parse().ok() } else { None }
}

/// The shape of a chunk of a regular grid.
pub(super) fn regular(mut grid: Extension) -> Result<Vec<u64>> {
    if grid.name != "regular" {
        return Err(unsupported(format!("its chunk grid is {:?}, and Zarr v2 has regular grids only", grid.name)));
    }
    let shape = grid.take("chunk_shape").ok_or_else(|| Error::invalid("its chunk grid has no chunk_shape"))?;
    let shape = serde_json::from_value(shape).map_err(|e| grid.wrong("chunk_shape").caused_by(e))?;
    grid.finish()?;
    Ok(shape)
}
