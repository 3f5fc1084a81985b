//! The checks of a version as a whole, and the last objects that it needs in this repository.

use super::blocks::CarVersion;
use super::collection::Links;
use super::origin::ImportOrigin;
use crate::commit::recount;
use crate::error::{Error, Result};
use crate::format::{Entry, Roots, SnapshotObject, Value, VirtualFile};
use crate::handle::Repository;
use crate::history::PastMark;
use crate::id::NodeId;
use crate::map::{Map, NodeSource};
use crate::objects::{CachedValue, Objects, Uploads};

impl Repository {
    /// Checks a version whose blocks are all stored, stores the rest of it, and makes everything durable. Returns what it
    /// leads to, `known` being the last garbage collection of which the import knew when it began.
    pub(super) async fn complete(&self, version: &CarVersion, known: u64) -> Result<Links> {
        let commit = &version.commit;
        check_map::<VirtualFile>(self.objects(), commit.files).await?;
        check_map::<Entry>(self.objects(), commit.manifest).await?;
        if let Some(wrong) = recount(self.objects(), None, commit).await?.first() {
            return Err(Error::corrupt(format!("version {}: {wrong}", version.id)));
        }
        let objects = self.objects();
        let mut uploads = Uploads::new(objects);
        let origin = self.prove_origin(commit, &mut uploads).await.map_err(|e| e.context(format!("version {}", version.id)))?;
        uploads.finish().await?;
        let history = if origin.has_history { Some(objects.load(commit.history).await?) } else { None };
        let roots = Roots { manifest: Some(objects.load(commit.manifest).await?), files: Some(objects.load(commit.files).await?), history };
        // Before the snapshot: without a marker, what it names counts as proved.
        let is_marked = !origin.is_whole();
        if is_marked {
            let mark = if origin.has_history { PastMark::OtherParents } else { PastMark::History };
            mark.write(&**self.storage(), version.id).await?;
        } else if PastMark::read(&**self.storage(), version.id).await? != PastMark::Whole {
            // An earlier import came without something.
            PastMark::Whole.write(&**self.storage(), version.id).await?;
        }
        uploads.snapshot(version.id, &SnapshotObject { commit: commit.clone(), roots }).await?;
        uploads.finish().await?;
        self.storage().barrier().await?;
        let ImportOrigin { has_history, linked, epoch, .. } = origin;
        Ok(Links { known: known.min(epoch), parents: linked, has_history, is_marked })
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
