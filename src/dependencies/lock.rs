//! Locks files: records a digest of each whole file, so that every change of its bytes is noticed.
//!
//! A lock adds the digest and nothing else. The file must be the one that is recorded; one that changed is pinned anew by
//! [`repin`](WriteSession::repin). The digest comes from reading the file, or from a list that its publisher gives out.

use std::collections::{BTreeSet, HashMap};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::checksums::{ChecksumEntry, ChecksumList};
use crate::error::{Error, Remedy, Result};
use crate::format::FileKey;
use crate::id::HashAlgorithm;
use crate::percent;
use crate::session::{Staged, StagedFile, WriteSession};
use crate::snapshot::Dependency;
use crate::text::printable_line;
use crate::time::Timestamp;
use crate::virtuals::{Looked, Validator, VirtualLookup, hex, is_at_or_below, shown_url};

/// How many files are read at once.
const READ: usize = 8;
/// How many segments of a path are compared.
const SEGMENTS: usize = 64;

/// Which files are locked, and by what.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LockOptions {
    /// URLs of files or of places above them; empty: all files that the branch depends on.
    pub places: Vec<String>,
    /// The hash of digests that are made by reading.
    pub hash: HashAlgorithm,
    /// Take the digests from here, and read nothing.
    pub list: Option<ChecksumList>,
}

/// What [`WriteSession::lock`] staged, and what it could not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Locked {
    /// The files that are locked now, in the order of the files map.
    pub files: Vec<LockedFile>,
    /// How many files were locked before.
    pub already: u64,
    /// Names of the list that fit no file of the branch.
    pub unmatched: Vec<String>,
    /// Names of the list that fit several files, or a file for which the list has another digest as well: none of these is locked.
    pub ambiguous: Vec<String>,
}

/// A file whose digest was staged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockedFile {
    /// Its name inside the repository.
    pub file: FileKey,
    /// Where it lies.
    pub url: String,
    /// A multihash of the whole file.
    pub digest: Vec<u8>,
}

impl WriteSession {
    /// Stages a digest for each file at `places` that has none. References stay as they are, and so does all else that is recorded.
    ///
    /// Holds what is recorded of each of these files in memory.
    ///
    /// Without a list each file is read whole, at most 8 at a time. It must be as recorded before and after: `SourceChanged` when it is
    /// another one, `Unsupported` when nothing shows that it is the one that references were made for; in both cases
    /// [`repin`](Self::repin) accepts it as it is. A file that does not exist is `NotFound`, one that is not allowed `Denied`.
    ///
    /// With a list no file is asked. A name fits a file if it is its URL, or if it is the end of its path in whole segments. `Invalid`
    /// when the list contradicts a size or a digest that is recorded.
    ///
    /// A place at or below which the branch depends on no file is `NotFound`. A file of which this session has staged something else, a
    /// reference, another pin, another name or another place, is `Invalid`: commit that first. The commit is a `Conflict` when another
    /// writer has recorded another state of a file meanwhile, or has let its references point into another file. After an error nothing
    /// is staged. Costs a walk over all files of the branch. If the future is dropped, nothing is staged.
    pub async fn lock(&self, options: LockOptions) -> Result<Locked> {
        let LockOptions { places, hash, list } = options;
        let mut locked = Locked::default();
        let staged = match list {
            Some(list) => self.locks_from(&list, &places, &mut locked).await?,
            None => self.locks_by_reading(hash, &places, &mut locked).await?,
        };
        let mut into = self.staged.lock();
        staged.iter().try_for_each(|(dependency, ..)| require_not_staged(&into, dependency))?;
        for (dependency, validator, untouched_since) in staged {
            let digest = validator.digest.clone().unwrap_or_default();
            let size = validator.size.or(dependency.record.size);
            let known = StagedFile { size, validator, repin: true, by_itself: true, unpinned: None, untouched_since };
            into.set_file(dependency.file.clone(), known);
            locked.files.push(LockedFile { file: dependency.file, url: dependency.url, digest });
        }
        Ok(locked)
    }

    async fn locks_by_reading(
        &self,
        hash: HashAlgorithm,
        places: &[String],
        locked: &mut Locked,
    ) -> Result<Vec<(Dependency, Validator, Option<Timestamp>)>> {
        let mut todo = Vec::new();
        let mut named = Places::of(places);
        let mut all = std::pin::pin!(self.base().dependencies());
        while let Some(dependency) = all.try_next().await? {
            if !named.hold(&dependency.url) {
                continue;
            }
            let staged = self.staged.lock();
            if dependency.record.digest.is_some() || staged_digest(&staged, &dependency.file).is_some() {
                locked.already += 1;
            } else {
                // Before anything is read.
                require_not_staged(&staged, &dependency)?;
                todo.push(dependency);
            }
        }
        named.require_all(self)?;
        self.base().repository().expect(todo.len() as u64, todo.iter().filter_map(|file| file.record.size).sum());
        // Made as they are polled: there may be as many files as references.
        stream::iter(todo).map(|dependency| self.digest_of(dependency, hash)).buffered(READ).try_collect().await
    }

    /// Reads a file whole, which must be as recorded.
    async fn digest_of(&self, dependency: Dependency, hash: HashAlgorithm) -> Result<(Dependency, Validator, Option<Timestamp>)> {
        let repository = self.base().repository();
        let lookup = VirtualLookup { digest: Some(hash), ..VirtualLookup::at(repository.clock().now()) };
        let looked = repository.virtuals().lookup(&self.base().record().containers, &dependency.file, lookup).await?;
        let (told, untouched_since) = match looked {
            Looked::Unasked(why) => return Err(why),
            Looked::Told { validator, untouched_since } => (validator, untouched_since),
        };
        let (record, url) = (Validator::of(&dependency.record), printable_line(&dependency.url));
        let repin = || Remedy::Repin(dependency.url.clone());
        told.agrees_with(&dependency.record)
            .map_err(|why| Error::source_changed(format!("{url} changed since it was pinned: {why}")).remedied_by(repin()))?;
        record
            .clone()
            .joined(told.clone(), untouched_since)
            .map_err(|why| Error::unsupported(format!("{url} cannot be locked: {why}")).remedied_by(repin()))?;
        repository.advance(1, dependency.record.size.unwrap_or(0));
        Ok((dependency, Validator { digest: told.digest, ..record }, untouched_since))
    }

    async fn locks_from(
        &self,
        list: &ChecksumList,
        places: &[String],
        locked: &mut Locked,
    ) -> Result<Vec<(Dependency, Validator, Option<Timestamp>)>> {
        let index = NameIndex::of(list);
        let (mut named, mut fitting) = (Places::of(places), Vec::new());
        let mut urls_of: Vec<BTreeSet<String>> = vec![BTreeSet::new(); list.entries.len()];
        let mut all = std::pin::pin!(self.base().dependencies());
        while let Some(dependency) = all.try_next().await? {
            let entries = index.fitting(&dependency.url);
            for urls in entries.iter().filter_map(|at| urls_of.get(*at).map(|_| *at)).collect::<Vec<_>>() {
                // Two are enough to know that the name is ambiguous.
                if let Some(urls) = urls_of.get_mut(urls).filter(|urls| urls.len() < 2) {
                    urls.insert(dependency.url.clone());
                }
            }
            if named.hold(&dependency.url) && !entries.is_empty() {
                fitting.push((dependency, entries));
            }
        }
        named.require_all(self)?;
        let mut ambiguous: BTreeSet<usize> = (0..urls_of.len()).filter(|at| urls_of.get(*at).is_some_and(|urls| urls.len() > 1)).collect();
        let mut found = Vec::new();
        for (dependency, entries) in fitting {
            let digests: BTreeSet<&[u8]> = entries.iter().filter_map(|at| Some(list.entries.get(*at)?.digest.as_slice())).collect();
            if digests.len() > 1 {
                ambiguous.extend(&entries);
            }
            let sure = entries.iter().find(|at| !ambiguous.contains(at)).and_then(|at| list.entries.get(*at));
            let Some(entry) = sure.filter(|_| digests.len() == 1) else { continue };
            let is_staged = staged_digest(&self.staged.lock(), &dependency.file).as_ref() == Some(&entry.digest);
            if agreed(&dependency, entry)? || is_staged {
                locked.already += 1;
            } else {
                let validator = Validator { digest: Some(entry.digest.clone()), ..Validator::of(&dependency.record) };
                found.push((dependency, validator, None));
            }
        }
        let name = |at: usize| list.entries.get(at).map(|entry| entry.name.clone());
        locked.ambiguous = ambiguous.into_iter().filter_map(name).collect();
        let unmatched = (0..urls_of.len()).filter(|at| urls_of.get(*at).is_some_and(BTreeSet::is_empty));
        locked.unmatched = unmatched.filter_map(name).collect();
        Ok(found)
    }
}

/// Refuses a file of which something is staged already: what the branch records of it would take its place.
fn require_not_staged(staged: &Staged, dependency: &Dependency) -> Result<()> {
    if !staged.files().contains_key(&dependency.file) && !staged.relied().contains_key(&dependency.file) {
        return Ok(());
    }
    let url = printable_line(&dependency.url);
    Err(Error::invalid(format!("{url} cannot be locked: this session has staged changes of it; commit them first, and lock it then")))
}

/// The digest that this session has locked a file with.
fn staged_digest(staged: &Staged, file: &FileKey) -> Option<Vec<u8>> {
    staged.files().get(file).filter(|known| known.by_itself)?.validator.digest.clone()
}

/// Whether a file has the digest of the list already; `Invalid` when what is recorded contradicts the list.
fn agreed(dependency: &Dependency, entry: &ChecksumEntry) -> Result<bool> {
    let (record, line, url) = (&dependency.record, entry.line, printable_line(&dependency.url));
    if let (Some(recorded), Some(listed)) = (record.size, entry.size)
        && recorded != listed
    {
        let why = format!("line {line} of the list gives {url} {listed} bytes, {recorded} are recorded");
        return Err(Error::invalid(why).remedied_by(Remedy::Repin(dependency.url.clone())));
    }
    match &record.digest {
        None => Ok(false),
        Some(known) if *known == entry.digest => Ok(true),
        // A digest of another hash says nothing about this one.
        Some(known) if known.first() != entry.digest.first() => Ok(true),
        Some(known) => {
            let why = format!("line {line} of the list gives {url} the digest {}, {} is locked", hex(&entry.digest), hex(known));
            Err(Error::invalid(why).remedied_by(Remedy::Repin(dependency.url.clone())))
        }
    }
}

/// The places that a caller names, and which of them were met.
struct Places<'a> {
    places: &'a [String],
    is_met: Vec<bool>,
}

impl<'a> Places<'a> {
    fn of(places: &'a [String]) -> Self {
        Self { places, is_met: vec![false; places.len()] }
    }

    /// Whether a file lies at or below one of them, or none is named.
    fn hold(&mut self, url: &str) -> bool {
        let mut holds = self.places.is_empty();
        for (place, is_met) in self.places.iter().zip(&mut self.is_met) {
            if is_at_or_below(url, place) {
                (*is_met, holds) = (true, true);
            }
        }
        holds
    }

    /// `NotFound` when one of them holds no file.
    fn require_all(&self, session: &WriteSession) -> Result<()> {
        match self.places.iter().zip(&self.is_met).find(|(_, is_met)| !**is_met) {
            Some((place, _)) => {
                Err(Error::not_found(format!("{} depends on no file at or below \"{}\"", session.branch(), shown_url(place))))
            }
            None => Ok(()),
        }
    }
}

/// The names of a list, by what of them can fit a file.
struct NameIndex<'a> {
    urls: HashMap<&'a str, Vec<usize>>,
    /// By the last segment: the segments of each name, last one first.
    paths: HashMap<String, Vec<(Vec<String>, usize)>>,
}

impl<'a> NameIndex<'a> {
    fn of(list: &'a ChecksumList) -> Self {
        let mut index = Self { urls: HashMap::new(), paths: HashMap::new() };
        for (at, entry) in list.entries.iter().enumerate() {
            let names = [Some(entry.name.as_str()), entry.url.as_deref()].into_iter().flatten();
            for name in names {
                index.urls.entry(name).or_default().push(at);
            }
            let path = if entry.name.contains("://") { path_of(&entry.name) } else { entry.name.clone() };
            let segments = backwards(&path);
            if let Some(last) = segments.first() {
                index.paths.entry(last.clone()).or_default().push((segments, at));
            }
        }
        index
    }

    /// The entries that fit the file at `url`: those that name the URL, else those that name the end of its path.
    fn fitting(&self, url: &str) -> Vec<usize> {
        if let Some(exact) = self.urls.get(url) {
            return exact.clone();
        }
        let segments = backwards(&path_of(url));
        let Some(candidates) = segments.first().and_then(|last| self.paths.get(last)) else { return Vec::new() };
        candidates.iter().filter(|(name, _)| segments.starts_with(name)).map(|(_, at)| *at).collect()
    }
}

/// The path in a URL as a file would be called.
fn path_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("http" | "https") => percent::decoded_text(path.split('?').next().unwrap_or(path)).into_owned(),
        Some("file") => percent::decoded_text(path).into_owned(),
        _ => path.to_owned(),
    }
}

/// The segments of a path, last one first, at most 64.
fn backwards(path: &str) -> Vec<String> {
    let segments = path.rsplit('/').filter(|segment| !segment.is_empty() && *segment != ".");
    segments.take(SEGMENTS).map(str::to_owned).collect()
}
