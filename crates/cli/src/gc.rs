//! `firn gc`

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::{Show, count};
use super::span::parse_span;
use firnline::{GcOptions, GcPlan, GcRepaired, GcReport, ObjectCounts, printable_line};

#[derive(Debug, Args)]
pub(super) struct Gc {
    /// Remove nothing, and print what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Leave garbage that was written since, because a writer may be about to commit it: 90m, 36h, 7d, or 0
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = parse_span)]
    grace: Duration,
    /// Wait at least so long after the last removal, in stores that carry out requests late [else: what the store needs]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    wait: Option<Duration>,
    /// Remove nothing, and make the register of collections (gc/state.json) anew if it is damaged or was lost; in object stores this takes
    /// 26 minutes
    #[arg(long, conflicts_with_all = ["dry_run", "grace"])]
    repair: bool,
}

impl Gc {
    /// Exits with 1 when something could not be removed.
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let mut options = GcOptions::default().grace(self.grace);
        if let Some(wait) = self.wait {
            options = options.wait(wait);
        }
        if self.dry_run {
            let plan = context.open_to_read().await?.plan_gc(&options).await?;
            context.out.show(&GcDocument::of_plan(&plan))?;
            return Ok(Verdict::Fine);
        }
        let repository = context.open_to_write().await?;
        if self.repair {
            context.out.show(&RepairDocument::of(repository.repair_gc(&options).await?))?;
            return Ok(Verdict::Fine);
        }
        context.collects(options.handle());
        let planned = repository.begin_gc(&options).await?;
        context.out.note(&format!("to be removed: {}", shown(planned.plan().garbage_total())));
        let report = planned.execute().await?;
        context.out.show(&GcDocument::of(&report))?;
        Ok(if report.failed > 0 { Verdict::Found } else { Verdict::Fine })
    }
}

fn shown(counts: ObjectCounts) -> String {
    format!("{}, {}", count(counts.objects, "object"), count(counts.bytes, "byte"))
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct ObjectRow {
    objects: u64,
    bytes: u64,
}

impl From<ObjectCounts> for ObjectRow {
    fn from(counts: ObjectCounts) -> Self {
        Self { objects: counts.objects, bytes: counts.bytes }
    }
}

#[derive(Debug, Default, Serialize)]
struct KindRow {
    stored: ObjectRow,
    garbage: ObjectRow,
    removed: ObjectRow,
}

#[derive(Debug, Serialize)]
struct GcDocument {
    /// The number of the collection; 0 when there was nothing to remove.
    epoch: u64,
    dry_run: bool,
    refs: u64,
    versions: u64,
    /// Of these, those that have expired, so that their data is garbage.
    expired: u64,
    /// By kind: `snapshots`, `manifests`, `files`, `history`, `chunks`, `moves`, `shallow`, `changes`.
    kinds: BTreeMap<&'static str, KindRow>,
    /// Garbage that is too young to be removed.
    young: ObjectRow,
    /// Objects that are not the repository's.
    foreign: ObjectRow,
    /// Objects that a writer published meanwhile.
    saved: u64,
    /// Objects that could not be removed.
    failed: u64,
    /// Why the last of them could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// How long it took, in seconds; 0 for a dry run.
    seconds: f64,
    /// Whether a collection that another process had left unfinished was ended first.
    resumed: bool,
}

impl GcDocument {
    fn of_plan(plan: &GcPlan) -> Self {
        let mut kinds = BTreeMap::<_, KindRow>::new();
        for (kind, counts) in &plan.stored {
            kinds.entry(*kind).or_default().stored = (*counts).into();
        }
        for (kind, counts) in &plan.garbage {
            kinds.entry(*kind).or_default().garbage = (*counts).into();
        }
        Self {
            epoch: 0,
            dry_run: true,
            refs: plan.refs,
            versions: plan.versions,
            expired: plan.expired,
            kinds,
            young: plan.young.into(),
            foreign: plan.foreign.into(),
            saved: 0,
            failed: 0,
            problem: None,
            seconds: 0.0,
            resumed: false,
        }
    }

    fn of(report: &GcReport) -> Self {
        let mut document = Self::of_plan(&report.plan);
        for (kind, counts) in &report.removed {
            document.kinds.entry(*kind).or_default().removed = (*counts).into();
        }
        let (epoch, saved, failed, problem, resumed) = (report.epoch, report.saved, report.failed, report.problem.clone(), report.resumed);
        Self { epoch, dry_run: false, saved, failed, problem, seconds: report.took.as_secs_f64(), resumed, ..document }
    }
}

#[derive(Debug, Serialize)]
struct RepairDocument {
    /// What was wrong; nothing was, and nothing was changed, where there is none.
    wrong: Option<String>,
    /// The number of the last collection, as the register says now.
    epoch: u64,
}

impl RepairDocument {
    fn of(repaired: GcRepaired) -> Self {
        Self { wrong: repaired.wrong, epoch: repaired.epoch }
    }
}

impl Show for RepairDocument {
    fn text(&self) -> String {
        let Self { wrong, epoch } = self;
        match wrong {
            None => format!("nothing is wrong with the register of collections; the last one was number {epoch}"),
            Some(wrong) => format!("{}\nmade anew: the next collection is number {}", printable_line(wrong), epoch + 1),
        }
    }
}

impl Show for GcDocument {
    fn text(&self) -> String {
        let what = if self.dry_run { "would be removed" } else { "removed" };
        let mut lines = Vec::new();
        for (kind, row) in &self.kinds {
            let gone = if self.dry_run { row.garbage } else { row.removed };
            let KindRow { stored, .. } = row;
            lines.push(format!("{kind}: {} of {}, {}, {what}", gone.objects, count(stored.objects, "object"), count(gone.bytes, "byte")));
        }
        if self.young.objects > 0 {
            lines.push(format!("left, because it is young: {}", shown_row(self.young)));
        }
        if self.foreign.objects > 0 {
            lines.push(format!("left, because it is not the repository's: {}", shown_row(self.foreign)));
        }
        if self.saved > 0 {
            lines.push(format!("left, because a writer has published it meanwhile: {}", count(self.saved, "object")));
        }
        if let Some(problem) = &self.problem {
            lines.push(format!("not removed: {}: {problem}", count(self.failed, "object")));
        }
        lines.join("\n")
    }
}

fn shown_row(row: ObjectRow) -> String {
    format!("{}, {}", count(row.objects, "object"), count(row.bytes, "byte"))
}
