//! A file on its way from the disk into a session: read and hashed, or known to be what is stored already.

use std::sync::Arc;

use bytes::Bytes;

use super::Effect;
use super::cache::{CacheRow, CacheRows, Facts};
use super::files::{Begun, OpenFile, held};
use super::walk::Found;
use crate::budget::{ByteBudget, Share};
use crate::chunk::{Hashed, Keep};
use crate::error::{Error, Result};
use crate::format::Entry;
use crate::id::ChunkId;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// A file whose content is known.
pub(super) struct Loaded {
    pub(super) found: Found,
    pub(super) content: Content,
    /// What may be remembered of it.
    pub(super) row: Option<CacheRow>,
    /// What it holds of the upload budget.
    pub(super) share: Option<Share>,
}

/// What is in a file.
pub(super) enum Content {
    /// The bytes, few enough to lie in the manifest.
    Inline(Bytes),
    /// The bytes and their id.
    Hashed(Hashed),
    /// The id of bytes that were not held. They are in the store unless the base has them under this key or only counts are wanted.
    Stored(Entry),
    /// The same as under its key in the base. It was not read.
    Unchanged(Entry),
}

impl Content {
    pub(super) fn entry(&self) -> Entry {
        match self {
            Self::Inline(bytes) => Entry::Inline(bytes.clone()),
            Self::Hashed(hashed) => Entry::Chunk { id: hashed.id(), size: hashed.size() },
            Self::Stored(entry) | Self::Unchanged(entry) => entry.clone(),
        }
    }
}

/// Loads files for a session. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Loader {
    base: Snapshot,
    budget: ByteBudget,
    /// What may be relied on of earlier imports.
    known: Arc<CacheRows>,
    /// Whether what is read is remembered, which costs a hash of inline values.
    remembers: bool,
    effect: Effect,
}

impl Loader {
    pub(super) fn new(base: Snapshot, budget: ByteBudget, known: CacheRows, remembers: bool, effect: Effect) -> Self {
        Self { base, budget, known: Arc::new(known), remembers, effect }
    }

    /// The same, but every file is read.
    pub(super) fn reading_all(&self) -> Self {
        Self { known: Arc::default(), ..self.clone() }
    }

    /// Reads and hashes a file, unless it is known to be unchanged and its content to be what the base has under its key.
    pub(super) async fn load(&self, found: Found) -> Result<Loaded> {
        if let Some((row, entry)) = self.unchanged(&found).await? {
            return Ok(Loaded { found, content: Content::Unchanged(entry), row: Some(row), share: None });
        }
        let share = self.budget.take(held(found.size)).await?;
        let loaded = self.read(found).await?;
        Ok(Loaded { share: Some(share), ..loaded })
    }

    /// Reads and hashes a file, whatever is known of it and whatever else is held in memory.
    async fn read(&self, found: Found) -> Result<Loaded> {
        let moment = self.base.repository().clock().now();
        let file = OpenFile::open(&found.path).await?;
        let (content, id, facts) = match file.begin().await? {
            Begun::Whole(bytes, facts) => {
                let facts = self.memorable(&found, facts, moment);
                let is_inline = bytes.len() <= Entry::inline_limit(found.key.as_str());
                let chunks = self.base.repository().chunks();
                let hashed = if is_inline && facts.is_none() { None } else { Some(chunks.hash(bytes.clone()).await?) };
                let id = hashed.as_ref().map(Hashed::id);
                let content = match hashed {
                    Some(hashed) if !is_inline => Content::Hashed(hashed),
                    _ => Content::Inline(bytes),
                };
                (content, id, facts)
            }
            Begun::Longer(head, reader) => {
                let (id, size, facts) = self.stream(&found, &file, head, reader).await?;
                (Content::Stored(Entry::Chunk { id, size }), Some(id), self.memorable(&found, facts, moment))
            }
        };
        let row = facts.zip(id).map(|(facts, id)| CacheRow { facts, id });
        Ok(Loaded { found, content, row, share: None })
    }

    /// Hashes a file piece by piece and stores it, unless the base has it under its key or nothing is to be stored.
    async fn stream(
        &self,
        found: &Found,
        file: &OpenFile,
        head: Bytes,
        mut reader: tokio::fs::File,
    ) -> Result<(ChunkId, u64, Option<Facts>)> {
        let repository = self.base.repository();
        let chunks = repository.chunks();
        let before = self.base.entry(&found.key).await?;
        let is_likely = before.as_ref().is_some_and(|entry| Some(entry.size()) == file.size());
        let keep = match self.effect {
            Effect::Count => Keep::Nothing,
            Effect::Stage if is_likely => file.keep_in_place(chunks, &repository.scratch()),
            Effect::Stage => file.keep(chunks, &repository.scratch()),
        };
        let named = |e: Error| e.context(found.path.display());
        let chunk = chunks.read_stream(head, &mut reader, keep).await.map_err(named)?;
        let (id, size) = (chunk.id(), chunk.size());
        let facts = file.end(size).await?;
        if self.effect == Effect::Stage && before != Some(Entry::Chunk { id, size }) {
            chunks.put_streamed(chunk).await.map_err(named)?;
        }
        Ok((id, size, facts))
    }

    /// The facts of a file that may be remembered, which was read from `moment` on.
    fn memorable(&self, found: &Found, facts: Option<Facts>, moment: Timestamp) -> Option<Facts> {
        // Another file may have got the name since it was found, and lie elsewhere.
        let may = |facts: &Facts| found.is_local && facts.is_beside(&found.facts) && facts.is_settled(moment);
        facts.filter(|facts| self.remembers && may(facts))
    }

    /// What the base has under the key of a file, if that is what the file holds, by what is known of it.
    async fn unchanged(&self, found: &Found) -> Result<Option<(CacheRow, Entry)>> {
        let known = self.known.get(&found.name).filter(|row| found.is_local && row.facts == found.facts);
        let Some(row) = known else { return Ok(None) };
        let Some(entry) = self.base.entry(&found.key).await? else { return Ok(None) };
        let may_be = row.may_be(&entry, Entry::inline_limit(found.key.as_str()));
        let is_same = match &entry {
            Entry::Inline(bytes) if may_be => self.base.repository().chunks().hash(bytes.clone()).await?.id() == row.id,
            _ => may_be,
        };
        Ok(is_same.then_some((*row, entry)))
    }
}
