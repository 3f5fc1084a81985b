//! Staged changes between a session and its forks: what a fork inherited and what it changed itself, and changes that are to be merged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::deleted::PrefixDeletes;
use super::run::{INHERITED, Stored};
use super::{Bulk, Moves, SharedStaged, Staged, StagedFile, StagedFiles, StagedLayers};
use crate::error::Result;
use crate::format::{Container, Entry, FileKey};
use crate::key::{MapKey, Prefix};

/// Fewer changes than this are staged one by one: every later lookup of a key would have to search a run of their own.
const FEW: usize = 256;

/// How many entries of the map are copied. More of them become a run, which is shared instead.
const COPIED: usize = 1000;

/// What was staged by the session that this one was forked from. Its entries are in runs of the level [`INHERITED`].
#[derive(Debug)]
pub(super) struct Inherited {
    /// The prefix deletes among them. Those of the session itself replace the ones inside them.
    deleted: PrefixDeletes,
    files: BTreeMap<FileKey, StagedFile>,
    containers: BTreeMap<String, Container>,
}

/// What is staged at one moment, whatever is staged later: what was inherited, and the changes of the session itself.
#[derive(Debug)]
pub(crate) struct StagedCopy {
    /// The changes of the session itself.
    pub(crate) own: StagedLayers,
    /// What the session it was forked from had staged.
    pub(crate) inherited: StagedLayers,
    /// Both together.
    pub(crate) all: StagedLayers,
    pub(crate) files: BTreeMap<FileKey, StagedFile>,
    pub(crate) inherited_files: BTreeMap<FileKey, StagedFile>,
    pub(crate) containers: BTreeMap<String, Container>,
    pub(crate) inherited_containers: BTreeMap<String, Container>,
    /// The containers that are removed, by name.
    pub(crate) removed_containers: BTreeSet<String>,
    /// A file from whose record in the base staged changes follow.
    pub(crate) relied: Option<FileKey>,
    pub(crate) moves: Moves,
}

/// Files in the order in which documents list them.
fn in_order(files: &StagedFiles) -> BTreeMap<FileKey, StagedFile> {
    files.iter().map(|(file, known)| (file.clone(), known.clone())).collect()
}

impl SharedStaged {
    /// What is staged now.
    pub(crate) fn copied(&self) -> StagedCopy {
        let mut staged = self.lock();
        if staged.layers.memory.len() > COPIED {
            staged.freeze();
        }
        let all = staged.layers.shared(Some(&Prefix::all()));
        let deleted_before = staged.inherited.as_ref().map(|inherited| inherited.deleted.clone()).unwrap_or_default();
        let deleted = all.deleted.after(deleted_before.stamp());
        let runs = |is_inherited: bool| all.runs.iter().filter(|run| (run.level == INHERITED) == is_inherited).cloned().collect();
        let names = || Arc::clone(&all.names);
        let own = StagedLayers { memory: all.memory.clone(), runs: runs(false), deleted, names: names() };
        let inherited = StagedLayers { memory: BTreeMap::new(), runs: runs(true), deleted: deleted_before, names: names() };
        StagedCopy {
            own,
            inherited,
            all,
            files: in_order(&staged.files),
            inherited_files: staged.inherited.as_ref().map(|inherited| inherited.files.clone()).unwrap_or_default(),
            containers: staged.containers.clone(),
            inherited_containers: staged.inherited.as_ref().map(|inherited| inherited.containers.clone()).unwrap_or_default(),
            removed_containers: staged.removed.clone(),
            relied: staged.relied.keys().next().cloned(),
            moves: staged.moves.clone(),
        }
    }

    /// The entry as runs hold it.
    pub(in crate::session) fn stored(&self, entry: Option<Entry>, last: &mut Option<(FileKey, usize)>) -> Stored {
        match entry {
            None => Stored::Deleted,
            Some(Entry::Inline(bytes)) => Stored::Inline(bytes),
            Some(Entry::Chunk { id, size }) => Stored::Chunk { id, size },
            Some(Entry::Virtual { file, offset, length }) => {
                // Neighbours mostly share their file.
                let number = match last {
                    Some((same, number)) if *same == file => *number,
                    _ => self.lock().number(&file),
                };
                *last = Some((file, number));
                Stored::Virtual { file: number, offset, length }
            }
        }
    }

    /// Room for changes of another session, with names for files as this one has them.
    pub(in crate::session) fn room_for_changes(&self) -> SortedChanges {
        let staged = self.lock();
        SortedChanges::new(staged.limit, staged.directory.clone())
    }
}

/// Changes of another session on their way into this one, in the order of their keys, in bounded memory.
#[derive(Debug)]
pub(in crate::session) struct SortedChanges {
    bulk: Bulk,
    deleted: PrefixDeletes,
    count: usize,
}

impl SortedChanges {
    fn new(limit: usize, directory: PathBuf) -> Self {
        Self { bulk: Bulk::apart(limit, directory), deleted: PrefixDeletes::default(), count: 0 }
    }

    /// Takes the deletion of everything below a prefix, which comes before every change of a key.
    pub(in crate::session) fn delete_prefix(&mut self, prefix: &Prefix) {
        self.deleted.add(prefix);
    }

    /// Takes changes whose keys follow all before, in their order.
    pub(in crate::session) async fn take(mut self, changes: Vec<(MapKey, Stored)>) -> Result<Self> {
        self.count += changes.len();
        Ok(Self { bulk: self.bulk.take_sorted(changes).await?, ..self })
    }

    /// The changes, with the names for files that the session has by now.
    pub(in crate::session) fn finish(self, staged: &SharedStaged) -> MergedChanges {
        let stamp = self.deleted.stamp();
        let mut runs = self.bulk.into_runs();
        for run in &mut runs {
            run.stamp = stamp;
        }
        let (runs, names) = (runs.into_iter().map(Arc::new).collect(), Arc::clone(&staged.lock().layers.names));
        let layers = StagedLayers { memory: BTreeMap::new(), runs, deleted: self.deleted, names };
        MergedChanges { layers, count: self.count }
    }
}

/// Changes of another session that can be compared with those of this one, and staged.
#[derive(Debug)]
pub(crate) struct MergedChanges {
    pub(crate) layers: StagedLayers,
    /// How many keys are changed.
    count: usize,
}

/// Changes of keys that are staged one by one.
type FewChanges = Vec<(MapKey, Option<Entry>)>;

impl MergedChanges {
    /// All changes of keys, if there are so few that they are staged one by one; otherwise `None`.
    pub(crate) fn few(&self) -> Result<Option<FewChanges>> {
        if self.count >= FEW {
            return Ok(None);
        }
        let (mut few, mut edits) = (Vec::with_capacity(self.count), self.layers.edits(None)?);
        while let Some(edit) = edits.next()? {
            few.push(edit);
        }
        Ok(Some(few))
    }
}

impl Staged {
    /// Stages changes of another session, later than anything else; `few` is what [`MergedChanges::few`] gave.
    pub(crate) fn stage(&mut self, changes: MergedChanges, few: Option<FewChanges>) {
        changes.layers.deleted().into_iter().for_each(|prefix| self.delete_prefix(prefix));
        if let Some(few) = few {
            for (key, entry) in few {
                self.insert(key, entry);
            }
            return;
        }
        let runs = changes.layers.runs.into_iter().map(|run| Arc::try_unwrap(run).unwrap_or_else(|shared| shared.in_blocks()));
        self.stage_runs(runs.collect());
    }

    /// Makes everything that is staged now what this session inherited.
    pub(in crate::session) fn inherit(&mut self) {
        self.freeze();
        // The session was just made, so no reader shares a run yet.
        for run in self.layers.runs.iter_mut().filter_map(Arc::get_mut) {
            run.level = INHERITED;
        }
        let deleted = self.layers.deleted.clone();
        self.layers.deleted.part();
        self.inherited = Some(Inherited { deleted, files: in_order(&self.files), containers: self.containers.clone() });
    }

    /// The name of every container that is defined or needed here, and of those in `base`, as they are now.
    pub(crate) fn container_over<'a>(&'a self, name: &str, base: &'a [Container]) -> Option<&'a Container> {
        let in_base = || base.iter().find(|container| container.name == name && !self.removed.contains(name));
        self.containers.get(name).or_else(in_base)
    }
}
