//! Removing what a list names.

use futures::StreamExt as _;
use futures::stream;

use super::lease::Lease;
use super::plan::{CountsByKind, kind_of};
use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::id::Digest;
use crate::refs::collection::{CondemnedRow, digest_in};
use crate::storage::ObjectName;

/// How many objects are removed in one call: as many as one request of S3 takes.
pub(super) const BATCH: usize = 1_000;
/// How often the removal of an object is tried.
const ATTEMPTS: u32 = 3;
/// How many calls are under way at once.
const AT_ONCE: usize = 4;

/// What was removed.
#[derive(Debug, Default)]
pub(super) struct Swept {
    pub(super) removed: u64,
    /// What could not be removed, and stays as garbage.
    pub(super) failed: u64,
    /// Calls, each of which is one request where a store takes so many names.
    pub(super) calls: u64,
    /// Why the last of them failed.
    pub(super) error: Option<Error>,
    pub(super) by_kind: CountsByKind,
}

impl Repository {
    /// Removes what the list of the collection names, under its lease. Of a list that is lost or damaged only what can be read: the rest
    /// stays as garbage, and writers count everything as condemned.
    ///
    /// `condemned` says what of a shard this process has condemned, with lengths in bytes. What the list names besides, as it comes back from the store,
    /// is not removed: whoever may write there may have written it.
    pub(super) async fn sweep(
        &self,
        lease: &mut Lease<'_>,
        condemned: &(dyn Fn(usize) -> Result<Vec<(CondemnedRow, u64)>> + Sync),
    ) -> Result<Swept> {
        let list = lease.state().list.clone().ok_or_else(|| Error::internal("a collection that sweeps has no list"))?;
        let mut swept = Swept::default();
        let counts = self.refs().list_counts(&list).await?.unwrap_or_default();
        for (shard, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            let mut rows = self.refs().list_shard(&list, shard, count).await?.unwrap_or_default();
            let known = condemned(shard)?;
            rows.retain(|row| known.binary_search_by_key(row, |(name, _)| *name).is_ok());
            self.remove(lease, &rows, &known, &mut swept).await?;
        }
        Ok(swept)
    }

    async fn remove(&self, lease: &mut Lease<'_>, rows: &[CondemnedRow], known: &[(CondemnedRow, u64)], swept: &mut Swept) -> Result<()> {
        for group in rows.chunks(BATCH * AT_ONCE) {
            let mut left: Vec<_> = group.to_vec();
            for attempt in 0..ATTEMPTS {
                if left.is_empty() {
                    break;
                }
                lease.renew().await?;
                let (failed, calls, error) = self.remove_once(lease, &left).await?;
                swept.calls += calls;
                for row in left.iter().filter(|row| !failed.contains(row)) {
                    swept.removed += 1;
                    let size = known.binary_search_by_key(row, |(name, _)| *name).ok().and_then(|at| known.get(at));
                    if let Some(kind) = kind_of(row) {
                        swept.by_kind.entry(kind.word()).or_default().add(size.map_or(0, |(_, size)| *size));
                    }
                }
                left = failed;
                if let Some(error) = error {
                    swept.error = Some(error);
                    self.patience().wait(attempt).await;
                }
            }
            swept.failed += left.len() as u64;
            self.advance(group.len() as u64, 0);
        }
        Ok(())
    }

    /// One call for each batch; the rows that were not removed, and why the last was not.
    async fn remove_once(&self, lease: &Lease<'_>, rows: &[CondemnedRow]) -> Result<(Vec<CondemnedRow>, u64, Option<Error>)> {
        let hash = self.hash();
        let name = |row: &CondemnedRow| Some(ObjectName::of(kind_of(row)?, Digest::new(hash, digest_in(row))));
        let calls: Vec<_> = rows.chunks(BATCH).map(|batch| (batch.to_vec(), batch.iter().filter_map(name).collect::<Vec<_>>())).collect();
        let count = calls.len() as u64;
        let calls = calls.into_iter().map(|(batch, names)| async move {
            let answers = self.storage().delete_many(&names, &lease.permit()?).await;
            Ok::<_, Error>(batch.into_iter().zip(answers).collect::<Vec<_>>())
        });
        let mut calls = stream::iter(calls).buffer_unordered(AT_ONCE);
        let (mut failed, mut last) = (Vec::new(), None);
        while let Some(answers) = calls.next().await {
            for (row, answer) in answers? {
                if let Err(error) = answer {
                    failed.push(row);
                    last = Some(error);
                }
            }
        }
        failed.sort_unstable();
        Ok((failed, count, last))
    }
}
