//! Stages the files of a directory, or the objects of a bucket, in a session.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};

use super::cache::{CacheRows, ImportCache};
use super::files::{Begun, OpenFile, READERS};
use super::load::{Content, Loaded, Loader};
use super::source::{ImportSource, Incoming};
use crate::budget::Share;
use crate::chunk::Keep;
use crate::error::Result;
use crate::format::Entry;
use crate::key::{Key, Prefix};
use crate::session::WriteSession;

/// Which files of a directory, or objects of a bucket, are staged, and where. The default: every file, its path as the key, and
/// nothing is deleted.
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
    /// Those that may differ from what is stored. An object is skipped when its size and its strong `ETag` are those of an earlier import,
    /// and the content it had then is what the branch has under its key. A file is skipped when its size, dates (of its content and of its inode),
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

    /// What may be relied on of earlier imports of `source`.
    pub(super) async fn known(&self, source: &ImportSource) -> Result<Arc<CacheRows>> {
        match &self.cache {
            Some(cache) if self.reading == Reading::Changed => cache.rows(source.clone()).await.map(Arc::new),
            _ => Ok(Arc::default()),
        }
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
pub(super) struct Import {
    pub(super) counts: TreeSummary,
    pub(super) seen: HashSet<Key>,
    pub(super) learned: CacheRows,
    /// Files to be read although nothing of them has changed.
    again: Vec<Incoming>,
    /// Whether all keys are wanted in `seen`.
    notes_keys: bool,
}

impl Import {
    /// One that notes every key.
    pub(super) fn noting_keys() -> Self {
        Self { notes_keys: true, ..Self::default() }
    }
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

    /// Stages every file below `directory`, as [`import`](Self::import) does, and is cancelled like it.
    pub async fn import_tree(&self, directory: impl Into<PathBuf>, options: &TreeOptions) -> Result<TreeSummary> {
        self.import(&ImportSource::directory(directory), options).await
    }

    /// Stages every file of a directory, or every object of a bucket, in parallel and in bounded memory.
    ///
    /// Symbolic links are followed. Returns `Invalid`, naming the path, for a loop of links, for a name that is not a valid key, and for
    /// anything that is neither a file nor a directory. Only empty directories are skipped; they are counted. A file that changes
    /// while it is read is `SourceChanged`, and so is an object that has another size than the listing said. Each object is
    /// read by one request, so its bytes are of one state of it.
    ///
    /// After an error, or if the future is dropped, some of the files are staged, each as a whole: drop the session, or repeat the
    /// import.
    pub async fn import(&self, source: &ImportSource, options: &TreeOptions) -> Result<TreeSummary> {
        let known = options.known(source).await?;
        let (found, end) = source.find(options.prefix.clone());
        let mut import = Import::default();
        self.import_found(found, &known, options, &mut import).await?;
        let Import { mut counts, seen, learned, .. } = import;
        counts.empty_directories += end.await?;
        if options.leftovers == Leftovers::Delete {
            counts.deleted = self.delete_others(&seen, options).await?;
        }
        if let (Some(cache), Effect::Stage) = (&options.cache, self.effect_of(options)) {
            cache.learn(source.clone(), learned).await?;
        }
        Ok(counts)
    }

    /// Stages what is found.
    pub(super) async fn import_found(
        &self,
        found: impl Stream<Item = Result<Incoming>> + Send,
        known: &Arc<CacheRows>,
        options: &TreeOptions,
        import: &mut Import,
    ) -> Result<()> {
        self.uploads.resume().await;
        let (budget, effect) = (self.uploads.budget().clone(), self.effect_of(options));
        let loader = Loader::new(self.base().clone(), budget, Arc::clone(known), options.cache.is_some(), effect);
        self.load_all(found, &loader, options, import).await?;
        let again = stream::iter(std::mem::take(&mut import.again)).map(Ok);
        self.load_all(again, &loader.reading_all(), options, import).await
    }

    fn effect_of(&self, options: &TreeOptions) -> Effect {
        if self.stores { options.effect } else { Effect::Count }
    }

    /// Stages what is found, some of it at a time.
    async fn load_all(
        &self,
        found: impl Stream<Item = Result<Incoming>> + Send,
        loader: &Loader,
        options: &TreeOptions,
        import: &mut Import,
    ) -> Result<()> {
        let loads = found.map(|found| {
            let loader = loader.clone();
            async move { loader.load(found?).await }
        });
        let mut loads = std::pin::pin!(loads.buffer_unordered(READERS));
        while let Some(loaded) = self.next_or_failure(&mut loads).await? {
            let Loaded { found, content, row, share } = loaded;
            let Some(entry) = content.entry() else {
                import.counts.empty_directories += 1;
                continue;
            };
            if matches!(content, Content::Unchanged(_)) && self.entry(found.key()).await?.as_ref() != Some(&entry) {
                // Something else is staged on top of what was skipped.
                import.again.push(found);
                continue;
            }
            self.take(found.key(), &entry, content, share, options.effect, &mut import.counts).await?;
            self.base().repository().advance(1, entry.size());
            import.learned.extend(row.map(|row| (found.name().to_owned(), row)));
            if import.notes_keys || options.leftovers == Leftovers::Delete {
                import.seen.insert(found.key().clone());
            }
        }
        Ok(())
    }

    /// Deletes what is below the prefix and not among the keys `seen`; returns how many keys.
    pub(super) async fn delete_others(&self, seen: &HashSet<Key>, options: &TreeOptions) -> Result<u64> {
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

    /// Counts one file or object, which makes `entry`, and stages it if it differs from what is there.
    async fn take(
        &self,
        key: &Key,
        entry: &Entry,
        content: Content,
        share: Option<Share>,
        effect: Effect,
        counts: &mut TreeSummary,
    ) -> Result<()> {
        counts.files += 1;
        counts.bytes += entry.size();
        if matches!(content, Content::Unchanged(_)) {
            counts.skipped += 1;
            return Ok(());
        }
        counts.bytes_read += entry.size();
        let before = self.entry(key).await?;
        counts.added += u64::from(before.is_none());
        counts.changed += u64::from(before.as_ref().is_some_and(|before| before != entry));
        if effect == Effect::Stage && before.as_ref() != Some(entry) {
            match content {
                Content::Inline(bytes) => self.set(key, bytes).await?,
                Content::Hashed(hashed) => self.set_hashed(key, hashed, share).await?,
                Content::Stored(entry) => self.set_stored(key, entry).await?,
                Content::Unchanged(_) | Content::Nothing => {}
            }
        }
        Ok(())
    }
}
