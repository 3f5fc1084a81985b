//! Maps as they occur: what the entries point at, and how their keys are laid out.

use std::fmt;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::format::{Entry, FileKey};
use crate::id::{ChunkForm, ChunkId, HashAlgorithm};
use crate::key::MapKey;

/// What the entries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Chunks in the repository, of random sizes.
    Native,
    /// Uncompressed chunks in few files: one after the other, all of one length.
    Regular,
    /// Each in a file of its own.
    OneFileEach,
    /// Compressed chunks in 1,000 files: one after the other, with lengths of 16 random bits.
    Random,
}

/// How the keys are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `a/c/i/j/k`, with 100 × 100 chunks for each `i`.
    OneArray,
    /// `v<n>/c/t/y/x`, with 2 × 5 chunks for each step `t`.
    TwentyArrays,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Native, Self::Regular, Self::OneFileEach, Self::Random];
}

/// A map to be measured. Its entries are a function of these fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set {
    pub(super) kind: Kind,
    pub(super) layout: Layout,
    /// How many entries, a multiple of 10,000.
    pub(super) refs: u64,
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Native => "native",
            Kind::Regular => "regular",
            Kind::OneFileEach => "file each",
            Kind::Random => "random",
        };
        let layout = if self.layout == Layout::OneArray { "1 array" } else { "20 arrays" };
        write!(f, "{:.0e} {kind}, {layout}", self.refs as f64)
    }
}

const ARRAYS: u64 = 20;
const PER_STEP: u64 = 10;
const FILES: u64 = 1000;
/// What a regular chunk takes, in bytes.
const STRIDE: u64 = 1 << 20;

/// The place of an entry: which array, which step, which chunk of the step.
#[derive(Clone, Copy)]
struct Place {
    array: u64,
    step: u64,
    chunk: u64,
}

impl Set {
    /// How many steps each array has.
    pub(super) fn steps(&self) -> u64 {
        match self.layout {
            Layout::OneArray => self.refs / 10_000,
            Layout::TwentyArrays => self.refs / (ARRAYS * PER_STEP),
        }
    }

    /// Every entry, in order.
    pub(super) fn entries(&self, steps: u64) -> impl Iterator<Item = (MapKey, Entry)> {
        let (arrays, chunks) = match self.layout {
            Layout::OneArray => (1, 10_000),
            Layout::TwentyArrays => (ARRAYS, PER_STEP),
        };
        let set = *self;
        let places =
            (0..arrays).flat_map(move |array| (0..steps).flat_map(move |step| (0..chunks).map(move |chunk| Place { array, step, chunk })));
        let mut random = SmallRng::seed_from_u64(self.refs);
        let (mut file, mut end) = (None, 0);
        places.map(move |place| {
            let next = set.file(place);
            if file != Some((place.array, next)) {
                (file, end) = (Some((place.array, next)), place.array << 32);
            }
            let entry = set.entry(place, next, end, &mut random);
            end += entry.size();
            (set.key(place), entry)
        })
    }

    /// The entries that one more step adds after `steps`, in order.
    pub(super) fn append(&self, steps: u64) -> Vec<(MapKey, Option<Entry>)> {
        let mut random = SmallRng::seed_from_u64(steps);
        let places = (0..ARRAYS).flat_map(|array| (0..PER_STEP).map(move |chunk| Place { array, step: steps, chunk }));
        let mut end = 0;
        let entries = places.map(|place| {
            let entry = self.entry(place, self.file(place), (place.array << 32) + end, &mut random);
            end += entry.size();
            (self.key(place), Some(entry))
        });
        entries.collect()
    }

    /// Another value of the same kind for one of the keys.
    pub(super) fn change(&self, random: &mut SmallRng) -> (MapKey, Entry) {
        let place = match self.layout {
            Layout::OneArray => Place { array: 0, step: random.random_range(0..self.steps()), chunk: random.random_range(0..10_000) },
            Layout::TwentyArrays => Place {
                array: random.random_range(0..ARRAYS),
                step: random.random_range(0..self.steps()),
                chunk: random.random_range(0..PER_STEP),
            },
        };
        // A changed chunk comes from somewhere else: the end of its file, or a file of its own.
        let (file, end) = (self.file(place), 1 << 40 | u64::from(random.random::<u32>()));
        let entry = match self.kind {
            Kind::Native => self.entry(place, file, end, random),
            _ => Entry::Virtual { file: self.file_key(place, file), offset: end, length: random.random_range(1 << 15..1 << 16) },
        };
        (self.key(place), entry)
    }

    fn key(&self, place: Place) -> MapKey {
        let Place { array, step, chunk } = place;
        MapKey::new(match self.layout {
            Layout::OneArray => format!("a/c/{step}/{}/{}", chunk / 100, chunk % 100),
            Layout::TwentyArrays => format!("v{array:02}/c/{step}/{}/{}", chunk / 5, chunk % 5),
        })
    }

    fn file(&self, place: Place) -> u64 {
        match (self.kind, self.layout) {
            (Kind::Regular, Layout::OneArray) => place.step * 10 / self.steps(),
            (Kind::Regular, Layout::TwentyArrays) => place.array,
            (Kind::Native | Kind::OneFileEach, _) => 0,
            (Kind::Random, Layout::OneArray) => (place.step * 10_000 + place.chunk) * FILES / self.refs,
            (Kind::Random, Layout::TwentyArrays) => place.step * FILES / self.steps(),
        }
    }

    fn file_key(&self, place: Place, file: u64) -> FileKey {
        let Place { array, step, chunk } = place;
        let arg = match self.kind {
            Kind::OneFileEach => format!("v{array:02}/{step:06}/tile_{:03}_{:03}.tif", chunk / 100, chunk % 100),
            _ => format!("{}/air_{file:04}.nc", 1980 + file / 24),
        };
        FileKey::new("nemo", [arg.as_str()]).unwrap()
    }

    fn entry(&self, place: Place, file: u64, end: u64, random: &mut SmallRng) -> Entry {
        let length = random.random_range(1 << 15..(1 << 15) + (1 << 16));
        match self.kind {
            Kind::Native => {
                let digest = HashAlgorithm::Sha2_256.digest(&random.random::<[u8; 16]>());
                Entry::Chunk { id: ChunkId::new(ChunkForm::Raw, digest), size: length }
            }
            Kind::Regular => Entry::Virtual { file: self.file_key(place, file), offset: 4096 + end, length: STRIDE },
            Kind::OneFileEach => Entry::Virtual { file: self.file_key(place, file), offset: 0, length },
            Kind::Random => Entry::Virtual { file: self.file_key(place, file), offset: 4096 + end, length },
        }
    }
}
