//! `firn stat`

use clap::Args;
use futures::TryStreamExt;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::history::VersionRow;
use super::locate::Context;
use super::output::{Show, count};
use super::show::ContainerRow;
use super::value::{Pin, Value};
use firnline::{Entry, Error, Key, Origin, Source, Validator};

#[derive(Debug, Args)]
pub(super) struct Stat {
    /// The revision to read
    #[arg(value_name = "REV")]
    revision: String,
    /// The key of the value
    key: String,
    /// Find the last commit that changed the key; this may read every commit since then
    #[arg(long)]
    last_change: bool,
}

impl Stat {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let key = Key::new(self.key)?;
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let origin = snapshot.origin(&key).await?;
        let Origin { entry, source, .. } = origin.ok_or_else(|| Error::not_found(format!("{key} does not exist in {}", self.revision)))?;
        let mut value = Value::with_url(&entry, source.as_ref().map(|source| source.url.clone()));
        if let Entry::Inline(_) = entry {
            value.id = snapshot.value_id(&key).await?.map(|id| id.to_string());
        }
        let last_change = if self.last_change {
            let mut versions = std::pin::pin!(snapshot.key_history(&key));
            versions.try_next().await?.map(VersionRow::of)
        } else {
            None
        };
        let (container, file) = source.map(parts).unzip();
        context.out.show(&StatDocument { key: key.to_string(), value, container, file, last_change })?;
        Ok(Verdict::Fine)
    }
}

fn parts(source: Source) -> (ContainerRow, FileRow) {
    let Source { container, record, .. } = source;
    let (refs, bytes) = (record.refs, record.bytes);
    (ContainerRow::of(&container), FileRow { pin: Pin::of(Validator::of(&record)), refs, bytes })
}

/// Where a value comes from: kind and size; the id of its bytes, or its URL and offset.
#[derive(Debug, Serialize)]
struct StatDocument {
    key: String,
    #[serde(flatten)]
    value: Value,
    /// Of a virtual value; else null.
    container: Option<ContainerRow>,
    /// What is pinned of the file in which a virtual value lies; else null.
    file: Option<FileRow>,
    /// With `--last-change`: the commit that changed the key last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_change: Option<VersionRow>,
}

#[derive(Debug, Serialize)]
struct FileRow {
    #[serde(flatten)]
    pin: Pin,
    /// How many keys point into it.
    refs: u64,
    /// The sum of the lengths they point at.
    bytes: u64,
}

impl Show for StatDocument {
    fn text(&self) -> String {
        let Self { key, value, container, file, last_change } = self;
        let mut lines = vec![format!("key        {key}"), format!("kind       {}", value.kind)];
        lines.extend(value.size.map(|size| format!("size       {size}")));
        lines.extend(value.id.as_ref().map(|id| format!("id         {id}")));
        lines.extend(value.url.as_ref().map(|url| format!("url        {url}")));
        lines.extend(value.offset.map(|offset| format!("offset     {offset}")));
        lines.extend(container.as_ref().map(|c| format!("container  {}  {}", c.name, c.template)));
        if let Some(FileRow { pin, refs, bytes }) = file {
            lines.push(format!("file       {}", pin.brief()));
            lines.push(format!("depend     {} with {}", count(*refs, "key"), count(*bytes, "byte")));
        }
        lines.extend(last_change.as_ref().map(|change| format!("changed    {}", change.text())));
        lines.join("\n")
    }
}
