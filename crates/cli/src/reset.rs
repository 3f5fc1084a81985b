//! `firn reset`

use clap::Args;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::refs::place;
use firnline::{Ref, RefName};

#[derive(Debug, Args)]
pub(super) struct Reset {
    /// The branch to move, also when it is damaged
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
        let before = repository.ref_info(&Ref::branch(branch.clone())).await?;
        if dry_run {
            context.out.say(&format!("would move {branch} from {} to {}", place(&before), target.id()));
            return Ok(Verdict::Fine);
        }
        let moved = repository.reset(&branch, &target).await?;
        context.out.line(&target.id().to_string())?;
        match moved.from.filter(|_| before.damage.is_none()) {
            Some(from) => context.out.say(&format!("moved {branch} from {from}; undo with: firn reset {branch} {from}")),
            None => context.out.say(&format!("moved {branch} from {}; check it with: firn verify {branch}", place(&before))),
        }
        Ok(Verdict::Fine)
    }
}
