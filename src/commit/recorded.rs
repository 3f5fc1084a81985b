//! The keys that a commit changes, noted while its manifest is made.

use crate::format::{ChangeList, ChangedEntry, Commit, Entry, VirtualFile, limits};
use crate::history::is_other_state;
use crate::id::NodeId;
use crate::key::MapKey;

/// About how many bytes of keys and entries are held: a list that is stored has less.
const HELD: usize = limits::NODE;
/// What an entry takes besides its texts, in bytes.
const ENTRY: usize = 64;

/// What an edit has changed so far, as long as it is little.
#[derive(Debug, Default)]
pub(super) struct RecordedChanges {
    changes: Vec<ChangedEntry>,
    held: usize,
    /// More than a list can hold has changed.
    is_over: bool,
    is_repinned: bool,
}

impl RecordedChanges {
    /// Notes an edit.
    pub(super) fn see(&mut self, key: &MapKey, old: Option<&Entry>, new: Option<&Entry>) {
        if self.is_over || old == new {
            return;
        }
        let weight = |entry: &Entry| {
            let text = match entry {
                Entry::Inline(bytes) => bytes.len(),
                Entry::Chunk { .. } => 0,
                Entry::Virtual { file, .. } => file.as_map_key().as_str().len(),
            };
            ENTRY + key.as_str().len() + text
        };
        self.held += old.into_iter().chain(new).map(weight).sum::<usize>();
        if self.held >= HELD || self.changes.len() >= limits::CHANGES_ROWS {
            (self.changes, self.is_over) = (Vec::new(), true);
            return;
        }
        self.changes.push(ChangedEntry { key: key.clone(), old: old.cloned(), new: new.cloned() });
    }

    /// Notes an edit of the files map.
    pub(super) fn see_file(&mut self, old: Option<&VirtualFile>, new: Option<&VirtualFile>) {
        if let (Some(old), Some(new)) = (old, new) {
            self.is_repinned |= is_other_state(old, new);
        }
    }

    /// What led from the maps of `base` to these; `None` if no key has changed, or too many.
    pub(super) fn into_list(self, base: &Commit, manifest: NodeId, files: NodeId) -> Option<ChangeList> {
        let Self { changes, is_repinned, .. } = self;
        let (manifests, files) = ([base.manifest, manifest], [base.files, files]);
        (!changes.is_empty()).then_some(ChangeList { manifests, files, is_repinned, changes })
    }
}
