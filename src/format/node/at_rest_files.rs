//! The columns of a leaf of the virtual-file manifest.

use std::borrow::Cow;

use super::at_rest::{ColumnCodec, Digests};
use super::{Leaf, VirtualFile};
use crate::format::column::{ColumnReader, ColumnWriter, Misfit, Slices, misfit, sum, unzigzag, zigzag};
use crate::format::envelope::DIGEST as DIGEST_LENGTH;
use crate::key::MapKey;
use crate::text::hex;
use crate::time::Timestamp;

const SIZE: u64 = 1;
const MODIFIED: u64 = 2;
const ETAG: u64 = 4;
/// The `ETag` begins with 32 lower-case hex digits, kept as 16 bytes.
const ETAG_HEX: u64 = 8;
const VERSION: u64 = 16;
const DIGEST: u64 = 32;
/// The digest is a multihash of sha2-256, of which the last 32 bytes are kept.
const DIGEST_SHA2: u64 = 64;
const ALL: u64 = 127;

/// How many bytes 32 hex digits make.
const SHORT_ETAG: usize = 16;

/// What a multihash of sha2-256 begins with.
const SHA2: [u8; 2] = [0x12, 32];

/// Moments as differences from the moment before.
#[derive(Default)]
struct TimeDeltas {
    last: i64,
}

impl TimeDeltas {
    const fn write(&mut self, time: Timestamp) -> u64 {
        let delta = time.micros().wrapping_sub(self.last);
        self.last = time.micros();
        zigzag(delta)
    }

    const fn read(&mut self, delta: u64) -> Timestamp {
        self.last = self.last.wrapping_add(unzigzag(delta));
        Timestamp::from_micros(self.last)
    }
}

/// Sixteen bytes, if `etag` begins with 32 lower-case hex digits, and the rest of it.
fn from_hex(etag: &[u8]) -> Option<([u8; SHORT_ETAG], &[u8])> {
    let mut out = [0; SHORT_ETAG];
    let (digits, rest) = etag.split_at_checked(2 * SHORT_ETAG)?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    for (byte, [high, low]) in out.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some((out, rest))
}

/// The columns of a leaf of the files.
#[derive(Default)]
pub(crate) struct FileColumns<'a> {
    /// For each row, what it has.
    present: Vec<u64>,
    sizes: Vec<u64>,
    /// Differences from the row before that has one, zigzag.
    modified: Vec<u64>,
    /// For each row with an `ETag`, how long it is without the digits kept as 16 bytes.
    etag_lengths: Vec<u64>,
    etags: Cow<'a, [u8]>,
    short_etags: Cow<'a, [u8]>,
    version_lengths: Vec<u64>,
    versions: Cow<'a, [u8]>,
    digest_lengths: Vec<u64>,
    digests: Cow<'a, [u8]>,
    short_digests: Cow<'a, [u8]>,
    /// Differences from the row before, zigzag.
    pinned_at: Vec<u64>,
    refs: Vec<u64>,
    bytes: Vec<u64>,
}

impl FileColumns<'_> {
    fn of(leaf: &Leaf<VirtualFile>) -> Self {
        let mut columns = Self::default();
        let (mut modified, mut pinned) = (TimeDeltas::default(), TimeDeltas::default());
        for (_, file) in &leaf.entries {
            columns.push(file, &mut modified, &mut pinned);
        }
        columns
    }

    fn push(&mut self, file: &VirtualFile, modified: &mut TimeDeltas, pinned: &mut TimeDeltas) {
        let mut present = 0;
        if let Some(size) = file.size {
            present |= SIZE;
            self.sizes.push(size);
        }
        if let Some(time) = file.modified {
            present |= MODIFIED;
            self.modified.push(modified.write(time));
        }
        if let Some(etag) = &file.etag {
            present |= ETAG;
            let mut rest = etag.as_slice();
            if let Some((short, after)) = from_hex(etag) {
                present |= ETAG_HEX;
                self.short_etags.to_mut().extend_from_slice(&short);
                rest = after;
            }
            self.etag_lengths.push(rest.len() as u64);
            self.etags.to_mut().extend_from_slice(rest);
        }
        if let Some(version) = &file.version {
            present |= VERSION;
            self.version_lengths.push(version.len() as u64);
            self.versions.to_mut().extend_from_slice(version.as_bytes());
        }
        if let Some(digest) = &file.digest {
            present |= DIGEST;
            if let Some(short) = digest.strip_prefix(&SHA2).filter(|short| short.len() == DIGEST_LENGTH) {
                present |= DIGEST_SHA2;
                self.short_digests.to_mut().extend_from_slice(short);
            } else {
                self.digest_lengths.push(digest.len() as u64);
                self.digests.to_mut().extend_from_slice(digest);
            }
        }
        self.present.push(present);
        self.pinned_at.push(pinned.write(file.pinned_at));
        self.refs.push(file.refs);
        self.bytes.push(file.bytes);
    }
}

impl ColumnCodec for VirtualFile {
    type Columns<'a> = FileColumns<'a>;

    fn write_columns(leaf: &Leaf<Self>, out: &mut ColumnWriter) {
        let columns = FileColumns::of(leaf);
        out.column(&columns.present);
        out.column(&columns.sizes);
        out.column(&columns.modified);
        out.column(&columns.etag_lengths);
        out.bytes(&columns.etags);
        out.beside(&columns.short_etags);
        out.column(&columns.version_lengths);
        out.bytes(&columns.versions);
        out.column(&columns.digest_lengths);
        out.bytes(&columns.digests);
        out.beside(&columns.short_digests);
        out.column(&columns.pinned_at);
        out.column(&columns.refs);
        out.column(&columns.bytes);
    }

    fn read_columns<'a>(input: &mut ColumnReader<'a>, count: usize) -> Result<FileColumns<'a>, Misfit> {
        let present = check_present(input.column(count, "rows")?)?;
        let with = |bits: u64, but: u64| present.iter().filter(|has| **has & (bits | but) == bits).count();
        let sizes = input.column(with(SIZE, 0), "sizes")?;
        let modified = input.column(with(MODIFIED, 0), "dates")?;
        let etag_lengths = input.column(with(ETAG, 0), "lengths of etags")?;
        let etags = input.bytes(sum(etag_lengths.iter().copied()), "etags")?.into();
        let short_etags = input.beside((with(ETAG_HEX, 0) * SHORT_ETAG) as u64, "etags")?.into();
        let version_lengths = input.column(with(VERSION, 0), "lengths of versions")?;
        let versions = input.bytes(sum(version_lengths.iter().copied()), "versions")?.into();
        let digest_lengths = input.column(with(DIGEST, DIGEST_SHA2), "lengths of digests")?;
        let digests = input.bytes(sum(digest_lengths.iter().copied()), "digests")?.into();
        let short_digests = input.beside((with(DIGEST_SHA2, 0) * DIGEST_LENGTH) as u64, "digests")?.into();
        let pinned_at = input.column(count, "pins")?;
        let (refs, bytes) = (input.column(count, "counts")?, input.column(count, "sums")?);
        Ok(FileColumns {
            present,
            sizes,
            modified,
            etag_lengths,
            etags,
            short_etags,
            version_lengths,
            versions,
            digest_lengths,
            digests,
            short_digests,
            pinned_at,
            refs,
            bytes,
        })
    }

    fn rows(columns: FileColumns<'_>, keys: Vec<MapKey>, _: &mut Digests<'_>) -> Result<Leaf<Self>, Misfit> {
        let (etags, short_etags) = (Slices(&columns.etags), Slices(&columns.short_etags));
        let (versions, digests, short_digests) = (Slices(&columns.versions), Slices(&columns.digests), Slices(&columns.short_digests));
        let numbers = |column: Vec<u64>| Numbers(column.into_iter());
        let mut rows = Rows {
            sizes: numbers(columns.sizes),
            modified: numbers(columns.modified),
            etag_lengths: numbers(columns.etag_lengths),
            etags,
            short_etags,
            version_lengths: numbers(columns.version_lengths),
            versions,
            digest_lengths: numbers(columns.digest_lengths),
            digests,
            short_digests,
            pinned_at: numbers(columns.pinned_at),
            refs: numbers(columns.refs),
            bytes: numbers(columns.bytes),
            last_modified: TimeDeltas::default(),
            last_pinned: TimeDeltas::default(),
        };
        let mut entries = Vec::with_capacity(keys.len());
        for (key, bits) in keys.into_iter().zip(columns.present) {
            entries.push((key, rows.next(bits)?));
        }
        rows.etags.end("etags")?;
        rows.versions.end("versions")?;
        rows.digests.end("digests")?;
        Ok(Leaf { entries })
    }
}

/// Refuses unknown bits, and those that say how something is kept that is not there.
fn check_present(present: Vec<u64>) -> Result<Vec<u64>, Misfit> {
    let wrong = |bits: &u64| bits & !ALL != 0 || bits & (ETAG | ETAG_HEX) == ETAG_HEX || bits & (DIGEST | DIGEST_SHA2) == DIGEST_SHA2;
    match present.iter().find(|bits| wrong(bits)) {
        Some(bits) => misfit(format!("a row says {bits:#x} of what it has")),
        None => Ok(present),
    }
}

/// The columns while they are read.
struct Rows<'a> {
    sizes: Numbers,
    modified: Numbers,
    etag_lengths: Numbers,
    etags: Slices<'a>,
    short_etags: Slices<'a>,
    version_lengths: Numbers,
    versions: Slices<'a>,
    digest_lengths: Numbers,
    digests: Slices<'a>,
    short_digests: Slices<'a>,
    pinned_at: Numbers,
    refs: Numbers,
    bytes: Numbers,
    last_modified: TimeDeltas,
    last_pinned: TimeDeltas,
}

/// A column read to its end and no further.
struct Numbers(std::vec::IntoIter<u64>);

impl Numbers {
    fn next(&mut self) -> Result<u64, Misfit> {
        self.0.next().ok_or_else(|| Misfit("a column of the files ends early".to_owned()))
    }
}

impl Rows<'_> {
    fn next(&mut self, bits: u64) -> Result<VirtualFile, Misfit> {
        let has = |bit: u64| bits & bit != 0;
        let version = if has(VERSION) { Some(self.versions.take(self.version_lengths.next()?, "versions")?) } else { None };
        let version = version.map(|v| String::from_utf8(v.to_vec())).transpose();
        Ok(VirtualFile {
            size: if has(SIZE) { Some(self.sizes.next()?) } else { None },
            modified: if has(MODIFIED) { Some(self.last_modified.read(self.modified.next()?)) } else { None },
            etag: if has(ETAG) { Some(self.etag(has(ETAG_HEX))?) } else { None },
            version: version.map_err(|_| Misfit("a version is not UTF-8".to_owned()))?,
            digest: if has(DIGEST) { Some(self.digest(has(DIGEST_SHA2))?) } else { None },
            pinned_at: self.last_pinned.read(self.pinned_at.next()?),
            refs: self.refs.next()?,
            bytes: self.bytes.next()?,
        })
    }

    fn etag(&mut self, is_hex: bool) -> Result<Vec<u8>, Misfit> {
        let mut etag = if is_hex { hex(self.short_etags.take(SHORT_ETAG as u64, "etags")?).into_bytes() } else { Vec::new() };
        etag.extend_from_slice(self.etags.take(self.etag_lengths.next()?, "etags")?);
        Ok(etag)
    }

    fn digest(&mut self, is_sha2: bool) -> Result<Vec<u8>, Misfit> {
        if is_sha2 {
            return Ok([&SHA2, self.short_digests.take(DIGEST_LENGTH as u64, "digests")?].concat());
        }
        Ok(self.digests.take(self.digest_lengths.next()?, "digests")?.to_vec())
    }
}
