//! Staged entries in the order of their keys, in a compact form: about ten bytes for a reference next to its neighbours.
//!
//! A run is a list of blocks, in memory or in a scratch file; a new run is a map until it has been written as blocks. An entry consists
//! of the length of the prefix that its key shares with the key before it in the block, the length of the rest of the key, the rest, a
//! byte for the kind of value, and the fields of that kind. All numbers are LEB128. The form is private to one process and never stored
//! for longer.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::id::{BINARY_CID, ChunkId, cid_from_bytes};
use crate::key::{MapKey, order};
use crate::scratch::{Scratch, ScratchPlace};
use crate::varint;

/// How many bytes a block holds before the next one begins: what is read to find one entry.
const BLOCK: usize = 32 << 10;

const DELETED: u8 = 0;
const INLINE: u8 = 1;
const CHUNK: u8 = 2;
/// In the file of the reference before, from where that ended.
const NEXT_RANGE: u8 = 3;
/// In the file of the reference before.
const SAME_FILE: u8 = 4;
const VIRTUAL: u8 = 5;

/// The level of a run that a fork inherited. Such a run is merged with no other.
pub(super) const INHERITED: u32 = u32::MAX;

/// An entry, its file by its place in the table of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::session) enum Stored {
    Deleted,
    Inline(Bytes),
    Chunk { id: ChunkId, size: u64 },
    Virtual { file: usize, offset: u64, length: u64 },
}

/// Entries in the order of their keys, all staged at one moment as far as prefix deletes are concerned.
#[derive(Debug)]
pub(super) struct StagedRun {
    entries: Entries,
    last: String,
    /// How many prefix deletes came before: the later ones delete what lies here.
    pub(super) stamp: u64,
    /// How often its entries have been merged.
    pub(super) level: u32,
    held: usize,
}

#[derive(Debug)]
enum Entries {
    Map(BTreeMap<MapKey, Stored>),
    Blocks(Vec<RunBlock>),
}

#[derive(Debug, Clone)]
struct RunBlock {
    first: Box<str>,
    data: Data,
}

#[derive(Debug, Clone)]
enum Data {
    Memory(Bytes),
    Scratch(ScratchPlace),
}

impl StagedRun {
    /// A run of the entries of a map, which take `held` bytes; `None` if there are none.
    pub(super) fn of_map(entries: BTreeMap<MapKey, Stored>, held: usize, stamp: u64) -> Option<Self> {
        let last = entries.last_key_value()?.0.as_str().to_owned();
        Some(Self { entries: Entries::Map(entries), last, stamp, level: 0, held })
    }

    pub(super) fn first(&self) -> &str {
        match &self.entries {
            Entries::Map(map) => map.first_key_value().map_or("", |(key, _)| key.as_str()),
            Entries::Blocks(blocks) => blocks.first().map_or("", |block| &block.first),
        }
    }

    pub(super) fn last(&self) -> &str {
        &self.last
    }

    /// The bytes that lie in memory, roughly.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Whether it is still a map.
    pub(super) const fn is_map(&self) -> bool {
        matches!(self.entries, Entries::Map(_))
    }

    /// The same entries, written as blocks.
    pub(super) fn in_blocks(&self) -> Self {
        let blocks = match &self.entries {
            Entries::Blocks(blocks) => blocks.clone(),
            Entries::Map(map) => {
                let mut builder = RunBuilder::default();
                for (key, value) in map {
                    builder.push(key.as_str(), value);
                }
                builder.end_block();
                builder.blocks
            }
        };
        let held = held(&blocks);
        Self { entries: Entries::Blocks(blocks), last: self.last.clone(), stamp: self.stamp, level: self.level, held }
    }

    /// Moves the blocks that lie in memory to `scratch`. After an error the rest is still in memory.
    pub(super) fn spill(&mut self, scratch: &mut Scratch) -> Result<()> {
        let Entries::Blocks(blocks) = &mut self.entries else { return Ok(()) };
        let spilled = spill(blocks, scratch);
        self.held = held(blocks);
        spilled
    }

    /// Appends a run of blocks whose keys all come later, to one of blocks. Gives it back where that cannot be done.
    pub(super) fn append(&mut self, next: Self) -> Option<Self> {
        if self.stamp != next.stamp || order::compare(&self.last, next.first()) != Ordering::Less {
            return Some(next);
        }
        match (&mut self.entries, next.entries) {
            (Entries::Blocks(blocks), Entries::Blocks(more)) => {
                blocks.extend(more);
                self.last = next.last;
                self.held += next.held;
                None
            }
            (_, entries) => Some(Self { entries, ..next }),
        }
    }

    /// The entry of `key`.
    pub(super) fn find(&self, key: &str) -> Result<Option<Stored>> {
        if order::compare(&self.last, key) == Ordering::Less || order::compare(self.first(), key) == Ordering::Greater {
            return Ok(None);
        }
        let mut cursor = self.cursor();
        Ok((cursor.seek(key)? && cursor.key == key).then_some(cursor.value))
    }

    /// A cursor before the first entry.
    pub(super) fn cursor(&self) -> RunCursor<'_> {
        let source = match &self.entries {
            Entries::Map(map) => RunSource::Map { map, rest: map.range::<MapKey, _>(..) },
            Entries::Blocks(blocks) => RunSource::Blocks { blocks, data: Bytes::new(), previous: Previous::default() },
        };
        RunCursor { source, is_there: false, key: String::new(), value: Stored::Deleted }
    }
}

fn held(blocks: &[RunBlock]) -> usize {
    let in_memory = blocks.iter().map(|block| match &block.data {
        Data::Memory(bytes) => bytes.len() + block.first.len(),
        Data::Scratch(_) => 0,
    });
    in_memory.sum()
}

fn spill(blocks: &mut [RunBlock], scratch: &mut Scratch) -> Result<()> {
    for block in blocks {
        if let Data::Memory(bytes) = &block.data {
            block.data = Data::Scratch(scratch.put(bytes)?);
        }
    }
    Ok(())
}

/// Where the last reference of a block ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Previous {
    file: Option<usize>,
    end: u64,
}

impl Previous {
    fn of(file: usize, offset: u64, length: u64) -> Self {
        Self { file: Some(file), end: offset.wrapping_add(length) }
    }
}

/// Takes entries in the order of their keys.
#[derive(Debug, Default)]
pub(super) struct RunBuilder {
    blocks: Vec<RunBlock>,
    held: usize,
    /// The block being filled, and its first key.
    data: Vec<u8>,
    first: Option<Box<str>>,
    last: String,
    previous: Previous,
}

impl RunBuilder {
    /// Appends an entry, whose key must follow the last one.
    pub(super) fn push(&mut self, key: &str, value: &Stored) {
        if self.first.is_none() {
            self.first = Some(key.into());
            self.last.clear();
            self.previous = Previous::default();
        }
        let shared = shared(&self.last, key);
        let rest = key.get(shared..).unwrap_or_default();
        let data = &mut self.data;
        varint::put(data, shared as u64);
        varint::put(data, rest.len() as u64);
        data.extend_from_slice(rest.as_bytes());
        self.last.truncate(shared);
        self.last.push_str(rest);
        match value {
            Stored::Deleted => data.push(DELETED),
            Stored::Inline(bytes) => {
                data.push(INLINE);
                varint::put(data, bytes.len() as u64);
                data.extend_from_slice(bytes);
            }
            Stored::Chunk { id, size } => {
                data.push(CHUNK);
                data.extend_from_slice(&id.to_bytes());
                varint::put(data, *size);
            }
            Stored::Virtual { file, offset, length } => {
                if self.previous.file != Some(*file) {
                    data.push(VIRTUAL);
                    varint::put(data, *file as u64);
                    varint::put(data, *offset);
                } else if self.previous.end == *offset {
                    data.push(NEXT_RANGE);
                } else {
                    data.push(SAME_FILE);
                    varint::put(data, *offset);
                }
                varint::put(data, *length);
                self.previous = Previous::of(*file, *offset, *length);
            }
        }
        if self.data.len() >= BLOCK {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        if let Some(first) = self.first.take() {
            let bytes = Bytes::copy_from_slice(&self.data);
            self.data.clear();
            self.held += bytes.len() + first.len();
            self.blocks.push(RunBlock { first, data: Data::Memory(bytes) });
        }
    }

    /// The bytes that lie in memory, without the block being filled.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Moves what lies in memory to `scratch`, but for the block being filled.
    pub(super) fn spill(&mut self, scratch: &mut Scratch) -> Result<()> {
        let spilled = spill(&mut self.blocks, scratch);
        self.held = held(&self.blocks);
        spilled
    }

    /// The run of all entries, if there is one.
    pub(super) fn finish(mut self, stamp: u64, level: u32) -> Option<StagedRun> {
        self.end_block();
        let held = held(&self.blocks);
        (!self.blocks.is_empty()).then_some(StagedRun { entries: Entries::Blocks(self.blocks), last: self.last, stamp, level, held })
    }
}

/// How many bytes two keys share, up to the beginning of a character.
fn shared(a: &str, b: &str) -> usize {
    let same = order::shared_len(a.as_bytes(), b.as_bytes());
    (0..=same).rev().find(|&at| b.is_char_boundary(at)).unwrap_or(0)
}

/// A place in a run, from which its entries are read one after the other.
#[derive(Debug)]
pub(super) struct RunCursor<'a> {
    source: RunSource<'a>,
    /// Whether the cursor is at an entry.
    is_there: bool,
    pub(super) key: String,
    pub(super) value: Stored,
}

#[derive(Debug)]
enum RunSource<'a> {
    Map {
        map: &'a BTreeMap<MapKey, Stored>,
        rest: btree_map::Range<'a, MapKey, Stored>,
    },
    Blocks {
        /// The blocks that have not been begun.
        blocks: &'a [RunBlock],
        /// What is left of the one that has.
        data: Bytes,
        previous: Previous,
    },
}

impl RunCursor<'_> {
    /// Goes to the next entry; `false` after the last.
    pub(super) fn advance(&mut self) -> Result<bool> {
        self.is_there = match &mut self.source {
            RunSource::Map { rest, .. } => match rest.next() {
                None => false,
                Some((key, value)) => {
                    self.key.clear();
                    self.key.push_str(key.as_str());
                    self.value = value.clone();
                    true
                }
            },
            RunSource::Blocks { blocks, data, previous } => {
                while data.is_empty() {
                    let Some((block, rest)) = blocks.split_first() else {
                        self.is_there = false;
                        return Ok(false);
                    };
                    *data = match &block.data {
                        Data::Memory(bytes) => bytes.clone(),
                        Data::Scratch(place) => place.read()?.into(),
                    };
                    *blocks = rest;
                    self.key.clear();
                    *previous = Previous::default();
                }
                let value = decode(data, &mut self.key, previous);
                self.value = value.ok_or_else(|| Error::internal("a staged entry cannot be read back"))?;
                true
            }
        };
        Ok(self.is_there)
    }

    /// Goes to the first entry at or after `key`, or stays where it is if that is one; `false` when there is none.
    pub(super) fn seek(&mut self, key: &str) -> Result<bool> {
        if self.is_there && order::compare(&self.key, key) != Ordering::Less {
            return Ok(true);
        }
        match &mut self.source {
            RunSource::Map { map, rest } => *rest = map.range::<MapKey, _>(MapKey::new(key)..),
            RunSource::Blocks { blocks, data, .. } => {
                let begun = blocks.partition_point(|block| order::compare(&block.first, key) != Ordering::Greater);
                if let Some(skipped) = begun.checked_sub(1) {
                    *blocks = blocks.get(skipped..).unwrap_or_default();
                    *data = Bytes::new();
                }
            }
        }
        while self.advance()? {
            if order::compare(&self.key, key) != Ordering::Less {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Takes the next entry off `data`: turns `key`, which holds the one before, into its key, and gives its value.
fn decode(data: &mut Bytes, key: &mut String, previous: &mut Previous) -> Option<Stored> {
    let mut rest: &[u8] = data;
    let number = |rest: &mut &[u8]| usize::try_from(varint::take(rest)?).ok();
    let (shared, len) = (number(&mut rest)?, number(&mut rest)?);
    let (text, tail) = rest.split_at_checked(len)?;
    key.get(..shared)?;
    key.truncate(shared);
    key.push_str(std::str::from_utf8(text).ok()?);
    let (kind, tail) = tail.split_first()?;
    rest = tail;
    let value = match *kind {
        DELETED => Stored::Deleted,
        INLINE => {
            let len = number(&mut rest)?;
            let (bytes, tail) = rest.split_at_checked(len)?;
            rest = tail;
            Stored::Inline(Bytes::copy_from_slice(bytes))
        }
        CHUNK => {
            let (id, tail) = rest.split_at_checked(BINARY_CID)?;
            rest = tail;
            Stored::Chunk { id: ChunkId::from_cid(&cid_from_bytes(id).ok()?).ok()?, size: varint::take(&mut rest)? }
        }
        kind => {
            let file = if kind == VIRTUAL { number(&mut rest)? } else { previous.file? };
            let offset = match kind {
                VIRTUAL | SAME_FILE => varint::take(&mut rest)?,
                NEXT_RANGE => previous.end,
                _ => return None,
            };
            let length = varint::take(&mut rest)?;
            *previous = Previous::of(file, offset, length);
            Stored::Virtual { file, offset, length }
        }
    };
    let used = data.len() - rest.len();
    bytes::Buf::advance(data, used);
    Some(value)
}
