//! The files that any version of a line has depended on.

use std::sync::Arc;

use futures::{Stream, TryStreamExt as _};

use super::lines::Lines;
use crate::error::Result;
use crate::format::{FileKey, VirtualFile};
use crate::history::LogEntry;
use crate::map::{MapNumbers, Spans, Union};
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// An external file that versions of a line depend on, or have depended on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DependencyHistory {
    /// Its name inside the repository.
    pub file: FileKey,
    /// Where it lies, by its container in the last version that uses it.
    pub url: String,
    /// What that version knows of it, and how many references and bytes of that version depend on it.
    pub record: VirtualFile,
    /// The first version that uses it.
    pub first: LogEntry,
    /// The last version that uses it.
    pub last: LogEntry,
    /// How many versions use it.
    pub versions: u64,
}

/// What [`Snapshot::dependency_history`] found before it reads the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryOfDependencies {
    /// How many versions are taken into account.
    pub versions: u64,
    /// Versions before this time belong to the line, and are not in this repository; `None`: all are here.
    pub since: Option<Timestamp>,
}

impl Snapshot {
    /// Every external file that this version, or one before it, depends on, in the order of the files map: with the first and the last
    /// version that uses it. The versions are those of the first-parent line, and those of the lines of other parents.
    ///
    /// Reads the snapshot of every version, and each node of their files maps once, however many versions share it. Holds about 200
    /// bytes for each node and for each version, and those entries of the map that versions have in different nodes. The stream
    /// ends after an error. Changes nothing, so it can be cancelled at any moment.
    pub async fn dependency_history(
        &self,
    ) -> Result<(HistoryOfDependencies, impl Stream<Item = Result<DependencyHistory>> + Send + use<>)> {
        let lines = Arc::new(Lines::behind(self.repository(), vec![self.id()]).await?);
        let known = HistoryOfDependencies { versions: lines.versions.len() as u64, since: lines.since };
        let union = Union::<VirtualFile, _>::open(self.nodes(), lines.roots(), Spans::all(), Box::new(|_, _| true)).await?;
        let found = union.into_stream().and_then(move |(key, values)| {
            let found = FileKey::from_map_key(&key).and_then(|file| of_file(&lines, file, &values));
            async move { found }
        });
        Ok((known, found.try_filter_map(|found| async { Ok(found) })))
    }
}

/// Puts together what is known of one file.
fn of_file(lines: &Lines, file: FileKey, values: &[(VirtualFile, MapNumbers)]) -> Result<Option<DependencyHistory>> {
    let (mut first, mut last, mut count) = (None, None, 0);
    for (record, numbers) in values {
        for range in numbers.ranges() {
            count += range.len() as u64;
            for piece in lines.pieces(range.clone()) {
                let version = |at: usize| lines.versions.get(at);
                let (Some(begin), Some(end)) = (version(piece.start), version(piece.end - 1)) else { continue };
                if first.is_none_or(|first: &LogEntry| (begin.at.time, begin.at.id) < (first.time, first.id)) {
                    first = Some(&begin.at);
                }
                if last.is_none_or(|(last, _): (&super::lines::LineVersion, _)| (end.at.time, end.at.id) > (last.at.time, last.at.id)) {
                    last = Some((end, record));
                }
            }
        }
    }
    let (Some(first), Some((version, record))) = (first, last) else { return Ok(None) };
    let url = file.url(&version.containers)?;
    let (first, last) = (first.clone(), version.at.clone());
    Ok(Some(DependencyHistory { file, url, record: record.clone(), first, last, versions: count }))
}
