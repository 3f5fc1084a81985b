//! The maps that a commit would have: the staged changes applied to a base.

use std::collections::BTreeSet;

use super::counts::count_files;
use crate::error::{Error, Result};
use crate::format::{Commit, Container, Entry, FileKey, VirtualFile};
use crate::id::NodeId;
use crate::key::MapKey;
use crate::map::{Map, Span};
use crate::objects::Uploads;
use crate::session::{Snapshot, Staged, WriteSession};

/// Everything of a commit but when, why and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) manifest: NodeId,
    pub(crate) files: NodeId,
    pub(crate) containers: Vec<Container>,
    pub(crate) places: Vec<String>,
}

impl Draft {
    /// Whether a commit of it would say what `base` says already.
    pub(super) fn is_unchanged(&self, base: &Commit) -> bool {
        self.manifest == base.manifest && self.files == base.files && self.containers == base.containers
    }
}

impl WriteSession {
    /// Applies what is staged to the session's base, and starts to upload what is new.
    pub(super) async fn draft(&mut self) -> Result<Draft> {
        let edits = edits_of(&self.base, &self.staged).await?;
        apply_edits(&self.base, &self.staged, &edits, &mut self.uploads).await
    }
}

/// The staged entries, and a deletion of every key of `base` in a deleted range.
async fn edits_of(base: &Snapshot, staged: &Staged) -> Result<Vec<(MapKey, Option<Entry>)>> {
    let mut edits: Vec<_> = staged.entries().iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
    for prefix in staged.deleted() {
        let mut doomed = base.manifest().scan(Span::prefix(prefix));
        while let Some((key, _)) = doomed.next().await? {
            if !staged.entries().contains_key(&key) {
                edits.push((key, None));
            }
        }
    }
    if !staged.deleted().is_empty() {
        edits.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    Ok(edits)
}

/// Edits the manifest of `base`, and lets the files map follow.
pub(crate) async fn apply_edits(
    base: &Snapshot,
    staged: &Staged,
    edits: &[(MapKey, Option<Entry>)],
    uploads: &mut Uploads,
) -> Result<Draft> {
    let shape = base.repository().objects().shape();
    let edited = base.manifest().edit(edits, shape, uploads).await?;
    let file_edits = count_files(base, staged, edits, &edited.replaced).await?;
    let files = base.file_map().edit(&file_edits, shape, uploads).await?.root;
    let needed = staged.needed_containers();
    let containers = Staged::merge_containers(&base.commit().containers, needed.iter().copied());
    let is_redefined = |c: &Container| base.commit().containers.iter().any(|before| before.name == c.name && before != c);
    let redefined: BTreeSet<_> = needed.iter().filter(|c| is_redefined(c)).map(|c| c.name.as_str()).collect();
    if !redefined.is_empty() {
        uploads.finish().await?;
        require_places(base, files, &containers, &redefined).await?;
    }
    let mut places: BTreeSet<_> = base.commit().places.iter().cloned().collect();
    for container in needed {
        places.insert(container.place()?);
    }
    Ok(Draft { manifest: edited.root, files, containers, places: places.into_iter().collect() })
}

/// Refuses a new definition of a container that has no place for a file already named in it.
async fn require_places(base: &Snapshot, files: NodeId, containers: &[Container], redefined: &BTreeSet<&str>) -> Result<()> {
    let mut all = Map::<VirtualFile, _>::new(base.repository().objects(), files).scan(Span::all());
    while let Some((key, _)) = all.next().await? {
        let file = FileKey::from_map_key(&key)?;
        if redefined.contains(file.container())
            && let Err(e) = file.url(containers)
        {
            let name = file.container();
            return Err(Error::invalid(format!("the new definition of container {name} has no place for {file}")).caused_by(e));
        }
    }
    Ok(())
}
