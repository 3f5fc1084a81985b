//! Staging references into external files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{MutexGuard, PoisonError};

use super::{Staged, StagedFile, Unpinned, UnpinnedFailure, WhyUnpinned, WriteSession};
use crate::error::{Error, ErrorKind, Remedy, Result};
use crate::format::{Container, Entry, FileKey};
use crate::key::Key;
use crate::time::Timestamp;
use crate::virtuals::{ExternalFile, FileUrls, Locator, Looked, Validator, VirtualLookup};

/// What a caller knows of a file that it points into. The default: nothing, so the file is looked up.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VirtualOptions {
    /// The state of the file, if the caller has looked it up; `Invalid` unless it passes [`Validator::check`]. Default: the file
    /// is looked up when its first reference is staged. A file in a place that is not allowed is left
    /// [unpinned](WriteSession::unpinned): all that is recorded is "not modified after that moment".
    pub validator: Option<Validator>,
    /// When the caller scanned the file for byte ranges. A file that was modified later is `SourceChanged`.
    pub scanned_at: Option<Timestamp>,
    /// Replace what the branch knows of the file, although other references into it remain. Default: `false`, a
    /// validator that differs is `SourceChanged`.
    pub repin: bool,
    /// Stage references into files that do not exist, without a pin ([`WhyUnpinned::Missing`]). Default: `false`, such a file is
    /// `NotFound`.
    pub allow_missing: bool,
}

impl VirtualOptions {
    /// Says what state of the file the caller has looked up.
    #[must_use]
    pub fn validator(mut self, validator: Validator) -> Self {
        self.validator = Some(validator);
        self
    }

    /// Says when the caller scanned the file for byte ranges.
    #[must_use]
    pub fn scanned_at(mut self, time: Timestamp) -> Self {
        self.scanned_at = Some(time);
        self
    }

    /// Replaces what the branch knows of the file.
    #[must_use]
    pub fn repin(mut self) -> Self {
        self.repin = true;
        self
    }

    /// Takes references into files that do not exist.
    #[must_use]
    pub fn allow_missing(mut self) -> Self {
        self.allow_missing = true;
        self
    }
}

/// A file of which nothing is recorded that would show a change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnpinnedFile {
    /// Its name inside the repository.
    pub file: FileKey,
    /// Where it lies.
    pub url: String,
    /// Why nothing is recorded.
    pub why: WhyUnpinned,
    /// The reason in the words of the error with which a read of the file would fail, which names the file; `None` when its source
    /// was asked and tells too little, and when its place was not allowed to a fork and is allowed here.
    pub problem: Option<String>,
    /// The step that would let the file be pinned, if the library knows one.
    pub remedy: Option<Remedy>,
}

/// Files of one directory of which nothing is recorded that would show a change, for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnpinnedPlace {
    /// The URL of the directory, with the final `/`; of a file in none its URL.
    pub place: String,
    /// How many there are.
    pub files: u64,
    /// One of them. What would help is the same for all of them.
    pub first: UnpinnedFile,
}

/// Refuses files that were named when containers had other definitions: another URL may have their names now.
pub(super) fn require_same_names(staged: &Staged, definitions: u64) -> Result<()> {
    if staged.definitions() == definitions {
        return Ok(());
    }
    Err(Error::conflict("a container was given another definition while the file was looked up, so nothing was staged; stage it again"))
}

/// The directory of a file, with the final `/`.
fn directory_of(url: &str) -> &str {
    let path = if url.starts_with("file:") { url } else { url.split('?').next().unwrap_or(url) };
    path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or(path)
}

/// Names files by their URLs, as long as the containers stay as they are.
#[derive(Debug)]
pub(crate) struct Naming {
    locator: Locator,
    /// The last URL and its file: the next reference mostly points into the same one.
    last: Option<(String, FileKey)>,
}

impl WriteSession {
    /// Stages a reference: the value of `key` is the bytes `range` of the file at `url`.
    ///
    /// The container whose template fits best names the file; if none does, an automatic one is made. Where the
    /// place is allowed the file is looked up once: a missing one is `NotFound`, a range past its end `Invalid`.
    ///
    /// `Conflict` when another call of this session gives a container another definition meanwhile. After an error, or if the future is dropped, the
    /// reference is not staged.
    pub async fn set_virtual(&self, key: &Key, url: &str, range: Range<u64>) -> Result<()> {
        self.set_virtual_with(key, url, range, &VirtualOptions::default()).await
    }

    /// Like [`set_virtual`](Self::set_virtual), for callers that know something of the file. Cancelled like it.
    pub async fn set_virtual_with(&self, key: &Key, url: &str, range: Range<u64>, options: &VirtualOptions) -> Result<()> {
        let Some(length) = range.end.checked_sub(range.start).filter(|_| i64::try_from(range.end).is_ok()) else {
            return Err(Error::invalid(format!("{key}: bytes {} to {} are not a valid range", range.start, range.end)));
        };
        let definitions = self.staged.lock().definitions();
        let file = self.name_of(url).map_err(|e| e.context(key))?;
        // One name in memory for all references into a file.
        let known = self.staged.lock().name_in_use(&file);
        let found = if options.validator.is_some() || options.repin || known.is_none() {
            let found = self.look_up(&self.containers(), &file, options.validator.as_ref(), options).await;
            Some(found.map_err(|e| e.context(key))?)
        } else {
            None
        };
        let file = known.unwrap_or(file);
        self.staged.make_room().await?;
        let mut staged = self.staged.lock();
        // A call that fails changes nothing: everything is checked before anything is staged.
        require_same_names(&staged, definitions).map_err(|e| e.context(key))?;
        let states = [staged.files().get(&file).filter(|_| !options.repin), found.as_ref()];
        for state in states.into_iter().flatten() {
            state.admits(url, &range, options.scanned_at).map_err(|e| e.context(key))?;
        }
        if let Some(found) = found {
            staged.add_file(&file, found)?;
        }
        staged.insert(key.as_map_key().clone(), Some(Entry::Virtual { file, offset: range.start, length }));
        Ok(())
    }

    /// Opens the file at `url` in the state in which it is now, to find byte ranges in it. Nothing is staged.
    ///
    /// `Denied` if the place is not allowed, `NotFound` if there is no such file, `Unavailable` if its source does not answer,
    /// `Unsupported` if this build cannot read it or its source does not tell its length. Can be cancelled at any moment.
    pub async fn external_file(&self, url: &str) -> Result<ExternalFile> {
        let repository = self.base.repository();
        let mut containers = self.containers();
        let located = Locator::new(&containers)?.locate(url)?;
        containers.extend(located.container.clone());
        ExternalFile::open(repository.virtuals().clone(), containers, located, url, repository.clock().now()).await
    }

    /// The name of the file at `url`. Its container is staged if it is new.
    pub(crate) fn name_of(&self, url: &str) -> Result<FileKey> {
        let mut naming = self.naming();
        let naming = match &mut *naming {
            Some(naming) => naming,
            none => none.insert(Naming { locator: Locator::new(&self.containers())?, last: None }),
        };
        if let Some((_, file)) = naming.last.as_ref().filter(|(last, _)| last == url) {
            return Ok(file.clone());
        }
        let located = naming.locator.locate(url)?;
        naming.last = Some((url.to_owned(), located.file.clone()));
        if let Some(container) = located.container {
            naming.locator.add(&container)?;
            self.staged.lock().set_container(container, &self.base.record().containers);
        }
        Ok(located.file)
    }

    /// Names files. Taken before the lock of what is staged.
    pub(crate) fn naming(&self) -> MutexGuard<'_, Option<Naming>> {
        self.naming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a file in one of `containers`: by the caller, else by the place where it lies, else by the branch.
    pub(super) async fn look_up(
        &self,
        containers: &[Container],
        file: &FileKey,
        given: Option<&Validator>,
        options: &VirtualOptions,
    ) -> Result<StagedFile> {
        let mut found = match self.looked_up_at_once(&mut FileUrls::of(containers), file, given, options)? {
            Some(found) => found,
            None => self.asked(containers, file, options).await?,
        };
        if found.unpinned.is_some()
            && let Some(known) = self.base.file_map().find(file.as_map_key().as_str()).await?
        {
            found.adopt(&known);
        }
        Ok(found)
    }

    /// What is known of a file without asking: from the caller, or because its place is not allowed; `None` if it must be asked.
    pub(super) fn looked_up_at_once(
        &self,
        urls: &mut FileUrls<'_>,
        file: &FileKey,
        given: Option<&Validator>,
        options: &VirtualOptions,
    ) -> Result<Option<StagedFile>> {
        let repository = self.base.repository();
        if let Some(validator) = given {
            validator.check()?;
            return Ok(Some(StagedFile::found(validator.clone(), Unpinned::nothing_told(), options.repin, None)));
        }
        let is_refused = repository.virtuals().is_refused(urls, file)?;
        let blind = || Validator::staged_at(repository.clock().now());
        Ok(is_refused.then(|| StagedFile::found(blind(), Unpinned::not_allowed(), options.repin, None)))
    }

    /// What the place where a file lies tells of it.
    pub(super) async fn asked(&self, containers: &[Container], file: &FileKey, options: &VirtualOptions) -> Result<StagedFile> {
        let repository = self.base.repository();
        let now = repository.clock().now();
        let lookup = VirtualLookup { scanned_at: options.scanned_at, ..VirtualLookup::at(now) };
        let (validator, why, untouched_since) = match repository.virtuals().lookup(containers, file, lookup).await {
            Ok(Looked::Told { validator, untouched_since }) => (validator, Unpinned::nothing_told(), untouched_since),
            // "Not modified since", and of its length only what the branch knows already.
            Ok(Looked::Unasked(why)) => (Validator::staged_at(now), Unpinned::unasked(&why), None),
            Err(e) if options.allow_missing && e.kind() == ErrorKind::NotFound => (Validator::staged_at(now), Unpinned::unasked(&e), None),
            Err(e) => return Err(e),
        };
        Ok(StagedFile::found(validator, why, options.repin, untouched_since))
    }

    /// The files of staged references that nothing pins: neither what was found out when they were staged nor what the
    /// branch knows of them. Readers get their bytes only if they accept that, see [`Allow`](crate::Allow). In the order of the files map.
    ///
    /// Holds a text or two for each of these files in memory; [`unpinned_places`](Self::unpinned_places) does not.
    pub fn unpinned(&self) -> Result<Vec<UnpinnedFile>> {
        let containers = self.containers();
        let staged = self.staged.lock();
        let mut files: Vec<_> = staged.files().iter().filter_map(|(file, known)| Some((file, known.unpinned.as_ref()?))).collect();
        files.sort_unstable_by_key(|(file, _)| *file);
        files.into_iter().map(|(file, unpinned)| self.unpinned_file(&containers, file, unpinned)).collect()
    }

    /// The files of [`unpinned`](Self::unpinned) by the directories in which they lie, sorted: for sums over many files.
    pub fn unpinned_places(&self) -> Result<Vec<UnpinnedPlace>> {
        let containers = self.containers();
        let mut urls = FileUrls::of(&containers);
        let staged = self.staged.lock();
        let mut places = BTreeMap::<(String, WhyUnpinned, Option<String>), UnpinnedPlace>::new();
        for (file, known) in staged.files() {
            let Some(unpinned) = &known.unpinned else { continue };
            let url = urls.url(file)?;
            let directory = directory_of(&url);
            // Files of one directory and one container lie in a place that is refused in one way.
            let told = match &unpinned.failure {
                Some(failure) => failure.remedy.as_ref().map(|remedy| remedy.text().to_owned()),
                None => Some(file.container().to_owned()),
            };
            if let Some(place) = places.get_mut(&(directory.to_owned(), unpinned.why, told.clone())) {
                place.files += 1;
                continue;
            }
            let first = self.unpinned_file(&containers, file, unpinned)?;
            places.insert((directory.to_owned(), unpinned.why, told), UnpinnedPlace { place: directory.to_owned(), files: 1, first });
        }
        // Two containers may be refused in one way.
        let mut merged = BTreeMap::<_, UnpinnedPlace>::new();
        for found in places.into_values() {
            let remedy = found.first.remedy.as_ref().map(|remedy| remedy.text().to_owned());
            let files = found.files;
            merged.entry((found.place.clone(), found.first.why, remedy)).and_modify(|place| place.files += files).or_insert(found);
        }
        Ok(merged.into_values().collect())
    }

    fn unpinned_file(&self, containers: &[Container], file: &FileKey, unpinned: &Unpinned) -> Result<UnpinnedFile> {
        let failure = self.failure_of(containers, file, unpinned)?;
        let (problem, remedy) = failure.map_or((None, None), |failure| (Some(failure.problem), failure.remedy));
        Ok(UnpinnedFile { file: file.clone(), url: file.url(containers)?, why: unpinned.why, problem, remedy })
    }

    /// What the lookup of a file failed with, if it failed.
    pub(super) fn failure_of(&self, containers: &[Container], file: &FileKey, unpinned: &Unpinned) -> Result<Option<UnpinnedFailure>> {
        if unpinned.failure.is_some() || unpinned.why != WhyUnpinned::NotAllowed {
            return Ok(unpinned.failure.as_deref().cloned());
        }
        let refusal = self.base.repository().virtuals().refusal(containers, file)?;
        Ok(refusal.as_ref().map(UnpinnedFailure::from))
    }

    /// The containers as a commit would leave them, sorted by name.
    pub fn containers(&self) -> Vec<Container> {
        self.staged.lock().containers_over(&self.base.record().containers)
    }
}
