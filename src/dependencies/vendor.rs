//! Copies the bytes of virtual values into the repository: references become chunks, in one commit.
//!
//! Each value is read as any read of it, under the condition by which its file was pinned, and hashed. What was copied is saved
//! on a branch of its own after each step, so that a run that was stopped goes on where it was. Only values whose reference and file
//! are recorded as they were when that branch was made go there; they can be taken from it without being read again.

use std::collections::{BTreeSet, HashMap};
use std::pin::{Pin, pin};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use crate::chunk::PIECE;
use crate::commit::{CommitOptions, ImportSaves, ImportSteps, SavesBranch};
use crate::error::{Error, Result};
use crate::format::{Container, Entry, FileKey};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::key::{Key, Prefix};
use crate::seeded::Seeded;
use crate::session::{Relied, WriteSession};
use crate::snapshot::Snapshot;
use crate::virtuals::Validator;

/// How the branches begin on which what was copied is saved.
const SAVES: &str = "vendoring-";
/// The field of their commits that names the snapshot whose references were read.
const FROM: &str = "vendored-from";
/// How many bytes of values are read together, so that neighbours in a file share requests.
const BATCH_BYTES: u64 = 32 << 20;
/// How many values are read together.
const BATCH_KEYS: usize = 2048;
/// How many batches are read at once.
const AHEAD: usize = 2;
/// How often the branch may move while two sessions are opened on one snapshot of it.
const ATTEMPTS: u32 = 16;

/// Which virtual values are copied. The default: all of them, saved as [`ImportSteps`] says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VendorOptions {
    /// Only keys below this prefix. Default: the root.
    pub prefix: Prefix,
    /// Only values in files of the container of this name. Default: those of every container.
    pub container: Option<String>,
    /// How often what was copied is saved.
    pub steps: ImportSteps,
}

impl Default for VendorOptions {
    fn default() -> Self {
        Self { prefix: Prefix::all(), container: None, steps: ImportSteps::default() }
    }
}

impl VendorOptions {
    /// Copies only values of keys below `prefix`.
    #[must_use]
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Copies only values in files of the container `name`.
    #[must_use]
    pub fn container(mut self, name: impl Into<String>) -> Self {
        self.container = Some(name.into());
        self
    }

    /// Saves what was copied so often.
    #[must_use]
    pub fn steps(mut self, steps: ImportSteps) -> Self {
        self.steps = steps;
        self
    }

    fn takes(&self, entry: &Entry) -> bool {
        entry.file().is_some_and(|file| self.container.as_deref().is_none_or(|name| file.container() == name))
    }
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VendorSummary {
    /// Keys whose values are in the repository now.
    pub keys: u64,
    /// The lengths of their values together, in bytes.
    pub bytes: u64,
    /// Keys of these whose values an earlier run had copied, and that were not read again.
    pub reused: u64,
    /// The lengths of the values that this run read, in bytes.
    pub bytes_read: u64,
}

/// Values that were copied and are staged.
#[derive(Debug)]
pub struct Vendored {
    /// The session of the branch, to be committed. It was opened before the first value was read.
    pub session: WriteSession,
    /// What was copied.
    pub summary: VendorSummary,
    /// Where the run saved what it copied, if it did: to be [deleted](Repository::delete_saves) after the commit.
    pub saves: Option<ImportSaves>,
}

impl Snapshot {
    /// Counts the values that [`Repository::vendor`] would copy, without reading them: their keys and bytes. Reads all leaves below the
    /// prefix.
    pub async fn count_virtual(&self, options: &VendorOptions) -> Result<VendorSummary> {
        let mut summary = VendorSummary::default();
        let mut all = pin!(self.list(&options.prefix));
        while let Some((_, entry)) = all.try_next().await? {
            if options.takes(&entry) {
                summary.keys += 1;
                summary.bytes = summary.bytes.saturating_add(entry.size());
            }
        }
        Ok(summary)
    }
}

impl Repository {
    /// Reads virtual values of a branch, stores their bytes in the repository, and stages them in a session, which the caller commits:
    /// then the branch has the same values under the same keys, and depends on their files no more.
    ///
    /// Values are read in the order of their keys, neighbours of one file by one request, and those of 8 MiB and more piece by piece. At
    /// most about 128 MiB, [`OpenOptions::upload_bytes`](crate::OpenOptions::upload_bytes) and the names of all files that are read are in
    /// memory.
    ///
    /// After each of the steps what was copied is saved on a branch of its own. If a run was stopped, the same call goes on where it was.
    /// A run that is smaller than a step saves nothing.
    ///
    /// Each value is read as by [`Snapshot::get`], with its errors: `SourceChanged` for a file that is not as pinned, also when it changes
    /// meanwhile. `NotFound` if there is no such branch, or no container of that name; `Conflict` if another run of the same kind saves
    /// meanwhile. The commit is a `Conflict` when another writer has accepted another state of one of the files meanwhile. After any error,
    /// or if the future is dropped, `branch` is as it was.
    pub async fn vendor(&self, branch: &str, options: &VendorOptions) -> Result<Vendored> {
        self.require_writable()?;
        let container = options.container.as_deref().unwrap_or_default();
        let parts = [branch.as_bytes(), options.prefix.as_str().as_bytes(), container.as_bytes()];
        let saves = SavesBranch::new(self, SAVES, "another copy of virtual values", &parts)?;
        let run = VendorRun::begin(self, branch, options, saves).await?;
        Box::pin(run.run()).await
    }
}

/// Copying under way.
struct VendorRun<'a> {
    options: &'a VendorOptions,
    saves: SavesBranch<'a>,
    /// The session of the branch.
    target: WriteSession,
    /// The snapshot of which the values on the branch of the saves are.
    origin: Snapshot,
    /// What an earlier run has saved.
    earlier: Option<Snapshot>,
    /// Where values are staged until they are saved.
    session: WriteSession,
    has_saved: bool,
    /// The files that the values were read from.
    files: BTreeSet<FileKey>,
    summary: VendorSummary,
}

/// Values that are copied together.
#[derive(Default)]
struct VendorBatch {
    entries: Vec<(Key, Entry)>,
    bytes: u64,
}

/// Values of one batch, as they were found.
struct BatchRead {
    /// Keys whose values were saved by an earlier run.
    reused: Vec<(Key, Entry)>,
    /// Values of references as they were when the saves began.
    as_before: Vec<(Key, Bytes)>,
    /// Values of other references.
    others: Vec<(Key, Bytes)>,
    /// A value that is not held in memory, and whether its reference is as it was when the saves began.
    large: Option<(Key, Entry, bool)>,
    /// The files of all of them.
    files: BTreeSet<FileKey>,
    bytes_read: u64,
}

impl<'a> VendorRun<'a> {
    async fn begin(repository: &'a Repository, branch: &str, options: &'a VendorOptions, saves: SavesBranch<'a>) -> Result<Self> {
        let summary = VendorSummary::default();
        if let Some(session) = saves.earlier().await? {
            let target = repository.write(branch).await?;
            require_container(&target, options)?;
            let origin = origin_of(repository, &session).await.map_err(|e| e.context(format!("branch {}", saves.name())))?;
            let earlier = Some(session.base().clone());
            let files = BTreeSet::new();
            return Ok(Self { options, saves, target, origin, earlier, session, has_saved: true, files, summary });
        }
        for attempt in 0..ATTEMPTS {
            let (target, session) = futures::try_join!(repository.write(branch), repository.write(branch))?;
            require_container(&target, options)?;
            if target.base().id() == session.base().id() {
                let origin = target.base().clone();
                let files = BTreeSet::new();
                return Ok(Self { options, saves, target, origin, earlier: None, session, has_saved: false, files, summary });
            }
            repository.pause_after_lost_race(attempt).await;
        }
        Err(Error::conflict(format!("branch {branch} changes too fast to copy its values; run it again")))
    }

    async fn run(mut self) -> Result<Vendored> {
        let reader = VendorReader { base: self.target.base().clone(), origin: self.origin.clone(), earlier: self.earlier.clone() };
        let batches = batches(&reader.base, self.options);
        let mut reads = pin!(batches.map_ok(|batch| reader.read(batch)).try_buffered(AHEAD));
        let (mut bytes, mut keys) = (0, 0);
        while let Some(read) = reads.try_next().await? {
            let before = self.summary;
            self.stage(read).await?;
            bytes += self.summary.bytes_read - before.bytes_read;
            keys += self.summary.keys - before.keys;
            if (bytes >= self.options.steps.bytes || keys >= self.options.steps.keys) && !self.session.is_unchanged() {
                self = self.save().await?;
                (bytes, keys) = (0, 0);
            }
        }
        if !self.has_saved {
            rely_on(&self.session, self.files);
            return Ok(Vendored { session: self.session, summary: self.summary, saves: None });
        }
        if !self.session.is_unchanged() {
            self = self.save().await?;
        }
        self.stage_saved(&reader).await?;
        let saves = ImportSaves { branch: self.saves.name().clone(), tip: self.session.base().id() };
        rely_on(&self.target, self.files);
        Ok(Vendored { session: self.target, summary: self.summary, saves: Some(saves) })
    }

    /// Stages what a batch came to, and counts it.
    async fn stage(&mut self, read: BatchRead) -> Result<()> {
        let BatchRead { reused, as_before, others, large, files, bytes_read } = read;
        self.files.extend(files);
        let mut done: Vec<u64> = reused.iter().map(|(_, entry)| entry.size()).collect();
        self.summary.reused += done.len() as u64;
        done.extend(as_before.iter().chain(&others).map(|(_, value)| value.len() as u64));
        self.summary.bytes_read += bytes_read;
        self.session.set_many(as_before).await?;
        self.target.set_many(others).await?;
        if let Some((key, entry, is_as_before)) = large {
            let session = if is_as_before { &self.session } else { &self.target };
            let size = entry.size();
            let pieces = self.target.base().pieces_of(&key, entry, 0..size);
            session.set_pieces(&key, pieces).await?;
            self.summary.bytes_read += size;
            done.push(size);
        }
        for size in done {
            self.summary.keys += 1;
            self.summary.bytes = self.summary.bytes.saturating_add(size);
            self.target.base().repository().advance(1, size);
        }
        Ok(())
    }

    /// Commits what is staged to the branch of the saves.
    async fn save(self) -> Result<Self> {
        let message = format!("copy virtual values: {} keys so far", self.summary.keys);
        let options = CommitOptions::from(message).meta(FROM, self.origin.id().to_string());
        let session = self.saves.save(self.session, self.has_saved, options).await?;
        Ok(Self { session, has_saved: true, ..self })
    }

    /// Stages in the session of the branch every value that was saved, now or by an earlier run.
    async fn stage_saved(&self, reader: &VendorReader) -> Result<()> {
        let saved = self.session.base();
        self.target.known.lower(self.session.known.get());
        let mut batches = batches(&reader.base, self.options);
        while let Some(VendorBatch { entries, .. }) = batches.try_next().await? {
            let is_as_before = reader.as_before(&entries).await?;
            let keys: Vec<_> = entries.into_iter().zip(is_as_before).filter(|(_, is)| *is).map(|((key, _), _)| key).collect();
            for (key, entry) in keys.iter().zip(saved.entries(&keys).await?) {
                match entry.filter(|entry| entry.file().is_none()) {
                    // The branch of the saves, which was read from its ref, keeps the chunk.
                    Some(entry) => self.target.set_stored(key, entry).await?,
                    None => return Err(Error::internal(format!("{key} was not saved on branch {}", self.saves.name()))),
                }
            }
        }
        Ok(())
    }
}

/// Reads batches of values.
struct VendorReader {
    base: Snapshot,
    origin: Snapshot,
    earlier: Option<Snapshot>,
}

impl VendorReader {
    async fn read(&self, batch: VendorBatch) -> Result<BatchRead> {
        let is_as_before = self.as_before(&batch.entries).await?;
        let files = batch.entries.iter().filter_map(|(_, entry)| entry.file().cloned()).collect();
        let mut read = BatchRead { reused: Vec::new(), as_before: Vec::new(), others: Vec::new(), large: None, files, bytes_read: 0 };
        let keys: Vec<_> = batch.entries.iter().map(|(key, _)| key.clone()).collect();
        let saved = match &self.earlier {
            Some(earlier) => earlier.entries(&keys).await?,
            None => vec![None; keys.len()],
        };
        let (mut wanted, mut places) = (Vec::new(), Vec::new());
        for (((key, entry), is_as_before), saved) in batch.entries.into_iter().zip(is_as_before).zip(saved) {
            let size = entry.size();
            match saved.filter(|saved| is_as_before && saved.file().is_none()) {
                Some(saved) => read.reused.push((key, saved)),
                None if size >= PIECE as u64 => read.large = Some((key, entry, is_as_before)),
                None => {
                    read.bytes_read += size;
                    wanted.push((key, Some(entry), 0..size));
                    places.push(is_as_before);
                }
            }
        }
        let values = self.base.get_ranges_of(&wanted).await?;
        for (((key, ..), value), is_as_before) in wanted.into_iter().zip(values).zip(places) {
            let value = value.ok_or_else(|| Error::internal(format!("{key} was not read")))?;
            if is_as_before { &mut read.as_before } else { &mut read.others }.push((key, value));
        }
        Ok(read)
    }

    /// Whether each reference, and what is recorded of its file, is as it was when the saves began.
    async fn as_before(&self, entries: &[(Key, Entry)]) -> Result<Vec<bool>> {
        if self.origin.id() == self.base.id() {
            return Ok(vec![true; entries.len()]);
        }
        let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
        let before = self.origin.entries(&keys).await?;
        let mut files: Vec<_> = entries.iter().filter_map(|(_, entry)| entry.file().cloned()).collect();
        files.sort_unstable();
        files.dedup();
        let (now, then) = futures::try_join!(self.base.records(files.clone()), self.origin.records(files.clone()))?;
        let mut is_same = HashMap::<&FileKey, bool, Seeded>::default();
        for file in &files {
            let (Some(now), Some(then)) = (now.get(file), then.get(file)) else { continue };
            let (here, there) = (&self.base.record().containers, &self.origin.record().containers);
            // A URL of a bucket says nothing of its server, which the options do.
            let options = |all: &[Container]| all.iter().find(|known| known.name == file.container()).map(|known| known.options.clone());
            let is_one_place = file.url(here)? == file.url(there)? && options(here) == options(there);
            is_same.insert(file, is_one_place && Validator::of(now) == Validator::of(then));
        }
        let one = |((_, entry), before): (&(Key, Entry), &Option<Entry>)| {
            before.as_ref() == Some(entry) && entry.file().is_some_and(|file| is_same.get(file).copied().unwrap_or_default())
        };
        Ok(entries.iter().zip(&before).map(one).collect())
    }
}

/// The values that are copied, in the order of their keys. A value that is not held in memory is a batch by itself.
fn batches<'a>(base: &Snapshot, options: &'a VendorOptions) -> Pin<Box<dyn Stream<Item = Result<VendorBatch>> + Send + 'a>> {
    let all = base.list(&options.prefix).try_filter(|(_, entry)| std::future::ready(options.takes(entry)));
    // No more is read together than is saved together.
    let most_bytes = options.steps.bytes.min(BATCH_BYTES);
    let most_keys = usize::try_from(options.steps.keys).unwrap_or(BATCH_KEYS).min(BATCH_KEYS);
    let batches = stream::try_unfold(all.boxed().peekable(), move |mut all| async move {
        let mut batch = VendorBatch::default();
        loop {
            let next = match Pin::new(&mut all).peek().await {
                Some(Ok((_, entry))) => entry.size(),
                // The error itself is taken.
                Some(Err(_)) => 0,
                None => break,
            };
            let is_full = batch.entries.len() >= most_keys || batch.bytes.saturating_add(next) > most_bytes || next >= PIECE as u64;
            if is_full && !batch.entries.is_empty() {
                break;
            }
            let Some(taken) = all.try_next().await? else { break };
            batch.entries.push(taken);
            batch.bytes = batch.bytes.saturating_add(next);
            if next >= PIECE as u64 {
                break;
            }
        }
        Ok((!batch.entries.is_empty()).then_some((batch, all)))
    });
    Box::pin(batches)
}

/// The snapshot of which the values on a branch of saves are. Before anything was saved, that is the one on which the branch was made.
async fn origin_of(repository: &Repository, session: &WriteSession) -> Result<Snapshot> {
    let saved = session.base();
    let Some(id) = saved.record().meta.get(FROM).and_then(|id| id.parse::<SnapshotId>().ok()) else {
        let why = "was not made by a copy of virtual values that was stopped; delete or rename it";
        return if SavesBranch::is_just_made(session) { Ok(saved.clone()) } else { Err(Error::invalid(why)) };
    };
    Ok(Snapshot::new(repository.clone(), id, repository.objects().commit(&id).await?))
}

/// Notes in the session of the branch that its values are those of the states that the base records.
fn rely_on(session: &WriteSession, files: BTreeSet<FileKey>) {
    let mut staged = session.staged.lock();
    for file in files {
        staged.rely_on(file, Relied::State);
    }
}

fn require_container(session: &WriteSession, options: &VendorOptions) -> Result<()> {
    match &options.container {
        Some(name) if session.base().record().containers.iter().all(|known| known.name != *name) => {
            Err(Error::not_found(format!("there is no container {} on {}", crate::text::printable_line(name), session.branch())))
        }
        _ => Ok(()),
    }
}
