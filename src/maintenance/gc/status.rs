//! Whether garbage is being collected at this moment.

use crate::error::{Error, ErrorKind, Result};
use crate::handle::Repository;
use crate::refs::collection::GcPhase;

/// Whether garbage is being collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GcActivity {
    /// No.
    Idle,
    /// Another process, or this one, is collecting.
    UnderWay,
    /// A collection has begun, and the process that began it is gone. The next [`begin_gc`](Repository::begin_gc) ends it. Until then
    /// writers wait that need what it condemns.
    Left,
    /// Either of the last two: the store has no lock that would tell, or it cannot be tried. The next `begin_gc` finds out.
    Unclear,
}

impl GcActivity {
    /// The words for it in output: `idle`, `under way`, `left`, `unclear`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::UnderWay => "under way",
            Self::Left => "left",
            Self::Unclear => "unclear",
        }
    }
}

/// What is known of the collections of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcStatus {
    /// Whether one is under way.
    pub activity: GcActivity,
    /// The number of the last collection that has begun; 0 when there was none.
    pub epoch: u64,
    /// Whether that one has begun to remove objects and has not ended.
    pub is_removing: bool,
}

impl Repository {
    /// Tells whether garbage is being collected.
    ///
    /// Reads two registers; `Corrupt` when that of collections is damaged or was lost. If a collection has begun there, takes the lock of collections for a moment, where the store has one: a collection
    /// that another process begins at that moment fails as `Locked`. Otherwise changes nothing, and can be cancelled at any moment.
    pub async fn gc_status(&self) -> Result<GcStatus> {
        let mut state = self.refs().collection_after(self.refs().epoch_of_main().await).await?.state;
        let mut activity = GcActivity::Idle;
        if state.is_running() {
            activity = match self.storage().collecting().await {
                // Its owner may have ended it before the lock was free.
                Ok(store) if store.lock.is_some() => {
                    state = self.refs().collection().await?.state;
                    if state.is_running() { GcActivity::Left } else { GcActivity::Idle }
                }
                Err(e) if e.kind() == ErrorKind::Locked => GcActivity::UnderWay,
                Ok(_) => GcActivity::Unclear,
                Err(e) if cannot_tell(&e) => GcActivity::Unclear,
                Err(e) => return Err(e),
            };
        }
        Ok(GcStatus { activity, epoch: state.epoch, is_removing: state.phase == GcPhase::Sweep })
    }
}

/// Whether this reader may not take the lock, which is no reason to know nothing.
fn cannot_tell(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NoPermission | ErrorKind::Denied)
}
