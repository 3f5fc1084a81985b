//! One commit in place of many.

use futures::TryStreamExt as _;

use crate::commit::CommitOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Repository;
use crate::history::Line;
use crate::refs::{Move, MoveOp, RefName};
use crate::repository::MoveTarget;
use crate::snapshot::Snapshot;

/// The field of a commit that names the last of those in whose place it is.
const SQUASHED: &str = "squashed-from";

/// What [`Repository::squash`] did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Squashed {
    /// The new commit.
    pub snapshot: Snapshot,
    /// The move of the branch to it.
    pub moved: Move,
}

impl Repository {
    /// Makes one commit on top of `onto`, with exactly what the tip of `branch` holds, and points the branch at it: the commits after
    /// `onto` become one. The commit names the former tip in the field `squashed-from`.
    ///
    /// Versions that the former commits merged are further parents of the new one, so that the branch still has them: merged once more
    /// there is nothing to do.
    ///
    /// The former commits stay readable, by their ids and at the times at which the branch showed them, as after every recorded move;
    /// [`undo`](Self::undo) brings them back. No chunk and no node of the manifest is written.
    ///
    /// `Invalid` when `onto` is the tip, or not on the first-parent line behind it, and when the options are wrong. `Conflict` when the
    /// branch moves meanwhile; then it is as it was. Cancelled as [`reset`](Self::reset) is.
    pub async fn squash(&self, branch: &RefName, onto: &Snapshot, options: impl Into<CommitOptions>) -> Result<Squashed> {
        let mut options: CommitOptions = options.into();
        let session = self.write(branch.as_str()).await?;
        let tip = session.base().clone();
        let (id, time) = (onto.id(), onto.record().time);
        if id == tip.id() || !Line::of(&tip).contains(id, time).await? {
            return Err(Error::invalid(format!("snapshot {id} is not before the tip of branch {branch} on its first-parent line")));
        }
        options.meta.insert(SQUASHED.to_owned(), tip.id().to_string());
        let written = session.write_like_tip(onto, &self.merged_since(&tip, onto).await?, &options).await?;
        let moved = self.move_branch_at(branch, tip.id(), MoveTarget::Written(&written), MoveOp::Squash).await?;
        let moved = moved.ok_or_else(|| Error::conflict(format!("branch {branch} moved meanwhile; nothing was squashed")))?;
        Ok(Squashed { snapshot: written.snapshot, moved })
    }

    /// The versions that were merged by the commits from `onto`, exclusive, to `tip`, and that are not behind `onto` or another of them.
    /// Reads each of these commits. One that this repository does not have is left out.
    async fn merged_since(&self, tip: &Snapshot, onto: &Snapshot) -> Result<Vec<Snapshot>> {
        let mut ids = Vec::new();
        let mut line = std::pin::pin!(tip.log());
        while let Some(entry) = line.try_next().await?.filter(|entry| entry.id != onto.id()) {
            let commit = self.objects().commit(&entry.id).await?;
            ids.extend(commit.parents.iter().skip(1).filter(|id| !ids.contains(*id)).copied().collect::<Vec<_>>());
        }
        let mut merged = Vec::new();
        for id in ids {
            if let Some(commit) = self.objects().try_commit(&id).await? {
                merged.push(Snapshot::new(self.clone(), id, commit));
            }
        }
        // None of them lies behind one that is earlier.
        merged.sort_by_key(|version| std::cmp::Reverse(version.record().time));
        let mut latest: Vec<Snapshot> = Vec::new();
        for version in merged {
            let mut is_had = false;
            for other in std::iter::once(onto).chain(&latest) {
                is_had = is_had
                    || match version.is_behind(other).await {
                        // Their histories are not known far enough to tell.
                        Err(e) if e.kind() == ErrorKind::NotFound => false,
                        told => told?,
                    };
            }
            if !is_had {
                latest.push(version);
            }
        }
        Ok(latest)
    }
}
