//! The staged changes of a session that many tasks and threads use at once.
//!
//! A lock protects them. It is held for a few operations on maps, and never while anything is read, written or awaited: what has
//! to be read lies in runs, which never change and are shared with the reader.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Lookup, PlaceWatch, Staged, StagedLayers};
use crate::error::Result;
use crate::format::Entry;
use crate::key::{MapKey, Prefix};

/// Staged changes behind a lock.
#[derive(Debug)]
pub(crate) struct SharedStaged(Mutex<Staged>);

impl SharedStaged {
    pub(crate) const fn new(staged: Staged) -> Self {
        Self(Mutex::new(staged))
    }

    /// The changes, for operations that neither wait nor read. No other lock is taken while this one is held.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Staged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The changes, for a caller that has the session to itself.
    pub(crate) fn get_mut(&mut self) -> &mut Staged {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is staged for a key, by itself or by a prefix delete.
    pub(crate) fn lookup(&self, key: &MapKey) -> Result<Lookup> {
        let below = {
            let staged = self.lock();
            if let Some(found) = staged.layers().lookup_in_memory(key)? {
                return Ok(found);
            }
            staged.layers().shared(None)
        };
        below.lookup(key)
    }

    /// What is staged now for keys below `prefix`, whatever is staged later.
    pub(crate) fn below(&self, prefix: &Prefix) -> StagedLayers {
        let mut staged = self.lock();
        if staged.layers().has_many_below(prefix) {
            staged.freeze();
        }
        staged.layers().shared(Some(prefix))
    }

    /// Stages an entry, or the deletion of one.
    ///
    /// `Unavailable` when what is staged already does not fit into memory and there is no scratch space: then nothing is
    /// staged, and nothing is lost. The same holds when the future is dropped.
    pub(crate) async fn put(&self, key: MapKey, entry: Option<Entry>) -> Result<()> {
        self.make_room().await?;
        self.lock().insert(key, entry);
        Ok(())
    }

    /// Stages a change of one key, unless another call has staged something at the places of `watch`: then `false`. The watch does not
    /// notice this change. Fails and is cancelled as [`put`](Self::put) is.
    pub(crate) async fn put_alone(&self, watch: &PlaceWatch, key: MapKey, entry: Option<Entry>) -> Result<bool> {
        self.make_room().await?;
        let mut staged = self.lock();
        if watch.is_touched() {
            return Ok(false);
        }
        staged.insert(key, entry);
        watch.reset();
        Ok(true)
    }

    /// Makes room for one more change; waits only while changes take more memory than they may.
    ///
    /// `Unavailable` when there is no room on disk either, and then nothing is lost. Dropping the future loses nothing, and holds up
    /// no other caller.
    pub(crate) async fn make_room(&self) -> Result<()> {
        let mut failures = 0;
        loop {
            let ended = {
                let mut staged = self.lock();
                if failures == 0 && staged.has_room() {
                    return Ok(());
                }
                let collected = staged.collect();
                staged.begin_work();
                if !staged.is_full() {
                    return Ok(());
                }
                if let Err(e) = collected {
                    // Work that another runtime took with it, or that failed long ago, is tried again.
                    failures += 1;
                    if failures > 1 {
                        return Err(e);
                    }
                }
                staged.work_ended()
            };
            ended.await;
        }
    }

    /// Waits for all work, and for all that becomes due by it.
    #[cfg(test)]
    pub(super) async fn settle(&self) {
        loop {
            let ended = {
                let mut staged = self.lock();
                staged.collect().unwrap();
                staged.begin_work();
                if !staged.is_working() {
                    return;
                }
                staged.work_ended()
            };
            ended.await;
        }
    }
}
