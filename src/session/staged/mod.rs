//! The staged changes of a session: pure data that a commit can apply to any tip.
//!
//! The latest changes lie in a map. When they take too much memory they become a *run*, which is written in a compact form, moved to a
//! scratch file if runs take too much memory, and merged with other runs ([`work`]). Other threads do all of this while the session
//! goes on; it waits only if there is no room. Readers and the commit see all changes as one sequence in the order of the keys
//! ([`StagedEdits`]), in which the newest change of a key counts.

mod bulk;
mod deleted;
mod files;
mod fork;
mod layers;
mod merge;
mod moves;
mod run;
mod shared;
#[cfg(test)]
mod tests;
mod watch;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use crate::error::Result;
use crate::format::{Container, Entry, FileKey};
use crate::key::{MapKey, Prefix};
use crate::scratch::Scratch;
use crate::snapshot::KeyOrPrefix;
use crate::virtuals::Validator;

pub use files::WhyUnpinned;
pub(crate) use files::{FileInUse, Relied, StagedFile, StagedFiles, Unpinned, UnpinnedFailure};
pub(crate) use layers::{Lookup, StagedLayers};
pub(crate) use merge::StagedEdits;
pub(crate) use moves::Moves;
pub(crate) use shared::SharedStaged;

pub(super) use bulk::{Bulk, BulkKeys, BulkPiece};
use fork::Inherited;
pub(super) use fork::SortedChanges;
pub(crate) use fork::{MergedChanges, StagedCopy};
pub(super) use run::Stored;
use run::{INHERITED, StagedRun};
pub(crate) use watch::PlaceWatch;
use work::{Done, Work};

/// How many runs of one level become one of the next.
const FAN_IN: usize = 16;

/// How many runs there may be before a session waits for their merging.
const MOST_RUNS: usize = 64;

/// How many entries a prefix delete takes out of the map one by one. More of them become a run, which it hides.
const FEW: usize = 1000;

/// What an entry takes in memory besides its key and inline bytes, roughly: two allocations and its share of the map.
const ENTRY_WEIGHT: usize = 160;

/// Changes in the order of their keys. Later calls override earlier ones.
#[derive(Debug)]
pub(crate) struct Staged {
    layers: StagedLayers,
    /// What the entries in the map take, in bytes.
    weight: usize,
    /// What the runs take in memory, in bytes.
    held: usize,
    /// Which of the changes are moves.
    moves: Moves,
    /// The places that calls under way are about to change.
    watches: Vec<Weak<PlaceWatch>>,
    /// Files of staged virtual entries, in the order in which they came.
    files: StagedFiles,
    /// Files of the base from whose records staged changes follow, whether staged entries point into them or not.
    relied: BTreeMap<FileKey, Relied>,
    /// The place from which all files were moved.
    moved_from: Option<String>,
    /// How often a container was given another definition, or removed.
    definitions: u64,
    /// Containers defined or needed here, by name.
    containers: BTreeMap<String, Container>,
    /// Containers of the base that are removed, by name.
    removed: BTreeSet<String>,
    /// What was staged by the session that this one was forked from.
    inherited: Option<Inherited>,
    /// How many bytes may lie in memory: a quarter in the map, the rest in runs.
    limit: usize,
    /// Where the rest goes.
    directory: PathBuf,
    scratch: Option<Scratch>,
    /// The writing and moving of runs that is under way.
    tidying: Option<Work>,
    /// The merging of runs that is under way.
    merging: Option<Work>,
    /// Whether no work is under way or due for the runs there are.
    is_tidy: bool,
}

impl Staged {
    /// Keeps about `limit` bytes in memory, and the rest in a scratch file in `directory`.
    pub(crate) fn new(limit: usize, directory: PathBuf) -> Self {
        Self {
            layers: StagedLayers::default(),
            weight: 0,
            held: 0,
            moves: Moves::default(),
            watches: Vec::new(),
            files: StagedFiles::default(),
            relied: BTreeMap::new(),
            moved_from: None,
            definitions: 0,
            containers: BTreeMap::new(),
            removed: BTreeSet::new(),
            inherited: None,
            limit,
            directory,
            scratch: None,
            tidying: None,
            merging: None,
            is_tidy: true,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.layers.is_empty() && self.containers.is_empty() && self.removed.is_empty() && self.files.is_empty()
    }

    /// The same room, and what is known of files and containers, with nothing staged.
    pub(crate) fn without_changes(&self) -> Self {
        let (files, containers, removed) = (self.files.clone(), self.containers.clone(), self.removed.clone());
        let (relied, moved_from) = (self.relied.clone(), self.moved_from.clone());
        Self { files, relied, moved_from, containers, removed, ..Self::new(self.limit, self.directory.clone()) }
    }

    /// The staged entries.
    pub(crate) const fn layers(&self) -> &StagedLayers {
        &self.layers
    }

    /// Stages a change for which there is room.
    pub(super) fn insert(&mut self, key: MapKey, entry: Option<Entry>) {
        self.watched().for_each(|watch| watch.see_key(key.as_str()));
        let stored = self.stored(entry);
        let bare = weight(&key, &Stored::Deleted);
        self.weight += bare + inline(&stored);
        if let Some(old) = self.layers.memory.insert(key, stored) {
            self.weight -= bare + inline(&old);
        }
    }

    /// Deletes everything below `prefix`: the staged changes there, and the keys that the tip has at the commit.
    pub(crate) fn delete_prefix(&mut self, prefix: &Prefix) {
        self.watched().for_each(|watch| watch.see_prefix(prefix));
        let doomed: Vec<_> = self.layers.memory_below(prefix).take(FEW + 1).map(|(key, _)| key.clone()).collect();
        if doomed.len() > FEW {
            self.freeze();
        } else {
            for key in &doomed {
                self.forget(key);
            }
        }
        // A prefix inside a deleted one is redundant, unless something was staged in between, or the other deletion is inherited.
        if self.layers.covering(prefix.as_str()).is_none() || !self.layers.runs.is_empty() || self.inherited.is_some() {
            self.layers.deleted.add(prefix);
        }
    }

    /// Watches places until what is returned is dropped.
    pub(crate) fn watch(&mut self, places: Vec<KeyOrPrefix>) -> Arc<PlaceWatch> {
        let watch = Arc::new(PlaceWatch::new(places));
        self.watches.retain(|watch| watch.strong_count() > 0);
        self.watches.push(Arc::downgrade(&watch));
        watch
    }

    fn watched(&self) -> impl Iterator<Item = Arc<PlaceWatch>> {
        self.watches.iter().filter_map(Weak::upgrade)
    }

    pub(crate) fn moves(&self) -> &Moves {
        &self.moves
    }

    pub(crate) fn moves_mut(&mut self) -> &mut Moves {
        &mut self.moves
    }

    pub(crate) const fn files(&self) -> &StagedFiles {
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
    pub(crate) fn set_file(&mut self, file: FileKey, known: StagedFile) {
        self.files.insert(file, known);
    }

    /// Replaces how the state of a file will be recognised, if something is known of it.
    pub(crate) fn set_validator(&mut self, file: &FileKey, validator: Validator) {
        if let Some(known) = self.files.get_mut(file) {
            known.validator = validator;
        }
    }

    /// Notes that staged changes follow from what the base records of a file.
    pub(crate) fn rely_on(&mut self, file: FileKey, relied: Relied) {
        self.relied.insert(file, relied);
    }

    /// The files of the base from whose records staged changes follow.
    pub(crate) const fn relied(&self) -> &BTreeMap<FileKey, Relied> {
        &self.relied
    }

    /// Notes that all files at or below a URL were moved from there.
    pub(crate) fn move_from(&mut self, place: String) {
        self.moved_from = Some(place);
    }

    /// The URL at and below which no file is left.
    pub(crate) fn moved_from(&self) -> Option<&str> {
        self.moved_from.as_deref()
    }

    /// What would be known of a file, if `new` were added.
    pub(super) fn with_file(&self, file: &FileKey, new: StagedFile) -> Result<StagedFile> {
        match self.files.get(file) {
            None => Ok(new),
            Some(old) => old.joined(file, new),
        }
    }

    /// The files that are pinned anew by themselves.
    pub(crate) fn repinned(&self) -> impl Iterator<Item = (&FileKey, &StagedFile)> {
        self.files.iter().filter(|(_, known)| known.by_itself)
    }

    /// The files into which staged entries point, and those that are pinned anew by themselves. A file whose entries were
    /// staged over again is not among them. Reads everything that is staged.
    pub(crate) fn files_in_use(&self) -> Result<BTreeMap<&FileKey, FileInUse<'_>>> {
        let by_themselves = self.repinned().map(|(file, known)| (file, FileInUse { known, is_referenced: false }));
        let mut used: BTreeMap<_, _> = by_themselves.collect();
        let mut last = None;
        let mut edits = self.layers.edits(None)?;
        while let Some((_, entry)) = edits.next()? {
            if let Some(Entry::Virtual { file, .. }) = entry
                && last.as_ref() != Some(&file)
            {
                let referenced = self.files.get_key_value(&file);
                used.extend(referenced.map(|(file, known)| (file, FileInUse { known, is_referenced: true })));
                last = Some(file);
            }
        }
        Ok(used)
    }

    /// The containers of `base` with the staged definitions over them and without the removed ones, sorted by name.
    pub(crate) fn containers_over(&self, base: &[Container]) -> Vec<Container> {
        self.merge_containers(base, self.containers.values())
    }

    /// `base` with the definitions of `over` in place of those of the same names and without the removed ones, sorted by name.
    pub(crate) fn merge_containers<'a>(&self, base: &'a [Container], over: impl IntoIterator<Item = &'a Container>) -> Vec<Container> {
        let kept = base.iter().filter(|c| !self.removed.contains(&c.name));
        let merged: BTreeMap<_, _> = kept.chain(over).map(|c| (&c.name, c)).collect();
        merged.into_values().cloned().collect()
    }

    /// The containers that a commit adds or changes: those defined by name, and automatic ones among those in use.
    pub(crate) fn needed_containers(&self, used: &BTreeSet<&str>) -> Vec<&Container> {
        self.containers.values().filter(|c| !c.is_automatic() || used.contains(c.name.as_str())).collect()
    }

    /// Stages a container over those of `base`.
    pub(crate) fn set_container(&mut self, container: Container, base: &[Container]) {
        self.definitions += u64::from(self.container_over(&container.name, base).is_some_and(|old| *old != container));
        self.removed.remove(&container.name);
        self.containers.insert(container.name.clone(), container);
    }

    /// Removes a container of the base, and its staged definition if it has one. The commit refuses it while files lie in the container.
    pub(crate) fn remove_container(&mut self, name: &str) {
        self.definitions += 1;
        self.containers.remove(name);
        self.removed.insert(name.to_owned());
    }

    /// A number that changes when a container gets another definition: files that were named before have their names from the old one.
    pub(crate) const fn definitions(&self) -> u64 {
        self.definitions
    }

    /// The names of the containers that are removed.
    pub(crate) const fn removed_containers(&self) -> &BTreeSet<String> {
        &self.removed
    }

    fn forget(&mut self, key: &MapKey) {
        if let Some(old) = self.layers.memory.remove(key) {
            self.weight -= weight(key, &old);
        }
    }

    /// An entry as runs hold it.
    fn stored(&mut self, entry: Option<Entry>) -> Stored {
        match entry {
            None => Stored::Deleted,
            Some(Entry::Inline(bytes)) => Stored::Inline(bytes),
            Some(Entry::Chunk { id, size }) => Stored::Chunk { id, size },
            Some(Entry::Virtual { file, offset, length }) => Stored::Virtual { file: self.number(&file), offset, length },
        }
    }

    /// The number by which references name `file`.
    pub(in crate::session) fn number(&mut self, file: &FileKey) -> usize {
        let names = &mut self.layers.names;
        // Readers may share the table, so it is touched only for a new name.
        names.number(file).unwrap_or_else(|| Arc::make_mut(names).add(file))
    }

    /// Makes a run of the entries in the map. It is older than everything that is staged from now on.
    fn freeze(&mut self) {
        let (entries, held) = (std::mem::take(&mut self.layers.memory), std::mem::take(&mut self.weight));
        if let Some(run) = StagedRun::of_map(entries, held, self.layers.deleted.stamp()) {
            self.push(run);
        }
    }

    /// Adds a run that is newer than every other.
    fn push(&mut self, run: StagedRun) {
        self.held += run.held();
        self.is_tidy = false;
        // In order, and nothing was deleted in between: it goes on where the last one ended.
        let separate = match self.layers.runs.last_mut().and_then(Arc::get_mut) {
            Some(last) => last.append(run),
            None => Some(run),
        };
        self.layers.runs.extend(separate.map(Arc::new));
    }

    /// Whether one more change needs no room to be made.
    const fn has_room(&self) -> bool {
        self.weight <= self.limit / 4 && self.is_tidy
    }

    const fn is_working(&self) -> bool {
        self.tidying.is_some() || self.merging.is_some()
    }

    /// Whether one more change must wait for work.
    fn is_full(&self) -> bool {
        self.is_working() && (self.weight + self.held > self.limit || self.layers.runs.len() > MOST_RUNS)
    }

    /// Waits until some work has ended. Any number of callers may wait.
    fn work_ended(&self) -> impl Future<Output = ()> + use<> {
        let all: Vec<_> = [&self.tidying, &self.merging].into_iter().flatten().map(Work::ended).collect();
        async move {
            if !all.is_empty() {
                futures::future::select_all(all).await;
            }
        }
    }

    /// Puts the runs of work that has ended in their places. After an error the old runs are in place.
    fn collect(&mut self) -> Result<()> {
        let mut collected = Ok(());
        for is_merging in [true, false] {
            let working = if is_merging { &mut self.merging } else { &mut self.tidying };
            let Some(ended) = working.as_ref().and_then(Work::result) else { continue };
            *working = None;
            match ended {
                Err(e) => collected = Err(e),
                Ok(Done { replaced, scratch }) => {
                    self.scratch = scratch.or(self.scratch.take());
                    for (old, new) in replaced {
                        self.replace(&old, new);
                    }
                }
            }
        }
        self.held = self.layers.runs.iter().map(|run| run.held()).sum();
        collected
    }

    /// Puts a run in the place of others, which stand one after the other.
    fn replace(&mut self, old: &[Arc<StagedRun>], new: Option<StagedRun>) {
        let first = old.first().and_then(|first| self.layers.runs.iter().position(|run| Arc::ptr_eq(run, first)));
        let Some(first) = first else { return };
        let before = first.checked_sub(1).and_then(|before| self.layers.runs.get_mut(before)).and_then(Arc::get_mut);
        let separate = match (before, new) {
            (Some(before), Some(new)) if before.level >= new.level => before.append(new),
            (_, new) => new,
        };
        self.layers.runs.splice(first..first + old.len(), separate.map(Arc::new));
    }

    /// Begins the work that is due.
    fn begin_work(&mut self) {
        if self.weight > self.limit / 4 {
            self.freeze();
        }
        self.begin_tidying();
        self.begin_merging();
        self.is_tidy = self.tidying.is_none() && self.merging.is_none();
    }

    /// Writes runs as blocks, and moves them to scratch space where they take too much memory.
    fn begin_tidying(&mut self) {
        if self.tidying.is_some() {
            return;
        }
        let limit = self.limit / 4;
        let is_merging = |run: &Arc<StagedRun>| self.merging.as_ref().is_some_and(|work| work.holds(run));
        let in_blocks: usize = self.layers.runs.iter().filter(|run| !run.is_map()).map(|run| run.held()).sum();
        let is_due = |run: &Arc<StagedRun>| run.is_map() || (in_blocks > limit && run.held() > 0);
        let due: Vec<_> = self.layers.runs.iter().filter(|run| is_due(run) && !is_merging(run)).cloned().collect();
        if !due.is_empty() {
            self.tidying = Some(Work::tidy(due, limit, &self.directory, self.scratch.take()));
        }
    }

    /// Merges runs of one level, so that however many there have been, there are few to read at once.
    fn begin_merging(&mut self) {
        if self.merging.is_some() {
            return;
        }
        let is_tidied = |run: &Arc<StagedRun>| run.is_map() || self.tidying.as_ref().is_some_and(|work| work.holds(run));
        let ready = self.layers.runs.iter().position(is_tidied).unwrap_or(self.layers.runs.len());
        let ready = self.layers.runs.get(..ready).unwrap_or_default();
        let Some(level) = ready.last().map(|run| run.level).filter(|level| *level != INHERITED) else { return };
        let first = ready.iter().rposition(|run| run.level != level).map_or(0, |at| at + 1);
        let group = ready.get(first..).unwrap_or_default();
        if group.len() >= FAN_IN {
            let limit = self.limit / 4;
            self.merging = Some(Work::merge(group.to_vec(), level + 1, self.layers.deleted.clone(), limit, &self.directory));
        }
    }
}

/// What an entry takes in memory, roughly.
fn weight(key: &MapKey, stored: &Stored) -> usize {
    key.as_str().len() + ENTRY_WEIGHT + inline(stored)
}

/// The bytes that lie in the entry itself.
const fn inline(stored: &Stored) -> usize {
    match stored {
        Stored::Inline(bytes) => bytes.len(),
        _ => 0,
    }
}
