//! Files as trees of blocks: `UnixFS` in dag-pb, profile `unixfs-v1-2025` and nothing else.
//!
//! The profile (IPIP-0499) cuts a file into raw leaves of 1 MiB and builds a balanced tree over them, 1,024 children
//! to a node, links before data. A file of at most 1 MiB is its one raw block. So a current IPFS node gives the same
//! bytes the same CID.
//!
//! Everything but the digests follows from the size: how many nodes there are, how long each is, where it lies ([`Layout`]). A node has
//! therefore only one encoding; any other encoding belongs to another profile.

mod file;
mod layout;
mod tree;

#[cfg(test)]
mod tests;

pub(crate) use file::children;
pub(crate) use layout::{FileShape, LEAF, Layout, MAX_SIZE};
pub(crate) use tree::{Tree, TreeStep};
