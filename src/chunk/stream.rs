//! Chunks that are larger than memory: read piece by piece, hashed and written while they arrive.
//!
//! The id of a chunk is known only at its end. A store that names an object when it is complete gets the pieces as they come. For
//! any other store the bytes are read a second time, from the file that they came from or from scratch space, and every leaf is
//! compared with the digest of the first time.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut as _, Bytes};
use futures::{Stream, TryStreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::read::check_leaves;
use super::split::digests_of;
use super::write::interior_parts;
use super::{ChunkStore, Hashed};
use crate::blocking::blocking;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ChunkId, Digest, HashAlgorithm};
use crate::scratch;
use crate::storage::{ObjectName, ObjectSource, ObjectWriter};
use crate::unixfs::{LEAF, MAX_SIZE, Tree};

/// How many bytes of a stream are read, hashed and written at a time. Values that are shorter are held in memory.
pub(crate) const PIECE: usize = 8 << 20;
/// How many bytes of memory one stream takes: a piece that is read, one that is hashed and one that is written.
pub(crate) const STREAM_COST: u64 = 3 * PIECE as u64;

/// Where the bytes of a stream are kept until the chunk is stored.
#[derive(Debug)]
pub(crate) enum Keep {
    /// Nowhere: only the id is wanted.
    Nothing,
    /// In the store, as an object without a name.
    Writer(Box<dyn ObjectWriter>),
    /// In a scratch file in this directory.
    Scratch(PathBuf),
    /// In the file that the stream reads, which is read again.
    File(Arc<File>),
}

/// A chunk of at least 8 MiB that was read from a stream. Dropping it before [`store`](Self::store) removes what was written.
#[derive(Debug)]
pub(crate) struct StreamedChunk {
    tree: Tree,
    kept: KeptBytes,
}

/// Where the payload of a streamed chunk is.
#[derive(Debug)]
enum KeptBytes {
    Nowhere,
    Writer(Box<dyn ObjectWriter>),
    File(Arc<File>),
    Scratch(Arc<File>, PathBuf),
}

impl ChunkStore {
    /// How to keep a stream that is to be stored: in the store where it can name an object at the end; else in `file`, the regular
    /// file that the stream reads; else in a scratch file in `scratch`.
    pub(crate) fn keep(&self, file: Option<&Arc<File>>, scratch: &Path) -> Keep {
        match (self.storage.writer(), file) {
            (Some(writer), _) => Keep::Writer(writer),
            (None, Some(file)) => Keep::File(Arc::clone(file)),
            (None, None) => Keep::Scratch(scratch.to_owned()),
        }
    }

    /// Reads a stream to its end and hashes it, as [`read_pieces`](Self::read_pieces) does.
    pub(crate) async fn read_stream<R>(&self, head: Bytes, reader: &mut R, keep: Keep) -> Result<StreamedChunk>
    where
        R: AsyncRead + Send + Unpin,
    {
        self.read_pieces(head, &mut std::pin::pin!(pieces_in(reader)), keep).await
    }

    /// Takes pieces to their end and hashes them. Each is a full [`PIECE`] but the last; `head` was taken already, and is a full one.
    ///
    /// `Invalid` when it is longer than any chunk may be. After an error, or when the call is cancelled, nothing is left.
    pub(crate) async fn read_pieces<S>(&self, head: Bytes, pieces: &mut S, keep: Keep) -> Result<StreamedChunk>
    where
        S: Stream<Item = Result<Bytes>> + Send + Unpin,
    {
        let mut kept = KeptBytes::begin(keep).await?;
        let (mut leaves, mut size, mut piece) = (Vec::new(), 0, head);
        loop {
            let is_last = piece.len() < PIECE;
            let next = async { if is_last { Ok(None) } else { pieces.try_next().await } };
            let (digests, next, ()) = futures::try_join!(digests_of(self.hash, &piece), next, kept.write(size, piece.clone()))?;
            leaves.extend(digests);
            size += piece.len() as u64;
            if size > MAX_SIZE {
                return Err(Error::invalid(format!("a value of more than {MAX_SIZE} bytes is too large")));
            }
            match next.filter(|next| !next.is_empty()) {
                Some(next) => piece = next,
                None => return Ok(StreamedChunk { tree: Tree::of(self.hash, size, leaves)?, kept }),
            }
        }
    }

    /// Stores a streamed chunk, as [`put`](Self::put) does. `SourceChanged` when the file that it was read from holds other bytes
    /// now; then nothing is stored.
    pub(crate) async fn put_streamed(&self, chunk: StreamedChunk) -> Result<()> {
        let StreamedChunk { tree, kept } = chunk;
        let name = ObjectName::chunk(&tree.root());
        let tail: Bytes = interior_parts(&tree).concat().into();
        let source = match kept {
            KeptBytes::Nowhere => return Err(Error::internal(format!("{name} was hashed and not kept"))),
            KeptBytes::Writer(mut writer) => {
                writer.write(tail).await?;
                return writer.finish(&name).await;
            }
            KeptBytes::File(file) => ChunkSource { tree, tail, file, scratch: None },
            KeptBytes::Scratch(file, directory) => ChunkSource { tree, tail, file, scratch: Some(directory) },
        };
        self.storage.put_from(&name, &source).await
    }

    /// The id of a value that comes as a stream, of which `head` has been read already. Holds only a few pieces of it.
    pub(crate) async fn hash_stream<R>(&self, head: Bytes, reader: &mut R) -> Result<(ChunkId, u64)>
    where
        R: AsyncRead + Send + Unpin,
    {
        if head.len() < PIECE {
            let hashed: Hashed = self.hash(head).await?;
            return Ok((hashed.id(), hashed.size()));
        }
        let streamed = self.read_stream(head, reader, Keep::Nothing).await?;
        Ok((streamed.id(), streamed.size()))
    }
}

impl StreamedChunk {
    /// The chunk's id.
    pub(crate) fn id(&self) -> ChunkId {
        self.tree.root()
    }

    /// Length of the chunk in bytes.
    pub(crate) const fn size(&self) -> u64 {
        self.tree.layout().size()
    }
}

impl KeptBytes {
    async fn begin(keep: Keep) -> Result<Self> {
        Ok(match keep {
            Keep::Nothing => Self::Nowhere,
            Keep::Writer(writer) => Self::Writer(writer),
            Keep::File(file) => Self::File(file),
            Keep::Scratch(directory) => {
                let (file, directory) = blocking("work on a file", move || Ok((scratch::file(&directory)?, directory))).await?;
                Self::Scratch(Arc::new(file), directory)
            }
        })
    }

    /// Appends a piece, which begins at `offset`.
    async fn write(&mut self, offset: u64, piece: Bytes) -> Result<()> {
        match self {
            Self::Nowhere | Self::File(_) => Ok(()),
            Self::Writer(writer) => writer.write(piece).await,
            Self::Scratch(file, directory) => {
                let (file, directory) = (Arc::clone(file), directory.clone());
                blocking("work on a file", move || file.write_all_at(&piece, offset).map_err(|e| scratch::failed(&directory, e))).await
            }
        }
    }
}

/// What a reader gives, each a full [`PIECE`] but the last.
pub(crate) fn pieces_in<R: AsyncRead + Send + Unpin>(reader: &mut R) -> impl Stream<Item = Result<Bytes>> + Send {
    stream::try_unfold(reader, |reader| async move {
        let piece = read_piece(reader).await?;
        Ok((!piece.is_empty()).then_some((piece, reader)))
    })
}

/// Reads a full [`PIECE`], or less at the end of the stream.
///
/// `Unavailable` when there is not enough memory for it, or the stream fails.
pub(crate) async fn read_piece<R: AsyncRead + Send + Unpin>(reader: &mut R) -> Result<Bytes> {
    let mut piece = Vec::new();
    // Small values are many: each takes no more than it needs.
    let mut room = 64 << 10;
    while piece.len() < PIECE {
        if piece.len() == piece.capacity() {
            let no_memory = |e| Error::unavailable(format!("there is not enough memory for {room} bytes of a value")).caused_by(e);
            piece.try_reserve_exact(room - piece.len()).map_err(no_memory)?;
            room = PIECE;
        }
        let mut limited = (&mut piece).limit(PIECE);
        limited.set_limit(limited.get_ref().capacity() - limited.get_ref().len());
        let read = reader.read_buf(&mut limited).await;
        if read.map_err(|e| Error::unavailable("the value cannot be read").caused_by(e))? == 0 {
            break;
        }
    }
    // Budgets count the length of a value, not the room in which it was read.
    piece.shrink_to_fit();
    Ok(piece.into())
}

/// The object of a chunk whose payload lies in a file.
#[derive(Debug)]
struct ChunkSource {
    tree: Tree,
    /// What follows the payload.
    tail: Bytes,
    file: Arc<File>,
    /// The directory of the file, if it is a scratch file.
    scratch: Option<PathBuf>,
}

#[async_trait]
impl ObjectSource for ChunkSource {
    fn size(&self) -> u64 {
        self.tree.layout().size() + self.tail.len() as u64
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let payload = self.tree.layout().size();
        let end = range.end.min(payload);
        let front = if range.start < end { self.leaves(range.start..end).await? } else { Bytes::new() };
        let within = |at: u64| usize::try_from(at.saturating_sub(payload)).unwrap_or(usize::MAX).min(self.tail.len());
        let back = self.tail.slice(within(range.start)..within(range.end));
        Ok(match (front.is_empty(), back.is_empty()) {
            (_, true) => front,
            (true, false) => back,
            (false, false) => [front, back].concat().into(),
        })
    }
}

impl ChunkSource {
    /// Reads a part of the payload, by whole leaves that are compared with the tree.
    async fn leaves(&self, range: Range<u64>) -> Result<Bytes> {
        let first = range.start / LEAF;
        let aligned = first * LEAF..range.end.next_multiple_of(LEAF).min(self.tree.layout().size());
        let id = self.tree.root();
        let changed = || match &self.scratch {
            Some(directory) => {
                scratch::failed(directory, std::io::Error::other(format!("it does not hold what was written to it of chunk {id}")))
            }
            None => Error::source_changed(format!("the file of chunk {id} changed while it was read")),
        };
        let (file, start) = (Arc::clone(&self.file), aligned.start);
        let len = usize::try_from(aligned.end - start).map_err(|_| changed())?;
        let read = blocking("work on a file", move || {
            let mut bytes = Vec::new();
            let no_memory = |e| Error::unavailable(format!("there is not enough memory for {len} bytes of a value")).caused_by(e);
            bytes.try_reserve_exact(len).map_err(no_memory)?;
            bytes.resize(len, 0);
            match file.read_exact_at(&mut bytes, start) {
                Ok(()) => Ok(Some(Bytes::from(bytes))),
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
                Err(e) => Err(Error::unavailable(format!("chunk {id} cannot be read again")).caused_by(e)),
            }
        });
        let bytes = read.await?.ok_or_else(changed)?;
        let digests: Vec<Digest> = digests_of(self.hash(), &bytes).await?;
        check_leaves(&id, &self.tree, first, &digests).map_err(|e| if e.kind() == ErrorKind::Corrupt { changed() } else { e })?;
        let within = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
        Ok(bytes.slice(within(range.start)..within(range.end)))
    }

    fn hash(&self) -> HashAlgorithm {
        self.tree.root().digest().hash()
    }
}
