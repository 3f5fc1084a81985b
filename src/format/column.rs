//! Columns of a node at rest: integers as byte planes, strings front-coded.

use flatbuffers::{FlatBufferBuilder, Vector, WIPOffset};

use super::generated::node as fb;
use super::limits;

/// Why columns do not fit together. Whoever knows the object's name puts it before.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misfit(pub(crate) String);

pub(super) fn misfit<T>(wrong: impl Into<String>) -> Result<T, Misfit> {
    Err(Misfit(wrong.into()))
}

/// Small numbers of either sign as small numbers: 0, -1, 1, -2…
pub(super) const fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

pub(super) const fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -((n & 1).cast_signed())
}

/// Writes integers, less the smallest, plane by plane: the high bytes are mostly alike, and compress once they lie side by side.
///
/// Nothing at all when every value is 0: most nodes use few of their columns.
pub(super) fn write<'f>(f: &mut FlatBufferBuilder<'f>, values: &[u64]) -> Option<WIPOffset<fb::Column<'f>>> {
    let base = values.iter().copied().min().unwrap_or(0);
    let all = values.iter().fold(0, |all, value| all | (value - base));
    if base == 0 && all == 0 {
        return None;
    }
    let width = 8 - all.leading_zeros() / 8;
    let mut planes = Vec::with_capacity(values.len() * width as usize);
    for plane in 0..width {
        planes.extend(values.iter().map(|value| (value - base).to_le_bytes().get(plane as usize).copied().unwrap_or(0)));
    }
    let planes = write_bytes(f, &planes);
    Some(fb::Column::create(f, &fb::ColumnArgs { base, width: u8::try_from(width).expect("at most 8"), planes }))
}

/// Writes bytes, unless there are none.
pub(super) fn write_bytes<'f>(f: &mut FlatBufferBuilder<'f>, bytes: &[u8]) -> Option<WIPOffset<Vector<'f, u8>>> {
    (!bytes.is_empty()).then(|| f.create_vector(bytes))
}

/// Reads `count` integers; those of a missing column are 0.
pub(super) fn read(column: Option<fb::Column<'_>>, count: usize, what: &str) -> Result<Vec<u64>, Misfit> {
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
    let base = column.map_or(0, |c| c.base());
    for value in &mut values {
        *value = value.checked_add(base).ok_or_else(|| Misfit(format!("a value among the {what} is beyond 64 bits")))?;
    }
    Ok(values)
}

/// The bytes of a vector that may be missing.
pub(super) fn bytes(vector: Option<Vector<'_, u8>>) -> &[u8] {
    vector.map_or(&[], |v| v.bytes())
}

/// Writes strings as what each shares with the one before, and the rest.
pub(super) fn write_strings<'f, 's>(
    f: &mut FlatBufferBuilder<'f>,
    strings: impl ExactSizeIterator<Item = &'s str>,
) -> Option<WIPOffset<fb::Strings<'f>>> {
    if strings.len() == 0 {
        return None;
    }
    let (mut shared, mut lengths) = (Vec::with_capacity(strings.len()), Vec::with_capacity(strings.len()));
    let (mut rests, mut last): (Vec<u8>, &[u8]) = (Vec::new(), &[]);
    for string in strings.map(str::as_bytes) {
        let same = last.iter().zip(string).take_while(|(a, b)| a == b).count();
        let rest = string.get(same..).unwrap_or_default();
        shared.push(same as u64);
        lengths.push(rest.len() as u64);
        rests.extend_from_slice(rest);
        last = string;
    }
    let (shared, lengths) = (write(f, &shared), write(f, &lengths));
    let rests = write_bytes(f, &rests);
    Some(fb::Strings::create(f, &fb::StringsArgs { shared, lengths, rests }))
}

/// Reads `count` strings of at most `longest` bytes and gives each to `take`. All together they may not exceed a node.
pub(super) fn read_strings(
    strings: Option<fb::Strings<'_>>,
    count: usize,
    longest: usize,
    what: &str,
    mut take: impl FnMut(&str) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    let shared = read(strings.and_then(|s| s.shared()), count, what)?;
    let lengths = read(strings.and_then(|s| s.lengths()), count, what)?;
    let mut rests = Slices::new(bytes(strings.and_then(|s| s.rests())));
    let (mut string, mut total) = (Vec::new(), 0);
    for (shared, length) in shared.into_iter().zip(lengths) {
        let (shared, rest) = (usize::try_from(shared).unwrap_or(usize::MAX), rests.take(length, what)?);
        if shared > string.len() || shared + rest.len() > longest {
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

/// Values of different lengths, end to end.
pub(super) struct Slices<'a>(&'a [u8]);

impl<'a> Slices<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, length: u64, what: &str) -> Result<&'a [u8], Misfit> {
        let split = usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length));
        let (head, tail) = split.ok_or_else(|| Misfit(format!("the bytes of the {what} end inside a value")))?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn end(&self, what: &str) -> Result<(), Misfit> {
        if self.0.is_empty() { Ok(()) } else { misfit(format!("{} bytes follow the last of the {what}", self.0.len())) }
    }
}
