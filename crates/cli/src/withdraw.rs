//! `firn withdraw`

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use firnline::{Error, Withdrawal};

#[derive(Debug, Args)]
#[command(after_help = "\
The version stays readable, and every command that reads it prints the reason on standard error. To keep a branch from showing it, commit or
reset the branch.")]
pub(super) struct Withdraw {
    /// The version
    #[arg(value_name = "REV", required_unless_present = "list")]
    revision: Option<String>,
    /// Why it should not be used, for everybody who reads it
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["undo", "list"])]
    reason: Option<String>,
    /// Who withdraws it
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Take the withdrawal back
    #[arg(long, conflicts_with_all = ["reason", "author", "list"])]
    undo: bool,
    /// List the versions that are withdrawn
    #[arg(long, conflicts_with_all = ["revision", "reason", "author"])]
    list: bool,
}

impl Withdraw {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        if self.list {
            let retention = context.open_to_read().await?.retention().await?;
            let rows: Vec<_> = retention.withdrawals().iter().map(WithdrawnRow::of).collect();
            context.out.table(["SNAPSHOT", "WITHDRAWN", "AUTHOR", "REASON"], &rows, WithdrawnRow::cells)?;
            return Ok(Verdict::Fine);
        }
        let revision = self.revision.ok_or_else(|| Error::internal("no version was given"))?;
        let repository = context.open_to_write().await?;
        let version = context.record_silently(&repository, &revision).await?;
        if self.undo {
            if !repository.reinstate(&version).await? {
                return Err(Error::not_found(format!("snapshot {} is not withdrawn", version.id())).into());
            }
            context.out.line(&version.id().to_string())?;
            return Ok(Verdict::Fine);
        }
        let reason = self.reason.ok_or_else(|| Error::internal("no reason was given"))?;
        repository.withdraw(&version, reason, self.author).await?;
        context.out.line(&version.id().to_string())?;
        context.out.say(&format!("undo with: firn withdraw --undo {}", version.id()));
        Ok(Verdict::Fine)
    }
}

/// A version that is withdrawn.
#[derive(Debug, Serialize)]
pub(super) struct WithdrawnRow {
    id: String,
    /// When it was withdrawn.
    time: String,
    author: Option<String>,
    reason: String,
}

impl WithdrawnRow {
    pub(super) fn of(withdrawal: &Withdrawal) -> Self {
        let Withdrawal { id, time, author, reason, .. } = withdrawal;
        Self { id: id.to_string(), time: time.to_string(), author: author.clone(), reason: reason.clone() }
    }

    fn cells(&self) -> [String; 4] {
        [self.id.clone(), self.time.clone(), self.author.clone().unwrap_or_default(), self.reason.clone()]
    }
}

impl Show for WithdrawnRow {
    fn text(&self) -> String {
        let by = self.author.as_ref().map_or_else(String::new, |author| format!(" by {author}"));
        format!("snapshot {} was withdrawn at {}{by}: {}", self.id, self.time, self.reason)
    }
}

/// What is said to a reader of such a version.
#[derive(Debug, Serialize)]
pub(super) struct WithdrawnNote {
    withdrawn: WithdrawnRow,
}

impl WithdrawnNote {
    pub(super) fn of(withdrawal: &Withdrawal) -> Self {
        Self { withdrawn: WithdrawnRow::of(withdrawal) }
    }
}

impl Show for WithdrawnNote {
    fn text(&self) -> String {
        self.withdrawn.text()
    }
}
