//! Many references at once: written as runs when they come, and sorted only if they come out of order.

use std::path::PathBuf;
use std::sync::Arc;

use super::Staged;
use super::run::{RunBuilder, StagedRun, Stored};
use crate::blocking::blocking;
use crate::error::Result;
use crate::key::{MapKey, order};
use crate::scratch::Scratch;
use crate::session::columns::{KeyColumn, KeyWriter};

/// References on their way into a session. Nothing of them is staged before [`finish`](Self::finish), so dropping this leaves the
/// session as it was.
#[derive(Debug)]
pub(in crate::session) struct Bulk {
    runs: Vec<StagedRun>,
    /// What they take in memory, in bytes.
    held: usize,
    builder: RunBuilder,
    /// The key of the last reference.
    last: Option<String>,
    limit: usize,
    directory: PathBuf,
    scratch: Option<Scratch>,
}

/// Some of the references of a call, copied from its columns.
#[derive(Debug)]
pub(in crate::session) struct BulkPiece {
    pub(in crate::session) keys: BulkKeys,
    /// Which of `files` each points into.
    pub(in crate::session) url: Vec<u32>,
    pub(in crate::session) offset: Vec<u64>,
    pub(in crate::session) length: Vec<u64>,
    /// The numbers of the files that are in use, by [`Staged::number`].
    pub(in crate::session) files: Arc<Vec<Option<usize>>>,
}

/// The keys of a piece: what a [`KeyColumn`] says of them.
#[derive(Debug)]
pub(in crate::session) enum BulkKeys {
    /// Cells of a region, from the one with this number on.
    Grid {
        prefix: String,
        region: Vec<std::ops::Range<u64>>,
        separator: char,
        start: usize,
    },
    Cells {
        prefix: String,
        rank: usize,
        coordinates: Vec<u64>,
        separator: char,
    },
    /// Keys end to end, and where each ends.
    Keys {
        text: String,
        ends: Vec<usize>,
    },
}

impl BulkKeys {
    /// Lends the keys as a column, and the place in it of the first.
    fn with<T>(&self, work: impl FnOnce(KeyColumn<'_>, usize) -> T) -> T {
        match self {
            Self::Grid { prefix, region, separator, start } => work(KeyColumn::Grid { prefix, region, separator: *separator }, *start),
            Self::Cells { prefix, rank, coordinates, separator } => {
                work(KeyColumn::Cells { prefix, rank: *rank, coordinates, separator: *separator }, 0)
            }
            Self::Keys { text, ends } => {
                let starts = std::iter::once(0).chain(ends.iter().copied());
                let keys: Vec<&str> = starts.zip(ends).map(|(start, end)| text.get(start..*end).unwrap_or_default()).collect();
                work(KeyColumn::Keys(&keys), 0)
            }
        }
    }
}

impl Bulk {
    /// Begins. Takes the session's scratch file if it is free.
    pub(in crate::session) fn begin(staged: &mut Staged) -> Self {
        let (scratch, limit, directory) = (staged.scratch.take(), staged.limit, staged.directory.clone());
        Self { runs: Vec::new(), held: 0, builder: RunBuilder::default(), last: None, limit, directory, scratch }
    }

    /// Begins apart from any session, with at most about `limit / 2` bytes in memory and the rest in `directory`.
    pub(super) fn apart(limit: usize, directory: PathBuf) -> Self {
        Self { runs: Vec::new(), held: 0, builder: RunBuilder::default(), last: None, limit, directory, scratch: None }
    }

    /// Takes entries whose keys follow all before, in their order, on a thread that may block.
    pub(super) async fn take_sorted(mut self, entries: Vec<(MapKey, Stored)>) -> Result<Self> {
        blocking("writing changes", move || {
            entries.iter().try_for_each(|(key, value)| self.push(key.as_str(), value))?;
            Ok(self)
        })
        .await
    }

    /// The runs of what was taken.
    pub(super) fn into_runs(mut self) -> Vec<StagedRun> {
        self.cut();
        self.runs
    }

    /// Takes the references of a piece, on a thread that may block. After an error all references are lost.
    pub(in crate::session) async fn take(mut self, piece: BulkPiece) -> Result<Self> {
        blocking("writing references", move || {
            piece.keys.with(|keys, start| self.push_all(&piece, keys, start))?;
            Ok(self)
        })
        .await
    }

    fn push_all(&mut self, piece: &BulkPiece, keys: KeyColumn<'_>, start: usize) -> Result<()> {
        let file = |n: usize| piece.url.get(n - start).and_then(|url| *piece.files.get(usize::try_from(*url).ok()?)?);
        let mut writer = KeyWriter::new(keys);
        let all = start..start + piece.url.len();
        let sorted = keys.sorted(all.clone(), |n| file(*n).is_some());
        let (first, end) = match &sorted {
            None => (Some(all.start), all.end.checked_sub(1).filter(|end| *end >= all.start)),
            Some(places) => (places.first().copied(), places.last().copied()),
        };
        let (Some(first), Some(end)) = (first, end) else { return Ok(()) };
        // References that continue in order go into the same run.
        if self.last.as_ref().is_some_and(|last| order::compare(last, writer.key(first)).is_ge()) {
            self.cut();
        }
        let mut push = |n: usize| match (file(n), piece.offset.get(n - start), piece.length.get(n - start)) {
            (Some(file), Some(&offset), Some(&length)) => self.push(writer.key(n), &Stored::Virtual { file, offset, length }),
            _ => Ok(()),
        };
        match sorted {
            None => all.into_iter().try_for_each(&mut push)?,
            Some(places) => places.into_iter().try_for_each(&mut push)?,
        }
        self.last = Some(writer.key(end).to_owned());
        Ok(())
    }

    /// Takes one entry, whose key must follow the last one since [`cut`](Self::cut).
    fn push(&mut self, key: &str, value: &Stored) -> Result<()> {
        self.builder.push(key, value);
        if self.held + self.builder.held() <= self.limit / 2 {
            return Ok(());
        }
        let scratch = Scratch::or_new(&mut self.scratch, &self.directory)?;
        self.runs.iter_mut().try_for_each(|run| run.spill(scratch))?;
        self.held = 0;
        self.builder.spill(scratch)
    }

    fn cut(&mut self) {
        if let Some(run) = std::mem::take(&mut self.builder).finish(0, 0) {
            self.held += run.held();
            self.runs.push(run);
        }
    }

    /// Stages everything, later than anything else.
    pub(in crate::session) fn finish(mut self, staged: &mut Staged) {
        self.cut();
        staged.scratch = self.scratch.or(staged.scratch.take());
        staged.stage_runs(self.runs);
    }
}

impl Staged {
    /// Stages runs, later than anything else.
    pub(super) fn stage_runs(&mut self, runs: Vec<StagedRun>) {
        let is_overlapped = |run: &StagedRun| self.layers.memory.range(MapKey::new(run.first())..=MapKey::new(run.last())).next().is_some();
        if runs.iter().any(is_overlapped) {
            // Entries in the map override every run, so they must become a run first.
            self.freeze();
        }
        self.watched().for_each(|watch| watch.see_any());
        let stamp = self.layers.deleted.stamp();
        for mut run in runs {
            run.stamp = stamp;
            self.push(run);
        }
    }
}
