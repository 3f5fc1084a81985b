//! Reading what a session would commit: values and keys of its base, under its own changes.
//!
//! No call changes what is staged. Dropping a future cancels its reads and loses nothing.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};

use super::WriteSession;
use super::staged::{Lookup, StagedEdits, StagedLayers};
use crate::chunk::cut;
use crate::error::{Error, Result};
use crate::format::{Entry, FileKey, VirtualFile};
use crate::key::{Key, MapKey, Prefix};
use crate::map::{Scan, Span};
use crate::objects::Objects;
use crate::snapshot::{Asked, Child, PartReader, ReadPlan, Snapshot, within};
use crate::storage::ObjectName;

impl WriteSession {
    /// What is stored under `key` as a commit would leave it, without reading it.
    pub async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        match self.staged.lookup(key.as_map_key())? {
            Lookup::Untouched => self.base.entry(key).await,
            Lookup::Deleted => Ok(None),
            Lookup::Set(entry) => Ok(Some(entry)),
        }
    }

    /// What is stored under each of `keys` as a commit would leave it, in their order.
    pub async fn entries(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
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
        Ok(entries.into_iter().map(|staged| staged.unwrap_or_else(|| below.next().flatten())).collect())
    }

    /// The value of `key` as a commit would leave it; `None` when there is none.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        let entry = self.entry(key).await?;
        self.read_one(key, entry, None).await
    }

    /// The bytes `range` of the value of `key` as a commit would leave it; `Invalid` when they lie past its end.
    pub async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Bytes>> {
        let entry = self.entry(key).await?;
        self.read_one(key, entry, Some(range)).await
    }

    /// The value of each of `keys` as a commit would leave it, in their order, as by
    /// [`Snapshot::get_many`](crate::Snapshot::get_many).
    pub async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let entries = self.entries(keys).await?;
        self.read_parts(keys.iter().zip(entries).map(|(key, entry)| (key, entry, None)).collect()).await
    }

    /// The bytes of each part as a commit would leave them, as by
    /// [`Snapshot::get_ranges`](crate::Snapshot::get_ranges).
    pub async fn get_ranges(&self, parts: &[(Key, Range<u64>)]) -> Result<Vec<Option<Bytes>>> {
        let keys: Vec<_> = parts.iter().map(|(key, _)| key.clone()).collect();
        let entries = self.entries(&keys).await?;
        self.read_parts(parts.iter().zip(entries).map(|((key, range), entry)| (key, entry, Some(range.clone()))).collect()).await
    }

    /// The bytes of each part, as by [`Snapshot::get_ranges_of`](crate::Snapshot::get_ranges_of), also while other calls stage: what
    /// [`entry`](Self::entry) found is read, even if something else is staged under the key meanwhile.
    pub async fn get_ranges_of(&self, parts: &[(Key, Option<Entry>, Range<u64>)]) -> Result<Vec<Option<Bytes>>> {
        self.read_parts(parts.iter().map(|(key, entry, range)| (key, entry.clone(), Some(range.clone()))).collect()).await
    }

    async fn read_one(&self, key: &Key, entry: Option<Entry>, range: Option<Range<u64>>) -> Result<Option<Bytes>> {
        Ok(self.read_parts(vec![(key, entry, range)]).await?.pop().flatten())
    }

    async fn read_parts(&self, parts: Vec<Asked<'_>>) -> Result<Vec<Option<Bytes>>> {
        self.arrived(parts.iter().filter_map(|(_, entry, _)| entry.as_ref())).await?;
        // What is known of a file may depend on whether a reference into it is staged.
        let (mut is_staged, mut staged, mut others) = (Vec::with_capacity(parts.len()), Vec::new(), Vec::new());
        for part in parts {
            let (key, entry, _) = &part;
            let side = self.has_staged(key, entry.as_ref())?;
            is_staged.push(side);
            if side { staged.push(part) } else { others.push(part) }
        }
        let (mut staged, mut others) = (self.read_side(staged, true).await?.into_iter(), self.read_side(others, false).await?.into_iter());
        Ok(is_staged.into_iter().map(|side| if side { staged.next() } else { others.next() }.flatten()).collect())
    }

    /// Reads parts of which all references are staged here, or none is.
    async fn read_side(&self, parts: Vec<Asked<'_>>, is_staged: bool) -> Result<Vec<Option<Bytes>>> {
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let plan = ReadPlan::of(parts, self.base.repository().virtuals().joining())?;
        let records = self.records(plan.files(), is_staged).await?;
        let containers = self.containers();
        PartReader { snapshot: &self.base, containers: &containers, records }.run(plan).await
    }

    /// Whether `entry` is a reference that is staged here, into a file of which more may be known here than of others.
    fn has_staged(&self, key: &Key, entry: Option<&Entry>) -> Result<bool> {
        let Some(file) = entry.and_then(Entry::file) else { return Ok(false) };
        let is_known = self.staged.lock().files().contains_key(file);
        Ok(is_known && matches!(self.staged.lookup(key.as_map_key())?, Lookup::Set(_)))
    }

    /// The value of `key` as a commit would leave it, or the bytes `range` of it, in pieces, as by
    /// [`Snapshot::stream`](crate::Snapshot::stream).
    ///
    /// The stream gives the value as it is now. Later changes of the session do not affect it, and it can be read after the session was
    /// dropped. If the value is a staged chunk, the call waits for its upload. An error of the upload is an error of this call; the
    /// chunk is kept and sent again later. The call and the stream can be dropped at any moment.
    pub async fn stream(&self, key: &Key, range: Option<Range<u64>>) -> Result<BoxStream<'static, Result<Bytes>>> {
        let entry = self.entry(key).await?.ok_or_else(|| Error::not_found(format!("{key} is not on {}", self.branch)))?;
        let range = within(key, &entry, range)?;
        let Entry::Virtual { file, offset, .. } = &entry else {
            self.arrived([&entry]).await?;
            return Ok(self.base.pieces_of(key, entry, range));
        };
        let is_staged = self.has_staged(key, Some(&entry))?;
        let record = self.records(vec![file.clone()], is_staged).await?.remove(file);
        let record = record.ok_or_else(|| Error::corrupt(format!("{key} lies in {file}, which the files map does not list")))?;
        let read = Arc::new((self.base.repository().clone(), self.containers(), file.clone(), record, key.clone()));
        let pieces = stream::iter(cut(offset + range.start..offset + range.end)).zip(stream::repeat(read));
        let reads = pieces.then(|(piece, read)| async move {
            let (repository, containers, file, record, key) = &*read;
            repository.virtuals().read(containers, file, record, piece, key.as_str()).await
        });
        Ok(reads.boxed())
    }

    /// Waits for the chunks among `entries` whose uploads are still under way.
    async fn arrived<'e>(&self, entries: impl IntoIterator<Item = &'e Entry>) -> Result<()> {
        let chunks = entries.into_iter().filter_map(|entry| match entry {
            Entry::Chunk { id, .. } => Some(ObjectName::chunk(id)),
            Entry::Inline(_) | Entry::Virtual { .. } => None,
        });
        let chunks: Vec<_> = chunks.collect();
        self.uploads.arrived(&chunks).await
    }

    /// What is known of files, which must be sorted, for references that are staged or for those of the base.
    async fn records(&self, files: Vec<FileKey>, is_staged: bool) -> Result<HashMap<FileKey, VirtualFile>> {
        let mut known = self.base.records(files.clone()).await?;
        let staged = self.staged.lock();
        for (file, ours) in files.iter().filter_map(|file| Some((file, staged.files().get(file)?))) {
            // As it would be after a commit. Where a commit would fail, each reference is read as the file was for it.
            let joined = match known.get(file) {
                Some(base) if !ours.repin => ours.joined_onto(base),
                _ => Some(ours.validator.clone()),
            };
            if let Some(validator) = joined.or_else(|| Some(ours.validator.clone()).filter(|_| is_staged)) {
                known.insert(file.clone(), validator.record(0, 0));
            }
        }
        Ok(known)
    }

    /// Every key below `prefix` as a commit would leave it, in the order of the maps.
    pub async fn list(&self, prefix: &Prefix) -> Result<Vec<(Key, Entry)>> {
        let staged = self.staged.below(prefix);
        let mut merged = MergedEntries::open(&self.base, &staged, prefix).await?;
        let mut found = Vec::new();
        while let Some((key, entry)) = merged.next().await? {
            found.push((Key::new(key.as_str())?, entry));
        }
        Ok(found)
    }

    /// The entries directly below `prefix` as a commit would leave them, as by
    /// [`Snapshot::children`](crate::Snapshot::children).
    pub async fn children(&self, prefix: &Prefix) -> Result<Vec<Child>> {
        let staged = self.staged.below(prefix);
        let mut merged = MergedEntries::open(&self.base, &staged, prefix).await?;
        let mut found = Vec::new();
        while let Some((key, entry)) = merged.next().await? {
            let child = Child::of(prefix, &key, entry)?;
            if let Child::Directory(directory) = &child {
                merged.skip(directory).await?;
            }
            found.push(child);
        }
        Ok(found)
    }
}

/// The entries of the base below a prefix, under the staged changes.
struct MergedEntries<'s> {
    staged: &'s StagedLayers,
    edits: StagedEdits<'s>,
    edit: Option<(MapKey, Option<Entry>)>,
    base: Scan<'s, Entry, Objects>,
    below: Option<(MapKey, Entry)>,
}

impl<'s> MergedEntries<'s> {
    async fn open(base: &'s Snapshot, staged: &'s StagedLayers, prefix: &'s Prefix) -> Result<Self> {
        let mut edits = staged.edits(Some(prefix))?;
        let edit = edits.next()?;
        let mut base = base.manifest().scan(Span::prefix(prefix));
        let below = base.next().await?;
        Ok(Self { staged, edits, edit, base, below })
    }

    /// Skips everything below `directory`; of the base nothing of that is read.
    async fn skip(&mut self, directory: &Prefix) -> Result<()> {
        while self.edit.as_ref().is_some_and(|(staged, _)| directory.contains(staged.as_str())) {
            self.edit = self.edits.next()?;
        }
        if self.below.as_ref().is_some_and(|(below, _)| directory.contains(below.as_str())) {
            self.base.skip(directory);
            self.below = self.base.next().await?;
        }
        Ok(())
    }

    /// The next entry that a commit would leave.
    async fn next(&mut self) -> Result<Option<(MapKey, Entry)>> {
        loop {
            let is_edit = match (&self.edit, &self.below) {
                (Some((staged, _)), Some((below, _))) => staged <= below,
                (edit, _) => edit.is_some(),
            };
            if !is_edit {
                let Some((key, entry)) = self.below.take() else { return Ok(None) };
                self.below = self.base.next().await?;
                if self.staged.covering(key.as_str()).is_none() {
                    return Ok(Some((key, entry)));
                }
                continue;
            }
            let Some((key, entry)) = self.edit.take() else { return Ok(None) };
            self.edit = self.edits.next()?;
            if self.below.as_ref().is_some_and(|(below, _)| *below == key) {
                self.below = self.base.next().await?;
            }
            if let Some(entry) = entry {
                return Ok(Some((key, entry)));
            }
        }
    }
}
