//! `firn settle`

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use firnline::{RefName, Settlement, SnapshotId};

#[derive(Debug, Args)]
pub(super) struct Settle {
    /// The branch that was committed to
    branch: RefName,
    /// The snapshot that the error named
    id: String,
}

impl Settle {
    /// Exits with 1 when the commit was lost, so that a script can commit again.
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let id = self.id.parse::<SnapshotId>()?;
        let repository = context.open_to_write().await?;
        let (outcome, verdict) = match repository.settle(&self.branch, id).await? {
            Settlement::Committed => ("committed", Verdict::Fine),
            Settlement::Lost => ("lost", Verdict::Found),
        };
        context.out.show(&SettleDocument { branch: self.branch.to_string(), id: id.to_string(), outcome })?;
        Ok(verdict)
    }
}

#[derive(Debug, Serialize)]
struct SettleDocument {
    branch: String,
    id: String,
    /// `committed` or `lost`.
    outcome: &'static str,
}

impl Show for SettleDocument {
    fn text(&self) -> String {
        self.outcome.to_owned()
    }
}
