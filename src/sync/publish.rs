//! Moving branches and tags to what was copied: the only step that readers of the target see.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::SyncRun;
use super::copy::SyncCopied;
use super::plan::PlannedRef;
use crate::error::{Error, ErrorKind, Result};
use crate::history::{KeptPart, KeptRoots};
use crate::refs::collection::{GcState, ListsSince};
use crate::refs::{MoveTo, RefKind, Vouched};

/// Why everything has to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// The target is not what it was.
    Changed,
    /// A garbage collection removes something that was sent.
    Condemned,
}

impl SyncRun<'_> {
    /// Moves one branch or tag.
    pub(super) async fn publish(&self, planned: &PlannedRef, copied: &SyncCopied) -> Result<std::result::Result<(), Again>> {
        let name = &planned.names.target;
        let refs = self.to.refs();
        let again = &Mutex::new(None);
        let vouch = |state: GcState| async move {
            // A replace that follows is refused if the ref has changed since it was read, before this look at it.
            let now = refs.try_read(name).await?.and_then(|state| state.record.tip);
            let vouched = if now == planned.found { self.vouch_for_copied(copied, &state).await? } else { Err(Again::Changed) };
            *lock(again) = vouched.err();
            vouched.map_err(|_| Error::conflict(format!("{name} of {} changed meanwhile", self.to.storage())))
        };
        let about = (name.kind == RefKind::Tag).then(|| planned.about.clone()).flatten();
        let to = |not_before| MoveTo { to: Some(planned.tip), op: self.op, about: about.clone(), not_before };
        let done = if planned.found.is_some() {
            let not_before = self.to.after_sure_events(name).await?.max(planned.time);
            refs.change(name, to(not_before), vouch).await
        } else {
            refs.create(name, to(planned.time), vouch).await
        };
        let why = *lock(again);
        match (done, why) {
            (Ok(_), _) => Ok(Ok(())),
            (Err(_), Some(why)) => Ok(Err(why)),
            // Another writer was first.
            (Err(e), None) if planned.found.is_none() && e.kind() == ErrorKind::Conflict => Ok(Err(Again::Changed)),
            (Err(e), None) => Err(e.context(self.to.storage())),
        }
    }

    /// Whether a ref can be pointed at what was copied without a collection removing a part of it, `state` having been read before.
    ///
    /// If no collection has begun since the run, nothing was removed, and a later one makes the replace fail or sees it. Else what was
    /// sent must not be condemned, and what was relied on must still be kept: while a collection is under way, by a ref that it has raised.
    async fn vouch_for_copied(&self, copied: &SyncCopied, state: &GcState) -> Result<std::result::Result<Vouched, Again>> {
        if matches!(state.lists_since(copied.known), ListsSince::These(lists) if lists.is_empty()) {
            return Ok(Ok(Vouched::Safe));
        }
        if !self.to.refs().condemned(state, copied.known, &copied.touched).await?.is_none() {
            return Ok(Err(Again::Condemned));
        }
        if !self.is_kept(copied, &self.to.kept_roots().await?, 0).await? {
            return Ok(Err(Again::Changed));
        }
        let raised = if state.is_running() { state.epoch } else { 0 };
        let is_safe = self.is_kept(copied, &self.to.kept_roots_of(raised).await?, raised).await?;
        Ok(Ok(if is_safe { Vouched::Safe } else { Vouched::Wait }))
    }

    /// Whether refs of epoch `raised` or further keep what was relied on.
    async fn is_kept(&self, copied: &SyncCopied, roots: &KeptRoots, raised: u64) -> Result<bool> {
        for (id, time, part) in &copied.relied {
            let is_kept = self.to.is_kept_by(roots, *id, *time, *part).await?;
            // Of what lies on the side of a merge only the record was relied on. Of all refs it is known, of raised ones it is not.
            let may_be_behind = *part == KeptPart::Record && raised == 0;
            let is_kept = is_kept || may_be_behind && Box::pin(self.to.is_behind_any(*id)).await?;
            if !is_kept {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
