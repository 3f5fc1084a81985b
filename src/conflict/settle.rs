//! Settling conflicts by a policy: what is dropped of the session's work, or undone of the other side's.

use std::collections::BTreeSet;

use super::OnConflict;
use super::detect::differs;
use super::nodes::Sides;
use crate::error::Result;
use crate::format::Entry;
use crate::key::{Key, Prefix};
use crate::map::Change;
use crate::session::{Lookup, Snapshot, Staged, StagedFile};
use crate::virtuals::Validator;
use crate::zarr;

/// Where a policy decides about everything below a prefix, because half of each side would be neither's.
#[derive(Debug, Default)]
pub(super) struct Wholes(BTreeSet<Prefix>);

impl Wholes {
    pub(super) fn add(&mut self, prefix: Prefix) {
        self.0.insert(prefix);
    }

    /// What a key in conflict takes along: its array, if it is a document on whose meaning the sides differ, and the
    /// staged deletion in which it lies.
    pub(super) async fn add_key(&mut self, sides: Sides<'_>, change: &Change<Entry>) -> Result<()> {
        let key = &change.key;
        if zarr::is_node_document(key.as_str()) {
            let ours = match sides.staged.lookup(key)? {
                Lookup::Set(entry) => Some(entry),
                Lookup::Deleted | Lookup::Untouched => None,
            };
            let (ours, theirs) = (sides.document(key, ours.as_ref()).await?, sides.document(key, change.new.as_ref()).await?);
            if !ours.zip(theirs).is_some_and(|(ours, theirs)| ours.is_alike(&theirs)) {
                self.add(Prefix::new(zarr::split(key.as_str()).0)?);
            }
        }
        if let Some(range) = sides.staged.covering(key.as_str()) {
            self.add(range.clone());
        }
        Ok(())
    }

    fn hold(&self, key: &str) -> bool {
        zarr::directories(key).any(|directory| Prefix::new(directory).is_ok_and(|directory| self.0.contains(&directory)))
    }

    /// Changes `staged` so that nothing of it is in conflict with `tip` any more.
    pub(super) async fn settle(&self, policy: OnConflict, staged: &mut Staged, base: &Snapshot, tip: &Snapshot) -> Result<()> {
        match policy {
            OnConflict::Refuse => Ok(()),
            OnConflict::Ours => self.undo_theirs(staged, base, tip).await,
            OnConflict::Theirs => self.drop_ours(staged, base, tip).await,
        }
    }

    /// Nothing staged replaces a change of the other side, below a whole or by itself.
    async fn drop_ours(&self, staged: &mut Staged, base: &Snapshot, tip: &Snapshot) -> Result<()> {
        for whole in &self.0 {
            let whole = staged.covering(whole.as_str()).cloned().unwrap_or_else(|| whole.clone());
            staged.forget_below(&whole);
        }
        let (base, tip) = (base.manifest(), tip.manifest());
        let mut theirs = base.diff(&tip).await?;
        while let Some(change) = theirs.next().await? {
            if differs(&staged.lookup(&change.key)?, change.new.as_ref()) {
                staged.forget(&change.key)?;
            }
        }
        Ok(())
    }

    /// Below a whole, what the other side changed and this session did not is staged as it was before.
    async fn undo_theirs(&self, staged: &mut Staged, base: &Snapshot, tip: &Snapshot) -> Result<()> {
        let (before, now) = (base.manifest(), tip.manifest());
        let mut theirs = before.diff(&now).await?;
        while let Some(Change { key, old, .. }) = theirs.next().await? {
            if !self.hold(key.as_str()) || staged.lookup(&key)? != Lookup::Untouched {
                continue;
            }
            let key = Key::new(key.as_str())?;
            // The base was read from a ref, so what it holds may be linked without being written.
            match old {
                Some(entry) => {
                    if let Some(file) = entry.file().filter(|file| !staged.files().contains_key(file))
                        && let Some(record) = base.file_map().find(file.as_map_key().as_str()).await?
                    {
                        let pinned = StagedFile { validator: Validator::of(&record), size: record.size, repin: false };
                        staged.add_file(file, pinned)?;
                    }
                    staged.set(&key, entry)?;
                }
                None => staged.delete(&key)?,
            }
        }
        Ok(())
    }
}
