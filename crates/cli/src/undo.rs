//! `firn undo` and `firn redo`

use clap::Args;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use firnline::{BranchEvent, BranchStep, RefName, SnapshotId};

#[derive(Debug, Args)]
#[command(after_help = "\
What happened last is a commit, a merge, a reset, a deletion or any other move. Undone again, what happened before that. Undoing is
recorded as a move; nothing is lost.")]
pub(super) struct Undo {
    /// The branch
    #[arg(default_value = "main")]
    branch: RefName,
    /// Only say what would be undone
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Redo {
    /// The branch
    #[arg(default_value = "main")]
    branch: RefName,
    /// Only say what would be done again
    #[arg(long)]
    dry_run: bool,
}

impl Undo {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let step = repository.undo_step(&self.branch).await?;
        let what = match &step.event {
            BranchEvent::Commit(id) => format!("commit {id}"),
            BranchEvent::Move(moved) => format!("the {} at {}", moved.op.word(), moved.time),
            _ => "a change".to_owned(),
        };
        if self.dry_run {
            would(context, &step, &format!("undo {what}"));
            return Ok(Verdict::Fine);
        }
        repository.take_step(&step).await?;
        done(context, &step, &format!("undid {what}; bring it back with: firn redo {}", self.branch))
    }
}

impl Redo {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let step = repository.redo_step(&self.branch).await?;
        if self.dry_run {
            would(context, &step, "take the last undo back");
            return Ok(Verdict::Fine);
        }
        repository.take_step(&step).await?;
        done(context, &step, &format!("took the last undo back; undo again with: firn undo {}", self.branch))
    }
}

fn would(context: &Context, step: &BranchStep, what: &str) {
    let BranchStep { branch, from, to, .. } = step;
    context.out.say(&format!("would {what}: {branch} goes from {} to {}", shown(*from), shown(*to)));
}

fn done(context: &mut Context, step: &BranchStep, what: &str) -> Result<Verdict, Stop> {
    context.out.line(&step.to.map_or_else(|| "-".to_owned(), |id| id.to_string()))?;
    context.out.say(what);
    Ok(Verdict::Fine)
}

fn shown(id: Option<SnapshotId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| id.to_string())
}
