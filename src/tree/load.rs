//! A file or an object on its way into a session: read and hashed, or known to be what is stored already.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;

use super::Effect;
use super::cache::{CacheRow, CacheRows, Facts, SourceFacts};
use super::files::{Begun, OpenFile, held};
use super::source::{FoundObject, Incoming};
use super::walk::Found;
use crate::budget::{ByteBudget, Share};
use crate::chunk::{Hashed, Keep, PIECE, read_piece};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Entry, RepoConfig};
use crate::id::ChunkId;
use crate::key::Key;
use crate::snapshot::Snapshot;
use crate::storage::sources::SourceObjects;
use crate::time::Timestamp;

/// Something imported whose content is known.
pub(super) struct Loaded {
    pub(super) found: Incoming,
    pub(super) content: Content,
    /// What may be remembered of it.
    pub(super) row: Option<CacheRow>,
    /// What it holds of the upload budget.
    pub(super) share: Option<Share>,
}

/// What is in a file or an object.
pub(super) enum Content {
    /// The bytes, few enough to lie in the manifest.
    Inline(Bytes),
    /// The bytes and their id.
    Hashed(Hashed),
    /// The id of bytes that were not held. They are in the store unless the base has them under this key or only counts are wanted.
    Stored(Entry),
    /// The same as under its key in the base. It was not read.
    Unchanged(Entry),
    /// Nothing: an object that a listing shows and that cannot be read, as some stores show directories.
    Nothing,
}

impl Content {
    /// The entry that staging it would make.
    pub(super) fn entry(&self) -> Option<Entry> {
        match self {
            Self::Inline(bytes) => Some(Entry::Inline(bytes.clone())),
            Self::Hashed(hashed) => Some(Entry::Chunk { id: hashed.id(), size: hashed.size() }),
            Self::Stored(entry) | Self::Unchanged(entry) => Some(entry.clone()),
            Self::Nothing => None,
        }
    }
}

/// Loads files and objects for a session. Cheap to clone.
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
    pub(super) fn new(base: Snapshot, budget: ByteBudget, known: Arc<CacheRows>, remembers: bool, effect: Effect) -> Self {
        Self { base, budget, known, remembers, effect }
    }

    /// The same, but everything is read.
    pub(super) fn reading_all(&self) -> Self {
        Self { known: Arc::default(), ..self.clone() }
    }

    /// Reads and hashes something, unless it is known to be unchanged and its content to be what the base has under its key.
    pub(super) async fn load(&self, found: Incoming) -> Result<Loaded> {
        if let Some((row, entry)) = self.unchanged(&found).await? {
            return Ok(Loaded { found, content: Content::Unchanged(entry), row: Some(row), share: None });
        }
        let share = self.budget.take(held(found.size())).await?;
        let (content, row) = match &found {
            Incoming::File(file) => self.read_file(file).await?,
            Incoming::Object(place, object) => self.read_object(&**place, object).await?,
        };
        Ok(Loaded { found, content, row, share: Some(share) })
    }

    /// Reads and hashes a file, whatever is known of it and whatever else is held in memory.
    async fn read_file(&self, found: &Found) -> Result<(Content, Option<CacheRow>)> {
        let moment = self.base.repository().clock().now();
        let file = OpenFile::open(&found.path).await?;
        match file.begin().await? {
            Begun::Whole(bytes, facts) => self.whole(&found.key, bytes, self.memorable(found, facts, moment)).await,
            Begun::Longer(head, reader) => {
                let (id, size, facts) = self.stream(found, &file, head, reader).await?;
                Ok(streamed(id, size, self.memorable(found, facts, moment)))
            }
        }
    }

    /// Reads and hashes an object. `SourceChanged` when it is not as long as the listing said, or does not exist any more.
    async fn read_object(&self, place: &dyn SourceObjects, found: &FoundObject) -> Result<(Content, Option<CacheRow>)> {
        let FoundObject { key, object } = found;
        let named = |e: Error| e.context(format!("{place}: {}", object.name));
        let changed = || Error::source_changed(format!("{place}: {} changed while it was imported", object.name));
        let Some(mut body) = place.open_source(&object.name).await? else {
            return if object.size == 0 { Ok((Content::Nothing, None)) } else { Err(changed()) };
        };
        if body.size != object.size {
            return Err(changed());
        }
        let facts = body.etag.take().filter(|_| self.remembers).map(|etag| SourceFacts::Object { size: object.size, etag });
        let cut_short =
            |read: u64| Error::unavailable(format!("{place}: {} gave {read} bytes instead of {}, or more", object.name, object.size));
        // A body without an end fails, too.
        let mut reader = body.reader.take(object.size.saturating_add(1));
        let head = read_piece(&mut reader).await.map_err(named)?;
        if head.len() < PIECE {
            let read = head.len() as u64;
            if read != object.size {
                return Err(cut_short(read));
            }
            require_no_repository(place, &object.name, &head)?;
            return self.whole(key, head, facts).await;
        }
        let repository = self.base.repository();
        let chunks = repository.chunks();
        let keep = if self.effect == Effect::Stage { chunks.keep(None, &repository.scratch()) } else { Keep::Nothing };
        let chunk = chunks.read_stream(head, &mut reader, keep).await.map_err(named)?;
        let (id, size) = (chunk.id(), chunk.size());
        if size != object.size {
            return Err(cut_short(size));
        }
        let before = self.base.entry(key).await?;
        if self.effect == Effect::Stage && before != Some(Entry::Chunk { id, size }) {
            chunks.put_streamed(chunk).await.map_err(named)?;
        }
        Ok(streamed(id, size, facts))
    }

    /// Bytes that are in memory, hashed if they are a chunk or are to be remembered.
    async fn whole(&self, key: &Key, bytes: Bytes, facts: Option<SourceFacts>) -> Result<(Content, Option<CacheRow>)> {
        let is_inline = bytes.len() <= Entry::inline_limit(key.as_str());
        if is_inline && facts.is_none() {
            return Ok((Content::Inline(bytes), None));
        }
        let hashed = self.base.repository().chunks().hash(bytes.clone()).await?;
        let row = facts.map(|facts| CacheRow { facts, id: hashed.id() });
        Ok((if is_inline { Content::Inline(bytes) } else { Content::Hashed(hashed) }, row))
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
    fn memorable(&self, found: &Found, facts: Option<Facts>, moment: Timestamp) -> Option<SourceFacts> {
        // Another file may have got the name since it was found, and lie elsewhere.
        let may = |facts: &Facts| found.is_local && facts.is_beside(&found.facts) && facts.is_settled(moment);
        facts.filter(|facts| self.remembers && may(facts)).map(SourceFacts::File)
    }

    /// What the base has under the key of something imported, if that is its content, by what is known of it.
    async fn unchanged(&self, found: &Incoming) -> Result<Option<(CacheRow, Entry)>> {
        let is_as_known = |row: &&CacheRow| match (found, &row.facts) {
            (Incoming::File(found), SourceFacts::File(facts)) => found.is_local && *facts == found.facts,
            (Incoming::Object(_, found), SourceFacts::Object { size, etag }) => {
                found.object.size == *size && found.object.etag.as_ref() == Some(etag)
            }
            _ => false,
        };
        let Some(row) = self.known.get(found.name()).filter(is_as_known) else { return Ok(None) };
        let Some(entry) = self.base.entry(found.key()).await? else { return Ok(None) };
        let may_be = row.may_be(&entry, Entry::inline_limit(found.key().as_str()));
        let is_same = match &entry {
            Entry::Inline(bytes) if may_be => self.base.repository().chunks().hash(bytes.clone()).await?.id() == row.id,
            _ => may_be,
        };
        Ok(is_same.then(|| (row.clone(), entry)))
    }
}

/// Refuses the object by which a repository is recognised, because its objects are not data.
fn require_no_repository(place: &dyn SourceObjects, name: &str, bytes: &[u8]) -> Result<()> {
    let directory = match name.rsplit_once('/') {
        Some((directory, "repo.json")) => format!("{place}/{directory}"),
        None if name == "repo.json" => place.to_string(),
        _ => return Ok(()),
    };
    match RepoConfig::decode(bytes) {
        Err(e) if e.kind() != ErrorKind::Unsupported => Ok(()),
        _ => Err(Error::invalid(format!("{directory} is a Firnline repository, which cannot be imported as data"))),
    }
}

/// A chunk that was not held in memory.
fn streamed(id: ChunkId, size: u64, facts: Option<SourceFacts>) -> (Content, Option<CacheRow>) {
    (Content::Stored(Entry::Chunk { id, size }), facts.map(|facts| CacheRow { facts, id }))
}
