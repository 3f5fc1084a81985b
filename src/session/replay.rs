//! Staging what leads from one version to another, to apply it to the tip of a branch.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;

use super::{Relied, Staged, StagedFile, WriteSession};
use crate::error::{Error, Result};
use crate::format::{Entry, FileKey, VirtualFile};
use crate::history::{Change, container_changes, map_changes};
use crate::id::SnapshotId;
use crate::key::MapKey;
use crate::map::{MapChange, Span};
use crate::snapshot::Snapshot;
use crate::virtuals::Validator;

/// How many files are looked up together.
const BATCH: usize = 2048;

/// What a session says besides its changes, if these are the changes of other versions.
#[derive(Debug, Clone, Default)]
pub(crate) struct AppliedVersions {
    /// The further parents of the commit.
    pub(crate) parents: Vec<Snapshot>,
    /// The one latest common ancestor of them and the branch, if the changes lead from there; `None` if a base was named.
    pub(crate) common: Option<SnapshotId>,
    /// What other writers made of it since.
    pub(crate) meanwhile: MergedMeanwhile,
}

/// What became of a merge, while it was staged, by what other writers did to the branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MergedMeanwhile {
    /// Nothing: it is still to be made.
    #[default]
    Not,
    /// The branch got all that is merged, so there is nothing more to commit.
    Wholly,
    /// The branch got a part of it, or lost what both had in common: what is staged are no longer the changes of one side.
    Partly,
}

impl WriteSession {
    /// Makes `from` the base of this session, in which nothing is staged yet, and stages what leads from there to `to`. A commit
    /// on `from` would have exactly the maps of `to`. The caller makes the tip of the branch the base again.
    ///
    /// Costs the diff of the two, and one lookup for each file that the changes point into. Keeps those files in memory. After an error
    /// the session is not to be used.
    pub(crate) async fn stage_changes(&mut self, from: &Snapshot, to: &Snapshot) -> Result<()> {
        self.base = from.clone();
        let staged = self.staged.get_mut();
        for change in container_changes(&from.record().containers, &to.record().containers) {
            match change {
                Change::Container { new: Some(container), .. } => staged.set_container(container, &from.record().containers),
                Change::Container { name, .. } => staged.remove_container(&name),
                Change::Key { .. } | Change::File { .. } => {}
            }
        }
        let mut files = std::pin::pin!(map_changes::<VirtualFile>(from, to, |of| of.files, Span::all()));
        while let Some(change) = files.try_next().await? {
            stage_state(staged, &change)?;
        }
        let mut unknown = BTreeSet::new();
        let mut keys = std::pin::pin!(map_changes::<Entry>(from, to, |of| of.manifest, Span::all()));
        while let Some(MapChange { key, old, new }) = keys.try_next().await? {
            if let Some(file) = renamed(old.as_ref(), new.as_ref()) {
                // What the other version knows of the file under its new name follows from what was recorded under the old one.
                self.staged.lock().rely_on(file.clone(), Relied::Record);
            }
            if let Some(file) = new.as_ref().and_then(Entry::file).filter(|file| !self.staged.lock().files().contains_key(*file)) {
                unknown.insert(file.clone());
                if unknown.len() >= BATCH {
                    self.know_files(to, std::mem::take(&mut unknown)).await?;
                }
            }
            self.staged.put(key, new).await?;
        }
        self.know_files(to, unknown).await
    }

    /// Notes what `to` knows of files.
    async fn know_files(&self, to: &Snapshot, files: BTreeSet<FileKey>) -> Result<()> {
        let keys: Vec<MapKey> = files.iter().map(|file| file.as_map_key().clone()).collect();
        let records = to.file_map().find_many(&keys).await?;
        let mut staged = self.staged.lock();
        for (file, record) in files.into_iter().zip(records) {
            let record = record.ok_or_else(|| Error::corrupt(format!("{file}, which keys lie in, is not in the files map")))?;
            staged.set_file(file, StagedFile::of(&record));
        }
        Ok(())
    }
}

/// The file whose name was changed under a reference, if that is what was changed.
fn renamed<'e>(old: Option<&'e Entry>, new: Option<&'e Entry>) -> Option<&'e FileKey> {
    match (old, new) {
        (Some(Entry::Virtual { file, offset, length }), Some(Entry::Virtual { file: now, offset: begin, length: count })) => {
            (file != now && (offset, length) == (begin, count)).then_some(file)
        }
        _ => None,
    }
}

/// Stages a change of what is recorded of a file, if it is more than one of its counts.
fn stage_state(staged: &mut Staged, change: &MapChange<VirtualFile>) -> Result<()> {
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        // A file that is new comes with the references into it, and one that is gone goes with them.
        return Ok(());
    };
    // Of a file that nothing pins only the moment of staging may differ, and of two the earlier one counts. One that was pinned may have
    // lost its pin, if a first pin is taken back.
    if (old.is_pinned() || new.is_pinned()) && Validator::of(old) != Validator::of(new) {
        let file = FileKey::from_map_key(&change.key)?;
        staged.set_file(file, StagedFile { repin: true, by_itself: true, ..StagedFile::of(new) });
    }
    Ok(())
}
