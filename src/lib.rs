//! Firnline: a transactional, versioned repository engine for chunked array data on object storage.

mod dagcbor;
mod error;
mod format;
mod id;
mod key;
mod map;
pub mod storage;
#[cfg(test)]
mod testing;
mod time;

pub use error::{Error, ErrorKind, Result};
pub use format::{Commit, Container, Entry, FileKey, HistoryEntry, VirtualFile};
pub use id::{ChunkForm, ChunkId, Cid, HashAlgorithm, MapKind, NodeId, SnapshotId};
pub use key::{Key, MapKey, Prefix};
pub use time::{Clock, SystemClock, Timestamp, parse_time};
