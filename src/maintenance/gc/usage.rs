//! What a version or a ref takes up in the store, and what of it nothing else leads to: by the walk of a collection that never happens.

use std::collections::HashSet;

use super::mark::Marker;
use super::plan::{CountsByKind, GcPlan, Listing, ObjectCounts, kind_of};
use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::maintenance::expire::ExpirePlan;
use crate::refs::Ref;
use crate::refs::absent;
use crate::refs::retention::RetiredVersions;
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// What something takes up in the store. Kinds are those of [`GcPlan`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoredUsage {
    /// The objects that it leads to, each once.
    pub stored: CountsByKind,
    /// Those of them to which nothing else leads: what a garbage collection would remove if it were not there.
    pub unique: CountsByKind,
}

impl StoredUsage {
    /// All objects that it leads to.
    pub fn stored_total(&self) -> ObjectCounts {
        total(&self.stored)
    }

    /// All objects to which nothing else leads.
    pub fn unique_total(&self) -> ObjectCounts {
        total(&self.unique)
    }
}

fn total(kinds: &CountsByKind) -> ObjectCounts {
    kinds.values().fold(ObjectCounts::default(), |sum, counts| sum.join(*counts))
}

impl Snapshot {
    /// What the data of this version takes up: the nodes of its manifest and its virtual-file manifest, and its chunks. `unique` is what
    /// the next garbage collection would remove if the version expired.
    ///
    /// Reads every snapshot and node that the branches and tags lead to, and lists all objects, as [`plan_gc`](Repository::plan_gc) does,
    /// with its errors. Only reads.
    pub async fn stored_usage(&self) -> Result<StoredUsage> {
        let repository = self.repository();
        let mut own = Marker::new(repository, &repository.scratch(), RetiredVersions::default(), HashSet::new());
        own.mark_data(self.id()).await?;
        let others = repository.mark_all_but(&[], [self.id()].into()).await?;
        repository.compare_marks(&own, &others).await
    }
}

impl Repository {
    /// What everything takes up that a branch or a tag leads to: its tip, both ends of its moves, and all versions behind them but the data
    /// of those that have expired. `unique` is what would be garbage if the ref had never been.
    ///
    /// Costs and fails as [`Snapshot::stored_usage`] does; `NotFound` when there has never been such a ref. Only reads.
    pub async fn stored_usage(&self, name: &Ref) -> Result<StoredUsage> {
        let state = self.refs().try_read(name).await?.ok_or_else(|| absent(name, None))?;
        let retention = self.refs().retention().await?.state;
        let retired = self.refs().retired(&retention).await?;
        let mut own = Marker::new(self, &self.scratch(), retired, HashSet::new());
        own.mark_ref(self, name, &state.record).await?;
        let others = self.mark_all_but(&[name], HashSet::new()).await?;
        self.compare_marks(&own, &others).await
    }

    /// What garbage collection would remove, by kind, if the versions of a plan expired, besides what is garbage already. Takes garbage of
    /// every age.
    ///
    /// Costs and fails as [`plan_gc`](Self::plan_gc) does, twice. Only reads.
    pub async fn freed_by(&self, plan: &ExpirePlan) -> Result<CountsByKind> {
        let now = self.mark_all_but(&[], HashSet::new()).await?;
        let then = self.mark_all_but(&[], plan.expire.iter().map(|version| version.id).collect()).await?;
        Ok(self.compare_marks(&now, &then).await?.unique)
    }

    /// Marks what all refs but some lead to, as if the data of some versions had expired, whatever points at them.
    async fn mark_all_but(&self, left_out: &[&Ref], expired: HashSet<SnapshotId>) -> Result<Marker> {
        let retention = self.refs().retention().await?.state;
        let retired = self.refs().retired(&retention).await?;
        let mut marker = Marker::new(self, &self.scratch(), retired, expired);
        for (name, state) in self.all_refs("nothing is counted").await? {
            if !left_out.contains(&&name) {
                marker.mark_ref(self, &name, &state.record).await?;
            }
        }
        Ok(marker)
    }

    /// Counts what is stored of what one marker has reached, and what of that another has not.
    async fn compare_marks(&self, own: &Marker, others: &Marker) -> Result<StoredUsage> {
        let (listing, young) = Listing::read(self, &self.scratch(), Timestamp::MAX, &mut GcPlan::default()).await?;
        if !young.shards().is_empty() {
            return Err(Error::internal("an object of the listing was written after the end of time"));
        }
        let mut usage = StoredUsage::default();
        for shard in listing.shards() {
            let (mine, theirs) = (own.reached(shard)?, others.reached(shard)?);
            for (row, size) in listing.rows(shard)? {
                let Some(kind) = kind_of(&row).filter(|_| mine.binary_search(&row).is_ok()) else { continue };
                usage.stored.entry(kind.word()).or_default().add(size);
                if theirs.binary_search(&row).is_err() {
                    usage.unique.entry(kind.word()).or_default().add(size);
                }
            }
        }
        Ok(usage)
    }
}
