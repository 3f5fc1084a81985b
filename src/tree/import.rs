//! A directory becomes staged changes of a session.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::walk::{Found, Walk};
use super::{blocking, io_error};
use crate::chunk::Hashed;
use crate::error::{Error, Result};
use crate::format::Entry;
use crate::key::{Key, Prefix};
use crate::session::WriteSession;

/// How many files are read and hashed at once.
const READERS: usize = 16;
/// How many bytes of files are held while they are read and hashed, in KiB; a larger file waits until it is alone.
const BUDGET_KIB: u32 = 256 << 10;
/// How many staged bytes may be on their way to the store before reading waits for them.
const UPLOAD_BUDGET: u64 = 256 << 20;

/// What of a directory is staged, and where. The default: every file, its path as the key, and nothing is deleted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TreeOptions {
    /// Where the files go. Default: the root.
    pub prefix: Prefix,
    /// What becomes of keys below [`prefix`](Self::prefix) that the directory does not have. Default: they stay.
    pub leftovers: Leftovers,
    /// Whether anything is staged. Default: it is.
    pub effect: Effect,
}

/// What becomes of keys that an imported directory does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Leftovers {
    /// They stay.
    #[default]
    Keep,
    /// They are deleted, so that the prefix mirrors the directory.
    Delete,
}

/// Whether an operation acts or only says what it would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effect {
    /// It acts.
    #[default]
    Stage,
    /// It only counts, and writes nothing.
    Count,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self { prefix: Prefix::all(), leftovers: Leftovers::default(), effect: Effect::default() }
    }
}

impl TreeOptions {
    /// Puts the files below `prefix`.
    #[must_use]
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Deletes the keys below the prefix that the directory does not have.
    #[must_use]
    pub fn mirror(mut self) -> Self {
        self.leftovers = Leftovers::Delete;
        self
    }

    /// Only counts, and stages nothing.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.effect = Effect::Count;
        self
    }
}

/// What an import found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TreeSummary {
    /// Files of the directory, each of them one key.
    pub files: u64,
    /// Their length together, in bytes.
    pub bytes: u64,
    /// Keys that did not exist before.
    pub added: u64,
    /// Keys that held something else before.
    pub changed: u64,
    /// Keys that were deleted, because the directory does not have them.
    pub deleted: u64,
    /// Empty directories, of which nothing is stored.
    pub empty_directories: u64,
}

/// A file that has been read.
enum Loaded {
    Inline(Bytes),
    Hashed(Hashed),
}

impl Loaded {
    fn entry(&self) -> Entry {
        match self {
            Self::Inline(bytes) => Entry::Inline(bytes.clone()),
            Self::Hashed(hashed) => Entry::Chunk { id: hashed.id(), size: hashed.size() },
        }
    }
}

impl WriteSession {
    /// Stages the bytes of one file under `key`; returns how many there are. `SourceChanged` if it changes meanwhile.
    pub async fn set_file(&mut self, key: &Key, path: impl Into<PathBuf>) -> Result<u64> {
        let path = path.into();
        let bytes = blocking(move || read_unchanged(&path)).await?;
        let size = bytes.len() as u64;
        self.set(key, bytes).await?;
        Ok(size)
    }

    /// Stages every file below `directory`, in parallel and in bounded memory.
    ///
    /// Symbolic links are followed; a loop of them, a name that is no valid key, and what is neither file nor
    /// directory are `Invalid`, naming the path: nothing is skipped but empty directories, which are counted. A file
    /// that changes while it is read is `SourceChanged`. After an error part of the tree is staged: drop the session.
    pub async fn import_tree(&mut self, directory: impl Into<PathBuf>, options: &TreeOptions) -> Result<TreeSummary> {
        let mut counts = TreeSummary::default();
        let mut seen = HashSet::new();
        let (found, walk) = walk(directory.into(), options.prefix.clone());
        let chunks = self.base().repository().chunks().clone();
        let budget = Arc::new(Semaphore::new(BUDGET_KIB as usize));
        let files = stream::unfold(found, |mut found| async move { found.recv().await.map(|next| (next, found)) });
        let loads = files.map(|found| {
            let (chunks, budget) = (chunks.clone(), budget.clone());
            async move {
                let permit = reserve(budget, found.size).await?;
                let (path, key) = (found.path, found.key);
                let inline = Entry::inline_limit(key.as_str());
                let bytes = blocking(move || read_unchanged(&path)).await?;
                let loaded = if bytes.len() <= inline { Loaded::Inline(bytes) } else { Loaded::Hashed(chunks.hash(bytes).await?) };
                Ok::<_, Error>((key, loaded, permit))
            }
        });
        let mut loads = std::pin::pin!(loads.buffer_unordered(READERS));
        let mut under_way = 0;
        while let Some(loaded) = loads.next().await {
            let (key, loaded, permit) = loaded?;
            let size = self.take(&key, loaded, options.effect, &mut counts).await?;
            if options.leftovers == Leftovers::Delete {
                seen.insert(key);
            }
            drop(permit);
            under_way += size;
            if under_way > UPLOAD_BUDGET {
                self.flush().await?;
                under_way = 0;
            }
        }
        counts.empty_directories = walk.await?;
        if options.leftovers == Leftovers::Delete {
            for (key, _) in self.list(&options.prefix).await? {
                if !seen.contains(&key) {
                    counts.deleted += 1;
                    if options.effect == Effect::Stage {
                        self.delete(&key).await?;
                    }
                }
            }
        }
        Ok(counts)
    }

    /// Counts one file and stages it if it differs from what is there; returns its length.
    async fn take(&mut self, key: &Key, loaded: Loaded, effect: Effect, counts: &mut TreeSummary) -> Result<u64> {
        let entry = loaded.entry();
        let before = self.entry(key).await?;
        counts.files += 1;
        counts.bytes += entry.size();
        counts.added += u64::from(before.is_none());
        counts.changed += u64::from(before.as_ref().is_some_and(|before| *before != entry));
        if effect == Effect::Stage && before.as_ref() != Some(&entry) {
            match loaded {
                Loaded::Inline(bytes) => self.set(key, bytes).await?,
                Loaded::Hashed(hashed) => self.set_hashed(key, hashed).await?,
            }
        }
        Ok(entry.size())
    }
}

/// Walks `directory` on a thread of its own; the files come through the channel, the end or the error at the end.
fn walk(directory: PathBuf, prefix: Prefix) -> (mpsc::Receiver<Found>, impl Future<Output = Result<u64>>) {
    let (sender, receiver) = mpsc::channel(1024);
    let walk = blocking(move || Walk::new(prefix, |found| sender.blocking_send(found).is_ok()).run(&directory));
    // Spawned at once: the channel must fill while nobody awaits the end.
    let walk = tokio::spawn(walk);
    let end = async move {
        match walk.await {
            Ok(done) => done,
            Err(e) => Err(Error::internal("the walk through a directory did not run to its end").caused_by(e)),
        }
    };
    (receiver, end)
}

async fn reserve(budget: Arc<Semaphore>, size: u64) -> Result<OwnedSemaphorePermit> {
    let kib = u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, BUDGET_KIB);
    budget.acquire_many_owned(kib).await.map_err(|e| Error::internal("the reading of files was closed").caused_by(e))
}

/// Reads a whole file, and makes sure on the same descriptor that it did not change meanwhile.
fn read_unchanged(path: &Path) -> Result<Bytes> {
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
    Ok(bytes.into())
}
