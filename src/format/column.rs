//! Columns of a node at rest: integers as byte planes or as exceptions from one value, and bytes end to end.
//!
//! A node has two strings of bytes. Columns lie one after the other in its *frame*, which is compressed; what cannot be
//! compressed (digests, planes of noise) lies *beside* it, in the order in which it is read.

use super::limits;
use crate::varint;

/// Why the columns of a node contradict each other. The caller adds the object's name.
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

/// The head of a column of exceptions. Every other head is the number of planes, and 16 times the number of those beside.
const EXCEPTIONS: u8 = 15;

/// Fewer rows than this say too little of how their bytes are spread.
const FEWEST_DENSE: usize = 64;

/// Takes the columns of one node.
#[derive(Debug, Default)]
pub(crate) struct ColumnWriter {
    frame: Vec<u8>,
    beside: Vec<u8>,
}

impl ColumnWriter {
    /// The frame, and what lies beside it.
    pub(super) fn finish(self) -> (Vec<u8>, Vec<u8>) {
        (self.frame, self.beside)
    }

    pub(super) fn number(&mut self, n: u64) {
        varint::put(&mut self.frame, n);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.frame.extend_from_slice(bytes);
    }

    /// Bytes that are known not to compress.
    pub(super) fn beside(&mut self, bytes: &[u8]) {
        self.beside.extend_from_slice(bytes);
    }

    /// Integers, one for each row; of no rows, nothing.
    pub(super) fn column(&mut self, values: &[u64]) {
        let usual = usual(values);
        let exceptions = values.iter().filter(|value| **value != usual).count();
        if values.is_empty() {
            return;
        }
        if exceptions == 0 || exceptions > values.len() / 16 {
            return self.planes(values);
        }
        self.frame.push(EXCEPTIONS);
        self.number(usual);
        self.number(exceptions as u64);
        let mut usual_rows = 0;
        for value in values {
            if *value == usual {
                usual_rows += 1;
            } else {
                self.number(usual_rows);
                self.number(*value);
                usual_rows = 0;
            }
        }
    }

    /// Integers less the smallest, plane by plane: the high bytes are mostly alike, and compress once they lie side by side.
    /// Low planes that look like noise lie beside the frame.
    fn planes(&mut self, values: &[u64]) {
        let base = values.iter().copied().min().unwrap_or(0);
        let all = values.iter().fold(0, |all, value| all | (value - base));
        let planes: Vec<Vec<u8>> = (0..8 - all.leading_zeros() / 8)
            .map(|plane| values.iter().map(|value| (value - base).to_le_bytes().get(plane as usize).copied().unwrap_or(0)).collect())
            .collect();
        let dense = planes.iter().take_while(|plane| is_dense(plane)).count();
        self.frame.push(u8::try_from(dense << 4 | planes.len()).expect("at most eight planes"));
        self.number(base);
        for (at, plane) in planes.iter().enumerate() {
            if at < dense { self.beside(plane) } else { self.bytes(plane) }
        }
    }
}

/// The value of most rows, if there is one; else any.
fn usual(values: &[u64]) -> u64 {
    let mut lead = 0_usize;
    values.iter().fold(0, |candidate, value| {
        let candidate = if lead == 0 { *value } else { candidate };
        lead = if *value == candidate { lead + 1 } else { lead - 1 };
        candidate
    })
}

/// Whether the bytes are spread so evenly that compression would gain nothing: among n of them, pairs of equal ones are not
/// much more frequent than the n²/256 (and each with itself) of pure noise.
fn is_dense(plane: &[u8]) -> bool {
    let mut counts = [0_u64; 256];
    for byte in plane {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let (n, pairs) = (plane.len() as u64, counts.iter().map(|count| count * count).sum::<u64>());
    plane.len() >= FEWEST_DENSE && pairs <= n + n * n * 3 / 512
}

/// Gives the columns of one node back, in the order in which they were written.
#[derive(Debug)]
pub(crate) struct ColumnReader<'a> {
    frame: Slices<'a>,
    beside: Slices<'a>,
}

impl<'a> ColumnReader<'a> {
    pub(super) const fn new(frame: &'a [u8], beside: &'a [u8]) -> Self {
        Self { frame: Slices(frame), beside: Slices(beside) }
    }

    pub(super) fn byte(&mut self, what: &str) -> Result<u8, Misfit> {
        self.frame.take(1, what).map(|bytes| bytes.first().copied().unwrap_or(0))
    }

    pub(super) fn number(&mut self, what: &str) -> Result<u64, Misfit> {
        varint::take(&mut self.frame.0).ok_or_else(|| Misfit(format!("a number among the {what} is malformed")))
    }

    /// How many there are of something of which there are at most `most`.
    pub(super) fn count(&mut self, most: usize, what: &str) -> Result<usize, Misfit> {
        let count = self.number(what)?;
        let within = usize::try_from(count).ok().filter(|count| *count <= most);
        within.ok_or_else(|| Misfit(format!("it speaks of {count} {what}, but at most {most} are possible")))
    }

    pub(super) fn bytes(&mut self, length: u64, what: &str) -> Result<&'a [u8], Misfit> {
        self.frame.take(length, what)
    }

    pub(super) fn beside(&mut self, length: u64, what: &str) -> Result<&'a [u8], Misfit> {
        self.beside.take(length, what)
    }

    /// The bytes beside the frame that have not been read yet.
    pub(super) fn rest_beside(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.beside.0)
    }

    /// Reads `count` integers.
    pub(super) fn column(&mut self, count: usize, what: &str) -> Result<Vec<u64>, Misfit> {
        if count > limits::MANIFEST_ROWS {
            return misfit(format!("{count} rows of {what}"));
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        match self.byte(what)? {
            EXCEPTIONS => self.exceptions(count, what),
            head if head & 15 <= 8 && head >> 4 <= head & 15 => self.planes(count, head & 15, head >> 4, what),
            head => misfit(format!("the column of {what} begins with {head:#04x}")),
        }
    }

    fn exceptions(&mut self, count: usize, what: &str) -> Result<Vec<u64>, Misfit> {
        let mut values = vec![self.number(what)?; count];
        let exceptions = self.count(count, what)?;
        let mut rest = values.iter_mut();
        for _ in 0..exceptions {
            let usual_rows = self.count(count, what)?;
            let value = rest.nth(usual_rows).ok_or_else(|| Misfit(format!("the column of {what} has more than {count} rows")))?;
            *value = self.number(what)?;
        }
        Ok(values)
    }

    fn planes(&mut self, count: usize, planes: u8, dense: u8, what: &str) -> Result<Vec<u64>, Misfit> {
        let base = self.number(what)?;
        let mut values = vec![0; count];
        for plane in 0..planes {
            let from = if plane < dense { &mut self.beside } else { &mut self.frame };
            for (value, byte) in values.iter_mut().zip(from.take(count as u64, what)?) {
                *value |= u64::from(*byte) << (8 * plane);
            }
        }
        add(&mut values, base, what)?;
        Ok(values)
    }

    pub(super) fn end(&self) -> Result<(), Misfit> {
        self.frame.end("columns").and(self.beside.end("digests"))
    }
}

/// Adds the smallest value of a column to what its planes say.
pub(super) fn add(values: &mut [u64], base: u64, what: &str) -> Result<(), Misfit> {
    for value in values {
        *value = value.checked_add(base).ok_or_else(|| Misfit(format!("a value among the {what} is beyond 64 bits")))?;
    }
    Ok(())
}

/// Values of different lengths, end to end.
#[derive(Debug)]
pub(super) struct Slices<'a>(pub(super) &'a [u8]);

impl<'a> Slices<'a> {
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

/// The sum of lengths that were read; so many bytes may not exist.
pub(super) fn sum(lengths: impl IntoIterator<Item = u64>) -> u64 {
    lengths.into_iter().fold(0, u64::saturating_add)
}
