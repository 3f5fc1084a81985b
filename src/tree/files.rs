//! The files of a directory, found and read in parallel and in bounded memory.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::cache::Facts;
use super::walk::{Found, Walk};
use super::{blocking, io_error};
use crate::error::{Error, Result};
use crate::key::Prefix;

/// How many files are read and hashed at once.
pub(super) const READERS: usize = 16;
/// How many bytes of files are held while they are read and hashed, in KiB; a larger file waits until it is alone.
const BUDGET_KIB: u32 = 256 << 10;

/// What may be held at once.
pub(super) fn budget() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(BUDGET_KIB as usize))
}

/// Walks `directory` on a thread of its own. The files come as a stream, the number of empty directories at
/// the end.
pub(super) fn walk(
    directory: PathBuf,
    prefix: Prefix,
) -> (impl Stream<Item = Result<Found>> + Send, impl Future<Output = Result<u64>> + Send) {
    let (sender, receiver) = mpsc::channel(1024);
    let found = stream::unfold(receiver, |mut found| async move { found.recv().await.map(|next| (next, found)) });
    let walk = blocking(move || Walk::new(prefix, |found| sender.blocking_send(found).is_ok()).run(&directory));
    // Spawned at once: the channel must fill while nobody awaits the end.
    let walk = tokio::spawn(walk);
    let end = async move {
        match walk.await {
            Ok(done) => done,
            Err(e) => Err(Error::internal("the walk through a directory did not run to its end").caused_by(e)),
        }
    };
    (found, end)
}

/// Waits until a file of `size` bytes may be read.
pub(super) async fn reserve(budget: Arc<Semaphore>, size: u64) -> Result<OwnedSemaphorePermit> {
    let kib = u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, BUDGET_KIB);
    budget.acquire_many_owned(kib).await.map_err(|e| Error::internal("the reading of files was closed").caused_by(e))
}

/// Reads a whole file, and makes sure on the same descriptor that it did not change meanwhile.
pub(super) fn read_unchanged(path: &Path) -> Result<Bytes> {
    read_with_facts(path).map(|(bytes, _)| bytes)
}

/// Like [`read_unchanged`], with what tells when the file is written to again: of the descriptor that was read, if none of
/// it changed meanwhile.
pub(super) fn read_with_facts(path: &Path) -> Result<(Bytes, Option<Facts>)> {
    let failed = |e| io_error(path, "cannot be read", e);
    let mut file = File::open(path).map_err(failed)?;
    let before = file.metadata().map_err(failed)?;
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
    file.read_to_end(&mut bytes).map_err(failed)?;
    let after = file.metadata().map_err(failed)?;
    let same_date = before.modified().ok() == after.modified().ok();
    if !same_date || before.len() != after.len() || bytes.len() as u64 != after.len() {
        return Err(Error::source_changed(format!("{} changed while it was read", path.display())));
    }
    let facts = Facts::of(&before);
    Ok((bytes.into(), (facts == Facts::of(&after)).then_some(facts)))
}
