//! Versions that expire or are withdrawn, and what versions take up.

use firnline::{
    CalendarPeriod, CountsByKind, Error, Expiration, ExpireOptions, ExpirePlan, ExpireReason, KeepFor, Ref, Repository, Result, Retention,
    SnapshotId, StoredUsage,
};
use pyo3::prelude::*;

use crate::collection::{counts_row, seconds};
use crate::failure::OrRaise as _;
use crate::refs::kind;
use crate::repository::{NativeRepository, reference};
use crate::rows::{WithdrawalRow, withdrawal_row};

/// Number, time, author, reason, what was kept in words, how many versions expired.
type ExpirationRow = (u32, i64, Option<String>, String, String, u64);

fn expiration_row(act: Expiration) -> ExpirationRow {
    let Expiration { number, time, author, reason, rules, versions, .. } = act;
    (number, time.micros(), author, reason, rules, versions)
}

/// What has expired and what is withdrawn, as it was read at one moment.
#[pyclass(frozen, module = "firnline._firnline")]
pub(crate) struct NativeRetention {
    read: Retention,
}

#[pymethods]
impl NativeRetention {
    /// The act by which the data of a version expired.
    fn expired(&self, py: Python<'_>, version: &str) -> PyResult<Option<ExpirationRow>> {
        let id = version.parse::<SnapshotId>().or_raise(py)?;
        Ok(self.read.expired(id).map(expiration_row))
    }

    /// By whom, when and why a version was withdrawn.
    fn withdrawn(&self, py: Python<'_>, version: &str) -> PyResult<Option<WithdrawalRow>> {
        let id = version.parse::<SnapshotId>().or_raise(py)?;
        Ok(self.read.withdrawn(id).map(withdrawal_row))
    }

    /// Every act, in their order.
    fn expirations(&self) -> Vec<ExpirationRow> {
        self.read.expirations().into_iter().map(expiration_row).collect()
    }

    /// Every version that is withdrawn, in the order of the ids.
    fn withdrawals(&self) -> Vec<WithdrawalRow> {
        self.read.withdrawals().iter().map(withdrawal_row).collect()
    }
}

/// What would expire.
#[pyclass(frozen, module = "firnline._firnline")]
pub(crate) struct NativeExpirePlan {
    plan: ExpirePlan,
}

#[pymethods]
impl NativeExpirePlan {
    /// Id, time, summary of each version that expires.
    fn expire(&self) -> Vec<(String, i64, String)> {
        self.plan.expire.iter().map(|version| (version.id.to_string(), version.time.micros(), version.summary.clone())).collect()
    }

    /// Id, time, summary of each version that stays, and why it does.
    fn keep(&self) -> Vec<(String, i64, String, String)> {
        let row =
            |version: &firnline::KeptVersion| (version.id.to_string(), version.time.micros(), version.summary.clone(), version.why.clone());
        self.plan.keep.iter().map(row).collect()
    }

    /// How many versions have expired already.
    #[getter]
    fn already(&self) -> u64 {
        self.plan.already
    }

    /// What is kept, in words.
    #[getter]
    fn rules(&self) -> &str {
        &self.plan.rules
    }
}

/// What Python says about a plan; the keys of a dictionary.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct ExpireArguments {
    keep_last: Option<u64>,
    keep_within: Option<f64>,
    /// The word of a period, and for how many of them, or for how many seconds, one is kept; for ever without both.
    keep_each: Vec<(String, Option<u64>, Option<f64>)>,
    keep_moves: f64,
    branches: Option<Vec<String>>,
}

fn period(word: &str) -> Result<CalendarPeriod> {
    let all = [CalendarPeriod::Hour, CalendarPeriod::Day, CalendarPeriod::Week, CalendarPeriod::Month, CalendarPeriod::Year];
    all.into_iter().find(|period| period.word() == word).ok_or_else(|| Error::invalid(format!("{word:?} names no period")))
}

impl ExpireArguments {
    fn into_options(self) -> Result<ExpireOptions> {
        let mut options = ExpireOptions::default().keep_moves(seconds("keep_moves", self.keep_moves)?);
        options = self.keep_last.into_iter().fold(options, ExpireOptions::keep_last);
        if let Some(within) = self.keep_within {
            options = options.keep_within(seconds("keep_within", within)?);
        }
        for (word, count, span) in self.keep_each {
            let keep_for = match (count, span) {
                (Some(count), _) => KeepFor::Count(count),
                (None, Some(span)) => KeepFor::Within(seconds(&format!("keep_{word}"), span)?),
                (None, None) => KeepFor::Ever,
            };
            options = options.keep_each(period(&word)?, keep_for);
        }
        options.branches = self.branches.map(|names| names.iter().map(|name| name.parse()).collect::<Result<_>>()).transpose()?;
        Ok(options)
    }
}

/// Kind, objects and bytes that are stored, objects and bytes of those to which nothing else leads.
type UsageRow = (&'static str, u64, u64, u64, u64);

fn usage_rows(usage: &StoredUsage) -> Vec<UsageRow> {
    let row = |(kind, stored): (&&'static str, &firnline::ObjectCounts)| {
        let (unique, unique_bytes) = usage.unique.get::<str>(kind).copied().map_or((0, 0), counts_row);
        (*kind, stored.objects, stored.bytes, unique, unique_bytes)
    };
    usage.stored.iter().map(row).collect()
}

fn freed_rows(freed: &CountsByKind) -> Vec<(&'static str, u64, u64)> {
    freed.iter().map(|(kind, counts)| (*kind, counts.objects, counts.bytes)).collect()
}

#[pymethods]
impl NativeRepository {
    /// What has expired and what is withdrawn.
    fn retention(&self, py: Python<'_>) -> PyResult<NativeRetention> {
        let read = self.origin.call(py, |repository| async move { repository.retention().await })?;
        Ok(NativeRetention { read })
    }

    /// Finds out what would expire.
    fn plan_expire(&self, py: Python<'_>, arguments: ExpireArguments) -> PyResult<NativeExpirePlan> {
        let options = arguments.into_options().or_raise(py)?;
        let plan = self.origin.call(py, |repository| async move { repository.plan_expire(&options).await })?;
        Ok(NativeExpirePlan { plan })
    }

    /// Lets the versions of a plan expire: the number of the act, the versions, and those that stay since they are shown again.
    fn expire(
        &self,
        py: Python<'_>,
        plan: &NativeExpirePlan,
        reason: String,
        author: Option<String>,
    ) -> PyResult<(u32, Vec<String>, Vec<String>)> {
        let (plan, mut why) = (&plan.plan, ExpireReason::from(reason));
        why.author = author;
        let done = self.origin.call(py, |repository| async move { repository.expire(plan, why).await })?;
        let ids = |ids: &[SnapshotId]| ids.iter().map(ToString::to_string).collect();
        Ok((done.act, ids(&done.versions), ids(&done.shown_again)))
    }

    /// What garbage collection would remove if the versions of a plan expired: kind, objects, bytes.
    fn freed_by(&self, py: Python<'_>, plan: &NativeExpirePlan) -> PyResult<Vec<(&'static str, u64, u64)>> {
        let plan = &plan.plan;
        let freed = self.origin.call(py, |repository| async move { repository.freed_by(plan).await })?;
        Ok(freed_rows(&freed))
    }

    /// Withdraws a version.
    fn withdraw(&self, py: Python<'_>, revision: &str, reason: String, author: Option<String>) -> PyResult<WithdrawalRow> {
        let withdrawn = self.origin.call(py, |repository| async move {
            let version = repository.read_record(&revision.parse()?).await?;
            repository.withdraw(&version, reason, author).await
        })?;
        Ok(withdrawal_row(&withdrawn))
    }

    /// Takes a withdrawal back; whether there was one.
    fn reinstate(&self, py: Python<'_>, revision: &str) -> PyResult<bool> {
        self.origin.call(py, |repository| async move {
            let version = repository.read_record(&revision.parse()?).await?;
            repository.reinstate(&version).await
        })
    }

    /// What the data of a version takes up, by kind.
    fn usage_of_version(&self, py: Python<'_>, revision: &str) -> PyResult<Vec<UsageRow>> {
        self.usage(py, |repository| async move { repository.read(revision).await?.stored_usage().await })
    }

    /// What everything takes up to which a branch or a tag leads, by kind.
    fn usage_of_ref(&self, py: Python<'_>, name: &str, tag: bool) -> PyResult<Vec<UsageRow>> {
        let name: Ref = reference(kind(tag), name).or_raise(py)?;
        self.usage(py, |repository| async move { repository.stored_usage(&name).await })
    }
}

impl NativeRepository {
    fn usage<F>(&self, py: Python<'_>, count: impl FnOnce(Repository) -> F) -> PyResult<Vec<UsageRow>>
    where
        F: Future<Output = Result<StoredUsage>> + Send,
    {
        Ok(usage_rows(&self.origin.call(py, count)?))
    }
}
