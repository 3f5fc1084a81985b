//! `firn show`

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::expire::ActRow;
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::{Show, count};
use super::withdraw::WithdrawnRow;
use firnline::{Container, Expiration, Snapshot, Totals};

#[derive(Debug, Args)]
pub(super) struct ShowCommit {
    /// The revision to read
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
}

impl ShowCommit {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let snapshot = context.record(&repository, &self.revision).await?;
        let expired = repository.known_retention().await?.expired(snapshot.id());
        let totals = if expired.is_none() { Some(snapshot.totals().await?) } else { None };
        context.out.show(&ShowDocument::of(&snapshot, totals, expired))?;
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
    /// By whom, when and why it was withdrawn; null if it was not.
    withdrawn: Option<WithdrawnRow>,
    /// The act by which its data was given up; null if it is kept.
    expired: Option<ActRow>,
}

#[derive(Debug, Serialize)]
struct ManifestRow {
    root: String,
    /// Null if the data of the version has expired; so are the other counts.
    keys: Option<u64>,
    /// The sum of the sizes of all values.
    bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct FilesRow {
    root: String,
    files: Option<u64>,
}

#[derive(Debug, Serialize)]
struct HistoryRow {
    root: String,
    commits: Option<u64>,
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
    fn of(snapshot: &Snapshot, totals: Option<Totals>, expired: Option<Expiration>) -> Self {
        let commit = snapshot.record();
        let (keys, bytes) = (totals.map(|totals| totals.keys), totals.map(|totals| totals.bytes));
        let (files, commits) = (totals.map(|totals| totals.files), totals.map(|totals| totals.ancestors));
        Self {
            id: snapshot.id().to_string(),
            time: commit.time.to_string(),
            message: commit.message.clone(),
            author: commit.author.clone(),
            meta: commit.meta.clone(),
            parents: commit.parents.iter().map(ToString::to_string).collect(),
            since: commit.since.map(|time| time.to_string()),
            hash: snapshot.repository().hash().name(),
            manifest: ManifestRow { root: commit.manifest.to_string(), keys, bytes },
            files: FilesRow { root: commit.files.to_string(), files },
            history: HistoryRow { root: commit.history.to_string(), commits },
            containers: commit.containers.iter().map(ContainerRow::of).collect(),
            places: commit.places.clone(),
            withdrawn: snapshot.withdrawn().map(WithdrawnRow::of),
            expired: expired.map(ActRow::of),
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
        let counted = |n: Option<u64>, noun: &str| n.map_or_else(|| "expired".to_owned(), |n| count(n, noun));
        let (keys, bytes) = (counted(manifest.keys, "key"), counted(manifest.bytes, "byte"));
        lines.push(format!("manifest  {}  {keys}, {bytes}", manifest.root));
        lines.push(format!("files     {}  {}", files.root, counted(files.files, "external file")));
        lines.push(format!("history   {}  {}", history.root, counted(history.commits, "commit")));
        for ContainerRow { name, template, defaults, options } in &self.containers {
            let settings = defaults.iter().chain(options).map(|(key, value)| format!("  {key}={value}"));
            lines.push(format!("container {name}  {template}{}", settings.collect::<String>()));
        }
        lines.extend(self.places.iter().map(|place| format!("place     {place}")));
        lines.extend(self.meta.iter().map(|(key, value)| format!("meta      {key}={value}")));
        lines.extend(self.expired.iter().map(|act| format!("expired   {}", act.sentence())));
        lines.extend(self.withdrawn.iter().map(|row| format!("withdrawn {}", row.text())));
        lines.push(String::new());
        lines.extend(self.message.lines().map(|line| format!("    {line}")));
        lines.join("\n")
    }
}
