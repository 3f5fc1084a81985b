//! What a writer asks before it publishes: whether anything that it touched is condemned.

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};

use super::lists::{INDEX_LEN, ListCounts, decode_index, decode_shard, shard_len};
use super::state::ListsSince;
use super::{CondemnedRow, GcFound, GcHeld, GcState, ObjectSet};
use crate::ambient::steady;
use crate::error::{Error, ErrorKind, Result};
use crate::refs::{READS, Refs};
use crate::storage::{Extent, ObjectName, RegisterName, Storage, Version};

/// More objects than this in both a list and a writer's hands count as all of them.
const MOST_HITS: usize = 1 << 20;
/// How long a collection may stand still while a writer waits for it: longer than another collector waits before it takes over.
const PATIENCE: Duration = Duration::from_mins(15);
/// The longest pause of a writer that waits for a collection.
const PAUSE: Duration = Duration::from_secs(2);

/// What of the objects that a writer touched is condemned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condemned {
    /// These; often none.
    These(HashSet<CondemnedRow>),
    /// Perhaps all of them.
    All,
}

impl Condemned {
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::These(rows) if rows.is_empty())
    }

    pub(crate) fn holds(&self, row: &CondemnedRow) -> bool {
        match self {
            Self::These(rows) => rows.contains(row),
            Self::All => true,
        }
    }
}

impl Refs {
    /// Reads how far garbage collection has come.
    pub(crate) async fn collection(&self) -> Result<GcHeld> {
        collection_in(&*self.storage).await
    }

    /// The same for somebody who has read a ref of the epoch `of_ref` before. `Corrupt` when the register is not as far: it was lost, or an
    /// earlier one was put in its place, and what it would say of condemned objects is not true.
    pub(crate) async fn collection_after(&self, of_ref: u64) -> Result<GcHeld> {
        self.collection().await?.not_before(of_ref)
    }

    /// The same for a repair.
    pub(crate) async fn collection_to_repair(&self, of_ref: u64) -> Result<GcFound> {
        let (version, state) = load(&*self.storage).await?;
        match state.and_then(|state| GcHeld { state, version: version.clone() }.not_before(of_ref)) {
            Ok(held) => Ok(GcFound::Whole(held)),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(GcFound::Damaged { version, error }),
            Err(error) => Err(error),
        }
    }

    /// Which of `touched` the collections after `known` condemn, `state` being the present state.
    pub(crate) async fn condemned(&self, state: &GcState, known: u64, touched: &ObjectSet) -> Result<Condemned> {
        let lists = match state.lists_since(known) {
            ListsSince::These(lists) => lists,
            ListsSince::Forgotten => return Ok(Condemned::All),
        };
        let mut hits = HashSet::new();
        for list in &lists {
            let Some(counts) = self.list_counts(list).await? else { return Ok(Condemned::All) };
            let shards = touched.shards().into_iter().filter_map(|shard| Some((shard, *counts.get(shard)?)));
            let shards: Vec<_> = shards.filter(|(_, count)| *count > 0).collect();
            let reads = shards.into_iter().map(|(shard, count)| async move {
                let rows = self.list_shard(list, shard, count).await?;
                Ok::<_, Error>((shard, rows))
            });
            let mut reads = futures::stream::iter(reads).buffer_unordered(READS);
            while let Some((shard, rows)) = reads.try_next().await? {
                let ours = touched.read(shard)?;
                match rows {
                    Some(rows) => hits.extend(ours.into_iter().filter(|row| rows.binary_search(row).is_ok())),
                    None => hits.extend(ours),
                }
                if hits.len() > MOST_HITS {
                    return Ok(Condemned::All);
                }
            }
        }
        Ok(Condemned::These(hits))
    }

    /// How many digests each shard of a list has; `None` when its index is lost or damaged.
    pub(crate) async fn list_counts(&self, list: &str) -> Result<Option<ListCounts>> {
        let bytes = self.storage.get(&ObjectName::list_index(list), Extent::Whole { at_most: INDEX_LEN }).await;
        Ok(if_there(bytes)?.and_then(|bytes| decode_index(self.objects.hash(), &bytes)))
    }

    /// A shard of a list; `None` when it is lost or damaged.
    pub(crate) async fn list_shard(&self, list: &str, shard: usize, count: u32) -> Result<Option<Vec<CondemnedRow>>> {
        let bytes = self.storage.get(&ObjectName::list_shard(list, shard), Extent::Whole { at_most: shard_len(count) }).await;
        let rows = if_there(bytes)?.and_then(|bytes| decode_shard(self.objects.hash(), shard, &bytes));
        Ok(rows.filter(|rows| rows.len() == usize::try_from(count).unwrap_or(usize::MAX)))
    }
}

/// Reads how far garbage collection has come in a store that may hold no repository.
pub(crate) async fn collection_in(storage: &dyn Storage) -> Result<GcHeld> {
    let (version, state) = load(storage).await?;
    Ok(GcHeld { state: state?, version })
}

/// The version of the register, and what it says.
async fn load(storage: &dyn Storage) -> Result<(Option<Version>, Result<GcState>)> {
    let register = RegisterName::gc_state();
    let Some(found) = storage.load(&register).await? else { return Ok((None, Ok(GcState::absent()))) };
    Ok((Some(found.version), GcState::decode(&found.value, register.as_str())))
}

/// What was read; `None` also for what is not even of a length that it can have.
fn if_there<T>(read: Result<Option<T>>) -> Result<Option<T>> {
    match read {
        Err(e) if e.kind() == ErrorKind::Corrupt => Ok(None),
        read => read,
    }
}

/// A writer that waits for a collection.
#[derive(Debug)]
pub(crate) struct CollectionWait {
    /// The sequence number that was seen last, and since when.
    seen: Option<(u64, Duration)>,
    pauses: u32,
}

impl CollectionWait {
    pub(crate) const fn new() -> Self {
        Self { seen: None, pauses: 0 }
    }

    /// Waits a little for a collection that is in `state`. `Unavailable` when it stands still for longer than a living one does.
    pub(crate) async fn pause(&mut self, refs: &Refs, state: &GcState) -> Result<()> {
        let now = steady();
        match self.seen {
            Some((seq, since)) if seq == state.seq => {
                if now.saturating_sub(since) > PATIENCE {
                    return Err(Error::unavailable(format!(
                        "a garbage collection has stood still for {} minutes in {}; end it with: firn gc",
                        PATIENCE.as_secs() / 60,
                        refs.storage
                    )));
                }
            }
            _ => self.seen = Some((state.seq, now)),
        }
        refs.patience.backoff.at_most(PAUSE).wait(self.pauses).await;
        self.pauses = self.pauses.saturating_add(1);
        // A wait without pauses must let others go on, too.
        tokio::task::yield_now().await;
        Ok(())
    }
}
