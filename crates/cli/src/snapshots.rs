//! `firn snapshots`

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use firnline::{ReadableSnapshot, Ref};

#[derive(Debug, Args)]
pub(super) struct Snapshots {
    /// The branch; tag:NAME for a tag
    #[arg(default_value = "main")]
    branch: String,
    /// Print only this many
    #[arg(short = 'n', value_name = "N", default_value = "20")]
    limit: usize,
}

impl Snapshots {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let name = Ref::named(&self.branch)?;
        let repository = context.open_to_read().await?;
        let rows: Vec<_> = repository.readable_snapshots(&name, self.limit).await?.iter().map(SnapshotsRow::of).collect();
        context.out.table(["SNAPSHOT", "TIME", "FOUND", "MESSAGE"], &rows, |row| {
            [row.id.clone(), row.time.clone(), row.found.to_owned(), row.summary.clone()]
        })?;
        Ok(Verdict::Fine)
    }
}

#[derive(Debug, Serialize)]
struct SnapshotsRow {
    id: String,
    time: String,
    /// What names the snapshot: `tip`, `moves`, `history` or `listing`.
    found: &'static str,
    /// The first line of the message.
    summary: String,
}

impl SnapshotsRow {
    fn of(snapshot: &ReadableSnapshot) -> Self {
        let (id, time, found) = (snapshot.id.to_string(), snapshot.time.to_string(), snapshot.found_in.word());
        Self { id, time, found, summary: snapshot.summary.clone() }
    }
}

impl Show for SnapshotsRow {
    fn text(&self) -> String {
        format!("{}  {}  {}  {}", self.id, self.time, self.found, self.summary).trim_end().to_owned()
    }
}
