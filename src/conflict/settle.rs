//! Settles conflicts by a policy: drops staged changes, or undoes changes of the other side.

use std::collections::BTreeSet;

use super::OnConflict;
use super::nodes::Sides;
use crate::error::{Error, Result};
use crate::format::Entry;
use crate::key::{Key, Prefix};
use crate::map::MapChange;
use crate::session::{Lookup, SharedStaged, Staged, StagedFile};
use crate::snapshot::{KeyOrPrefix, Snapshot};
use crate::zarr;

/// The prefixes and moves that a policy must settle as a whole, because a mix of both sides would be a state that neither writer intended.
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

    /// Adds what must be settled together with a key in conflict: its array, if the key is a document that the sides changed to
    /// different structures; the staged deletion that covers it; the staged moves that begin or end at it, above or below it.
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
        if let Some(range) = sides.staged.layers().covering(key.as_str()) {
            self.add(range.clone());
        }
        if !sides.staged.moves().is_empty() {
            self.moves.extend(sides.staged.moves().touching(&KeyOrPrefix::Key(Key::new(key.as_str())?)));
        }
        Ok(())
    }

    /// The staged changes after the policy was applied: without those that it drops, and with those that undo changes of the other
    /// side. None of them conflicts with `tip`.
    pub(super) async fn settled(self, policy: OnConflict, staged: &Staged, base: &Snapshot, tip: &Snapshot) -> Result<SharedStaged> {
        match policy {
            OnConflict::Refuse => Err(Error::internal("conflicts that no policy decides about")),
            OnConflict::Ours => self.undo_theirs(staged, base, tip).await,
            OnConflict::Theirs => self.drop_ours(staged, base, tip).await,
        }
    }

    /// Drops every staged change that would replace a change of the other side, and everything staged below a prefix that is settled as
    /// a whole.
    async fn drop_ours(self, staged: &Staged, base: &Snapshot, tip: &Snapshot) -> Result<SharedStaged> {
        let covering = |whole: Prefix| staged.layers().covering(whole.as_str()).cloned().unwrap_or(whole);
        let mut dropped: BTreeSet<Prefix> = self.prefixes.into_iter().map(covering).collect();
        // Half of a move would delete the value, or keep it under both names.
        let mut moves = staged.moves().clone();
        let ends = self.moves.iter().flat_map(|n| staged.moves().ends(*n));
        let lost = ends.cloned().chain(dropped.iter().cloned().map(KeyOrPrefix::Prefix)).collect();
        let lost = moves.lose(lost, |place| staged.layers().covering(place.as_str()).cloned().map(KeyOrPrefix::Prefix));
        let mut names = BTreeSet::new();
        for place in lost {
            // What was cleared at the destination is both the key and the prefix of its name.
            dropped.insert(covering(Prefix::new(place.as_str())?));
            names.insert(place.as_str().trim_end_matches('/').to_owned());
        }
        let mut kept = SharedStaged::new(staged.without_changes());
        for range in staged.layers().deleted().into_iter().filter(|range| !hold(&dropped, range.as_str())) {
            kept.get_mut().delete_prefix(range);
        }
        let (base, tip) = (base.manifest(), tip.manifest());
        let mut theirs = base.diff(&tip).await?;
        let mut change = theirs.next().await?;
        let mut edits = staged.layers().edits(None)?;
        while let Some((key, entry)) = edits.next()? {
            while change.as_ref().is_some_and(|change| change.key < key) {
                change = theirs.next().await?;
            }
            let is_replaced = change.as_ref().is_some_and(|change| change.key == key && change.new != entry);
            if !is_replaced && !names.contains(key.as_str()) && !hold(&dropped, key.as_str()) {
                kept.put(key, entry).await?;
            }
        }
        *kept.get_mut().moves_mut() = moves;
        Ok(kept)
    }

    /// Below each prefix that is settled as a whole, stages the base's value of every key that only the other side changed.
    async fn undo_theirs(self, staged: &Staged, base: &Snapshot, tip: &Snapshot) -> Result<SharedStaged> {
        let mut kept = SharedStaged::new(staged.without_changes());
        *kept.get_mut().moves_mut() = staged.moves().clone();
        staged.layers().deleted().into_iter().for_each(|range| kept.get_mut().delete_prefix(range));
        let mut edits = staged.layers().edits(None)?;
        while let Some((key, entry)) = edits.next()? {
            kept.put(key, entry).await?;
        }
        if self.prefixes.is_empty() {
            return Ok(kept);
        }
        let (before, now) = (base.manifest(), tip.manifest());
        let mut theirs = before.diff(&now).await?;
        while let Some(MapChange { key, old, .. }) = theirs.next().await? {
            if !hold(&self.prefixes, key.as_str()) || staged.layers().lookup(&key)? != Lookup::Untouched {
                continue;
            }
            // The base was read from a ref, so what it holds may be linked without being written.
            if let Some(file) = old.as_ref().and_then(Entry::file).filter(|file| !kept.lock().files().contains_key(*file))
                && let Some(record) = base.file_map().find(file.as_map_key().as_str()).await?
            {
                kept.get_mut().add_file(file, StagedFile::of(&record))?;
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
