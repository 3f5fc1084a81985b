//! Settles conflicts by policies: drops staged changes, or undoes changes of the other side.

use std::collections::{BTreeMap, BTreeSet};

use super::detect::{Added, Conflicts, differs};
use super::left::{rely_on_left, see_left};
use super::nodes::{Sides, node_name};
use super::{ConflictKind, OnConflict, Policies};
use crate::error::Result;
use crate::format::Entry;
use crate::key::{Key, Prefix};
use crate::map::{MapChange, Span};
use crate::session::{Lookup, SharedStaged, Staged, StagedFile};
use crate::snapshot::{KeyOrPrefix, Snapshot};
use crate::zarr;

/// The prefixes and moves that policies must settle as a whole, because a mix of both sides would be a state that neither writer intended.
/// Of two prefixes of which one lies inside the other, the outer one decides.
#[derive(Debug, Default)]
pub(super) struct Wholes {
    prefixes: BTreeMap<Prefix, OnConflict>,
    /// Moves of which one end is in conflict and is to be dropped.
    moves: BTreeSet<usize>,
}

impl Wholes {
    /// Adds a prefix that is settled by `policy`. The first policy counts.
    pub(super) fn add(&mut self, prefix: Prefix, policy: OnConflict) {
        self.prefixes.entry(prefix).or_insert(policy);
    }

    /// Adds what must be settled together with a key in conflict: its array, if the key is a document that the sides changed to
    /// different structures; the staged deletion that covers it; the staged moves that begin or end at it, above or below it.
    ///
    /// Adds to `refused` what the policy of its own prefix refuses, unless the policy of the key says everything about it.
    pub(super) async fn add_key(
        &mut self,
        sides: Sides<'_>,
        policies: &Policies,
        ours: &Lookup,
        change: &MapChange<Entry>,
        refused: &mut Conflicts,
    ) -> Result<()> {
        let key = &change.key;
        let policy = policies.of(key.as_str());
        let mut wholes = Vec::new();
        if zarr::is_node_document(key.as_str()) {
            let ours = match ours {
                Lookup::Set(entry) => Some(entry),
                Lookup::Deleted | Lookup::Untouched => None,
            };
            let (ours, theirs) = (sides.document(key, ours).await?, sides.document(key, change.new.as_ref()).await?);
            if !ours.zip(theirs).is_some_and(|(ours, theirs)| ours.is_alike(&theirs)) {
                wholes.push((Prefix::new(zarr::split(key.as_str()).0)?, ConflictKind::Array));
            }
        }
        wholes.extend(sides.staged.layers().covering(key.as_str()).cloned().map(|whole| (whole, ConflictKind::Group)));
        for (whole, kind) in wholes {
            if self.prefixes.contains_key(&whole) {
                continue;
            }
            let settled_by = policies.of(whole.as_str());
            // A policy may be given for the key alone.
            let is_settled = settled_by != OnConflict::Refuse || loses_only(sides, policies, policy, &whole).await?;
            if !is_settled {
                let why = format!("the policy for {key} says nothing about what else was changed there; give one for the prefix");
                refused.add(kind, node_name(whole.as_str()).to_owned(), Some(why));
            }
            self.add(whole, if is_settled && settled_by == OnConflict::Refuse { policy } else { settled_by });
        }
        if policy == OnConflict::Theirs && !sides.staged.moves().is_empty() {
            self.moves.extend(sides.staged.moves().touching(&KeyOrPrefix::Key(Key::new(key.as_str())?)));
        }
        Ok(())
    }

    /// The staged changes after the policies were applied: without those that they drop, and with those that undo changes of the other
    /// side. None of them conflicts with `tip`, as far as keys go. Adds to `added` the references that stay where staged changes were dropped.
    pub(super) async fn settled(
        self,
        policies: &Policies,
        staged: &Staged,
        base: &Snapshot,
        tip: &Snapshot,
        added: &mut Added,
    ) -> Result<SharedStaged> {
        let (undone, dropped) = (self.outermost(OnConflict::Ours), self.outermost(OnConflict::Theirs));
        let kept = self.drop_ours(&undone, dropped, policies, staged, (base, tip), added).await?;
        undo_theirs(&undone, kept, staged, base, tip).await
    }

    /// The prefixes that are settled by `policy` and lie in no other one.
    fn outermost(&self, policy: OnConflict) -> BTreeSet<Prefix> {
        let is_inside = |prefix: &Prefix| {
            let above = zarr::directories(prefix.as_str()).filter(|above| *above != prefix.as_str());
            above.filter_map(|above| Prefix::new(above).ok()).any(|above| self.prefixes.contains_key(&above))
        };
        let of_policy = self.prefixes.iter().filter(|(_, settled)| **settled == policy).map(|(prefix, _)| prefix);
        of_policy.filter(|prefix| !is_inside(prefix)).cloned().collect()
    }

    /// Drops every staged change that would replace a change of the other side where the policy is `theirs`, and everything staged below a
    /// prefix that is settled so as a whole.
    async fn drop_ours(
        &self,
        undone: &BTreeSet<Prefix>,
        dropped: BTreeSet<Prefix>,
        policies: &Policies,
        staged: &Staged,
        (base, tip): (&Snapshot, &Snapshot),
        added: &mut Added,
    ) -> Result<SharedStaged> {
        let covering = |whole: Prefix| staged.layers().covering(whole.as_str()).cloned().unwrap_or(whole);
        let mut dropped: BTreeSet<Prefix> = dropped.into_iter().map(covering).collect();
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
        see_left(added, &dropped, &names, staged, base, tip).await?;
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
            let is_lost = is_replaced && policies.of(key.as_str()) == OnConflict::Theirs && !hold(undone, key.as_str());
            if !is_lost && !names.contains(key.as_str()) && !hold(&dropped, key.as_str()) {
                kept.put(key, entry).await?;
            }
        }
        *kept.get_mut().moves_mut() = moves;
        Ok(kept)
    }
}

/// Below each prefix of `undone`, stages the base's value of every key that only the other side changed.
async fn undo_theirs(
    undone: &BTreeSet<Prefix>,
    kept: SharedStaged,
    staged: &Staged,
    base: &Snapshot,
    tip: &Snapshot,
) -> Result<SharedStaged> {
    if undone.is_empty() {
        return Ok(kept);
    }
    let (before, now) = (base.manifest(), tip.manifest());
    let mut theirs = before.diff(&now).await?;
    while let Some(MapChange { key, old, .. }) = theirs.next().await? {
        if !hold(undone, key.as_str()) || staged.layers().lookup(&key)? != Lookup::Untouched {
            continue;
        }
        // The base was read from a ref, or it was made sure that a ref keeps it: what it holds may be linked without being written.
        if let Some(file) = old.as_ref().and_then(Entry::file).filter(|file| !kept.lock().files().contains_key(*file))
            && let Some(record) = base.file_map().find(file.as_map_key().as_str()).await?
        {
            kept.lock().add_file(file, StagedFile::of(&record))?;
        }
        kept.put(key, old).await?;
    }
    rely_on_left(undone, &kept, staged, base, tip).await?;
    Ok(kept)
}

/// Whether the side that loses under `policy` changed nothing below `whole` for which another policy holds.
async fn loses_only(sides: Sides<'_>, policies: &Policies, policy: OnConflict, whole: &Prefix) -> Result<bool> {
    if policy == OnConflict::Theirs {
        let layers = sides.staged.layers();
        let ranges = layers.covering(whole.as_str()).into_iter().chain(layers.deleted_below(whole));
        let mut is_alike = ranges.map(Prefix::as_str).all(|range| policies.of(range) == policy);
        let mut edits = layers.edits(Some(whole))?;
        while is_alike && let Some((key, _)) = edits.next()? {
            is_alike = policies.of(key.as_str()) == policy;
        }
        return Ok(is_alike);
    }
    let (before, now) = (sides.base.manifest(), sides.tip.manifest());
    let mut theirs = before.diff_in(&now, Span::prefix(whole)).await?;
    while let Some(MapChange { key, new, .. }) = theirs.next().await? {
        let ours = sides.staged.layers().lookup(&key)?;
        let is_lost = ours == Lookup::Untouched || differs(&ours, new.as_ref());
        if is_lost && policies.of(key.as_str()) != policy {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a key, or a prefix, lies in one of `wholes`.
fn hold(wholes: &BTreeSet<Prefix>, key: &str) -> bool {
    !wholes.is_empty() && zarr::directories(key).any(|directory| Prefix::new(directory).is_ok_and(|directory| wholes.contains(&directory)))
}
