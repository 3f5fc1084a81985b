//! Firnline: a transactional, versioned repository engine for chunked array data on object storage.

mod car;
mod carfile;
mod chunk;
pub mod cli;
mod commit;
mod conflict;
mod dagcbor;
mod error;
mod format;
mod history;
mod id;
mod key;
mod maintenance;
mod map;
mod objects;
mod refs;
mod repository;
mod session;
pub mod storage;
#[cfg(test)]
mod testing;
mod time;
mod tree;
mod unixfs;
mod varint;
mod virtuals;

pub use car::{CarPlan, CarSummary, ImportTarget, Imported};
pub use commit::{CommitError, CommitOptions, EmptyCommit, Pending, Settlement};
pub use error::{Error, ErrorKind, Result};
pub use format::{Commit, Container, Entry, FileKey, HistoryEntry, VirtualFile};
pub use history::{AsOf, LogEntry, Resolved, Revision};
pub use id::{ChunkForm, ChunkId, Cid, HashAlgorithm, MapKind, NodeId, SnapshotId};
pub use key::{Key, MapKey, Prefix};
pub use maintenance::{Finding, FindingKind, Verified, VerifyScope};
pub use refs::{Move, MoveOp, Ref, RefKind, RefName, TagInfo};
pub use repository::{CreateOptions, OpenOptions, RefInfo, Repository, TagOptions};
pub use session::{Child, Dependency, Snapshot, Totals, VirtualOptions, WriteSession};
pub use time::{Clock, SystemClock, Timestamp, parse_time};
pub use tree::{CheckedOut, CheckoutOptions, Effect, Leftovers, TreeOptions, TreeSummary};
pub use virtuals::{Access, Allow, Locator, Rebind, Validator, file_url};
