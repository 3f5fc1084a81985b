//! How a change of an external file is noticed.
//!
//! What a source tells of a file (size, date, `ETag`, version) is recorded when the first reference to it is staged, and
//! compared before and after every read. This notices every change that the source shows. **It does not notice a change
//! that leaves size and date as they were** (`touch -r`, or a rewrite within the resolution of the file system's clock):
//! only a locked digest does. A date that was younger than two seconds at lookup is *racy*: a second write at that time
//! may have left the same date.
//!
//! A record *pins* a file when it holds a digest, an `ETag`, a version, or size and date together. Every other record
//! leaves the file *unpinned*: its bytes are given out only to a reader who accepts that by name ([`Allow`](super::Allow),
//! word `unpinned`). The same holds when a source stops telling what was recorded.
//!
//! Values from outside are limited where they enter. A source's answer that the format cannot hold is left out
//! ([`Stat::bounded`]), since leaving it out loses protection but nothing else. A validator that a caller gives is refused
//! instead ([`Validator::check`]), because the caller can correct it.

use std::time::Duration;

use cid::multihash::Multihash;

use super::rebind::Rebind;
use crate::error::{Error, Result};
use crate::format::{VirtualFile, limits};
use crate::id::{Digest, HashAlgorithm};
use crate::text;
use crate::time::Timestamp;

/// A date that is younger than this at lookup is racy.
const RACY: Duration = Duration::from_secs(2);

/// The facts that a source tells about a file now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stat {
    pub(crate) size: Option<u64>,
    pub(crate) modified: Option<Timestamp>,
    pub(crate) etag: Option<Vec<u8>>,
    pub(crate) version: Option<String>,
    /// Of the whole file; only where it was asked for.
    pub(crate) digest: Option<Digest>,
    /// The source proves that nobody touched the file after this moment; `None` where it proves nothing.
    pub(crate) untouched_since: Option<Timestamp>,
}

/// What is known of a file when it is pinned: a [`VirtualFile`] without its counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validator {
    /// Length of the whole file in bytes, where known.
    pub size: Option<u64>,
    /// When the source last changed it; `None` means "not after [`pinned_at`](Self::pinned_at)".
    pub modified: Option<Timestamp>,
    /// A strong `ETag`, without its quotes.
    pub etag: Option<Vec<u8>>,
    /// The version that the source names.
    pub version: Option<String>,
    /// A multihash of the whole file: it is then verified before bytes are given out, which costs one read of the whole file in
    /// every process that reads from it.
    pub digest: Option<Vec<u8>>,
    /// When it was looked up, or when the first reference was staged if the source could not be asked.
    pub pinned_at: Timestamp,
}

impl Stat {
    /// The same without what the format cannot hold, or no server means: an `ETag` or a version that is too long or has
    /// control characters, a size of 2^63 and more, a date that is not in the years 0 to 9999.
    fn bounded(self) -> Self {
        let Self { size, modified, etag, version, digest, untouched_since } = self;
        Self {
            size: size.filter(|size| *size <= limits::NUMBER),
            modified: modified.filter(|date| is_writable(*date)),
            etag: etag.filter(|etag| check_etag(etag).is_ok()),
            version: version.filter(|version| check_version(version).is_ok()),
            digest,
            untouched_since,
        }
    }
}

/// Whether a date can be written in RFC 3339.
fn is_writable(date: Timestamp) -> bool {
    (Timestamp::MIN..=Timestamp::MAX).contains(&date)
}

fn check_etag(etag: &[u8]) -> Result<(), String> {
    // RFC 9110: visible characters but the quote, and bytes above ASCII.
    let is_visible = |b: &u8| matches!(b, 0x21 | 0x23..=0x7e | 0x80..);
    match etag {
        [] => Err("is empty".to_owned()),
        _ if etag.len() > limits::ETAG => Err(format!("has {} bytes; at most {} are allowed", etag.len(), limits::ETAG)),
        _ if !etag.iter().all(is_visible) => Err("has a quote, a space or a control character".to_owned()),
        _ => Ok(()),
    }
}

fn check_version(version: &str) -> Result<(), String> {
    match version.len() {
        0 => Err("is empty".to_owned()),
        len if len > limits::FILE_VERSION => Err(format!("has {len} bytes; at most {} are allowed", limits::FILE_VERSION)),
        _ if version.chars().any(text::is_unprintable) => Err("has a control character".to_owned()),
        _ => Ok(()),
    }
}

impl Validator {
    /// Refuses, as `Invalid`, what the format cannot hold: a size of 2^63 and more, dates outside the years 0 to 9999, an `ETag`
    /// that is longer than 256 bytes, still has its quotes or has a space or a control character, a version that is longer
    /// than 256 bytes or has a control character, and a digest that is not a multihash of at most 64 bytes.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str, why: String| Error::invalid(format!("the {what} of the validator {why}"));
        if let Some(size) = self.size.filter(|size| *size > limits::NUMBER) {
            return Err(wrong("size", format!("is {size}; at most {} is allowed", limits::NUMBER)));
        }
        if [self.modified, Some(self.pinned_at)].into_iter().flatten().any(|date| !is_writable(date)) {
            return Err(wrong("date", "does not lie in the years 0 to 9999".to_owned()));
        }
        self.etag.as_deref().map_or(Ok(()), check_etag).map_err(|why| wrong("etag", why))?;
        self.version.as_deref().map_or(Ok(()), check_version).map_err(|why| wrong("version", why))?;
        match self.digest.as_deref() {
            Some(digest) if digest.len() > limits::FILE_DIGEST || Multihash::<64>::from_bytes(digest).is_err() => {
                Err(wrong("digest", format!("{} is not a multihash of at most 64 bytes", hex(digest))))
            }
            _ => Ok(()),
        }
    }

    /// Whether it distinguishes this state of the file from others: it holds a digest, an `ETag`, a version, or size and date together.
    /// Bytes of a file that is not pinned are given out only to readers who accept that.
    pub fn is_pinned(&self) -> bool {
        let Self { size, modified, etag, version, digest, pinned_at: _ } = self;
        digest.is_some() || etag.is_some() || version.is_some() || (size.is_some() && modified.is_some())
    }

    /// The validator of a file that could not be asked: not modified after `now`.
    pub const fn staged_at(now: Timestamp) -> Self {
        Self { size: None, modified: None, etag: None, version: None, digest: None, pinned_at: now }
    }

    pub(crate) fn seen(stat: Stat, now: Timestamp) -> Self {
        let stat = stat.bounded();
        let digest = stat.digest.map(|digest| multihash(&digest));
        Self { size: stat.size, modified: stat.modified, etag: stat.etag, version: stat.version, digest, pinned_at: now }
    }

    /// The validator inside a record.
    pub fn of(record: &VirtualFile) -> Self {
        Self {
            size: record.size,
            modified: record.modified,
            etag: record.etag.clone(),
            version: record.version.clone(),
            digest: record.digest.clone(),
            pinned_at: record.pinned_at,
        }
    }

    /// The record of a file with this validator and these counts.
    pub fn record(self, refs: u64, bytes: u64) -> VirtualFile {
        let Self { size, modified, etag, version, digest, pinned_at } = self;
        VirtualFile { size, modified, etag, version, digest, pinned_at, refs, bytes }
    }

    /// Whether the date was younger than two seconds when it was recorded, so that a later change may not show in it.
    pub fn is_racy(&self) -> bool {
        self.modified.is_some_and(|modified| modified > self.pinned_at.minus(RACY))
    }

    /// Whether both can be of one state of the file; the error says in words what differs, the record's side first.
    ///
    /// What only one of them knows is no difference. A missing date counts as "not after `pinned_at`".
    pub fn agrees_with(&self, record: &VirtualFile) -> Result<(), String> {
        let record = Self::of(record);
        differs("size", record.size.as_ref(), self.size.as_ref(), u64::to_string)?;
        differs("modified", record.modified.as_ref(), self.modified.as_ref(), Timestamp::to_string)?;
        differs("etag", record.etag.as_ref(), self.etag.as_ref(), |etag| etag_text(etag))?;
        differs("version", record.version.as_ref(), self.version.as_ref(), |version| text::printable_line(version).into_owned())?;
        if same_hash(&record, self) {
            differs("digest", record.digest.as_ref(), self.digest.as_ref(), |digest| hex(digest))?;
        }
        for (dated, other) in [(self, &record), (&record, self)] {
            if let (Some(modified), None) = (dated.modified, other.modified)
                && modified > other.pinned_at
            {
                return Err(late(modified, other.pinned_at));
            }
        }
        Ok(())
    }

    /// What differs from here to `now`, in words and separated by commas; when all else is the same, the moment of pinning.
    pub(crate) fn differences(&self, now: &Self) -> String {
        fn one<T: PartialEq>(what: &str, was: Option<&T>, is: Option<&T>, show: impl Fn(&T) -> String) -> Option<String> {
            let show = |value: Option<&T>| value.map_or_else(|| "unknown".to_owned(), &show);
            (was != is).then(|| format!("{what} {} → {}", show(was), show(is)))
        }
        let all = [
            one("size", self.size.as_ref(), now.size.as_ref(), u64::to_string),
            one("modified", self.modified.as_ref(), now.modified.as_ref(), Timestamp::to_string),
            one("etag", self.etag.as_ref(), now.etag.as_ref(), |etag| etag_text(etag)),
            one("version", self.version.as_ref(), now.version.as_ref(), |version| text::printable_line(version).into_owned()),
            one("digest", self.digest.as_ref(), now.digest.as_ref(), |digest| hex(digest)),
        ];
        let all: Vec<_> = all.into_iter().flatten().collect();
        if all.is_empty() { format!("pinned_at {} → {}", self.pinned_at, now.pinned_at) } else { all.join(", ") }
    }

    /// What is known of a file into which references of both validators point, which must agree. Fails, in words, when references
    /// of one of them would be recognised by what only the other one tells, although nothing shows that both are of one state of
    /// the file.
    ///
    /// That is shown by a fact that recognises the file and that both tell, by a digest of the older one, which every read
    /// verifies besides, and by a source that proves that the file was not touched since the older one was recorded: `proof`
    /// is the moment since which it was not. Of two validators that pin nothing the earlier moment counts.
    pub(crate) fn joined(self, newer: Self, proof: Option<Timestamp>) -> Result<Self, String> {
        let is_one_state = self.shares_a_pin(&newer) || proof.is_some_and(|since| since <= self.pinned_at);
        match (self.is_pinned(), newer.is_pinned()) {
            (true, true) if is_one_state || self.digest.is_some() => Ok(self.united(newer)),
            (false, true) if is_one_state => Ok(self.united(newer)),
            (false, false) => Ok(self.weaker(&newer)),
            (true, true) => Err("its source tells nothing now of what was recorded when it was pinned".to_owned()),
            (false, true) => Err(unproven(self.pinned_at, "as it is now")),
            (true, false) => Err(unproven(newer.pinned_at, "that was pinned")),
        }
    }

    /// What is known of a pinned file when a reference is added by a writer who knows that pin, and `told`, which agrees with it and
    /// pins nothing.
    pub(crate) fn adopted_with(self, told: &Self) -> Self {
        Self { size: self.size.or(told.size), ..self }
    }

    /// Whether both tell a fact that recognises the file. They must agree.
    pub(crate) fn shares_a_pin(&self, other: &Self) -> bool {
        let both = |told: fn(&Self) -> bool| told(self) && told(other);
        let is_dated = both(Self::is_pinned) && both(|v| v.modified.is_some());
        let is_hashed = both(|v| v.digest.is_some()) && same_hash(self, other);
        both(|v| v.etag.is_some()) || both(|v| v.version.is_some()) || is_dated || is_hashed
    }

    /// All that both tell of one state.
    fn united(self, newer: Self) -> Self {
        let is_dated_now = self.modified.is_none() && newer.modified.is_some();
        let pinned_at = if is_dated_now || !self.is_pinned() { newer.pinned_at } else { self.pinned_at };
        Self {
            size: self.size.or(newer.size),
            modified: self.modified.or(newer.modified),
            etag: self.etag.or(newer.etag),
            version: self.version.or(newer.version),
            digest: self.digest.or(newer.digest),
            pinned_at,
        }
    }

    /// What two validators that pin nothing tell together: the earlier moment, and no more than pins nothing either.
    fn weaker(self, newer: &Self) -> Self {
        let pinned_at = self.pinned_at.min(newer.pinned_at);
        let all = Self { size: self.size.or(newer.size), modified: self.modified.or(newer.modified), pinned_at, ..self.clone() };
        if all.is_pinned() { Self { pinned_at, ..self } } else { all }
    }

    /// Refuses a range that no file of the known size has, as `Invalid`; nothing is refused when the size is not known.
    pub fn check_range(&self, range: &std::ops::Range<u64>) -> Result<()> {
        match self.size {
            _ if range.start > range.end => Err(Error::invalid(format!("range {}..{} ends before it begins", range.start, range.end))),
            Some(size) if range.end > size => {
                Err(Error::invalid(format!("range {}..{} lies past the end of a file of {size} bytes", range.start, range.end)))
            }
            _ => Ok(()),
        }
    }
}

impl VirtualFile {
    /// Whether the record distinguishes this state of the file from others, see [`Validator::is_pinned`].
    pub fn is_pinned(&self) -> bool {
        Validator::of(self).is_pinned()
    }

    /// Whether the recorded date was younger than two seconds at lookup: a change at that very time may not show in it.
    pub fn is_racy(&self) -> bool {
        Validator::of(self).is_racy()
    }
}

fn etag_text(etag: &[u8]) -> String {
    text::printable_line(&String::from_utf8_lossy(etag)).into_owned()
}

fn differs<T: PartialEq>(what: &str, was: Option<&T>, is: Option<&T>, show: impl Fn(&T) -> String) -> Result<(), String> {
    match (was, is) {
        (Some(was), Some(is)) if was != is => Err(format!("{what} {} → {}", show(was), show(is))),
        _ => Ok(()),
    }
}

fn late(modified: Timestamp, pinned_at: Timestamp) -> String {
    format!("modified {modified}, after it was pinned at {pinned_at}")
}

fn unproven(staged_at: Timestamp, state: &str) -> String {
    format!(
        "references into it were staged at {staged_at} without a pin, and nothing shows that the file {state} is the one they were made for"
    )
}

/// Digests of two different hashes can be of one file.
fn same_hash(a: &Validator, b: &Validator) -> bool {
    let code = |v: &Validator| v.digest.as_deref().and_then(|bytes| Multihash::<64>::from_bytes(bytes).ok()).map(|hash| hash.code());
    code(a) == code(b)
}

/// What a read compares a file with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpectedFile {
    pub(crate) known: Validator,
    pub(crate) digest: Option<Digest>,
    /// The file lies elsewhere than recorded, so its dates, `ETags` and versions are not compared.
    rebound: bool,
    /// The reader takes bytes of which nothing proves that they are the committed ones.
    accepts_unpinned: bool,
}

/// How a file differs from the recorded one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    CutShort {
        was: u64,
        is: u64,
    },
    Changed(String),
    /// Nothing differs, and nothing that is recorded tells this state of the file from others.
    Unproven(String),
    /// The same, but for a locked digest, which was not to be verified.
    Undigested,
}

impl ExpectedFile {
    /// Takes what a record asks for; `Unsupported` when that cannot be verified.
    pub(crate) fn of(record: &VirtualFile, rebind: Option<&Rebind>) -> Result<Self> {
        let digest = record.digest.as_deref().map(parse_multihash).transpose()?;
        if digest.is_none() && rebind.is_some_and(|rebind| !rebind.accept_unverified) {
            return Err(Error::unsupported("cannot be verified in another place, since no digest of it is locked"));
        }
        Ok(Self { known: Validator::of(record), digest, rebound: rebind.is_some(), accepts_unpinned: false })
    }

    /// The same without a locked digest, for a comparison that reads no byte; `Unsupported` where only the digest would tell.
    pub(crate) fn by_facts(record: &VirtualFile, rebind: Option<&Rebind>) -> Result<Self> {
        if record.digest.is_some() && rebind.is_some_and(|rebind| !rebind.accept_unverified) {
            return Err(Error::unsupported("is compared in another place only by its digest, which was not verified"));
        }
        Ok(Self { digest: None, ..Self::of(record, rebind)? })
    }

    /// Whether bytes of a file that is not pinned are given out.
    pub(crate) fn accepting_unpinned(self, accepts_unpinned: bool) -> Self {
        Self { accepts_unpinned, ..self }
    }

    /// Under which condition a server is to give the file out.
    #[cfg(feature = "remote")]
    pub(crate) fn condition(&self) -> crate::storage::outside::Condition {
        if self.rebound {
            return crate::storage::outside::Condition::default();
        }
        let known = &self.known;
        crate::storage::outside::Condition {
            etag: known.etag.clone(),
            not_after: known.modified.or(Some(known.pinned_at)),
            version: known.version.clone(),
        }
    }

    /// Compares what the source tells now with the record. Succeeds only if both tell enough to recognise the file, unless
    /// its digest is verified besides or the reader accepts unpinned files.
    pub(crate) fn compare(&self, now: &Stat) -> Result<(), Difference> {
        self.contradicted(now)?;
        if self.digest.is_some() || self.rebound || self.accepts_unpinned || self.recognises(now) {
            return Ok(());
        }
        if self.known.digest.is_some() {
            return Err(Difference::Undigested);
        }
        Err(Difference::Unproven(if self.known.is_pinned() {
            "its source no longer tells what was recorded of it".to_owned()
        } else {
            format!("it was never pinned: nothing is recorded of it that would show a change before {}", self.known.pinned_at)
        }))
    }

    /// The moment since which a file that is not pinned must be untouched.
    pub(crate) fn untouched_since(&self) -> Option<Timestamp> {
        Some(self.known.pinned_at).filter(|_| !self.known.is_pinned())
    }

    /// Whether `now`, which agrees with the record, tells something that only this state of the file has. A date counts without
    /// the size, which answers with a part of a file may leave out.
    fn recognises(&self, now: &Stat) -> bool {
        let (known, now) = (&self.known, now.clone().bounded());
        let is_dated = known.is_pinned() && known.modified.is_some() && now.modified.is_some();
        (known.etag.is_some() && now.etag.is_some()) || (known.version.is_some() && now.version.is_some()) || is_dated
    }

    /// Fails if what the source tells now cannot be of the recorded file.
    pub(crate) fn contradicted(&self, now: &Stat) -> Result<(), Difference> {
        let known = &self.known;
        if let (Some(was), Some(is)) = (known.size, now.size)
            && is < was
        {
            return Err(Difference::CutShort { was, is });
        }
        differs("size", known.size.as_ref(), now.size.as_ref(), u64::to_string).map_err(Difference::Changed)?;
        if self.rebound {
            return Ok(());
        }
        let now = Validator::seen(Stat { digest: None, ..now.clone() }, Timestamp::from_micros(i64::MAX));
        now.agrees_with(&known.clone().record(0, 0)).map_err(Difference::Changed)
    }
}

/// The hash of a locked digest, if one is locked; `Err` when it is of a kind that cannot be computed here.
pub(crate) fn locked_hash(known: &Validator) -> Option<Result<HashAlgorithm>> {
    known.digest.as_deref().map(|digest| parse_multihash(digest).map(|digest| digest.hash()))
}

/// The multihash of a digest, as a record holds it.
pub(crate) fn multihash(digest: &Digest) -> Vec<u8> {
    let hash = Multihash::<64>::wrap(digest.hash().code(), digest.as_bytes()).expect("32 bytes fit into a multihash of 64");
    hash.to_bytes()
}

fn parse_multihash(bytes: &[u8]) -> Result<Digest> {
    let hash = Multihash::<64>::from_bytes(bytes)
        .map_err(|e| Error::corrupt(format!("has the digest {}, which is not a multihash", hex(bytes))).caused_by(e))?;
    let known = [HashAlgorithm::Sha2_256, HashAlgorithm::Blake3].into_iter().find(|known| known.code() == hash.code());
    match (known, hash.digest().try_into()) {
        (Some(known), Ok(digest)) => Ok(Digest::new(known, digest)),
        _ => Err(Error::unsupported(format!(
            "has a digest of {} bytes with hash 0x{:x}, which cannot be verified; sha2-256 and blake3 with 32 bytes can",
            hash.digest().len(),
            hash.code()
        ))),
    }
}

/// At most 64 bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    match bytes.get(..64) {
        Some(head) if bytes.len() > 64 => text::hex(head) + "…",
        _ => text::hex(bytes),
    }
}
