//! Branches and tags as rows.

use std::collections::BTreeMap;

use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use firnline::{ErrorKind, Move, Ref, RefInfo, printable_line};

/// A branch or a tag.
#[derive(Debug, Serialize)]
pub(super) struct RefRow {
    pub(super) name: String,
    /// Null when the ref's record cannot be read.
    pub(super) id: Option<String>,
    /// When the snapshot was committed; null when it cannot be read.
    pub(super) time: Option<String>,
    /// Why the ref or its snapshot cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) damage: Option<String>,
    /// Whether it was read and is not what it should be, and not that it cannot be read.
    #[serde(skip)]
    is_damaged: bool,
    /// Of a tag.
    #[serde(flatten)]
    pub(super) tag: Option<TagRow>,
}

/// What only a tag has.
#[derive(Debug, Default, Serialize)]
pub(super) struct TagRow {
    /// When the tag was made.
    tagged_at: Option<String>,
    pub(super) message: String,
    author: Option<String>,
    meta: BTreeMap<String, String>,
}

impl RefRow {
    pub(super) fn branch(info: &RefInfo) -> Self {
        Self {
            name: info.name.to_string(),
            id: info.tip.map(|id| id.to_string()),
            time: info.time.map(|time| time.to_string()),
            damage: info.damage.as_ref().map(ToString::to_string),
            is_damaged: info.damage.as_ref().is_some_and(|error| matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported)),
            tag: None,
        }
    }

    /// The cell of the snapshot's id.
    pub(super) fn snapshot(&self) -> String {
        self.id.clone().unwrap_or_else(|| "-".to_owned())
    }

    /// The cell of the time; of a damaged ref, what is wrong.
    pub(super) fn when(&self) -> String {
        match (&self.time, &self.damage) {
            (Some(time), _) => time.clone(),
            (None, Some(damage)) => format!("{}: {}", if self.is_damaged { "DAMAGED" } else { "UNREADABLE" }, printable_line(damage)),
            (None, None) => "-".to_owned(),
        }
    }

    pub(super) fn tag(info: &RefInfo) -> Self {
        let about = info.tag.as_ref().map(|tag| TagRow {
            tagged_at: Some(tag.time.to_string()),
            message: tag.message.clone(),
            author: tag.author.clone(),
            meta: tag.meta.clone(),
        });
        Self { tag: Some(about.unwrap_or_default()), ..Self::branch(info) }
    }

    /// The first line of a tag's message.
    pub(super) fn summary(&self) -> String {
        let message = self.tag.as_ref().map(|tag| tag.message.as_str()).unwrap_or_default();
        message.lines().next().unwrap_or_default().to_owned()
    }
}

impl Show for RefRow {
    fn text(&self) -> String {
        format!("{}  {}  {}  {}", self.name, self.snapshot(), self.when(), self.summary()).trim_end().to_owned()
    }
}

/// Where a ref points, for a message.
pub(super) fn place(info: &RefInfo) -> String {
    match (info.tip, &info.damage) {
        (Some(tip), None) => tip.to_string(),
        (Some(tip), Some(_)) => format!("{tip}, which cannot be read"),
        (None, _) => "a snapshot that its damaged record does not tell".to_owned(),
    }
}

/// Says that a ref was deleted, and how to make it again with the `arguments` that it needs.
pub(super) fn deleted(context: &mut Context, name: &Ref, before: &RefInfo, moved: &Move, arguments: &str) -> Result<Verdict, Stop> {
    let tip = moved.from.or(before.tip);
    context.out.line(&tip.map_or_else(|| "-".to_owned(), |tip| tip.to_string()))?;
    match tip.filter(|_| before.damage.is_none()) {
        Some(tip) => context.out.say(&format!("deleted {name}; undo with: firn {} {} {tip}{arguments}", name.kind, name.name)),
        None => context.out.say(&format!("deleted {name}, which pointed at {}", place(before))),
    }
    Ok(Verdict::Fine)
}
