//! `firn cp` and `firn mv`

use clap::Args;

use super::args::{CommitArgs, Deletes, Done};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::count;
use firnline::{Copied, Existing, Result, StagedChanges, WriteSession};

#[derive(Debug, Args)]
#[command(after_help = "\
SRC is a key if such a key exists and the name does not end in /; otherwise it is a prefix, and DST too. The text before the last
colon of SRC is the revision; for a key with a colon in its name use --from REV. No chunk is read or written.")]
pub(super) struct Cp {
    /// The key or prefix to copy, from a revision [default REV: the branch committed to]
    #[arg(value_name = "[REV:]SRC")]
    source: String,
    /// The key or prefix to copy to
    #[arg(value_name = "DST")]
    destination: String,
    /// The revision to copy from; SRC is then taken as it is, colons included
    #[arg(long, value_name = "REV")]
    from: Option<String>,
    #[command(flatten)]
    over: Over,
    #[command(flatten)]
    commit: CommitArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "SRC is a key if such a key exists and the name does not end in /; otherwise it is a prefix, and DST too.")]
pub(super) struct Mv {
    /// The key or prefix to move
    #[arg(value_name = "SRC")]
    source: String,
    /// The key or prefix to move to
    #[arg(value_name = "DST")]
    destination: String,
    #[command(flatten)]
    over: Over,
    #[command(flatten)]
    commit: CommitArgs,
}

#[derive(Debug, Args)]
struct Over {
    /// Delete the keys at or below DST first [default: fail if there are any]
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
        let session = self.commit.session(&repository).await?;
        let from = match revision {
            Some(revision) => context.snapshot(&repository, revision).await?,
            None => session.base().clone(),
        };
        let named = from.find_named(source).await?;
        let copied = session.copy_from(&from, &named, &self.destination, self.over.existing()).await?;
        let mut done = done(format!("cp {} {}", self.source, self.destination), "copied", copied, Deletes::any(u64::from(copied.replaced)));
        if self.commit.dry_run {
            done.counts.push_str(&changed(&session).await?);
        }
        self.commit.commit(context, session, done).await
    }
}

impl Mv {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let session = self.commit.session(&repository).await?;
        let moved = session.rename(&self.source, &self.destination, self.over.existing()).await?;
        let mut done = done(format!("mv {} {}", self.source, self.destination), "moved", moved, Deletes::Some);
        if self.commit.dry_run {
            done.counts.push_str(&changed(&session).await?);
        }
        self.commit.commit(context, session, done).await
    }
}

fn done(message: String, verb: &str, copied: Copied, deletes: Deletes) -> Done {
    let Copied { keys, bytes, replaced, .. } = copied;
    let over = if replaced { ", in place of what was there" } else { "" };
    Done { message, counts: format!("{} with {} {verb}{over}", count(keys, "key"), count(bytes, "byte")), deletes }
}

/// What a commit would change, to be said behind what was staged: a copy may hold what its destination has already.
async fn changed(session: &WriteSession) -> Result<String> {
    let StagedChanges { set, pointed, deleted, unchanged, .. } = session.changes().await?;
    let unchanged = if unchanged > 0 { format!(", {unchanged} unchanged") } else { String::new() };
    Ok(format!(": {} set, {deleted} deleted{unchanged}", count(set + pointed, "key")))
}
