//! `firn apply`: many changes, one commit or one for every part.
//!
//! Every line of standard input is one operation, a JSON object; they are staged in their order, so that later ones override
//! earlier ones. Empty lines are passed over. Nothing is committed unless every line is understood and can be staged, except
//! with `--commit-every`: then an error says which lines are committed, and from which to go on.
//!
//! ```json
//! {"op": "put", "key": "air/zarr.json", "text": "{}"}
//! {"op": "put", "key": "air/c/0/0", "file": "chunks/0.0"}
//! {"op": "virtual", "key": "air/c/0/1", "url": "file:///data/air.nc", "offset": 400, "length": 800}
//! {"op": "delete", "key": "old"}
//! {"op": "delete", "prefix": "old/"}
//! ```
//!
//! Deleting a key that does not exist is an error; deleting a prefix without keys is not.
//!
//! A reference into a file that cannot be looked up, because its place is not allowed, is committed without a pin, and
//! standard error says so.

mod input;
mod operation;
mod pending;

use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use input::Blocks;
use operation::{Operation, parse};
use pending::PendingRefs;

use super::args::{CommitArgs, Deletes, Done};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::parts::{Every, Parts};
use firnline::{Error, Progress, Repository, Result, StagedChanges, WriteSession};

/// The longest line, in bytes.
const MAX_LINE: usize = 64 << 20;
/// How long references wait for more of them before they are staged.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
#[command(after_help = "One operation a line:
  {\"op\":\"put\",\"key\":K,\"file\":PATH}    {\"op\":\"put\",\"key\":K,\"text\":S}
  {\"op\":\"virtual\",\"key\":K,\"url\":U,\"offset\":N,\"length\":N}
  {\"op\":\"delete\",\"key\":K}           {\"op\":\"delete\",\"prefix\":\"P/\"}")]
pub(super) struct Apply {
    /// Commit what has come so far after every N operations, or in every span of time such as 30s, 5m or 1h
    #[arg(long, value_name = "N|DURATION", value_parser = Every::parse, conflicts_with = "dry_run")]
    commit_every: Option<Every>,
    #[command(flatten)]
    commit: CommitArgs,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    put: u64,
    pointed: u64,
    /// Keys; while a part is staged, operations.
    deleted: u64,
    /// Keys that were set to what they hold already, where that is counted.
    unchanged: u64,
    /// Whether a prefix was deleted, so that operations do not tell how many keys are.
    prefixes: bool,
}

impl Apply {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let session = self.commit.session(&repository).await?;
        let mut parts = Parts::new(self.commit_every);
        let (session, counts) = match self.stage(context, session, &mut parts).await {
            Ok(staged) => staged,
            Err(e) => return parts.finish(context, &self.commit.branch, Err(e)),
        };
        if self.commit_every.is_none() {
            parts.unpinned.tell(context, &session)?;
            let counts = if self.commit.dry_run || counts.prefixes { Counts::of(&session.changes().await?) } else { counts };
            let done = Done { message: counts.message(), counts: counts.words(), deletes: Deletes::any(counts.deleted) };
            return self.commit.commit(context, session, done).await;
        }
        let last = parts.commit(context, &self.commit, session, counts).await;
        parts.finish(context, &self.commit.branch, last)
    }

    /// Stages line after line, and commits every part that is due; gives back what is left for the last commit.
    async fn stage(&self, context: &mut Context, mut session: WriteSession, parts: &mut Parts) -> Result<(WriteSession, Counts), Stop> {
        let repository = session.base().repository().clone();
        let mut input = Blocks::of(std::io::stdin(), MAX_LINE);
        let (mut counts, mut pending) = (Counts::default(), PendingRefs::default());
        loop {
            // A part is committed in its time also when nothing more comes.
            let (block, is_due) = tokio::select! {
                biased;
                () = wait_until(parts.due()) => (None, true),
                block = input.next() => (Some(block), false),
                // Wrong references are told soon after they came.
                () = tokio::time::sleep(PAUSE), if !pending.is_empty() => (None, false),
            };
            let Some(block) = block else {
                pending.stage(&session).await?;
                if is_due {
                    session = self.commit_part(context, &repository, session, &mut counts, parts).await?;
                }
                continue;
            };
            let unreadable = |e| Error::unavailable(format!("line {} of standard input cannot be read", parts.lines + 1)).caused_by(e);
            let Some(block) = block.map_err(unreadable)? else {
                pending.stage(&session).await?;
                return Ok((session, counts));
            };
            for line in block.lines() {
                parts.lines += 1;
                counts.stage_line(&session, &mut pending, line, parts.lines).await?;
                if parts.is_full(&counts) {
                    pending.stage(&session).await?;
                    session = self.commit_part(context, &repository, session, &mut counts, parts).await?;
                } else if counts.total() > 0 {
                    parts.started.get_or_insert_with(Instant::now);
                }
            }
            if let Some(bar) = context.out.bar() {
                bar.advance(block.amount());
            }
        }
    }

    /// Commits what is staged, and opens a session for what comes next.
    async fn commit_part(
        &self,
        context: &mut Context,
        repository: &Repository,
        session: WriteSession,
        counts: &mut Counts,
        parts: &mut Parts,
    ) -> Result<WriteSession, Stop> {
        parts.commit(context, &self.commit, session, std::mem::take(counts)).await?;
        self.commit.session(repository).await
    }
}

/// Waits for a moment; for ever if there is none.
async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Counts {
    /// What a commit of a session would change.
    fn of(changes: &StagedChanges) -> Self {
        let StagedChanges { set, pointed, deleted, unchanged, .. } = *changes;
        Self { put: set, pointed, deleted, unchanged, prefixes: false }
    }

    /// How many operations are staged.
    pub(super) fn total(&self) -> u64 {
        self.put + self.pointed + self.deleted
    }

    pub(super) fn words(&self) -> String {
        let Self { put, pointed, deleted, unchanged, .. } = self;
        let unchanged = if *unchanged > 0 { format!(", {unchanged} unchanged") } else { String::new() };
        format!("{put} put, {pointed} virtual, {deleted} deleted{unchanged}")
    }

    pub(super) fn message(&self) -> String {
        format!("apply: {}", self.words())
    }

    /// Whether something was deleted.
    pub(super) fn deletes(&self) -> bool {
        self.deleted > 0
    }

    /// Stages the operation of a line; a reference waits in `pending` until there are many or something else comes. An error names
    /// the line that it is about.
    async fn stage_line(&mut self, session: &WriteSession, pending: &mut PendingRefs, line: &[u8], number: u64) -> Result<()> {
        let named = |e: Error| e.context(format!("line {number}"));
        let parsed = match line {
            _ if line.len() > MAX_LINE => Err(Error::invalid(format!("line {number} is longer than {MAX_LINE} bytes"))),
            _ if line.trim_ascii().is_empty() => return Ok(()),
            _ => parse(line).map_err(named),
        };
        if let Ok(Operation::Virtual(reference)) = &parsed {
            pending.push(number, reference);
            self.pointed += 1;
            return if pending.is_full() { pending.stage(session).await } else { Ok(()) };
        }
        // Before anything else, also before an error: what came earlier may be wrong itself.
        pending.stage(session).await?;
        self.stage(session, parsed?).await.map_err(named)
    }

    /// Stages an operation that is no reference.
    async fn stage(&mut self, session: &WriteSession, operation: Operation<'_>) -> Result<()> {
        match operation {
            Operation::Virtual(_) => {}
            Operation::PutFile(key, file) => {
                session.set_file(&key, file.as_ref()).await?;
                self.put += 1;
            }
            Operation::PutText(key, text) => {
                session.set(&key, text.into_owned()).await?;
                self.put += 1;
            }
            Operation::Delete(key) => {
                if !session.delete(&key).await? {
                    return Err(Error::not_found(format!("{key} does not exist, so it cannot be deleted")));
                }
                self.deleted += 1;
            }
            Operation::DeletePrefix(prefix) => {
                session.delete_prefix(&prefix);
                self.deleted += 1;
                self.prefixes = true;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
