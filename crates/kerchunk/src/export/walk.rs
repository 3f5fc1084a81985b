//! The entries of a snapshot in their order, each as one entry of a reference set.

use std::collections::VecDeque;
use std::pin::Pin;

use bytes::Bytes;
use firnline::{Entry, Error, ErrorKind, Key, Result, Snapshot};
use futures::{Stream, StreamExt as _, TryStreamExt as _};

use super::node::{Directory, ExportRole, is_metadata};
use super::options::{ExportOptions, ExportSummary, V3Metadata};
use super::place::{ByteRange, Places};

/// How many stored values are read at once.
const READ: usize = 16;

/// One entry of a reference set.
#[derive(Debug)]
pub(super) struct ExportEntry {
    /// The key in the set.
    pub(super) key: String,
    pub(super) value: ExportValue,
    pub(super) role: ExportRole,
}

/// What stands under a key of the set.
#[derive(Debug)]
pub(super) enum ExportValue {
    Bytes(Bytes),
    Range(ByteRange),
}

/// An entry of the snapshot, and its bytes unless it is virtual.
type Loaded = (Key, Entry, Option<Bytes>);

/// Reads a snapshot as the entries of a reference set.
pub(super) struct ExportWalk {
    snapshot: Snapshot,
    prefix: String,
    converts: bool,
    entries: Pin<Box<dyn Stream<Item = Result<Loaded>> + Send>>,
    places: Places,
    /// Innermost last. An array has none below. Empty where nothing is converted.
    directories: Vec<Directory>,
    /// What comes before the next entry of the snapshot.
    ready: VecDeque<ExportEntry>,
    is_done: bool,
    summary: ExportSummary,
}

impl ExportWalk {
    /// `NotFound` if nothing lies below the prefix, `Invalid` if it leads into an array.
    pub(super) async fn new(snapshot: &Snapshot, options: &ExportOptions) -> Result<Self> {
        let (reader, limit) = (snapshot.clone(), options.inline_limit);
        let entries = snapshot.list(&options.prefix).map_ok(move |(key, entry)| load(reader.clone(), key, entry, limit));
        let mut walk = Self {
            snapshot: snapshot.clone(),
            prefix: options.prefix.as_str().to_owned(),
            converts: options.v3_metadata == V3Metadata::Convert,
            entries: entries.try_buffered(READ).boxed(),
            places: Places::new(&snapshot.record().containers),
            directories: Vec::new(),
            ready: VecDeque::new(),
            is_done: false,
            summary: ExportSummary::default(),
        };
        if !snapshot.has_below(&options.prefix).await? {
            let below = if walk.prefix.is_empty() { String::new() } else { format!(" below {}", walk.prefix) };
            return Err(Error::not_found(format!("snapshot {} holds nothing{below}", snapshot.id())));
        }
        if walk.converts {
            walk.require_no_array_above().await?;
            walk.enter("").await?;
        }
        Ok(walk)
    }

    /// The next entry; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<ExportEntry>> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                self.count(&entry.value);
                return Ok(Some(entry));
            }
            if self.is_done {
                return Ok(None);
            }
            if let Some((key, entry, bytes)) = self.entries.try_next().await? {
                self.admit(&key, &entry, bytes).await?;
            } else {
                self.is_done = true;
                self.leave(|_| true)?;
            }
        }
    }

    /// What was written, once everything was.
    pub(super) fn finish(mut self) -> ExportSummary {
        self.summary.notes.extend(self.places.into_notes());
        self.summary
    }

    fn count(&mut self, value: &ExportValue) {
        match value {
            ExportValue::Range(_) => self.summary.references += 1,
            ExportValue::Bytes(bytes) => {
                self.summary.values += 1;
                self.summary.value_bytes = self.summary.value_bytes.saturating_add(bytes.len() as u64);
            }
        }
    }

    // Not `&self`, which would keep the future from being `Send`.
    async fn require_no_array_above(&mut self) -> Result<()> {
        for (at, _) in self.prefix.match_indices('/').filter(|(at, _)| at + 1 < self.prefix.len()) {
            let above = self.prefix.get(..=at).unwrap_or_default();
            if Directory::read(&self.snapshot, "", above).await?.is_array() {
                return Err(Error::invalid(format!("{} lies inside of the array {above}; export the array", self.prefix)));
            }
        }
        Ok(())
    }

    /// Turns an entry of the snapshot into entries of the set.
    async fn admit(&mut self, key: &Key, entry: &Entry, bytes: Option<Bytes>) -> Result<()> {
        let name = key.as_str().get(self.prefix.len()..).unwrap_or_default();
        self.leave(|directory| !name.starts_with(directory))?;
        self.descend(name).await?;
        let value = match bytes {
            Some(bytes) => ExportValue::Bytes(bytes),
            None => ExportValue::Range(ByteRange::of(entry, &mut self.places).map_err(|e| e.context(key))?),
        };
        let placed = match self.directories.last_mut() {
            Some(directory) => directory.place(name).map_err(|e| e.context(key))?,
            None => Some((name.to_owned(), ExportRole::Other)),
        };
        let Some((name, role)) = placed else { return Ok(()) };
        if matches!(entry, Entry::Chunk { .. }) && !is_metadata(key.as_str()) {
            self.summary.stored_chunks += 1;
        }
        self.ready.push_back(ExportEntry { key: name, value, role });
        Ok(())
    }

    /// Enters the directories between the last one and a key.
    async fn descend(&mut self, name: &str) -> Result<()> {
        while let Some(inner) = self.directories.last().filter(|inner| !inner.is_array()) {
            let len = inner.name.len();
            let Some(more) = name.get(len..).and_then(|rest| rest.find('/')) else { break };
            self.enter(name.get(..=len + more).unwrap_or_default()).await?;
        }
        Ok(())
    }

    async fn enter(&mut self, name: &str) -> Result<()> {
        let directory = Directory::read(&self.snapshot, &self.prefix, name).await?;
        self.push_documents(directory.opening());
        self.directories.push(directory);
        Ok(())
    }

    /// Leaves the directories, innermost first, of which `is_left` says so by their names.
    fn leave(&mut self, is_left: impl Fn(&str) -> bool) -> Result<()> {
        while let Some(directory) = self.directories.pop_if(|directory| is_left(&directory.name)) {
            let (documents, note) = directory.closing()?;
            self.push_documents(documents);
            self.summary.notes.extend(note);
        }
        Ok(())
    }

    fn push_documents(&mut self, documents: Vec<(String, String)>) {
        let entries = documents.into_iter().map(|(key, text)| ExportEntry {
            key,
            value: ExportValue::Bytes(text.into()),
            role: ExportRole::Metadata,
        });
        self.ready.extend(entries);
    }
}

/// Reads the value of an entry that the set has to hold itself.
async fn load(snapshot: Snapshot, key: Key, entry: Entry, limit: u64) -> Result<Loaded> {
    let bytes = match &entry {
        Entry::Virtual { .. } => None,
        Entry::Inline(bytes) => Some(bytes.clone()),
        Entry::Chunk { size, .. } if *size > limit && !is_metadata(key.as_str()) => {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "{key} is a chunk of {size} bytes in the repository itself, which has no URL; raise the inline limit, \
                     which is {limit} bytes, to write it into the set"
                ),
            ));
        }
        Entry::Chunk { .. } => snapshot.get(&key).await?,
    };
    Ok((key, entry, bytes))
}
