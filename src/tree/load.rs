//! A file on its way from the disk into a session: read and hashed, or known to be what is stored already.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::blocking;
use super::cache::{Facts, Row, Rows};
use super::files::{budget, read_with_facts, reserve};
use super::walk::Found;
use crate::chunk::Hashed;
use crate::error::Result;
use crate::format::Entry;
use crate::snapshot::Snapshot;

/// A file whose content is known.
pub(super) struct Loaded {
    pub(super) found: Found,
    pub(super) content: Content,
    /// What may be remembered of it.
    pub(super) row: Option<Row>,
    /// What it holds of the budget.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// What is in a file.
pub(super) enum Content {
    /// The bytes, few enough to lie in the manifest.
    Inline(Bytes),
    /// The bytes and their id.
    Hashed(Hashed),
    /// The same as under its key in the base. It was not read.
    Unchanged(Entry),
}

impl Content {
    pub(super) fn entry(&self) -> Entry {
        match self {
            Self::Inline(bytes) => Entry::Inline(bytes.clone()),
            Self::Hashed(hashed) => Entry::Chunk { id: hashed.id(), size: hashed.size() },
            Self::Unchanged(entry) => entry.clone(),
        }
    }
}

/// Loads files for a session. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Loader {
    base: Snapshot,
    budget: Arc<Semaphore>,
    /// What may be relied on of earlier imports.
    known: Arc<Rows>,
    /// Whether what is read is remembered, which costs a hash of inline values.
    remembers: bool,
}

impl Loader {
    pub(super) fn new(base: Snapshot, known: Rows, remembers: bool) -> Self {
        Self { base, budget: budget(), known: Arc::new(known), remembers }
    }

    /// Reads and hashes a file, unless it is known to be unchanged and its content to be what the base has under its key.
    pub(super) async fn load(&self, found: Found) -> Result<Loaded> {
        if let Some((row, entry)) = self.unchanged(&found).await? {
            return Ok(Loaded { found, content: Content::Unchanged(entry), row: Some(row), permit: None });
        }
        let permit = reserve(Arc::clone(&self.budget), found.size).await?;
        let loaded = self.read(found).await?;
        Ok(Loaded { permit: Some(permit), ..loaded })
    }

    /// Reads and hashes a file, whatever is known of it and whatever else is held in memory.
    pub(super) async fn read(&self, found: Found) -> Result<Loaded> {
        let chunks = self.base.repository().chunks();
        let path = found.path.clone();
        let moment = self.base.repository().clock().now();
        let (bytes, facts) = blocking(move || read_with_facts(&path)).await?;
        // Another file may have got the name since it was found, and lie elsewhere.
        let may_remember = |facts: &Facts| found.is_local && facts.is_beside(&found.facts) && facts.is_settled(moment);
        let facts = facts.filter(|facts| self.remembers && may_remember(facts));
        let is_inline = bytes.len() <= Entry::inline_limit(found.key.as_str());
        let hashed = if is_inline && facts.is_none() { None } else { Some(chunks.hash(bytes.clone()).await?) };
        let row = facts.zip(hashed.as_ref()).map(|(facts, hashed)| Row { facts, id: hashed.id() });
        let content = match hashed {
            Some(hashed) if !is_inline => Content::Hashed(hashed),
            _ => Content::Inline(bytes),
        };
        Ok(Loaded { found, content, row, permit: None })
    }

    /// What the base has under the key of a file, if that is what the file holds, by what is known of it.
    async fn unchanged(&self, found: &Found) -> Result<Option<(Row, Entry)>> {
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
