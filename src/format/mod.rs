//! What is stored, as values and as bytes: pure codecs without I/O.
//!
//! Every object has two forms. The *canonical* form is strict DAG-CBOR, and its hash is the object's id; the form
//! *at rest* is columns in FlatBuffers, compressed, in an envelope, and may change without changing an id.

mod file;
mod node;
mod snapshot;

pub use file::{FileKey, VirtualFile};
pub(crate) use node::{Branch, Child, Leaf, Node, Value};
pub use node::{Entry, HistoryEntry};
pub use snapshot::{Commit, Container};
