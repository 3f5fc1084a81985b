//! `firn deps check`

use std::collections::BTreeMap;

use clap::Args;
use futures::TryStreamExt;
use serde::Serialize;

use super::list::{DependencyRow, FILE_COLUMNS};
use super::rows::{ListFormat, ListPrinter, ListRow};
use crate::failure::{Stop, Verdict, explained};
use crate::locate::Context;
use crate::output::{Show, count};
use crate::parquet::{Cell, CellKind};
use firnline::{CheckOptions, CheckedDependency, FileState, Sample};

#[derive(Debug, Args)]
pub(super) struct DepsCheck {
    /// The revision to read
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
    /// Check so many files of a hundred, at least one, the same ones every time
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    sample: Option<f64>,
    /// Draw other files
    #[arg(long, value_name = "NUMBER", default_value_t = 0, requires = "sample")]
    seed: u64,
    /// Verify locked digests: read each of those files whole
    #[arg(long)]
    digest: bool,
    #[command(flatten)]
    format: ListFormat,
}

/// Reads `10` or `10%`.
fn percent(text: &str) -> Result<f64, String> {
    text.strip_suffix('%').unwrap_or(text).trim().parse().map_err(|_| "is not a number of percent".to_owned())
}

impl DepsCheck {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let mut options = CheckOptions::default();
        options.sample = self.sample.map(|percent| Sample { percent, seed: self.seed });
        options.digests = self.digest;
        let mut checks = std::pin::pin!(snapshot.check_dependencies(&options)?);
        let mut list = ListPrinter::begin::<CheckedRow>(&self.format, &mut context.out)?;
        let mut summary = CheckSummary::default();
        while let Some(checked) = checks.try_next().await? {
            let row = CheckedRow::of(checked);
            summary.files += 1;
            *summary.states.entry(row.state).or_default() += 1;
            list.push(&mut context.out, &row)?;
        }
        list.end(&mut context.out)?;
        let is_fine = summary.states.keys().all(|state| *state == FileState::Unchanged.word());
        context.out.say_item(&CheckSummaryRow { checked: summary });
        Ok(if is_fine { Verdict::Fine } else { Verdict::Found })
    }
}

/// A file, and what became of it.
#[derive(Debug, Serialize)]
struct CheckedRow {
    #[serde(flatten)]
    file: DependencyRow,
    /// `ok`, `changed`, `missing`, `corrupt`, `forbidden`, `unreachable` or `unverifiable`.
    state: &'static str,
    /// What differs, or why the file could not be verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl CheckedRow {
    fn of(checked: CheckedDependency) -> Self {
        let CheckedDependency { dependency, check, .. } = checked;
        let detail = check.problem().map(explained);
        Self { file: DependencyRow::of(dependency), state: check.state().word(), detail }
    }
}

impl Show for CheckedRow {
    fn text(&self) -> String {
        self.file.text()
    }
}

impl ListRow<15, 3> for CheckedRow {
    const COLUMNS: [(&'static str, CellKind); 15] = {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m] = FILE_COLUMNS;
        [a, b, c, d, e, f, g, h, i, j, k, l, m, ("state", CellKind::Text), ("detail", CellKind::Text)]
    };
    const HEAD: [&'static str; 3] = ["STATE", "FILE", "DETAIL"];

    fn cells(&self) -> [Cell; 15] {
        let more = [Cell::Text(Some(self.state.to_owned())), Cell::Text(self.detail.clone())];
        let all: Vec<Cell> = self.file.cells().into_iter().chain(more).collect();
        all.try_into().expect("13 columns of a file and 2 more")
    }

    fn texts(&self) -> [String; 3] {
        [self.state.to_owned(), self.file.url.clone(), self.detail.clone().unwrap_or_default()]
    }
}

#[derive(Serialize)]
struct CheckSummaryRow {
    checked: CheckSummary,
}

/// How many files were in which state.
#[derive(Debug, Default, Serialize)]
struct CheckSummary {
    files: u64,
    /// By state; states in which no file was are left out.
    states: BTreeMap<&'static str, u64>,
}

impl Show for CheckSummaryRow {
    fn text(&self) -> String {
        let CheckSummary { files, states } = &self.checked;
        let states: Vec<_> = states.iter().map(|(state, n)| format!("{n} {state}")).collect();
        let states = if states.is_empty() { String::new() } else { format!(": {}", states.join(", ")) };
        format!("{} checked{states}", count(*files, "file"))
    }
}
