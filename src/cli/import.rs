//! `firn import`

use std::path::PathBuf;

use clap::Args;

use super::args::{CommitArgs, Deletes, Done};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::count;
use crate::key::Prefix;
use crate::tree::{TreeOptions, TreeSummary};

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The directory; the path of a file below it is its key
    directory: PathBuf,
    /// Put the keys below this prefix
    #[arg(long, default_value = "")]
    prefix: String,
    /// Delete the keys below the prefix that the directory does not have
    #[arg(long)]
    mirror: bool,
    #[command(flatten)]
    commit: CommitArgs,
}

impl Import {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let mut options = TreeOptions::default().prefix(Prefix::new(&self.prefix)?);
        if self.mirror {
            options = options.mirror();
        }
        if self.commit.dry_run {
            options = options.dry_run();
        }
        let mut session = repository.write(&self.commit.branch).await?;
        let shown = self.directory.display().to_string();
        let found = session.import_tree(self.directory, &options).await?;
        if found.empty_directories > 0 {
            context.out.say(&format!("{} not stored: only files are", empty(found.empty_directories)));
        }
        let done = Done { message: format!("import {shown}"), counts: counts(&found), deletes: Deletes::any(found.deleted) };
        self.commit.commit(context, session, done).await
    }
}

fn empty(n: u64) -> String {
    if n == 1 { "1 empty directory is".to_owned() } else { format!("{n} empty directories are") }
}

fn counts(found: &TreeSummary) -> String {
    let TreeSummary { files, bytes, added, changed, deleted, .. } = found;
    format!("{} with {}: {added} added, {changed} changed, {deleted} deleted", count(*files, "file"), count(*bytes, "byte"))
}
