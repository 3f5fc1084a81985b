//! `firn show`

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::{Show, count};
use firnline::{Container, Snapshot, Totals};

#[derive(Debug, Args)]
pub(super) struct ShowCommit {
    /// The revision to read
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
}

impl ShowCommit {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let totals = snapshot.totals().await?;
        context.out.show(&ShowDocument::of(&snapshot, totals))?;
        Ok(Verdict::Fine)
    }
}

/// Everything that a commit says. Nothing is absent; what is not known is null.
#[derive(Debug, Serialize)]
struct ShowDocument {
    id: String,
    time: String,
    message: String,
    author: Option<String>,
    meta: BTreeMap<String, String>,
    parents: Vec<String>,
    since: Option<String>,
    hash: &'static str,
    manifest: ManifestRow,
    files: FilesRow,
    history: HistoryRow,
    containers: Vec<ContainerRow>,
    /// The places that this line has ever pointed at.
    places: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ManifestRow {
    root: String,
    keys: u64,
    /// The sum of the sizes of all values.
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct FilesRow {
    root: String,
    files: u64,
}

#[derive(Debug, Serialize)]
struct HistoryRow {
    root: String,
    commits: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct ContainerRow {
    pub(super) name: String,
    pub(super) template: String,
    pub(super) defaults: BTreeMap<String, String>,
    pub(super) options: BTreeMap<String, String>,
}

impl ContainerRow {
    pub(super) fn of(container: &Container) -> Self {
        let Container { name, template, defaults, options } = container.clone();
        Self { name, template, defaults, options }
    }
}

impl ShowDocument {
    fn of(snapshot: &Snapshot, totals: Totals) -> Self {
        let commit = snapshot.record();
        Self {
            id: snapshot.id().to_string(),
            time: commit.time.to_string(),
            message: commit.message.clone(),
            author: commit.author.clone(),
            meta: commit.meta.clone(),
            parents: commit.parents.iter().map(ToString::to_string).collect(),
            since: commit.since.map(|time| time.to_string()),
            hash: snapshot.repository().hash().name(),
            manifest: ManifestRow { root: commit.manifest.to_string(), keys: totals.keys, bytes: totals.bytes },
            files: FilesRow { root: commit.files.to_string(), files: totals.files },
            history: HistoryRow { root: commit.history.to_string(), commits: totals.ancestors },
            containers: commit.containers.iter().map(ContainerRow::of).collect(),
            places: commit.places.clone(),
        }
    }
}

impl Show for ShowDocument {
    fn text(&self) -> String {
        let mut lines = vec![format!("snapshot  {}", self.id), format!("time      {}", self.time)];
        lines.extend(self.author.iter().map(|author| format!("author    {author}")));
        lines.extend(self.parents.iter().map(|parent| format!("parent    {parent}")));
        lines.extend(self.since.iter().map(|since| format!("since     {since} (what came before is not in this repository)")));
        let Self { manifest, files, history, .. } = self;
        let (keys, bytes) = (count(manifest.keys, "key"), count(manifest.bytes, "byte"));
        lines.push(format!("manifest  {}  {keys}, {bytes}", manifest.root));
        lines.push(format!("files     {}  {}", files.root, count(files.files, "external file")));
        lines.push(format!("history   {}  {}", history.root, count(history.commits, "commit")));
        for ContainerRow { name, template, defaults, options } in &self.containers {
            let settings = defaults.iter().chain(options).map(|(key, value)| format!("  {key}={value}"));
            lines.push(format!("container {name}  {template}{}", settings.collect::<String>()));
        }
        lines.extend(self.places.iter().map(|place| format!("place     {place}")));
        lines.extend(self.meta.iter().map(|(key, value)| format!("meta      {key}={value}")));
        lines.push(String::new());
        lines.extend(self.message.lines().map(|line| format!("    {line}")));
        lines.join("\n")
    }
}
