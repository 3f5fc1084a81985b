//! Many short rows, more than fit into memory, sorted within partitions.
//!
//! Rows gather in memory, and go to a scratch file as sorted runs when there are too many. A partition is read as a whole, so the
//! caller chooses partitions of equal sizes: ids of objects by some bits of their digests.

use std::path::{Path, PathBuf};

use super::{Scratch, ScratchPlace};
use crate::error::{Error, Result};

/// Rows of `N` bytes in partitions.
#[derive(Debug)]
pub(crate) struct Partitions<const N: usize> {
    parts: Vec<Partition<N>>,
    /// How many rows lie in memory.
    held: usize,
    /// How many may.
    limit: usize,
    directory: PathBuf,
    scratch: Option<Scratch>,
}

#[derive(Debug, Default)]
struct Partition<const N: usize> {
    rows: Vec<[u8; N]>,
    runs: Vec<ScratchPlace>,
}

impl<const N: usize> Partitions<N> {
    /// `count` partitions, of which about `bytes` lie in memory, and the rest in a scratch file in `directory`.
    pub(crate) fn new(count: usize, bytes: usize, directory: &Path) -> Self {
        let parts = std::iter::repeat_with(|| Partition { rows: Vec::new(), runs: Vec::new() }).take(count).collect();
        Self { parts, held: 0, limit: (bytes / N).max(1), directory: directory.to_owned(), scratch: None }
    }

    /// Adds a row, which may be there already. After an error it may not be there.
    pub(crate) fn add(&mut self, part: usize, row: [u8; N]) -> Result<()> {
        let part = self.parts.get_mut(part).ok_or_else(|| Error::internal("a partition that does not exist"))?;
        part.rows.push(row);
        self.held += 1;
        if self.held >= self.limit { self.spill() } else { Ok(()) }
    }

    /// The partitions that hold rows.
    pub(crate) fn filled(&self) -> Vec<usize> {
        let filled = self.parts.iter().enumerate().filter(|(_, part)| !(part.rows.is_empty() && part.runs.is_empty()));
        filled.map(|(at, _)| at).collect()
    }

    /// The rows of a partition, sorted, each once. All of them are in memory then.
    pub(crate) fn read(&self, part: usize) -> Result<Vec<[u8; N]>> {
        let Some(part) = self.parts.get(part) else { return Ok(Vec::new()) };
        let mut rows = part.rows.clone();
        for run in &part.runs {
            let bytes = run.read()?;
            rows.extend(bytes.chunks_exact(N).filter_map(|row| <[u8; N]>::try_from(row).ok()));
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    /// Moves all rows from memory to the scratch file.
    fn spill(&mut self) -> Result<()> {
        let scratch = Scratch::or_new(&mut self.scratch, &self.directory)?;
        for part in self.parts.iter_mut().filter(|part| !part.rows.is_empty()) {
            part.rows.sort_unstable();
            part.rows.dedup();
            part.runs.push(scratch.put(part.rows.as_flattened())?);
            part.rows = Vec::new();
        }
        self.held = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_come_back_sorted_and_once_wherever_they_lie() {
        let place = tempfile::tempdir().unwrap();
        for bytes in [1, 100, 1 << 20] {
            let mut partitions = Partitions::<3>::new(4, bytes, place.path());
            assert!(partitions.filled().is_empty());
            let mut model = vec![BTreeSet::new(); 4];
            let mut state = 7_u32;
            for _ in 0..2_000 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let [part, row @ ..] = state.to_le_bytes();
                // Partition 2 stays empty.
                let part = [0, 1, 3][usize::from(part) % 3];
                let row = row.map(|byte| byte & 7);
                partitions.add(part, row).unwrap();
                model[part].insert(row);
            }
            assert_eq!(partitions.filled(), [0, 1, 3]);
            for (part, rows) in model.iter().enumerate() {
                assert_eq!(partitions.read(part).unwrap(), rows.iter().copied().collect::<Vec<_>>(), "{bytes} bytes in memory");
            }
            assert_eq!(partitions.scratch.is_some(), bytes < 1 << 20);
        }
        assert!(Partitions::<3>::new(1, 9, place.path()).add(1, [0; 3]).is_err());
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "scratch files have no names");
    }
}
