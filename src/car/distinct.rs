//! Which blocks of a long sequence occur for the first time, in bounded memory.
//!
//! Up to a limit the names lie in memory. Beyond it they go to scratch files as sorted runs, and the runs are merged once: equal names
//! meet, and the earliest of them is the first. What stays in memory is one bit for each block.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::id::BINARY_CID;
use crate::scratch;

/// How many names are kept in memory before they become a run.
pub(super) const LIMIT: usize = 1_000_000;

/// A binary CID.
pub(super) type Name = [u8; BINARY_CID];

/// A name, its place in the sequence, and what it counts if it is the first.
type NameRecord = (Name, u64, u32);

/// Takes the names in sequence.
#[derive(Debug)]
pub(super) struct Distinct {
    limit: usize,
    /// Where scratch files are made.
    directory: PathBuf,
    count: u64,
    names: Vec<NameRecord>,
    runs: Vec<File>,
}

/// One bit for each block of the sequence: whether it is the first of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Firsts {
    bits: Vec<u64>,
    /// How many are first.
    pub(super) count: u64,
    /// The sum of their sizes.
    pub(super) size: u64,
}

impl Firsts {
    /// Whether the block at `place` is the first of its name.
    pub(super) fn holds(&self, place: u64) -> bool {
        let word = usize::try_from(place / 64).ok().and_then(|at| self.bits.get(at));
        word.is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    fn set(&mut self, place: u64, size: u32) {
        let at = usize::try_from(place / 64).unwrap_or(usize::MAX);
        if let Some(word) = self.bits.get_mut(at) {
            *word |= 1 << (place % 64);
            self.count += 1;
            self.size += u64::from(size);
        }
    }
}

impl Distinct {
    /// Keeps at most `limit` names in memory, and the rest in scratch files in `directory`.
    pub(super) const fn new(limit: usize, directory: PathBuf) -> Self {
        Self { limit, directory, count: 0, names: Vec::new(), runs: Vec::new() }
    }

    /// Takes the next name, which counts `size` if it is the first. Cheap; when it says `true`, [`spill`](Self::spill) is due.
    pub(super) fn push(&mut self, name: Name, size: u32) -> bool {
        self.names.push((name, self.count, size));
        self.count += 1;
        self.names.len() >= self.limit
    }

    /// Writes what is in memory to a scratch file, off the runtime's threads.
    pub(super) async fn spill(self) -> Result<Self> {
        blocking("spilling names of blocks", move || self.spill_here()).await
    }

    /// Merges everything, off the runtime's threads.
    pub(super) async fn finish(self) -> Result<Firsts> {
        blocking("merging names of blocks", move || self.merge()).await
    }

    fn spill_here(mut self) -> Result<Self> {
        self.names.sort_unstable();
        let failed = |e| scratch::failed(&self.directory, e);
        let mut run = BufWriter::new(scratch::file(&self.directory)?);
        for (name, place, size) in self.names.drain(..) {
            let record = [name.as_slice(), &place.to_be_bytes(), &size.to_be_bytes()].concat();
            run.write_all(&record).map_err(failed)?;
        }
        let mut run = run.into_inner().map_err(|e| failed(e.into_error()))?;
        run.seek(SeekFrom::Start(0)).map_err(failed)?;
        self.runs.push(run);
        Ok(self)
    }

    fn merge(mut self) -> Result<Firsts> {
        let words =
            usize::try_from(self.count.div_ceil(64)).map_err(|e| Error::unsupported("too many blocks for this machine").caused_by(e))?;
        let mut firsts = Firsts { bits: vec![0; words], count: 0, size: 0 };
        self.names.sort_unstable();
        let mut last = None;
        let mut take = |(name, place, size): NameRecord| {
            if last != Some(name) {
                firsts.set(place, size);
                last = Some(name);
            }
        };
        if self.runs.is_empty() {
            self.names.into_iter().for_each(take);
            return Ok(firsts);
        }
        let next_record = |run: &mut BufReader<File>| read_record(run).map_err(|e| scratch::failed(&self.directory, e));
        let mut memory = self.names.into_iter();
        let mut runs: Vec<_> = self.runs.into_iter().map(BufReader::new).collect();
        let mut heap = BinaryHeap::new();
        for (index, run) in runs.iter_mut().enumerate() {
            heap.extend(next_record(run)?.map(|record| Reverse((record, Some(index)))));
        }
        heap.extend(memory.next().map(|record| Reverse((record, None))));
        while let Some(Reverse((record, source))) = heap.pop() {
            take(record);
            let next = match source.and_then(|index| runs.get_mut(index)) {
                Some(run) => next_record(run)?,
                None => memory.next(),
            };
            heap.extend(next.map(|record| Reverse((record, source))));
        }
        Ok(firsts)
    }
}

/// The next record of a run; `None` at its end.
fn read_record(run: &mut impl Read) -> std::io::Result<Option<NameRecord>> {
    let (mut name, mut place, mut size) = ([0; BINARY_CID], [0; 8], [0; 4]);
    match run.read_exact(&mut name) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    run.read_exact(&mut place)?;
    run.read_exact(&mut size)?;
    Ok(Some((name, u64::from_be_bytes(place), u32::from_be_bytes(size))))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[tokio::test]
    async fn runs_on_disk_say_the_same_as_memory() {
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        let names: Vec<Name> = (0..5000)
            .map(|_| {
                let n: u16 = random.random_range(0..1500);
                let mut name = [0; BINARY_CID];
                name[..2].copy_from_slice(&n.to_le_bytes());
                name
            })
            .collect();
        let mut seen = std::collections::HashSet::new();
        let expected: Vec<bool> = names.iter().map(|name| seen.insert(*name)).collect();
        for limit in [7, 100, 4999, 5000, 10_000] {
            let mut distinct = Distinct::new(limit, std::env::temp_dir());
            for name in &names {
                if distinct.push(*name, 3) {
                    distinct = distinct.spill().await.unwrap();
                }
            }
            let firsts = distinct.finish().await.unwrap();
            let found: Vec<bool> = (0..5000).map(|place| firsts.holds(place)).collect();
            assert_eq!(found, expected, "limit {limit}");
            assert_eq!((firsts.count, firsts.size), (seen.len() as u64, 3 * seen.len() as u64));
        }
    }
}
