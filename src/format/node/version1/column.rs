//! Columns of at-rest version 1: integers as byte planes, strings front-coded, each a table of a `FlatBuffer`.

use flatbuffers::Vector;

use crate::format::column::{Misfit, Slices, add, misfit};
use crate::format::file::MAX_FILE_KEY;
use crate::format::generated::node as fb;
use crate::format::limits;

/// Reads `count` integers; those of a missing column are 0.
pub(in crate::format::node) fn read(column: Option<fb::Column<'_>>, count: usize, what: &str) -> Result<Vec<u64>, Misfit> {
    let width = column.map_or(0, |c| usize::from(c.width()));
    let planes = bytes(column.and_then(|c| c.planes()));
    if count > limits::MANIFEST_ROWS || width > 8 || planes.len() != width * count {
        return misfit(format!("the column of {what} has {} bytes for {count} rows of {width}", planes.len()));
    }
    let mut values = vec![0; count];
    if count > 0 {
        for (plane, bytes) in planes.chunks_exact(count).enumerate() {
            for (value, byte) in values.iter_mut().zip(bytes) {
                *value |= u64::from(*byte) << (8 * plane);
            }
        }
    }
    add(&mut values, column.map_or(0, |c| c.base()), what)?;
    Ok(values)
}

/// The bytes of a vector that may be missing.
pub(in crate::format::node) fn bytes(vector: Option<Vector<'_, u8>>) -> &[u8] {
    vector.map_or(&[], |v| v.bytes())
}

/// Reads `count` strings of at most `longest` bytes and gives each to `take`. All together they may not exceed a node.
pub(in crate::format::node) fn read_strings(
    strings: Option<fb::Strings<'_>>,
    count: usize,
    what: &str,
    mut take: impl FnMut(&str) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    let shared = read(strings.and_then(|s| s.shared()), count, what)?;
    let lengths = read(strings.and_then(|s| s.lengths()), count, what)?;
    let mut rests = Slices(bytes(strings.and_then(|s| s.rests())));
    let (mut string, mut total) = (Vec::new(), 0);
    for (shared, length) in shared.into_iter().zip(lengths) {
        let (shared, rest) = (usize::try_from(shared).unwrap_or(usize::MAX), rests.take(length, what)?);
        if shared > string.len() || shared + rest.len() > MAX_FILE_KEY {
            return misfit(format!("a string among the {what} shares {shared} bytes with one of {}, or is too long", string.len()));
        }
        string.truncate(shared);
        string.extend_from_slice(rest);
        total += string.len();
        if total > limits::NODE {
            return misfit(format!("the {what} are longer than a node"));
        }
        take(std::str::from_utf8(&string).map_err(|_| Misfit(format!("a string among the {what} is not UTF-8")))?)?;
    }
    rests.end(what)
}
