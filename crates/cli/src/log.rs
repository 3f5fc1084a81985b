//! `firn log`

use clap::Args;
use futures::TryStreamExt;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use firnline::{LogEntry, Retention};

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
        let snapshot = context.record(&repository, &self.revision).await?;
        let retention = repository.known_retention().await?;
        let mut entries = std::pin::pin!(snapshot.log());
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let Some(entry) = entries.try_next().await? else { break };
            context.out.show(&LogRow::of(&entry, &retention))?;
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
    /// When its data was given up, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    expired: Option<String>,
    /// When it was withdrawn, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawn: Option<String>,
}

impl LogRow {
    fn of(entry: &LogEntry, retention: &Retention) -> Self {
        let expired = retention.expired(entry.id).map(|act| act.time.to_string());
        let withdrawn = retention.withdrawn(entry.id).map(|withdrawal| withdrawal.time.to_string());
        Self { id: entry.id.to_string(), time: entry.time.to_string(), summary: entry.summary.clone(), expired, withdrawn }
    }
}

impl Show for LogRow {
    fn text(&self) -> String {
        let expired = if self.expired.is_some() { "(expired)  " } else { "" };
        let withdrawn = if self.withdrawn.is_some() { "(withdrawn)  " } else { "" };
        format!("{}  {}  {expired}{withdrawn}{}", self.id, self.time, self.summary).trim_end().to_owned()
    }
}
