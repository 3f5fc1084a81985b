//! `firn tag`

use std::fmt::Write;

use clap::Args;

use super::args::{fields, key_value};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::quoted;
use super::refs::{RefRow, deleted, place};
use firnline::{Ref, RefName, Repository, TagInfo, TagOptions};

#[derive(Debug, Args)]
pub(super) struct Tag {
    /// The tag to make or delete [without: list all]
    name: Option<RefName>,
    /// What it names [default: main]
    #[arg(value_name = "REV", conflicts_with = "delete")]
    revision: Option<String>,
    /// Why it is made
    #[arg(short, long, default_value = "", requires = "name", conflicts_with = "delete")]
    message: String,
    /// Who makes it
    #[arg(long, requires = "name", conflicts_with = "delete")]
    author: Option<String>,
    /// A field of the tag; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value, requires = "name", conflicts_with = "delete")]
    meta: Vec<(String, String)>,
    /// Delete it, also when it is damaged
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
        let target = context.snapshot(&repository, self.revision.as_deref().unwrap_or("main")).await?;
        let mut options = TagOptions::from(self.message);
        options.author = self.author;
        options.meta = fields("--meta", self.meta)?;
        repository.create_tag(&name, &target, options).await?;
        context.out.line(&target.id().to_string())?;
        Ok(Verdict::Fine)
    }
}

async fn delete(context: &mut Context, repository: &Repository, name: &RefName, dry_run: bool) -> Result<Verdict, Stop> {
    let reference = Ref::tag(name.clone());
    let before = repository.ref_info(&reference).await?;
    if dry_run {
        context.out.say(&format!("would delete {reference} at {}", place(&before)));
        return Ok(Verdict::Fine);
    }
    let again = before.tag.as_ref().map(arguments).unwrap_or_default();
    let moved = repository.delete_tag(name).await?;
    deleted(context, &reference, &before, &moved, &again)
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

async fn list(context: &mut Context) -> Result<Verdict, Stop> {
    let tags = context.open_to_read().await?.tags().await?;
    let rows: Vec<_> = tags.iter().map(RefRow::tag).collect();
    let cells = |row: &RefRow| [row.name.clone(), row.snapshot(), row.when(), row.summary()];
    context.out.table(["TAG", "SNAPSHOT", "TIME", "MESSAGE"], &rows, cells)?;
    Ok(Verdict::Fine)
}
