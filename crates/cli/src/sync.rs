//! `firn clone`, `firn push` and `firn pull`

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::{Show, count};
use firnline::{Error, Ref, RefKind, RefName, RefOutcome, Repository, SyncOptions, SyncRef, SyncReport, SyncedRef, remote_place};

#[derive(Debug, Args)]
#[command(after_help = "\
Makes a repository with the same hash and copies every branch and tag into it, with everything behind them. Ids stay the same. If it is
stopped, the same command goes on, and sends at most 1 GiB again.")]
pub(super) struct Clone {
    /// The repository to copy: a path, a URL, or a name from the table remotes of the configuration file
    #[arg(value_name = "FROM")]
    from: String,
    /// Where the new one goes [default: as for init]
    #[arg(value_name = "TO")]
    to: Option<String>,
    /// Copy this branch, or tag:NAME, and no other; may be repeated
    #[arg(long = "only", value_name = "REF")]
    only: Vec<String>,
    /// Copy only the versions that branches and tags show, without those before them
    #[arg(long)]
    shallow: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Copies what the other repository lacks, verified, and then moves its branches: forward only. One that has other commits is a conflict
(status 4), and nothing is copied: pull, merge and push again, or use --force. Tags are made and never moved without --force. Each move
is recorded there (firn moves). If it is stopped, the same command goes on, and sends at most 1 GiB again.")]
pub(super) struct Push {
    /// The repository to copy to: a path, a URL, or a name from the table remotes of the configuration file
    #[arg(value_name = "TO")]
    to: String,
    #[command(flatten)]
    how: SyncArgs,
    /// Send no chunks, and fail with status 9 if the other repository lacks any
    #[arg(long)]
    no_chunks: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Copies what this repository lacks, verified, and then moves its branches: forward only. One that has other commits is a conflict (status
4), and nothing is copied: pull under another name with --as and merge that, or use --force. Tags are made and never moved without
--force. If it is stopped, the same command goes on, and sends at most 1 GiB again.")]
pub(super) struct Pull {
    /// The repository to copy from: a path, a URL, or a name from the table remotes of the configuration file
    #[arg(value_name = "FROM")]
    from: String,
    #[command(flatten)]
    how: SyncArgs,
    /// Copy only the versions that branches and tags show, without those before them
    #[arg(long)]
    shallow: bool,
}

/// What is copied, and how.
#[derive(Debug, Args)]
struct SyncArgs {
    /// The branches to copy; tag:NAME for a tag
    #[arg(value_name = "REF", default_value = "main")]
    refs: Vec<String>,
    /// Copy every branch and every tag
    #[arg(long, conflicts_with_all = ["refs", "name"])]
    all: bool,
    /// The name that the only REF gets
    #[arg(long = "as", value_name = "NAME")]
    name: Option<RefName>,
    /// Move branches and tags wherever the other repository has them
    #[arg(long)]
    force: bool,
    /// Print what would become of the branches and tags, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl SyncArgs {
    fn options(&self) -> Result<SyncOptions, Stop> {
        let mut options = SyncOptions::default();
        (options.force, options.dry_run) = (self.force, self.dry_run);
        if !self.all {
            options.refs = refs(&self.refs)?;
        }
        if let Some(name) = &self.name {
            let [only] = options.refs.as_mut_slice() else {
                return Err(Error::invalid("--as names one branch or tag, and several are copied").into());
            };
            only.target = Ref { kind: only.source.kind, name: name.clone() };
        }
        Ok(options)
    }
}

fn refs(texts: &[String]) -> Result<Vec<SyncRef>, Stop> {
    texts.iter().map(|text| Ok(SyncRef::same(Ref::named(text)?))).collect()
}

/// Opens the other repository, of which nothing is changed.
async fn open_other(context: &Context, place: &str) -> Result<Repository, Stop> {
    let mut options = context.options()?.read_only();
    options.progress = None;
    Ok(Repository::open_with(place, options).await?)
}

impl Clone {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let from = open_other(context, &remote_place(&self.from)?).await?;
        let mut options = SyncOptions::default();
        options.refs = refs(&self.only)?;
        options.shallow = self.shallow;
        let place = self.to.unwrap_or_else(|| context.place_to_create());
        let (_, report) = from.clone_to(&place, context.options()?, &options).await?;
        show(context, &report, false)?;
        context.out.note(&format!("made a repository at {place}"));
        Ok(Verdict::Fine)
    }
}

impl Push {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let mut options = self.how.options()?;
        options.no_chunks = self.no_chunks;
        let from = open_other(context, &context.place()?).await?;
        let to = Repository::open_with(&remote_place(&self.to)?, context.options()?).await?;
        let report = from.push(&to, &options).await?;
        show(context, &report, options.dry_run)
    }
}

impl Pull {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let mut options = self.how.options()?;
        options.shallow = self.shallow;
        let to = context.open_to_write().await?;
        let from = open_other(context, &remote_place(&self.from)?).await?;
        let report = to.pull(&from, &options).await?;
        show(context, &report, options.dry_run)
    }
}

fn show(context: &mut Context, report: &SyncReport, is_dry: bool) -> Result<Verdict, Stop> {
    let rows: Vec<_> = report.refs.iter().map(SyncRow::of).collect();
    context.out.table(["REF", "WHAT", "FROM", "TO"], &rows, |row| {
        let kind = if row.kind == "tag" { "tag:" } else { "" };
        [format!("{kind}{}", row.name), row.outcome.to_owned(), row.from.clone().unwrap_or_else(|| "-".to_owned()), row.to.clone()]
    })?;
    let versions = count(report.versions, "version");
    if is_dry {
        context.out.say(&format!("would copy {versions}"));
        return Ok(Verdict::Fine);
    }
    let (nodes, chunks, bytes) = (count(report.nodes, "node"), count(report.chunks, "chunk"), count(report.chunk_bytes, "byte"));
    context.out.note(&format!("copied {versions}: {nodes}, {chunks} of {bytes}"));
    if report.reused > 0 {
        context.out.note(&format!("{} had been copied by an earlier run", count(report.reused, "chunk")));
    }
    for row in report.refs.iter().filter(|row| row.outcome == RefOutcome::Ahead) {
        context.out.say(&format!("{} has commits that {} has not; it stays as it is", row.target, row.source));
    }
    Ok(Verdict::Fine)
}

#[derive(Debug, Serialize)]
struct SyncRow {
    /// `branch` or `tag`.
    kind: &'static str,
    /// Its name where it was copied to.
    name: String,
    /// Its name where it comes from.
    source: String,
    /// `created`, `moved`, `unchanged` or `ahead`.
    outcome: &'static str,
    /// Null if there was none.
    from: Option<String>,
    to: String,
}

impl SyncRow {
    fn of(synced: &SyncedRef) -> Self {
        let SyncedRef { source, target, outcome, from, to, .. } = synced;
        Self {
            kind: if target.kind == RefKind::Tag { "tag" } else { "branch" },
            name: target.name.to_string(),
            source: source.name.to_string(),
            outcome: outcome.word(),
            from: from.map(|id| id.to_string()),
            to: to.to_string(),
        }
    }
}

impl Show for SyncRow {
    fn text(&self) -> String {
        format!("{}  {}  {}", self.name, self.outcome, self.to)
    }
}
