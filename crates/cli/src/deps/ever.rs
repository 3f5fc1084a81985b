//! `firn deps --all-history`

use futures::TryStreamExt;
use serde::Serialize;

use super::list::{DependencyRow, FILE_COLUMNS};
use super::rows::{ListFormat, ListPrinter, ListRow};
use crate::failure::Stop;
use crate::locate::Context;
use crate::output::{Show, count};
use crate::parquet::{Cell, CellKind};
use firnline::{DependencyHistory, LogEntry, Snapshot, Timestamp};

/// Lists every file that a version or one before it depends on.
pub(super) async fn list(snapshot: &Snapshot, format: &ListFormat, context: &mut Context) -> Result<(), Stop> {
    let mut list = ListPrinter::begin::<EverRow>(format, &mut context.out)?;
    let (known, files) = snapshot.dependency_history().await?;
    let mut files = std::pin::pin!(files);
    while let Some(file) = files.try_next().await? {
        list.push(&mut context.out, &EverRow::of(file))?;
    }
    list.end(&mut context.out)?;
    if let Some(since) = known.since {
        context.out.say(&format!("some versions before {since} are not in this repository and are not counted"));
    }
    context.out.note(&format!("{} read", count(known.versions, "version")));
    Ok(())
}

/// An external file that versions use or have used; what is known of it is what the last of them knows.
#[derive(Debug, Serialize)]
struct EverRow {
    #[serde(flatten)]
    file: DependencyRow,
    first: UsingVersionRow,
    last: UsingVersionRow,
    /// How many versions use it.
    versions: u64,
}

/// A version, by its id and its time.
#[derive(Debug, Serialize)]
struct UsingVersionRow {
    id: String,
    time: String,
    #[serde(skip)]
    at: Timestamp,
}

impl UsingVersionRow {
    fn of(entry: &LogEntry) -> Self {
        Self { id: entry.id.to_string(), time: entry.time.to_string(), at: entry.time }
    }
}

impl EverRow {
    fn of(found: DependencyHistory) -> Self {
        let DependencyHistory { file, url, record, first, last, versions, .. } = found;
        let file = DependencyRow::new(url, &file, &record);
        Self { file, first: UsingVersionRow::of(&first), last: UsingVersionRow::of(&last), versions }
    }
}

impl Show for EverRow {
    fn text(&self) -> String {
        self.file.text()
    }
}

impl ListRow<18, 6> for EverRow {
    const COLUMNS: [(&'static str, CellKind); 18] = {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m] = FILE_COLUMNS;
        let (text, time) = (CellKind::Text, CellKind::Time);
        let [n, o, p, q] = [("first_id", text), ("first_time", time), ("last_id", text), ("last_time", time)];
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, ("versions", CellKind::Number)]
    };
    const HEAD: [&'static str; 6] = ["FILE", "REFS", "BYTES", "FIRST", "LAST", "VERSIONS"];

    fn cells(&self) -> [Cell; 18] {
        let text = |version: &UsingVersionRow| Cell::Text(Some(version.id.clone()));
        let time = |version: &UsingVersionRow| Cell::Time(Some(version.at));
        let (first, last) = (&self.first, &self.last);
        let more = [text(first), time(first), text(last), time(last), Cell::Number(Some(self.versions))];
        let all: Vec<Cell> = self.file.cells().into_iter().chain(more).collect();
        all.try_into().expect("13 columns of a file and 5 more")
    }

    fn texts(&self) -> [String; 6] {
        let DependencyRow { url, refs, bytes, .. } = &self.file;
        let (first, last) = (self.first.time.clone(), self.last.time.clone());
        [url.clone(), refs.to_string(), bytes.to_string(), first, last, self.versions.to_string()]
    }
}
