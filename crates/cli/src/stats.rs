//! `firn stats`

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::{Show, count};
use firnline::{KeyCounts, MapStats, Snapshot};

#[derive(Debug, Args)]
pub(super) struct Stats {
    /// The revision to read
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
}

impl Stats {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let stats = snapshot.stats().await?;
        context.out.show(&StatsDocument::of(&snapshot, &stats))?;
        Ok(Verdict::Fine)
    }
}

#[derive(Debug, Serialize)]
struct StatsDocument {
    id: String,
    /// By kind: `inline`, `chunk`, `virtual`.
    kinds: BTreeMap<&'static str, CountsRow>,
    /// The Zarr arrays, metadata included.
    arrays: Vec<ArrayRow>,
    /// Keys outside of arrays.
    other: CountsRow,
    manifest: MapRow,
    files: MapRow,
    history: MapRow,
    containers: u64,
}

#[derive(Debug, Serialize)]
struct CountsRow {
    keys: u64,
    /// The sum of the sizes of their values.
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct ArrayRow {
    name: String,
    #[serde(flatten)]
    counts: CountsRow,
}

#[derive(Debug, Serialize)]
struct MapRow {
    entries: u64,
    nodes: u64,
    depth: u64,
    /// The lengths of the stored objects together, in bytes.
    stored: u64,
    /// That by the number of entries; null when there are none.
    stored_per_entry: Option<f64>,
}

impl CountsRow {
    fn of(counts: KeyCounts) -> Self {
        Self { keys: counts.keys, bytes: counts.bytes }
    }

    fn text(&self) -> String {
        format!("{}, {}", count(self.keys, "key"), count(self.bytes, "byte"))
    }
}

impl MapRow {
    fn of(map: MapStats) -> Self {
        let MapStats { entries, nodes, depth, stored, .. } = map;
        Self { entries, nodes, depth, stored, stored_per_entry: map.stored_per_entry() }
    }

    fn text(&self, noun: &str) -> String {
        let Self { entries, nodes, depth, stored, stored_per_entry } = self;
        let each = stored_per_entry.map(|each| format!(", {each:.1} each")).unwrap_or_default();
        format!("{} in {} of depth {depth}, stored in {}{each}", count(*entries, noun), count(*nodes, "node"), count(*stored, "byte"))
    }
}

impl StatsDocument {
    fn of(snapshot: &Snapshot, stats: &firnline::Stats) -> Self {
        let arrays =
            stats.arrays.iter().map(|(prefix, counts)| ArrayRow { name: prefix.as_str().to_owned(), counts: CountsRow::of(*counts) });
        Self {
            id: snapshot.id().to_string(),
            kinds: stats.kinds.iter().map(|(kind, counts)| (kind.word(), CountsRow::of(*counts))).collect(),
            arrays: arrays.collect(),
            other: CountsRow::of(stats.other),
            manifest: MapRow::of(stats.manifest),
            files: MapRow::of(stats.files),
            history: MapRow::of(stats.history),
            containers: stats.containers,
        }
    }
}

impl Show for StatsDocument {
    fn text(&self) -> String {
        let mut lines = vec![format!("snapshot    {}", self.id)];
        lines.extend(self.kinds.iter().map(|(kind, counts)| format!("{kind:11} {}", counts.text())));
        lines.extend(self.arrays.iter().map(|array| format!("array       {}  {}", array.name, array.counts.text())));
        lines.push(format!("other       {}", self.other.text()));
        lines.push(format!("manifest    {}", self.manifest.text("key")));
        lines.push(format!("files       {}", self.files.text("external file")));
        lines.push(format!("history     {}", self.history.text("commit")));
        lines.push(format!("containers  {}", self.containers));
        lines.join("\n")
    }
}
