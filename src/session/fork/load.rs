//! Reading the blocks of a document: into memory what is small, into sorted runs what is not.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::super::staged::{MergedChanges, Moves, SharedStaged, SortedChanges, StagedFile, Stored, Unpinned, UnpinnedFailure, WhyUnpinned};
use super::as_corrupt;
use super::save::replaced;
use crate::chunk::check_shape;
use crate::error::{Error, Result};
use crate::format::{Container, ContainerRow, Entry, FileKey, FileRow, ForkBlock, ForkEdit, ForkFile, ForkKind, ForkPiece, limits};
use crate::handle::Repository;
use crate::key::{Key, MapKey, Prefix};
use crate::snapshot::KeyOrPrefix;
use crate::text::shown;
use crate::virtuals::Validator;

/// How many blocks are read at once.
const AHEAD: usize = 4;

/// The deleted prefixes among rows, and the others as runs hold them.
type StoredRows = (Vec<Prefix>, Vec<(MapKey, Stored)>);

/// What a document holds. Nothing of it is staged.
#[derive(Debug)]
pub(super) struct DocumentRead {
    containers: Vec<ContainerRow>,
    files: Vec<FileRow>,
    inherited: MergedChanges,
    edits: MergedChanges,
    moves: Moves,
}

/// The changes of a fork, checked, and not staged yet.
#[derive(Debug)]
pub(crate) struct ChangesRead {
    pub(crate) containers: Vec<ContainerRow>,
    /// Each file with what was known of it when the fork was taken and what is known now.
    pub(crate) files: Vec<(FileKey, Option<StagedFile>, StagedFile)>,
    pub(crate) repinned: std::collections::BTreeSet<FileKey>,
    pub(crate) redefined: std::collections::BTreeSet<String>,
    /// What the fork inherited in the places that it changed.
    pub(crate) inherited: MergedChanges,
    pub(crate) edits: MergedChanges,
    pub(crate) moves: Moves,
}

impl From<DocumentRead> for ChangesRead {
    fn from(loaded: DocumentRead) -> Self {
        let DocumentRead { containers, files, inherited, edits, moves } = loaded;
        let (repinned, redefined) = replaced(&files, &containers);
        let files = files.into_iter().map(|row| (row.file, row.before.as_ref().map(file_of), file_of(&row.now))).collect();
        Self { containers, files, repinned, redefined, inherited, edits, moves }
    }
}

/// The kinds of blocks, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum BlockOrder {
    Containers,
    Files,
    Inherited,
    Edits,
    Moves,
}

/// What the blocks so far have said.
struct DocumentReader<'s> {
    staged: &'s SharedStaged,
    /// The kind of the last block and its last row, which the next ones must follow.
    last: Option<(BlockOrder, MapKey)>,
    /// The last name that a file got.
    named: Option<(FileKey, usize)>,
    containers: Vec<ContainerRow>,
    files: Vec<FileRow>,
    inherited: SortedChanges,
    edits: SortedChanges,
    moves: Moves,
}

impl DocumentRead {
    /// Reads the blocks of a document of this kind. Files get names in `staged`, which is otherwise left as it is.
    pub(super) async fn read(repository: &Repository, staged: &SharedStaged, kind: ForkKind, pieces: Vec<ForkPiece>) -> Result<Self> {
        let blocks = stream::iter(pieces).map(|piece| async move {
            match piece {
                ForkPiece::Inline(bytes) => Ok::<Bytes, Error>(bytes),
                ForkPiece::Stored(id, size) => {
                    check_shape(&id, size)?;
                    repository.chunks().read(&id, size).await
                }
            }
        });
        let mut blocks = std::pin::pin!(blocks.buffered(AHEAD));
        let mut loader = DocumentReader {
            staged,
            last: None,
            named: None,
            containers: Vec::new(),
            files: Vec::new(),
            inherited: staged.room_for_changes(),
            edits: staged.room_for_changes(),
            moves: Moves::default(),
        };
        while let Some(bytes) = blocks.try_next().await? {
            let block = ForkBlock::decode(&bytes, repository.hash())?;
            if kind == ForkKind::Fork {
                require_no_history(&block)?;
            }
            loader = loader.take(block).await?;
        }
        let DocumentReader { containers, files, inherited, edits, moves, .. } = loader;
        Ok(Self { containers, files, inherited: inherited.finish(staged), edits: edits.finish(staged), moves })
    }

    /// Stages everything as what a fork inherits.
    pub(super) fn inherit(self, staged: &SharedStaged, base: &[Container]) -> Result<()> {
        let few = self.edits.few()?;
        let mut staged = staged.lock();
        for row in self.containers {
            staged.set_container(row.now, base);
        }
        for row in self.files {
            if staged.container_over(row.file.container(), base).is_none() {
                return Err(unplaced(&row.file));
            }
            staged.set_file(row.file, file_of(&row.now));
        }
        staged.stage(self.edits, few);
        staged.inherit();
        Ok(())
    }
}

/// Refuses what only changes have: the description of a fork says what is staged, not what was before.
fn require_no_history(block: &ForkBlock) -> Result<()> {
    let what = match block {
        ForkBlock::Containers(rows) => rows.iter().any(|row| row.before.is_some()).then_some("earlier definitions of containers"),
        ForkBlock::Files(rows) => rows.iter().any(|row| row.before.is_some()).then_some("earlier states of files"),
        ForkBlock::Inherited(_) => Some("inherited changes"),
        ForkBlock::Edits(_) => None,
        ForkBlock::Moves(_) => Some("moves"),
    };
    what.map_or(Ok(()), |what| Err(Error::corrupt(format!("it holds {what}, which only the changes of a fork have"))))
}

/// The error for a file whose container is not known.
pub(crate) fn unplaced(file: &FileKey) -> Error {
    Error::corrupt(format!("file {file} lies in a container that is defined neither there nor in the base"))
}

impl DocumentReader<'_> {
    async fn take(mut self, block: ForkBlock) -> Result<Self> {
        match block {
            ForkBlock::Containers(rows) => {
                self.follow(BlockOrder::Containers, rows.first().map(|row| MapKey::new(row.now.name.as_str())), None)?;
                for row in rows {
                    // Names are ordered bytewise, unlike keys.
                    if self.containers.last().is_some_and(|last| last.now.name >= row.now.name) {
                        return Err(out_of_order(&row.now.name));
                    }
                    if row.before.as_ref() != Some(&row.now) {
                        row.now.check().map_err(as_corrupt)?;
                    }
                    self.containers.push(row);
                }
            }
            ForkBlock::Files(rows) => {
                let ends = (rows.first().map(|row| row.file.as_map_key().clone()), rows.last().map(|row| row.file.as_map_key().clone()));
                self.follow(BlockOrder::Files, ends.0, ends.1)?;
                rows.iter().flat_map(|row| row.before.iter().chain([&row.now])).try_for_each(check_file)?;
                self.files.extend(rows);
            }
            ForkBlock::Inherited(rows) => {
                let stored = self.stored(BlockOrder::Inherited, rows)?;
                stored.0.iter().for_each(|prefix| self.inherited.delete_prefix(prefix));
                self.inherited = self.inherited.take(stored.1).await?;
            }
            ForkBlock::Edits(rows) => {
                let stored = self.stored(BlockOrder::Edits, rows)?;
                stored.0.iter().for_each(|prefix| self.edits.delete_prefix(prefix));
                self.edits = self.edits.take(stored.1).await?;
            }
            ForkBlock::Moves(rows) => {
                self.follow(BlockOrder::Moves, None, None)?;
                if self.moves.all().len() + rows.len() > limits::FORK_MOVES {
                    return Err(Error::corrupt(format!("more than {} moves", limits::FORK_MOVES)));
                }
                for [from, to] in rows {
                    if !self.moves.add(place(&from)?, place(&to)?) {
                        return Err(Error::corrupt(format!("the move from {:?} to {:?} is there twice", shown(&from), shown(&to))));
                    }
                }
            }
        }
        Ok(self)
    }

    /// Refuses a block that does not follow the last one.
    fn follow(&mut self, order: BlockOrder, first: Option<MapKey>, end: Option<MapKey>) -> Result<()> {
        if let Some((last, row)) = &self.last {
            if order < *last {
                return Err(Error::corrupt("a block is out of order"));
            }
            if let Some(first) = first.filter(|first| order == *last && end.is_some() && first <= row) {
                return Err(out_of_order(first.as_str()));
            }
        }
        self.last = Some((order, end.unwrap_or_else(|| MapKey::new(""))));
        Ok(())
    }

    /// The deleted prefixes among rows, and the others as runs hold them.
    fn stored(&mut self, order: BlockOrder, rows: Vec<ForkEdit>) -> Result<StoredRows> {
        self.follow(order, rows.first().map(|row| row.place().clone()), rows.last().map(|row| row.place().clone()))?;
        let (mut prefixes, mut stored, mut checked) = (Vec::new(), Vec::with_capacity(rows.len()), None);
        for row in rows {
            match row {
                ForkEdit::Prefix(prefix) => prefixes.push(prefix),
                ForkEdit::Key(key, entry) => {
                    if let Some(Entry::Chunk { id, size }) = &entry {
                        check_shape(id, *size).map_err(|e| e.context(&key))?;
                    }
                    if let Some(file) = entry.as_ref().and_then(Entry::file).filter(|_| order == BlockOrder::Edits)
                        && checked.as_ref() != Some(file)
                    {
                        let listed = self.files.binary_search_by(|row| row.file.as_map_key().cmp(file.as_map_key()));
                        listed.map_err(|_| Error::corrupt(format!("{key} lies in file {file}, which is not listed")))?;
                        checked = Some(file.clone());
                    }
                    stored.push((key, self.staged.stored(entry, &mut self.named)));
                }
            }
        }
        Ok((prefixes, stored))
    }
}

fn out_of_order(text: &str) -> Error {
    Error::corrupt(format!("the row {:?} is out of order", shown(text)))
}

fn place(text: &str) -> Result<KeyOrPrefix> {
    if text.is_empty() || text.ends_with('/') {
        return Prefix::new(text).map(KeyOrPrefix::Prefix).map_err(as_corrupt);
    }
    Key::new(text).map(KeyOrPrefix::Key).map_err(as_corrupt)
}

fn check_file(file: &ForkFile) -> Result<()> {
    Validator::of(&file.record).check().map_err(as_corrupt)?;
    match file.unpinned.as_ref().map(|unpinned| WhyUnpinned::from_number(unpinned.why)) {
        Some(None) => Err(Error::corrupt("a file is not pinned for a reason that is not known")),
        _ => Ok(()),
    }
}

/// The file as a session knows it.
fn file_of(row: &ForkFile) -> StagedFile {
    let ForkFile { record, length, repin, by_itself, untouched_since, unpinned } = row;
    let unpinned = unpinned.as_ref().map(|unpinned| Unpinned {
        why: WhyUnpinned::from_number(unpinned.why).unwrap_or(WhyUnpinned::NothingTold),
        failure: unpinned.problem.clone().map(|problem| Box::new(UnpinnedFailure { problem, remedy: unpinned.remedy.clone() })),
    });
    let (size, untouched_since) = (*length, *untouched_since);
    StagedFile { validator: Validator::of(record), size, repin: *repin, by_itself: *by_itself, unpinned, untouched_since }
}
