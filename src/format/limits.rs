//! How large anything may be. A reader refuses more before it allocates; together these keep every block under 2 MiB.
//!
//! A node ends at the latest when its entries count 2^19 (see the cut rule). Below are the limits on what that count leaves
//! out, so that no canonical node reaches 1 MiB: see `docs/format.md`, "Limits".

/// The longest canonical node, in bytes: a node is shorter.
pub(crate) const NODE: usize = 1 << 20;
/// The most rows of a leaf of the manifest. The cut rule ends one before 6,503; the limit leaves room for the other targets of its sweep.
pub(crate) const MANIFEST_ROWS: usize = 1 << 16;
/// The most rows of every other node, whose rows weigh 40 and more: the cut rule ends one before 762.
pub(crate) const ROWS: usize = 1 << 13;
/// The highest level of a branch.
pub(crate) const LEVEL: u8 = 63;
/// The longest value stored inline, in bytes.
pub(crate) const INLINE: usize = 1 << 10;
/// The longest value stored inline under a name that Zarr gives to metadata, in bytes.
pub(crate) const INLINE_METADATA: usize = 4 << 10;
/// The longest summary of a commit, in bytes.
pub(crate) const SUMMARY: usize = 72;
/// The longest `ETag`, in bytes.
pub(crate) const ETAG: usize = 256;
/// The longest name of a version that a source gives, in bytes.
pub(crate) const FILE_VERSION: usize = 256;
/// The longest multihash of a file, in bytes.
pub(crate) const FILE_DIGEST: usize = 68;
/// The largest number anywhere: other implementations may read integers as signed.
pub(crate) const NUMBER: u64 = i64::MAX.cast_unsigned();

/// The longest canonical commit, in bytes: a little under 2 MiB, so that a section around it still fits.
pub(crate) const COMMIT: usize = (2 << 20) - (1 << 10);
/// The longest message, in bytes.
pub(crate) const MESSAGE: usize = 1 << 20;
/// The longest author, in bytes.
pub(crate) const AUTHOR: usize = 1 << 10;
/// The longest name (of a container, a default, an option, a piece of metadata), in bytes.
pub(crate) const NAME: usize = 256;
/// The longest template or place, and the longest default or option, in bytes.
pub(crate) const TEMPLATE: usize = 4096;
/// The longest value of a piece of metadata, in bytes.
pub(crate) const META_VALUE: usize = 1 << 18;
/// The most parents of a snapshot.
pub(crate) const PARENTS: usize = 64;
/// The most containers of a snapshot.
pub(crate) const CONTAINERS: usize = 1 << 12;
/// The most places of a snapshot.
pub(crate) const PLACES: usize = 1 << 14;
/// The most pairs in metadata, or in the defaults or options of a container.
pub(crate) const PAIRS: usize = 1 << 10;

/// The most names and values in containers and metadata together, so that a small commit cannot fill much memory.
pub(crate) const TEXTS: usize = 1 << 16;

/// The longest canonical root that a snapshot carries a copy of, in bytes.
pub(crate) const ROOT_COPY: usize = 4 << 10;
/// The most keys on the list of changed keys beside a snapshot.
pub(crate) const CHANGES_ROWS: usize = 1 << 12;
/// The longest such list as it is stored, in bytes.
pub(crate) const CHANGES: usize = 256 << 10;
/// The longest `repo.json`, in bytes.
pub(crate) const REPO: usize = 64 << 10;

/// The longest document that a fork and its parent hand each other, in bytes.
pub(crate) const FORK: usize = 8 << 20;
/// The longest block of rows of such a document, in bytes: one raw block where it is stored as a chunk.
pub(crate) const FORK_BLOCK: usize = 1 << 20;
/// The most blocks of one document.
pub(crate) const FORK_PIECES: usize = 1 << 16;
/// The most moves of one document, so that they cannot fill much memory.
pub(crate) const FORK_MOVES: usize = 1 << 16;
/// The most ids of objects that a document lists beside its rows.
pub(crate) const FORK_TOUCHED: usize = 1 << 16;
/// The longest record of a ref, and the longest version of one, that a document carries, in bytes.
pub(crate) const REGISTER: usize = 1 << 16;
/// The longest text in a document about a file that is not pinned, in bytes.
pub(crate) const FORK_TEXT: usize = 4096;
