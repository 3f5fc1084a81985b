//! The claims of an imported commit about the commits before it.
//!
//! A CAR file holds neither parents nor history: the commit names both by id only. Claims that cannot be true are refused. Claims that
//! this repository can check are checked. The others are kept as claims: a marker records that the version is shallow, its history
//! is never shown, and `verify` lists it as shallow.

use std::sync::Arc;

use crate::error::Result;
use crate::format::Commit;
use crate::handle::Repository;
use crate::history::{Followed, KeptPart, Line, check_claims, follows, require_earlier, require_places};
use crate::id::SnapshotId;
use crate::map::Nowhere;
use crate::objects::Uploads;
use crate::time::Timestamp;

/// What this repository has, and a ref keeps, of the line behind an imported version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImportOrigin {
    /// The history map, proved to be the line of the first parent.
    pub(super) has_history: bool,
    /// All parents.
    pub(super) has_parents: bool,
    /// The parents that the version leads to, and when they were committed.
    pub(super) linked: Vec<(SnapshotId, Timestamp)>,
    /// The lowest epoch of the refs that were asked.
    pub(super) epoch: u64,
}

impl ImportOrigin {
    /// Whether nothing is missing.
    pub(super) const fn is_whole(&self) -> bool {
        self.has_history && self.has_parents
    }
}

impl Repository {
    /// Checks what `commit` says of the commits before it, and stores its history map if this repository can prove it.
    ///
    /// `Corrupt` when the claims contradict each other or the parents that are here. A history is stored only behind a parent that a
    /// branch or a tag keeps, so that nothing is linked that a garbage collection may delete.
    pub(super) async fn prove_origin(&self, commit: &Commit, uploads: &mut Uploads) -> Result<ImportOrigin> {
        check_claims(self.objects(), commit).await?;
        let mut origin = ImportOrigin { has_history: true, has_parents: true, linked: Vec::new(), epoch: u64::MAX };
        let Some((first, others)) = commit.parents.split_first() else { return Ok(origin) };
        origin.has_history = false;
        for id in others {
            let Some(parent) = self.parent(id).await? else {
                origin.has_parents = false;
                continue;
            };
            require_earlier(parent.time, commit.time)?;
            if !self.link(*id, parent.time, &mut origin).await? {
                origin.has_parents = false;
            }
        }
        let Some(parent) = self.parent(first).await? else {
            origin.has_parents = false;
            return Ok(origin);
        };
        require_earlier(parent.time, commit.time)?;
        require_places(*first, &parent, commit)?;
        let line = Line { objects: self.objects(), id: *first, commit: &parent };
        let is_kept = self.link(*first, parent.time, &mut origin).await?;
        let has_history = match line.vouches().await {
            Err(e) if e.is_damage() => false,
            known => known?,
        };
        let followed = if is_kept {
            follows(line, has_history, commit, uploads).await?
        } else {
            follows(line, has_history, commit, &mut Nowhere).await?
        };
        origin.has_history = is_kept && matches!(followed, Followed::Yes);
        Ok(origin)
    }

    /// Notes that the version leads to a parent, if a ref keeps it.
    async fn link(&self, parent: SnapshotId, time: Timestamp, origin: &mut ImportOrigin) -> Result<bool> {
        let Some(epoch) = self.keeps(parent, time, KeptPart::Record).await? else { return Ok(false) };
        origin.epoch = origin.epoch.min(epoch);
        origin.linked.push((parent, time));
        Ok(true)
    }

    /// The commit of a parent; `None` when it is not here, or damaged, which is not the fault of what is being imported.
    async fn parent(&self, id: &SnapshotId) -> Result<Option<Arc<Commit>>> {
        match self.objects().try_commit(id).await {
            Err(e) if e.is_damage() => Ok(None),
            found => found,
        }
    }
}
