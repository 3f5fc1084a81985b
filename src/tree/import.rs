//! A directory becomes staged changes of a session.

use std::collections::HashSet;
use std::path::PathBuf;

use bytes::Bytes;
use futures::StreamExt;

use super::blocking;
use super::files::{READERS, budget, read_unchanged, reserve, walk};
use crate::chunk::Hashed;
use crate::error::{Error, Result};
use crate::format::Entry;
use crate::key::{Key, Prefix};
use crate::session::WriteSession;

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
        let budget = budget();
        let loads = found.map(|found| {
            let (chunks, budget) = (chunks.clone(), budget.clone());
            async move {
                let found = found?;
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
            self.base().repository().advance(1, size);
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
