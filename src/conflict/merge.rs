//! Merging the changes of a fork into the session that it was taken from.
//!
//! Each change is compared in three states: what the fork inherited, what the fork made of it, and what is staged now. If the last is
//! the first, the change of the fork is staged; if it is the second, there is nothing to do; otherwise both changed it.

use std::collections::BTreeSet;

use super::{ConflictKind, Conflicts};
use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::format::{Container, ContainerRow, Entry, FileKey};
use crate::id::ChunkId;
use crate::key::Prefix;
use crate::session::{
    ChangesRead, Lookup, MergedChanges, Moves, PlaceWatch, Relied, Staged, StagedFile, StagedLayers, WriteSession, unplaced,
};
use crate::snapshot::KeyOrPrefix;
use crate::storage::{Extent, ObjectName};
use crate::virtuals::is_at_or_below;

/// How often a merge begins anew because other calls of its session stage something meanwhile.
const ATTEMPTS: usize = 16;

/// The changes of a fork while they are compared with those of a session.
struct Comparison {
    inherited: MergedChanges,
    edits: MergedChanges,
    repinned: BTreeSet<FileKey>,
    redefined: BTreeSet<String>,
}

/// What the changes of a fork say beside those of keys.
struct References {
    containers: Vec<ContainerRow>,
    /// Each file with what was known of it when the fork was taken and what is known now.
    files: Vec<(FileKey, Option<StagedFile>, StagedFile)>,
    moves: Moves,
}

/// The containers and files that change by a merge.
type MergedReferences = (Vec<Container>, Vec<(FileKey, StagedFile)>);

impl References {
    /// The files that are in `staged` in the state in which the fork found them, and the containers that are defined there as in the
    /// fork: references that were staged since the fork was taken were made for these.
    fn settled(&self, staged: &Staged, base: &[Container]) -> (BTreeSet<FileKey>, BTreeSet<String>) {
        let is_found = |file: &FileKey, theirs: &StagedFile| staged.files().get(file).is_some_and(|now| now.is_same_state(theirs));
        let files = self.files.iter().filter(|(file, _, theirs)| is_found(file, theirs)).map(|(file, ..)| file.clone());
        let is_defined = |row: &&ContainerRow| staged.container_over(&row.now.name, base) == Some(&row.now);
        (files.collect(), self.containers.iter().filter(is_defined).map(|row| row.now.name.clone()).collect())
    }

    /// The containers and files that change by a merge; `Conflict` when both sides changed one.
    fn merged_into(&self, staged: &Staged, base: &[Container]) -> Result<MergedReferences> {
        let (mut found, mut containers, mut files) = (Conflicts::default(), Vec::new(), Vec::new());
        for row in &self.containers {
            let now = staged.container_over(&row.now.name, base);
            if now == row.before.as_ref() && now != Some(&row.now) {
                containers.push(row.now.clone());
            } else if now != Some(&row.now) {
                found.add(ConflictKind::Container, row.now.name.clone(), None);
            }
        }
        for (file, before, theirs) in &self.files {
            let is_defined = self.containers.iter().any(|row| row.now.name == file.container());
            if !is_defined && staged.container_over(file.container(), base).is_none() {
                return Err(unplaced(file));
            }
            if let Some(why) = moved_away(staged, base, file, theirs) {
                found.add(ConflictKind::File, file.to_string(), Some(why.to_owned()));
                continue;
            }
            match merged_file(staged.files().get(file), before.as_ref(), theirs) {
                Ok(Some(known)) => files.push((file.clone(), known)),
                Ok(None) => {}
                Err(why) => found.add(ConflictKind::File, file.to_string(), Some(why)),
            }
        }
        if found.is_empty() { Ok((containers, files)) } else { Err(found.to_merge_error()) }
    }
}

impl WriteSession {
    /// Stages the changes of a fork of this session, as [`ForkSession::finish`](crate::ForkSession::finish) returned them. The commit
    /// then has them as if they had been staged here. Merging the same changes twice stages them once, as long
    /// as nothing else was staged or merged in their places in between. If that brought a place back to what the fork inherited, the
    /// second merge stages the change there again; if it left something else there, the second merge is a conflict.
    ///
    /// `Conflict` when the fork changed something that this session, or a fork that was merged before, changed too since the fork was
    /// taken: a key, unless both gave it the same value; a key below a prefix that the other one deleted; the definition of a
    /// container; the state of an external file. [`Error::detail`] lists what it is. Zarr arrays are compared key by key here: give the
    /// forks different chunks, and change the documents of arrays in the session before the fork is taken.
    ///
    /// `Invalid` for changes of another repository, branch or base, so also when a commit has moved this session onto a newer tip in
    /// the meantime. `Corrupt` when the bytes are damaged, `Unsupported` when a newer version wrote them, `NotFound` when the
    /// repository does not hold what they name. Of the chunks that they name one is looked for, to notice a fork that wrote into another
    /// copy of the repository. The rest is believed, as chunks staged here are: a commit that names a chunk that was never stored is
    /// found by [`verify`](crate::Repository::verify).
    ///
    /// The changes are staged as a whole or not at all: after an error, or if the future is dropped, the session is as it was. Merges
    /// wait for each other. `Conflict` also when other calls of this session go on staging changes during the whole merge.
    pub async fn merge(&self, changes: &[u8]) -> Result<()> {
        let _alone = self.merging.lock().await;
        let ChangesRead { containers, files, repinned, redefined, inherited, edits, moves } = self.read_changes(changes).await?;
        let mut comparison = Comparison { inherited, edits, repinned, redefined };
        let references = References { containers, files, moves };
        for attempt in 0..ATTEMPTS {
            let watch = self.staged.lock().watch(vec![KeyOrPrefix::Prefix(Prefix::all())]);
            let settled = references.settled(&self.staged.lock(), &self.base.record().containers);
            let now = self.staged.below(&Prefix::all());
            let compared = blocking("comparing changes", move || {
                let (found, chunk) = comparison.compare(&now, &settled)?;
                Ok((comparison, found, chunk))
            });
            let (returned, found, chunk) = compared.await?;
            if !found.is_empty() {
                return Err(found.to_merge_error());
            }
            if attempt == 0 {
                self.require_stored(chunk).await?;
            }
            self.staged.make_room().await?;
            match self.stage_merged(&watch, returned, &references)? {
                None => return Ok(()),
                Some(returned) => comparison = returned,
            }
        }
        Err(Error::conflict("other calls of this session stage changes all the time; merge after them"))
    }

    /// Stages changes that were compared. Gives them back if another call staged something since `watch` was set.
    fn stage_merged(&self, watch: &PlaceWatch, compared: Comparison, references: &References) -> Result<Option<Comparison>> {
        let few = compared.edits.few()?;
        let mut naming = self.naming();
        let mut staged = self.staged.lock();
        if watch.is_touched() {
            return Ok(Some(compared));
        }
        let (containers, files) = references.merged_into(&staged, &self.base.record().containers)?;
        // From here on nothing fails and nothing waits.
        for container in containers {
            staged.set_container(container, &self.base.record().containers);
            *naming = None;
        }
        for (file, known) in files {
            staged.set_file(file, known);
        }
        for [from, to] in references.moves.all().iter().cloned() {
            staged.moves_mut().add(from, to);
        }
        staged.stage(compared.edits, few);
        Ok(None)
    }

    /// Refuses changes whose first chunk is not in the repository.
    async fn require_stored(&self, chunk: Option<ChunkId>) -> Result<()> {
        let Some(id) = chunk else { return Ok(()) };
        let storage = self.base.repository().storage();
        match storage.get(&ObjectName::chunk(&id), Extent::Range(0..1)).await? {
            Some(_) => Ok(()),
            None => Err(Error::not_found(format!(
                "chunk {id}, which the changes of a fork name, is not in {storage}; the fork may have written into a copy of the repository, or a garbage collection may have removed it since"
            ))),
        }
    }
}

/// Why a fork's pin of a file, or its references into it, would stay behind: the session has given the file another name or place since
/// the fork was taken.
fn moved_away(staged: &Staged, base: &[Container], file: &FileKey, theirs: &StagedFile) -> Option<&'static str> {
    match (staged.relied().get(file), staged.moved_from()) {
        (Some(Relied::Record), _) if theirs.by_itself && !staged.files().contains_key(file) => {
            Some("the session has given it another name")
        }
        (Some(Relied::Moved), _) => Some("the session has moved it to another place"),
        (None, Some(place)) => {
            let container = staged.container_over(file.container(), base)?;
            let url = file.url(std::slice::from_ref(container)).ok()?;
            is_at_or_below(&url, place).then_some("it lies in the place from which the session has moved all files")
        }
        _ => None,
    }
}

/// What is to be noted of a file; `None` when all is known already, in words what contradicts.
fn merged_file(now: Option<&StagedFile>, before: Option<&StagedFile>, theirs: &StagedFile) -> Result<Option<StagedFile>, String> {
    let is_inherited = |now: &&StagedFile| before.is_some_and(|before| now.says_as(before));
    let Some(known) = now.filter(|now| !is_inherited(now)) else {
        return Ok((now != Some(theirs)).then(|| theirs.clone()));
    };
    if known.says_as(theirs) {
        return Ok(None);
    }
    known.merged(theirs).map(|merged| (merged != *known).then_some(merged))
}

impl Comparison {
    /// What the fork and the session, whose changes are `now`, both changed; and a chunk that the fork stored.
    fn compare(&self, now: &StagedLayers, settled: &(BTreeSet<FileKey>, BTreeSet<String>)) -> Result<(Conflicts, Option<ChunkId>)> {
        let mut found = Conflicts::default();
        let chunk = self.keys(now, &mut found)?;
        self.prefixes(now, &mut found)?;
        let repinned: BTreeSet<_> = self.repinned.difference(&settled.0).collect();
        let redefined: BTreeSet<_> = self.redefined.difference(&settled.1).map(String::as_str).collect();
        if !repinned.is_empty() || !redefined.is_empty() {
            self.references(now, &repinned, &redefined, &mut found)?;
        }
        Ok((found, chunk))
    }

    /// Compares the keys that the fork changed.
    fn keys(&self, now: &StagedLayers, found: &mut Conflicts) -> Result<Option<ChunkId>> {
        let (mut theirs, mut now, mut before) = (self.edits.layers.edits(None)?, now.edits(None)?, self.inherited.layers.edits(None)?);
        let mut chunk = None;
        while let Some((key, entry)) = theirs.next()? {
            if let (None, Some(Entry::Chunk { id, .. })) = (chunk, &entry) {
                chunk = Some(*id);
            }
            let now = now.look(&key)?;
            if now != Lookup::from(entry) && now != before.look(&key)? {
                found.add(ConflictKind::Key, key.as_str().to_owned(), None);
            }
        }
        Ok(chunk)
    }

    /// Compares what is staged below the prefixes that the fork deleted, in one pass, which skips what lies between them.
    fn prefixes(&self, now: &StagedLayers, found: &mut Conflicts) -> Result<()> {
        let (mut theirs, mut before) = (self.edits.layers.edits(None)?, self.inherited.layers.edits(None)?);
        let deleted = self.edits.layers.deleted();
        let Some(first) = deleted.first() else { return Ok(()) };
        let mut edits = now.edits(None)?;
        let mut next = edits.next_from(first.as_map_key())?;
        for prefix in deleted {
            if next.as_ref().is_some_and(|(key, _)| key < prefix.as_map_key()) {
                next = edits.next_from(prefix.as_map_key())?;
            }
            while let Some((key, entry)) = next.take_if(|(key, _)| prefix.contains(key.as_str())) {
                next = edits.next()?;
                let now = Lookup::from(entry);
                if now != theirs.look(&key)? && now != before.look(&key)? {
                    let why = format!("the fork deleted everything below {:?}", prefix.as_str());
                    found.add(ConflictKind::Key, key.as_str().to_owned(), Some(why));
                }
            }
        }
        Ok(())
    }

    /// Finds references that were staged since the fork was taken, into files that it pinned anew or in containers that it redefined.
    fn references(
        &self,
        now: &StagedLayers,
        repinned: &BTreeSet<&FileKey>,
        redefined: &BTreeSet<&str>,
        found: &mut Conflicts,
    ) -> Result<()> {
        let (mut theirs, mut before) = (self.edits.layers.edits(None)?, self.inherited.layers.edits(None)?);
        let mut edits = now.edits(None)?;
        while let Some((key, entry)) = edits.next()? {
            let Some(file) = entry.as_ref().and_then(Entry::file) else { continue };
            let (is_repinned, is_redefined) = (repinned.contains(file), redefined.contains(file.container()));
            if (!is_repinned && !is_redefined)
                || theirs.look(&key)? != Lookup::Untouched
                || before.look(&key)? == Lookup::from(entry.clone())
            {
                continue;
            }
            let why = Some(format!("{key} refers to it as it was"));
            if is_repinned {
                found.add(ConflictKind::File, file.to_string(), why.clone());
            }
            if is_redefined {
                found.add(ConflictKind::Container, file.container().to_owned(), why);
            }
        }
        Ok(())
    }
}
