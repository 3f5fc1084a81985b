//! What is stored under a key, and what is pinned of a file, as several verbs show them.

use data_encoding::HEXLOWER;
use serde::Serialize;

use firnline::{Container, Entry, Result, Validator};

/// What is stored under a key. Fields that a kind does not have are absent.
#[derive(Debug, Serialize)]
pub(super) struct Value {
    /// `inline`, `chunk` or `virtual`; `directory` and `file` where there are such.
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    /// Of a chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// Of a virtual entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<u64>,
}

impl Value {
    /// The value of an entry of a snapshot with these containers.
    pub(super) fn of(entry: &Entry, containers: &[Container]) -> Result<Self> {
        let url = entry.file().map(|file| file.url(containers)).transpose()?;
        Ok(Self::with_url(entry, url))
    }

    /// The value of an entry, with the URL of its file if it is virtual.
    pub(super) fn with_url(entry: &Entry, url: Option<String>) -> Self {
        let (id, offset) = match entry {
            Entry::Inline(_) => (None, None),
            Entry::Chunk { id, .. } => (Some(id.to_string()), None),
            Entry::Virtual { offset, .. } => (None, Some(*offset)),
        };
        Self { kind: entry.kind().word(), size: Some(entry.size()), id, url, offset }
    }

    pub(super) const fn directory() -> Self {
        Self { kind: "directory", size: None, id: None, url: None, offset: None }
    }

    pub(super) const fn file(size: u64) -> Self {
        Self { kind: "file", size: Some(size), id: None, url: None, offset: None }
    }

    /// Kind and size.
    pub(super) fn brief(&self) -> String {
        let size = self.size.map(|size| format!(" {size}")).unwrap_or_default();
        format!("{}{size}", self.kind)
    }
}

/// How a file is recognised. What is not known of it is null.
#[derive(Debug, Serialize)]
pub(super) struct Pin {
    pub(super) size: Option<u64>,
    pub(super) modified: Option<String>,
    pub(super) pinned_at: String,
    /// Whether enough is recorded to notice a change.
    pub(super) pinned: bool,
    /// Whether it had changed so shortly before it was pinned that another change may not show in its date.
    pub(super) racy: bool,
    pub(super) etag: Option<String>,
    pub(super) version: Option<String>,
    /// The multihash of the whole file, in hexadecimal.
    pub(super) digest: Option<String>,
}

impl Pin {
    pub(super) fn of(validator: Validator) -> Self {
        let (pinned, racy) = (validator.is_pinned(), validator.is_racy());
        let Validator { size, modified, etag, version, digest, pinned_at } = validator;
        Self {
            size,
            modified: modified.map(|time| time.to_string()),
            pinned_at: pinned_at.to_string(),
            pinned,
            racy,
            etag: etag.map(|etag| String::from_utf8_lossy(&etag).into_owned()),
            version,
            digest: digest.as_deref().map(|bytes| HEXLOWER.encode(bytes)),
        }
    }

    /// What is known, in words.
    pub(super) fn brief(&self) -> String {
        let size = self.size.map(|size| format!("{size} bytes"));
        let modified = self.modified.as_ref().map(|time| format!("modified {time}"));
        let etag = self.etag.as_ref().map(|etag| format!("etag {etag}"));
        let version = self.version.as_ref().map(|version| format!("version {version}"));
        let digest = self.digest.as_ref().map(|digest| format!("digest {digest}"));
        let racy = self.racy.then(|| "racy".to_owned());
        let known = [size, modified, etag, version, digest, racy].into_iter().flatten();
        let since = if self.pinned { "pinned" } else { "not pinned, only known to be unmodified since" };
        known.chain([format!("{since} {}", self.pinned_at)]).collect::<Vec<_>>().join(", ")
    }
}
