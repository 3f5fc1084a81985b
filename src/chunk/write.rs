//! Hash and store.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Result;
use crate::storage::ObjectName;
use crate::unixfs::{Layout, Tree};

use super::{ChunkStore, Hashed};

/// Length of the fixed end of a trailer, in bytes.
pub(super) const TAIL: usize = 40;
const MAGIC: &[u8; 8] = b"FIRNTREE";
const VERSION: u16 = 1;
/// A file of profile `unixfs-v1-2025`.
const KIND: u16 = 1;

impl ChunkStore {
    /// Computes the id of `bytes` and stores nothing.
    pub(crate) async fn hash(&self, bytes: Bytes) -> Result<Hashed> {
        Hashed::compute(self.hash, bytes).await
    }

    /// Stores a chunk as one object. Writing it again is harmless; durable after [`Storage::barrier`](crate::storage::Storage::barrier).
    pub(crate) async fn put(&self, chunk: &Hashed) -> Result<()> {
        self.storage.put(&ObjectName::chunk(&chunk.id()), &object_parts(chunk)).await
    }

    /// The storing of a chunk as a job: each call is one attempt.
    pub(crate) fn job(&self, chunk: Hashed) -> impl Fn() -> BoxFuture<'static, Result<()>> + Send + Sync + use<> {
        let (chunks, chunk) = (self.clone(), Arc::new(chunk));
        move || {
            let (chunks, chunk) = (chunks.clone(), chunk.clone());
            Box::pin(async move { chunks.put(&chunk).await })
        }
    }
}

/// The object of a chunk, in pieces.
pub(super) fn object_parts(chunk: &Hashed) -> Vec<Bytes> {
    let mut parts = chunk.payload().to_vec();
    parts.extend(chunk.tree().into_iter().flat_map(interior_parts));
    parts
}

/// What follows the payload in the object of a chunk with this tree, in pieces.
pub(super) fn interior_parts(tree: &Tree) -> Vec<Bytes> {
    let nodes = tree.nodes().iter().map(|node| node.bytes.clone());
    nodes.chain([trailer(tree.layout()).into()]).collect()
}

/// The trailer of a chunk with this layout.
pub(super) fn trailer(layout: &Layout) -> Vec<u8> {
    let count = u32::try_from(layout.nodes()).expect("at most 2^48 bytes, so fewer than 2^19 nodes");
    let mut out = Vec::with_capacity(4 * layout.levels().len() + TAIL);
    for level in layout.levels() {
        for index in 0..level.count {
            let len = u32::try_from(level.shape(index).encoded_len()).expect("1,024 links take less than 100 KiB");
            out.extend(len.to_le_bytes());
        }
    }
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend(KIND.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(layout.size().to_le_bytes());
    out.extend(layout.interior_len().to_le_bytes());
    let checksum = xxh3_64(&out);
    out.extend(checksum.to_le_bytes());
    out
}
