//! Bytes to an id: cut into leaves, hash them, build the tree.

use bytes::Bytes;

use crate::blocking::{blocking, brief};
use crate::error::{Error, Result};
use crate::id::{ChunkForm, ChunkId, Digest, HashAlgorithm};
use crate::unixfs::{LEAF, Layout, MAX_SIZE, Tree};

use super::{ChunkPlan, trailer_len};

/// Payloads above this many bytes are hashed by several threads.
const PARALLEL: usize = 4 << 20;
/// Payloads up to this many bytes are hashed on the caller's thread: it takes about 0.1 ms, less than a switch of threads is worth.
pub(super) const INLINE: usize = 128 << 10;

/// A chunk whose id is known and whose object is ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Hashed {
    id: ChunkId,
    size: u64,
    payload: Vec<Bytes>,
    tree: Option<Tree>,
}

impl Hashed {
    /// Hashes `bytes` without holding up the runtime: on a blocking thread, large payloads on one for each processor.
    pub(crate) async fn compute(hash: HashAlgorithm, bytes: Bytes) -> Result<Self> {
        let digests = digests_of(hash, &bytes).await?;
        Self::from_digests(hash, bytes, digests)
    }

    fn from_digests(hash: HashAlgorithm, bytes: Bytes, digests: Vec<Digest>) -> Result<Self> {
        let size = bytes.len() as u64;
        if size > LEAF {
            if size > MAX_SIZE {
                return Err(Error::invalid(format!("a chunk of {size} bytes is too large; at most {MAX_SIZE} are allowed")));
            }
            return Ok(Self::from_tree(Tree::of(hash, size, digests)?, vec![bytes]));
        }
        let digest = digests.first().copied().unwrap_or_else(|| hash.digest(&[]));
        Ok(Self::raw(digest, bytes))
    }

    /// Chunk `id` of `size` bytes, which is one block, from bytes that the caller has found to hash to `id`; `Corrupt` when that is
    /// no chunk of one block, or they are not as many.
    pub(crate) fn from_block(id: ChunkId, size: u64, bytes: Bytes) -> Result<Self> {
        debug_assert_eq!(id.digest().hash().digest(&bytes), *id.digest(), "the caller verifies chunk {id}");
        match ChunkPlan::of(&id, size)? {
            ChunkPlan::Raw if bytes.len() as u64 == size => Ok(Self::raw(*id.digest(), bytes)),
            _ => Err(Error::corrupt(format!("chunk {id} has {} bytes, not {size}", bytes.len()))),
        }
    }

    /// A chunk that is one block with this digest.
    pub(super) fn raw(digest: Digest, bytes: Bytes) -> Self {
        Self { id: ChunkId::new(ChunkForm::Raw, digest), size: bytes.len() as u64, payload: vec![bytes], tree: None }
    }

    /// A chunk with this tree; `payload` end to end is what the tree was made of.
    pub(super) fn from_tree(tree: Tree, payload: Vec<Bytes>) -> Self {
        Self { id: tree.root(), size: tree.layout().size(), payload, tree: Some(tree) }
    }

    /// The chunk's id.
    pub(crate) const fn id(&self) -> ChunkId {
        self.id
    }

    /// Length of the chunk in bytes.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Length of the chunk's object in bytes: the chunk, and the nodes over it.
    pub(crate) fn object_len(&self) -> u64 {
        object_len(self.size)
    }

    /// The chunk, in pieces.
    pub(crate) fn payload(&self) -> &[Bytes] {
        &self.payload
    }

    /// The tree over it, when it has more than one leaf.
    pub(crate) const fn tree(&self) -> Option<&Tree> {
        self.tree.as_ref()
    }
}

/// Length of the object of a chunk of `size` bytes. One that is too large has none, and counts as it is.
pub(crate) fn object_len(size: u64) -> u64 {
    match Layout::of(size) {
        Ok(layout) if size > LEAF => size + layout.interior_len() + trailer_len(layout.nodes()),
        _ => size,
    }
}

/// Like [`leaf_digests`], off the runtime's threads.
pub(super) async fn digests_of(hash: HashAlgorithm, bytes: &Bytes) -> Result<Vec<Digest>> {
    if bytes.len() <= INLINE {
        return Ok(leaf_digests(hash, bytes));
    }
    if bytes.len() <= PARALLEL {
        let bytes = bytes.clone();
        return brief("hashing a chunk", move || Ok(leaf_digests(hash, &bytes))).await;
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let leaf = usize::try_from(LEAF).expect("1 MiB fits into usize");
    let each = bytes.len().div_ceil(leaf).div_ceil(threads) * leaf;
    let parts = (0..bytes.len()).step_by(each).map(|start| {
        let part = bytes.slice(start..bytes.len().min(start + each));
        blocking("hashing a chunk", move || Ok(leaf_digests(hash, &part)))
    });
    Ok(futures::future::try_join_all(parts).await?.concat())
}

/// The digest of each leaf of `bytes`; none when they are empty.
pub(super) fn leaf_digests(hash: HashAlgorithm, bytes: &[u8]) -> Vec<Digest> {
    bytes.chunks(usize::try_from(LEAF).expect("1 MiB fits into usize")).map(|leaf| hash.digest(leaf)).collect()
}
