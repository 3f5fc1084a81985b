//! The columns of a leaf of the virtual-file manifest.

use flatbuffers::FlatBufferBuilder;

use super::at_rest::{ColumnCodec, Digests};
use super::{Leaf, VirtualFile};
use crate::format::column::{self, Misfit, Slices, bytes, misfit, unzigzag, zigzag};
use crate::format::generated::node as fb;
use crate::key::MapKey;
use crate::text::hex;
use crate::time::Timestamp;

const SIZE: u8 = 1;
const MODIFIED: u8 = 2;
const ETAG: u8 = 4;
/// The `ETag` is 32 lower-case hex digits, kept as 16 bytes.
const ETAG_HEX: u8 = 8;
const VERSION: u8 = 16;
const DIGEST: u8 = 32;
const ALL: u8 = SIZE | MODIFIED | ETAG | ETAG_HEX | VERSION | DIGEST;

/// Moments as differences from the moment before.
#[derive(Default)]
struct Deltas {
    last: i64,
}

impl Deltas {
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

/// Sixteen bytes, if `etag` is 32 lower-case hex digits.
fn from_hex(etag: &[u8]) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    let (pairs, []) = etag.as_chunks::<2>() else { return None };
    if pairs.len() != out.len() {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

/// The columns before they are written.
#[derive(Default)]
struct Columns {
    present: Vec<u8>,
    sizes: Vec<u64>,
    modified: Vec<u64>,
    etag_lengths: Vec<u64>,
    etags: Vec<u8>,
    version_lengths: Vec<u64>,
    versions: Vec<u8>,
    digest_lengths: Vec<u64>,
    digests: Vec<u8>,
    pinned_at: Vec<u64>,
    refs: Vec<u64>,
    bytes: Vec<u64>,
}

impl Columns {
    fn of(leaf: &Leaf<VirtualFile>) -> Self {
        let mut columns = Self::default();
        let (mut modified, mut pinned) = (Deltas::default(), Deltas::default());
        for (_, file) in &leaf.entries {
            columns.push(file, &mut modified, &mut pinned);
        }
        columns
    }

    fn push(&mut self, file: &VirtualFile, modified: &mut Deltas, pinned: &mut Deltas) {
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
            if let Some(short) = from_hex(etag) {
                present |= ETAG_HEX;
                self.etags.extend_from_slice(&short);
            } else {
                self.etag_lengths.push(etag.len() as u64);
                self.etags.extend_from_slice(etag);
            }
        }
        if let Some(version) = &file.version {
            present |= VERSION;
            self.version_lengths.push(version.len() as u64);
            self.versions.extend_from_slice(version.as_bytes());
        }
        if let Some(digest) = &file.digest {
            present |= DIGEST;
            self.digest_lengths.push(digest.len() as u64);
            self.digests.extend_from_slice(digest);
        }
        self.present.push(present);
        self.pinned_at.push(pinned.write(file.pinned_at));
        self.refs.push(file.refs);
        self.bytes.push(file.bytes);
    }
}

impl ColumnCodec for VirtualFile {
    fn write_columns<'f>(f: &mut FlatBufferBuilder<'f>, leaf: &Leaf<Self>, _: &mut Vec<u8>, args: &mut fb::NodeArgs<'f>) {
        let columns = Columns::of(leaf);
        let table = fb::FilesLeafArgs {
            present: column::write_bytes(f, &columns.present),
            sizes: column::write(f, &columns.sizes),
            modified: column::write(f, &columns.modified),
            etag_lengths: column::write(f, &columns.etag_lengths),
            etags: column::write_bytes(f, &columns.etags),
            version_lengths: column::write(f, &columns.version_lengths),
            versions: column::write_bytes(f, &columns.versions),
            digest_lengths: column::write(f, &columns.digest_lengths),
            digests: column::write_bytes(f, &columns.digests),
            pinned_at: column::write(f, &columns.pinned_at),
            refs: column::write(f, &columns.refs),
            bytes: column::write(f, &columns.bytes),
        };
        args.files = Some(fb::FilesLeaf::create(f, &table));
    }

    fn read_columns(node: &fb::Node<'_>, keys: Vec<MapKey>, _: &mut Digests<'_>) -> Result<Leaf<Self>, Misfit> {
        let leaf = node.files().ok_or_else(|| Misfit("it is no leaf of the files".to_owned()))?;
        let present = bytes(leaf.present());
        if present.len() != keys.len() || present.iter().any(|bits| bits & !ALL != 0 || bits & (ETAG | ETAG_HEX) == ETAG_HEX) {
            return misfit(format!("it says wrongly what its {} rows have", keys.len()));
        }
        let mut rows = Rows::of(&leaf, present)?;
        let mut entries = Vec::with_capacity(keys.len());
        for (key, bits) in keys.into_iter().zip(present) {
            entries.push((key, rows.next(*bits)?));
        }
        rows.etags.end("etags")?;
        rows.versions.end("versions")?;
        rows.digests.end("digests")?;
        Ok(Leaf { entries })
    }
}

/// The columns while they are read.
struct Rows<'a> {
    sizes: Numbers,
    modified: Numbers,
    etag_lengths: Numbers,
    etags: Slices<'a>,
    version_lengths: Numbers,
    versions: Slices<'a>,
    digest_lengths: Numbers,
    digests: Slices<'a>,
    pinned_at: Numbers,
    refs: Numbers,
    bytes: Numbers,
    last_modified: Deltas,
    last_pinned: Deltas,
}

/// A column read to its end and no further.
struct Numbers(std::vec::IntoIter<u64>);

impl Numbers {
    fn next(&mut self) -> Result<u64, Misfit> {
        self.0.next().ok_or_else(|| Misfit("a column of the files ends early".to_owned()))
    }
}

impl<'a> Rows<'a> {
    fn of(leaf: &fb::FilesLeaf<'a>, present: &[u8]) -> Result<Self, Misfit> {
        let count = |is: u8| present.iter().filter(|bits| **bits & (is | ETAG_HEX) == is).count();
        let any = |is: u8| present.iter().filter(|bits| **bits & is == is).count();
        let read = |column, rows, what| column::read(column, rows, what).map(|values| Numbers(values.into_iter()));
        Ok(Self {
            sizes: read(leaf.sizes(), any(SIZE), "sizes")?,
            modified: read(leaf.modified(), any(MODIFIED), "dates")?,
            etag_lengths: read(leaf.etag_lengths(), count(ETAG), "lengths of etags")?,
            etags: Slices::new(bytes(leaf.etags())),
            version_lengths: read(leaf.version_lengths(), any(VERSION), "lengths of versions")?,
            versions: Slices::new(bytes(leaf.versions())),
            digest_lengths: read(leaf.digest_lengths(), any(DIGEST), "lengths of digests")?,
            digests: Slices::new(bytes(leaf.digests())),
            pinned_at: read(leaf.pinned_at(), present.len(), "pins")?,
            refs: read(leaf.refs(), present.len(), "counts")?,
            bytes: read(leaf.bytes(), present.len(), "sums")?,
            last_modified: Deltas::default(),
            last_pinned: Deltas::default(),
        })
    }

    fn next(&mut self, bits: u8) -> Result<VirtualFile, Misfit> {
        let has = |bit: u8| bits & bit != 0;
        let version = if has(VERSION) { Some(self.versions.take(self.version_lengths.next()?, "versions")?) } else { None };
        let version = version.map(|v| String::from_utf8(v.to_vec())).transpose();
        Ok(VirtualFile {
            size: if has(SIZE) { Some(self.sizes.next()?) } else { None },
            modified: if has(MODIFIED) { Some(self.last_modified.read(self.modified.next()?)) } else { None },
            etag: match (has(ETAG), has(ETAG_HEX)) {
                (false, _) => None,
                (true, true) => Some(hex(self.etags.take(16, "etags")?).into_bytes()),
                (true, false) => Some(self.etags.take(self.etag_lengths.next()?, "etags")?.to_vec()),
            },
            version: version.map_err(|_| Misfit("a version is not UTF-8".to_owned()))?,
            digest: if has(DIGEST) { Some(self.digests.take(self.digest_lengths.next()?, "digests")?.to_vec()) } else { None },
            pinned_at: self.last_pinned.read(self.pinned_at.next()?),
            refs: self.refs.next()?,
            bytes: self.bytes.next()?,
        })
    }
}
