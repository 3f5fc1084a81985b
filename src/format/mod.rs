//! What is stored, as values and as bytes: pure codecs without I/O.
//!
//! Every object has two forms. The *canonical* form is strict DAG-CBOR, and its hash is the object's id; the form
//! *at rest* is columns (of a snapshot: a `FlatBuffer`) in an envelope, and may change without changing an id.

mod changes;
mod column;
mod envelope;
mod file;
mod fork;
#[cfg(feature = "testing")]
pub(crate) mod fuzzed;
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    dead_code,
    mismatched_lifetime_syntaxes,
    missing_docs,
    unreachable_pub,
    unsafe_code,
    unused_imports,
    reason = "made by flatc; see schema/README.md"
)]
#[rustfmt::skip]
mod generated;
pub(crate) mod limits;
mod node;
mod repo;
mod snapshot;
mod strings;
#[cfg(test)]
mod tests;

/// The most bytes that a stored snapshot has.
pub(crate) const MOST_SNAPSHOT: u64 = envelope::Kind::Snapshot.most_stored();
/// The most bytes that a stored node of any map has.
pub(crate) const MOST_NODE: u64 = envelope::Kind::Node(crate::id::MapKind::Manifest).most_stored();

/// The most bytes that a stored list of changed keys has.
pub(crate) const MOST_CHANGES: u64 = limits::CHANGES as u64;

pub(crate) use changes::{ChangeList, ChangedEntry};
pub use file::{FileKey, VirtualFile};
pub(crate) use fork::{
    BLOCK_ROWS, BLOCK_TARGET, ContainerRow, FileRow, ForkBlock, ForkDocument, ForkEdit, ForkFile, ForkKind, ForkOrigin, ForkPiece,
    ForkUnpinned,
};
pub(crate) use node::{Branch, Leaf, Node, NodeChild, Value, history_key, parse_history_key};
pub use node::{Entry, HistoryEntry};
pub(crate) use repo::RepoConfig;
pub use snapshot::{Commit, Container};
pub(crate) use snapshot::{Roots, SnapshotObject};
