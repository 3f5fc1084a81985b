//! `firn history`

use clap::Args;
use futures::TryStreamExt;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use super::value::Value;
use firnline::{Error, Key, KeyVersion};

#[derive(Debug, Args)]
pub(super) struct History {
    /// The key
    key: String,
    /// The revision to begin with
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
    /// Print at most this many rows
    #[arg(short = 'n', value_name = "N")]
    limit: Option<u64>,
}

impl History {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let key = Key::new(self.key)?;
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let mut versions = std::pin::pin!(snapshot.key_history(&key));
        let limit = self.limit.unwrap_or(u64::MAX);
        let mut shown = 0;
        while shown < limit {
            let Some(version) = versions.try_next().await? else { break };
            context.out.show(&VersionRow::of(version))?;
            shown += 1;
        }
        if shown == 0 && limit > 0 {
            return Err(Error::not_found(format!("{key} has never existed on the line of {}", self.revision)).into());
        }
        Ok(Verdict::Fine)
    }
}

/// A commit that changed a key.
#[derive(Debug, Serialize)]
pub(super) struct VersionRow {
    id: String,
    time: String,
    /// `set`, `repinned`, `deleted`; `present`: it is the oldest commit that is known here, and has the key.
    event: &'static str,
    /// What the key holds since then; null where it was deleted.
    value: Option<Value>,
    /// The first line of the message.
    summary: String,
    /// Whether this commit did it; otherwise versions before it have expired, and one of them may have done the same.
    known: bool,
}

impl VersionRow {
    pub(super) fn of(version: KeyVersion) -> Self {
        let KeyVersion { id, time, summary, event, entry, url, is_known, .. } = version;
        let value = entry.map(|entry| Value::with_url(&entry, url));
        Self { id: id.to_string(), time: time.to_string(), event: event.word(), value, summary, known: is_known }
    }
}

impl Show for VersionRow {
    fn text(&self) -> String {
        let Self { id, time, event, value, summary, known } = self;
        let or_before = if *known { "" } else { " or before" };
        let value = value.as_ref().map(Value::brief).unwrap_or_default();
        format!("{id}  {time}{or_before}  {event:8} {value:18}  {summary}").trim_end().to_owned()
    }
}
