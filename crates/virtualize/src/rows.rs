//! Values that are copied: joined along a dimension, cut into chunks, encoded.

use firnline::{Error, Result};

use crate::model::Values;

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Texts(texts) => texts.len(),
        }
    }

    /// Joins blocks along a dimension. `outer` places lie before the dimension, and each block has as many rows as its number says.
    pub(crate) fn joined(outer: u64, blocks: &[(u64, Self)]) -> Result<Self> {
        let is_text = matches!(blocks.first(), Some((_, Self::Texts(_))));
        if is_text {
            let parts = blocks.iter().filter_map(|(_, block)| if let Self::Texts(texts) = block { Some(texts.as_slice()) } else { None });
            return join(outer, &parts.collect::<Vec<_>>()).map(Self::Texts);
        }
        let parts = blocks.iter().filter_map(|(_, block)| if let Self::Bytes(bytes) = block { Some(bytes.as_slice()) } else { None });
        join(outer, &parts.collect::<Vec<_>>()).map(Self::Bytes)
    }

    /// The rows from `start` to `end` of `rows`, filled up to `len` rows with `fill`.
    pub(crate) fn cut(&self, outer: u64, rows: u64, window: (u64, u64), len: u64, fill: &[u8]) -> Self {
        match self {
            Self::Bytes(bytes) => {
                let fill = if fill.is_empty() { &[0][..] } else { fill };
                Self::Bytes(cut(bytes, outer, rows, window, len, fill))
            }
            Self::Texts(texts) => Self::Texts(cut(texts, outer, rows, window, len, &[String::new()])),
        }
    }

    /// The bytes of one chunk: elements as they are, texts as the codec `vlen-utf8` writes them.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let texts = match self {
            Self::Bytes(bytes) => return bytes.clone(),
            Self::Texts(texts) => texts,
        };
        let mut out = length(texts.len()).to_vec();
        for text in texts {
            out.extend(length(text.len()));
            out.extend(text.as_bytes());
        }
        out
    }

    /// Reads one chunk; `Corrupt` unless it has `count` elements of `size` bytes, or `count` texts where `size` is 0.
    pub(crate) fn decoded(bytes: &[u8], count: u64, size: usize) -> Result<Self> {
        let wrong = || Error::corrupt(format!("is no chunk of {count} elements"));
        let count = usize::try_from(count).map_err(|_| wrong())?;
        if size > 0 {
            let is_whole = count.checked_mul(size) == Some(bytes.len());
            return if is_whole { Ok(Self::Bytes(bytes.to_vec())) } else { Err(wrong()) };
        }
        let mut rest = bytes;
        let number = |rest: &mut &[u8]| {
            let (head, tail) = rest.split_first_chunk::<4>()?;
            *rest = tail;
            usize::try_from(u32::from_le_bytes(*head)).ok()
        };
        if number(&mut rest) != Some(count) {
            return Err(wrong());
        }
        let mut texts = Vec::new();
        for _ in 0..count {
            let len = number(&mut rest).ok_or_else(wrong)?;
            let (text, tail) = rest.split_at_checked(len).ok_or_else(wrong)?;
            texts.push(std::str::from_utf8(text).map_err(|_| wrong())?.to_owned());
            rest = tail;
        }
        Ok(Self::Texts(texts))
    }

    /// Whether there are as many as `count` elements of `size` bytes take, or `count` texts where `size` is 0.
    pub(crate) fn has(&self, count: u64, size: usize) -> bool {
        let each = if matches!(self, Self::Texts(_)) { 1 } else { size as u64 };
        count.checked_mul(each) == Some(self.len() as u64)
    }
}

/// Four bytes; a text of 4 GiB cannot occur, since less is copied.
fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes()
}

fn join<T: Clone>(outer: u64, parts: &[&[T]]) -> Result<Vec<T>> {
    let outer = usize::try_from(outer).map_err(|_| Error::unsupported("has too many values to be copied"))?;
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for n in 0..outer {
        for part in parts {
            let run = part.len() / outer.max(1);
            out.extend_from_slice(part.get(n * run..(n + 1) * run).unwrap_or_default());
        }
    }
    Ok(out)
}

fn cut<T: Clone>(all: &[T], outer: u64, rows: u64, (start, end): (u64, u64), len: u64, fill: &[T]) -> Vec<T> {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let (outer, rows, start, end, len) = (number(outer), number(rows), number(start), number(end), number(len));
    let row = all.len().checked_div(outer.saturating_mul(rows)).unwrap_or_default();
    let mut out = Vec::with_capacity(outer.saturating_mul(len).saturating_mul(row));
    for n in 0..outer {
        let from = n * rows * row;
        out.extend_from_slice(all.get(from + start * row..from + end * row).unwrap_or_default());
        out.extend(fill.iter().cycle().take(len.saturating_sub(end - start) * row).cloned());
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn joining_along_the_second_dimension_interleaves_the_blocks() {
        // Shapes (2, 1) and (2, 2) of one byte each.
        let joined = Values::joined(2, &[(1, Values::Bytes(vec![1, 4])), (2, Values::Bytes(vec![2, 3, 5, 6]))]).unwrap();
        assert_eq!(joined, Values::Bytes(vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(joined.cut(2, 3, (2, 3), 2, &[9]), Values::Bytes(vec![3, 9, 6, 9]));
    }

    proptest! {
        #[test]
        fn texts_survive_their_encoding_and_any_bytes_end_in_a_value_or_an_error(
            texts in prop::collection::vec(".{0,8}", 0..6),
            noise in prop::collection::vec(any::<u8>(), 0..40),
            count in 0_u64..4,
        ) {
            let values = Values::Texts(texts.clone());
            prop_assert_eq!(Values::decoded(&values.encoded(), texts.len() as u64, 0).unwrap(), values);
            if let Ok(values) = Values::decoded(&noise, count, 0) {
                prop_assert!(values.has(count, 0));
            }
        }

        #[test]
        fn cutting_what_was_joined_gives_the_blocks_back(outer in 1_u64..4, lens in prop::collection::vec(1_u64..4, 1..4), width in 1_u64..3) {
            let mut next = 0_u8;
            let blocks: Vec<(u64, Values)> = lens.iter().map(|len| {
                let bytes = (0..outer * len * width).map(|_| { next = next.wrapping_add(1); next }).collect();
                (*len, Values::Bytes(bytes))
            }).collect();
            let joined = Values::joined(outer, &blocks).unwrap();
            let (rows, mut at) = (lens.iter().sum(), 0);
            for (len, block) in blocks {
                prop_assert_eq!(joined.cut(outer, rows, (at, at + len), len, &[0]), block);
                at += len;
            }
        }
    }
}
