//! `firn cp` and `firn mv`

use clap::Args;

use super::args::{CommitArgs, Deletes, Done};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::count;
use firnline::{Copied, Existing};

#[derive(Debug, Args)]
#[command(after_help = "\
SRC and DST are keys or prefixes: SRC is a key if there is one of that name and it does not end in /. What is before the last
colon of SRC is the revision; a key that has a colon is named with --from REV. No chunks are copied.")]
pub(super) struct Cp {
    /// What to copy [without REV: from the branch]
    #[arg(value_name = "[REV:]SRC")]
    source: String,
    /// The other name
    #[arg(value_name = "DST")]
    destination: String,
    /// The revision of SRC, which is then not looked at for a colon
    #[arg(long, value_name = "REV")]
    from: Option<String>,
    #[command(flatten)]
    over: Over,
    #[command(flatten)]
    commit: CommitArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "SRC and DST are keys or prefixes: SRC is a key if there is one of that name and it does not end in /.")]
pub(super) struct Mv {
    /// What to move
    #[arg(value_name = "SRC")]
    source: String,
    /// The new name
    #[arg(value_name = "DST")]
    destination: String,
    #[command(flatten)]
    over: Over,
    #[command(flatten)]
    commit: CommitArgs,
}

#[derive(Debug, Args)]
struct Over {
    /// Delete what lies at or below DST first [without: refuse]
    #[arg(long)]
    overwrite: bool,
}

impl Over {
    fn existing(&self) -> Existing {
        if self.overwrite { Existing::Replace } else { Existing::Refuse }
    }
}

impl Cp {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let (revision, source) = match (&self.from, self.source.rsplit_once(':')) {
            (Some(revision), _) => (Some(revision.as_str()), self.source.as_str()),
            (None, Some((revision, source))) => (Some(revision), source),
            (None, None) => (None, self.source.as_str()),
        };
        let repository = context.open_to_write().await?;
        let mut session = repository.write(&self.commit.branch).await?;
        let from = match revision {
            Some(revision) => context.snapshot(&repository, revision).await?,
            None => session.base().clone(),
        };
        let named = from.find_named(source).await?;
        let copied = session.copy_from(&from, &named, &self.destination, self.over.existing()).await?;
        let done = done(format!("cp {} {}", self.source, self.destination), "copied", copied, Deletes::any(u64::from(copied.replaced)));
        self.commit.commit(context, session, done).await
    }
}

impl Mv {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let mut session = repository.write(&self.commit.branch).await?;
        let moved = session.rename(&self.source, &self.destination, self.over.existing()).await?;
        let done = done(format!("mv {} {}", self.source, self.destination), "moved", moved, Deletes::Some);
        self.commit.commit(context, session, done).await
    }
}

fn done(message: String, verb: &str, copied: Copied, deletes: Deletes) -> Done {
    let Copied { keys, bytes, replaced, .. } = copied;
    let over = if replaced { ", in place of what was there" } else { "" };
    Done { message, counts: format!("{} with {} {verb}{over}", count(keys, "key"), count(bytes, "byte")), deletes }
}
