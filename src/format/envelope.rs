//! The envelope around every object at rest except chunks: what it is, how long its parts are, and a checksum.
//!
//! ```text
//! offset size field
//!  0      8   magic           89 'F' 'R' 'N' 0D 0A 1A 0A
//!  8      1   kind            1 snapshot, 2 manifest node, 3 files node, 4 history node, 5 list of changed keys
//!  9      1   at-rest version 2
//! 10      2   reserved        0
//! 12      4   decoded length  of the frame, in bytes            all integers little endian
//! 16      4   frame length    in bytes
//! 20      4   beside length   in bytes
//! 24      8   checksum        XXH3-64 of bytes 0..24 and of everything from 32 on
//! 32      n   beside          as it is: digests, and other bytes that do not compress
//! 32+n    m   frame           one zstd frame, or, if as long as the decoded length, the decoded bytes themselves
//! ```
//!
//! The checksum shows early and cheaply that an object is torn or damaged. Only the id proves the content.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use xxhash_rust::xxh3::Xxh3Default;

use super::limits;
use crate::error::{Error, Result};
use crate::id::MapKind;

const MAGIC: [u8; 8] = *b"\x89FRN\r\n\x1a\n";
const HEADER: usize = 32;
const LEVEL: i32 = 3;

/// The length of a digest.
pub(super) const DIGEST: usize = 32;

/// The version of what is inside an envelope. Version 1 was never released.
const VERSION: u8 = 2;

/// What an envelope holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Snapshot,
    Node(MapKind),
    /// The list of changed keys beside a snapshot.
    Changes,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Snapshot, Self::Node(MapKind::Manifest), Self::Node(MapKind::Files), Self::Node(MapKind::History), Self::Changes];

    const fn byte(self) -> u8 {
        match self {
            Self::Snapshot => 1,
            Self::Node(MapKind::Manifest) => 2,
            Self::Node(MapKind::Files) => 3,
            Self::Node(MapKind::History) => 4,
            Self::Changes => 5,
        }
    }

    /// The most that a frame of this kind holds, in bytes.
    const fn most_decoded(self) -> usize {
        match self {
            // The commit, the copies of three roots, and for each text the 32 bytes that FlatBuffers may spend on it.
            Self::Snapshot => limits::COMMIT + 3 * limits::ROOT_COPY + 32 * (limits::TEXTS + limits::PLACES),
            // A canonical node's text, and at most 32 bytes of columns for each row.
            Self::Node(_) => limits::NODE + 32 * limits::MANIFEST_ROWS,
            // Two leaves, and the heads around them.
            Self::Changes => 2 * limits::NODE + 16,
        }
    }

    /// The most bytes that a stored object of this kind has. A longer one is not what its name says, and is not read.
    pub(super) const fn most_stored(self) -> u64 {
        let decoded = self.most_decoded();
        // At most so much does zstd make of input that it cannot compress.
        let frame = decoded + (decoded >> 7) + 1024;
        (HEADER + self.most_beside() + frame) as u64
    }

    /// The most bytes beside the frame.
    const fn most_beside(self) -> usize {
        match self {
            Self::Snapshot => (3 + limits::PARENTS) * DIGEST,
            // A digest, and as much again for planes.
            Self::Node(_) => limits::MANIFEST_ROWS * 2 * DIGEST,
            Self::Changes => 4 * DIGEST,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot => f.write_str("snapshot"),
            Self::Node(kind) => write!(f, "{kind} node"),
            Self::Changes => f.write_str("list of changed keys"),
        }
    }
}

/// What [`open`] found inside.
#[derive(Debug)]
pub(super) struct OpenedEnvelope<'a> {
    /// What lies beside the frame.
    pub(super) beside: &'a [u8],
    /// What the frame holds.
    pub(super) body: Cow<'a, [u8]>,
}

impl OpenedEnvelope<'_> {
    /// What lies beside the frame, where that is digests and nothing else.
    pub(super) fn digests(&self) -> Result<&[[u8; DIGEST]]> {
        let whole = || Error::corrupt(format!("the {} bytes beside its frame are not whole digests", self.beside.len()));
        let (digests, rest) = self.beside.as_chunks();
        if rest.is_empty() { Ok(digests) } else { Err(whole()) }
    }
}

thread_local! {
    // Making a compression context costs more than compressing a node.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Puts the content of a frame, and what lies beside it, into an envelope.
pub(super) fn seal(kind: Kind, beside: &[u8], body: &[u8]) -> Vec<u8> {
    let compressed = compress(body);
    // Small nodes and well-predicted ones are shorter as they are.
    let frame = if compressed.len() < body.len() { &compressed } else { body };
    let length = |n: usize| u32::try_from(n).expect("every object is far below 4 GiB").to_le_bytes();
    let mut out = Vec::with_capacity(HEADER + beside.len() + frame.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[kind.byte(), VERSION, 0, 0]);
    out.extend_from_slice(&length(body.len()));
    out.extend_from_slice(&length(frame.len()));
    out.extend_from_slice(&length(beside.len()));
    out.extend_from_slice(&checksum(&out, beside, frame).to_le_bytes());
    out.extend_from_slice(beside);
    out.extend_from_slice(frame);
    out
}

fn compress(body: &[u8]) -> Vec<u8> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(zstd::bulk::Compressor::new(LEVEL).expect("zstd takes level 3")),
        };
        compressor.compress(body).expect("the buffer has the size that zstd asks for")
    })
}

fn checksum(head: &[u8], beside: &[u8], frame: &[u8]) -> u64 {
    let mut hasher = Xxh3Default::new();
    for part in [head, beside, frame] {
        hasher.update(part);
    }
    hasher.digest()
}

/// Takes an envelope of `kind` apart. Nothing is allocated before every length has been checked.
pub(super) fn open(kind: Kind, bytes: &[u8]) -> Result<OpenedEnvelope<'_>> {
    let truncated = || Error::corrupt(format!("{} bytes are too few for an envelope", bytes.len()));
    let (header, rest) = bytes.split_first_chunk::<HEADER>().ok_or_else(truncated)?;
    let (head, stored_sum) = header.split_last_chunk::<8>().ok_or_else(truncated)?;
    let (magic, fields) = head.split_first_chunk::<8>().ok_or_else(truncated)?;
    let &[kind_byte, version, r0, r1, d0, d1, d2, d3, f0, f1, f2, f3, n0, n1, n2, n3] = fields else { return Err(truncated()) };
    if *magic != MAGIC {
        return Err(Error::corrupt(format!("it begins with {magic:02x?}, not with the magic of an envelope")));
    }
    if version != VERSION {
        return Err(Error::unsupported(format!("at-rest version {version}; this build reads version {VERSION}")));
    }
    if kind_byte != kind.byte() {
        let found = Kind::ALL.into_iter().find(|k| k.byte() == kind_byte);
        let found = found.map_or_else(|| format!("an object of unknown kind {kind_byte}"), |k| format!("a {k}"));
        return Err(Error::corrupt(format!("it is {found}, not a {kind}")));
    }
    if (r0, r1) != (0, 0) {
        return Err(Error::corrupt("the reserved bytes of its envelope are not zero"));
    }
    let length = |bytes| u32::from_le_bytes(bytes) as usize;
    let (decoded, frame, beside) = (length([d0, d1, d2, d3]), length([f0, f1, f2, f3]), length([n0, n1, n2, n3]));
    if Some(rest.len()) != beside.checked_add(frame) {
        return Err(Error::corrupt(format!("its envelope speaks of {beside} + {frame} bytes, but {} follow", rest.len())));
    }
    if decoded > kind.most_decoded() || beside > kind.most_beside() {
        return Err(Error::corrupt(format!("its envelope speaks of {decoded} decoded bytes and {beside} beside, beyond the limits")));
    }
    let (beside, frame) = rest.split_at(beside);
    let (stored, computed) = (u64::from_le_bytes(*stored_sum), checksum(head, beside, frame));
    if stored != computed {
        return Err(Error::corrupt(format!("its checksum is {computed:016x}, but its envelope says {stored:016x}")));
    }
    let as_it_is = frame.len() == decoded;
    let body = if as_it_is { Cow::Borrowed(frame) } else { Cow::Owned(decompress(frame, decoded)?) };
    Ok(OpenedEnvelope { beside, body })
}

fn decompress(frame: &[u8], decoded: usize) -> Result<Vec<u8>> {
    if zstd::zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len()) {
        return Err(Error::corrupt("its payload is not one whole zstd frame"));
    }
    let mut body = Vec::with_capacity(decoded);
    let read = DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor.decompress_to_buffer(frame, &mut body)
    });
    match read {
        Ok(read) if read == decoded => Ok(body),
        Ok(read) => Err(Error::corrupt(format!("its payload has {read} bytes decoded, but its envelope says {decoded}"))),
        Err(e) => Err(Error::corrupt("its payload does not decompress").caused_by(e)),
    }
}
