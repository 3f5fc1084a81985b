//! Whether a ref keeps a snapshot.

use super::ancestry::Line;
use crate::error::Result;
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::RefKind;
use crate::time::Timestamp;

impl Repository {
    /// Whether `id`, committed at `time`, is `root` or before it.
    async fn holds(&self, root: SnapshotId, id: SnapshotId, time: Timestamp) -> Result<bool> {
        let commit = self.objects().commit(&root).await?;
        Line { objects: self.objects(), id: root, commit: &commit }.contains(id, time).await
    }

    /// Whether a branch or a tag keeps the snapshot `id`, committed at `time`.
    pub(crate) async fn keeps(&self, id: SnapshotId, time: Timestamp) -> Result<bool> {
        for kind in [RefKind::Branch, RefKind::Tag] {
            for (_, state) in self.refs().list(kind).await? {
                let mut roots: Vec<_> =
                    state.record.moves.iter().flat_map(|m| [m.from, m.to]).chain([state.record.tip]).flatten().collect();
                roots.sort_unstable();
                roots.dedup();
                for root in roots {
                    match self.holds(root, id, time).await {
                        Ok(false) => {}
                        // What is damaged keeps nothing, and keeps nobody from the rest.
                        Err(e) if e.is_damage() => {}
                        found => return found,
                    }
                }
            }
        }
        Ok(false)
    }
}
