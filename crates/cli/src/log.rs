//! `firn log`

use clap::Args;
use futures::TryStreamExt;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use firnline::LogEntry;

#[derive(Debug, Args)]
pub(super) struct Log {
    /// The revision to begin with
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
    /// Print at most this many rows
    #[arg(short = 'n', value_name = "N")]
    limit: Option<u64>,
}

impl Log {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let mut entries = std::pin::pin!(snapshot.log());
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let Some(entry) = entries.try_next().await? else { break };
            context.out.show(&LogRow::of(&entry))?;
            left -= 1;
        }
        Ok(Verdict::Fine)
    }
}

#[derive(Debug, Serialize)]
struct LogRow {
    id: String,
    time: String,
    /// The first line of the message.
    summary: String,
}

impl LogRow {
    fn of(entry: &LogEntry) -> Self {
        Self { id: entry.id.to_string(), time: entry.time.to_string(), summary: entry.summary.clone() }
    }
}

impl Show for LogRow {
    fn text(&self) -> String {
        format!("{}  {}  {}", self.id, self.time, self.summary).trim_end().to_owned()
    }
}
