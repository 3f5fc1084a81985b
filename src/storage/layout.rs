//! The names of everything in a repository: the only file that spells them.
//!
//! ```text
//! repo.json                                                       written once
//! refs/branches/<name>.json  refs/tags/<name>.json  gc/state.json registers: the only objects ever replaced
//! snapshots/<xx>/<cid>  manifests/<xx>/<cid>  files/<xx>/<cid>  history/<xx>/<cid>  chunks/<xx>/<cid>
//! moves/<xx>/<cid>  shallow/<cid>                                 immutable
//! gc/scratch-<unique>.json                                        for a moment, where a store is tried out
//! ```
//!
//! `<xx>` are characters 9 and 10 of the CID's text: the first that depend on the digest alone.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::{ChunkId, Cid, MapKind, NodeId, SnapshotId};

/// The name of an immutable object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName(String);

/// The name of an object that is replaced by compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegisterName(String);

/// Where branches and tags lie.
pub(crate) const REFS: &str = "refs/";
/// Where branches lie.
pub(crate) const BRANCHES: &str = "refs/branches/";
/// Where chunks lie.
pub(crate) const CHUNKS: &str = "chunks/";
/// Where the nodes of history maps lie.
pub(crate) const HISTORY: &str = "history/";
/// Where snapshots lie.
pub(crate) const SNAPSHOTS: &str = "snapshots/";
/// Where tags lie.
pub(crate) const TAGS: &str = "refs/tags/";
/// The file name ending of every ref.
pub(crate) const REF_SUFFIX: &str = ".json";

/// The folders in which everything but `repo.json` lies.
pub(crate) const FOLDERS: [&str; 9] = ["refs", "snapshots", "manifests", "files", "history", "chunks", "moves", "shallow", "gc"];

impl ObjectName {
    pub(crate) fn snapshot(id: &SnapshotId) -> Self {
        Self::sharded(SNAPSHOTS, &id.cid())
    }

    pub(crate) fn node(kind: MapKind, id: &NodeId) -> Self {
        let folder = match kind {
            MapKind::Manifest => "manifests/",
            MapKind::Files => "files/",
            MapKind::History => HISTORY,
        };
        Self::sharded(folder, &id.cid())
    }

    pub(crate) fn chunk(id: &ChunkId) -> Self {
        Self::sharded(CHUNKS, &id.cid())
    }

    /// A block of earlier moves of a ref.
    pub(crate) fn moves(cid: &Cid) -> Self {
        Self::sharded("moves/", cid)
    }

    /// Says that the history before `id` is not in this repository.
    pub(crate) fn shallow(id: &SnapshotId) -> Self {
        Self(format!("shallow/{id}"))
    }

    fn sharded(folder: &str, cid: &Cid) -> Self {
        let text = cid.to_string();
        let shard = text.get(8..10).expect("a CID with a 256-bit digest has more than 50 characters");
        Self(format!("{folder}{shard}/{text}"))
    }

    /// The name as the store spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RegisterName {
    /// `repo.json`: created once and never replaced.
    pub(crate) fn repo() -> Self {
        Self("repo.json".to_owned())
    }

    pub(crate) fn branch(name: &str) -> Self {
        Self(format!("{BRANCHES}{name}{REF_SUFFIX}"))
    }

    pub(crate) fn tag(name: &str) -> Self {
        Self(format!("{TAGS}{name}{REF_SUFFIX}"))
    }

    pub(crate) fn gc_state() -> Self {
        Self("gc/state.json".to_owned())
    }

    /// A unique name, to try out what a store does; the caller removes it.
    #[cfg(feature = "remote")]
    pub(crate) fn scratch() -> Self {
        Self(format!("gc/scratch-{}.json", unique()))
    }

    /// The name as the store spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A part of a name that no other process and no other call uses.
pub(crate) fn unique() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    static PROCESS: OnceLock<u64> = OnceLock::new();
    // Tells apart processes of one number on several machines; without randomness an exclusive creation still does.
    let process = PROCESS.get_or_init(|| getrandom::u64().unwrap_or(0));
    format!("{}-{}-{process:016x}", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed))
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RegisterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
