//! `firn ls`

use clap::Args;
use futures::TryStreamExt;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::{Show, word};
use super::value::Value;
use firnline::{Child, Entry, Error, ErrorKind, Key, Prefix, Repository, Result, Snapshot};

/// The revision that is read when none is given.
const DEFAULT: &str = "main";

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// The revision to read
    #[arg(value_name = "REV", default_value = DEFAULT)]
    revision: String,
    /// The prefix to list
    #[arg(default_value = "")]
    prefix: String,
    /// List all keys below the prefix, not only the next level
    #[arg(short, long)]
    recursive: bool,
    /// Print the kind and size of each value
    #[arg(short, long)]
    long: bool,
}

impl Ls {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let prefix = Prefix::new(&self.prefix)?;
        let repository = context.open_to_read().await?;
        let snapshot = match context.snapshot(&repository, &self.revision).await {
            Err(e) if self.prefix.is_empty() => return Err(self.advised(&repository, e).await.into()),
            found => found?,
        };
        let style = if self.long { Style::Long } else { Style::Names };
        let mut shown = 0_u64;
        if self.recursive {
            let mut entries = std::pin::pin!(snapshot.list(&prefix));
            while let Some((key, entry)) = entries.try_next().await? {
                context.out.show(&LsRow::key(&snapshot, &key, &entry, style)?)?;
                shown += 1;
            }
        } else {
            for child in snapshot.children(&prefix).await? {
                context.out.show(&LsRow::child(&snapshot, &child, style)?)?;
                shown += 1;
            }
        }
        if shown == 0 && prefix != Prefix::all() {
            let key = Key::new(self.prefix.trim_end_matches('/'))?;
            let entry = snapshot.entry(&key).await?;
            let entry = entry.ok_or_else(|| Error::not_found(format!("nothing lies at or below {key} in {}", self.revision)))?;
            context.out.show(&LsRow::key(&snapshot, &key, &entry, style)?)?;
        }
        Ok(Verdict::Fine)
    }

    /// Says how a path of the default branch is listed, where one was given in place of a revision.
    async fn advised(&self, repository: &Repository, error: Error) -> Error {
        let path = &self.revision;
        if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) {
            return error;
        }
        let is_path = match repository.read(DEFAULT).await {
            Ok(snapshot) => snapshot.find_named(path).await.is_ok(),
            Err(_) => false,
        };
        if !is_path {
            return error;
        }
        let message = format!("{error}; the path of that name is listed by: firn ls {DEFAULT} {}", word(path));
        Error::new(error.kind(), message).caused_by(error)
    }
}

#[derive(Debug, Clone, Copy)]
enum Style {
    Names,
    Long,
}

/// A key or a directory.
#[derive(Debug, Serialize)]
struct LsRow {
    /// The whole key, or the whole prefix with its final `/`.
    name: String,
    #[serde(flatten)]
    value: Value,
    #[serde(skip)]
    style: Style,
}

impl LsRow {
    fn child(snapshot: &Snapshot, child: &Child, style: Style) -> Result<Self> {
        match child {
            Child::Key(key, entry) => Self::key(snapshot, key, entry, style),
            Child::Directory(prefix) => Ok(Self { name: prefix.as_str().to_owned(), value: Value::directory(), style }),
        }
    }

    fn key(snapshot: &Snapshot, key: &Key, entry: &Entry, style: Style) -> Result<Self> {
        Ok(Self { name: key.as_str().to_owned(), value: Value::of(entry, &snapshot.record().containers)?, style })
    }
}

impl Show for LsRow {
    fn text(&self) -> String {
        let Self { name, value: Value { kind, size, url, offset, .. }, style } = self;
        match style {
            Style::Names => name.clone(),
            Style::Long => {
                let size = size.map(|n| n.to_string()).unwrap_or_default();
                let lies = match (url, offset) {
                    (Some(url), Some(offset)) => format!("  {url} from {offset}"),
                    _ => String::new(),
                };
                format!("{kind:9} {size:>12}  {name}{lies}")
            }
        }
    }
}
