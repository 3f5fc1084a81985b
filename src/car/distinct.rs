//! Which blocks of a long sequence occur for the first time, in bounded memory.
//!
//! Up to a limit the names lie in memory. Beyond it they go to a scratch file as sorted runs, and the runs are merged once: equal names
//! meet, and the earliest of them is the first. What stays in memory is one bit for each block of the sequence, and of each run one
//! block of names.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::vec::IntoIter;

use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::id::BINARY_CID;
use crate::scratch::{Scratch, ScratchPlace};

/// How many names are kept in memory before they become a run.
pub(super) const LIMIT: usize = 1_000_000;

/// How many names are written, and read back, at a time: 48 KiB.
const BLOCK: usize = 1024;
/// The length of a name on scratch, with its place and what it counts.
const RECORD: usize = BINARY_CID + 8 + 4;

/// A binary CID.
pub(super) type Name = [u8; BINARY_CID];

/// A name, its place in the sequence, and what it counts if it is the first.
type NameRecord = (Name, u64, u32);

/// Takes the names in sequence.
#[derive(Debug)]
pub(super) struct Distinct {
    limit: usize,
    /// Where the scratch file is made.
    directory: PathBuf,
    scratch: Option<Scratch>,
    count: u64,
    names: Vec<NameRecord>,
    runs: Vec<Vec<ScratchPlace>>,
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
    /// Keeps at most `limit` names in memory, and the rest in a scratch file in `directory`.
    pub(super) const fn new(limit: usize, directory: PathBuf) -> Self {
        Self { limit, directory, scratch: None, count: 0, names: Vec::new(), runs: Vec::new() }
    }

    /// Takes the next name, which counts `size` if it is the first. Cheap; when it says `true`, [`spill`](Self::spill) is due.
    pub(super) fn push(&mut self, name: Name, size: u32) -> bool {
        self.names.push((name, self.count, size));
        self.count += 1;
        self.names.len() >= self.limit
    }

    /// Writes what is in memory to the scratch file, off the runtime's threads.
    pub(super) async fn spill(self) -> Result<Self> {
        blocking("spilling names of blocks", move || self.spill_here()).await
    }

    /// Merges everything, off the runtime's threads.
    pub(super) async fn finish(self) -> Result<Firsts> {
        blocking("merging names of blocks", move || self.merge()).await
    }

    fn spill_here(mut self) -> Result<Self> {
        self.names.sort_unstable();
        let scratch = Scratch::or_new(&mut self.scratch, &self.directory)?;
        let run: Result<_> = self.names.chunks(BLOCK).map(|records| scratch.put(&encode(records))).collect();
        self.runs.push(run?);
        self.names.clear();
        Ok(self)
    }

    fn merge(mut self) -> Result<Firsts> {
        let words =
            usize::try_from(self.count.div_ceil(64)).map_err(|e| Error::unsupported("too many blocks for this machine").caused_by(e))?;
        let mut firsts = Firsts { bits: vec![0; words], count: 0, size: 0 };
        self.names.sort_unstable();
        let mut runs: Vec<_> = self.runs.into_iter().map(|run| NameRun { begun: Vec::new().into_iter(), rest: run.into_iter() }).collect();
        runs.push(NameRun { begun: self.names.into_iter(), rest: Vec::new().into_iter() });
        let mut heap = BinaryHeap::with_capacity(runs.len());
        for (at, run) in runs.iter_mut().enumerate() {
            heap.extend(run.next()?.map(|record| Reverse((record, at))));
        }
        let mut last = None;
        while let Some(Reverse(((name, place, size), at))) = heap.pop() {
            if last != Some(name) {
                firsts.set(place, size);
                last = Some(name);
            }
            if let Some(run) = runs.get_mut(at) {
                heap.extend(run.next()?.map(|record| Reverse((record, at))));
            }
        }
        Ok(firsts)
    }
}

/// A sorted run: what is left of the block that has been begun, and the blocks after it.
struct NameRun {
    begun: IntoIter<NameRecord>,
    rest: IntoIter<ScratchPlace>,
}

impl NameRun {
    /// The next record; `None` after the last.
    fn next(&mut self) -> Result<Option<NameRecord>> {
        while self.begun.as_slice().is_empty() {
            let Some(block) = self.rest.next() else { return Ok(None) };
            let records = decode(&block.read()?).ok_or_else(|| Error::internal("names of blocks cannot be read back"))?;
            self.begun = records.into_iter();
        }
        Ok(self.begun.next())
    }
}

fn encode(records: &[NameRecord]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len() * RECORD);
    for (name, place, size) in records {
        out.extend_from_slice(name);
        out.extend_from_slice(&place.to_be_bytes());
        out.extend_from_slice(&size.to_be_bytes());
    }
    out
}

fn decode(mut bytes: &[u8]) -> Option<Vec<NameRecord>> {
    let mut records = Vec::with_capacity(bytes.len() / RECORD);
    while !bytes.is_empty() {
        let (name, rest) = bytes.split_first_chunk()?;
        let (place, rest) = rest.split_first_chunk()?;
        let (size, rest) = rest.split_first_chunk()?;
        records.push((*name, u64::from_be_bytes(*place), u32::from_be_bytes(*size)));
        bytes = rest;
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// A name that begins with these bytes.
    fn name(n: u16) -> Name {
        let mut name = [0; BINARY_CID];
        name[..2].copy_from_slice(&n.to_le_bytes());
        name
    }

    #[tokio::test]
    async fn runs_on_disk_say_the_same_as_memory() {
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        let names: Vec<Name> = (0..5000).map(|_| name(random.random_range(0..1500))).collect();
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
    /// A name that a disk changed was another name, so that a block was left out of a file or came twice.
    #[tokio::test]
    async fn names_that_a_disk_changed_are_an_error() {
        let mut distinct = Distinct::new(2 * BLOCK, std::env::temp_dir());
        for n in 0..2 * u16::try_from(BLOCK).unwrap() {
            distinct.push(name(n), 3);
        }
        let mut distinct = distinct.spill().await.unwrap();
        let places: Vec<_> = distinct.runs.iter_mut().flatten().collect();
        assert_eq!(places.len(), 2, "blocks of a bounded length");
        for place in places {
            *place = place.damaged();
        }
        assert_eq!(distinct.finish().await.unwrap_err().kind(), crate::ErrorKind::Unavailable);
    }
}
