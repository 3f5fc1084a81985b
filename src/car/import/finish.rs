//! What must hold of a version as a whole, and what makes it one of this repository.

use super::blocks::Version;
use crate::commit::{extend_history, recount};
use crate::error::{Error, Result};
use crate::format::{Commit, Entry, HistoryEntry, Roots, SnapshotObject, Value, VirtualFile};
use crate::handle::Repository;
use crate::id::NodeId;
use crate::map::{Map, NodeSource, build};
use crate::objects::{CachedValue, Objects, Uploads};
use crate::snapshot::Snapshot;
use crate::storage::ObjectName;

impl Repository {
    /// Checks a version whose blocks are all stored, stores the rest of it, and makes everything durable. Says whether it is
    /// shallow.
    pub(super) async fn complete(&self, version: &Version) -> Result<bool> {
        let commit = &version.commit;
        check_map::<VirtualFile>(self.objects(), commit.files).await?;
        check_map::<Entry>(self.objects(), commit.manifest).await?;
        if let Some(wrong) = recount(self.objects(), None, commit).await?.first() {
            return Err(Error::corrupt(format!("version {}: {wrong}", version.id)));
        }
        let objects = self.objects();
        let mut uploads = Uploads::new(objects);
        let has_history = self.adopt_history(commit, &mut uploads).await.map_err(|e| e.context(format!("version {}", version.id)))?;
        uploads.finish().await?;
        let history = if has_history { Some(objects.load(commit.history).await?) } else { None };
        let roots = Roots { manifest: Some(objects.load(commit.manifest).await?), files: Some(objects.load(commit.files).await?), history };
        uploads.snapshot(version.id, &SnapshotObject { commit: commit.clone(), roots }).await?;
        uploads.finish().await?;
        if !has_history {
            self.storage().put(&ObjectName::shallow(&version.id), &[]).await?;
        }
        self.storage().barrier().await?;
        Ok(!has_history)
    }

    /// Stores the history map of a version that came without it, if what this repository knows of its parent leads to that very
    /// map. Nothing is linked but what lies behind the parent, which a branch or a tag keeps.
    async fn adopt_history(&self, commit: &Commit, uploads: &mut Uploads) -> Result<bool> {
        let Some(parent) = commit.parents.first() else {
            let empty = build::<HistoryEntry, _>(futures::stream::empty(), self.objects().shape(), uploads).await?;
            if empty.root == commit.history && commit.since.is_none() {
                return Ok(true);
            }
            return Err(Error::corrupt("it has a history, but no parent"));
        };
        let found = match self.objects().try_commit(parent).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(false),
            // Damage to what was here before is no fault of what is being imported.
            Err(e) if e.is_damage() => return Ok(false),
            Err(e) => return Err(e),
        };
        if found.time >= commit.time {
            return Err(Error::corrupt(format!("it is stamped {}, its parent {}", commit.time, found.time)));
        }
        if !self.keeps(*parent, found.time).await? {
            return Ok(false);
        }
        let parent = Snapshot::new(self.clone(), *parent, found);
        match extend_history(&parent, uploads).await {
            Ok(found) => Ok(found == (commit.history, commit.since)),
            Err(e) if e.is_damage() => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// Refuses a map that is not canonical.
async fn check_map<V: CachedValue + Value>(objects: &Objects, root: NodeId) -> Result<()> {
    let checked = Map::<V, _>::new(objects, root).check(objects.shape()).await?;
    match checked.findings.into_iter().next() {
        None => Ok(()),
        Some(error) => Err(error.context(format!("the {} map {root}", V::KIND))),
    }
}
