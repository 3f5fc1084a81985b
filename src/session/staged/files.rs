//! The files of staged references: what is known of them, and short names for them.

use std::collections::HashMap;
use std::ops::Range;

use indexmap::IndexMap;

use super::run::Stored;
use crate::error::{Error, ErrorKind, Remedy, Result};
use crate::format::{Entry, FileKey, VirtualFile};
use crate::seeded::Seeded;
use crate::time::Timestamp;
use crate::virtuals::Validator;

/// What is known of each file that staged entries point into. There may be as many as entries, so they lie side by side.
pub(crate) type StagedFiles = IndexMap<FileKey, StagedFile, Seeded>;

/// What is known of a file that staged entries point into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StagedFile {
    /// How its state will be recognised.
    pub(crate) validator: Validator,
    /// Its length in bytes where it is known: ranges past it are refused.
    pub(crate) size: Option<u64>,
    /// Whether the validator replaces one that the branch already has for the file.
    pub(crate) repin: bool,
    /// Whether it does so although no reference into the file is staged.
    pub(crate) by_itself: bool,
    /// Why the validator does not pin the file; `None` when it does, and when it was copied from a snapshot.
    pub(crate) unpinned: Option<Unpinned>,
    /// The source proves that nobody touched the file after this moment; `None` where it proves nothing.
    pub(crate) untouched_since: Option<Timestamp>,
}

/// A file that a commit of what is staged would record something of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileInUse<'s> {
    pub(crate) known: &'s StagedFile,
    /// Whether a staged reference points into it; otherwise it is pinned anew by itself.
    pub(crate) is_referenced: bool,
}

/// What must hold at the tip of a file of the base, because staged changes follow from what the base records of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relied {
    /// It is recorded in the state in which it was read.
    State,
    /// Its record is as it was.
    Record,
    /// Its record is as it was, and no other writer has added a reference into it: all that there were are staged under another name.
    Moved,
}

/// Why a lookup did not pin a file. As many as files may be in memory, so that it says no more than it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unpinned {
    pub(crate) why: WhyUnpinned,
    /// What the lookup failed with; `None` where nothing failed, and where the place is not allowed, which can be found out again.
    pub(crate) failure: Option<Box<UnpinnedFailure>>,
}

/// What a lookup failed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnpinnedFailure {
    pub(crate) problem: String,
    pub(crate) remedy: Option<Remedy>,
}

impl From<&Error> for UnpinnedFailure {
    fn from(error: &Error) -> Self {
        Self { problem: error.to_string(), remedy: error.remedy().cloned() }
    }
}

impl Unpinned {
    pub(crate) const fn nothing_told() -> Self {
        Self { why: WhyUnpinned::NothingTold, failure: None }
    }

    pub(crate) const fn not_allowed() -> Self {
        Self { why: WhyUnpinned::NotAllowed, failure: None }
    }

    /// The reason for which a source was not asked, or told nothing.
    pub(crate) fn unasked(error: &Error) -> Self {
        let why = match (error.kind(), error.remedy()) {
            (ErrorKind::Denied, Some(_)) => WhyUnpinned::NotAllowed,
            (ErrorKind::Denied, None) => WhyUnpinned::Refused,
            (ErrorKind::NotFound, _) => WhyUnpinned::Missing,
            _ => WhyUnpinned::NotReadable,
        };
        Self { why, failure: Some(Box::new(error.into())) }
    }
}

/// Why a file is not pinned: nothing is recorded that would show a change of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WhyUnpinned {
    /// The place, or one to which it leads, is not allowed, so the file was not looked up.
    NotAllowed,
    /// The source refuses this reader.
    Refused,
    /// This build, or this reader, cannot ask the source.
    NotReadable,
    /// The source, or the caller, tells neither a digest, nor an `ETag`, nor a version, nor size and date together.
    NothingTold,
    /// The file does not exist, and the caller takes that ([`VirtualOptions::allow_missing`](crate::VirtualOptions::allow_missing)).
    Missing,
}

impl WhyUnpinned {
    /// The number that stands for the reason in documents.
    pub(in crate::session) const fn number(self) -> u64 {
        match self {
            Self::NotAllowed => 0,
            Self::Refused => 1,
            Self::NotReadable => 2,
            Self::NothingTold => 3,
            Self::Missing => 4,
        }
    }

    /// The reason for which a number stands.
    pub(in crate::session) fn from_number(number: u64) -> Option<Self> {
        let all = [Self::NotAllowed, Self::Refused, Self::NotReadable, Self::NothingTold, Self::Missing];
        all.into_iter().find(|why| why.number() == number)
    }

    /// The reason in words, as the end of a sentence about the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotAllowed => "its place is not allowed",
            Self::Refused => "its source refuses this reader",
            Self::NotReadable => "it cannot be read here",
            Self::NothingTold => "its source tells too little",
            Self::Missing => "it does not exist",
        }
    }
}

impl StagedFile {
    /// What a record says of a file.
    pub(crate) fn of(record: &VirtualFile) -> Self {
        Self { validator: Validator::of(record), size: record.size, repin: false, by_itself: false, unpinned: None, untouched_since: None }
    }

    /// What was found out about a file; `why` says why it is no pin, if it is none.
    pub(in crate::session) fn found(validator: Validator, why: Unpinned, repin: bool, untouched_since: Option<Timestamp>) -> Self {
        let unpinned = (!validator.is_pinned()).then_some(why);
        Self { size: validator.size, validator, repin, by_itself: false, unpinned, untouched_since }
    }

    /// Takes what the branch knows of the file, which nothing pins here.
    pub(in crate::session) fn adopt(&mut self, known: &VirtualFile) {
        self.size = self.size.or(known.size);
        // The reference is to the file as the branch has pinned it, and to no state in which another writer may pin it later.
        if known.is_pinned() && !self.repin && self.validator.agrees_with(known).is_ok() {
            self.validator = Validator::of(known).adopted_with(&self.validator);
            self.unpinned = None;
        }
    }

    /// Refuses a range past the end of the file at `url`, and a file that was modified after it was scanned for ranges.
    pub(in crate::session) fn admits(&self, url: &str, range: &Range<u64>, scanned_at: Option<Timestamp>) -> Result<()> {
        if let (Some(modified), Some(scanned_at)) = (self.validator.modified, scanned_at)
            && modified > scanned_at
        {
            return Err(Error::source_changed(format!("{url} was modified at {modified}, after it was scanned at {scanned_at}")));
        }
        match self.size {
            Some(size) if size < range.end => {
                Err(Error::invalid(format!("bytes {} to {} lie past the end of {url}, which has {size}", range.start, range.end)))
            }
            _ => Ok(()),
        }
    }

    /// What is known of a file for references of both, staged ones and those of the `base`; `None` when the two are not known to be
    /// to one state of it.
    pub(in crate::session) fn joined_onto(&self, base: &VirtualFile) -> Option<Validator> {
        self.validator.agrees_with(base).ok()?;
        Validator::of(base).joined(self.validator.clone(), self.untouched_since).ok()
    }

    /// Whether the same is known here and in `other`, whatever the reason for which it is not more: documents shorten that.
    pub(crate) fn says_as(&self, other: &Self) -> bool {
        let Self { validator, size, repin, by_itself, unpinned: _, untouched_since } = self;
        (validator, size, repin, by_itself, untouched_since)
            == (&other.validator, &other.size, &other.repin, &other.by_itself, &other.untouched_since)
    }

    /// Whether a fact that recognises the file shows that both are of one state of it.
    pub(crate) fn is_same_state(&self, other: &Self) -> bool {
        self.validator.agrees_with(&other.validator.clone().record(0, 0)).is_ok() && self.validator.shares_a_pin(&other.validator)
    }

    /// Combines what two sessions found out about a file without knowing of each other; in words, what contradicts, or what nothing
    /// shows to be one state of the file.
    pub(crate) fn merged(&self, other: &Self) -> Result<Self, String> {
        self.validator.agrees_with(&other.validator.clone().record(0, 0))?;
        let validator = self.validator.clone().joined(other.validator.clone(), other.untouched_since)?;
        let unpinned = other.unpinned.clone().or_else(|| self.unpinned.clone()).filter(|_| !validator.is_pinned());
        Ok(Self {
            validator,
            size: self.size.or(other.size),
            repin: self.repin || other.repin,
            by_itself: self.by_itself || other.by_itself,
            unpinned,
            untouched_since: self.untouched_since.or(other.untouched_since),
        })
    }

    /// Combines what is known of `file` with `new`; `SourceChanged` when the two contradict each other, `Unsupported` when one pins
    /// the file and nothing shows that references of the other one were made for that state of it.
    pub(in crate::session) fn joined(&self, file: &FileKey, new: Self) -> Result<Self> {
        if new.repin {
            return Ok(new);
        }
        let agreed = self.validator.agrees_with(&new.validator.clone().record(0, 0));
        agreed.map_err(|why| Error::source_changed(format!("file {file} changed while it was being staged: {why}")))?;
        let known = self.validator.clone();
        let validator = if known.is_pinned() && new.unpinned.is_some() {
            // It was staged by a caller who knew the pin of this session.
            known.adopted_with(&new.validator)
        } else {
            let unproven = |why| Error::unsupported(format!("file {file} cannot be verified: {why}; replace them, or pin it anew"));
            known.joined(new.validator, new.untouched_since).map_err(unproven)?
        };
        let unpinned = new.unpinned.or_else(|| self.unpinned.clone()).filter(|_| !validator.is_pinned());
        let untouched_since = self.untouched_since.or(new.untouched_since);
        Ok(Self { validator, size: self.size.or(new.size), repin: self.repin, by_itself: self.by_itself, unpinned, untouched_since })
    }
}

/// Files by number, so that an entry in a run names its file in a byte or two.
#[derive(Debug, Clone, Default)]
pub(super) struct StagedFileTable {
    files: Vec<FileKey>,
    places: HashMap<FileKey, usize, Seeded>,
}

impl StagedFileTable {
    /// The number of a file, if it has one.
    pub(super) fn number(&self, file: &FileKey) -> Option<usize> {
        self.places.get(file).copied()
    }

    /// Gives a file that has none a number.
    pub(super) fn add(&mut self, file: &FileKey) -> usize {
        self.places.insert(file.clone(), self.files.len());
        self.files.push(file.clone());
        self.files.len() - 1
    }

    /// An entry as a run held it.
    pub(super) fn entry(&self, stored: &Stored) -> Result<Option<Entry>> {
        Ok(Some(match stored {
            Stored::Deleted => return Ok(None),
            Stored::Inline(bytes) => Entry::Inline(bytes.clone()),
            Stored::Chunk { id, size } => Entry::Chunk { id: *id, size: *size },
            Stored::Virtual { file, offset, length } => {
                let file = self.files.get(*file).ok_or_else(|| Error::internal("a staged reference names an unknown file"))?;
                Entry::Virtual { file: file.clone(), offset: *offset, length: *length }
            }
        }))
    }
}
