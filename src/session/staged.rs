//! What a session wants to change: pure data, applied to whatever tip the commit finds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};

use crate::error::{Error, Result};
use crate::format::{Container, Entry, FileKey};
use crate::key::{Key, MapKey, Prefix};
use crate::time::Timestamp;
use crate::virtuals::Validator;

/// Changes in the order of their keys. Later calls override earlier ones.
#[derive(Debug, Default, Clone)]
pub(crate) struct Staged {
    /// Set (`Some`) or deleted (`None`), each overriding every prefix in `deleted`.
    entries: BTreeMap<MapKey, Option<Entry>>,
    /// Prefixes below which everything is deleted that `entries` does not set again; none lies inside another.
    deleted: BTreeSet<Prefix>,
    /// Files of staged virtual entries, by key.
    files: BTreeMap<FileKey, StagedFile>,
    /// Containers defined or needed here, by name.
    containers: BTreeMap<String, Container>,
}

/// What is known of a file that staged entries point into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StagedFile {
    /// How its state will be recognised.
    pub(crate) validator: Validator,
    /// Its length in bytes as far as anybody knows: ranges past it are refused.
    pub(crate) size: Option<u64>,
    /// Whether the validator replaces one that the branch already has for the file.
    pub(crate) repin: bool,
}

impl StagedFile {
    /// Refuses a range past the end of the file at `url`, and a file that was modified after it was scanned for ranges.
    pub(super) fn admits(&self, url: &str, range: &Range<u64>, scanned_at: Option<Timestamp>) -> Result<()> {
        if let (Some(modified), Some(scanned_at)) = (self.validator.modified, scanned_at)
            && modified > scanned_at
        {
            return Err(Error::source_changed(format!("{url} was modified at {modified}, after it was scanned at {scanned_at}")));
        }
        match self.size {
            Some(size) if size < range.end => {
                Err(Error::invalid(format!("bytes {} to {} lie past the end of {url}, which has {size}", range.start, range.end)))
            }
            _ => Ok(()),
        }
    }
}

/// What is staged for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup<'a> {
    Set(&'a Entry),
    Deleted,
    Untouched,
}

impl Staged {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.deleted.is_empty() && self.containers.is_empty() && self.files.is_empty()
    }

    pub(crate) fn set(&mut self, key: &Key, entry: Entry) {
        self.entries.insert(key.as_map_key().clone(), Some(entry));
    }

    pub(crate) fn delete(&mut self, key: &Key) {
        self.entries.insert(key.as_map_key().clone(), None);
    }

    /// Deletes everything below `prefix`: what is staged there, and whatever the tip holds when the commit comes.
    pub(crate) fn delete_prefix(&mut self, prefix: &Prefix) {
        let doomed: Vec<_> = self.entries_below(prefix).map(|(key, _)| key.clone()).collect();
        for key in doomed {
            self.entries.remove(&key);
        }
        if self.covering(prefix.as_str()).is_none() {
            self.deleted.retain(|inner| !prefix.contains(inner.as_str()));
            self.deleted.insert(prefix.clone());
        }
    }

    /// Takes back what was staged for a key itself.
    pub(crate) fn forget(&mut self, key: &MapKey) {
        self.entries.remove(key);
    }

    /// Takes back everything that was staged below `prefix`, and its deletion and those inside it.
    pub(crate) fn forget_below(&mut self, prefix: &Prefix) {
        let below: Vec<_> = self.entries_below(prefix).map(|(key, _)| key.clone()).collect();
        for key in below {
            self.entries.remove(&key);
        }
        self.deleted.retain(|inner| !prefix.contains(inner.as_str()));
    }

    pub(crate) fn lookup(&self, key: &MapKey) -> Lookup<'_> {
        match self.entries.get(key) {
            Some(Some(entry)) => Lookup::Set(entry),
            Some(None) => Lookup::Deleted,
            None if self.covering(key.as_str()).is_some() => Lookup::Deleted,
            None => Lookup::Untouched,
        }
    }

    /// The staged range delete in which `text` lies.
    pub(crate) fn covering(&self, text: &str) -> Option<&Prefix> {
        if self.deleted.is_empty() {
            return None;
        }
        // Prefixes do not nest, so few are staged at once; most sessions have none.
        let ends = text.match_indices('/').map(|(at, _)| at + 1);
        std::iter::once(0).chain(ends).find_map(|end| {
            let head = MapKey::new(text.get(..end)?);
            self.deleted.get(&Prefix::new(head.as_str()).ok()?)
        })
    }

    /// The staged entries below a prefix, in order.
    pub(crate) fn entries_below<'a>(&'a self, prefix: &'a Prefix) -> impl Iterator<Item = (&'a MapKey, &'a Option<Entry>)> {
        let from = (Bound::Included(prefix.as_map_key()), Bound::Unbounded);
        self.entries.range::<MapKey, _>(from).take_while(|(key, _)| prefix.contains(key.as_str()))
    }

    pub(crate) fn entries(&self) -> &BTreeMap<MapKey, Option<Entry>> {
        &self.entries
    }

    pub(crate) fn deleted(&self) -> &BTreeSet<Prefix> {
        &self.deleted
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
        match self.files.get_mut(file) {
            None => {
                self.files.insert(file.clone(), new);
            }
            Some(old) if new.repin => *old = new,
            Some(old) => {
                let agreed = old.validator.agrees_with(&new.validator.clone().record(0, 0));
                agreed.map_err(|why| Error::source_changed(format!("file {file} changed while it was being staged: {why}")))?;
                old.validator = old.validator.clone().joined(new.validator);
                old.size = old.size.or(new.size);
            }
        }
        Ok(())
    }

    /// The files into which staged entries point; one whose entries were staged over again is no business of the commit.
    pub(crate) fn files_in_use(&self) -> BTreeMap<&FileKey, &StagedFile> {
        let used = self.entries.values().flatten().filter_map(Entry::file);
        used.filter_map(|file| self.files.get_key_value(file)).collect()
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

    /// The containers that a commit adds or changes: those defined by name, and automatic ones that are in use.
    pub(crate) fn needed_containers(&self) -> Vec<&Container> {
        let used: BTreeSet<_> = self.entries.values().flatten().filter_map(Entry::file).map(FileKey::container).collect();
        self.containers.values().filter(|c| !c.is_automatic() || used.contains(c.name.as_str())).collect()
    }

    pub(crate) fn set_container(&mut self, container: Container) {
        self.containers.insert(container.name.clone(), container);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    fn prefix(text: &str) -> Prefix {
        Prefix::new(text).unwrap()
    }

    #[test]
    fn a_prefix_delete_covers_what_came_before_and_nothing_that_comes_after() {
        let mut staged = Staged::default();
        let entry = Entry::Inline(bytes::Bytes::from_static(b"x"));
        staged.set(&key("a/b/1"), entry.clone());
        staged.delete_prefix(&prefix("a/b"));
        staged.set(&key("a/b/2"), entry.clone());
        assert_eq!(staged.lookup(key("a/b/1").as_map_key()), Lookup::Deleted);
        assert_eq!(staged.lookup(key("a/b/2").as_map_key()), Lookup::Set(&entry));
        assert_eq!(staged.lookup(key("a/c").as_map_key()), Lookup::Untouched);
        staged.delete_prefix(&prefix("a"));
        assert_eq!(staged.deleted().len(), 1, "the outer prefix swallows the inner one");
        assert_eq!(staged.lookup(key("a/b/2").as_map_key()), Lookup::Deleted);
        staged.delete_prefix(&prefix("a/b"));
        assert_eq!(staged.deleted().len(), 1, "a prefix inside a deleted one adds nothing");
        staged.delete_prefix(&Prefix::all());
        assert_eq!(staged.lookup(key("z").as_map_key()), Lookup::Deleted);
    }
}
