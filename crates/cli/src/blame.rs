//! `firn blame`

use clap::Args;
use futures::TryStreamExt;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::{Show, Table};
use firnline::{Blamed, Error, KeyOrPrefix, Prefix};

const HEAD: [&str; 4] = ["NAME", "SNAPSHOT", "TIME", "SUMMARY"];

#[derive(Debug, Args)]
#[command(after_help = "\
The commits are those of the first-parent line; a merge is named for what it brought. Without --keys each commit is compared with the one
before it until all arrays are found, with --keys all versions of the line are read, each part that they share once.")]
pub(super) struct Blame {
    /// The prefix below which to look [default: everything]
    #[arg(default_value = "")]
    prefix: String,
    /// The revision to begin with
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
    /// Tell each key instead of each array
    #[arg(long)]
    keys: bool,
    /// Believe the lists of changed keys beside the snapshots, where there are any, instead of comparing
    #[arg(long, conflicts_with = "keys")]
    recorded: bool,
}

impl Blame {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let prefix = Prefix::new(&self.prefix)?;
        if !self.keys {
            let blamed = if self.recorded { snapshot.recorded_blame(&prefix).await? } else { snapshot.blame(&prefix).await? };
            if self.recorded {
                context.out.say("what the writers of the snapshots recorded was believed; it was not compared");
            }
            let rows: Vec<_> = blamed.iter().map(BlameRow::of).collect();
            context.out.table(HEAD, &rows, BlameRow::cells)?;
            return Ok(Verdict::Fine);
        }
        let mut blamed = std::pin::pin!(snapshot.blame_keys(&prefix).await?);
        let (mut table, mut rows) = (Table::new(HEAD), 0_u64);
        while let Some(one) = blamed.try_next().await? {
            context.out.row(&mut table, &BlameRow::of(&one), BlameRow::cells)?;
            rows += 1;
        }
        context.out.end_table(table)?;
        if rows == 0 {
            return Err(Error::not_found(format!("nothing lies below {prefix} in {}", self.revision)).into());
        }
        Ok(Verdict::Fine)
    }
}

/// The commit that last changed something.
#[derive(Debug, Serialize)]
struct BlameRow {
    /// The key, or the prefix of an array with its final `/`.
    name: String,
    id: String,
    time: String,
    /// The first line of the message.
    summary: String,
    /// Whether this commit made the change; otherwise it is the oldest one that is known here, or versions before
    /// it have expired, and it has the same.
    known: bool,
}

impl BlameRow {
    fn of(blamed: &Blamed) -> Self {
        let Blamed { name, commit, is_known, .. } = blamed;
        let name = match name {
            KeyOrPrefix::Key(key) => key.to_string(),
            KeyOrPrefix::Prefix(prefix) => prefix.to_string(),
        };
        Self { name, id: commit.id.to_string(), time: commit.time.to_string(), summary: commit.summary.clone(), known: *is_known }
    }

    fn cells(&self) -> [String; 4] {
        let or_before = if self.known { "" } else { " or before" };
        let name = if self.name.is_empty() { "/".to_owned() } else { self.name.clone() };
        [name, self.id.clone(), format!("{}{or_before}", self.time), self.summary.clone()]
    }
}

impl Show for BlameRow {
    fn text(&self) -> String {
        self.cells().join("  ").trim_end().to_owned()
    }
}
