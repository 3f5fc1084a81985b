//! `firn branch`

use clap::Args;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::refs::{RefRow, deleted, place};
use firnline::{Ref, RefName};

#[derive(Debug, Args)]
pub(super) struct Branch {
    /// The branch to make or delete [without: list all]
    name: Option<RefName>,
    /// Where it begins [default: main]
    #[arg(value_name = "REV", conflicts_with = "delete")]
    revision: Option<String>,
    /// Delete it, also when it is damaged; what it showed stays readable at its times
    #[arg(short, long, requires = "name")]
    delete: bool,
    /// Only say what would be deleted
    #[arg(long, requires = "delete")]
    dry_run: bool,
}

impl Branch {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let Some(name) = self.name else { return list(context).await };
        let repository = context.open_to_write().await?;
        if !self.delete {
            let target = context.snapshot(&repository, self.revision.as_deref().unwrap_or("main")).await?;
            repository.create_branch(&name, &target).await?;
            context.out.line(&target.id().to_string())?;
            return Ok(Verdict::Fine);
        }
        let reference = Ref::branch(name.clone());
        let before = repository.ref_info(&reference).await?;
        if self.dry_run {
            context.out.say(&format!("would delete {reference} at {}", place(&before)));
            return Ok(Verdict::Fine);
        }
        let moved = repository.delete_branch(&name).await?;
        deleted(context, &reference, &before, &moved, "")
    }
}

async fn list(context: &mut Context) -> Result<Verdict, Stop> {
    let branches = context.open_to_read().await?.branches().await?;
    let rows: Vec<_> = branches.iter().map(RefRow::branch).collect();
    context.out.table(["BRANCH", "SNAPSHOT", "TIME"], &rows, |row| [row.name.clone(), row.snapshot(), row.when()])?;
    Ok(Verdict::Fine)
}
