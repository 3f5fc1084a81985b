//! `firn bisect`

use std::process::{ExitStatus, Stdio};

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::{Show, count};
use firnline::{BisectVerdict, Bisection, Error, LogEntry, SnapshotId};

/// The status by which a command says that it cannot tell, as for git.
const CANNOT_TELL: i32 = 125;
/// The largest status that says that a version is bad, as it is; larger ones end the search.
const BAD: i32 = 125;
/// The statuses by which a shell says that a command cannot be run, or was not found.
const NOT_RUN: std::ops::RangeInclusive<i32> = 126..=127;

#[derive(Debug, Args)]
#[command(after_help = "\
With CMD: runs it for one version after the other, with FIRN_REV set to the id of the version and FIRN_REPO to the repository, and prints
the first bad one. Status 0 means good, 125 that it cannot be told, any other up to 127 bad; a larger one ends the search. So do 126 and 127,
with which a shell ends if it cannot run a command, if CMD ends so for GOOD too. What CMD prints goes to standard error. Ends with status 1 if only versions that cannot be told are left before the first that is known to be bad.

Without CMD: prints the version in the middle. Look at it and run the same again with it in the place of GOOD or BAD.")]
pub(super) struct Bisect {
    /// A version that is as it should be, before BAD on its line
    #[arg(value_name = "GOOD")]
    good: String,
    /// A version that is not
    #[arg(value_name = "BAD")]
    bad: String,
    /// A version that cannot be told; may be repeated
    #[arg(long, value_name = "REV")]
    skip: Vec<String>,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true)]
    command: Vec<String>,
}

impl Bisect {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let good = context.record(&repository, &self.good).await?;
        let bad = context.snapshot(&repository, &self.bad).await?;
        let mut search = bad.bisect(&good).await?;
        for skipped in &self.skip {
            search.mark(context.record(&repository, skipped).await?.id(), BisectVerdict::Skip);
        }
        if !self.command.is_empty() {
            let place = context.place()?;
            while let Some(next) = search.next().cloned() {
                let verdict = self.try_version(&place, next.id, good.id()).await?;
                search.mark(next.id, verdict);
                let left = count(search.suspects().len() as u64, "version");
                context.out.note(&format!("{} {}: {}, {left} left", next.id, next.summary, word(verdict)));
            }
        }
        self.tell(context, &search)
    }

    /// What the command says of a version.
    async fn try_version(&self, place: &str, version: SnapshotId, good: SnapshotId) -> Result<BisectVerdict, Stop> {
        let status = self.run_for(place, version).await?;
        let is_bad = match status.code() {
            Some(0) => return Ok(BisectVerdict::Good),
            Some(CANNOT_TELL) => return Ok(BisectVerdict::Skip),
            Some(code) if NOT_RUN.contains(&code) => self.run_for(place, good).await?.code().is_none_or(|code| !NOT_RUN.contains(&code)),
            Some(code) => (1..=BAD).contains(&code),
            None => false,
        };
        if is_bad {
            return Ok(BisectVerdict::Bad);
        }
        let program = self.command.first().map(String::as_str).unwrap_or_default();
        Err(Error::invalid(format!("{program} ended with {status} for {version}, which tells nothing about the version")).into())
    }

    /// Runs the command for a version.
    async fn run_for(&self, place: &str, version: SnapshotId) -> Result<ExitStatus, Stop> {
        let (program, arguments) = self.command.split_first().ok_or_else(|| Error::internal("a command without a name"))?;
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).env("FIRN_REV", version.to_string()).env("FIRN_REPO", place);
        // Standard output holds the result only.
        command.stdin(Stdio::null()).stdout(std::io::stderr()).kill_on_drop(true);
        Ok(command.status().await.map_err(|e| Error::invalid(format!("{program} cannot be run")).caused_by(e))?)
    }

    fn tell(&self, context: &mut Context, search: &Bisection) -> Result<Verdict, Stop> {
        let left = search.suspects().len() as u64;
        if let [first] = search.suspects() {
            context.out.show(&BisectRow::of("first-bad", first, left))?;
            return Ok(Verdict::Fine);
        }
        if let Some(next) = search.next() {
            context.out.show(&BisectRow::of("next", next, left))?;
            let (good, bad, id) = (&self.good, &self.bad, next.id);
            let skips = self.skip.iter().flat_map(|skip| [" --skip ", skip]).collect::<String>();
            context.out.say(&format!("if it is good, go on with: firn bisect {id} {bad}{skips}"));
            context.out.say(&format!(
                "if it is bad: firn bisect {good} {id}{skips}; if it cannot be told: firn bisect {good} {bad}{skips} --skip {id}"
            ));
            return Ok(Verdict::Fine);
        }
        for suspect in search.suspects() {
            context.out.show(&BisectRow::of("suspect", suspect, left))?;
        }
        context.out.say("one of these is the first bad version; all but the last cannot be told");
        Ok(Verdict::Found)
    }
}

const fn word(verdict: BisectVerdict) -> &'static str {
    match verdict {
        BisectVerdict::Good => "good",
        BisectVerdict::Bad => "bad",
        BisectVerdict::Skip => "cannot be told",
    }
}

/// A version of a search.
#[derive(Debug, Serialize)]
struct BisectRow {
    /// `first-bad`: it is found. `next`: look at this one. `suspect`: one of these is the first bad one.
    what: &'static str,
    id: String,
    time: String,
    /// The first line of the message.
    summary: String,
    /// How many versions may be the first bad one.
    left: u64,
}

impl BisectRow {
    fn of(what: &'static str, entry: &LogEntry, left: u64) -> Self {
        Self { what, id: entry.id.to_string(), time: entry.time.to_string(), summary: entry.summary.clone(), left }
    }
}

impl Show for BisectRow {
    fn text(&self) -> String {
        format!("{}  {}  {}", self.id, self.time, self.summary).trim_end().to_owned()
    }
}
