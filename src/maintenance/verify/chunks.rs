//! Chunks: each read whole and hashed once, however many keys and versions hold it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use super::finding::{Finding, FindingKind};
use super::{READ_MIB, Verifier, is_damage, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, SnapshotId};
use crate::key::MapKey;
use crate::storage::ObjectName;

/// A chunk with the size that an entry gives it: another size is another question.
type Sized = (ChunkId, u64);

#[derive(Debug, Default)]
pub(super) struct Chunks {
    book: Mutex<Book>,
    count: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Book {
    done: HashSet<Sized>,
    /// The findings about those that are not as they should be.
    bad: HashMap<Sized, usize>,
    busy: HashMap<Sized, Arc<OnceCell<Option<usize>>>>,
}

impl Chunks {
    /// How many were read, and their bytes.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Verifier<'_> {
    /// Checks the chunk under a key; the number of the finding about it.
    pub(super) async fn check_chunk(&self, version: SnapshotId, key: MapKey, id: ChunkId, size: u64) -> Result<Option<usize>> {
        let found = self.chunk_once((id, size)).await?;
        if let Some(at) = found {
            self.findings.affect(at, key.as_str());
            self.findings.reach(at, version);
        }
        Ok(found)
    }

    async fn chunk_once(&self, chunk: Sized) -> Result<Option<usize>> {
        let cell = {
            let mut book = lock(&self.chunks.book);
            if book.done.contains(&chunk) {
                return Ok(book.bad.get(&chunk).copied());
            }
            book.busy.entry(chunk).or_default().clone()
        };
        let found = *cell.get_or_try_init(|| self.read_chunk(chunk)).await?;
        let mut book = lock(&self.chunks.book);
        book.busy.remove(&chunk);
        book.done.insert(chunk);
        book.bad.extend(found.map(|at| (chunk, at)));
        Ok(found)
    }

    async fn read_chunk(&self, (id, size): Sized) -> Result<Option<usize>> {
        let mib = u32::try_from(size >> 20).unwrap_or(u32::MAX).clamp(1, READ_MIB);
        let _permit = self.permits.acquire_many(mib).await.map_err(|e| Error::internal("reads were closed").caused_by(e))?;
        let kind = match self.repository.chunks().read(&id, size).await {
            Ok(bytes) => {
                self.chunks.count.fetch_add(1, Ordering::Relaxed);
                self.chunks.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                self.repository.advance(1, bytes.len() as u64);
                return Ok(None);
            }
            Err(e) if e.kind() == ErrorKind::NotFound => (FindingKind::Missing, e),
            Err(e) if is_damage(e.kind()) => (FindingKind::Corrupt, e),
            Err(e) => return Err(e),
        };
        let (kind, error) = kind;
        Ok(Some(self.findings.add(Finding::new(kind, ObjectName::chunk(&id), error.to_string()))))
    }
}
