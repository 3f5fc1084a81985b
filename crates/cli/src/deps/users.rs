//! `firn deps who-uses`

use clap::Args;
use futures::TryStreamExt;
use serde::Serialize;

use super::by::CountedRow;
use super::rows::{ListFormat, ListPrinter, ListRow};
use crate::failure::{Stop, Verdict};
use crate::locate::Context;
use crate::output::{Show, count, quoted};
use crate::parquet::{Cell, CellKind};
use firnline::{KeyUse, PlaceUse, Ref, RefUse, Repository, Timestamp, VersionUse};

#[derive(Debug, Args)]
pub(super) struct WhoUses {
    /// A file, or something above files
    #[arg(value_name = "URL")]
    url: String,
    /// List also the versions before the latest ones, which could not be read any more without the file
    #[arg(long)]
    all_history: bool,
    /// List the keys that point into such files, by one scan of the manifests of the latest versions
    #[arg(long, conflicts_with = "all_history")]
    keys: bool,
    #[command(flatten)]
    format: ListFormat,
}

impl WhoUses {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        if self.keys {
            return self.list_keys(&repository, context).await;
        }
        let used = repository.who_uses(&self.url, self.all_history).await?;
        let mut list = ListPrinter::begin::<UseRow>(&self.format, &mut context.out)?;
        for found in &used.refs {
            list.push(&mut context.out, &UseRow::of_ref(found))?;
        }
        for found in &used.versions {
            list.push(&mut context.out, &UseRow::of_version(found))?;
        }
        list.end(&mut context.out)?;
        if let Some(since) = used.since {
            context.out.say(&format!("some versions before {since} are not in this repository and were not asked"));
        }
        if used.is_used() {
            return Ok(Verdict::Found);
        }
        context.out.say(&self.nothing(&used));
        Ok(Verdict::Fine)
    }

    async fn list_keys(&self, repository: &Repository, context: &mut Context) -> Result<Verdict, Stop> {
        let mut list = ListPrinter::begin::<KeyUseRow>(&self.format, &mut context.out)?;
        let mut keys = std::pin::pin!(repository.keys_using(&self.url).await?);
        let mut verdict = Verdict::Fine;
        while let Some(found) = keys.try_next().await? {
            verdict = Verdict::Found;
            list.push(&mut context.out, &KeyUseRow::of(found))?;
        }
        list.end(&mut context.out)?;
        Ok(verdict)
    }

    /// What was asked, when nothing uses the file.
    fn nothing(&self, used: &PlaceUse) -> String {
        let asked = if self.all_history {
            format!("{} of {}", count(used.asked_versions, "version"), branches_and_tags(used.asked_refs))
        } else {
            format!("the latest version of {}", branches_and_tags(used.asked_refs))
        };
        let how = if used.is_in_a_container { "" } else { ": none of their containers has such a file" };
        format!("nothing uses {}{how} (asked: {asked})", quoted(&self.url))
    }
}

fn branches_and_tags(n: u64) -> String {
    if n == 1 { "1 branch or tag".to_owned() } else { format!("{n} branches and tags") }
}

/// A branch, a tag or a version that uses files.
#[derive(Debug, Serialize)]
struct UseRow {
    /// `branch`, `tag` or `version`.
    what: &'static str,
    /// Of a branch or tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    id: String,
    time: String,
    /// The first line of the message of a version.
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(flatten)]
    counts: CountedRow,
    #[serde(skip)]
    at: Timestamp,
}

impl UseRow {
    fn of_ref(found: &RefUse) -> Self {
        let Ref { kind, name, .. } = &found.reference;
        let (id, time) = (found.at.id.to_string(), found.at.time.to_string());
        Self {
            what: kind.word(),
            name: Some(name.to_string()),
            id,
            time,
            summary: None,
            counts: CountedRow::of(found.counts),
            at: found.at.time,
        }
    }

    fn of_version(found: &VersionUse) -> Self {
        let (id, time, summary) = (found.at.id.to_string(), found.at.time.to_string(), Some(found.at.summary.clone()));
        Self { what: "version", name: None, id, time, summary, counts: CountedRow::of(found.counts), at: found.at.time }
    }
}

impl Show for UseRow {
    fn text(&self) -> String {
        self.id.clone()
    }
}

impl ListRow<8, 7> for UseRow {
    const COLUMNS: [(&'static str, CellKind); 8] = [
        ("what", CellKind::Text),
        ("name", CellKind::Text),
        ("id", CellKind::Text),
        ("time", CellKind::Time),
        ("summary", CellKind::Text),
        ("files", CellKind::Number),
        ("refs", CellKind::Number),
        ("bytes", CellKind::Number),
    ];
    const HEAD: [&'static str; 7] = ["WHAT", "NAME", "ID", "TIME", "FILES", "REFS", "BYTES"];

    fn cells(&self) -> [Cell; 8] {
        let [files, refs, bytes] = self.counts.cells();
        let (what, id) = (Cell::Text(Some(self.what.to_owned())), Cell::Text(Some(self.id.clone())));
        [what, Cell::Text(self.name.clone()), id, Cell::Time(Some(self.at)), Cell::Text(self.summary.clone()), files, refs, bytes]
    }

    fn texts(&self) -> [String; 7] {
        let [files, refs, bytes] = self.counts.texts();
        let name = self.name.clone().or_else(|| self.summary.clone()).unwrap_or_default();
        [self.what.to_owned(), name, self.id.clone(), self.time.clone(), files, refs, bytes]
    }
}

/// A key that points into a file.
#[derive(Debug, Serialize)]
struct KeyUseRow {
    key: String,
    url: String,
    offset: u64,
    length: u64,
    /// `branch:NAME` and `tag:NAME`, in whose latest versions it does so.
    refs: Vec<String>,
}

impl KeyUseRow {
    fn of(found: KeyUse) -> Self {
        let KeyUse { key, url, offset, length, refs, .. } = found;
        let refs = refs.iter().map(|of| format!("{}:{}", of.kind, of.name)).collect();
        Self { key: key.as_str().to_owned(), url, offset, length, refs }
    }
}

impl Show for KeyUseRow {
    fn text(&self) -> String {
        self.key.clone()
    }
}

impl ListRow<5, 5> for KeyUseRow {
    const COLUMNS: [(&'static str, CellKind); 5] = [
        ("key", CellKind::Text),
        ("url", CellKind::Text),
        ("offset", CellKind::Number),
        ("length", CellKind::Number),
        ("refs", CellKind::Text),
    ];
    const HEAD: [&'static str; 5] = ["KEY", "URL", "OFFSET", "LENGTH", "REFS"];

    fn cells(&self) -> [Cell; 5] {
        let text = |text: String| Cell::Text(Some(text));
        let [offset, length] = [self.offset, self.length].map(|n| Cell::Number(Some(n)));
        [text(self.key.clone()), text(self.url.clone()), offset, length, text(self.refs.join(" "))]
    }

    fn texts(&self) -> [String; 5] {
        [self.key.clone(), self.url.clone(), self.offset.to_string(), self.length.to_string(), self.refs.join(" ")]
    }
}
