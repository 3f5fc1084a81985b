//! The maps that a commit would have: the staged changes applied to a base.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::vec;

use super::counts::{Deltas, FileEdits};
use super::recorded::RecordedChanges;
use crate::error::{Error, Result};
use crate::format::{ChangeList, Commit, Container, Entry, FileKey, VirtualFile};
use crate::id::NodeId;
use crate::key::{MapKey, Prefix};
use crate::map::{Edit, Edits, Map, Scan, Span};
use crate::objects::{Objects, Uploads};
use crate::session::{Staged, StagedEdits, WriteSession};
use crate::snapshot::Snapshot;

/// Everything of a commit but when, why and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) manifest: NodeId,
    pub(crate) files: NodeId,
    pub(crate) containers: Vec<Container>,
    pub(crate) places: Vec<String>,
    /// What leads to the manifest from that of the base, if it is little.
    pub(super) changes: Option<ChangeList>,
}

impl Draft {
    /// What a commit has.
    pub(super) fn of(commit: &Commit) -> Self {
        let (containers, places) = (commit.containers.clone(), commit.places.clone());
        Self { manifest: commit.manifest, files: commit.files, containers, places, changes: None }
    }

    /// Whether a commit of it would say what `base` says already.
    pub(super) fn is_unchanged(&self, base: &Commit) -> bool {
        self.manifest == base.manifest && self.files == base.files && self.containers == base.containers
    }
}

impl WriteSession {
    /// Applies what is staged to the session's base, and starts to upload what is new.
    pub(super) async fn draft(&mut self) -> Result<Draft> {
        self.uploads.begin_draft();
        apply(&self.base, self.staged.get_mut(), &mut self.uploads).await
    }
}

/// How many edits are in memory at once: enough to send for the leaves they touch together.
const BATCH: usize = 2048;

/// The staged entries, and a deletion of every key of the base in a deleted range, in the order of the keys.
struct AllEdits<'a> {
    manifest: Map<'a, Entry, Objects>,
    staged: StagedEdits<'a>,
    /// The staged edit that comes next.
    next: Option<Edit<Entry>>,
    /// The deleted ranges that have not been begun.
    deleted: vec::IntoIter<&'a Prefix>,
    /// The keys of the base in the one that has, and the next of them.
    doomed: Option<(Scan<'a, Entry, Objects>, MapKey)>,
}

impl<'a> AllEdits<'a> {
    async fn new(base: &'a Snapshot, staged: &'a Staged) -> Result<Self> {
        let (mut edits, deleted) = (staged.layers().edits(None)?, staged.layers().deleted().into_iter());
        let next = edits.next()?;
        let mut all = Self { manifest: base.manifest(), staged: edits, next, deleted, doomed: None };
        all.find_doomed(None).await?;
        Ok(all)
    }

    /// Goes to the next key to be deleted, from a place among them or from the beginning of the next range.
    async fn find_doomed(&mut self, mut place: Option<Scan<'a, Entry, Objects>>) -> Result<()> {
        loop {
            if let Some(mut scan) = place
                && let Some((key, _)) = scan.next().await?
            {
                self.doomed = Some((scan, key));
                return Ok(());
            }
            let Some(prefix) = self.deleted.next() else { return Ok(()) };
            place = Some(self.manifest.scan(Span::prefix(prefix)));
        }
    }

    async fn next(&mut self) -> Result<Option<Edit<Entry>>> {
        let order = match (&self.next, &self.doomed) {
            (_, None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((staged, _)), Some((_, doomed))) => staged.cmp(doomed),
        };
        let mut edit = None;
        if order != Ordering::Less
            && let Some((scan, key)) = self.doomed.take()
        {
            self.find_doomed(Some(scan)).await?;
            edit = Some((key, None));
        }
        // What is staged for a key counts for more than its being in a deleted range.
        if order != Ordering::Greater && self.next.is_some() {
            edit = std::mem::replace(&mut self.next, self.staged.next()?);
        }
        Ok(edit)
    }
}

impl Edits<Entry> for AllEdits<'_> {
    async fn next_batch(&mut self) -> Result<Vec<Edit<Entry>>> {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(edit) = self.next().await?
        {
            batch.push(edit);
        }
        Ok(batch)
    }
}

/// Edits the manifest of `base`, and lets the files map follow.
async fn apply(base: &Snapshot, staged: &Staged, uploads: &mut Uploads) -> Result<Draft> {
    let shape = base.repository().objects().shape();
    let mut deltas = Deltas::default();
    let edits = AllEdits::new(base, staged).await?;
    let mut recorded = RecordedChanges::default();
    let see = |key: &MapKey, old: Option<&Entry>, new: Option<&Entry>| {
        recorded.see(key, old, new);
        deltas.see(old, new)
    };
    let manifest = base.manifest().edit_stream(edits, see, shape, uploads).await?.root;
    let mut resized = BTreeMap::new();
    let edits = FileEdits::new(base, staged, &mut deltas, &mut resized);
    let see = |_: &MapKey, old: Option<&VirtualFile>, new: Option<&VirtualFile>| {
        recorded.see_file(old, new);
        Ok(())
    };
    let files = base.file_map().edit_stream(edits, see, shape, uploads).await?.root;
    let changes = recorded.into_list(base.record(), manifest, files);
    if !resized.is_empty() {
        uploads.finish().await?;
        require_within(base, manifest, &resized).await?;
    }
    let used = deltas.containers();
    let needed = staged.needed_containers(&used);
    let in_use = removed_in_use(base, staged, files, uploads).await?;
    let containers = staged.merge_containers(&base.record().containers, in_use.into_iter().chain(needed.iter().copied()));
    if let Some(name) = used.iter().find(|name| containers.iter().all(|container| container.name != **name)) {
        return Err(Error::invalid(format!(
            "container {name} was removed while references into files in it were staged; stage it again, or drop the references"
        )));
    }
    let is_redefined = |c: &Container| base.record().containers.iter().any(|before| before.name == c.name && before != c);
    let redefined: BTreeSet<_> = needed.iter().filter(|c| is_redefined(c)).map(|c| c.name.as_str()).collect();
    if !redefined.is_empty() {
        uploads.finish().await?;
        require_places(base, files, &containers, &redefined).await?;
    }
    let mut places: BTreeSet<_> = base.record().places.iter().cloned().collect();
    for container in needed {
        places.insert(container.place()?);
    }
    Ok(Draft { manifest, files, containers, places: places.into_iter().collect(), changes })
}

/// The automatic containers that were removed and in which files lie nevertheless: they stay. `Invalid` for another container that was
/// removed and is in use.
async fn removed_in_use<'b>(base: &'b Snapshot, staged: &Staged, files: NodeId, uploads: &mut Uploads) -> Result<Vec<&'b Container>> {
    let removed: Vec<_> = base.record().containers.iter().filter(|c| staged.removed_containers().contains(&c.name)).collect();
    if removed.is_empty() {
        return Ok(removed);
    }
    uploads.finish().await?;
    let mut uses: BTreeMap<&str, (u64, u64)> = removed.iter().map(|c| (c.name.as_str(), (0, 0))).collect();
    let mut all = Map::<VirtualFile, _>::new(base.repository().objects(), files).scan(Span::all());
    while let Some((key, record)) = all.next().await? {
        if let Some((files, refs)) = uses.get_mut(FileKey::from_map_key(&key)?.container()) {
            (*files, *refs) = (*files + 1, *refs + record.refs);
        }
    }
    let in_use = |c: &&Container| uses.get(c.name.as_str()).filter(|(files, _)| *files > 0);
    match removed.iter().find_map(|c| in_use(c).filter(|_| !c.is_automatic()).map(|uses| (c, uses))) {
        Some((c, (files, refs))) => Err(Error::invalid(format!(
            "container {} is in use and cannot be removed: {files} files with {refs} references lie in it",
            c.name
        ))),
        None => Ok(removed.into_iter().filter(|c| in_use(c).is_some()).collect()),
    }
}

/// Refuses a state of a file that is too short for older references into it.
async fn require_within(base: &Snapshot, manifest: NodeId, resized: &BTreeMap<FileKey, u64>) -> Result<()> {
    let mut all = Map::<Entry, _>::new(base.repository().objects(), manifest).scan(Span::all());
    while let Some((key, entry)) = all.next().await? {
        if let Entry::Virtual { file, offset, length } = entry
            && let Some(size) = resized.get(&file)
            && let end = offset.saturating_add(length)
            && end > *size
        {
            return Err(Error::invalid(format!("{key} ends at byte {end} of {file}, which has {size} now; replace or delete it too")));
        }
    }
    Ok(())
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
