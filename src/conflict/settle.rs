//! Settling conflicts by a policy: what is dropped of the session's work, or undone of the other side's.

use std::collections::BTreeSet;

use super::OnConflict;
use super::nodes::Sides;
use crate::error::{Error, Result};
use crate::format::Entry;
use crate::key::{Key, Prefix};
use crate::map::MapChange;
use crate::session::{Lookup, Staged, StagedFile};
use crate::snapshot::{KeyOrPrefix, Snapshot};
use crate::zarr;

/// Where a policy decides about everything below a prefix, because half of each side would be neither's.
#[derive(Debug, Default)]
pub(super) struct Wholes {
    prefixes: BTreeSet<Prefix>,
    /// Moves of which one end is in conflict.
    moves: BTreeSet<usize>,
}

impl Wholes {
    pub(super) fn add(&mut self, prefix: Prefix) {
        self.prefixes.insert(prefix);
    }

    /// What a key in conflict takes along: its array, if it is a document on whose meaning the sides differ, the staged
    /// deletion in which it lies, and the staged move.
    pub(super) async fn add_key(&mut self, sides: Sides<'_>, ours: &Lookup, change: &MapChange<Entry>) -> Result<()> {
        let key = &change.key;
        if zarr::is_node_document(key.as_str()) {
            let ours = match ours {
                Lookup::Set(entry) => Some(entry),
                Lookup::Deleted | Lookup::Untouched => None,
            };
            let (ours, theirs) = (sides.document(key, ours).await?, sides.document(key, change.new.as_ref()).await?);
            if !ours.zip(theirs).is_some_and(|(ours, theirs)| ours.is_alike(&theirs)) {
                self.add(Prefix::new(zarr::split(key.as_str()).0)?);
            }
        }
        if let Some(range) = sides.staged.covering(key.as_str()) {
            self.add(range.clone());
        }
        if !sides.staged.moves().is_empty() {
            self.moves.extend(sides.staged.moves().touching(&KeyOrPrefix::Key(Key::new(key.as_str())?)));
        }
        Ok(())
    }

    /// What is staged, but for what the policy drops, and with what it undoes: nothing of it is in conflict with `tip`.
    pub(super) async fn settled(self, policy: OnConflict, staged: &Staged, base: &Snapshot, tip: &Snapshot) -> Result<Staged> {
        match policy {
            OnConflict::Refuse => Err(Error::internal("conflicts that no policy decides about")),
            OnConflict::Ours => self.undo_theirs(staged, base, tip).await,
            OnConflict::Theirs => self.drop_ours(staged, base, tip).await,
        }
    }

    /// Nothing staged replaces a change of the other side, below a whole or by itself.
    async fn drop_ours(self, staged: &Staged, base: &Snapshot, tip: &Snapshot) -> Result<Staged> {
        let covering = |whole: Prefix| staged.covering(whole.as_str()).cloned().unwrap_or(whole);
        let mut dropped: BTreeSet<Prefix> = self.prefixes.into_iter().map(covering).collect();
        // Half of a move is a value that has no name any more, or two.
        let mut moves = staged.moves().clone();
        let ends = self.moves.iter().flat_map(|n| staged.moves().ends(*n));
        let lost = ends.cloned().chain(dropped.iter().cloned().map(KeyOrPrefix::Prefix)).collect();
        let lost = moves.lose(lost, |place| staged.covering(place.as_str()).cloned().map(KeyOrPrefix::Prefix));
        let mut names = BTreeSet::new();
        for place in lost {
            // What was cleared at the destination is both the key and the prefix of its name.
            dropped.insert(covering(Prefix::new(place.as_str())?));
            names.insert(place.as_str().trim_end_matches('/').to_owned());
        }
        let mut kept = staged.without_changes();
        for range in staged.deleted().into_iter().filter(|range| !hold(&dropped, range.as_str())) {
            kept.delete_prefix(range);
        }
        let (base, tip) = (base.manifest(), tip.manifest());
        let mut theirs = base.diff(&tip).await?;
        let mut change = theirs.next().await?;
        let mut edits = staged.edits(None)?;
        while let Some((key, entry)) = edits.next()? {
            while change.as_ref().is_some_and(|change| change.key < key) {
                change = theirs.next().await?;
            }
            let is_replaced = change.as_ref().is_some_and(|change| change.key == key && change.new != entry);
            if !is_replaced && !names.contains(key.as_str()) && !hold(&dropped, key.as_str()) {
                kept.put(key, entry).await?;
            }
        }
        *kept.moves_mut() = moves;
        Ok(kept)
    }

    /// Below a whole, what the other side changed and this session did not is staged as it was before.
    async fn undo_theirs(self, staged: &Staged, base: &Snapshot, tip: &Snapshot) -> Result<Staged> {
        let mut kept = staged.without_changes();
        *kept.moves_mut() = staged.moves().clone();
        staged.deleted().into_iter().for_each(|range| kept.delete_prefix(range));
        let mut edits = staged.edits(None)?;
        while let Some((key, entry)) = edits.next()? {
            kept.put(key, entry).await?;
        }
        if self.prefixes.is_empty() {
            return Ok(kept);
        }
        let (before, now) = (base.manifest(), tip.manifest());
        let mut theirs = before.diff(&now).await?;
        while let Some(MapChange { key, old, .. }) = theirs.next().await? {
            if !hold(&self.prefixes, key.as_str()) || staged.lookup(&key)? != Lookup::Untouched {
                continue;
            }
            // The base was read from a ref, so what it holds may be linked without being written.
            if let Some(file) = old.as_ref().and_then(Entry::file).filter(|file| !kept.files().contains_key(file))
                && let Some(record) = base.file_map().find(file.as_map_key().as_str()).await?
            {
                kept.add_file(file, StagedFile::of(&record))?;
            }
            kept.put(key, old).await?;
        }
        Ok(kept)
    }
}

/// Whether a key, or a prefix, lies in one of `wholes`.
fn hold(wholes: &BTreeSet<Prefix>, key: &str) -> bool {
    !wholes.is_empty() && zarr::directories(key).any(|directory| Prefix::new(directory).is_ok_and(|directory| wholes.contains(&directory)))
}
