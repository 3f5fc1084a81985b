//! What fuzzing needs to get behind checksums and compression.

use xxhash_rust::xxh3::xxh3_64;

use super::envelope;
use super::fork::{ForkDocument, ForkKind, ForkPiece, VERSION};
use super::limits;
use crate::dagcbor::{Reader, Writer};
use crate::id::MapKind;

/// The length of an envelope's header, in bytes.
const HEADER: usize = 32;
const KINDS: [envelope::Kind; 5] = [
    envelope::Kind::Snapshot,
    envelope::Kind::Node(MapKind::Manifest),
    envelope::Kind::Node(MapKind::Files),
    envelope::Kind::Node(MapKind::History),
    envelope::Kind::Changes,
];

/// The same object with a frame that is not compressed: a byte of it that changes is a byte of its columns.
pub(crate) fn plain(object: &[u8]) -> Option<Vec<u8>> {
    let opened = KINDS.into_iter().find_map(|kind| envelope::open(kind, object).ok())?;
    let mut out = object.get(..HEADER)?.to_vec();
    out.extend_from_slice(opened.beside);
    out.extend_from_slice(&opened.body);
    mended(&out)
}

/// The same bytes with lengths and a checksum that fit them, as those of an object that is not compressed.
pub(crate) fn mended(object: &[u8]) -> Option<Vec<u8>> {
    let (header, rest) = object.split_first_chunk::<HEADER>()?;
    let (head, others) = header.split_first_chunk::<12>()?;
    let beside = u32::from_le_bytes(*others.get(8..)?.first_chunk()?);
    let beside = u32::try_from(rest.len()).ok()?.min(beside);
    let frame = u32::try_from(rest.len()).ok()? - beside;
    let mut out = head.to_vec();
    for length in [frame, frame, beside] {
        out.extend_from_slice(&length.to_le_bytes());
    }
    let sum = xxh3_64(&[out.as_slice(), rest].concat());
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(rest);
    Some(out)
}

/// The body of a document that a session and its forks exchange.
pub(crate) fn fork_body(document: &[u8]) -> Option<Vec<u8>> {
    let mut r = Reader::new(document);
    r.tuple(4).ok()?;
    r.text(32).ok()?;
    r.uint().ok()?;
    r.bytes(8).ok()?;
    r.bytes(limits::FORK).ok().map(<[u8]>::to_vec)
}

/// The blocks of rows that lie in a document.
pub(crate) fn fork_rows(document: &[u8]) -> Vec<Vec<u8>> {
    let document = [ForkKind::Fork, ForkKind::Changes].into_iter().find_map(|kind| ForkDocument::decode(document, kind).ok());
    let pieces = document.into_iter().flat_map(|document| document.pieces);
    let inline = pieces.filter_map(|piece| match piece {
        ForkPiece::Inline(block) => Some(block.to_vec()),
        ForkPiece::Stored(..) => None,
    });
    inline.collect()
}

/// A document with this body, and a checksum that fits it.
pub(crate) fn fork_document(kind: ForkKind, body: &[u8]) -> Vec<u8> {
    let mut w = Writer::with_capacity(body.len() + 40);
    w.array(4);
    w.text(kind.title());
    w.uint(VERSION);
    w.bytes(&xxh3_64(body).to_be_bytes());
    w.bytes(body);
    w.finish()
}
