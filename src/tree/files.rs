//! The files of a directory, found and read in parallel and in bounded memory.

use std::fs::{File, Metadata};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, stream};
use tokio::sync::mpsc;

use super::cache::Facts;
use super::walk::{Found, TreeWalk};
use super::{blocking, io_error};
use crate::chunk::{ChunkStore, Keep, PIECE, STREAM_COST, object_len, read_piece};
use crate::error::{Error, Result};
use crate::key::Prefix;

/// How many files are read and hashed at once.
pub(super) const READERS: usize = 16;
/// How many bytes of files a comparison holds at once.
pub(super) const READ_BYTES: u64 = 64 << 20;

/// Walks `directory` on a thread of its own. The files come as a stream, the number of empty directories at
/// the end.
pub(super) fn walk(
    directory: PathBuf,
    prefix: Prefix,
) -> (impl Stream<Item = Result<Found>> + Send, impl Future<Output = Result<u64>> + Send) {
    let (sender, receiver) = mpsc::channel(1024);
    let found = stream::unfold(receiver, |mut found| async move { found.recv().await.map(|next| (next, found)) });
    let walk = blocking(move || TreeWalk::new(prefix, |found| sender.blocking_send(found).is_ok()).run(&directory));
    // Spawned at once, because the channel must be filled before the end is awaited.
    let walk = tokio::spawn(walk);
    let end = async move {
        match walk.await {
            Ok(done) => done,
            Err(e) => Err(Error::internal("the walk through a directory did not run to its end").caused_by(e)),
        }
    };
    (found, end)
}

/// How many bytes are held while a file of `size` bytes is read, hashed and stored. One of 8 MiB or more is held only in pieces.
pub(super) fn held(size: u64) -> u64 {
    if size < PIECE as u64 { object_len(size) } else { STREAM_COST }
}

/// A file that is open for reading.
pub(super) struct OpenFile {
    path: PathBuf,
    file: Arc<File>,
    before: Metadata,
}

/// The content of a file, of which the beginning has been read.
pub(super) enum Begun {
    /// All of it, and the metadata in which later writes will show, if it did not change meanwhile.
    Whole(Bytes, Option<Facts>),
    /// The first piece, and where the rest comes from.
    Longer(Bytes, tokio::fs::File),
}

impl OpenFile {
    /// Opens a file; a named pipe waits for its writer.
    pub(super) async fn open(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        blocking(move || {
            let failed = |e| io_error(&path, "cannot be read", e);
            let file = File::open(&path).map_err(failed)?;
            let before = file.metadata().map_err(failed)?;
            if before.is_dir() {
                return Err(failed(std::io::ErrorKind::IsADirectory.into()));
            }
            Ok(Self { path, file: Arc::new(file), before })
        })
        .await
    }

    /// Its length when it was opened, in bytes; of a pipe nothing is known.
    pub(super) fn size(&self) -> Option<u64> {
        self.before.is_file().then_some(self.before.len())
    }

    /// How the bytes of the file are kept until they are stored.
    pub(super) fn keep(&self, chunks: &ChunkStore, scratch: &Path) -> Keep {
        chunks.keep(self.before.is_file().then_some(&self.file), scratch)
    }

    /// The same where the bytes are probably stored already: the file is read again if they are not.
    pub(super) fn keep_in_place(&self, chunks: &ChunkStore, scratch: &Path) -> Keep {
        if self.before.is_file() { Keep::File(Arc::clone(&self.file)) } else { self.keep(chunks, scratch) }
    }

    /// Reads the first piece.
    pub(super) async fn begin(&self) -> Result<Begun> {
        let failed = |e| io_error(&self.path, "cannot be read", e);
        let mut reader = tokio::fs::File::from_std(self.file.try_clone().map_err(failed)?);
        let head = read_piece(&mut reader).await.map_err(|e| e.context(self.path.display()))?;
        if head.len() < PIECE {
            let facts = self.end(head.len() as u64).await?;
            return Ok(Begun::Whole(head, facts));
        }
        Ok(Begun::Longer(head, reader))
    }

    /// Makes sure, on the same descriptor, that the file did not change while `read` bytes were read from it: otherwise it is
    /// `SourceChanged`. Returns the metadata in which later writes will show.
    pub(super) async fn end(&self, read: u64) -> Result<Option<Facts>> {
        if !self.before.is_file() {
            return Ok(None);
        }
        let (path, file) = (self.path.clone(), Arc::clone(&self.file));
        let after = blocking(move || file.metadata().map_err(|e| io_error(&path, "cannot be read", e))).await?;
        let same_date = self.before.modified().ok() == after.modified().ok();
        if !same_date || self.before.len() != after.len() || read != after.len() {
            return Err(Error::source_changed(format!("{} changed while it was read", self.path.display())));
        }
        let facts = Facts::of(&self.before);
        Ok((facts == Facts::of(&after)).then_some(facts))
    }

    /// Reads the bytes in `range`; fewer where the file ends before.
    pub(super) async fn read_at(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let (path, file) = (self.path.clone(), Arc::clone(&self.file));
        blocking(move || {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(PIECE)];
            let mut filled = 0;
            while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, range.start + filled as u64).map_err(|e| io_error(&path, "cannot be read", e))? {
                    0 => break,
                    read => filled += read,
                }
            }
            bytes.truncate(filled);
            Ok(bytes)
        })
        .await
    }
}
