//! Arguments that several verbs share.

use std::collections::BTreeMap;

use clap::Args;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use crate::commit::CommitOptions;
use crate::error::Error;
use crate::session::WriteSession;

const REPOSITORY: &str = "The repository: a path, file://, s3://, gs://, az:// or http(s):// [else: FIRN_REPO, the working directory or a parent that holds repo.json]";
const ALLOW: &str = "Read external files below this URL; may be repeated [also: FIRN_ALLOW, separated by spaces or commas]";

/// What every verb takes.
#[derive(Debug, Args)]
pub(super) struct Global {
    #[arg(short = 'R', long = "repository", value_name = "URL", global = true, help = REPOSITORY)]
    pub(super) place: Option<String>,
    #[arg(long, value_name = "URL_PREFIX[=CREDENTIALS]", global = true, help = ALLOW)]
    pub(super) allow: Vec<String>,
    /// Write also to a network or FUSE file system, where commits can be lost
    #[arg(long, global = true)]
    pub(super) allow_network_file_system: bool,
    /// Print JSON: a list as one object a line
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Print counts on standard error although it is no terminal
    #[arg(short, long, global = true)]
    pub(super) verbose: bool,
}

/// What every verb that commits takes.
#[derive(Debug, Args)]
pub(super) struct CommitArgs {
    /// What was done and why [default: the command in short]
    #[arg(short, long)]
    message: Option<String>,
    /// The branch to commit to
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    pub(super) branch: String,
    /// Who did it
    #[arg(long)]
    author: Option<String>,
    /// Commit although nothing changes
    #[arg(long)]
    allow_empty: bool,
    /// A field of the commit; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// Only say what would change
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl CommitArgs {
    /// Commits, prints the id, and says `counts`; or, in a dry run, only the latter.
    pub(super) async fn commit(self, context: &mut Context, session: WriteSession, done: Done) -> Result<Verdict, Stop> {
        if self.dry_run {
            context.out.say(&format!("would commit to {}: {}", self.branch, done.counts));
            return Ok(Verdict::Fine);
        }
        let mut options = CommitOptions::from(self.message.unwrap_or(done.message));
        options.author = self.author;
        options.meta = fields(self.meta)?;
        if self.allow_empty {
            options = options.allow_empty();
        }
        let base = session.base().id();
        let snapshot = session.commit(options).await?;
        context.out.line(&snapshot.id().to_string())?;
        if snapshot.id() == base {
            context.out.note(&format!("nothing changed, nothing was committed; {} stays as it is", self.branch));
            return Ok(Verdict::Fine);
        }
        context.out.note(&done.counts);
        if let (Deletes::Some, Some(parent)) = (done.deletes, snapshot.commit().parents.first()) {
            context.out.say(&format!("undo with: firn reset {} {parent}", self.branch));
        }
        Ok(Verdict::Fine)
    }
}

/// What a verb staged.
#[derive(Debug)]
pub(super) struct Done {
    /// The message of a commit that was given none.
    pub(super) message: String,
    /// What was staged, in words.
    pub(super) counts: String,
    pub(super) deletes: Deletes,
}

/// Whether staged changes delete something, so that how to undo them must be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deletes {
    /// Nothing.
    None,
    /// Something.
    Some,
}

impl Deletes {
    pub(super) fn any(count: u64) -> Self {
        if count > 0 { Self::Some } else { Self::None }
    }
}

/// Reads `KEY=VALUE`.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is not of the form KEY=VALUE".to_owned()),
    }
}

/// Fields by name; one given twice is `Invalid`.
pub(super) fn fields(given: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Stop> {
    let mut fields = BTreeMap::new();
    for (key, value) in given {
        if fields.contains_key(&key) {
            return Err(Error::invalid(format!("--meta {key} is given twice")).into());
        }
        fields.insert(key, value);
    }
    Ok(fields)
}
