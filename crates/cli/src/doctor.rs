//! `firn doctor`

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use firnline::storage::doctor::{Health, Observation, OtherProcess, examine, lock_once};
use firnline::{Error, ErrorDetail, GcActivity, OpenOptions, Repository, Result};

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The place [else: the repository]
    #[arg(value_name = "URL")]
    place: Option<String>,
    /// Try to lock a file, for another process that asks
    #[arg(long, hide = true, value_name = "FILE")]
    lock: Option<PathBuf>,
}

impl Doctor {
    /// Prints one row for each property; exits with 1 when one is bad.
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        if let Some(path) = self.lock {
            return Ok(if lock_once(&path)? { Verdict::Fine } else { Verdict::Found });
        }
        let place = match self.place {
            Some(place) => place,
            None => context.place()?,
        };
        let options = context.options()?;
        let other: OtherProcess = Box::new(another_process_locks);
        let seen = examine(&place, options.local.clone(), &options.cloud, options.clock.clone(), other).await?;
        let mut rows: Vec<_> = seen.iter().map(DoctorRow::of).collect();
        rows.extend(collection(&place, options).await);
        context
            .out
            .table(["PROPERTY", "STATE", "DETAIL"], &rows, |row| [row.property.to_owned(), row.state.to_owned(), row.detail.clone()])?;
        Ok(if rows.iter().any(|row| row.state == Health::Bad.word()) { Verdict::Found } else { Verdict::Fine })
    }
}

/// Whether garbage is being collected in the repository; `None` where there is none.
async fn collection(place: &str, options: OpenOptions) -> Option<DoctorRow> {
    let row = |health: Health, detail| Some(DoctorRow { property: "collection", state: health.word(), detail });
    let status = match Repository::open_with(place, options).await {
        Ok(repository) => repository.gc_status().await,
        Err(error) if matches!(error.detail(), Some(ErrorDetail::NoRepository)) => return None,
        Err(error) => Err(error),
    };
    let status = match status {
        Ok(status) => status,
        Err(error) => return row(Health::Bad, error.to_string()),
    };
    let (epoch, phase) = (status.epoch, if status.is_removing { "and removes objects" } else { "and has removed nothing yet" });
    match status.activity {
        GcActivity::Idle if epoch == 0 => row(Health::Good, "no garbage was ever collected".to_owned()),
        GcActivity::Idle => row(Health::Good, format!("none is under way; the last one was number {epoch}")),
        GcActivity::UnderWay => row(Health::Good, format!("number {epoch} is under way, {phase}")),
        GcActivity::Left => row(
            Health::Bad,
            format!(
                "number {epoch} was begun, {phase}, and its process is gone; writers that need what it condemns wait; end it with: firn gc"
            ),
        ),
        _ => row(Health::Unknown, format!("number {epoch} was begun, {phase}; whether its process is gone is found out by: firn gc")),
    }
}

/// Runs this program again, to lock `path`.
fn another_process_locks(path: &Path) -> Result<bool> {
    let unavailable = |e: std::io::Error| Error::unavailable("no second process can be started to try locks").caused_by(e);
    let program = std::env::current_exe().map_err(unavailable)?;
    let mut command = Command::new(program);
    command.args(["doctor", "--lock"]).arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status().map_err(unavailable)?.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(Error::unavailable("the second process could not try the lock")),
    }
}

#[derive(Debug, Serialize)]
struct DoctorRow {
    property: &'static str,
    /// `good`, `bad` or `unknown`.
    state: &'static str,
    detail: String,
}

impl DoctorRow {
    fn of(seen: &Observation) -> Self {
        Self { property: seen.property, state: seen.health.word(), detail: seen.detail.clone() }
    }
}

impl Show for DoctorRow {
    fn text(&self) -> String {
        format!("{} {}: {}", self.property, self.state, self.detail)
    }
}
