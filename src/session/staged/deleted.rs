//! Prefix deletes: prefixes below which everything is deleted that was staged before, or that the tip holds.

use std::collections::BTreeMap;

use crate::key::Prefix;

/// The prefix deletes of a session. Each has a stamp, which tells the runs that came before from those that came after.
#[derive(Debug, Clone, Default)]
pub(super) struct PrefixDeletes {
    stamps: BTreeMap<Prefix, u64>,
    latest: u64,
}

impl PrefixDeletes {
    /// The stamp of what is staged now: how many prefixes have been deleted so far.
    pub(super) const fn stamp(&self) -> u64 {
        self.latest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stamps.is_empty()
    }

    /// Parts what was staged before from what is staged from now on, as if a prefix without keys were deleted.
    pub(super) const fn part(&mut self) {
        self.latest += 1;
    }

    /// The prefixes that were deleted after this stamp.
    pub(super) fn after(&self, stamp: u64) -> Self {
        let stamps = self.stamps.iter().filter(|(_, deleted)| **deleted > stamp);
        Self { stamps: stamps.map(|(prefix, deleted)| (prefix.clone(), *deleted)).collect(), latest: self.latest }
    }

    /// Adds a prefix and removes those inside it, which it includes.
    pub(super) fn add(&mut self, prefix: &Prefix) {
        self.latest += 1;
        let inner: Vec<_> = self.all_below(prefix).cloned().collect();
        for inner in &inner {
            self.stamps.remove(inner);
        }
        self.stamps.insert(prefix.clone(), self.latest);
    }

    /// The outermost prefix in which `text` lies.
    pub(super) fn covering<'s>(&'s self, text: &str) -> Option<&'s Prefix> {
        self.covers(text).next().map(|(prefix, _)| prefix)
    }

    /// The stamp of the last delete that concerns `text`.
    pub(super) fn deleted_at(&self, text: &str) -> Option<u64> {
        self.covers(text).map(|(_, stamp)| *stamp).max()
    }

    /// The prefixes in which `text` lies, from the outermost inwards.
    fn covers<'s>(&'s self, text: &str) -> impl Iterator<Item = (&'s Prefix, &'s u64)> {
        // Few are staged at once; most sessions have none.
        let ends = text.match_indices('/').map(|(at, _)| at + 1).filter(|_| !self.stamps.is_empty());
        std::iter::once(0).chain(ends).filter_map(|end| self.stamps.get_key_value(&Prefix::new(text.get(..end)?).ok()?))
    }

    /// The outermost prefixes that lie in `whole`, in the order of the maps.
    pub(super) fn below(&self, whole: &Prefix) -> Vec<&Prefix> {
        let mut outermost: Vec<&Prefix> = Vec::new();
        for prefix in self.all_below(whole) {
            if outermost.last().is_none_or(|last| !last.contains(prefix.as_str())) {
                outermost.push(prefix);
            }
        }
        outermost
    }

    fn all_below<'s>(&'s self, whole: &Prefix) -> impl Iterator<Item = &'s Prefix> {
        self.stamps.range(whole..).map(|(prefix, _)| prefix).take_while(move |prefix| whole.contains(prefix.as_str()))
    }
}

/// Whether entries of a run are deleted, remembered for the directory that was asked about last.
#[derive(Default)]
pub(super) struct Mask {
    directory: Option<String>,
    deleted_at: Option<u64>,
}

impl Mask {
    /// Whether a prefix delete came after an entry of `key` in a run with this stamp.
    pub(super) fn hides(&mut self, deleted: &PrefixDeletes, key: &str, stamp: u64) -> bool {
        if deleted.is_empty() {
            return false;
        }
        let directory = key.rsplit_once('/').map_or("", |(directory, _)| directory);
        if self.directory.as_deref() != Some(directory) {
            self.directory = Some(directory.to_owned());
            self.deleted_at = deleted.deleted_at(key);
        }
        self.deleted_at.is_some_and(|deleted| deleted > stamp)
    }
}
