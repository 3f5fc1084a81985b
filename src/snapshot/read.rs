//! Reading values, listing keys and files.

use std::ops::Range;

use bytes::Bytes;
use futures::{FutureExt, Stream, TryStreamExt};

use super::Snapshot;
use crate::error::{Error, Result};
use crate::format::{Entry, FileKey, VirtualFile};
use crate::key::{Key, MapKey, Prefix};
use crate::map::{Scan, Span};
use crate::virtuals::{CheckDepth, FileCheck};

/// An external file that a snapshot depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dependency {
    /// Its name inside the repository.
    pub file: FileKey,
    /// Where it lies, by the template of its container.
    pub url: String,
    /// What is known of it, and how many references and bytes depend on it.
    pub record: VirtualFile,
}

impl Snapshot {
    /// What is stored under `key`, without reading it.
    pub async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        match self.manifest().find(key.as_str()).await {
            Err(error) => Err(self.explained(error).await),
            found => found,
        }
    }

    /// The value of `key`; `None` when there is none.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        match self.entry(key).await? {
            Some(entry) => self.value_or_reason(key, &entry, None).await.map(Some),
            None => Ok(None),
        }
    }

    /// The bytes `range` of the value of `key`; `Invalid` when they lie past its end.
    pub async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Bytes>> {
        match self.entry(key).await? {
            Some(entry) => self.value_or_reason(key, &entry, Some(range)).await.map(Some),
            None => Ok(None),
        }
    }

    async fn value_or_reason(&self, key: &Key, entry: &Entry, range: Option<Range<u64>>) -> Result<Bytes> {
        match self.value_of(key, entry, range).await {
            Err(error) => Err(self.explained(error).await),
            value => value,
        }
    }

    /// Reads a value: verified against its id, or, if it is virtual, against what is known of its file.
    pub(crate) async fn value_of(&self, key: &Key, entry: &Entry, range: Option<Range<u64>>) -> Result<Bytes> {
        let range = within(key, entry, range)?;
        match entry {
            Entry::Inline(bytes) => Ok(slice(bytes, &range)),
            Entry::Chunk { id, size } => {
                let chunks = self.repository().chunks();
                chunks.read_range(id, *size, range).await.map_err(|e| e.context(key))
            }
            Entry::Virtual { file, offset, .. } => {
                let record = self.file_map().find(file.as_map_key().as_str()).await?;
                let record = record.ok_or_else(|| Error::corrupt(format!("{key} lies in {file}, which the files map does not list")))?;
                let range = offset + range.start..offset + range.end;
                self.repository().virtuals().read(&self.record().containers, file, &record, range, key.as_str()).await
            }
        }
    }

    /// Everything below `prefix`, in the order of the maps: digit runs as numbers.
    ///
    /// The stream does not borrow the snapshot, and reads nothing before the first entry is asked for. It ends after an error.
    pub fn list(&self, prefix: &Prefix) -> impl Stream<Item = Result<(Key, Entry)>> + Send + use<> {
        let entries = Scan::shared(self.nodes(), self.record().manifest, Span::prefix(prefix)).into_stream();
        let entries = explained(self.clone(), entries);
        entries.and_then(|(key, entry)| async move { Ok((Key::new(key.as_str())?, entry)) })
    }

    /// Every external file that this snapshot depends on, from the virtual-file manifest alone.
    ///
    /// The cost depends on the number of files, not of references. The stream does not borrow the snapshot.
    pub fn dependencies(&self) -> impl Stream<Item = Result<Dependency>> + Send + use<> {
        let entries = explained(self.clone(), Scan::shared(self.nodes(), self.record().files, Span::all()).into_stream());
        let snapshot = self.clone();
        entries.and_then(move |(key, record)| {
            let url = FileKey::from_map_key(&key).and_then(|file| Ok((file.url(&snapshot.record().containers)?, file)));
            async move { url.map(|(url, file)| Dependency { file, url, record }) }
        })
    }

    /// Checks whether an external file is still the one that was pinned, as far as this reader may ask.
    ///
    /// Asks the source once; where a digest is locked it is verified, which reads the whole file unless this process has done so
    /// before. A file that is not pinned is [`Unverifiable`](crate::FileState::Unverifiable) at best. A problem with the file is part
    /// of the answer, not an error. `Corrupt` and `Invalid` mean that the record itself is not valid.
    ///
    /// Changes nothing, so it can be cancelled at any moment.
    pub async fn check_dependency(&self, dependency: &Dependency) -> Result<FileCheck> {
        let Dependency { file, record, .. } = dependency;
        self.repository().virtuals().check(&self.record().containers, file, record, CheckDepth::Digest).await
    }

    /// Like [`check_dependency`](Self::check_dependency), but a locked digest is not verified: only what the source tells is compared,
    /// and no file is read. One that only its digest would tell from another is [`Unverifiable`](crate::FileState::Unverifiable).
    pub async fn check_dependency_by_facts(&self, dependency: &Dependency) -> Result<FileCheck> {
        let Dependency { file, record, .. } = dependency;
        self.repository().virtuals().check(&self.record().containers, file, record, CheckDepth::Facts).await
    }

    /// The entries directly below `prefix`: keys, and directories as prefixes, without reading what lies in them.
    pub async fn children(&self, prefix: &Prefix) -> Result<Vec<Child>> {
        match self.children_below(prefix).await {
            Err(error) => Err(self.explained(error).await),
            found => found,
        }
    }

    async fn children_below(&self, prefix: &Prefix) -> Result<Vec<Child>> {
        let mut scan = self.manifest().scan(Span::prefix(prefix));
        let mut found = Vec::new();
        while let Some((key, entry)) = scan.next().await? {
            let child = Child::of(prefix, &key, entry)?;
            if let Child::Directory(directory) = &child {
                scan.skip(directory);
            }
            found.push(child);
        }
        Ok(found)
    }
}

/// The items of a stream over a map of `snapshot`; its errors say if the data of the snapshot has expired.
pub(super) fn explained<T: Send>(snapshot: Snapshot, items: impl Stream<Item = Result<T>> + Send) -> impl Stream<Item = Result<T>> + Send {
    items.or_else(move |error| {
        let snapshot = snapshot.clone();
        async move { Err(snapshot.explained(error).await) }.boxed()
    })
}

/// The bytes of the value of `key` that are asked for: all, or a range that must lie inside.
pub(crate) fn within(key: &Key, entry: &Entry, range: Option<Range<u64>>) -> Result<Range<u64>> {
    let size = entry.size();
    match range.unwrap_or(0..size) {
        range if range.start > range.end || range.end > size => {
            Err(Error::invalid(format!("{key} has {size} bytes; {} to {} lie past its end", range.start, range.end)))
        }
        range => Ok(range),
    }
}

/// A part of bytes that are in memory.
pub(super) fn slice(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    let within = |n: u64| usize::try_from(n).expect("it is in memory");
    bytes.slice(within(range.start)..within(range.end))
}

/// What lies directly below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Child {
    /// A key and what is stored under it.
    Key(Key, Entry),
    /// Something below which there are keys.
    Directory(Prefix),
}

impl Child {
    /// What a key below `prefix` is, seen from there: the key itself, or the directory on the way to it.
    pub(crate) fn of(prefix: &Prefix, key: &MapKey, entry: Entry) -> Result<Self> {
        let rest = key.as_str().get(prefix.as_str().len()..).unwrap_or_default();
        match rest.split_once('/') {
            None => Ok(Self::Key(Key::new(key.as_str())?, entry)),
            Some((name, _)) => Ok(Self::Directory(Prefix::new(&format!("{}{name}", prefix.as_str()))?)),
        }
    }
}
