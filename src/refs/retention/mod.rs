//! Which versions have expired: a register, and lists that it names.
//!
//! What was recorded is never taken back, and so the set of expired versions only grows. Garbage collection and the writers that point
//! refs at versions rely on that (`docs/concurrency.md`).

#[cfg(feature = "testing")]
pub(super) mod fuzzed;
mod lists;
mod register;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _};

use super::Refs;
use crate::error::{Error, Result};
use crate::id::{Cid, NodeId, SnapshotId};
use crate::storage::{Extent, ObjectName, RegisterName, Version};

pub(crate) use lists::{ActRecord, RetentionList};
pub(crate) use register::{ListName, RetentionState, WithdrawnRecord};
pub(crate) use write::Retiring;

/// How many lists are read at once.
const WIDE: usize = 8;

/// The lists that were read last, by their ids.
pub(super) type ReadLists = Arc<Mutex<HashMap<Cid, Arc<RetentionList>>>>;

/// The register as it was read.
#[derive(Debug, Clone)]
pub(crate) struct RetentionHeld {
    pub(crate) state: RetentionState,
    /// What a replace of exactly this value expects; `None` when nothing has ever expired.
    pub(crate) version: Option<Version>,
}

/// Every version that has expired, and the acts.
#[derive(Debug, Clone, Default)]
pub(crate) struct RetiredVersions {
    lists: Vec<Arc<RetentionList>>,
}

impl RetiredVersions {
    /// The act by which the data of a version expired.
    pub(crate) fn act_of(&self, id: SnapshotId) -> Option<&ActRecord> {
        self.lists.iter().find_map(|list| list.act_of(id))
    }

    /// All acts, in no order.
    pub(crate) fn acts(&self) -> impl Iterator<Item = &ActRecord> {
        self.lists.iter().flat_map(|list| &list.acts)
    }
}

impl Refs {
    /// Reads the register.
    pub(crate) async fn retention(&self) -> Result<RetentionHeld> {
        let register = RegisterName::retention();
        let Some(found) = self.storage.load(&register).await? else {
            return Ok(RetentionHeld { state: RetentionState::absent(), version: None });
        };
        let state = RetentionState::decode(&found.value, register.as_str())?;
        Ok(RetentionHeld { state, version: Some(found.version) })
    }

    /// Reads the lists that the register names, 37 bytes for each expired version; those that were read before are not read again.
    pub(crate) async fn retired(&self, state: &RetentionState) -> Result<RetiredVersions> {
        let known = self.read_lists.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let reads = state.lists.clone().into_iter().map(|list| {
            let known = known.get(&list.id).cloned();
            async move {
                match known {
                    Some(known) => Ok::<_, Error>((list.id, known)),
                    None => Ok((list.id, Arc::new(self.read_list(&list).await?))),
                }
            }
        });
        let read: Vec<_> = futures::stream::iter(reads).buffered(WIDE).try_collect().await?;
        *self.read_lists.lock().unwrap_or_else(PoisonError::into_inner) = read.iter().cloned().collect();
        Ok(RetiredVersions { lists: read.into_iter().map(|(_, list)| list).collect() })
    }

    /// Reads one list. `Corrupt` when it is missing, damaged, or not what the register says.
    pub(crate) async fn read_list(&self, list: &ListName) -> Result<RetentionList> {
        let name = ObjectName::retention(&list.id);
        let bytes = self.storage.get(&name, Extent::Whole { at_most: lists::LONGEST }).await?;
        let bytes = bytes.ok_or_else(|| Error::corrupt(format!("{name}, which {} names, does not exist", RegisterName::retention())))?;
        let found = NodeId::of(self.objects.hash(), &bytes).cid();
        if found != list.id {
            return Err(Error::corrupt(format!("{name} has digest {found}, but {} was asked for", list.id)));
        }
        let read = RetentionList::decode(&bytes, name.as_str())?;
        if read.rows.len() as u64 != list.rows {
            return Err(Error::corrupt(format!("{name} has {} rows, {} says {}", read.rows.len(), RegisterName::retention(), list.rows)));
        }
        Ok(read)
    }
}
