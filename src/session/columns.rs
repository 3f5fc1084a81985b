//! References in the form in which importers have them: columns of numbers, and keys that are computed from places in a grid.

use std::cmp::Ordering;
use std::ops::Range;

use super::staged::BulkKeys;
use crate::error::{Error, Result};
use crate::key::{self, order};
use crate::virtuals::Validator;

/// How many keys or coordinates are looked at before other tasks of the thread have a turn.
const TURN: usize = 1 << 14;

/// Many references, one in each place of the columns, which are all equally long.
#[derive(Debug, Clone, Copy)]
pub struct VirtualRefs<'a> {
    /// Under which key each lies.
    pub keys: KeyColumn<'a>,
    /// The files. Each that is in use is resolved and looked up once; the others are ignored.
    pub urls: &'a [&'a str],
    /// Which of [`urls`](Self::urls) each points into; [`ABSENT`](Self::ABSENT): there is no such reference, and nothing is
    /// staged for the key.
    pub url: &'a [u32],
    /// Where the bytes of each begin.
    pub offset: &'a [u64],
    /// How many bytes each has; [`TO_END`](Self::TO_END): all from its offset on.
    pub length: &'a [u64],
    /// What the caller knows of each of [`urls`](Self::urls); may be empty. Files of which it knows nothing are looked up.
    pub validators: &'a [Option<Validator>],
}

impl VirtualRefs<'_> {
    /// In [`url`](Self::url): a chunk that does not exist.
    pub const ABSENT: u32 = u32::MAX;

    /// In [`length`](Self::length): up to the end of the file, whose size must be known: from its validator, from its place, or from
    /// what is staged. The length is recorded, so a file that grows later is a changed file.
    pub const TO_END: u64 = u64::MAX;
}

/// The keys of many references. Those that come in the order of the maps, in which digit runs are numbers, cost least;
/// among equal ones the last counts.
#[derive(Debug, Clone, Copy)]
pub enum KeyColumn<'a> {
    /// The cells of a part of a grid, the last coordinate running fastest: always in order.
    Grid {
        /// The text before the first coordinate: `air/c/` for Zarr version 3, `air/` for version 2. Without coordinates it is the key.
        prefix: &'a str,
        /// The coordinates in each dimension: `0..n` for a whole array, `n..n + 1` for a step that is appended.
        region: &'a [Range<u64>],
        /// The separator between two coordinates: `/` or `.` in Zarr; no digit.
        separator: char,
    },
    /// Cells of a grid, one after the other.
    Cells {
        /// As in [`Grid`](Self::Grid).
        prefix: &'a str,
        /// How many coordinates each has; at least one.
        rank: usize,
        /// The coordinates of the first cell, of the second, and so on.
        coordinates: &'a [u64],
        /// As in [`Grid`](Self::Grid).
        separator: char,
    },
    /// Whole keys.
    Keys(&'a [&'a str]),
}

impl KeyColumn<'_> {
    /// How many keys there are; `Invalid` when they are no whole number of cells, or more than can be counted.
    pub(super) fn len(&self) -> Result<usize> {
        match self {
            Self::Grid { region, .. } => {
                let cells = region.iter().try_fold(1_u64, |n, range| n.checked_mul(range.end.saturating_sub(range.start)));
                let cells = cells.and_then(|n| usize::try_from(n).ok());
                cells.ok_or_else(|| Error::invalid("the region has more cells than can be counted"))
            }
            // Checked before memory is allocated for them: each coordinate takes at least one digit.
            Self::Cells { rank, .. } if *rank > key::MAX_KEY => {
                Err(Error::invalid(format!("cells of rank {rank} have longer keys than {} bytes", key::MAX_KEY)))
            }
            Self::Cells { rank, coordinates, .. } => match coordinates.len().checked_rem(*rank) {
                Some(0) => Ok(coordinates.len() / rank),
                _ => Err(Error::invalid(format!("{} coordinates are not a whole number of cells of rank {rank}", coordinates.len()))),
            },
            Self::Keys(keys) => Ok(keys.len()),
        }
    }

    /// `Invalid` if a place of the column gives an invalid key. Other tasks have a turn now and then.
    pub(super) async fn check(&self) -> Result<()> {
        // Coordinates are digits, so that one key stands for all: the longest.
        let (separator, longest): (char, Vec<u64>) = match self {
            Self::Keys(keys) => {
                for some in keys.chunks(TURN) {
                    some.iter().try_for_each(|text| key::check(text, "key"))?;
                    tokio::task::yield_now().await;
                }
                return Ok(());
            }
            Self::Grid { region, separator, .. } => (*separator, region.iter().map(|range| range.end.saturating_sub(1)).collect()),
            Self::Cells { rank, coordinates, separator, .. } => {
                let mut most = vec![0; *rank];
                for cells in coordinates.chunks(TURN.next_multiple_of((*rank).max(1))) {
                    for cell in cells.chunks((*rank).max(1)) {
                        most.iter_mut().zip(cell).for_each(|(most, n)| *most = (*most).max(*n));
                    }
                    tokio::task::yield_now().await;
                }
                (*separator, most)
            }
        };
        if separator.is_ascii_digit() {
            return Err(Error::invalid(format!("{separator:?} cannot separate numbers")));
        }
        let mut writer = KeyWriter::new(*self);
        key::check(writer.write(&longest), "key")
    }

    /// Copies the keys in some places. Other tasks have a turn now and then.
    pub(super) async fn copied(&self, piece: Range<usize>) -> BulkKeys {
        match self {
            Self::Grid { prefix, region, separator } => {
                BulkKeys::Grid { prefix: (*prefix).to_owned(), region: region.to_vec(), separator: *separator, start: piece.start }
            }
            Self::Cells { prefix, rank, coordinates, separator } => {
                let coordinates = coordinates.get(piece.start * rank..piece.end * rank).unwrap_or_default().to_vec();
                BulkKeys::Cells { prefix: (*prefix).to_owned(), rank: *rank, coordinates, separator: *separator }
            }
            Self::Keys(keys) => {
                let (mut text, mut ends) = (String::new(), Vec::with_capacity(piece.len()));
                for some in keys.get(piece).unwrap_or_default().chunks(TURN) {
                    for key in some {
                        text.push_str(key);
                        ends.push(text.len());
                    }
                    tokio::task::yield_now().await;
                }
                BulkKeys::Keys { text, ends }
            }
        }
    }

    /// Whether the keys of a piece ascend; `None` says so, else the places of those that are there in the order of their keys,
    /// of equal ones the last.
    pub(super) fn sorted(&self, piece: Range<usize>, is_there: impl Fn(&usize) -> bool) -> Option<Vec<usize>> {
        let compare = |a: usize, b: usize| match self {
            Self::Grid { .. } => a.cmp(&b),
            Self::Cells { .. } => self.cell(a).cmp(self.cell(b)),
            Self::Keys(keys) => order::compare(keys.get(a).unwrap_or(&""), keys.get(b).unwrap_or(&"")),
        };
        if matches!(self, Self::Grid { .. }) || piece.clone().zip(piece.clone().skip(1)).all(|(a, b)| compare(a, b) == Ordering::Less) {
            return None;
        }
        let mut places: Vec<usize> = piece.filter(is_there).collect();
        // The later of equal ones first, which is the one that stays.
        places.sort_by(|a, b| compare(*a, *b).then(b.cmp(a)));
        places.dedup_by(|later, kept| compare(*later, *kept) == Ordering::Equal);
        Some(places)
    }

    /// The coordinates of a cell that are written down.
    fn cell(&self, n: usize) -> &[u64] {
        match self {
            Self::Cells { rank, coordinates, .. } => coordinates.get(n * rank..).and_then(|rest| rest.get(..*rank)).unwrap_or_default(),
            Self::Grid { .. } | Self::Keys(_) => &[],
        }
    }
}

/// Writes one key after the other, of each only what differs from the one before.
#[derive(Debug)]
pub(super) struct KeyWriter<'a> {
    column: KeyColumn<'a>,
    prefix: &'a str,
    separator: char,
    text: String,
    /// The coordinates that `text` spells, and where each of them ends.
    spelt: Vec<(u64, usize)>,
    /// The cell of a region that was written last, and its number.
    cell: Vec<u64>,
    number: Option<usize>,
}

impl<'a> KeyWriter<'a> {
    pub(super) fn new(column: KeyColumn<'a>) -> Self {
        let (prefix, separator) = match column {
            KeyColumn::Grid { prefix, separator, .. } | KeyColumn::Cells { prefix, separator, .. } => (prefix, separator),
            KeyColumn::Keys(_) => ("", '/'),
        };
        Self { column, prefix, separator, text: prefix.to_owned(), spelt: Vec::new(), cell: Vec::new(), number: None }
    }

    /// The key in place `n`, which must be less than the number of keys.
    pub(super) fn key(&mut self, n: usize) -> &str {
        match self.column {
            KeyColumn::Keys(keys) => keys.get(n).copied().unwrap_or_default(),
            KeyColumn::Cells { .. } => {
                let column = self.column;
                self.write(column.cell(n))
            }
            KeyColumn::Grid { region, .. } => {
                let mut cell = std::mem::take(&mut self.cell);
                let follows = self.number.is_some_and(|number| number + 1 == n);
                if follows {
                    step(&mut cell, region);
                } else {
                    cell = nth(n, region);
                }
                self.number = Some(n);
                self.write(&cell);
                self.cell = cell;
                &self.text
            }
        }
    }

    fn write(&mut self, cell: &[u64]) -> &str {
        let same = self.spelt.iter().zip(cell).take_while(|((a, _), b)| a == *b).count();
        self.spelt.truncate(same);
        self.text.truncate(self.spelt.last().map_or(self.prefix.len(), |(_, end)| *end));
        let mut digits = itoa::Buffer::new();
        for (dim, n) in cell.iter().enumerate().skip(same) {
            if dim > 0 {
                self.text.push(self.separator);
            }
            self.text.push_str(digits.format(*n));
            self.spelt.push((*n, self.text.len()));
        }
        &self.text
    }
}

/// Goes to the next cell of a region.
fn step(cell: &mut [u64], region: &[Range<u64>]) {
    for (n, range) in cell.iter_mut().zip(region).rev() {
        *n += 1;
        if *n < range.end {
            return;
        }
        *n = range.start;
    }
}

/// A cell of a region by its number.
fn nth(n: usize, region: &[Range<u64>]) -> Vec<u64> {
    let mut rest = n as u64;
    let mut cell: Vec<_> = region
        .iter()
        .rev()
        .map(|range| {
            let extent = (range.end - range.start).max(1);
            let at = range.start + rest % extent;
            rest /= extent;
            at
        })
        .collect();
    cell.reverse();
    cell
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::MapKey;

    fn all(column: KeyColumn<'_>) -> Vec<String> {
        let mut writer = KeyWriter::new(column);
        (0..column.len().unwrap()).map(|n| writer.key(n).to_owned()).collect()
    }

    #[test]
    fn a_region_is_written_in_the_order_of_the_maps() {
        for (prefix, separator) in [("air/c/", '/'), ("air/", '.'), ("c9", '-'), ("", '/')] {
            let region = [8..12, 0..1, 98..102];
            let keys = all(KeyColumn::Grid { prefix, region: &region, separator });
            assert_eq!(keys[0], format!("{prefix}8{separator}0{separator}98"));
            assert_eq!(keys[15], format!("{prefix}11{separator}0{separator}101"));
            assert!(keys.is_sorted_by(|a, b| MapKey::new(a.as_str()) < MapKey::new(b.as_str())), "{keys:?}");
            // From anywhere, also without the cell before.
            for n in [0, 15, 7, 8, 3] {
                let column = KeyColumn::Grid { prefix, region: &region, separator };
                assert_eq!(KeyWriter::new(column).key(n), keys[n]);
            }
            let coordinates: Vec<u64> = (8..12).flat_map(|t| (98..102).flat_map(move |x| [t, 0, x])).collect();
            assert_eq!(all(KeyColumn::Cells { prefix, rank: 3, coordinates: &coordinates, separator }), keys);
        }
        assert_eq!(all(KeyColumn::Grid { prefix: "scalar/c", region: &[], separator: '/' }), ["scalar/c"]);
        assert!(all(KeyColumn::Grid { prefix: "a/", region: &[0..0, 0..9], separator: '/' }).is_empty());
    }

    #[test]
    fn places_are_sorted_only_if_they_must_be() {
        let keys = ["a/2", "a/10", "a/9", "a/10", "a/2"];
        let column = KeyColumn::Keys(&keys);
        assert_eq!(column.sorted(0..5, |_| true), Some(vec![4, 2, 3]));
        assert_eq!(column.sorted(0..5, |n| *n < 4), Some(vec![0, 2, 3]));
        assert_eq!(column.sorted(0..2, |_| true), None);
        assert_eq!(column.sorted(2..4, |_| true), None);
        let cells = KeyColumn::Cells { prefix: "", rank: 2, coordinates: &[1, 0, 0, 5, 1, 0], separator: '/' };
        assert_eq!(cells.sorted(0..3, |_| true), Some(vec![1, 2]));
    }

    #[test]
    fn columns_that_give_no_keys_are_refused() {
        let grid = |prefix, separator| KeyColumn::Grid { prefix, region: &[0..2, 0..2], separator };
        for bad in [grid("a//", '/'), grid("/", '.'), grid("a/", '1'), grid("a/", '\n'), grid("a/../", '/')] {
            assert_eq!(futures::executor::block_on(bad.check()).unwrap_err().kind(), crate::ErrorKind::Invalid, "{bad:?}");
        }
        let long = "k".repeat(key::MAX_KEY - 3);
        let check = |column: KeyColumn<'_>| futures::executor::block_on(column.check());
        assert!(check(KeyColumn::Grid { prefix: &long, region: &[0..2, 0..10], separator: '/' }).is_ok());
        assert!(check(KeyColumn::Grid { prefix: &long, region: &[0..2, 0..11], separator: '/' }).is_err());
        assert!(KeyColumn::Grid { prefix: "a", region: &[0..u64::MAX, 0..3], separator: '/' }.len().is_err());
        // One without an end once made room for all its coordinates.
        for (rank, coordinates) in [(0, [1].as_slice()), (0, &[]), (2, &[1, 2, 3]), (usize::MAX, &[])] {
            assert!(KeyColumn::Cells { prefix: "a/", rank, coordinates, separator: '/' }.len().is_err());
        }
        assert!(check(KeyColumn::Keys(&["a", "b/"])).is_err());
    }
}
