//! The columns of a leaf of the virtual-file manifest, as version 1 kept them.

use super::column::{bytes, read};
use crate::format::column::{Misfit, Slices, misfit};
use crate::format::generated::node as fb;
use crate::format::node::at_rest_files::{DIGEST, ETAG, ETAG_HEX, FileColumns, MODIFIED, SHORT_ETAG, SIZE, VERSION, check_present};

const ALL: u64 = SIZE | MODIFIED | ETAG | ETAG_HEX | VERSION | DIGEST;

/// The columns of a leaf of the files.
pub(in crate::format::node) fn files<'a>(node: &fb::Node<'a>, count: usize) -> Result<FileColumns<'a>, Misfit> {
    let leaf = node.files().ok_or_else(|| Misfit("it is no leaf of the files".to_owned()))?;
    let present = check_present(bytes(leaf.present()).iter().copied().map(u64::from).collect(), ALL)?;
    if present.len() != count {
        return misfit(format!("it says of {} rows what they have, not of {count}", present.len()));
    }
    let with = |bits: u64, but: u64| present.iter().filter(|has| **has & (bits | but) == bits).count();
    let etag_lengths = read(leaf.etag_lengths(), with(ETAG, ETAG_HEX), "lengths of etags")?;
    let etags = Etags::split(&present, etag_lengths, bytes(leaf.etags()))?;
    Ok(FileColumns {
        sizes: read(leaf.sizes(), with(SIZE, 0), "sizes")?,
        modified: read(leaf.modified(), with(MODIFIED, 0), "dates")?,
        etag_lengths: etags.lengths,
        etags: etags.long.into(),
        short_etags: etags.short.into(),
        version_lengths: read(leaf.version_lengths(), with(VERSION, 0), "lengths of versions")?,
        versions: bytes(leaf.versions()).into(),
        digest_lengths: read(leaf.digest_lengths(), with(DIGEST, 0), "lengths of digests")?,
        digests: bytes(leaf.digests()).into(),
        short_digests: Vec::new().into(),
        pinned_at: read(leaf.pinned_at(), count, "pins")?,
        refs: read(leaf.refs(), count, "counts")?,
        bytes: read(leaf.bytes(), count, "sums")?,
        present,
    })
}

/// `ETags` as [`FileColumns`] keeps them.
#[derive(Default)]
struct Etags {
    lengths: Vec<u64>,
    long: Vec<u8>,
    short: Vec<u8>,
}

impl Etags {
    /// Version 1 kept both kinds in one string, and no lengths of those of 32 hex digits.
    fn split(present: &[u64], lengths: Vec<u64>, etags: &[u8]) -> Result<Self, Misfit> {
        let (mut lengths, mut etags, mut split) = (lengths.into_iter(), Slices(etags), Self::default());
        for bits in present.iter().filter(|bits| **bits & ETAG != 0) {
            if bits & ETAG_HEX != 0 {
                split.short.extend_from_slice(etags.take(SHORT_ETAG as u64, "etags")?);
                split.lengths.push(0);
            } else {
                let length = lengths.next().ok_or_else(|| Misfit("it has too few lengths of etags".to_owned()))?;
                split.long.extend_from_slice(etags.take(length, "etags")?);
                split.lengths.push(length);
            }
        }
        etags.end("etags").map(|()| split)
    }
}
