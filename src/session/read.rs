//! Reading what a session would commit: values and keys of its base, under its own changes.

use std::collections::HashMap;

use bytes::Bytes;

use super::WriteSession;
use super::staged::Lookup;
use crate::error::{Error, Result};
use crate::format::Entry;
use crate::key::{Key, MapKey, Prefix};
use crate::map::Span;
use crate::snapshot::{PartReader, ReadPlan};

impl WriteSession {
    /// What is stored under `key` as a commit would leave it, without reading it.
    pub async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        match self.staged.lookup(key.as_map_key())? {
            Lookup::Untouched => self.base.entry(key).await,
            Lookup::Deleted => Ok(None),
            Lookup::Set(entry) => Ok(Some(entry)),
        }
    }

    /// The value of `key` as a commit would leave it.
    pub async fn get(&mut self, key: &Key) -> Result<Option<Bytes>> {
        let Some(entry) = self.entry(key).await? else { return Ok(None) };
        match &entry {
            Entry::Virtual { file, offset, length } => {
                // What is staged of the file counts for the entries of the base as well: a commit would leave them so.
                let record = self.record_of(file).await?;
                let record = record.ok_or_else(|| Error::corrupt(format!("{key} lies in {file}, which the files map does not list")))?;
                let virtuals = self.base.repository().virtuals();
                virtuals.read(&self.containers(), file, &record, *offset..*offset + *length, key.as_str()).await.map(Some)
            }
            Entry::Inline(_) => self.base.value_of(key, &entry, None).await.map(Some),
            Entry::Chunk { .. } => {
                // The upload may still be under way.
                self.uploads.finish().await?;
                self.base.value_of(key, &entry, None).await.map(Some)
            }
        }
    }

    /// Every key below `prefix` as a commit would leave it, in the order of the maps.
    pub async fn list(&self, prefix: &Prefix) -> Result<Vec<(Key, Entry)>> {
        let mut found = Vec::new();
        let mut keep = |key: &MapKey, entry| Key::new(key.as_str()).map(|key| found.push((key, entry)));
        let mut staged = self.staged.edits(Some(prefix))?;
        let mut edit = staged.next()?;
        let mut below = self.base.manifest().scan(Span::prefix(prefix));
        while let Some((key, entry)) = below.next().await? {
            while let Some((earlier, new)) = edit.take_if(|(staged, _)| *staged < key) {
                new.map_or(Ok(()), |new| keep(&earlier, new))?;
                edit = staged.next()?;
            }
            if edit.as_ref().is_none_or(|(staged, _)| *staged != key) && self.staged.covering(key.as_str()).is_none() {
                keep(&key, entry)?;
            }
        }
        while let Some((key, new)) = edit {
            new.map_or(Ok(()), |new| keep(&key, new))?;
            edit = staged.next()?;
        }
        Ok(found)
    }

    /// The value of each of `keys` as a commit would leave it, in their order, as by [`Snapshot::get_many`].
    pub async fn get_many(&mut self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let (mut entries, mut untouched) = (Vec::with_capacity(keys.len()), Vec::new());
        for key in keys {
            entries.push(match self.staged.lookup(key.as_map_key())? {
                Lookup::Untouched => {
                    untouched.push(key.clone());
                    None
                }
                Lookup::Deleted => Some(None),
                Lookup::Set(entry) => Some(Some(entry)),
            });
        }
        let mut below = self.base.entries(&untouched).await?.into_iter();
        let entries: Vec<_> = entries.into_iter().map(|staged| staged.unwrap_or_else(|| below.next().flatten())).collect();
        if entries.iter().any(|entry| matches!(entry, Some(Entry::Chunk { .. }))) {
            // The upload may still be under way.
            self.uploads.finish().await?;
        }
        let plan = ReadPlan::of(keys.iter().zip(entries).map(|(key, entry)| (key, entry, None)).collect())?;
        let (mut known, mut unknown) = (HashMap::new(), Vec::new());
        for file in plan.files() {
            // What is staged of the file counts for the entries of the base as well: a commit would leave them so.
            match self.staged.files().get(&file) {
                Some(staged) => {
                    let record = staged.validator.clone().record(0, 0);
                    // What recognises nothing counts only where the base has no record.
                    if !record.is_pinned() {
                        unknown.push(file.clone());
                    }
                    known.insert(file, record);
                }
                None => unknown.push(file),
            }
        }
        known.extend(self.base.records(unknown).await?);
        let containers = self.containers();
        PartReader { snapshot: &self.base, containers: &containers, records: known }.run(plan).await
    }
}
