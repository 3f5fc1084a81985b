//! Staging many values or references by one call.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use super::columns::KeyWriter;
use super::staged::{Bulk, BulkPiece};
use super::to_end::to_ends;
use super::virtuals::require_same_names;
use super::{Staged, StagedFile, StagedFiles, VirtualOptions, VirtualRefs, WriteSession};
use crate::budget::Share;
use crate::chunk::{Hashed, object_len};
use crate::error::{Error, Result};
use crate::format::{Container, Entry, FileKey};
use crate::key::{Key, MapKey};
use crate::virtuals::FileUrls;

/// How many references are copied, and handed to a thread that may block, at a time. Those that do not come in order are sorted so
/// many at a time.
const PIECE: usize = 1 << 18;

/// How many references are looked at before other tasks of the thread have a turn.
const TURN: usize = 1 << 16;

/// Fewer references than this are staged one by one: every later lookup of a key would have to search a run of their own.
const FEW: usize = 256;

/// How many files are looked up, or values hashed, at once.
const CONCURRENT: usize = 16;

/// A URL that references point into.
pub(super) struct Target {
    /// The reference that reaches furthest, and where it ends. One that goes to the end of the file counts with where it begins.
    pub(super) furthest: usize,
    pub(super) end: u64,
    /// Whether a reference goes to the end of the file.
    pub(super) is_to_end: bool,
    pub(super) file: Option<FileKey>,
}

impl WriteSession {
    /// Stages many references at once, as [`set_virtual_with`](Self::set_virtual_with) stages one: about 0.1 µs for each that
    /// comes in the order of the maps, and no memory but what is counted in
    /// [`staged_bytes`](crate::OpenOptions::staged_bytes).
    ///
    /// The references are copied, sorted and written on a thread that may block, so the executor's thread stays free.
    ///
    /// `Invalid` when columns differ in length, point past the table of URLs, or give an invalid key or a range past 2^63. A file of
    /// unknown size that a reference wants [to its end](VirtualRefs::TO_END) is an error that says why its size is not known (`Denied`,
    /// `NotFound`, `Unsupported`). `Conflict` when another call of this session gives a container another definition meanwhile. After an error, or if the
    /// future is dropped, no reference is staged.
    pub async fn set_virtual_many(&self, refs: &VirtualRefs<'_>, options: &VirtualOptions) -> Result<()> {
        let count = check_lengths(refs)?;
        refs.keys.check().await?;
        if options.validator.is_some() && refs.urls.len() > 1 {
            return Err(Error::invalid(format!("one validator cannot be that of {} files; give each its own", refs.urls.len())));
        }
        let mut targets = find_targets(refs).await?;
        let definitions = self.staged.lock().definitions();
        for (url, target) in refs.urls.iter().zip(&mut targets) {
            if let Some(target) = target {
                target.file = Some(self.name_of(url).map_err(|e| e.context(key_at(refs, target.furthest)))?);
            }
        }
        let found = self.look_up_all(refs, &targets, options).await?;
        let containers = self.containers();
        let lengths = to_ends(refs, &mut targets, |file| {
            let known = self.staged.lock().files().get(file).filter(|_| !options.repin).cloned();
            let all = [found.states.get(file).cloned(), known].into_iter().flatten();
            let mut state = all.reduce(|new, old| if new.size.is_some() { new } else { old })?;
            if let Some(unpinned) = state.unpinned.as_mut().filter(|_| state.size.is_none()) {
                unpinned.failure = self.failure_of(&containers, file, unpinned).ok().flatten().map(Box::new);
            }
            Some(state)
        })?;
        let refs = &VirtualRefs { length: lengths.as_deref().unwrap_or(refs.length), ..*refs };
        let bulk = if count < FEW {
            None
        } else {
            // Refused before the work where that is possible.
            joined(&self.staged.lock(), refs, &targets, &found, options)?;
            Some(self.write_runs(refs, &targets).await?)
        };
        self.staged.make_room().await?;
        let mut staged = self.staged.lock();
        // From here on nothing waits, and other calls see all of the references or none.
        require_same_names(&staged, definitions)?;
        let known = joined(&staged, refs, &targets, &found, options)?;
        let known: Vec<_> = known.into_iter().map(|known| (known.file.clone(), known.now.into_owned())).collect();
        match bulk {
            Some(bulk) => bulk.finish(&mut staged),
            None => stage_few(&mut staged, refs, &targets),
        }
        for (file, state) in known {
            staged.set_file(file, state);
        }
        Ok(())
    }

    /// What is found out about each file that is new or asked about by the caller.
    async fn look_up_all(&self, refs: &VirtualRefs<'_>, targets: &[Option<Target>], options: &VirtualOptions) -> Result<FoundFiles> {
        let containers = self.containers();
        let (mut urls, mut looked, mut to_ask) = (FileUrls::of(&containers), Vec::new(), Vec::new());
        for (at, target) in targets.iter().enumerate() {
            let Some(Target { furthest, file: Some(file), .. }) = target else { continue };
            let given = refs.validators.get(at).and_then(Option::as_ref).or(options.validator.as_ref());
            if given.is_some() || options.repin || !self.staged.lock().files().contains_key(file) {
                let found = self.looked_up_at_once(&mut urls, file, given, options);
                match found.map_err(|e| e.context(key_at(refs, *furthest)))? {
                    Some(found) => looked.push((at, file, found)),
                    None => to_ask.push((at, *furthest, file)),
                }
            }
        }
        // Made as they are polled: there may be as many files as references.
        let answers = stream::iter(0..to_ask.len()).map(|n| self.asked_of(&to_ask, n, &containers, options));
        let mut answers = std::pin::pin!(answers.buffered(CONCURRENT));
        for (at, furthest, file) in &to_ask {
            let Some(answer) = answers.next().await else { break };
            looked.push((*at, *file, answer.map_err(|e| e.context(key_at(refs, *furthest)))?));
        }
        self.adopt_pins(&mut looked).await?;
        let mut found = FoundFiles { states: StagedFiles::default(), of: vec![None; targets.len()] };
        for (at, file, new) in looked {
            let place = match found.states.get_full_mut(file) {
                Some((place, _, other)) => {
                    *other = other.joined(file, new)?;
                    place
                }
                None => found.states.insert_full(file.clone(), new).0,
            };
            if let Some(of) = found.of.get_mut(at) {
                *of = Some(place);
            }
        }
        Ok(found)
    }

    async fn asked_of(
        &self,
        files: &[(usize, usize, &FileKey)],
        n: usize,
        containers: &[Container],
        options: &VirtualOptions,
    ) -> Result<StagedFile> {
        let (.., file) = files.get(n).ok_or_else(|| Error::internal("a file that is not among those that are looked up"))?;
        self.asked(containers, file, options).await
    }

    /// Gives files that nothing pins the pins that the branch has for them.
    async fn adopt_pins(&self, looked: &mut [(usize, &FileKey, StagedFile)]) -> Result<()> {
        looked.sort_by(|(a_at, a, _), (b_at, b, _)| a.cmp(b).then(a_at.cmp(b_at)));
        let mut unpinned: Vec<_> = looked.iter_mut().filter(|(.., found)| found.unpinned.is_some()).collect();
        let keys: Vec<MapKey> = unpinned.iter().map(|(_, file, _)| file.as_map_key().clone()).collect();
        for ((.., found), known) in unpinned.iter_mut().zip(self.base.file_map().find_many(&keys).await?) {
            if let Some(known) = known {
                found.adopt(&known);
            }
        }
        Ok(())
    }

    /// Writes references as runs, which are not staged yet.
    async fn write_runs(&self, refs: &VirtualRefs<'_>, targets: &[Option<Target>]) -> Result<Bulk> {
        let (files, mut bulk) = {
            let mut staged = self.staged.lock();
            let mut number = |target: &Option<Target>| target.as_ref()?.file.as_ref().map(|file| staged.number(file));
            let files: Arc<Vec<_>> = Arc::new(targets.iter().map(&mut number).collect());
            (files, Bulk::begin(&mut staged))
        };
        for start in (0..refs.url.len()).step_by(PIECE) {
            let piece = start..refs.url.len().min(start + PIECE);
            let column = |column: &[u64]| column.get(piece.clone()).unwrap_or_default().to_vec();
            let (url, offset, length) =
                (refs.url.get(piece.clone()).unwrap_or_default().to_vec(), column(refs.offset), column(refs.length));
            let keys = refs.keys.copied(piece).await;
            bulk = bulk.take(BulkPiece { keys, url, offset, length, files: Arc::clone(&files) }).await?;
        }
        Ok(bulk)
    }

    /// Stages many values at once, in their order, as [`set`](Self::set) stages one. A few are hashed at a time, and values that are
    /// hashed or on their way take their share of [`OpenOptions::upload_bytes`](crate::OpenOptions::upload_bytes), so memory is
    /// bounded if `values` makes them as they are asked for.
    ///
    /// After an error, or if the future is dropped, some of them are staged; whole values, in their order.
    pub async fn set_many<B: Into<Bytes>>(&self, values: impl IntoIterator<Item = (Key, B), IntoIter: Send>) -> Result<()> {
        self.uploads.resume().await;
        let (chunks, budget) = (self.base.repository().chunks().clone(), self.uploads.budget().clone());
        let shared = stream::iter(values).then(|(key, value)| {
            let (budget, value) = (budget.clone(), value.into());
            // One after the other, so that no value holds a share while one before it waits for its own.
            async move {
                let is_inline = value.len() <= Entry::inline_limit(key.as_str());
                let share = if is_inline { None } else { Some(budget.take(object_len(value.len() as u64)).await?) };
                Ok::<_, Error>((key, value, share))
            }
        });
        let hashes = shared.map(|ready| {
            let chunks = chunks.clone();
            async move {
                let (key, value, share) = ready?;
                let value = match share {
                    None => HashedValue::Inline(value),
                    Some(share) => HashedValue::Hashed(chunks.hash(value).await?, share),
                };
                Ok::<_, Error>((key, value))
            }
        });
        let mut hashes = std::pin::pin!(hashes.buffered(CONCURRENT));
        while let Some((key, value)) = self.next_or_failure(&mut hashes).await? {
            match value {
                HashedValue::Inline(bytes) => self.set(&key, bytes).await?,
                HashedValue::Hashed(chunk, share) => self.set_hashed(&key, chunk, Some(share)).await?,
            }
        }
        Ok(())
    }

    /// The next of `items`, which may wait for shares of the upload budget; the error of an upload that fails meanwhile, whose
    /// share would never be free.
    pub(crate) async fn next_or_failure<T>(&self, items: &mut (impl Stream<Item = Result<T>> + Unpin)) -> Result<Option<T>> {
        tokio::select! {
            biased;
            error = self.uploads.failure() => Err(error),
            next = items.try_next() => next,
        }
    }
}

/// A value on its way.
enum HashedValue {
    Inline(Bytes),
    Hashed(Hashed, Share),
}

/// What is found out now about files, some of them.
struct FoundFiles {
    states: StagedFiles,
    /// The place in `states` of the file of each URL.
    of: Vec<Option<usize>>,
}

/// A file, what was known of it before, and what is known of it now.
struct KnownFile<'f, 's> {
    file: &'f FileKey,
    before: Option<&'s StagedFile>,
    now: Cow<'f, StagedFile>,
}

/// What would be known of each file with what was `found` out now; an error when that does not allow what points into it.
fn joined<'f, 's>(
    staged: &'s Staged,
    refs: &VirtualRefs<'_>,
    targets: &[Option<Target>],
    found: &'f FoundFiles,
    options: &VirtualOptions,
) -> Result<Vec<KnownFile<'f, 's>>> {
    let joined = found.states.iter().map(|(file, found)| {
        let before = staged.files().get(file);
        let now = match before {
            None => Cow::Borrowed(found),
            Some(old) => Cow::Owned(old.joined(file, found.clone())?),
        };
        Ok(KnownFile { file, before, now })
    });
    let joined: Vec<KnownFile<'_, '_>> = joined.collect::<Result<_>>()?;
    for ((url, target), place) in refs.urls.iter().zip(targets).zip(&found.of) {
        let Some(Target { furthest, end, file: Some(file), .. }) = target else { continue };
        let start = refs.offset.get(*furthest).copied().unwrap_or_default();
        let after = place.and_then(|place| joined.get(place));
        let before = after.map_or_else(|| staged.files().get(file), |known| known.before).filter(|_| !options.repin);
        for state in [before, after.map(|known| &*known.now)].into_iter().flatten() {
            state.admits(url, &(start..*end), options.scanned_at).map_err(|e| e.context(key_at(refs, *furthest)))?;
        }
    }
    Ok(joined)
}

fn stage_few(staged: &mut Staged, refs: &VirtualRefs<'_>, targets: &[Option<Target>]) {
    let mut keys = KeyWriter::new(refs.keys);
    for (n, url) in refs.url.iter().enumerate() {
        let target = usize::try_from(*url).ok().and_then(|url| targets.get(url)?.as_ref());
        if let (Some(file), Some((offset, length))) = (target.and_then(|t| t.file.clone()), range_at(refs, n)) {
            staged.insert(MapKey::new(keys.key(n)), Some(Entry::Virtual { file, offset, length }));
        }
    }
}

/// How many references there are; `Invalid` unless every column says the same.
fn check_lengths(refs: &VirtualRefs<'_>) -> Result<usize> {
    let count = refs.keys.len()?;
    for (name, len) in [("url", refs.url.len()), ("offset", refs.offset.len()), ("length", refs.length.len())] {
        if len != count {
            return Err(Error::invalid(format!("there are {count} keys, but the column {name} has {len}")));
        }
    }
    if !refs.validators.is_empty() && refs.validators.len() != refs.urls.len() {
        return Err(Error::invalid(format!("there are {} urls, but {} validators", refs.urls.len(), refs.validators.len())));
    }
    Ok(count)
}

/// What of each URL is in use; `Invalid` for a URL that is not in the table and for an invalid range.
async fn find_targets(refs: &VirtualRefs<'_>) -> Result<Vec<Option<Target>>> {
    let mut targets: Vec<Option<Target>> = refs.urls.iter().map(|_| None).collect();
    for (n, ((url, offset), length)) in refs.url.iter().zip(refs.offset).zip(refs.length).enumerate() {
        if n % TURN == 0 {
            tokio::task::yield_now().await;
        }
        if *url == VirtualRefs::ABSENT {
            continue;
        }
        let Some(target) = usize::try_from(*url).ok().and_then(|url| targets.get_mut(url)) else {
            return Err(Error::invalid(format!("{} points into url {url} of {}", key_at(refs, n), refs.urls.len())));
        };
        let is_to_end = *length == VirtualRefs::TO_END;
        let Some(end) = offset.checked_add(if is_to_end { 0 } else { *length }).filter(|end| i64::try_from(*end).is_ok()) else {
            return Err(Error::invalid(format!("{}: {length} bytes from {offset} are an invalid range", key_at(refs, n))));
        };
        let target = target.get_or_insert(Target { furthest: n, end, is_to_end, file: None });
        target.is_to_end |= is_to_end;
        if end > target.end {
            (target.furthest, target.end) = (n, end);
        }
    }
    Ok(targets)
}

/// The range in place `n`, if a file is named there.
fn range_at(refs: &VirtualRefs<'_>, n: usize) -> Option<(u64, u64)> {
    Some((*refs.offset.get(n)?, *refs.length.get(n)?))
}

/// The key in place `n`, for a message.
pub(super) fn key_at(refs: &VirtualRefs<'_>, n: usize) -> String {
    KeyWriter::new(refs.keys).key(n).to_owned()
}
