//! `firn deps diff`

use clap::Args;
use futures::TryStreamExt;
use serde::Serialize;

use super::rows::{ListFormat, ListPrinter, ListRow};
use crate::failure::{Stop, Verdict};
use crate::locate::Context;
use crate::output::Show;
use crate::parquet::{Cell, CellKind};
use firnline::{DependencyChange, VirtualFile};

#[derive(Debug, Args)]
pub(super) struct DepsDiff {
    /// The older revision
    #[arg(value_name = "A")]
    older: String,
    /// The newer revision
    #[arg(value_name = "B", default_value = "main")]
    newer: String,
    #[command(flatten)]
    format: ListFormat,
}

impl DepsDiff {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let older = context.snapshot(&repository, &self.older).await?;
        let newer = context.snapshot(&repository, &self.newer).await?;
        let mut list = ListPrinter::begin::<DepsDiffRow>(&self.format, &mut context.out)?;
        let mut changes = std::pin::pin!(older.diff_dependencies(&newer));
        let mut verdict = Verdict::Fine;
        while let Some(change) = changes.try_next().await? {
            verdict = Verdict::Found;
            list.push(&mut context.out, &DepsDiffRow::of(change))?;
        }
        list.end(&mut context.out)?;
        Ok(verdict)
    }
}

/// A difference between the dependencies of two versions.
#[derive(Debug, Serialize)]
struct DepsDiffRow {
    /// `added`, `removed`, `changed` or `counted`.
    change: &'static str,
    /// `container` or `file`.
    what: &'static str,
    /// The name of the container, or the URL of the file.
    name: String,
    /// What differs, in words; absent where one side has nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    /// Of a file, in the older version.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<FileCounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<FileCounts>,
}

/// What depends on a file in one version.
#[derive(Debug, Clone, Copy, Serialize)]
struct FileCounts {
    refs: u64,
    bytes: u64,
}

impl DepsDiffRow {
    fn of(change: DependencyChange) -> Self {
        let (word, detail) = (change.word(), change.differences());
        let counts = |record: Option<Box<VirtualFile>>| record.map(|record| FileCounts { refs: record.refs, bytes: record.bytes });
        let (what, name, old, new) = match change {
            DependencyChange::Container { name, .. } => ("container", name, None, None),
            DependencyChange::File { url, old, new, .. } => ("file", url, counts(old), counts(new)),
            // A kind that this command does not know yet has no name here.
            _ => ("other", String::new(), None, None),
        };
        Self { change: word, what, name, detail, old, new }
    }
}

impl Show for DepsDiffRow {
    fn text(&self) -> String {
        format!("{} {} {}", self.change, self.what, self.name)
    }
}

impl ListRow<8, 6> for DepsDiffRow {
    const COLUMNS: [(&'static str, CellKind); 8] = [
        ("change", CellKind::Text),
        ("what", CellKind::Text),
        ("name", CellKind::Text),
        ("old_refs", CellKind::Number),
        ("old_bytes", CellKind::Number),
        ("new_refs", CellKind::Number),
        ("new_bytes", CellKind::Number),
        ("detail", CellKind::Text),
    ];
    const HEAD: [&'static str; 6] = ["CHANGE", "WHAT", "NAME", "REFS", "BYTES", "DETAIL"];

    fn cells(&self) -> [Cell; 8] {
        let text = |text: &str| Cell::Text(Some(text.to_owned()));
        let [(a, b), (c, d)] = [self.old, self.new].map(|side| (side.map(|of| of.refs), side.map(|of| of.bytes)));
        let detail = Cell::Text(Some(self.detail.clone()).filter(|detail| !detail.is_empty()));
        let numbers = [a, b, c, d].map(Cell::Number);
        let [a, b, c, d] = numbers;
        [text(self.change), text(self.what), text(&self.name), a, b, c, d, detail]
    }

    fn texts(&self) -> [String; 6] {
        // The side that counts: the newer one, unless the file is gone.
        let counts = self.new.or(self.old);
        let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let (refs, bytes) = (number(counts.map(|of| of.refs)), number(counts.map(|of| of.bytes)));
        [self.change.to_owned(), self.what.to_owned(), self.name.clone(), refs, bytes, self.detail.clone()]
    }
}
