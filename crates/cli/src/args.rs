//! Arguments that several verbs share.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::count;
use firnline::{CommitOptions, Committed, Conflict, ConflictKind, Error, OnConflict, Repository, WriteSession};

/// How many settled conflicts are named.
const SHOWN: usize = 8;

const REPOSITORY: &str = "The repository: a path, file://, s3://, gs://, az:// or http(s):// [else: FIRN_REPO, the working directory or a parent that holds repo.json]";
const ALLOW: &str = "Read external files below this URL; =env: with the credentials of the environment; =as:NAME: with those of this name in the configuration file; =private: also at \
addresses that are not public; =unpinned: also files of which nothing is recorded that would show a change; may be repeated \
[also: FIRN_ALLOW, separated by spaces or commas, which names write as %20 and %2C]";

const REBIND: &str = "Look for the files of this container at another place, in all versions: a template, or a URL ending in / \
that replaces the beginning of the container's; =unverified: also files whose digest is not recorded; may be repeated [also: FIRN_REBIND]";

/// What every verb takes.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Global {
    #[arg(short = 'R', long = "repository", value_name = "URL", global = true, help = REPOSITORY)]
    pub(super) place: Option<String>,
    #[arg(long, value_name = "URL_PREFIX[=WORDS]", global = true, help = ALLOW)]
    pub(super) allow: Vec<String>,
    #[arg(long, value_name = "CONTAINER=URL", global = true, help = REBIND)]
    pub(super) rebind: Vec<String>,
    /// Write also to a network or FUSE file system, where commits can be lost
    #[arg(long, global = true)]
    pub(super) allow_network_file_system: bool,
    /// Print JSON: a list as one object a line
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Print counts on standard error even if it is not a terminal
    #[arg(short, long, global = true)]
    pub(super) verbose: bool,
    /// Print no counts and no progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,
}

/// What every verb that commits takes.
#[derive(Debug, Args)]
pub(super) struct CommitArgs {
    /// The commit message [default: a summary of the command]
    #[arg(short, long)]
    message: Option<String>,
    /// The branch to commit to
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    pub(super) branch: String,
    /// The author of the commit
    #[arg(long)]
    author: Option<String>,
    /// Make a commit even if nothing changes
    #[arg(long)]
    allow_empty: bool,
    /// Add a metadata field to the commit; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    meta: Vec<(String, String)>,
    /// How to resolve conflicts with another writer [default: fail with status 4]
    #[arg(long, value_name = "WHOSE")]
    on_conflict: Option<Whose>,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Who wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Whose {
    /// Keep the changes of this command
    Ours,
    /// Keep the changes of the other writer, and drop those of this command that conflict with them
    Theirs,
}

impl CommitArgs {
    /// Opens the session in which the command stages; in a dry run, one that stores nothing. What the commit would be refused for, whatever
    /// it holds, is refused before anything is stored.
    pub(super) async fn session(&self, repository: &Repository) -> Result<WriteSession, Stop> {
        let options = self.options(String::new())?;
        options.check()?;
        let session = if self.dry_run { repository.dry_run(&self.branch).await } else { repository.write(&self.branch).await }?;
        session.check(&options).await?;
        Ok(session)
    }

    /// Commits, prints the id, and says `counts`; or, in a dry run, only the latter.
    pub(super) async fn commit(self, context: &mut Context, session: WriteSession, done: Done) -> Result<Verdict, Stop> {
        if self.dry_run {
            context.out.say(&format!("would commit to {}: {}", self.branch, done.counts));
            return Ok(Verdict::Fine);
        }
        let options = self.options(done.message)?;
        let Committed { snapshot, is_new, settled, .. } = context.commit(session, options).await?;
        context.out.line(&snapshot.id().to_string())?;
        self.tell_settled(context, &settled);
        if !is_new {
            context.out.note(&format!("nothing changed, nothing was committed; {} stays as it is", self.branch));
            return Ok(Verdict::Fine);
        }
        context.out.note(&done.counts);
        if let (Deletes::Some, Some(parent)) = (done.deletes, snapshot.record().parents.first()) {
            context.out.say(&format!("undo with: firn reset {} {parent}", self.branch));
        }
        Ok(Verdict::Fine)
    }

    /// Says which conflicts the policy settled, and for which files there was nothing left to record, if any.
    pub(super) fn tell_settled(&self, context: &Context, settled: &[Conflict]) {
        let stayed = match self.on_conflict {
            Some(Whose::Ours) => ", ours stayed",
            Some(Whose::Theirs) => ", theirs stayed",
            None => "",
        };
        tell_settled(context, settled, stayed);
    }

    /// What the commit says of itself; `message` if none was given.
    fn options(&self, message: String) -> Result<CommitOptions, Stop> {
        let mut options = CommitOptions::from(self.message.clone().unwrap_or(message));
        options.author.clone_from(&self.author);
        options.meta = fields("--meta", self.meta.clone())?;
        options.on_conflict = match self.on_conflict {
            None => OnConflict::Refuse,
            Some(Whose::Ours) => OnConflict::Ours,
            Some(Whose::Theirs) => OnConflict::Theirs,
        };
        Ok(if self.allow_empty { options.allow_empty() } else { options })
    }

    /// What the commit of one of several parts says of itself.
    pub(super) fn options_of_part(&self, message: String, number: u64) -> Result<CommitOptions, Stop> {
        let mut options = self.options(message)?;
        options.message = format!("{} ({number})", options.message);
        Ok(options)
    }
}

/// Says which conflicts were settled, and for which files there was nothing left to record, if any; `stayed` says who won.
pub(super) fn tell_settled(context: &Context, settled: &[Conflict], stayed: &str) {
    let (dropped, settled): (Vec<_>, Vec<_>) = settled.iter().partition(|conflict| conflict.kind == ConflictKind::File);
    if !settled.is_empty() {
        context.out.say(&format!("{} settled{stayed}: {}", count(settled.len() as u64, "conflict"), named(&settled)));
    }
    if !dropped.is_empty() {
        let files = count(dropped.len() as u64, "file");
        context.out.say(&format!("{files} not recorded, another writer dropped the last reference: {}", named(&dropped)));
    }
}

/// The first of them by name.
fn named(conflicts: &[&Conflict]) -> String {
    let names: Vec<_> = conflicts.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if conflicts.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", names.join(", "))
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
pub(super) fn fields(option: &str, given: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Stop> {
    let mut fields = BTreeMap::new();
    for (key, value) in given {
        if fields.contains_key(&key) {
            return Err(Error::invalid(format!("{option} {key} is given twice")).into());
        }
        fields.insert(key, value);
    }
    Ok(fields)
}
