//! Several runs, and what is staged in memory, as one sequence of edits in the order of their keys.

use std::cmp::Ordering;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, btree_map};
use std::iter::Peekable;
use std::sync::Arc;

use super::deleted::Mask;
use super::run::{RunCursor, StagedRun, Stored};
use super::{Lookup, StagedLayers};
use crate::error::Result;
use crate::format::Entry;
use crate::key::{MapKey, Prefix, order};

/// The newest entry of each key in several runs.
pub(super) struct Merge<'a> {
    /// The cursors of runs that have a current entry.
    heads: BinaryHeap<Head<'a>>,
    /// The key that [`next`](Self::next) found, its entry, and the stamp of the run it lies in.
    pub(super) key: String,
    pub(super) value: Stored,
    pub(super) stamp: u64,
}

struct Head<'a> {
    cursor: RunCursor<'a>,
    /// Newer runs have greater ones.
    age: usize,
    stamp: u64,
}

impl Ord for Head<'_> {
    /// The greatest has the first key, and is the newest of those.
    fn cmp(&self, other: &Self) -> Ordering {
        order::compare(&other.cursor.key, &self.cursor.key).then(self.age.cmp(&other.age))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head<'_> {}

impl<'a> Merge<'a> {
    /// Begins at the first key at or after `from`; later runs override earlier ones.
    pub(super) fn new(runs: &'a [Arc<StagedRun>], from: &str) -> Result<Self> {
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (age, run) in runs.iter().enumerate() {
            let mut cursor = run.cursor();
            if cursor.seek(from)? {
                heads.push(Head { cursor, age, stamp: run.stamp });
            }
        }
        Ok(Self { heads, key: String::new(), value: Stored::Deleted, stamp: 0 })
    }

    /// The key that comes next.
    pub(super) fn peek(&self) -> Option<&str> {
        self.heads.peek().map(|head| head.cursor.key.as_str())
    }

    /// Goes on to the next key; `false` when there is none.
    pub(super) fn next(&mut self) -> Result<bool> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(false) };
        self.stamp = head.stamp;
        self.key.clear();
        self.key.push_str(&head.cursor.key);
        self.value = std::mem::replace(&mut head.cursor.value, Stored::Deleted);
        advance(head)?;
        while let Some(older) = self.heads.peek_mut() {
            if older.cursor.key != self.key {
                break;
            }
            advance(older)?;
        }
        Ok(true)
    }

    /// Skips to the first key at or after `key`, unless that is behind.
    fn seek(&mut self, key: &str) -> Result<()> {
        let mut heads = std::mem::take(&mut self.heads).into_vec();
        let mut kept = Vec::with_capacity(heads.len());
        for mut head in heads.drain(..) {
            if head.cursor.seek(key)? {
                kept.push(head);
            }
        }
        self.heads = kept.into();
        Ok(())
    }
}

fn advance(mut head: PeekMut<'_, Head<'_>>) -> Result<()> {
    if !head.cursor.advance()? {
        PeekMut::pop(head);
    }
    Ok(())
}

/// What is staged, one edit for each key, in the order of the keys and in bounded memory.
pub(crate) struct StagedEdits<'a> {
    staged: &'a StagedLayers,
    below: Option<&'a Prefix>,
    memory: Peekable<btree_map::Range<'a, MapKey, Stored>>,
    runs: Merge<'a>,
    mask: Mask,
    /// The edit that [`look`](Self::look) has come to.
    ahead: Option<(MapKey, Option<Entry>)>,
}

impl<'a> StagedEdits<'a> {
    pub(super) fn new(staged: &'a StagedLayers, below: Option<&'a Prefix>) -> Result<Self> {
        let all = Prefix::all();
        let from = below.unwrap_or(&all).as_map_key();
        let memory = staged.memory.range::<MapKey, _>(from..).peekable();
        let runs = Merge::new(&staged.runs, from.as_str())?;
        Ok(Self { staged, below, memory, runs, mask: Mask::default(), ahead: None })
    }

    /// The next edit; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<(MapKey, Option<Entry>)>> {
        loop {
            let order = match (self.memory.peek(), self.runs.peek()) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((a, _)), Some(b)) => order::compare(a.as_str(), b),
            };
            if order != Ordering::Less {
                self.runs.next()?;
            }
            // Entries in memory are newer than every run.
            let found = if order == Ordering::Greater { None } else { self.memory.next() };
            let (key, entry) = match found {
                Some((key, stored)) => (key.clone(), self.staged.names.entry(stored)?),
                None if self.mask.hides(&self.staged.deleted, &self.runs.key, self.runs.stamp) => continue,
                None => (MapKey::new(self.runs.key.as_str()), self.staged.names.entry(&self.runs.value)?),
            };
            let is_below = self.below.is_none_or(|prefix| prefix.contains(key.as_str()));
            return Ok(is_below.then_some((key, entry)));
        }
    }

    /// The first edit at or after `key`, which does not lie before the last one that [`next`](Self::next) gave.
    pub(crate) fn next_from(&mut self, key: &MapKey) -> Result<Option<(MapKey, Option<Entry>)>> {
        self.memory = self.staged.memory.range::<MapKey, _>(key..).peekable();
        self.runs.seek(key.as_str())?;
        self.next()
    }

    /// What is staged for `key`. Keys must be asked for in their order: keys between them are skipped.
    pub(crate) fn look(&mut self, key: &MapKey) -> Result<Lookup> {
        if self.ahead.as_ref().is_none_or(|(ahead, _)| ahead < key) {
            self.ahead = self.next_from(key)?;
        }
        Ok(match &self.ahead {
            Some((ahead, Some(entry))) if ahead == key => Lookup::Set(entry.clone()),
            Some((ahead, None)) if ahead == key => Lookup::Deleted,
            _ if self.staged.covering(key.as_str()).is_some() => Lookup::Deleted,
            _ => Lookup::Untouched,
        })
    }
}
