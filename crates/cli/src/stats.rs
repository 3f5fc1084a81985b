//! `firn stats`

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::{Show, count};
use firnline::{CountsByKind, KeyCounts, MapStats, ObjectCounts, Ref, Repository, Snapshot, StoredUsage};

#[derive(Debug, Args)]
#[command(after_help = "\
--unique and --refs read every version that the branches and tags lead to, and list all objects, as gc does.")]
pub(super) struct Stats {
    /// The revision to read
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
    /// Also count what no other version has: what gc would remove if this one expired
    #[arg(long)]
    unique: bool,
    /// Count what each branch and tag leads to instead, and what of that nothing else leads to
    #[arg(long, conflicts_with_all = ["revision", "unique"])]
    refs: bool,
}

impl Stats {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        if self.refs {
            return show_refs(context, &repository).await;
        }
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let stats = snapshot.stats().await?;
        let usage = if self.unique { Some(snapshot.stored_usage().await?) } else { None };
        context.out.show(&StatsDocument::of(&snapshot, &stats, usage.as_ref()))?;
        Ok(Verdict::Fine)
    }
}

/// What each branch and tag leads to.
async fn show_refs(context: &mut Context, repository: &Repository) -> Result<Verdict, Stop> {
    let branches = repository.branches().await?.into_iter().map(|branch| Ref::branch(branch.name));
    let tags = repository.tags().await?.into_iter().map(|tag| Ref::tag(tag.name));
    let mut rows = Vec::new();
    for name in branches.chain(tags).collect::<Vec<_>>() {
        rows.push(RefUsageRow::of(&name, &repository.stored_usage(&name).await?));
    }
    context.out.table(["REF", "OBJECTS", "BYTES", "UNIQUE OBJECTS", "UNIQUE BYTES"], &rows, RefUsageRow::cells)?;
    Ok(Verdict::Fine)
}

/// Objects of the store and their bytes.
#[derive(Debug, Clone, Copy, Serialize)]
struct StoredRow {
    objects: u64,
    bytes: u64,
}

impl From<ObjectCounts> for StoredRow {
    fn from(counts: ObjectCounts) -> Self {
        Self { objects: counts.objects, bytes: counts.bytes }
    }
}

/// By kind: `snapshots`, `manifests`, `files`, `history`, `chunks`, `moves`, `shallow`, `changes`.
type StoredKinds = BTreeMap<&'static str, StoredRow>;

fn stored(counts: &CountsByKind) -> StoredKinds {
    counts.iter().map(|(kind, counts)| (*kind, (*counts).into())).collect()
}

/// What a ref leads to.
#[derive(Debug, Serialize)]
struct RefUsageRow {
    /// `branch NAME` or `tag NAME`.
    #[serde(rename = "ref")]
    name: String,
    /// The objects that it leads to, each once.
    kinds: StoredKinds,
    objects: u64,
    bytes: u64,
    /// Those of them to which no other branch or tag leads.
    unique: StoredRow,
}

impl RefUsageRow {
    fn of(name: &Ref, usage: &StoredUsage) -> Self {
        let (all, unique) = (usage.stored_total(), usage.unique_total());
        Self { name: name.to_string(), kinds: stored(&usage.stored), objects: all.objects, bytes: all.bytes, unique: unique.into() }
    }

    fn cells(&self) -> [String; 5] {
        let numbers = [self.objects, self.bytes, self.unique.objects, self.unique.bytes].map(|n| n.to_string());
        let [objects, bytes, unique_objects, unique_bytes] = numbers;
        [self.name.clone(), objects, bytes, unique_objects, unique_bytes]
    }
}

impl Show for RefUsageRow {
    fn text(&self) -> String {
        self.cells().join("  ")
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
    /// With `--unique`: what the data of this version takes up, and what of that no other version has.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageRow>,
}

#[derive(Debug, Serialize)]
struct UsageRow {
    /// The objects that its data consists of, each once.
    stored: StoredRow,
    /// Those of them that no other version has.
    unique: StoredRow,
    /// The same by kind.
    kinds: StoredKinds,
}

impl UsageRow {
    fn of(usage: &StoredUsage) -> Self {
        Self { stored: usage.stored_total().into(), unique: usage.unique_total().into(), kinds: stored(&usage.unique) }
    }
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
    fn of(snapshot: &Snapshot, stats: &firnline::Stats, usage: Option<&StoredUsage>) -> Self {
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
            usage: usage.map(UsageRow::of),
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
        if let Some(UsageRow { stored, unique, kinds }) = &self.usage {
            let text = |row: &StoredRow| format!("{}, {}", count(row.objects, "object"), count(row.bytes, "byte"));
            lines.push(format!("stored      {}", text(stored)));
            lines.push(format!("unique      {}", text(unique)));
            lines.extend(kinds.iter().map(|(kind, row)| format!("  {kind:9} {}", text(row))));
        }
        lines.join("\n")
    }
}
