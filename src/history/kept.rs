//! Which snapshots the refs of a repository keep.

use std::collections::BTreeSet;

use futures::StreamExt;

use super::ancestry::Line;
use crate::error::Result;
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::{MAIN, READS, RefKind, RefState, is_unreadable};
use crate::time::Timestamp;

/// Whether the refs keep a snapshot: one of them points at it, has a move that came from it or led to it, or has it in
/// the history behind one of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A ref keeps it.
    Yes,
    /// No ref keeps it.
    No,
    /// No readable ref keeps it, but a ref is damaged that may.
    Unknown,
}

impl Repository {
    /// Whether a branch or a tag is known to keep the snapshot `id`, committed at `time`.
    pub(crate) async fn keeps(&self, id: SnapshotId, time: Timestamp) -> Result<bool> {
        Ok(self.kept(id, time).await? == Kept::Yes)
    }

    /// Whether a branch or a tag keeps the snapshot `id`, committed at `time`.
    ///
    /// Reads all refs, and the snapshots that they name, many at a time; fewer when an early answer is yes.
    pub(crate) async fn kept(&self, id: SnapshotId, time: Timestamp) -> Result<Kept> {
        let (branches, tags) = futures::try_join!(self.refs().list(RefKind::Branch), self.refs().list(RefKind::Tag))?;
        // Every repository has a register `main`, and none is ever removed: without it, refs were lost.
        let is_made =
            |state: &Result<RefState>| state.as_ref().is_ok_and(|state| state.record.tip.is_some() || !state.record.moves.is_empty());
        let mut is_damaged = !branches.iter().any(|(name, state)| name.as_str() == MAIN && is_made(state));
        let mut roots = BTreeSet::new();
        for (_, state) in branches.into_iter().chain(tags) {
            match state {
                Ok(state) => roots.extend(state.record.moves.iter().flat_map(|m| [m.from, m.to]).chain([state.record.tip]).flatten()),
                Err(_) => is_damaged = true,
            }
        }
        if roots.contains(&id) {
            return Ok(Kept::Yes);
        }
        let mut answers = futures::stream::iter(roots).map(|root| self.holds(root, id, time)).buffer_unordered(READS);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(true) => return Ok(Kept::Yes),
                Ok(false) => {}
                Err(e) if is_unreadable(&e) => is_damaged = true,
                Err(e) => return Err(e),
            }
        }
        Ok(if is_damaged { Kept::Unknown } else { Kept::No })
    }

    /// Whether `id`, committed at `time`, is `root` or before it.
    async fn holds(&self, root: SnapshotId, id: SnapshotId, time: Timestamp) -> Result<bool> {
        let commit = self.objects().commit(&root).await?;
        if commit.time <= time {
            return Ok(root == id); // Every ancestor is earlier.
        }
        Line { objects: self.objects(), id: root, commit: &commit }.contains(id, time).await
    }
}
