//! One interior node of a file: its only encoding.
//!
//! ```text
//! PBNode  { repeated 2: PBLink { 1: Hash = binary CID, 2: Name = "", 3: Tsize }, then 1: Data }
//! Data    { 1: Type = 2 (file), 3: filesize, repeated 4: blocksizes }
//! ```

use crate::error::{Error, Result};
use crate::id::{ChunkForm, ChunkId, Digest, HashAlgorithm};
use crate::varint;

use super::layout::FileShape;

/// Field 2 of a node, length-delimited: a link.
const LINK: u8 = 0x12;
/// Field 1 of a node, length-delimited: the `UnixFS` message.
const DATA: u8 = 0x0a;
/// Field 1 of the `UnixFS` message with the value 2: a file.
const TYPE_FILE: [u8; 2] = [0x08, 0x02];
/// Field 3 of the `UnixFS` message: the size of the file.
const FILE_SIZE: u8 = 0x18;
/// Field 4 of the `UnixFS` message: the size of one child.
const BLOCK_SIZE: u8 = 0x20;
/// Where the digest begins in the body of a link: after the tag and length of the CID and the four bytes of its head.
const DIGEST_IN_LINK: u64 = 6;

/// What the children of a node of this shape are.
pub(super) const fn child_form(shape: FileShape) -> ChunkForm {
    if shape.height <= 1 { ChunkForm::Raw } else { ChunkForm::UnixFs }
}

/// The node of this shape with these children, of which there must be as many as the shape has.
pub(super) fn encode(shape: FileShape, children: &[Digest]) -> Vec<u8> {
    debug_assert_eq!(children.len() as u64, shape.children());
    let mut out = Vec::with_capacity(usize::try_from(shape.encoded_len()).unwrap_or(0));
    for (child, digest) in shape.each_child().zip(children) {
        out.push(LINK);
        varint::put(&mut out, child.link_len());
        let cid = ChunkId::new(child_form(shape), *digest).to_bytes();
        out.extend([0x0a, 36]);
        out.extend(cid);
        out.extend([0x12, 0, 0x18]);
        varint::put(&mut out, child.total());
    }
    out.push(DATA);
    varint::put(&mut out, shape.data_len());
    out.extend(TYPE_FILE);
    out.push(FILE_SIZE);
    varint::put(&mut out, shape.size);
    for child in shape.each_child() {
        out.push(BLOCK_SIZE);
        varint::put(&mut out, child.size);
    }
    out
}

/// The digests of the children of a node that must have this shape; bytes that [`encode`] would not write are
/// `Unsupported`, because the caller has checked their digest: they were written so on purpose.
pub(super) fn decode(shape: FileShape, hash: HashAlgorithm, bytes: &[u8]) -> Result<Vec<Digest>> {
    let foreign = || Error::unsupported("a node of the file is not one of profile unixfs-v1-2025");
    if bytes.len() as u64 != shape.encoded_len() {
        return Err(foreign());
    }
    let mut at = 0;
    let children: Option<Vec<Digest>> = shape
        .each_child()
        .map(|child| {
            let body = child.link_len();
            let digest = usize::try_from(at + 1 + varint::len(body) + DIGEST_IN_LINK).ok()?;
            at += 1 + varint::len(body) + body;
            Some(Digest::new(hash, *bytes.get(digest..)?.first_chunk()?))
        })
        .collect();
    children.filter(|children| encode(shape, children) == bytes).ok_or_else(foreign)
}

/// The children of a node that must have this shape, in order: what each is and what it covers. Checked as [`decode`] does.
pub(crate) fn children(shape: FileShape, hash: HashAlgorithm, bytes: &[u8]) -> Result<Vec<(ChunkId, FileShape)>> {
    let digests = decode(shape, hash, bytes)?;
    let form = child_form(shape);
    Ok(digests.into_iter().map(|digest| ChunkId::new(form, digest)).zip(shape.each_child()).collect())
}
