//! Stages the files of a directory in a session.

use std::collections::HashSet;
use std::path::PathBuf;

use futures::{Stream, StreamExt as _, stream};

use super::cache::{CacheRows, ImportCache};
use super::files::{Begun, OpenFile, READERS, walk};
use super::load::{Content, Loaded, Loader};
use super::walk::Found;
use crate::budget::Share;
use crate::chunk::Keep;
use crate::error::Result;
use crate::key::{Key, Prefix};
use crate::session::WriteSession;

/// Which files of a directory are staged, and where. The default: every file, its path as the key, and nothing is deleted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TreeOptions {
    /// Where the files go. Default: the root.
    pub prefix: Prefix,
    /// What happens to keys below [`prefix`](Self::prefix) that the directory does not have. Default: they stay.
    pub leftovers: Leftovers,
    /// Whether anything is staged. Default: it is.
    pub effect: Effect,
    /// Where imports remember what they read. Default: nowhere, and every file is read.
    pub cache: Option<ImportCache>,
    /// Which files are read when there is a cache. Default: those that may have changed.
    pub reading: Reading,
}

/// Which files an import reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reading {
    /// Those that may differ from what is stored. A file is skipped when its size, dates (of its content and of its inode),
    /// device and inode are those of an earlier import, it lies on a local disk, and the content it had then is what the branch
    /// has under its key. It was left alone for two seconds before it was read then, by the clock of the repository.
    #[default]
    Changed,
    /// All of them.
    All,
}

/// What happens to keys that an imported directory does not have.
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
        Self { prefix: Prefix::all(), leftovers: Leftovers::default(), effect: Effect::default(), cache: None, reading: Reading::default() }
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

    /// Skips files that have not changed since an earlier import that remembered them in `cache`, and remembers them again.
    #[must_use]
    pub fn cache(mut self, cache: ImportCache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Reads every file, whatever a cache says.
    #[must_use]
    pub fn checksum(mut self) -> Self {
        self.reading = Reading::All;
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
    /// Files of those that were not read, because they are known to hold what is stored.
    pub skipped: u64,
    /// Bytes of the files that were read.
    pub bytes_read: u64,
    /// Empty directories, of which nothing is stored.
    pub empty_directories: u64,
}

/// How far an import has come.
#[derive(Default)]
struct Import {
    counts: TreeSummary,
    seen: HashSet<Key>,
    learned: CacheRows,
    /// Files to be read although nothing of them has changed.
    again: Vec<Found>,
}

impl WriteSession {
    /// Stages the bytes of one file, pipe or device under `key`, and returns how many there are. A value of 8 MiB or more is never
    /// held in memory: see [`set_reader`](Self::set_reader). For an object store a regular file is read twice instead of copied to
    /// scratch space.
    ///
    /// `SourceChanged` if a regular file changes meanwhile. Nothing is staged when the call fails or is cancelled.
    pub async fn set_file(&self, key: &Key, path: impl Into<PathBuf>) -> Result<u64> {
        let path = path.into();
        let file = OpenFile::open(&path).await?;
        match file.begin().await? {
            Begun::Whole(bytes, _) => {
                let size = bytes.len() as u64;
                self.set(key, bytes).await?;
                Ok(size)
            }
            Begun::Longer(head, mut reader) => {
                let repository = self.base().repository();
                let keep = if self.stores { file.keep(repository.chunks(), &repository.scratch()) } else { Keep::Nothing };
                let read = repository.chunks().read_stream(head, &mut reader, keep).await;
                let chunk = read.map_err(|e| e.context(path.display()))?;
                file.end(chunk.size()).await?;
                self.set_streamed(key, chunk).await
            }
        }
    }

    /// Stages every file below `directory`, in parallel and in bounded memory.
    ///
    /// Symbolic links are followed. Returns `Invalid`, naming the path, for a loop of links, for a name that is not a valid key, and for
    /// anything that is neither a file nor a directory. Only empty directories are skipped; they are counted. A file that changes
    /// while it is read is `SourceChanged`.
    ///
    /// After an error, or if the future is dropped, some of the files are staged, each as a whole: drop the session, or repeat the
    /// import.
    pub async fn import_tree(&self, directory: impl Into<PathBuf>, options: &TreeOptions) -> Result<TreeSummary> {
        let directory = directory.into();
        let known = match &options.cache {
            Some(cache) if options.reading == Reading::Changed => cache.rows(directory.clone()).await?,
            _ => CacheRows::new(),
        };
        self.uploads.resume().await;
        let budget = self.uploads.budget().clone();
        let effect = if self.stores { options.effect } else { Effect::Count };
        let source = Loader::new(self.base().clone(), budget, known, options.cache.is_some(), effect);
        let (found, walk) = walk(directory.clone(), options.prefix.clone());
        let mut import = Import::default();
        self.load_all(found, &source, options, &mut import).await?;
        let again = stream::iter(std::mem::take(&mut import.again)).map(Ok);
        self.load_all(again, &source.reading_all(), options, &mut import).await?;
        let Import { mut counts, seen, learned, .. } = import;
        counts.empty_directories = walk.await?;
        if options.leftovers == Leftovers::Delete {
            counts.deleted = self.delete_others(&seen, options).await?;
        }
        if let (Some(cache), Effect::Stage) = (&options.cache, effect) {
            cache.learn(directory, learned).await?;
        }
        Ok(counts)
    }

    /// Stages the files that are found, some of them at a time.
    async fn load_all(
        &self,
        found: impl Stream<Item = Result<Found>> + Send,
        source: &Loader,
        options: &TreeOptions,
        import: &mut Import,
    ) -> Result<()> {
        let loads = found.map(|found| {
            let source = source.clone();
            async move { source.load(found?).await }
        });
        let mut loads = std::pin::pin!(loads.buffer_unordered(READERS));
        while let Some(loaded) = self.next_or_failure(&mut loads).await? {
            let Loaded { found, content, row, share } = loaded;
            if let Content::Unchanged(entry) = &content
                && self.entry(&found.key).await?.as_ref() != Some(entry)
            {
                // Something else is staged on top of what was skipped.
                import.again.push(found);
                continue;
            }
            let size = self.take(&found.key, content, share, options.effect, &mut import.counts).await?;
            self.base().repository().advance(1, size);
            import.learned.extend(row.map(|row| (found.name, row)));
            if options.leftovers == Leftovers::Delete {
                import.seen.insert(found.key);
            }
        }
        Ok(())
    }

    /// Deletes what is below the prefix and not among the keys `seen`; returns how many keys.
    async fn delete_others(&self, seen: &HashSet<Key>, options: &TreeOptions) -> Result<u64> {
        let mut deleted = 0;
        for (key, _) in self.list(&options.prefix).await? {
            if !seen.contains(&key) {
                deleted += 1;
                if options.effect == Effect::Stage {
                    self.delete(&key).await?;
                }
            }
        }
        Ok(deleted)
    }

    /// Counts one file and stages it if it differs from what is there; returns its length.
    async fn take(&self, key: &Key, content: Content, share: Option<Share>, effect: Effect, counts: &mut TreeSummary) -> Result<u64> {
        let entry = content.entry();
        counts.files += 1;
        counts.bytes += entry.size();
        if matches!(content, Content::Unchanged(_)) {
            counts.skipped += 1;
            return Ok(entry.size());
        }
        counts.bytes_read += entry.size();
        let before = self.entry(key).await?;
        counts.added += u64::from(before.is_none());
        counts.changed += u64::from(before.as_ref().is_some_and(|before| *before != entry));
        if effect == Effect::Stage && before.as_ref() != Some(&entry) {
            match content {
                Content::Inline(bytes) => self.set(key, bytes).await?,
                Content::Hashed(hashed) => self.set_hashed(key, hashed, share).await?,
                Content::Stored(entry) => self.set_stored(key, entry).await?,
                Content::Unchanged(_) => {}
            }
        }
        Ok(entry.size())
    }
}
