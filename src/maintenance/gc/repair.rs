//! Making the register of collections anew, when it is damaged or was lost.
//!
//! What it said is not known: a collector may have been removing objects by it. So first no removal of another collector may be possible any
//! more. Then one replace begins a new epoch, above that of every ref and every list, in which everything counts as condemned until then. Then
//! the refs are raised to that epoch; what they show stays, and nothing is removed (decision 101).

use std::time::Duration;

use futures::TryStreamExt as _;

use super::lease::{GcClock, STILL};
use super::{GcOptions, epoch_of_list, nonce};
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Repository;
use crate::refs::collection::{Advanced, GcFound, GcHeld, GcState, MOST_EPOCH};
use crate::refs::{Ref, RefKind};
use crate::storage::layout::LISTS;
use crate::storage::{Collecting, ObjectName, Version};

/// The index of a list of which nothing is known: none that can be read, so that it counts as naming everything.
const LOST: &[u8] = b"The register of collections was made anew: what was condemned before is not known.\n";

/// What a repair of the register of collections found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcRepaired {
    /// What was wrong with the register; `None` when nothing was, so that nothing was changed.
    pub wrong: Option<String>,
    /// The number of the last collection, as the register says now.
    pub epoch: u64,
}

impl Repository {
    /// Makes the register of garbage collection, `gc/state.json`, anew if it is damaged, or was lost after a collection. Without it nobody
    /// can write. If nothing is wrong with it, changes nothing.
    ///
    /// Removes nothing, and changes nothing that a ref shows. Sessions that were opened before write again what they commit, or fail as `Conflict` when they hold
    /// it no more. Waits until no collector that was at work can remove anything any more: not at all on local disk, 26 minutes in object
    /// stores, or as [`GcOptions::wait`] says.
    ///
    /// `Locked` when another process collects, or has replaced the register meanwhile. `Unsupported` when a newer version has written it.
    /// `Corrupt` when no branch and no list of a collection can be read, so that it is not known what to begin with. If the future is dropped,
    /// the register is as it was, or is made anew; to call again does no harm.
    pub async fn repair_gc(&self, options: &GcOptions) -> Result<GcRepaired> {
        self.require_writable()?;
        let store = self.storage().collecting().await?;
        let (of_refs, latest) = self.latest_epoch().await?;
        let (version, wrong) = match self.refs().collection_to_repair(of_refs).await? {
            GcFound::Whole(held) => {
                // A repair may have ended before it had raised them.
                self.raise_to_finished(&held.state).await?;
                return Ok(GcRepaired { wrong: None, epoch: held.state.epoch });
            }
            GcFound::Damaged { version, error } => (version, error),
        };
        let Some(latest) = latest else {
            return Err(wrong.context("the register of collections cannot be made anew, because no branch and no list of one can be read"));
        };
        self.refs().require_agreeing_clocks(&"garbage")?;
        self.wait_until_nobody_collects(options, &store, of_refs, version.as_ref()).await?;
        let now = self.storage().clock().unwrap_or_else(|| self.clock().now());
        let seq = u64::try_from(now.micros()).unwrap_or(0);
        let epoch = latest.saturating_add(1);
        let list = format!("{epoch}-{}-lost", nonce()?);
        let next = GcState::anew(epoch, seq, list.clone()).ok_or_else(|| {
            Error::corrupt(format!("a branch, a tag or a list of a collection is of collection {latest}, which there cannot have been"))
        })?;
        // Tells a later repair of this epoch, as the list of a collection does.
        self.storage().put(&ObjectName::list_index(&list), &[LOST.into()]).await?;
        self.storage().barrier().await?;
        // What was read counts only by its version.
        let before = GcHeld { state: GcState::absent(), version };
        match self.refs().advance(&before, next).await? {
            Advanced::Won(held) => {
                self.raise_to_finished(&held.state).await?;
                Ok(GcRepaired { wrong: Some(wrong.to_string()), epoch: held.state.epoch })
            }
            Advanced::Lost => Err(changed()),
        }
    }

    /// Raises every branch and tag to the last collection that has finished, so that whoever reads them from now on knows of everything that
    /// was condemned until then. Nothing is removed by such a collection any more, so this can be done at any moment.
    async fn raise_to_finished(&self, state: &GcState) -> Result<()> {
        let epoch = state.finished();
        for kind in [RefKind::Branch, RefKind::Tag] {
            for (name, found) in self.refs().list(kind).await? {
                if found.is_ok_and(|found| found.record.epoch < epoch) {
                    self.refs().raise(&Ref { kind, name }, epoch).await?;
                }
            }
        }
        Ok(())
    }

    /// The latest epoch of any ref, and the latest of any ref or list: none there was is later. `None` when neither a branch nor a list can
    /// be read. What no collection comes to is left out: somebody made it up. A damaged ref is left out: it is of no later epoch than the others or the lists.
    async fn latest_epoch(&self) -> Result<(u64, Option<u64>)> {
        let (mut of_refs, mut latest) = (0, None);
        for kind in [RefKind::Branch, RefKind::Tag] {
            for (_, state) in self.refs().list(kind).await? {
                let Ok(state) = state else { continue };
                of_refs = state.record.epoch.max(of_refs);
                if kind == RefKind::Branch {
                    latest = latest.max(Some(of_refs));
                }
            }
        }
        let mut listed = self.storage().list(LISTS);
        while let Some(meta) = listed.try_next().await? {
            let list = ObjectName::parse_list(&meta.name).and_then(|(id, _)| epoch_of_list(&id));
            latest = latest.max(list.filter(|epoch| *epoch <= MOST_EPOCH));
        }
        Ok((of_refs, latest.map(|latest| latest.max(of_refs))))
    }

    /// Waits until a collector that was at work has lost its lease, and what it has sent has happened. Under a lock there is none.
    async fn wait_until_nobody_collects(
        &self,
        options: &GcOptions,
        store: &Collecting,
        of_refs: u64,
        version: Option<&Version>,
    ) -> Result<()> {
        let clock: &dyn GcClock = &*options.clock;
        let lease = if store.lock.is_some() { Duration::ZERO } else { STILL };
        let end = clock.now().saturating_add(lease).saturating_add(store.late.max(options.wait));
        loop {
            let left = end.saturating_sub(clock.now());
            if left.is_zero() {
                return Ok(());
            }
            clock.sleep(left.min(Duration::from_secs(10))).await;
            match self.refs().collection_to_repair(of_refs).await? {
                GcFound::Damaged { version: now, .. } if now.as_ref() == version => {}
                _ => return Err(changed()),
            }
        }
    }
}

fn changed() -> Error {
    Error::new(ErrorKind::Locked, "another process has replaced the register of garbage collection meanwhile; try again")
}
