//! CAR files: a header with roots, then sections, each a CID and the block that hashes to it.
//!
//! Written: version 1. Read: version 1, and the version 1 inside version 2 (whose index is not used). Every error names the offset in the file.
//!
//! `iroh-car` cuts the file into sections. It checks no hashes, does not know version 2, and reads a truncated file as a complete one. So
//! [`guard`] checks lengths and the end of the file below it, and [`reader`] reads headers and checks blocks above it.
//! `docs/decisions/0036` says why it stays.
//!
//! The framing does not tell whether all blocks are there: a file that is cut between two sections reads as a shorter file (in version 2 the
//! header tells), and no hash covers a CID's codec or a root. An import follows the links from the roots and finds both.

mod guard;
mod header;
mod reader;
mod v2;
mod writer;

#[cfg(test)]
mod tests;

use crate::id::Cid;
use crate::varint;

pub(crate) use header::section_len as header_len;
pub(crate) use reader::{CarBlock, CarReader, Section};
pub(crate) use writer::{CarWriter, Sections};

/// The longest block, in bytes: what other implementations move between each other.
pub(crate) const MAX_BLOCK: usize = 2 << 20;
/// The longest header, in bytes: about 1,500 roots.
pub(crate) const MAX_HEADER: usize = 64 << 10;
/// The longest CID with a digest of at most 64 bytes: four numbers of at most nine bytes before it.
const MAX_CID: usize = 4 * 9 + 64;

/// Length of a section, its own length prefix included: to know every offset before any block is read.
pub(crate) fn section_len(cid: &Cid, data_len: u64) -> u64 {
    let body = cid.encoded_len() as u64 + data_len;
    varint::len(body) + body
}
