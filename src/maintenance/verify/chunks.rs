//! Chunks: each read and hashed, as a rule once, however many keys and versions hold it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{OnceCell, SemaphorePermit};

use super::finding::{Finding, FindingKind};
use super::{READ_MIB, Verifier, is_damage, lock};
use crate::chunk::{CHECK_COST, Sized};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, SnapshotId};
use crate::key::MapKey;
use crate::storage::ObjectName;

/// Chunks up to this many bytes are read many at a time.
const SMALL: u64 = 64 << 10;
/// How many of them, and at most how many bytes.
const TOGETHER: usize = 256;
const TOGETHER_BYTES: u64 = 1 << 20;
/// How many larger chunks of one leaf are looked at at once.
const WIDE: usize = 16;
/// So many good chunks are remembered at least, and twice as many at most: about 30 MB.
const REMEMBERED: usize = 1 << 18;

#[derive(Debug, Default)]
pub(super) struct Chunks {
    book: Mutex<Book>,
    count: AtomicU64,
    bytes: AtomicU64,
}

/// What is known of chunks. Bounded: of the chunks that were checked long ago it forgets the good ones, so that one that is named again
/// after hundreds of thousands of others is read again.
#[derive(Debug, Default)]
struct Book {
    recent: HashSet<Sized>,
    older: HashSet<Sized>,
    /// The findings about those that are not as they should be, as long as findings are kept.
    bad: HashMap<Sized, usize>,
    busy: HashMap<Sized, Arc<OnceCell<Option<usize>>>>,
}

impl Book {
    /// Whether a chunk is known to have been checked.
    fn knows(&self, chunk: &Sized) -> bool {
        self.bad.contains_key(chunk) || self.recent.contains(chunk) || self.older.contains(chunk)
    }

    fn keep(&mut self, chunk: Sized, found: Option<usize>) {
        self.busy.remove(&chunk);
        if let Some(at) = found {
            if at != usize::MAX {
                self.bad.insert(chunk, at);
            }
            return;
        }
        if self.recent.len() >= REMEMBERED {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(chunk);
    }
}

impl Chunks {
    /// How many were read, and their bytes.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// A chunk under its key, with its size.
type KeyedChunk = (MapKey, ChunkId, u64);

/// Cuts off the small chunks that are read together: at least one, if there is any.
fn first_group(chunks: &[KeyedChunk]) -> (&[KeyedChunk], &[KeyedChunk]) {
    let mut bytes = 0;
    let fits = |(_, _, size): &&KeyedChunk| {
        bytes += size;
        bytes <= TOGETHER_BYTES
    };
    let count = chunks.iter().take(TOGETHER).take_while(fits).count().max(1);
    chunks.split_at_checked(count).unwrap_or((chunks, &[]))
}

impl Verifier<'_> {
    /// Checks the chunks under the keys of one leaf; the numbers of the findings about them.
    pub(super) async fn check_chunks(&self, version: SnapshotId, chunks: Vec<KeyedChunk>) -> Result<Vec<usize>> {
        let (small, large): (Vec<_>, Vec<_>) = chunks.into_iter().partition(|(_, _, size)| *size <= SMALL);
        let mut findings = Vec::new();
        let mut rest = small.as_slice();
        while !rest.is_empty() {
            let group;
            (group, rest) = first_group(rest);
            let read = self.read_together(group).await?;
            for ((key, id, size), found) in group.iter().zip(read) {
                findings.extend(self.check_chunk(version, key.clone(), (*id, *size), found).await?);
            }
        }
        let checks = large.into_iter().map(|(key, id, size)| self.check_chunk(version, key, (id, size), None));
        let found: Vec<_> = stream::iter(checks).buffered(WIDE).try_collect().await?;
        findings.extend(found.into_iter().flatten());
        Ok(findings)
    }

    /// Reads small chunks in one request, but for those that are checked already.
    async fn read_together(&self, group: &[KeyedChunk]) -> Result<Vec<Option<Result<Bytes>>>> {
        let wanted: Vec<Option<Sized>> = {
            let book = lock(&self.chunks.book);
            group.iter().map(|(_, id, size)| Some((*id, *size)).filter(|chunk| !book.knows(chunk))).collect()
        };
        let asked: Vec<Sized> = wanted.iter().flatten().copied().collect();
        let _permit = self.permit(asked.iter().map(|(_, size)| size).sum()).await?;
        let mut read = self.repository.chunks().read_many(&asked).await.into_iter();
        Ok(wanted.into_iter().map(|chunk| chunk.and_then(|_| read.next())).collect())
    }

    /// Checks the chunk under a key, which may have been `read` already; the number of the finding about it.
    async fn check_chunk(&self, version: SnapshotId, key: MapKey, chunk: Sized, read: Option<Result<Bytes>>) -> Result<Option<usize>> {
        let found = self.chunk_once(chunk, read).await?;
        if let Some(at) = found {
            self.findings.affect(at, key.as_str());
            self.findings.reach(at, version);
        }
        Ok(found)
    }

    async fn chunk_once(&self, chunk: Sized, read: Option<Result<Bytes>>) -> Result<Option<usize>> {
        let cell = {
            let mut book = lock(&self.chunks.book);
            if book.knows(&chunk) {
                return Ok(book.bad.get(&chunk).copied());
            }
            book.busy.entry(chunk).or_default().clone()
        };
        let found = *cell.get_or_try_init(|| self.judge_chunk(chunk, read)).await?;
        lock(&self.chunks.book).keep(chunk, found);
        Ok(found)
    }

    /// Waits until so many bytes may be read.
    async fn permit(&self, bytes: u64) -> Result<SemaphorePermit<'_>> {
        let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX).clamp(1, READ_MIB);
        self.permits.acquire_many(mib).await.map_err(|e| Error::internal("reads were closed").caused_by(e))
    }

    async fn judge_chunk(&self, (id, size): Sized, read: Option<Result<Bytes>>) -> Result<Option<usize>> {
        let checked = if let Some(read) = read {
            read.map(drop)
        } else {
            let _permit = self.permit(size.min(CHECK_COST)).await?;
            self.repository.chunks().check(&id, size).await
        };
        let (kind, error) = match checked {
            Ok(()) => {
                self.chunks.count.fetch_add(1, Ordering::Relaxed);
                self.chunks.bytes.fetch_add(size, Ordering::Relaxed);
                self.repository.advance(1, size);
                return Ok(None);
            }
            Err(e) if e.kind() == ErrorKind::NotFound => (FindingKind::Missing, e),
            Err(e) if is_damage(&e) => (FindingKind::Corrupt, e),
            Err(e) => return Err(e),
        };
        Ok(Some(self.findings.add(Finding::new(kind, ObjectName::chunk(&id), error.to_string()))))
    }
}
