//! Staging changes on top of a snapshot.
//!
//! A [`WriteSession`] belongs to one branch. Other readers and writers see its changes only after
//! [`commit`](WriteSession::commit). Dropping a session cancels its uploads; objects that were written stay as unreferenced garbage.

mod bulk;
mod changes;
mod columns;
mod copy;
mod fork;
mod known;
mod publishing;
mod read;
mod repin;
mod replay;
mod staged;
mod stream;
mod to_end;
mod virtuals;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::chunk::Hashed;
use crate::error::Result;
use crate::handle::Repository;
use crate::id::ChunkId;
use crate::objects::Uploads;
use crate::refs::collection::known_at_open;
use crate::refs::{Ref, RefName, RefState, unreadable, unreadable_tip};
use crate::snapshot::Snapshot;

pub use changes::StagedChanges;
pub use columns::{KeyColumn, VirtualRefs};
pub use copy::{Copied, Existing};
pub use fork::ForkSession;
pub(crate) use fork::{ChangesRead, unplaced};
pub(crate) use known::KnownEpoch;
pub use publishing::{Pending, PublishHandle, PublishState};
pub use repin::Repinned;
pub(crate) use replay::{AppliedVersions, MergedMeanwhile};
pub use staged::WhyUnpinned;
pub(crate) use staged::{
    FileInUse, Lookup, MergedChanges, Moves, PlaceWatch, Relied, SharedStaged, Staged, StagedEdits, StagedFile, StagedFiles, StagedLayers,
    Unpinned, UnpinnedFailure,
};
pub(crate) use virtuals::Naming;
pub use virtuals::{UnpinnedFile, UnpinnedPlace, VirtualOptions};

/// Changes staged on top of the tip of one branch, and not yet committed.
///
/// Any number of tasks and threads may use a session at once, through an [`Arc`](std::sync::Arc) or a reference: every method that
/// reads or stages takes `&self`. Each call stages its changes as a whole or not at all; of two calls that stage the same key at once,
/// one comes later, and its value stays. [`set_many`](Self::set_many) and the import of a directory stage one value after the other.
/// Listing shows what was staged when the call began.
///
/// Isolation is snapshot isolation: reads see the tip at which the session was opened and the session's own changes; a commit fails if
/// another writer changed a key that this session changed, not if one changed a key it read. In Zarr arrays a conflict can be about
/// more than a single key: see [`ConflictKind`](crate::ConflictKind).
///
/// Other processes and machines take part through [forks](Self::fork), whose changes are [merged](Self::merge) into the session.
///
/// Calls that read (`get`, `list` and the like) can be cancelled at any moment by dropping the future: nothing that is staged
/// changes, and no upload is lost. Calls that stage or commit say what a cancelled call leaves.
#[derive(Debug)]
#[must_use = "a session that is dropped without `commit` abandons its changes"]
pub struct WriteSession {
    pub(crate) branch: Ref,
    pub(crate) base: Snapshot,
    /// The branch as it was when `base` was its tip.
    pub(crate) state: RefState,
    /// The last garbage collection that need not be looked at before what this session touched is published.
    pub(crate) known: KnownEpoch,
    pub(crate) staged: SharedStaged,
    /// Chunks on their way to the store.
    pub(crate) uploads: Uploads,
    /// Whether chunks are stored; not in a dry run.
    pub(crate) stores: bool,
    /// Tells callers how far a commit of this session has come.
    pub(crate) publishing: PublishHandle,
    /// Finds containers for URLs; made when first needed, and again when the containers change.
    pub(crate) naming: Mutex<Option<Naming>>,
    /// Held while the changes of a fork are merged, so that merges wait for each other.
    pub(crate) merging: tokio::sync::Mutex<()>,
    /// What the commit says besides if it applies the changes of other versions.
    pub(crate) applied: Option<AppliedVersions>,
    /// Staged chunks that a garbage collection removes, as they were read back before; held until they were written again.
    pub(crate) rescued: BTreeMap<ChunkId, Hashed>,
}

impl WriteSession {
    /// The snapshot on which the changes are staged.
    pub fn base(&self) -> &Snapshot {
        &self.base
    }

    /// The branch that a commit will advance.
    pub fn branch(&self) -> &RefName {
        &self.branch.name
    }

    /// Tells how far the publication of this session has come, also after the future that commits was dropped.
    ///
    /// Take it before the call of [`commit`](Self::commit).
    pub fn publish_handle(&self) -> PublishHandle {
        self.publishing.clone()
    }

    /// Whether a commit would have nothing to write.
    pub fn is_unchanged(&self) -> bool {
        self.staged.lock().is_empty() && !self.has_other_parents()
    }

    /// Whether the commit has other parents than the tip of its branch, and so is made even if it changes nothing.
    pub(crate) fn has_other_parents(&self) -> bool {
        !self.other_parents().is_empty()
    }

    /// The parents of the commit besides the tip of its branch.
    pub(crate) fn other_parents(&self) -> &[Snapshot] {
        self.applied.as_ref().filter(|applied| applied.meanwhile != MergedMeanwhile::Wholly).map_or(&[], |applied| &applied.parents)
    }
}

impl Repository {
    /// Room for the changes of one session.
    pub(crate) fn empty_staging(&self) -> Staged {
        Staged::new(self.options().staged_bytes, self.scratch())
    }

    /// Opens a session like [`write`](Self::write) that stores nothing: to try out changes, and to count them by
    /// [`changes`](WriteSession::changes).
    ///
    /// Chunks are hashed and then forgotten, so the value of a chunk that was staged cannot be read. A commit is `Invalid`.
    /// Dropping the future changes nothing.
    pub async fn dry_run(&self, branch: &str) -> Result<WriteSession> {
        Ok(WriteSession { stores: false, ..self.write(branch).await? })
    }

    /// Opens a session that will advance `branch`; `NotFound` if there is no such branch.
    ///
    /// Only reads: nothing is written before the first chunk is staged, so the call can be cancelled at any moment.
    pub async fn write(&self, branch: &str) -> Result<WriteSession> {
        let branch = Ref::branch(branch.parse()?);
        self.require_writable()?;
        // In parallel, so that to look at the garbage collection costs a request but no round trip.
        let read = async { self.refs().read(&branch).await.map_err(|e| unreadable(&branch, e)) };
        let ((state, tip), collection) = futures::try_join!(read, self.refs().collection())?;
        let known = KnownEpoch::new(known_at_open(&collection.state, state.record.epoch));
        let commit = self.objects().commit(&tip).await.map_err(|e| unreadable_tip(&branch, e))?;
        let base = Snapshot::new(self.clone(), tip, commit);
        let staged = SharedStaged::new(self.empty_staging());
        Ok(WriteSession {
            branch,
            base,
            state,
            known,
            staged,
            uploads: Uploads::new(self.objects()),
            stores: true,
            naming: Mutex::default(),
            merging: tokio::sync::Mutex::default(),
            publishing: PublishHandle::default(),
            applied: None,
            rescued: BTreeMap::new(),
        })
    }
}
