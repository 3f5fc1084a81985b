//! `firn tag`

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::Args;
use serde::Serialize;

use super::args::{fields, key_value};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use crate::refs::{RefName, TagInfo};
use crate::repository::{RefInfo, Repository, TagOptions};

#[derive(Debug, Args)]
pub(super) struct Tag {
    /// The tag to make or delete [without: list all]
    name: Option<RefName>,
    /// What it names
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
    /// Why it is made
    #[arg(short, long, default_value = "", requires = "name", conflicts_with = "delete")]
    message: String,
    /// Who makes it
    #[arg(long, requires = "name", conflicts_with = "delete")]
    author: Option<String>,
    /// A field of the tag; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value, requires = "name", conflicts_with = "delete")]
    meta: Vec<(String, String)>,
    /// Delete it
    #[arg(short, long, requires = "name")]
    delete: bool,
    /// Only say what would be deleted
    #[arg(long, requires = "delete")]
    dry_run: bool,
}

impl Tag {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let Some(name) = self.name else { return list(context).await };
        let repository = context.open_to_write().await?;
        if self.delete {
            return delete(context, &repository, &name, self.dry_run).await;
        }
        let target = context.snapshot(&repository, &self.revision).await?;
        let mut options = TagOptions::from(self.message);
        options.author = self.author;
        options.meta = fields(self.meta)?;
        repository.create_tag(&name, &target, options).await?;
        context.out.line(&target.id().to_string())?;
        Ok(Verdict::Fine)
    }
}

async fn delete(context: &mut Context, repository: &Repository, name: &RefName, dry_run: bool) -> Result<Verdict, Stop> {
    let tip = repository.read(&format!("tag:{name}")).await?.id();
    if dry_run {
        context.out.say(&format!("would delete tag {name} at {tip}"));
        return Ok(Verdict::Fine);
    }
    let about = repository.tags().await?.into_iter().find(|tag| tag.name == *name).and_then(|tag| tag.tag);
    let moved = repository.delete_tag(name).await?;
    let tip = moved.from.unwrap_or(tip);
    context.out.line(&tip.to_string())?;
    let again = about.map(|about| arguments(&about)).unwrap_or_default();
    context.out.say(&format!("deleted tag {name}; undo with: firn tag {name} {tip}{again}"));
    Ok(Verdict::Fine)
}

/// The arguments that make a tag say the same again.
fn arguments(about: &TagInfo) -> String {
    let mut text = String::new();
    if !about.message.is_empty() {
        let _ = write!(text, " -m {}", quoted(&about.message));
    }
    if let Some(author) = &about.author {
        let _ = write!(text, " --author {}", quoted(author));
    }
    for (key, value) in &about.meta {
        let _ = write!(text, " --meta {}", quoted(&format!("{key}={value}")));
    }
    text
}

/// One word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

async fn list(context: &mut Context) -> Result<Verdict, Stop> {
    let tags = context.open_to_read().await?.tags().await?;
    let rows: Vec<_> = tags.into_iter().map(Row::of).collect();
    context.out.table(["TAG", "SNAPSHOT", "TIME", "MESSAGE"], &rows, |row| {
        let summary = row.message.lines().next().unwrap_or_default().to_owned();
        [row.name.clone(), row.id.clone(), row.time.clone(), summary]
    })?;
    Ok(Verdict::Fine)
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    id: String,
    /// When the snapshot was committed.
    time: String,
    /// When the tag was made.
    tagged_at: Option<String>,
    message: String,
    author: Option<String>,
    meta: BTreeMap<String, String>,
}

impl Row {
    fn of(info: RefInfo) -> Self {
        let (name, id, time) = (info.name.to_string(), info.tip.to_string(), info.time.to_string());
        let tagged_at = info.tag.as_ref().map(|tag| tag.time.to_string());
        let (message, author, meta) = info.tag.map(|tag| (tag.message, tag.author, tag.meta)).unwrap_or_default();
        Self { name, id, time, tagged_at, message, author, meta }
    }
}

impl Show for Row {
    fn text(&self) -> String {
        format!("{}  {}  {}  {}", self.name, self.id, self.time, self.message)
    }
}
