//! The commits behind a snapshot, latest first, from its history map alone.

use futures::Stream;
use futures::stream;

use super::ancestry::Line;
use crate::error::{Error, Result};
use crate::format::{HistoryEntry, parse_history_key};
use crate::id::SnapshotId;
use crate::map::{Scan, Span};
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// One commit as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEntry {
    /// The snapshot.
    pub id: SnapshotId,
    /// When it was committed.
    pub time: Timestamp,
    /// The first line of its message, at most 72 bytes.
    pub summary: String,
}

impl Snapshot {
    /// This commit and its ancestors on the first-parent line, latest first.
    ///
    /// Ends with an error of kind `NotFound` where a shallow repository does not know what came before. The stream does not borrow the
    /// snapshot.
    pub fn log(&self) -> impl Stream<Item = Result<LogEntry>> + Send + use<> {
        let this = LogEntry { id: self.id(), time: self.record().time, summary: self.record().summary().to_owned() };
        let first = stream::iter([Ok(this)]);
        let rest = stream::try_unfold((self.clone(), None), |(snapshot, scan)| async move {
            let mut scan: Scan<'_, HistoryEntry, _> = if let Some(scan) = scan {
                scan
            } else {
                Line::of(&snapshot).require_history().await?;
                Scan::shared_back(snapshot.nodes(), snapshot.record().history, Span::all())
            };
            match scan.next().await? {
                Some((key, entry)) => {
                    let entry = LogEntry { id: entry.id, time: parse_history_key(&key)?, summary: entry.summary };
                    Ok::<_, Error>(Some((entry, (snapshot, Some(scan)))))
                }
                None => Line::of(&snapshot).require_known(Timestamp::MIN).map(|()| None),
            }
        });
        futures::StreamExt::chain(first, rest)
    }
}
