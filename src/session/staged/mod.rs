//! What a session wants to change: pure data, applied to whatever tip the commit finds.
//!
//! The latest changes lie in a map. When they weigh too much they become a *run*, sorted and written small, and runs that
//! take too much memory go to a scratch file. A reader, and the commit, sees all of them as one sequence in the order of
//! the keys ([`StagedEdits`]), in which the newest change of a key is the one that counts.

mod bulk;
mod files;
mod merge;
mod moves;
mod run;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::PathBuf;

use crate::error::Result;
use crate::format::{Container, Entry, FileKey};
use crate::key::{Key, MapKey, Prefix};
use crate::scratch::Scratch;

pub(crate) use files::StagedFile;
pub(crate) use merge::StagedEdits;
pub(crate) use moves::Moves;

pub(super) use bulk::Bulk;
use files::FileTable;
use merge::{Mask, Merge};
use run::{Builder, Run};

/// How many runs of one level become one of the next.
const FAN_IN: usize = 16;

/// What an entry takes in memory besides its key and inline bytes, roughly: two allocations and its share of the map.
const ENTRY_WEIGHT: usize = 160;

/// Changes in the order of their keys. Later calls override earlier ones.
#[derive(Debug)]
pub(crate) struct Staged {
    /// The latest: set (`Some`) or deleted (`None`), each overriding every run and every prefix in `deleted`.
    memory: BTreeMap<MapKey, Option<Entry>>,
    /// What they take, in bytes.
    weight: usize,
    /// Earlier ones, the newest last.
    runs: Vec<Run>,
    /// What the runs take in memory, in bytes.
    held: usize,
    /// How many prefixes have been deleted so far.
    stamp: u64,
    /// Prefixes below which everything is deleted that was staged before, or that the tip holds; each with its stamp, which
    /// tells the runs that came before from those that came after.
    deleted: BTreeMap<Prefix, u64>,
    /// Which of the changes are moves.
    moves: Moves,
    /// Files of staged virtual entries, by key.
    files: BTreeMap<FileKey, StagedFile>,
    /// What runs call files.
    names: FileTable,
    /// Containers defined or needed here, by name.
    containers: BTreeMap<String, Container>,
    /// How many bytes may lie in memory, half of it in the map and half in runs.
    limit: usize,
    /// Where the rest goes.
    directory: PathBuf,
    scratch: Option<Scratch>,
}

/// What is staged for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup {
    Set(Entry),
    Deleted,
    Untouched,
}

impl From<Option<Entry>> for Lookup {
    fn from(edit: Option<Entry>) -> Self {
        edit.map_or(Self::Deleted, Self::Set)
    }
}

impl Staged {
    /// Keeps about `limit` bytes in memory, and the rest in a scratch file in `directory`.
    pub(crate) fn new(limit: usize, directory: PathBuf) -> Self {
        Self {
            memory: BTreeMap::new(),
            weight: 0,
            runs: Vec::new(),
            held: 0,
            stamp: 0,
            deleted: BTreeMap::new(),
            moves: Moves::default(),
            files: BTreeMap::new(),
            names: FileTable::default(),
            containers: BTreeMap::new(),
            limit,
            directory,
            scratch: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        let has_entries = !self.memory.is_empty() || !self.runs.is_empty() || !self.deleted.is_empty();
        !has_entries && self.containers.is_empty() && self.files.is_empty()
    }

    /// The same room, and what is known of files and containers, with nothing staged.
    pub(crate) fn without_changes(&self) -> Self {
        let (files, containers) = (self.files.clone(), self.containers.clone());
        Self { files, containers, ..Self::new(self.limit, self.directory.clone()) }
    }

    /// `Unavailable` when what is staged already does not fit into memory and there is no scratch space: then nothing is
    /// staged, and nothing is lost.
    pub(crate) fn set(&mut self, key: &Key, entry: Entry) -> Result<()> {
        self.put(key.as_map_key().clone(), Some(entry))
    }

    /// Fails as [`set`](Self::set) does.
    pub(crate) fn delete(&mut self, key: &Key) -> Result<()> {
        self.put(key.as_map_key().clone(), None)
    }

    /// Stages an entry, or the deletion of one; fails as [`set`](Self::set) does.
    pub(crate) fn put(&mut self, key: MapKey, entry: Option<Entry>) -> Result<()> {
        self.make_room()?;
        self.insert(key, entry);
        Ok(())
    }

    /// Stages a change for which there is room.
    pub(super) fn insert(&mut self, key: MapKey, entry: Option<Entry>) {
        let bare = weight(&key, None);
        self.weight += bare + inline(entry.as_ref());
        if let Some(old) = self.memory.insert(key, entry) {
            self.weight -= bare + inline(old.as_ref());
        }
    }

    /// Deletes everything below `prefix`: what is staged there, and whatever the tip holds when the commit comes.
    pub(crate) fn delete_prefix(&mut self, prefix: &Prefix) {
        let from = (Bound::Included(prefix.as_map_key()), Bound::Unbounded);
        let below = self.memory.range::<MapKey, _>(from).take_while(|(key, _)| prefix.contains(key.as_str()));
        let doomed: Vec<_> = below.map(|(key, _)| key.clone()).collect();
        for key in doomed {
            self.forget(&key);
        }
        // A prefix inside a deleted one says nothing new, unless something was staged in between.
        if self.covering(prefix.as_str()).is_none() || !self.runs.is_empty() {
            self.stamp += 1;
            let inner: Vec<_> = self.all_deleted_below(prefix).cloned().collect();
            for inner in &inner {
                self.deleted.remove(inner);
            }
            self.deleted.insert(prefix.clone(), self.stamp);
        }
    }

    /// What is staged for a key, by itself or by a prefix delete.
    pub(crate) fn lookup(&self, key: &MapKey) -> Result<Lookup> {
        Ok(match self.edit(key)? {
            Lookup::Untouched if self.covering(key.as_str()).is_some() => Lookup::Deleted,
            edit => edit,
        })
    }

    /// What is staged for a key by itself; one that is only below a deleted prefix is `Untouched`.
    pub(crate) fn edit(&self, key: &MapKey) -> Result<Lookup> {
        if let Some(entry) = self.memory.get(key) {
            return Ok(entry.clone().into());
        }
        let deleted = self.deleted_at(key.as_str());
        for run in self.runs.iter().rev().take_while(|run| deleted.is_none_or(|deleted| deleted <= run.stamp)) {
            if let Some(found) = run.find(key.as_str())? {
                return self.names.entry(&found).map(Lookup::from);
            }
        }
        Ok(Lookup::Untouched)
    }

    /// The outermost staged range delete in which `text` lies.
    pub(crate) fn covering<'s>(&'s self, text: &str) -> Option<&'s Prefix> {
        self.covers(text).next().map(|(prefix, _)| prefix)
    }

    /// The stamp of the last prefix delete that concerns `text`.
    fn deleted_at(&self, text: &str) -> Option<u64> {
        self.covers(text).map(|(_, stamp)| *stamp).max()
    }

    /// The range deletes in which `text` lies, from the outermost inwards.
    fn covers<'s>(&'s self, text: &str) -> impl Iterator<Item = (&'s Prefix, &'s u64)> {
        // Few are staged at once; most sessions have none.
        let ends = text.match_indices('/').map(|(at, _)| at + 1).filter(|_| !self.deleted.is_empty());
        std::iter::once(0).chain(ends).filter_map(|end| self.deleted.get_key_value(&Prefix::new(text.get(..end)?).ok()?))
    }

    /// What is staged, as edits in the order of their keys; those below one prefix if one is named. Prefix deletes are not
    /// among them.
    pub(crate) fn edits<'a>(&'a self, below: Option<&'a Prefix>) -> Result<StagedEdits<'a>> {
        StagedEdits::new(self, below)
    }

    /// Prefixes below which everything is deleted that is not among the [`edits`](Self::edits), in the order of the maps;
    /// none lies inside another.
    pub(crate) fn deleted(&self) -> Vec<&Prefix> {
        self.deleted_below(&Prefix::all())
    }

    /// The outermost of those that lie in `whole`, in the order of the maps.
    pub(crate) fn deleted_below(&self, whole: &Prefix) -> Vec<&Prefix> {
        let mut outermost: Vec<&Prefix> = Vec::new();
        for prefix in self.all_deleted_below(whole) {
            if outermost.last().is_none_or(|last| !last.contains(prefix.as_str())) {
                outermost.push(prefix);
            }
        }
        outermost
    }

    fn all_deleted_below<'s>(&'s self, whole: &Prefix) -> impl Iterator<Item = &'s Prefix> {
        self.deleted.range(whole..).map(|(prefix, _)| prefix).take_while(move |prefix| whole.contains(prefix.as_str()))
    }

    pub(crate) fn moves(&self) -> &Moves {
        &self.moves
    }

    pub(crate) fn moves_mut(&mut self) -> &mut Moves {
        &mut self.moves
    }

    pub(crate) fn files(&self) -> &BTreeMap<FileKey, StagedFile> {
        &self.files
    }

    pub(crate) fn containers(&self) -> &BTreeMap<String, Container> {
        &self.containers
    }

    /// The name of a file as it is held here already, equal to `file`.
    pub(crate) fn name_in_use(&self, file: &FileKey) -> Option<FileKey> {
        self.files.get_key_value(file).map(|(name, _)| name.clone())
    }

    /// Notes what is known of a file; `SourceChanged` when an earlier entry of this session saw another state of it.
    pub(crate) fn add_file(&mut self, file: &FileKey, new: StagedFile) -> Result<()> {
        let known = self.with_file(file, new)?;
        self.set_file(file.clone(), known);
        Ok(())
    }

    /// Notes all that is known of a file.
    pub(super) fn set_file(&mut self, file: FileKey, known: StagedFile) {
        self.files.insert(file, known);
    }

    /// What would be known of a file, if `new` were added.
    pub(super) fn with_file(&self, file: &FileKey, new: StagedFile) -> Result<StagedFile> {
        self.files.get(file).map_or(Ok(new.clone()), |old| old.joined(file, new))
    }

    /// The files into which staged entries point; one whose entries were staged over again is no business of the commit.
    /// Reads everything that is staged.
    pub(crate) fn files_in_use(&self) -> Result<BTreeMap<&FileKey, &StagedFile>> {
        let mut used = BTreeMap::new();
        let mut last = None;
        let mut edits = self.edits(None)?;
        while let Some((_, entry)) = edits.next()? {
            if let Some(Entry::Virtual { file, .. }) = entry
                && last.as_ref() != Some(&file)
            {
                used.extend(self.files.get_key_value(&file));
                last = Some(file);
            }
        }
        Ok(used)
    }

    /// The containers of `base` with the staged definitions over them, sorted by name.
    pub(crate) fn containers_over(&self, base: &[Container]) -> Vec<Container> {
        Self::merge_containers(base, self.containers.values())
    }

    /// `base` with the definitions of `over` in place of those of the same names, sorted by name.
    pub(crate) fn merge_containers<'a>(base: &'a [Container], over: impl IntoIterator<Item = &'a Container>) -> Vec<Container> {
        let merged: BTreeMap<_, _> = base.iter().chain(over).map(|c| (&c.name, c)).collect();
        merged.into_values().cloned().collect()
    }

    /// The containers that a commit adds or changes: those defined by name, and automatic ones among those in use.
    pub(crate) fn needed_containers(&self, used: &BTreeSet<&str>) -> Vec<&Container> {
        self.containers.values().filter(|c| !c.is_automatic() || used.contains(c.name.as_str())).collect()
    }

    pub(crate) fn set_container(&mut self, container: Container) {
        self.containers.insert(container.name.clone(), container);
    }

    fn forget(&mut self, key: &MapKey) {
        if let Some(old) = self.memory.remove(key) {
            self.weight -= weight(key, old.as_ref());
        }
    }

    /// Moves what is too much for memory out of it; `Unavailable` when there is no room on disk either, and then nothing
    /// is lost.
    pub(super) fn make_room(&mut self) -> Result<()> {
        if self.weight > self.limit / 2 {
            self.seal();
        }
        if self.held > self.limit / 2 {
            self.spill()?;
        }
        self.compact()
    }

    /// Makes a run of what lies in the map.
    fn seal(&mut self) {
        let mut builder = Builder::default();
        for (key, entry) in std::mem::take(&mut self.memory) {
            builder.push(key.as_str(), &self.names.stored(entry.as_ref()));
        }
        self.weight = 0;
        if let Some(run) = builder.finish(self.stamp, 0) {
            self.push(run);
        }
    }

    /// Adds a run that is newer than every other.
    fn push(&mut self, run: Run) {
        self.held += run.held();
        match self.runs.last_mut() {
            // In order, and nothing was deleted in between: it goes on where the last one ended.
            Some(last) if last.stamp == run.stamp && MapKey::new(last.last()) < MapKey::new(run.first()) => last.append(run),
            _ => self.runs.push(run),
        }
    }

    /// Moves the runs to the scratch file.
    fn spill(&mut self) -> Result<()> {
        let mut scratch = self.take_scratch()?;
        let spilled = self.runs.iter_mut().try_for_each(|run| run.spill(&mut scratch));
        self.scratch = Some(scratch);
        self.held = self.runs.iter().map(Run::held).sum();
        spilled
    }

    fn take_scratch(&mut self) -> Result<Scratch> {
        self.scratch.take().map_or_else(|| Scratch::new(&self.directory), Ok)
    }

    /// Merges runs, so that however many there have been, there are few to read at once.
    fn compact(&mut self) -> Result<()> {
        while let Some(level) = self.runs.last().map(|run| run.level) {
            let first = self.runs.iter().rposition(|run| run.level != level).map_or(0, |at| at + 1);
            if self.runs.len() - first < FAN_IN {
                break;
            }
            let merged = self.merged(first, level + 1)?;
            self.runs.truncate(first);
            self.runs.extend(merged);
            self.held = self.runs.iter().map(Run::held).sum();
            // The merged runs lay in it, and it goes with the last of them.
            self.scratch = None;
        }
        Ok(())
    }

    /// The runs from `first` on as one.
    fn merged(&self, first: usize, level: u32) -> Result<Option<Run>> {
        let (mut builder, mut scratch, mut mask) = (Builder::default(), None, Mask::default());
        let mut merge = Merge::new(self.runs.get(first..).unwrap_or_default(), "")?;
        while merge.next()? {
            if mask.hides(self, &merge.key, merge.stamp) {
                continue;
            }
            builder.push(&merge.key, &merge.value);
            if builder.held() > self.limit / 2 {
                let scratch = match &mut scratch {
                    Some(scratch) => scratch,
                    none => none.insert(Scratch::new(&self.directory)?),
                };
                builder.spill(scratch)?;
            }
        }
        // Every prefix delete so far has been applied.
        Ok(builder.finish(self.stamp, level))
    }
}

/// What an entry takes in memory, roughly.
fn weight(key: &MapKey, entry: Option<&Entry>) -> usize {
    key.as_str().len() + ENTRY_WEIGHT + inline(entry)
}

/// The bytes that lie in the entry itself.
fn inline(entry: Option<&Entry>) -> usize {
    match entry {
        Some(Entry::Inline(bytes)) => bytes.len(),
        _ => 0,
    }
}
