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

use clap::Args;
use serde::Deserialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::time::Instant;

use super::args::{CommitArgs, Deletes, Done};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::parts::{Every, Parts};
use firnline::{Amount, Error, Key, Prefix, Progress, Result, StagedChanges, WriteSession};

/// The longest line, in bytes.
const MAX_LINE: u64 = 64 << 20;

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

/// A line with every field that any operation has. Which go together is checked once it is read, for better messages.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    op: String,
    key: Option<String>,
    prefix: Option<String>,
    file: Option<String>,
    text: Option<String>,
    url: Option<String>,
    offset: Option<u64>,
    length: Option<u64>,
}

/// A line that was understood.
#[derive(Debug, PartialEq, Eq)]
enum Operation {
    PutFile(Key, String),
    PutText(Key, String),
    Virtual { key: Key, url: String, offset: u64, length: u64 },
    Delete(Key),
    DeletePrefix(Prefix),
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
        let mut input = BufReader::with_capacity(256 << 10, tokio::io::stdin());
        let mut counts = Counts::default();
        loop {
            let number = parts.lines + 1;
            let mut reading = std::pin::pin!(next_line(&mut input, number));
            // A part is committed in its time also when nothing more comes.
            let line = loop {
                let is_due = parts.is_full(&counts)
                    || tokio::select! {
                        biased;
                        line = &mut reading => break line?,
                        () = wait_until(parts.due()) => true,
                    };
                if is_due {
                    parts.commit(context, &self.commit, session, std::mem::take(&mut counts)).await?;
                    session = self.commit.session(&repository).await?;
                }
            };
            let Some(line) = line else { return Ok((session, counts)) };
            parts.lines = number;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let staged = match parse(&line) {
                Ok(operation) => counts.stage(&session, operation).await,
                Err(e) => Err(e),
            };
            staged.map_err(|e| e.context(format!("line {number}")))?;
            parts.started.get_or_insert_with(Instant::now);
            if let Some(bar) = context.out.bar() {
                bar.advance(Amount { items: 1, bytes: line.len() as u64 });
            }
        }
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

    async fn stage(&mut self, session: &WriteSession, operation: Operation) -> Result<()> {
        match operation {
            Operation::PutFile(key, file) => {
                session.set_file(&key, &file).await?;
                self.put += 1;
            }
            Operation::PutText(key, text) => {
                session.set(&key, text).await?;
                self.put += 1;
            }
            Operation::Virtual { key, url, offset, length } => {
                let end = offset.checked_add(length).ok_or_else(|| Error::invalid(format!("{key}: offset and length are too large")))?;
                session.set_virtual(&key, &url, offset..end).await?;
                self.pointed += 1;
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

/// Reads one line; `None` at the end of the input.
async fn next_line(input: &mut (impl AsyncBufRead + Unpin), number: u64) -> Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let failed = |e| Error::unavailable(format!("line {number} of standard input cannot be read")).caused_by(e);
    let read = input.take(MAX_LINE).read_until(b'\n', &mut line).await.map_err(failed)?;
    if read as u64 == MAX_LINE && !line.ends_with(b"\n") {
        return Err(Error::invalid(format!("line {number} is longer than {MAX_LINE} bytes")));
    }
    Ok((read > 0).then_some(line))
}

/// Refuses bytes that cannot be a JSON object in UTF-8, with the reason where it is a known one.
fn check_object(line: &[u8]) -> Result<()> {
    let wrong = |why: &str| Err(Error::invalid(why));
    match line {
        [0xef, 0xbb, 0xbf, ..] => wrong("begins with a byte order mark (BOM); write UTF-8 without one"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => wrong("begins with a byte order mark (BOM) of UTF-16; write UTF-8 without one"),
        _ if line.trim_ascii_start().first() != Some(&b'{') => wrong("not an operation: an operation is a JSON object"),
        _ => Ok(()),
    }
}

fn parse(line: &[u8]) -> Result<Operation> {
    // The deserialiser would also take an array of all fields.
    check_object(line)?;
    let line: Line = serde_json::from_slice(line).map_err(|e| Error::invalid("not an operation").caused_by(e))?;
    let key = |text: Option<String>| Key::new(text.ok_or_else(|| Error::invalid("has no field \"key\""))?);
    match line {
        Line { op, key: name, file: Some(file), prefix: None, text: None, url: None, offset: None, length: None } if op == "put" => {
            Ok(Operation::PutFile(key(name)?, file))
        }
        Line { op, key: name, text: Some(text), prefix: None, file: None, url: None, offset: None, length: None } if op == "put" => {
            Ok(Operation::PutText(key(name)?, text))
        }
        Line { op, key: name, url: Some(url), offset: Some(offset), length: Some(length), prefix: None, file: None, text: None }
            if op == "virtual" =>
        {
            Ok(Operation::Virtual { key: key(name)?, url, offset, length })
        }
        Line { op, key: name @ Some(_), prefix: None, file: None, text: None, url: None, offset: None, length: None } if op == "delete" => {
            Ok(Operation::Delete(key(name)?))
        }
        Line { op, prefix: Some(prefix), key: None, file: None, text: None, url: None, offset: None, length: None } if op == "delete" => {
            Ok(Operation::DeletePrefix(Prefix::new(&prefix)?))
        }
        Line { op, .. } => Err(Error::invalid(match op.as_str() {
            "put" => "put takes \"key\" and either \"file\" or \"text\"".to_owned(),
            "virtual" => "virtual takes \"key\", \"url\", \"offset\" and \"length\"".to_owned(),
            "delete" => "delete takes either \"key\" or \"prefix\"".to_owned(),
            other => format!("{other:?} is not an operation; the operations are put, virtual and delete"),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_read_and_nothing_else() {
        let key = |text: &str| Key::new(text).unwrap();
        assert_eq!(parse(br#"{"op":"put","key":"a","text":"x"}"#).unwrap(), Operation::PutText(key("a"), "x".to_owned()));
        assert_eq!(parse(br#"{"op":"put","key":"a","file":"x"}"#).unwrap(), Operation::PutFile(key("a"), "x".to_owned()));
        assert_eq!(parse(br#"{"op":"delete","prefix":"a/"}"#).unwrap(), Operation::DeletePrefix(Prefix::new("a").unwrap()));
        let bad: [&[u8]; 14] = [
            br#"{"op":"put","key":"a"}"#,
            br#"{"op":"put","key":"a","text":"x","file":"y"}"#,
            br#"{"op":"put","text":"x"}"#,
            br#"{"op":"delete"}"#,
            br#"{"op":"delete","key":"a","prefix":"b/"}"#,
            br#"{"op":"virtual","key":"a","url":"file:///x","offset":-1,"length":1}"#,
            br#"{"op":"virtual","key":"a","url":"file:///x","offset":1}"#,
            br#"{"op":"copy","key":"a"}"#,
            br#"{"op":"put","key":"a","text":"x","mode":1}"#,
            b"[]",
            // An array in the order of the fields was once taken for the object.
            br#"["delete","a",null,null,null,null,null,null]"#,
            b"\xef\xbb\xbf{\"op\":\"delete\",\"key\":\"a\"}",
            b"\xff\xfe{\0",
            b"null",
        ];
        for line in bad {
            assert_eq!(parse(line).unwrap_err().kind(), firnline::ErrorKind::Invalid, "{}", String::from_utf8_lossy(line));
        }
        assert!(parse(bad[11]).unwrap_err().to_string().contains("BOM"));
    }
}
