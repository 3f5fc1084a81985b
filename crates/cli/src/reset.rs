//! `firn reset`

use clap::Args;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use firnline::RefName;

#[derive(Debug, Args)]
pub(super) struct Reset {
    /// The branch to move
    branch: RefName,
    /// Where to
    #[arg(value_name = "REV")]
    revision: String,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Reset {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let Self { branch, revision, dry_run } = self;
        let repository = context.open_to_write().await?;
        let target = context.snapshot(&repository, &revision).await?;
        let before = repository.read(&format!("branch:{branch}")).await?.id();
        if dry_run {
            context.out.say(&format!("would move {branch} from {before} to {}", target.id()));
            return Ok(Verdict::Fine);
        }
        let moved = repository.reset(&branch, &target).await?;
        context.out.line(&target.id().to_string())?;
        let before = moved.from.unwrap_or(before);
        context.out.say(&format!("moved {branch} from {before}; undo with: firn reset {branch} {before}"));
        Ok(Verdict::Fine)
    }
}
