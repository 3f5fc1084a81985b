//! `firn squash`

use clap::Args;

use super::args::{fields, key_value};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use firnline::{CommitOptions, RefName};

#[derive(Debug, Args)]
#[command(after_help = "\
The commits after REV become one, which holds what the tip of the branch holds. They stay readable by their ids and at their times.")]
pub(super) struct Squash {
    /// The commit to keep, on whose top the new one comes; for the last three: main~3
    #[arg(value_name = "REV")]
    onto: String,
    /// The branch
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    branch: RefName,
    /// The commit message
    #[arg(short, long)]
    message: String,
    /// The author of the commit
    #[arg(long)]
    author: Option<String>,
    /// Add a metadata field to the commit; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Squash {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let Self { onto, branch, message, author, meta, dry_run } = self;
        let repository = context.open_to_write().await?;
        let onto = context.record(&repository, &onto).await?;
        let mut options = CommitOptions::from(message);
        options.author = author;
        options.meta = fields("--meta", meta)?;
        if dry_run {
            let tip = repository.read(&format!("branch:{branch}")).await?;
            let after = tip.bisect(&onto).await?.suspects().len();
            context.out.say(&format!("would make one commit of the {after} after {}", onto.id()));
            return Ok(Verdict::Fine);
        }
        let squashed = repository.squash(&branch, &onto, options).await?;
        context.out.line(&squashed.snapshot.id().to_string())?;
        context.out.say(&format!("take back with: firn undo {branch}"));
        Ok(Verdict::Fine)
    }
}
