//! How a directory differs from a snapshot, without storing anything.

use std::cmp::Ordering;
use std::path::PathBuf;

use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::blocking;
use super::files::{Begun, OpenFile, READ_BYTES, READERS, held, walk};
use super::walk::{Found, root};
use crate::budget::ByteBudget;
use crate::error::{Error, Result};
use crate::format::Entry;
use crate::key::{Key, Prefix};
use crate::snapshot::Snapshot;

/// One difference between a snapshot and a directory.
#[derive(Debug)]
#[non_exhaustive]
pub enum TreeChange {
    /// A key, the snapshot being the older side.
    Key {
        /// The key as the snapshot has it or would have it: with the prefix.
        key: Key,
        /// What the snapshot stores under it; `None` where it has no such key.
        old: Option<Entry>,
        /// The length of the file in bytes; `None` where there is none.
        new: Option<u64>,
    },
    /// Something in the directory that could not be compared: it cannot be read, it changed meanwhile, or it cannot become a key.
    Odd(Error),
}

/// What one side or both have under a key.
enum Pair {
    Alone(TreeChange),
    Both(Key, Entry, Found),
}

impl Snapshot {
    /// The changes that lead from what a checkout of `prefix` would write to what `directory` holds, in the order of the keys.
    ///
    /// Where the sizes are equal the bytes are compared: each file is read and hashed once; a value is read only if it is virtual.
    /// Nothing is stored. Empty directories, dates and permissions are not compared. An error means that the snapshot or the directory
    /// itself cannot be read. Something in the directory that cannot be compared is a [`TreeChange::Odd`]; its key may be reported as
    /// removed as well.
    pub async fn diff_directory<'a, D: Into<PathBuf>>(
        &'a self,
        directory: D,
        prefix: &'a Prefix,
    ) -> Result<impl Stream<Item = Result<TreeChange>> + Send + use<'a, D>> {
        let directory = directory.into();
        let checked = directory.clone();
        blocking(move || root(&checked)).await?;
        let (found, end) = walk(directory, prefix.clone());
        let budget = ByteBudget::new(READ_BYTES);
        let pairs = pairs(self.list(prefix), found);
        let compared = pairs.map(move |pair| {
            let budget = budget.clone();
            async move {
                Ok(match pair? {
                    Pair::Alone(change) => Some(change),
                    Pair::Both(key, entry, found) => self.compare(key, entry, found, budget).await?,
                })
            }
        });
        let changes = compared.buffered(READERS).try_filter_map(|change| async move { Ok(change) });
        Ok(changes.chain(stream::once(end).filter_map(|end| async move { end.err().map(Err) })))
    }

    /// Compares a value with a file.
    async fn compare(&self, key: Key, entry: Entry, found: Found, budget: ByteBudget) -> Result<Option<TreeChange>> {
        let new = found.size;
        if entry.size() == new {
            let _share = budget.take(held(new)).await?;
            match self.holds(&key, &entry, &found).await {
                Ok(true) => return Ok(None),
                Ok(false) => {}
                Err(Trouble::File(e)) => return Ok(Some(TreeChange::Odd(e))),
                Err(Trouble::Value(e)) => return Err(e),
            }
        }
        Ok(Some(TreeChange::Key { key, old: Some(entry), new: Some(new) }))
    }

    /// Whether a file holds exactly the value of an entry. Neither is in memory as a whole.
    async fn holds(&self, key: &Key, entry: &Entry, found: &Found) -> Result<bool, Trouble> {
        let file = OpenFile::open(&found.path).await.map_err(Trouble::File)?;
        if let Entry::Virtual { .. } = entry {
            return self.holds_pieces(key, entry, &file).await;
        }
        let (head, rest) = match file.begin().await.map_err(Trouble::File)? {
            Begun::Whole(bytes, _) => (bytes, None),
            Begun::Longer(head, reader) => (head, Some(reader)),
        };
        let Entry::Chunk { id, .. } = entry else {
            return Ok(rest.is_none() && matches!(entry, Entry::Inline(value) if *value == head));
        };
        let chunks = self.repository().chunks();
        let Some(mut reader) = rest else {
            return Ok(chunks.hash(head).await.map_err(Trouble::Value)?.id() == *id);
        };
        let (hashed, size) = chunks.hash_stream(head, &mut reader).await.map_err(|e| Trouble::File(e.context(found.path.display())))?;
        file.end(size).await.map_err(Trouble::File)?;
        Ok(hashed == *id)
    }

    /// Whether a file holds the bytes of a value that has no id, which are read where they lie.
    async fn holds_pieces(&self, key: &Key, entry: &Entry, file: &OpenFile) -> Result<bool, Trouble> {
        let mut pieces = self.pieces_of(key, entry.clone(), 0..entry.size());
        let (mut is_same, mut at) = (true, 0);
        while let Some(piece) = pieces.try_next().await.map_err(Trouble::Value)? {
            let end = at + piece.len() as u64;
            is_same = is_same && file.read_at(at..end).await.map_err(Trouble::File)? == piece;
            at = end;
        }
        // A file that grew since it was listed begins with the value all the same.
        file.end(at).await.map_err(Trouble::File)?;
        Ok(is_same)
    }
}

/// Which side could not be read.
enum Trouble {
    File(Error),
    Value(Error),
}

/// Merges two streams in the order of the keys.
fn pairs<'a>(
    entries: impl Stream<Item = Result<(Key, Entry)>> + Send + 'a,
    found: impl Stream<Item = Result<Found>> + Send + 'a,
) -> impl Stream<Item = Result<Pair>> + Send + 'a {
    let sides = (Box::pin(entries.peekable()), Box::pin(found.peekable()));
    stream::try_unfold(sides, |(mut entries, mut found)| async move {
        let order = match (entries.as_mut().peek().await, found.as_mut().peek().await) {
            (None, None) => return Ok(None),
            // Errors are returned first.
            (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
            (_, Some(Err(_))) | (None, Some(_)) => Ordering::Greater,
            (Some(Ok((key, _))), Some(Ok(file))) => key.cmp(&file.key),
        };
        let entry = if order == Ordering::Greater { None } else { entries.try_next().await? };
        let file = if order == Ordering::Less { None } else { found.next().await };
        let pair = match (entry, file) {
            (Some((key, entry)), Some(Ok(file))) => Pair::Both(key, entry, file),
            (Some((key, entry)), None) => Pair::Alone(TreeChange::Key { key, old: Some(entry), new: None }),
            (None, Some(Ok(Found { key, size, .. }))) => Pair::Alone(TreeChange::Key { key, old: None, new: Some(size) }),
            (_, Some(Err(e))) => Pair::Alone(TreeChange::Odd(e)),
            (None, None) => return Ok(None),
        };
        Ok(Some((pair, (entries, found))))
    })
}
