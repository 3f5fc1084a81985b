//! Garbage collection as refs see it: the register that says how far one has come, the lists of what it condemns, and what writers ask
//! of both.
//!
//! A writer that publishes names of objects and a collector that removes objects never wait for each other, except that a writer waits
//! if it is about to publish a name that is on a list. The rules are in `docs/concurrency.md`.

mod check;
mod decide;
#[cfg(feature = "testing")]
pub(super) mod fuzzed;
mod lists;
pub(crate) mod rules;
mod state;
mod write;

use crate::error::{Error, Result};
use crate::id::Digest;
use crate::scratch::partitions::Partitions;
use crate::storage::layout::{ObjectKind, SHARDS, shard_of};
use crate::storage::{RegisterName, Version};

pub(crate) use super::record::MOST_EPOCH;
pub(crate) use check::{CollectionWait, Condemned, collection_in};
pub(crate) use decide::{AfterLook, Vouched, epoch_of_created, known_at_open, looked, must_look, vouched};
pub(crate) use state::{GcPhase, GcState, ListsSince};
pub(crate) use write::{Advanced, ListWriter};

/// An object on a list: the number of its kind, and its digest.
pub(crate) type CondemnedRow = [u8; 33];

/// The state of garbage collection as it was read.
#[derive(Debug, Clone)]
pub(crate) struct GcHeld {
    pub(crate) state: GcState,
    /// What a replace of exactly this value expects; `None` when nothing was ever collected.
    pub(crate) version: Option<Version>,
}

impl GcHeld {
    /// This, if it was read after a ref of the epoch `of_ref`, and was not lost since: no ref is ever of a later epoch than the register.
    pub(crate) fn not_before(self, of_ref: u64) -> Result<Self> {
        if of_ref <= self.state.epoch {
            return Ok(self);
        }
        Err(Error::corrupt(format!(
            "{} {}, but a branch or a tag is of collection {of_ref}; make it anew with: firn gc --repair",
            RegisterName::gc_state(),
            if self.version.is_none() { "does not exist".to_owned() } else { format!("is of collection {}", self.state.epoch) },
        )))
    }
}

/// The register as a repair finds it.
#[derive(Debug)]
pub(crate) enum GcFound {
    /// It can be gone on with.
    Whole(GcHeld),
    /// It is damaged, or was lost.
    Damaged {
        /// What a replace of exactly this value expects; `None` when there is none.
        version: Option<Version>,
        /// What is wrong.
        error: Error,
    },
}

/// The row of an object.
pub(crate) fn row_of(kind: ObjectKind, digest: &Digest) -> CondemnedRow {
    let mut row = [0; 33];
    if let Some((first, rest)) = row.split_first_mut() {
        *first = kind as u8;
        rest.copy_from_slice(digest.as_bytes());
    }
    row
}

/// The digest in a row.
pub(crate) fn digest_in(row: &CondemnedRow) -> [u8; 32] {
    row.last_chunk().copied().unwrap_or_default()
}

/// The objects that a writer has written or linked, or a collector has met, by the `<xx>` of their names.
#[derive(Debug)]
pub(crate) struct ObjectSet(Partitions<33>);

impl ObjectSet {
    /// None yet. About `bytes` of them lie in memory, the others in a scratch file in `directory`.
    pub(crate) fn new(bytes: usize, directory: &std::path::Path) -> Self {
        Self(Partitions::new(SHARDS, bytes, directory))
    }

    /// Adds an object, which may be there already.
    pub(crate) fn add(&mut self, row: CondemnedRow) -> Result<()> {
        self.0.add(shard_of(&digest_in(&row)), row)
    }

    /// Those of one shard, sorted, each once.
    pub(crate) fn read(&self, shard: usize) -> Result<Vec<CondemnedRow>> {
        self.0.read(shard)
    }

    /// The shards that hold any.
    pub(crate) fn shards(&self) -> Vec<usize> {
        self.0.filled()
    }
}
