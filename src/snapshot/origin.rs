//! Where a value comes from, and whether a name means a key or a prefix.

use futures::TryStreamExt;

use super::Snapshot;
use crate::error::{Error, Result};
use crate::format::{Container, Entry, VirtualFile};
use crate::key::{Key, Prefix};

/// How a value is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EntryKind {
    /// In the manifest itself.
    Inline,
    /// As a chunk of this repository.
    Chunk,
    /// As a range of an external file.
    Virtual,
}

impl EntryKind {
    /// The word for it in listings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Chunk => "chunk",
            Self::Virtual => "virtual",
        }
    }
}

impl Entry {
    /// How the value is kept.
    pub const fn kind(&self) -> EntryKind {
        match self {
            Self::Inline(_) => EntryKind::Inline,
            Self::Chunk { .. } => EntryKind::Chunk,
            Self::Virtual { .. } => EntryKind::Virtual,
        }
    }
}

/// Where the value of a key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// What is stored under the key.
    pub entry: Entry,
    /// Where a virtual value lies, and in what state its file was pinned.
    pub source: Option<Source>,
}

/// The external file in which a virtual value lies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Source {
    /// Where it lies, by the template of its container.
    pub url: String,
    /// Its container.
    pub container: Container,
    /// What was pinned of it, and how many references and bytes depend on it.
    pub record: VirtualFile,
}

/// What a name means in a snapshot: a key, or the directory of all keys below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyOrPrefix {
    /// A key that exists.
    Key(Key),
    /// A prefix below which keys exist, or that of everything.
    Prefix(Prefix),
}

impl KeyOrPrefix {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Key(key) => key.as_str(),
            Self::Prefix(prefix) => prefix.as_str(),
        }
    }
}

impl Snapshot {
    /// Where the value of `key` comes from, without reading it; `None` when there is none.
    pub async fn origin(&self, key: &Key) -> Result<Option<Origin>> {
        let Some(entry) = self.entry(key).await? else { return Ok(None) };
        let Some(file) = entry.file() else { return Ok(Some(Origin { entry, source: None })) };
        let containers = &self.record().containers;
        let url = file.url(containers)?;
        let container = containers.iter().find(|c| c.name == file.container()).cloned();
        let record = self.file_map().find(file.as_map_key().as_str()).await?;
        let (Some(container), Some(record)) = (container, record) else {
            return Err(Error::corrupt(format!("{key} lies in {file}, which the files map does not list")));
        };
        Ok(Some(Origin { source: Some(Source { url, container, record }), entry }))
    }

    /// Whether anything lies below `prefix`.
    pub async fn has_below(&self, prefix: &Prefix) -> Result<bool> {
        let mut below = std::pin::pin!(self.list(prefix));
        Ok(below.try_next().await?.is_some())
    }

    /// What `name` means here: a key if there is one, else the directory of that name.
    ///
    /// With a final `/` it is always a directory, and the empty string is the directory of everything. `NotFound` when
    /// nothing lies at or below it.
    pub async fn find_named(&self, name: &str) -> Result<KeyOrPrefix> {
        if !name.is_empty() && !name.ends_with('/') {
            let key = Key::new(name)?;
            if self.entry(&key).await?.is_some() {
                return Ok(KeyOrPrefix::Key(key));
            }
        }
        let prefix = Prefix::new(name)?;
        if prefix == Prefix::all() || self.has_below(&prefix).await? {
            return Ok(KeyOrPrefix::Prefix(prefix));
        }
        Err(Error::not_found(format!("nothing lies at or below {name} in snapshot {}", self.id())))
    }
}
