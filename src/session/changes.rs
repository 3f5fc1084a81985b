//! Counting what a commit would change.

use super::WriteSession;
use super::staged::{Lookup, StagedEdits};
use crate::error::Result;
use crate::format::Entry;
use crate::key::{MapKey, Prefix};
use crate::map::Span;
use crate::virtuals::Validator;

/// How many keys are looked up together.
const BATCH: usize = 2048;

/// What a commit of a session would do to the keys of its base.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StagedChanges {
    /// Keys that get another value, which is stored in the repository.
    pub set: u64,
    /// Keys that get another reference into an external file.
    pub pointed: u64,
    /// Keys that are removed.
    pub deleted: u64,
    /// Keys that are set to what they hold already.
    pub unchanged: u64,
}

impl StagedChanges {
    fn see(&mut self, old: Option<&Entry>, new: Option<&Entry>) {
        match (old, new) {
            (None, None) => {}
            (Some(_), None) => self.deleted += 1,
            (Some(old), Some(new)) if old == new => self.unchanged += 1,
            (_, Some(Entry::Virtual { .. })) => self.pointed += 1,
            (_, Some(Entry::Inline(_) | Entry::Chunk { .. })) => self.set += 1,
        }
    }
}

impl WriteSession {
    /// Counts what a commit would change of the snapshot on which the session is based. A key that was set and deleted again
    /// is not counted.
    ///
    /// Costs one lookup for each staged key, and a scan of the keys below each deleted prefix. Changes nothing, so it can be
    /// cancelled at any moment.
    pub async fn changes(&self) -> Result<StagedChanges> {
        let mut counts = StagedChanges::default();
        let staged = self.staged.below(&Prefix::all());
        let mut edits = staged.edits(None)?;
        loop {
            let (keys, entries) = next_batch(&mut edits)?;
            if keys.is_empty() {
                break;
            }
            let base = self.base.manifest().find_many(&keys).await?;
            for (old, new) in base.iter().zip(&entries) {
                counts.see(old.as_ref(), new.as_ref());
            }
        }
        for prefix in staged.deleted() {
            let mut below = self.base.manifest().scan(Span::prefix(prefix));
            while let Some((key, _)) = below.next().await? {
                if staged.edit(&key)? == Lookup::Untouched {
                    counts.deleted += 1;
                }
            }
        }
        Ok(counts)
    }

    /// Whether a commit of what is staged would find everything there already, and so is not made: no key, container or state of a file
    /// would be another, and no version is merged.
    ///
    /// Costs what [`changes`](Self::changes) costs, and one lookup for each file. Changes nothing, so it can be cancelled at any moment.
    pub async fn changes_nothing(&self) -> Result<bool> {
        if self.has_other_parents() {
            return Ok(false);
        }
        let StagedChanges { set, pointed, deleted, .. } = self.changes().await?;
        if set + pointed + deleted > 0 {
            return Ok(false);
        }
        let known: Vec<(MapKey, Validator)> = {
            let staged = self.staged.lock();
            let before = &self.base.record().containers;
            let are_there = staged.containers().values().all(|ours| ours.is_automatic() || before.contains(ours));
            if !are_there || before.iter().any(|old| staged.removed_containers().contains(&old.name)) {
                return Ok(false);
            }
            let in_use = staged.files_in_use()?;
            in_use.into_iter().map(|(file, used)| (file.as_map_key().clone(), used.known.validator.clone())).collect()
        };
        let files: Vec<MapKey> = known.iter().map(|(file, _)| file.clone()).collect();
        let records = self.base.file_map().find_many(&files).await?;
        Ok(records.iter().zip(&known).all(|(record, (_, ours))| record.as_ref().is_some_and(|record| Validator::of(record) == *ours)))
    }
}

fn next_batch(edits: &mut StagedEdits<'_>) -> Result<(Vec<MapKey>, Vec<Option<Entry>>)> {
    let (mut keys, mut entries) = (Vec::new(), Vec::new());
    while keys.len() < BATCH
        && let Some((key, entry)) = edits.next()?
    {
        keys.push(key);
        entries.push(entry);
    }
    Ok((keys, entries))
}
