//! Where the staged entries are, and what they say of a key.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::deleted::PrefixDeletes;
use super::files::StagedFileTable;
use super::merge::StagedEdits;
use super::run::{StagedRun, Stored};
use crate::error::Result;
use crate::format::Entry;
use crate::key::{MapKey, Prefix};

/// How many entries of the map are copied for a reader. More of them become a run, which is shared instead.
const FEW: usize = 1000;

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

/// The staged entries: the latest in a map, earlier ones in runs, and the prefix deletes between them.
#[derive(Debug, Default)]
pub(crate) struct StagedLayers {
    /// The latest, each overriding every run and every prefix delete.
    pub(super) memory: BTreeMap<MapKey, Stored>,
    /// Earlier ones, the newest last. A run never changes, so readers share it.
    pub(super) runs: Vec<Arc<StagedRun>>,
    pub(super) deleted: PrefixDeletes,
    /// What stored entries call files.
    pub(super) names: Arc<StagedFileTable>,
}

impl StagedLayers {
    pub(crate) fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.runs.is_empty() && self.deleted.is_empty()
    }

    /// What is staged for a key, by itself or by a prefix delete.
    pub(crate) fn lookup(&self, key: &MapKey) -> Result<Lookup> {
        Ok(self.with_deletes(key, self.edit(key)?))
    }

    /// The answer of [`lookup`](Self::lookup), if it needs no run, so that it costs no reads; otherwise `None`.
    pub(super) fn lookup_in_memory(&self, key: &MapKey) -> Result<Option<Lookup>> {
        let edit = match self.memory.get(key) {
            Some(stored) => self.names.entry(stored)?.into(),
            None if self.runs.is_empty() => Lookup::Untouched,
            None => return Ok(None),
        };
        Ok(Some(self.with_deletes(key, edit)))
    }

    fn with_deletes(&self, key: &MapKey, edit: Lookup) -> Lookup {
        match edit {
            Lookup::Untouched if self.covering(key.as_str()).is_some() => Lookup::Deleted,
            edit => edit,
        }
    }

    /// What is staged for a key by itself; one that is only below a deleted prefix is `Untouched`.
    pub(crate) fn edit(&self, key: &MapKey) -> Result<Lookup> {
        if let Some(stored) = self.memory.get(key) {
            return self.names.entry(stored).map(Lookup::from);
        }
        let deleted = self.deleted.deleted_at(key.as_str());
        for run in self.runs.iter().rev().take_while(|run| deleted.is_none_or(|deleted| deleted <= run.stamp)) {
            if let Some(found) = run.find(key.as_str())? {
                return self.names.entry(&found).map(Lookup::from);
            }
        }
        Ok(Lookup::Untouched)
    }

    /// The outermost staged range delete in which `text` lies.
    pub(crate) fn covering<'s>(&'s self, text: &str) -> Option<&'s Prefix> {
        self.deleted.covering(text)
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
        self.deleted.below(whole)
    }

    /// The entries of the map below `prefix`.
    pub(super) fn memory_below<'s>(&'s self, prefix: &'s Prefix) -> impl Iterator<Item = (&'s MapKey, &'s Stored)> {
        let from = (Bound::Included(prefix.as_map_key()), Bound::Unbounded);
        self.memory.range::<MapKey, _>(from).take_while(|(key, _)| prefix.contains(key.as_str()))
    }

    /// Whether so many entries of the map are below `prefix` that a copy of them would take long.
    pub(super) fn has_many_below(&self, prefix: &Prefix) -> bool {
        self.memory_below(prefix).nth(FEW).is_some()
    }

    /// The same layers as they are now, whatever is staged later; of the map only what is below `prefix`, if one is named.
    pub(super) fn shared(&self, prefix: Option<&Prefix>) -> Self {
        let memory = prefix.into_iter().flat_map(|prefix| self.memory_below(prefix));
        Self {
            memory: memory.map(|(key, stored)| (key.clone(), stored.clone())).collect(),
            runs: self.runs.clone(),
            deleted: self.deleted.clone(),
            names: Arc::clone(&self.names),
        }
    }
}
