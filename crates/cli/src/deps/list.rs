//! `firn deps`

use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::failure::{Stop, Verdict, explained};
use crate::locate::Context;
use crate::output::Show;
use crate::value::Pin;
use firnline::{Dependency, FileState, Validator};

#[derive(Debug, Args)]
pub(super) struct DepsList {
    /// The revision to read
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
    /// Ask every file whether it is what was pinned; exit with 1 if one is not, or cannot be asked
    #[arg(long)]
    check: bool,
}

/// How many files are asked at once.
const ASKED: usize = 16;

impl DepsList {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let found: Vec<Dependency> = snapshot.dependencies().try_collect().await?;
        let mut rows: Vec<DependencyRow> = found.iter().map(DependencyRow::of).collect();
        let mut verdict = Verdict::Fine;
        if self.check {
            let states = stream::iter(&found).map(|file| snapshot.check_dependency(file)).buffered(ASKED);
            for (row, check) in rows.iter_mut().zip(states.try_collect::<Vec<_>>().await?) {
                if check.state() != FileState::Unchanged {
                    verdict = Verdict::Found;
                }
                row.detail = check.problem().map(explained);
                row.state = Some(check.state().word());
            }
        }
        context.out.table(["FILE", "REFS", "BYTES", "SIZE", "MODIFIED", "PINNED", "STATE"], &rows, |row| {
            let known = |known: Option<String>| known.unwrap_or_else(|| "-".to_owned());
            let known_state = match row.pin {
                Pin { pinned: false, .. } => "unpinned",
                Pin { racy: true, .. } => "racy",
                _ => "",
            };
            let state = [row.state.unwrap_or(known_state), row.detail.as_deref().unwrap_or_default()].join(" ");
            let (refs, bytes, size) = (row.refs.to_string(), row.bytes.to_string(), known(row.pin.size.map(|n| n.to_string())));
            [row.url.clone(), refs, bytes, size, known(row.pin.modified.clone()), row.pin.pinned_at.clone(), state.trim().to_owned()]
        })?;
        Ok(verdict)
    }
}

/// An external file. What is not known of it is null.
#[derive(Debug, Serialize)]
struct DependencyRow {
    url: String,
    container: String,
    /// The arguments for the container's template.
    args: Vec<String>,
    /// How many keys point into it.
    refs: u64,
    /// The sum of the lengths they point at.
    bytes: u64,
    #[serde(flatten)]
    pin: Pin,
    /// With `--check`: `unchanged`, `changed`, `missing`, `corrupt`, `denied`, `unreachable` or `unverifiable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// With `--check`: what differs, or why the file could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl DependencyRow {
    fn of(found: &Dependency) -> Self {
        let Dependency { file, url, record, .. } = found;
        Self {
            url: url.clone(),
            container: file.container().to_owned(),
            args: file.args().map(str::to_owned).collect(),
            refs: record.refs,
            bytes: record.bytes,
            pin: Pin::of(Validator::of(record)),
            state: None,
            detail: None,
        }
    }
}

impl Show for DependencyRow {
    fn text(&self) -> String {
        self.url.clone()
    }
}
