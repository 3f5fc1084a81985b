//! `firn diff`

use std::path::{Path, PathBuf};

use clap::Args;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use super::show::ContainerRow;
use super::value::{Pin, Value};
use firnline::{
    Change, DiffSummary, Entry, Error, ErrorKind, GroupChanges, Key, Prefix, Repository, Result, Snapshot, TreeChange, Validator,
    printable_line,
};

#[derive(Debug, Args)]
#[command(after_help = "\
A name with a slash at its start or end (/x, ./x, ../x, x/), . and .. are directories. Any other name is a revision, or a directory
if no revision has that name. With a directory alone, main is compared with it. A directory is compared with the files that
a checkout would write: first sizes, then bytes. --recorded reads no manifest, however large it is: it shows what the writer of the newer
snapshot said that it changed in its first parent, and nothing proves that but verify --all. Exit status: 0 if nothing differs, 1 if
something does.")]
pub(super) struct Diff {
    /// The older snapshot [main if only a directory is given]
    #[arg(value_name = "REV")]
    old: String,
    /// The newer snapshot, or a directory
    #[arg(value_name = "REV|DIR")]
    new: Option<String>,
    /// Compare only keys below this prefix; file names do not include it
    #[arg(long, default_value = "")]
    prefix: String,
    /// Count keys by array and directory instead of listing them
    #[arg(long)]
    stat: bool,
    /// Believe the list of changed keys beside the newer snapshot, if there is one and the older is its first parent
    #[arg(long)]
    recorded: bool,
}

/// What is compared with a snapshot.
enum Newer {
    Snapshot(Snapshot),
    Directory(PathBuf),
}

/// The revision that a directory is compared with when none is given.
const OLDEST: &str = "main";

impl Diff {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let prefix = Prefix::new(&self.prefix)?;
        let repository = context.open_to_read().await?;
        let (old, new) = match &self.new {
            Some(new) => (self.old.as_str(), new),
            None => (OLDEST, &self.old),
        };
        let newer = side(context, &repository, new).await?;
        let older = match (newer, &self.new) {
            (Newer::Snapshot(_), None) => {
                let why = format!(
                    "{new} is a revision; compare it with another one, or with a directory: firn diff {new} REV, firn diff {new} ./DIR"
                );
                return Err(Error::invalid(why).into());
            }
            (newer, _) => (side(context, &repository, old).await?, newer),
        };
        match older {
            (Newer::Snapshot(old), Newer::Snapshot(new)) => Box::pin(self.snapshots(context, &old, &new, &prefix)).await,
            (Newer::Snapshot(_), Newer::Directory(new)) if self.recorded => {
                let why = format!("{} is a directory, beside which nothing is recorded: leave --recorded out", new.display());
                Err(Error::invalid(why).into())
            }
            (Newer::Snapshot(old), Newer::Directory(new)) => self.directory(context, &old, new, &prefix).await,
            (Newer::Directory(path), _) => {
                let why = format!("{} is a directory, which can only be the newer side: firn diff REV {}", path.display(), path.display());
                Err(Error::invalid(why).into())
            }
        }
    }

    async fn snapshots(&self, context: &mut Context, old: &Snapshot, new: &Snapshot, prefix: &Prefix) -> Result<Verdict, Stop> {
        let told = if self.recorded { old.recorded_diff(new, prefix).await? } else { None };
        let mut changes = if let Some(told) = told {
            context.out.say(&format!("the keys are those that the writer of {} recorded; they were not compared", new.id()));
            told.boxed()
        } else {
            if self.recorded {
                let (old, new) = (old.id(), new.id());
                context.out.note(&format!("no changes from {old} are recorded beside {new}; the snapshots are compared"));
            }
            old.diff(new, prefix).boxed()
        };
        let mut report = DiffReport::new(self.stat, [old, new]);
        while let Some(change) = changes.try_next().await? {
            let row = match &change {
                Change::Key { key, old: before, new: after } => {
                    let shown = |entry: &Option<Entry>, at: &Snapshot| {
                        entry.as_ref().map(|entry| Value::of(entry, &at.record().containers)).transpose()
                    };
                    report.key(context, key, shown(before, old)?, shown(after, new)?).await?;
                    continue;
                }
                Change::Container { name, old, new } => {
                    let shown = |c: &Option<_>| c.as_ref().map(ContainerRow::of).map(Side::Container);
                    DiffRow::of("container", name.clone(), shown(old), shown(new))
                }
                Change::File { file, old: before, new: after } => {
                    let shown = |record| Some(Side::Pin(Pin::of(Validator::of(record))));
                    DiffRow::of("file", file.url(&new.record().containers)?, shown(before), shown(after))
                }
                other => return Err(Error::unsupported(format!("a change that this version of the command cannot show: {other:?}")).into()),
            };
            report.row(context, &row)?;
        }
        report.finish(context)
    }

    async fn directory(&self, context: &mut Context, old: &Snapshot, new: PathBuf, prefix: &Prefix) -> Result<Verdict, Stop> {
        let mut report = DiffReport::new(self.stat, [old]);
        let mut changes = std::pin::pin!(old.diff_directory(new, prefix).await?);
        while let Some(change) = changes.try_next().await? {
            match change {
                TreeChange::Key { key, old: before, new } => {
                    let before = before.map(|entry| Value::of(&entry, &old.record().containers)).transpose()?;
                    report.key(context, &key, before, new.map(Value::file)).await?;
                }
                TreeChange::Odd(error) => report.row(context, &DiffRow::odd(&error))?,
                other => return Err(Error::unsupported(format!("a change that this version of the command cannot show: {other:?}")).into()),
            }
        }
        report.finish(context)
    }
}

/// What an argument names.
async fn side(context: &Context, repository: &Repository, text: &str) -> Result<Newer, Stop> {
    let path = PathBuf::from(text);
    let is_path = matches!(text, "." | "..") || ["/", "./", "../"].iter().any(|start| text.starts_with(start)) || text.ends_with('/');
    if is_path {
        return Ok(Newer::Directory(path));
    }
    let is_directory = Path::new(text).is_dir();
    match context.snapshot(repository, text).await {
        Ok(snapshot) => {
            if is_directory {
                context.out.note(&format!("{text} is taken as the revision; the directory of that name is ./{text}"));
            }
            Ok(Newer::Snapshot(snapshot))
        }
        Err(e) if is_directory && matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => Ok(Newer::Directory(path)),
        Err(e) => Err(e.into()),
    }
}

/// Shows changes as they come, or counts them.
struct DiffReport<'a> {
    summary: Option<DiffSummary<'a>>,
    verdict: Verdict,
}

impl<'a> DiffReport<'a> {
    fn new(stat: bool, snapshots: impl IntoIterator<Item = &'a Snapshot>) -> Self {
        Self { summary: stat.then(|| DiffSummary::new(snapshots)), verdict: Verdict::Fine }
    }

    async fn key(&mut self, context: &mut Context, key: &Key, old: Option<Value>, new: Option<Value>) -> Result<(), Stop> {
        let size = |value: &Option<Value>| value.as_ref().and_then(|value| value.size);
        if let Some(summary) = &mut self.summary {
            self.verdict = Verdict::Found;
            return Ok(summary.add(key, size(&old), size(&new)).await?);
        }
        self.row(context, &DiffRow::of("key", key.as_str().to_owned(), old.map(Side::Value), new.map(Side::Value)))
    }

    fn row(&mut self, context: &mut Context, row: &DiffRow) -> Result<(), Stop> {
        self.verdict = Verdict::Found;
        context.out.show(row)
    }

    fn finish(self, context: &mut Context) -> Result<Verdict, Stop> {
        let groups = self.summary.map(DiffSummary::into_groups).unwrap_or_default();
        let rows: Vec<_> = groups.iter().map(GroupRow::of).collect();
        context.out.table(["", "IN", "ADDED", "CHANGED", "REMOVED", "OLD BYTES", "NEW BYTES"], &rows, |row| {
            let GroupRow { what, name, added, removed, changed, old_bytes, new_bytes } = row;
            let [added, changed, removed, old_bytes, new_bytes] = [added, changed, removed, old_bytes, new_bytes].map(u64::to_string);
            [(*what).to_owned(), name.clone(), added, changed, removed, old_bytes, new_bytes]
        })?;
        Ok(self.verdict)
    }
}

/// A difference.
#[derive(Debug, Serialize)]
struct DiffRow {
    /// `added`, `removed`, `changed` or `unreadable`.
    change: &'static str,
    /// `key`, `container`, `file` (of which another state is pinned) or `path` (in a directory).
    what: &'static str,
    /// The key, the container, or the URL of the file; of a path the message names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<Side>,
    /// Why a path cannot be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Side {
    Value(Value),
    Container(ContainerRow),
    Pin(Pin),
}

impl Side {
    fn brief(&self) -> String {
        match self {
            Self::Value(value) => value.brief(),
            Self::Container(container) => container.template.clone(),
            Self::Pin(pin) => pin.brief(),
        }
    }
}

impl DiffRow {
    fn of(what: &'static str, name: String, old: Option<Side>, new: Option<Side>) -> Self {
        let change = match (&old, &new) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        Self { change, what, name: Some(name), old, new, message: None }
    }

    fn odd(error: &Error) -> Self {
        Self { change: "unreadable", what: "path", name: None, old: None, new: None, message: Some(error.to_string()) }
    }
}

impl Show for DiffRow {
    fn text(&self) -> String {
        let Self { change, what, name, old, new, message } = self;
        let what = if *what == "key" { String::new() } else { format!("{what} ") };
        let sides: Vec<_> = [old, new].into_iter().flatten().map(Side::brief).collect();
        let name = name.as_ref().or(message.as_ref()).map(String::as_str).unwrap_or_default();
        // One line for each row, also where a recorded tag holds a line break.
        printable_line(format!("{change:8} {what}{name}  {}", sides.join(" -> ")).trim_end()).into_owned()
    }
}

/// The changes in one array or directory, with `--stat`.
#[derive(Debug, Serialize)]
struct GroupRow {
    /// `array` or `directory`.
    what: &'static str,
    /// Its prefix; empty for the root.
    name: String,
    added: u64,
    removed: u64,
    changed: u64,
    /// The sizes of the values on the older side, in bytes.
    old_bytes: u64,
    new_bytes: u64,
}

impl GroupRow {
    fn of(changes: &GroupChanges) -> Self {
        let counts = changes.counts;
        Self {
            what: changes.group.word(),
            name: changes.group.prefix().as_str().to_owned(),
            added: counts.added,
            removed: counts.removed,
            changed: counts.changed,
            old_bytes: counts.old_bytes,
            new_bytes: counts.new_bytes,
        }
    }
}

impl Show for GroupRow {
    fn text(&self) -> String {
        self.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firnline::Timestamp;

    /// A line break in what a repository says of a file, or in the name of a file, made two rows of one. This release writes no such
    /// record, and reads those of others.
    #[test]
    fn a_row_is_one_line() {
        let bare = Validator::staged_at(Timestamp::from_micros(1));
        let forged = Validator { etag: Some(b"x\nadded    forged\tinline 5\r\x1b[31m".to_vec()), ..bare.clone() };
        let side = |validator| Some(Side::Pin(Pin::of(validator)));
        let pinned = DiffRow::of("file", "s3://bucket/x".to_owned(), side(bare), side(forged));
        let odd = DiffRow::odd(&Error::invalid("./a\nadded    forged is no file"));
        for row in [pinned, odd] {
            let text = row.text();
            assert!(text.contains("added    forged") && !text.contains(char::is_control), "{text:?}");
        }
    }
}
