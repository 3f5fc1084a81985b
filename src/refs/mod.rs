//! Branches and tags: the only mutable state of a repository.
//!
//! A ref is one register, replaced by compare-and-swap and never removed. Whatever is not a plain commit onto its
//! tip is recorded in it as a move, so that what its readers saw at any time can be told later.

mod gc_state;
mod moves;
mod name;
mod record;
mod settle;
mod verbs;

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use crate::error::{Error, Result};
use crate::id::SnapshotId;
use crate::objects::Objects;
use crate::storage::{Expected, RegisterName, Storage, Version, layout};
use crate::time::{Clock, Timestamp};

pub(crate) use gc_state::require_no_collection;
pub use name::{Ref, RefKind, RefName};
pub(crate) use record::RefRecord;
pub use record::{Move, MoveOp, TagInfo};
pub(crate) use settle::{Patience, Settled};
pub(crate) use verbs::MoveTo;

/// How many refs are read at once when they are listed.
const READS: usize = 32;

/// A ref as it was read: its value and the version that a replace must name.
#[derive(Debug, Clone)]
pub(crate) struct RefState {
    pub(crate) record: RefRecord,
    pub(crate) version: Version,
}

impl RefState {
    /// What a replace of exactly this value expects.
    pub(crate) fn expected(&self) -> Expected {
        Expected::Is(self.version.clone())
    }
}

/// The refs of one repository.
#[derive(Debug, Clone)]
pub(crate) struct Refs {
    storage: Arc<dyn Storage>,
    objects: Objects,
    clock: Arc<dyn Clock>,
    patience: Patience,
}

impl Refs {
    pub(crate) fn new(objects: Objects, clock: Arc<dyn Clock>, patience: Patience) -> Self {
        Self { storage: objects.storage().clone(), objects, clock, patience }
    }

    /// Reads the register of `name`; `None` when there has never been one.
    pub(crate) async fn try_read(&self, name: &Ref) -> Result<Option<RefState>> {
        self.read_register(&name.register()).await
    }

    /// Reads a ref that exists: neither deleted nor only begun.
    pub(crate) async fn read(&self, name: &Ref) -> Result<(RefState, SnapshotId)> {
        let state = self.try_read(name).await?;
        let tip = state.as_ref().and_then(|s| s.record.tip);
        match (state, tip) {
            (Some(state), Some(tip)) => Ok((state, tip)),
            _ => Err(Error::not_found(format!("{name} does not exist"))),
        }
    }

    async fn read_register(&self, register: &RegisterName) -> Result<Option<RefState>> {
        let Some(found) = self.storage.load(register).await? else { return Ok(None) };
        let record = RefRecord::decode(&found.value, register.as_str())?;
        Ok(Some(RefState { record, version: found.version }))
    }

    /// Reads every ref of a kind, tombstones included, sorted by name.
    pub(crate) async fn list(&self, kind: RefKind) -> Result<Vec<(RefName, RefState)>> {
        let folder = match kind {
            RefKind::Branch => layout::BRANCHES,
            RefKind::Tag => layout::TAGS,
        };
        let names = self.storage.list(folder).try_collect::<Vec<_>>().await?;
        let names = names.iter().filter_map(|meta| meta.name.strip_prefix(folder)?.strip_suffix(layout::REF_SUFFIX));
        // What is no ref name was not put there by us.
        let names: Vec<_> = names.filter_map(|name| RefName::new(name).ok()).collect();
        let reads = futures::stream::iter(names).map(|name| async move {
            let state = self.try_read(&Ref { kind, name: name.clone() }).await?;
            Ok::<_, Error>(state.map(|s| (name, s)))
        });
        let mut found: Vec<_> = reads.buffer_unordered(READS).try_filter_map(|x| async { Ok(x) }).try_collect().await?;
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }

    /// The last thing that happened to a ref: its last move or the commit it points at.
    pub(crate) async fn last_event(&self, record: &RefRecord) -> Result<Option<Timestamp>> {
        let moved = record.moves.last().map(|m| m.time);
        let tip = match record.tip {
            // A tip that is lost tells no time, but its ref must still be movable away from it.
            Some(tip) => match self.objects.commit(&tip).await {
                Ok(commit) => Some(commit.time),
                Err(e) if e.is_damage() => None,
                Err(e) => return Err(e),
            },
            None => None,
        };
        Ok(moved.max(tip))
    }
}

/// Refuses a ref that a garbage collector of a newer release has touched.
pub(crate) fn require_known_epoch(name: &Ref, record: &RefRecord) -> Result<()> {
    if record.epoch == 0 {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "{name} has been through a garbage collection (epoch {}), which this build does not know; upgrade",
        record.epoch
    )))
}
