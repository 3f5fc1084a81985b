//! A snapshot: one stored state of a repository, whose canonical form is the IPLD block called the commit.

mod at_rest;
mod canonical;
mod check;

use std::collections::BTreeMap;

use crate::error::Result;
use crate::id::{HashAlgorithm, NodeId, SnapshotId};
use crate::time::Timestamp;

pub(crate) use at_rest::{Roots, SnapshotObject};
pub(in crate::format) use canonical::{read_container, write_container};

/// A place in which external files lie: literal text with placeholders for what differs from file to file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Unique in a snapshot.
    pub name: String,
    /// Literal text and `{name}` or `{}` placeholders, with literal text between any two.
    pub template: String,
    /// Values written into the template before it is matched, by placeholder name.
    pub defaults: BTreeMap<String, String>,
    /// What a client needs beside the address (region, endpoint, anonymous…); never a secret.
    pub options: BTreeMap<String, String>,
}

/// Everything that a snapshot says: the record, which holds no handle to any store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The root of the manifest.
    pub manifest: NodeId,
    /// The root of the virtual-file manifest.
    pub files: NodeId,
    /// The root of the history map: every proper ancestor on the first-parent line, back to [`since`](Self::since).
    pub history: NodeId,
    /// The parents; the first is the one the history map follows. The initial snapshot has none.
    pub parents: Vec<SnapshotId>,
    /// The history map reaches back only to this time, because what came before is not in this repository.
    pub since: Option<Timestamp>,
    /// The containers, sorted by name.
    pub containers: Vec<Container>,
    /// The templates of every container ever used on this line, sorted; only grows.
    pub places: Vec<String>,
    /// When it was committed; later than every parent.
    pub time: Timestamp,
    /// What was done, for people.
    pub message: String,
    /// Who did it.
    pub author: Option<String>,
    /// Anything else, by name.
    pub meta: BTreeMap<String, String>,
}

impl Commit {
    /// The snapshot's canonical form; its hash is the snapshot's id.
    pub fn canonical(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads a canonical form; `hash` is that of the repository.
    ///
    /// Bytes that are no canonical commit, or one that no writer makes, are `Corrupt`; another format version, and ids of
    /// another hash, are `Unsupported`.
    pub fn decode_canonical(bytes: &[u8], hash: HashAlgorithm) -> Result<Self> {
        canonical::decode(bytes, hash)
    }

    /// Refuses as `Invalid` what would be refused when it is read: call it before storing a commit that was made here.
    pub fn check(&self) -> Result<()> {
        check::writable(self)
    }

    /// Refuses as `Invalid` a message, an author or metadata that no commit can have.
    pub(crate) fn check_texts(message: &str, author: Option<&str>, meta: &BTreeMap<String, String>) -> Result<()> {
        check::texts(message, author, meta)
    }

    /// The snapshot's id.
    pub fn id(&self, hash: HashAlgorithm) -> SnapshotId {
        SnapshotId::of(hash, &self.canonical())
    }

    /// The first line of the message, cut to at most 72 bytes at a character: what the history map shows.
    pub fn summary(&self) -> &str {
        let line = self.message.lines().next().unwrap_or_default();
        line.get(..line.floor_char_boundary(72)).unwrap_or(line)
    }
}
