//! Pins files again: records what their sources tell now in place of what the branch has recorded.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{StagedFile, WriteSession};
use crate::error::{Error, Result};
use crate::format::FileKey;
use crate::id::HashAlgorithm;
use crate::snapshot::Dependency;
use crate::time::Timestamp;
use crate::virtuals::{Looked, Validator, VirtualLookup, is_at_or_below, locked_hash, shown_url};

/// How many files are looked up at once.
const CONCURRENT: usize = 16;

/// A file that was pinned anew.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repinned {
    /// Its name inside the repository.
    pub file: FileKey,
    /// Where it lies.
    pub url: String,
    /// What the branch knows of it.
    pub before: Validator,
    /// What its source tells now.
    pub after: Validator,
    untouched_since: Option<Timestamp>,
}

impl Repinned {
    /// What differs, in words: `size 10 → 12, modified … → …`. Where all that is known is the same: `pinned_at … → …`.
    pub fn differences(&self) -> String {
        self.before.differences(&self.after)
    }
}

impl WriteSession {
    /// Looks up the files at `places` anew, and stages what their sources tell now in place of what the branch knows of them.
    /// References stay as they are. Returns the files that are staged: those that changed, and those that could be pinned
    /// better than they are (racy dates, files that were not pinned).
    ///
    /// Each place is the URL of a file or of a directory above it (whole segments). A place at or below which the branch
    /// depends on no file is `NotFound`, as is a file that does not exist; a file that is not allowed is `Denied`; one whose
    /// source tells too little to pin it is `Unsupported`, and one that this session has given another name or place `Invalid`. After
    /// an error nothing is staged. The commit is `Invalid` when a file has become too short for a reference into it, and a `Conflict`
    /// when another writer has recorded another state of it meanwhile, or has let its references point into another file. A digest that
    /// another writer recorded of the same state is kept.
    ///
    /// Costs a walk over all files of the branch and one question for each that is named; holds what is recorded of these in memory.
    /// Files with a locked digest are read whole. If the future is dropped, nothing is staged.
    pub async fn repin(&self, places: &[&str]) -> Result<Vec<Repinned>> {
        self.repin_files(self.files_at(places).await?).await
    }

    /// Looks up all files of the branch anew, as [`repin`](Self::repin) does for those at some places.
    pub async fn repin_all(&self) -> Result<Vec<Repinned>> {
        self.repin_files(self.base.dependencies().try_collect().await?).await
    }

    async fn repin_files(&self, named: Vec<Dependency>) -> Result<Vec<Repinned>> {
        let mut found = BTreeMap::new();
        // Made as they are polled: there may be as many files as references.
        let mut lookups = std::pin::pin!(stream::iter(named).map(|file| self.looked_up_anew(file)).buffered(CONCURRENT));
        while let Some(repinned) = lookups.try_next().await? {
            if repinned.is_better() {
                found.insert(repinned.file.clone(), repinned);
            }
        }
        let mut staged = self.staged.lock();
        if let Some(moved) = found.values().find(|repinned| staged.relied().contains_key(&repinned.file)) {
            return Err(Error::invalid(format!(
                "{} cannot be pinned anew: this session has staged another name or place of it; commit that first",
                crate::text::printable_line(&moved.url)
            )));
        }
        for (file, repinned) in &found {
            let (validator, untouched_since) = (repinned.after.clone(), repinned.untouched_since);
            let known = StagedFile { size: validator.size, validator, repin: true, by_itself: true, unpinned: None, untouched_since };
            staged.set_file(file.clone(), known);
        }
        Ok(found.into_values().collect())
    }

    /// The files of the branch at or below `places`.
    async fn files_at(&self, places: &[&str]) -> Result<Vec<Dependency>> {
        let mut is_used = vec![false; places.len()];
        let (mut named, mut all) = (Vec::new(), std::pin::pin!(self.base.dependencies()));
        while let Some(file) = all.try_next().await? {
            let mut is_named = false;
            for (place, is_used) in places.iter().zip(&mut is_used) {
                if is_at_or_below(&file.url, place) {
                    (*is_used, is_named) = (true, true);
                }
            }
            if is_named {
                named.push(file);
            }
        }
        match places.iter().zip(is_used).find(|(_, is_used)| !is_used) {
            Some((place, _)) => Err(Error::not_found(format!("{} depends on no file at or below \"{}\"", self.branch, shown_url(place)))),
            None => Ok(named),
        }
    }

    async fn looked_up_anew(&self, file: Dependency) -> Result<Repinned> {
        let repository = self.base.repository();
        let before = Validator::of(&file.record);
        let digest = locked_hash(&before).map(|hash| hash.unwrap_or(HashAlgorithm::Sha2_256));
        let lookup = VirtualLookup { digest, ..VirtualLookup::at(repository.clock().now()) };
        match repository.virtuals().lookup(&self.base.record().containers, &file.file, lookup).await? {
            Looked::Unasked(why) => Err(why),
            Looked::Told { validator, .. } if !validator.is_pinned() => Err(Error::unsupported(format!(
                "{} cannot be pinned: its source tells neither an etag, nor a version, nor size and date",
                crate::text::printable_line(&file.url)
            ))),
            Looked::Told { validator: after, untouched_since } => {
                Ok(Repinned { file: file.file, url: file.url, before, after, untouched_since })
            }
        }
    }
}

impl Repinned {
    fn is_better(&self) -> bool {
        let of = |v: &Validator| (v.size, v.modified, v.etag.clone(), v.version.clone(), v.digest.clone());
        of(&self.before) != of(&self.after) || (self.before.is_racy() && !self.after.is_racy())
    }
}
