//! Branches and tags as rows.

use std::collections::BTreeMap;

use serde::Serialize;

use super::output::Show;
use firnline::RefInfo;

/// A branch or a tag.
#[derive(Debug, Serialize)]
pub(super) struct RefRow {
    pub(super) name: String,
    pub(super) id: String,
    /// When the snapshot was committed.
    pub(super) time: String,
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
        Self { name: info.name.to_string(), id: info.tip.to_string(), time: info.time.to_string(), tag: None }
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
        format!("{}  {}  {}  {}", self.name, self.id, self.time, self.summary()).trim_end().to_owned()
    }
}
