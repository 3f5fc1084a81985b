//! Firnline: a transactional, versioned repository engine for chunked array data on object storage.
//!
//! A repository holds a Zarr hierarchy, or any other set of keys. The bytes of a value are stored in the repository, or are a
//! byte range of an external file. Every commit is an immutable Merkle tree with one content identifier. It stays readable, by
//! its id and by any time at which a branch showed it, and can be exported as a CAR file that any IPLD tool can verify.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use firnline::{Key, Repository};
//!
//! let repository = Repository::create("memory:").await?;
//! let session = repository.write("main").await?;
//! session.set(&Key::new("air/zarr.json")?, r#"{"zarr_format":3,"node_type":"group"}"#).await?;
//! let january = session.commit("January").await?;
//!
//! let then = repository.read(&format!("main@{}", january.record().time)).await?;
//! assert_eq!(then.id(), january.id());
//! # Ok(())
//! # }
//! ```
//!
//! [`Repository`] is where everything starts: [`read`](Repository::read) gives a [`Snapshot`], which never changes;
//! [`write`](Repository::write) gives a [`WriteSession`], whose [`commit`](WriteSession::commit) makes the next one. Several
//! processes write one commit together by [forks](ForkSession) of a session. Every error is an [`Error`], whose [`ErrorKind`] says
//! what to do.
//!
//! # Cancellation
//!
//! Every call can be cancelled by dropping its future, and every stream can be dropped before its end.
//!
//! - Calls that only read change nothing and can be cancelled at any moment. [`Repository`], [`Snapshot`] and [`WriteSession`]
//!   say so once for all their methods that read.
//! - Calls that stage, write or publish say at their own documentation what a cancelled call leaves. A call that is
//!   documented as like another one is cancelled like that one.
//! - A cancelled commit may have been published: [`PublishHandle`] tells. A cancelled change of a branch or a tag may have
//!   happened, now or a moment later: repeat the call to be certain.
//! - [`Storage`](storage::Storage) and the traits beside it say what their implementations must allow.
//!
//! # The walk
//!
//! The main calls, with the files that each goes through, in order:
//!
//! | step | call | files |
//! |---|---|---|
//! | open | `Repository::open(url)` | `repository/open` → `storage/url` → `format/repo` |
//! | write | `repository.write("main")` | `session/mod` → `refs/mod` → `objects/read` |
//! | set | `session.set(key, bytes)` | `session/write` → `chunk/split` → `chunk/write` → `session/staged` |
//! | point | `session.set_virtual(key, url, range)` | `session/virtuals` → `virtuals/locate` → `session/staged` |
//! | point at many | `session.set_virtual_many(refs, options)` | `session/bulk` → `session/columns` → `virtuals/locate` → `session/staged/bulk` |
//! | commit | `session.commit(message)` | `commit/publish` → `commit/prepare` → `commit/draft` → `map/edit` → `commit/counts` → `commit/invariants` → `refs/settle` |
//! | fork | `session.fork()`, `repository.resume_fork(bytes)` | `session/fork` → `session/fork/save` → `format/fork`; `session/fork/load` → `session/staged/fork` |
//! | merge | `fork.finish()`, `session.merge(bytes)` | `session/fork/save` → `format/fork`; `session/fork/load` → `conflict/merge` → `session/staged/fork` |
//! | lost race | inside `commit` | `conflict/rebase` → `map/diff` → `conflict/detect` → `conflict/nodes` → back to `commit/` |
//! | travel | `repository.read("main@2025-03-01")` | `history/revision` → `history/resolve` → `history/as_of` → `map/find` |
//! | depend | `snapshot.dependencies()` | `snapshot/read` → `map/scan` |
//! | push | `repository.push(target, options)` | `sync/plan` → `sync/versions` → `sync/copy` → `map/lacking` → `sync/chunks` → `chunk/copy` → `sync/publish` → `refs/verbs` |
//! | export | `snapshot.export_car(out)` | `car/export` → `car/walk` → `objects/read` → `chunk/read` → `carfile/writer` |

#[cfg(not(unix))]
compile_error!(
    "firnline needs a Unix system (Linux, macOS, a BSD): repositories on local disk rely on its file locks and on syncing directories"
);

mod ambient;
mod backoff;
mod blocking;
mod branches;
mod budget;
mod car;
mod carfile;
mod chunk;
mod commit;
mod conflict;
mod dagcbor;
mod dependencies;
mod error;
mod format;
#[cfg(feature = "testing")]
pub mod fuzzing;
mod handle;
mod history;
mod id;
mod key;
mod maintenance;
mod map;
mod objects;
mod percent;
mod progress;
mod refs;
mod repository;
mod scratch;
mod seeded;
mod session;
#[cfg(test)]
mod simulation;
mod snapshot;
pub mod storage;
mod sync;
#[cfg(test)]
mod testing;
mod text;
mod time;
mod tree;
mod unixfs;
mod varint;
mod virtuals;
mod zarr;

pub use blocking::block_on;
pub use branches::{BisectVerdict, Bisection, BranchEvent, BranchStep, MergeOptions, Squashed, StagedMerge};
pub use car::{CarPlan, CarSummary, ImportOptions, ImportTarget, Imported};
pub use commit::{BranchMoved, CommitError, CommitOptions, Committed, EmptyCommit, ImportSaves, ImportSteps, Prepared, Settlement};
pub use conflict::{Conflict, ConflictKind, OnConflict};
pub use dependencies::{
    ArrayDependencies, CheckOptions, CheckedDependency, ChecksumEntry, ChecksumList, ContainerSuggestion, DependencyChange,
    DependencyCounts, DependencyHistory, FilesRenamed, HistoryOfDependencies, KeyUse, LockOptions, Locked, LockedFile, NoChecksum,
    PlaceUse, RefUse, RelocateOptions, Relocated, RelocatedFile, Sample, VendorOptions, VendorSummary, Vendored, VersionUse,
};
pub use error::{Error, ErrorDetail, ErrorKind, ExpiredVersion, Remedy, Result};
pub use format::{Commit, Container, Entry, FileKey, HistoryEntry, VirtualFile};
pub use handle::{CreateOptions, OpenOptions, Repository};
pub use history::{AsOf, Blamed, Change, FoundIn, KeyEvent, KeyVersion, LogEntry, ReadableSnapshot, Resolved, Revision, Totals};
pub use id::{ChunkForm, ChunkId, Cid, Digest, HashAlgorithm, MapKind, NodeId, SnapshotId};
pub use key::{Key, MapKey, Prefix};
pub use maintenance::{
    ChangeCounts, CountsByKind, DiffSummary, ExpireOptions, ExpirePlan, ExpireReason, ExpiredVersions, ExpiringVersion, Finding,
    FindingKind, GcActivity, GcHandle, GcOptions, GcPlan, GcRepaired, GcReport, GcStatus, GroupChanges, KeepFor, KeptVersion, KeyCounts,
    MapStats, ObjectCounts, PlannedGc, Stats, StoredUsage, Verified, VerifyScope,
};
pub use progress::{Amount, Progress};
#[cfg(feature = "testing")]
pub use refs::protocol;
pub use refs::{Move, MoveOp, Ref, RefKind, RefName, TagInfo};
pub use repository::{ReadableMoves, RefInfo, TagOptions};
pub use session::{
    Copied, Existing, ForkSession, KeyColumn, Pending, PublishHandle, PublishState, Repinned, StagedChanges, UnpinnedFile, UnpinnedPlace,
    VirtualOptions, VirtualRefs, WhyUnpinned, WriteSession,
};
pub use snapshot::{Child, Dependency, EntryKind, Expiration, Group, KeyOrPrefix, Origin, Retention, Snapshot, Source, Withdrawal};
pub use sync::{RefOutcome, SyncOptions, SyncRef, SyncReport, SyncedRef};
pub use text::{is_unprintable, printable, printable_line};
pub use time::{CalendarPeriod, Clock, SystemClock, Timestamp, parse_time};
pub use tree::{
    CheckedOut, CheckoutOptions, Effect, ImportCache, ImportSource, Leftovers, Reading, SteppedImport, TreeChange, TreeOptions, TreeSummary,
};
pub use virtuals::{
    Access, Allow, ExternalFile, FileCheck, FileState, Located, Locator, Rebind, Validator, configured_remotes, file_path, file_url,
    remote_place,
};

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples of the page about virtual data, compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/virtual-data.md")]
struct VirtualData;
