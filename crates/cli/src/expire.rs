//! `firn expire`

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::{Show, count};
use super::span::parse_span;
use firnline::{
    CalendarPeriod, Error, Expiration, ExpireOptions, ExpirePlan, ExpireReason, ExpiredVersions, ExpiringVersion, KeepFor, KeptVersion,
    RefName, Repository,
};

/// How many versions are told in words.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = "\
A version stays if any rule keeps it on any branch. These stay always: what a branch or a tag points at, what a branch leads to that is not
named by --branch, and what only tags lead to. Of versions that were merged into a branch only --keep-within keeps any.

FOR is a number (of days that have versions: --keep-daily 30), a span (for so long: --keep-daily 30d) or all. Days begin at midnight UTC,
weeks on Monday.

To read a version that has expired fails with status 12, which says who let it expire, when, why, and which later version is kept. Its
data is removed by the next: firn gc")]
pub(super) struct Expire {
    /// Change nothing, and print what would expire
    #[arg(long)]
    dry_run: bool,
    /// Also count what gc would then remove; reads all that is kept, twice
    #[arg(long)]
    freed: bool,
    /// List what was made to expire earlier, and change nothing
    #[arg(long, conflicts_with_all = ["dry_run", "freed", "reason", "author", "keep_last", "keep_within", "keep_hourly", "keep_daily", "keep_weekly",
        "keep_monthly", "keep_yearly", "keep_moves", "branches"])]
    list: bool,
    /// Why, for everybody who asks for such a version
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["dry_run", "list"])]
    reason: Option<String>,
    /// Who does it
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Keep the latest N versions of each branch
    #[arg(long, value_name = "N")]
    keep_last: Option<u64>,
    /// Keep versions that are no older: 36h, 90d
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    keep_within: Option<Duration>,
    /// Keep the last version of each hour
    #[arg(long, value_name = "FOR", value_parser = parse_for)]
    keep_hourly: Option<KeepFor>,
    /// Keep the last version of each day
    #[arg(long, value_name = "FOR", value_parser = parse_for)]
    keep_daily: Option<KeepFor>,
    /// Keep the last version of each week
    #[arg(long, value_name = "FOR", value_parser = parse_for)]
    keep_weekly: Option<KeepFor>,
    /// Keep the last version of each month
    #[arg(long, value_name = "FOR", value_parser = parse_for)]
    keep_monthly: Option<KeepFor>,
    /// Keep the last version of each year
    #[arg(long, value_name = "FOR", value_parser = parse_for)]
    keep_yearly: Option<KeepFor>,
    /// Keep for so long what a reset or a deletion of a branch has taken away, so that it can be undone
    #[arg(long, value_name = "SPAN", default_value = "30d", value_parser = parse_span)]
    keep_moves: Duration,
    /// Let only versions of this branch expire; repeatable [default: of all]
    #[arg(long = "branch", value_name = "NAME")]
    branches: Vec<RefName>,
}

/// Reads `30`, `30d` or `all`.
fn parse_for(text: &str) -> Result<KeepFor, String> {
    match text {
        "all" => Ok(KeepFor::Ever),
        _ => match text.parse() {
            Ok(n) => Ok(KeepFor::Count(n)),
            Err(_) => parse_span(text).map(KeepFor::Within).map_err(|_| "is not a number, a time such as 30d, or all".to_owned()),
        },
    }
}

impl Expire {
    fn options(&self) -> ExpireOptions {
        let mut options = ExpireOptions::default().keep_moves(self.keep_moves);
        if let Some(n) = self.keep_last {
            options = options.keep_last(n);
        }
        if let Some(span) = self.keep_within {
            options = options.keep_within(span);
        }
        for (period, keep_for) in [
            (CalendarPeriod::Hour, self.keep_hourly),
            (CalendarPeriod::Day, self.keep_daily),
            (CalendarPeriod::Week, self.keep_weekly),
            (CalendarPeriod::Month, self.keep_monthly),
            (CalendarPeriod::Year, self.keep_yearly),
        ] {
            if let Some(keep_for) = keep_for {
                options = options.keep_each(period, keep_for);
            }
        }
        self.branches.iter().cloned().fold(options, ExpireOptions::branch)
    }

    /// What a garbage collection would remove then, if that was asked.
    async fn freed(&self, repository: &Repository, plan: &ExpirePlan) -> Result<Option<FreedObjectsRow>, Stop> {
        if !self.freed {
            return Ok(None);
        }
        let freed = repository.freed_by(plan).await?;
        let (objects, bytes) = freed.values().fold((0, 0), |(objects, bytes), kind| (objects + kind.objects, bytes + kind.bytes));
        Ok(Some(FreedObjectsRow { objects, bytes }))
    }

    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        if self.list {
            let acts = context.open_to_read().await?.retention().await?.expirations();
            let rows: Vec<_> = acts.into_iter().map(ActRow::of).collect();
            context.out.table(["ACT", "TIME", "AUTHOR", "VERSIONS", "KEPT", "REASON"], &rows, ActRow::cells)?;
            return Ok(Verdict::Fine);
        }
        let options = self.options();
        if self.dry_run {
            let repository = context.open_to_read().await?;
            let plan = repository.plan_expire(&options).await?;
            let freed = self.freed(&repository, &plan).await?;
            context.out.show(&ExpireDocument::of(plan, None, freed))?;
            return Ok(Verdict::Fine);
        }
        let repository = context.open_to_write().await?;
        let plan = repository.plan_expire(&options).await?;
        let freed = self.freed(&repository, &plan).await?;
        let reason = self.reason.ok_or_else(|| Error::internal("no reason was given"))?;
        let mut why = ExpireReason::from(reason);
        why.author = self.author;
        context.out.note(&format!("to expire: {}", count(plan.expire.len() as u64, "version")));
        let done = repository.expire(&plan, why).await?;
        let is_done = done.act > 0;
        context.out.show(&ExpireDocument::of(plan, Some(&done), freed))?;
        if is_done {
            context.out.say("the data is removed by: firn gc");
        }
        Ok(Verdict::Fine)
    }
}

/// Objects of the store and their bytes.
#[derive(Debug, Serialize)]
struct FreedObjectsRow {
    objects: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct ExpiringRow {
    id: String,
    time: String,
    /// The first line of its message.
    summary: String,
}

impl From<ExpiringVersion> for ExpiringRow {
    fn from(version: ExpiringVersion) -> Self {
        Self { id: version.id.to_string(), time: version.time.to_string(), summary: version.summary }
    }
}

#[derive(Debug, Serialize)]
struct KeptRow {
    id: String,
    time: String,
    /// The first line of its message.
    summary: String,
    /// A branch or a tag that points at it, a rule, `other ref`, `moves` or `fork`.
    why: String,
}

impl From<KeptVersion> for KeptRow {
    fn from(version: KeptVersion) -> Self {
        Self { id: version.id.to_string(), time: version.time.to_string(), summary: version.summary, why: version.why }
    }
}

#[derive(Debug, Serialize)]
struct ExpireDocument {
    /// The number of the act; 0 when nothing expired.
    act: u32,
    dry_run: bool,
    /// What is kept, in words.
    rules: String,
    /// What expires, latest first.
    expire: Vec<ExpiringRow>,
    /// What stays, latest first.
    keep: Vec<KeptRow>,
    /// How many versions had expired before.
    already: u64,
    /// With `--freed`: what gc would remove then, besides what is garbage already.
    #[serde(skip_serializing_if = "Option::is_none")]
    freed: Option<FreedObjectsRow>,
}

impl ExpireDocument {
    fn of(plan: ExpirePlan, done: Option<&ExpiredVersions>, freed: Option<FreedObjectsRow>) -> Self {
        let ExpirePlan { mut expire, keep, already, rules, .. } = plan;
        if let Some(done) = done {
            expire.retain(|version| !done.shown_again.contains(&version.id));
        }
        Self {
            act: done.map_or(0, |done| done.act),
            dry_run: done.is_none(),
            rules,
            expire: expire.into_iter().map(Into::into).collect(),
            keep: keep.into_iter().map(Into::into).collect(),
            already,
            freed,
        }
    }
}

impl Show for ExpireDocument {
    fn text(&self) -> String {
        let what = if self.dry_run { "would expire" } else { "expired" };
        let mut lines = Vec::new();
        for KeptRow { id, time, summary, why } in self.keep.iter().take(SHOWN) {
            lines.push(format!("keep    {id}  {time}  {why}  {summary}").trim_end().to_owned());
        }
        lines.extend(more(self.keep.len()));
        for ExpiringRow { id, time, summary } in self.expire.iter().take(SHOWN) {
            lines.push(format!("expire  {id}  {time}  {summary}").trim_end().to_owned());
        }
        lines.extend(more(self.expire.len()));
        let (gone, stay) = (count(self.expire.len() as u64, "version"), count(self.keep.len() as u64, "version"));
        let before = if self.already > 0 { format!(", {} expired earlier", count(self.already, "version")) } else { String::new() };
        lines.push(format!("{gone} {what}, {stay} kept{before}"));
        if let Some(FreedObjectsRow { objects, bytes }) = &self.freed {
            lines.push(format!("gc would remove {}, {}", count(*objects, "object"), count(*bytes, "byte")));
        }
        lines.join("\n")
    }
}

/// Says that rows are left out.
fn more(rows: usize) -> Option<String> {
    (rows > SHOWN).then(|| format!("        … and {} more, which --json lists", rows - SHOWN))
}

/// An act, as `--list` prints it.
#[derive(Debug, Serialize)]
pub(super) struct ActRow {
    act: u32,
    time: String,
    author: Option<String>,
    reason: String,
    /// What was kept, in words.
    rules: String,
    /// How many versions expired.
    versions: u64,
}

impl ActRow {
    pub(super) fn of(act: Expiration) -> Self {
        let Expiration { number, time, author, reason, rules, versions, .. } = act;
        Self { act: number, time: time.to_string(), author, reason, rules, versions }
    }

    /// In words.
    pub(super) fn sentence(&self) -> String {
        let by = self.author.as_ref().map_or_else(String::new, |author| format!(" by {author}"));
        format!("at {}{by}: {}", self.time, self.reason)
    }

    fn cells(&self) -> [String; 6] {
        let Self { act, time, author, reason, rules, versions } = self;
        [act.to_string(), time.clone(), author.clone().unwrap_or_default(), versions.to_string(), rules.clone(), reason.clone()]
    }
}

impl Show for ActRow {
    fn text(&self) -> String {
        self.cells().join("  ").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_counted_or_measured() {
        assert_eq!(parse_for("30"), Ok(KeepFor::Count(30)));
        assert_eq!(parse_for("30d"), Ok(KeepFor::Within(Duration::from_hours(30 * 24))));
        assert_eq!(parse_for("all"), Ok(KeepFor::Ever));
        for wrong in ["", "-1", "d", "always", "1.5"] {
            assert!(parse_for(wrong).is_err(), "{wrong}");
        }
    }
}
