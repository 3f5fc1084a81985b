//! Writing what is staged as blocks: into a document while they are few, else into the repository.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::WriteSession;
use super::super::staged::{Lookup, StagedCopy, StagedFile, StagedLayers, Unpinned};
use crate::error::{Error, Result};
use crate::format::{
    BLOCK_ROWS, BLOCK_TARGET, Container, ContainerRow, Entry, FileKey, FileRow, ForkBlock, ForkEdit, ForkFile, ForkPiece, ForkUnpinned,
    limits,
};

/// How many bytes of blocks lie in a document. More of them are stored in the repository.
const INLINE: usize = 64 << 10;

/// Writes the blocks of one document.
pub(super) struct DocumentSaver<'s> {
    session: &'s WriteSession,
    pieces: Vec<ForkPiece>,
    /// How many bytes the blocks have together.
    bytes: usize,
}

/// Rows that become one block.
struct RowBuffer<T> {
    rows: Vec<T>,
    bytes: usize,
}

impl<T> RowBuffer<T> {
    const fn new() -> Self {
        Self { rows: Vec::new(), bytes: 0 }
    }

    /// Adds a row of at most so many bytes. Gives the rows that make a full block.
    fn push(&mut self, row: T, bytes: usize) -> Option<Vec<T>> {
        self.rows.push(row);
        self.bytes += bytes;
        (self.bytes >= BLOCK_TARGET || self.rows.len() >= BLOCK_ROWS).then(|| self.take())
    }

    fn take(&mut self) -> Vec<T> {
        self.bytes = 0;
        std::mem::take(&mut self.rows)
    }
}

impl<'s> DocumentSaver<'s> {
    pub(super) const fn new(session: &'s WriteSession) -> Self {
        Self { session, pieces: Vec::new(), bytes: 0 }
    }

    /// The blocks. Those that are stored are on their way.
    pub(super) fn finish(self) -> Vec<ForkPiece> {
        self.pieces
    }

    /// Adds everything that a session has staged, for a fork to inherit.
    pub(super) async fn add_state(&mut self, copy: &StagedCopy) -> Result<()> {
        require_portable(copy)?;
        self.add_rows(
            copy.containers.values().map(|now| ContainerRow { before: None, now: now.clone() }),
            ContainerRow::most_bytes,
            ForkBlock::Containers,
        )
        .await?;
        let files = copy.files.iter().map(|(file, now)| FileRow { file: file.clone(), before: None, now: row_of(now) });
        self.add_rows(files, FileRow::most_bytes, ForkBlock::Files).await?;
        self.add_edits(&copy.all, |_| Ok(true), ForkBlock::Edits).await
    }

    /// Adds what a fork changed itself, and what it inherited in the same places.
    pub(super) async fn add_changes(&mut self, copy: &StagedCopy) -> Result<()> {
        require_portable(copy)?;
        let base = &self.session.base.record().containers;
        let files = changed_files(copy)?;
        let containers = changed_containers(copy, base, &files);
        let (repinned, redefined) = replaced(&files, &containers);
        self.add_rows(containers.into_iter(), ContainerRow::most_bytes, ForkBlock::Containers).await?;
        self.add_rows(files.into_iter(), FileRow::most_bytes, ForkBlock::Files).await?;
        let mut own = copy.own.edits(None)?;
        // References that depend on what is replaced here are compared as well: another one that was added meanwhile is a conflict.
        let counts = |edit: &ForkEdit| match edit {
            ForkEdit::Prefix(_) => Ok(true),
            ForkEdit::Key(key, entry) => {
                let file = entry.as_ref().and_then(Entry::file);
                let depends = file.is_some_and(|file| repinned.contains(file) || redefined.contains(file.container()));
                Ok(own.look(key)? != Lookup::Untouched || depends)
            }
        };
        self.add_edits(&copy.inherited, counts, ForkBlock::Inherited).await?;
        self.add_edits(&copy.own, |_| Ok(true), ForkBlock::Edits).await?;
        let count = copy.moves.all().len();
        if count > limits::FORK_MOVES {
            let most = limits::FORK_MOVES;
            return Err(Error::invalid(format!("{count} moves are too many for one fork, which can have {most}; use more forks")));
        }
        let moves = copy.moves.all().iter().map(|ends| ends.clone().map(|place| place.as_str().to_owned()));
        self.add_rows(moves, |ends| 16 + ends.iter().map(String::len).sum::<usize>(), ForkBlock::Moves).await
    }

    async fn add_rows<T>(
        &mut self,
        rows: impl Iterator<Item = T>,
        most_bytes: impl Fn(&T) -> usize,
        block: impl Fn(Vec<T>) -> ForkBlock,
    ) -> Result<()> {
        let mut buffer = RowBuffer::new();
        for row in rows {
            let bytes = most_bytes(&row);
            if !buffer.rows.is_empty() && buffer.bytes + bytes > limits::FORK_BLOCK {
                self.add(&block(buffer.take())).await?;
            }
            if let Some(rows) = buffer.push(row, bytes) {
                self.add(&block(rows)).await?;
            }
        }
        if buffer.rows.is_empty() { Ok(()) } else { self.add(&block(buffer.take())).await }
    }

    /// Adds changes of keys and the deletions of prefixes between them, in the order of the maps; only those that `counts` takes.
    async fn add_edits(
        &mut self,
        layers: &StagedLayers,
        mut counts: impl FnMut(&ForkEdit) -> Result<bool>,
        block: impl Fn(Vec<ForkEdit>) -> ForkBlock,
    ) -> Result<()> {
        let (mut buffer, mut edits, mut deleted) = (RowBuffer::new(), layers.edits(None)?, layers.deleted().into_iter().peekable());
        let (mut next, mut known) = (edits.next()?, None);
        loop {
            let is_prefix = match (&next, deleted.peek()) {
                (None, None) => break,
                (Some((key, _)), Some(prefix)) => prefix.as_map_key() < key,
                (_, prefix) => prefix.is_some(),
            };
            let row = if is_prefix {
                deleted.next().cloned().map(ForkEdit::Prefix)
            } else {
                std::mem::replace(&mut next, edits.next()?).map(|(key, entry)| ForkEdit::Key(key, entry))
            };
            let Some(row) = row else { break };
            if !counts(&row)? {
                continue;
            }
            let bytes = row.most_bytes(known.as_ref());
            known = row.file().cloned().or(known);
            if let Some(rows) = buffer.push(row, bytes) {
                self.add(&block(rows)).await?;
                known = None;
                tokio::task::yield_now().await;
            }
        }
        if buffer.rows.is_empty() { Ok(()) } else { self.add(&block(buffer.take())).await }
    }

    async fn add(&mut self, block: &ForkBlock) -> Result<()> {
        let bytes = Bytes::from(block.encode());
        if self.pieces.len() >= limits::FORK_PIECES {
            return Err(Error::invalid(format!("{} bytes of staged changes are too many for one fork; use more forks", self.bytes)));
        }
        if let ForkBlock::Containers(rows) = block
            && let Some(row) = rows.first().filter(|_| bytes.len() > limits::FORK_BLOCK)
        {
            return Err(Error::invalid(format!(
                "the definition of container {}, with the one before it, takes {} bytes; a fork can carry {}",
                row.now.name,
                bytes.len(),
                limits::FORK_BLOCK
            )));
        }
        let before = self.bytes;
        self.bytes += bytes.len();
        if self.bytes <= INLINE {
            self.pieces.push(ForkPiece::Inline(bytes));
            return Ok(());
        }
        if before <= INLINE {
            for n in 0..self.pieces.len() {
                if let Some(ForkPiece::Inline(bytes)) = self.pieces.get(n).cloned() {
                    let piece = self.store(bytes).await?;
                    self.pieces.splice(n..=n, [piece]);
                }
            }
        }
        let piece = self.store(bytes).await?;
        self.pieces.push(piece);
        Ok(())
    }

    /// Begins the upload of a block as a chunk.
    async fn store(&self, bytes: Bytes) -> Result<ForkPiece> {
        if bytes.len() > limits::FORK_BLOCK {
            return Err(Error::internal(format!("a block of {} bytes was made", bytes.len())));
        }
        let hashed = self.session.base.repository().chunks().hash(bytes).await?;
        let piece = ForkPiece::Stored(hashed.id(), hashed.size());
        self.session.upload_chunk(hashed, None).await?;
        Ok(piece)
    }
}

/// The files that the references of a fork point into, and those that it pinned anew by themselves. A file whose references were staged
/// over again is not among them, because nothing depends on what was found out about it.
fn changed_files(copy: &StagedCopy) -> Result<Vec<FileRow>> {
    let mut used: BTreeSet<&FileKey> = BTreeSet::new();
    let mut edits = copy.own.edits(None)?;
    let mut last: Option<FileKey> = None;
    while let Some((_, entry)) = edits.next()? {
        if let Some(Entry::Virtual { file, .. }) = entry
            && last.as_ref() != Some(&file)
        {
            used.extend(copy.files.get_key_value(&file).map(|(name, _)| name));
            last = Some(file);
        }
    }
    let is_repinned = |file: &FileKey, now: &StagedFile| now.by_itself && copy.inherited_files.get(file) != Some(now);
    let changed = copy.files.iter().filter(|(file, now)| used.contains(*file) || is_repinned(file, now));
    let row = |(file, now): (&FileKey, &StagedFile)| FileRow {
        file: file.clone(),
        before: copy.inherited_files.get(file).map(row_of),
        now: row_of(now),
    };
    Ok(changed.map(row).collect())
}

/// Refuses the removal of a container, and what follows from records of the base: the documents of forks have no words for them.
fn require_portable(copy: &StagedCopy) -> Result<()> {
    if let Some(name) = copy.removed_containers.first() {
        return Err(Error::invalid(format!("the removal of container {name} cannot go into a fork; commit it by itself")));
    }
    match &copy.relied {
        None => Ok(()),
        Some(file) => Err(Error::invalid(format!(
            "the move or the copy of external files cannot go into a fork, for example of {file}; commit it by itself"
        ))),
    }
}

/// The containers that a fork defined, and those of `files`, as the session that it was taken from had them and as they are now.
fn changed_containers(copy: &StagedCopy, base: &[Container], files: &[FileRow]) -> Vec<ContainerRow> {
    let base: BTreeMap<_, _> = base.iter().map(|container| (container.name.as_str(), container)).collect();
    let used = files.iter().map(|row| row.file.container());
    let changed = copy.containers.iter().filter(|(name, now)| copy.inherited_containers.get(*name) != Some(*now));
    let names: BTreeSet<&str> = used.chain(changed.map(|(name, _)| name.as_str())).collect();
    let rows = names.into_iter().filter_map(|name| {
        let now = copy.containers.get(name).or_else(|| base.get(name).copied())?;
        let before = copy.inherited_containers.get(name).or_else(|| base.get(name).copied());
        Some(ContainerRow { before: before.cloned(), now: now.clone() })
    });
    rows.collect()
}

/// The files that are pinned anew, and the containers that are given another definition.
pub(crate) fn replaced<'r>(files: &'r [FileRow], containers: &'r [ContainerRow]) -> (BTreeSet<FileKey>, BTreeSet<String>) {
    let repinned = files.iter().filter(|row| row.now.repin && row.before.as_ref() != Some(&row.now)).map(|row| row.file.clone());
    let redefined = containers.iter().filter(|row| row.before.as_ref().is_some_and(|before| *before != row.now));
    (repinned.collect(), redefined.map(|row| row.now.name.clone()).collect())
}

/// The file as a document says it.
pub(super) fn row_of(file: &StagedFile) -> ForkFile {
    let StagedFile { validator, size, repin, by_itself, unpinned, untouched_since } = file.clone();
    let cut = |text: String| text.get(..text.floor_char_boundary(limits::FORK_TEXT)).map_or_else(String::new, str::to_owned);
    let unpinned = unpinned.map(|Unpinned { why, failure }| {
        let (problem, remedy) = failure.map_or((None, None), |failure| (Some(failure.problem), failure.remedy));
        // A shortened address would allow something else.
        let remedy = remedy.filter(|remedy| remedy.text().len() <= limits::FORK_TEXT);
        ForkUnpinned { why: why.number(), problem: problem.map(cut), remedy }
    });
    ForkFile { record: validator.record(0, 0), length: size, repin, by_itself, untouched_since, unpinned }
}
