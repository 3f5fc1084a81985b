//! The virtual-file manifest follows the manifest: counts are deltas of what an edit replaced.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::error::{Error, ErrorKind, Remedy, Result};
use crate::format::{Entry, FileKey, VirtualFile, limits};
use crate::map::{Edit, Edits};
use crate::seeded::Seeded;
use crate::session::{Staged, StagedFile};
use crate::snapshot::Snapshot;
use crate::virtuals::Validator;

/// What an edit does to the references into one file.
#[derive(Debug, Default, Clone, Copy)]
struct Delta {
    added: Count,
    removed: Count,
    /// References that were staged again just as they were.
    again: Count,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    refs: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, length: u64) -> Result<()> {
        let overflow = || Error::invalid("the lengths of the references into one file add up to more than 2^64 bytes");
        self.refs += 1;
        self.bytes = self.bytes.checked_add(length).ok_or_else(overflow)?;
        Ok(())
    }
}

/// How many files are looked up in the files map at once.
const BATCH: usize = 2048;

/// The edits of the files map that follow from the edits of the manifest of `base` that [`Deltas`] have seen, in the order of the keys.
///
/// `SourceChanged` when a staged validator differs from what the map says of a file into which older references
/// remain; `Unsupported` when nothing shows that older and staged references are to one state of it.
pub(super) struct FileEdits<'a> {
    base: &'a Snapshot,
    staged: &'a Staged,
    files: &'a [(FileKey, Delta)],
    /// The lengths of files that have become shorter, or whose lengths the map did not know, and into which older references remain:
    /// these may end past them.
    resized: &'a mut BTreeMap<FileKey, u64>,
}

impl<'a> FileEdits<'a> {
    pub(super) fn new(base: &'a Snapshot, staged: &'a Staged, deltas: &'a mut Deltas, resized: &'a mut BTreeMap<FileKey, u64>) -> Self {
        Self { base, staged, files: deltas.sorted_with(staged.repinned().map(|(file, _)| file)), resized }
    }

    /// The edit of one file, of which the map says `old`; `None` if that stays.
    fn edit(&mut self, file: &FileKey, delta: Delta, old: Option<&VirtualFile>) -> Result<Option<Edit<VirtualFile>>> {
        // A file whose staged references were staged over again, or dropped for another writer's, decides nothing.
        let is_in_use = |known: &&StagedFile| delta.added.refs > 0 || delta.again.refs > 0 || known.by_itself;
        let known = self.staged.files().get(file).filter(is_in_use);
        let new = next_record(file, delta, old, known).map_err(|e| match file.url(&self.base.record().containers) {
            Ok(url) if matches!(e.kind(), ErrorKind::SourceChanged | ErrorKind::Unsupported) => e.remedied_by(Remedy::Repin(url)),
            _ => e,
        })?;
        if let (Some(old), Some(VirtualFile { size: Some(size), .. })) = (old, &new)
            && old.size.is_none_or(|before| before > *size)
            && old.refs > delta.removed.refs
        {
            self.resized.insert(file.clone(), *size);
        }
        Ok((new.as_ref() != old).then(|| (file.as_map_key().clone(), new)))
    }
}

impl Edits<VirtualFile> for FileEdits<'_> {
    async fn next_batch(&mut self) -> Result<Vec<Edit<VirtualFile>>> {
        let mut edits = Vec::new();
        while edits.is_empty() && !self.files.is_empty() {
            let (files, rest) = self.files.split_at(self.files.len().min(BATCH));
            self.files = rest;
            let keys: Vec<_> = files.iter().map(|(file, _)| file.as_map_key().clone()).collect();
            for ((file, delta), old) in files.iter().zip(self.base.file_map().find_many(&keys).await?) {
                edits.extend(self.edit(file, *delta, old.as_ref())?);
            }
        }
        Ok(edits)
    }
}

/// What edits of a manifest do to the references into each file. A commit has as many references as it likes, and neighbours mostly point
/// into one file.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    all: Vec<(FileKey, Delta)>,
    places: HashMap<FileKey, usize, Seeded>,
    last: usize,
}

impl Deltas {
    /// Takes one edit: what was under the key before it, and what is there now.
    pub(super) fn see(&mut self, old: Option<&Entry>, new: Option<&Entry>) -> Result<()> {
        if let (Some(Entry::Virtual { file, length, .. }), true) = (new, new == old) {
            return self.of(file).again.add(*length);
        }
        if let Some(Entry::Virtual { file, length, .. }) = old {
            self.of(file).removed.add(*length)?;
        }
        if let Some(Entry::Virtual { file, length, .. }) = new {
            self.of(file).added.add(*length)?;
        }
        Ok(())
    }

    /// The containers of the files that edits point into.
    pub(super) fn containers(&self) -> BTreeSet<&str> {
        let used = self.all.iter().filter(|(_, delta)| delta.added.refs > 0 || delta.again.refs > 0);
        used.map(|(file, _)| file.container()).collect()
    }

    /// What was seen of each file, and those of `more` of which nothing was seen, in the order of the files map.
    fn sorted_with<'f>(&mut self, more: impl IntoIterator<Item = &'f FileKey>) -> &[(FileKey, Delta)] {
        for file in more {
            self.of(file);
        }
        // They name places in what is sorted now.
        (self.places, self.last) = (HashMap::default(), usize::MAX);
        self.all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        &self.all
    }

    fn of(&mut self, file: &FileKey) -> &mut Delta {
        if self.all.get(self.last).is_none_or(|(last, _)| last != file) {
            self.last = self.places.get(file).copied().unwrap_or_else(|| {
                self.places.insert(file.clone(), self.all.len());
                self.all.push((file.clone(), Delta::default()));
                self.all.len() - 1
            });
        }
        let (_, delta) = self.all.get_mut(self.last).expect("it was pushed if it was not there");
        delta
    }
}

/// What the files map says of `file` after the edit; `None` when nothing points into it any more.
fn next_record(file: &FileKey, delta: Delta, old: Option<&VirtualFile>, staged: Option<&StagedFile>) -> Result<Option<VirtualFile>> {
    let miscounted = || Error::corrupt(format!("the files map counts fewer references into {file} than the manifest holds"));
    let (refs, bytes) = old.map_or((0, 0), |o| (o.refs, o.bytes));
    let kept_refs = refs.checked_sub(delta.removed.refs).ok_or_else(miscounted)?;
    let kept_bytes = bytes.checked_sub(delta.removed.bytes).ok_or_else(miscounted)?;
    let refs = kept_refs.checked_add(delta.added.refs).ok_or_else(miscounted)?;
    let bytes = kept_bytes
        .checked_add(delta.added.bytes)
        .filter(|bytes| *bytes <= limits::NUMBER)
        .ok_or_else(|| Error::invalid(format!("references into {file} add up to more than {} bytes", limits::NUMBER)))?;
    if refs == 0 {
        return Ok(None);
    }
    let counted = |validator: &Validator| Some(validator.clone().record(refs, bytes));
    let (old, new) = match (old, staged) {
        (None, None) => return Err(Error::internal(format!("{file} is referenced without a validator"))),
        (Some(old), None) => return Ok(counted(&Validator::of(old))),
        (None, Some(new)) => return Ok(counted(&new.validator)),
        (Some(old), Some(new)) => (old, new),
    };
    let older = kept_refs.checked_sub(delta.again.refs).ok_or_else(miscounted)?;
    let is_changed = delta.added.refs > 0 || delta.removed.refs > 0;
    Ok(match new.validator.agrees_with(old) {
        _ if new.repin => counted(&new.validator),
        Err(why) if older > 0 => {
            return Err(Error::source_changed(format!(
                "{file} is not the file that {older} older references were pinned to: {why}; replace all of them, or pin the file anew"
            )));
        }
        Err(_) => counted(&new.validator),
        // Every reference is new, and so is the pin; one that would recognise nothing does not take the place of one that does.
        Ok(()) if older == 0 && is_changed && (new.validator.is_pinned() || !old.is_pinned()) => counted(&new.validator),
        // References that are staged over again as they were are new, too.
        Ok(()) if older == 0 && new.validator.is_pinned() && !old.is_pinned() => counted(&new.validator),
        // What was not known of the file when it was pinned, and is now, is kept from here on.
        Ok(()) => {
            let joined = Validator::of(old).joined(new.validator.clone(), new.untouched_since);
            let joined = joined.map_err(|why| Error::unsupported(format!("{file} cannot be verified: {why}")))?;
            // References that are staged over again as they were are those of the record, whatever the clock of this writer says.
            let pinned_at = if is_changed || joined.is_pinned() { joined.pinned_at } else { old.pinned_at };
            counted(&Validator { pinned_at, ..joined })
        }
    })
}
