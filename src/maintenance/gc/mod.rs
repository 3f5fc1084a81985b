//! Garbage collection: removes the objects that no branch and no tag leads to, while readers and writers go on.
//!
//! 1. *Plan*: read everything that the refs lead to, list everything that is stored. Nothing is written.
//! 2. *Fence*: write the list of what is condemned, and begin a new epoch in the register of collections. From here on writers look at the
//!    list before they publish on a ref of the new epoch.
//! 3. *Raise* every ref to the new epoch, and read what it leads to then. What a writer published meanwhile falls out of the list.
//! 4. *Sweep*: remove exactly what the final list names, then wait until no removal can be late.
//!
//! A collection that dies is ended by the next, which removes nothing that the other has condemned: what is left is garbage, and is found
//! anew. So a process removes only what it has seen that no ref leads to (decision 100).

mod handle;
mod lease;
mod mark;
mod plan;
mod repair;
mod status;
mod sweep;
mod usage;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};

use self::lease::{ElapsedClock, GcClock, Lease, wait_for_owner};
use self::mark::Marker;
use self::plan::Listing;
use self::sweep::{BATCH, Swept};
use crate::ambient::random;
use crate::error::{Error, ErrorDetail, ErrorKind, Result};
use crate::handle::Repository;
use crate::refs::collection::rules::{GcRule, holds};
use crate::refs::collection::{Advanced, GcHeld, GcPhase, ListWriter};
use crate::refs::{MAIN, READS, Ref, RefKind, RefState, is_lost_main, unreadable};
use crate::storage::layout::LISTS;
use crate::storage::{Collecting, ObjectName, RemovalPermit};

pub use handle::GcHandle;
#[cfg(test)]
pub(crate) use lease::GcClock as SimulatedGcClock;
pub use plan::{CountsByKind, GcPlan, ObjectCounts};
pub use repair::GcRepaired;
pub use status::{GcActivity, GcStatus};
pub use usage::StoredUsage;

/// How young garbage stays unless options say otherwise.
const GRACE: Duration = Duration::from_hours(24);

/// How garbage is collected.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GcOptions {
    /// Garbage that was written so shortly before, by the store's clock, stays. Default: 24 hours. With a grace of zero, a writer that is
    /// about to publish what is being removed has to wait, and to write it again. If it does not hold the bytes any more, its commit is a
    /// `Conflict`, with everything staged intact.
    pub grace: Duration,
    /// How long to wait after the last removal, at least, before the collection has finished. Default: what the store needs: nothing on
    /// local disk, 20 minutes in object stores, in which a request that was sent may still be carried out.
    pub wait: Duration,
    clock: Arc<dyn GcClock>,
    handle: GcHandle,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { grace: GRACE, wait: Duration::ZERO, clock: Arc::new(ElapsedClock), handle: GcHandle::default() }
    }
}

impl GcOptions {
    /// Lets garbage of this age and younger stay.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Waits for at least so long after the last removal.
    #[must_use]
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Tells, also after the future of a collection was dropped, whether it has left something for the next one. The handle is shared by all
    /// collections with these options and with copies of them.
    pub fn handle(&self) -> GcHandle {
        self.handle.clone()
    }

    /// Waits for nothing that only takes time: for tests, never for a store that others use.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn hurried(self) -> Self {
        Self { clock: Arc::new(lease::HurriedClock::default()), ..self }
    }

    #[cfg(test)]
    pub(crate) fn clock(mut self, clock: Arc<dyn GcClock>) -> Self {
        self.clock = clock;
        self
    }
}

/// What a collection did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct GcReport {
    /// What was planned.
    pub plan: GcPlan,
    /// The number of the collection; 0 when there was nothing to remove.
    pub epoch: u64,
    /// What was removed, by kind.
    pub removed: CountsByKind,
    /// How many objects a writer published meanwhile, so that they stay.
    pub saved: u64,
    /// How many objects could not be removed, and why the last of them could not. The next collection tries again.
    pub failed: u64,
    /// Why.
    pub problem: Option<String>,
    /// Calls of the store that removed objects, each up to 1,000 of them.
    pub calls: u64,
    /// How long it took, from the beginning of the plan.
    pub took: Duration,
    /// Whether a collection that another process had begun, and did not end, was ended first.
    pub resumed: bool,
}

/// A collection of which everything is known and nothing has been removed.
///
/// Dropping it ends it; nothing was written.
#[must_use = "nothing is removed before `execute`"]
pub struct PlannedGc {
    repository: Repository,
    options: GcOptions,
    plan: GcPlan,
    listing: Listing,
    marker: Marker,
    /// The register as it was when the plan began, and what the store promises.
    began: Option<(GcHeld, Collecting)>,
    resumed: bool,
    /// When the plan began, by the clock of the options.
    started: Duration,
}

impl std::fmt::Debug for PlannedGc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlannedGc").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Repository {
    /// Finds out what a collection would remove, and removes nothing.
    ///
    /// Reads every snapshot and node that the branches and tags lead to, once, and lists all objects. Takes about 70 bytes of memory for
    /// each snapshot and node, and 75 bytes of scratch space for each stored object. Works also where garbage cannot be collected.
    ///
    /// `Corrupt`, naming a branch or a tag, when that or something that it leads to cannot be read: what is behind it would be removed.
    /// Only reads, so the call can be cancelled at any moment.
    pub async fn plan_gc(&self, options: &GcOptions) -> Result<GcPlan> {
        Ok(self.look_for_garbage(options).await?.0)
    }

    /// Begins a collection: ends one that has stopped, and plans. [`PlannedGc::execute`] removes what the plan says.
    ///
    /// `Locked` when another process collects; `Unsupported` when the store cannot remove objects. Fails as [`plan_gc`](Self::plan_gc) does.
    ///
    /// An object store has no locks, so a collection that another process left behind is known to have stopped only after six minutes,
    /// for which the call waits. If the future is dropped, a collection that had stopped may have been ended, or may go on to be ended by
    /// the next call.
    pub async fn begin_gc(&self, options: &GcOptions) -> Result<PlannedGc> {
        self.require_writable()?;
        let started = options.clock.now();
        let store = self.storage().collecting().await?;
        let ended = self.end_earlier(options, store).await;
        let (held, store, resumed) = ended.map_err(|e| left_behind(e, &options.handle))?;
        let (plan, listing, marker) = self.look_for_garbage(options).await?;
        let (repository, options) = (self.clone(), options.clone());
        Ok(PlannedGc { repository, options, plan, listing, marker, began: Some((held, store)), resumed, started })
    }

    /// Collects garbage: [`begin_gc`](Self::begin_gc), and [`PlannedGc::execute`]. Fails, and is cancelled, as both do.
    pub async fn gc(&self, options: &GcOptions) -> Result<GcReport> {
        self.begin_gc(options).await?.execute().await
    }

    async fn look_for_garbage(&self, options: &GcOptions) -> Result<(GcPlan, Listing, Marker)> {
        let (mut plan, scratch) = (GcPlan::default(), self.scratch());
        // Before the refs, and once: while refs are raised, what has expired meanwhile must still count as kept.
        let retention = self.refs().retention().await.map_err(without_retention)?;
        let retired = self.refs().retired(&retention.state).await.map_err(without_retention)?;
        let mut marker = Marker::new(self, &scratch, retired, HashSet::new());
        let all = self.all_refs("no garbage is collected").await?;
        // Refs of a later epoch than the next collection's would not be raised.
        self.refs().collection_after(all.iter().map(|(_, state)| state.record.epoch).max().unwrap_or(0)).await?;
        for (name, state) in all {
            plan.refs += 1;
            marker.mark_ref(self, &name, &state.record).await?;
        }
        // The refs were read, so the store has told its time.
        let now = self.storage().clock().unwrap_or_else(|| self.clock().now());
        let (listing, young) = Listing::read(self, &scratch, now.minus(options.grace), &mut plan).await?;
        for shard in listing.shards() {
            for (row, size) in listing.unreached(shard, &marker)? {
                if let Some(kind) = plan::kind_of(&row) {
                    plan.garbage.entry(kind.word()).or_default().add(size);
                }
            }
        }
        for shard in young.shards() {
            young.unreached(shard, &marker)?.iter().for_each(|(_, size)| plan.young.add(*size));
        }
        (plan.versions, plan.expired, plan.reads) = (marker.versions, marker.expired, marker.reads);
        Ok((plan, listing, marker))
    }

    /// Every branch and tag there has ever been. Refuses to go on without one of them; `stops` says what does not happen then.
    pub(in crate::maintenance) async fn all_refs(&self, stops: &str) -> Result<Vec<(Ref, RefState)>> {
        if let Some(unknown) = self.refs().unknown_ref().await? {
            return Err(Error::unsupported(format!(
                "{stops}, because {unknown} is neither a branch nor a tag that this build knows: what it leads to would be removed"
            )));
        }
        let mut all = Vec::new();
        for kind in [RefKind::Branch, RefKind::Tag] {
            for (name, state) in self.refs().list(kind).await? {
                let name = Ref { kind, name };
                let state = state.map_err(|e| unreadable(&name, e).context(format!("{stops} while a branch or a tag cannot be read")))?;
                all.push((name, state));
            }
        }
        let main = Ref::branch(MAIN.parse()?);
        let found = all.iter().find(|(name, _)| *name == main).map(|(_, state)| &state.record);
        if is_lost_main(&main, found) {
            return Err(Error::corrupt(format!("{stops}, because {main} was lost: what it led to is not known")));
        }
        Ok(all)
    }

    /// Ends a collection that another process left behind, and returns the idle state.
    ///
    /// Nothing is removed. Of a sweep the list stays on record as that of a collection that has finished, because a part of it is gone.
    async fn end_earlier(&self, options: &GcOptions, store: Collecting) -> Result<(GcHeld, Collecting, bool)> {
        let found = self.refs().collection().await?;
        if !found.state.is_running() {
            return Ok((found, store, false));
        }
        // What is signed by a clock that is wrong may be carried out later than a store promises.
        self.refs().require_agreeing_clocks(&"garbage")?;
        wait_for_owner(self.refs(), &*options.clock, &store, &found).await?;
        options.handle.begins();
        if found.state.phase == GcPhase::Fence {
            // With its list: if an earlier register was put back, it may have been sweeping.
            let Advanced::Won(held) = self.refs().advance(&found, found.state.done()).await? else { return Err(busy()) };
            options.handle.ends();
            return Ok((held, store, true));
        }
        let next = found.state.taken_over(&nonce()?);
        let lease = Lease::take(self.refs(), &options.clock, store, &found, next).await?;
        let mut lease = lease.ok_or_else(busy)?;
        lease.wait_for_removals(options.wait).await?;
        lease.advance(lease.state().done()).await?;
        options.handle.ends();
        let (held, store) = lease.into_parts();
        Ok((held, store, true))
    }
}

impl PlannedGc {
    /// What will be removed.
    pub const fn plan(&self) -> &GcPlan {
        &self.plan
    }

    /// Removes what the plan says, except what a writer has published since.
    ///
    /// Needs as many bytes as 32 for each object that is removed, for the list; the last 64 lists stay. Waits after the last removal as
    /// [`GcOptions::wait`] says. `Locked` when another process has collected since the plan began, or has taken over.
    ///
    /// After an error, and if the future is dropped or the process dies, the collection is unfinished: nothing that is needed was removed,
    /// writers that need what is being removed wait, and the next [`begin_gc`](Repository::begin_gc) ends it.
    pub async fn execute(mut self) -> Result<GcReport> {
        let report = self.carry_out().await.map_err(|e| left_behind(e, &self.options.handle))?;
        Ok(GcReport { took: self.options.clock.now().saturating_sub(self.started), ..report })
    }

    async fn carry_out(&mut self) -> Result<GcReport> {
        let mut report = GcReport { plan: self.plan.clone(), resumed: self.resumed, ..GcReport::default() };
        let Some((began, store)) = self.began.take() else { return Ok(report) };
        let condemned = self.plan.garbage_total().objects;
        if condemned == 0 {
            return Ok(report);
        }
        let nonce = nonce()?;
        let epoch = began.state.epoch + 1;
        let repository = self.repository.clone();
        let refs = repository.refs();
        let first = self.write_list(format!("{epoch}-{nonce}-pre")).await?.0;
        let fence = began.state.fenced(&nonce, &first);
        self.options.handle.begins();
        let lease = Lease::take(refs, &self.options.clock, store, &began, fence).await?;
        let mut lease = lease.ok_or_else(busy)?;
        report.epoch = epoch;
        let (last, left) = match self.fence(&mut lease, epoch, &nonce, &first, condemned).await {
            Ok(done) => done,
            Err(error) => {
                // Writers need not wait for another collector to find out that this one has stopped. If this fails too, they do.
                if lease.advance(lease.state().given_up()).await.is_ok() {
                    self.options.handle.ends();
                }
                return Err(error);
            }
        };
        report.saved = condemned.saturating_sub(left);
        if left == 0 {
            lease.advance(lease.state().given_up()).await?;
            self.options.handle.ends();
            return Ok(report);
        }
        lease.advance(lease.state().sweeping(&last)).await?;
        repository.expect(left, 0);
        let own = |shard| self.listing.unreached(shard, &self.marker);
        let Swept { failed, calls, error, by_kind, .. } = repository.sweep(&mut lease, &own).await?;
        (report.failed, report.calls, report.removed) = (failed, calls, by_kind);
        report.problem = error.filter(|_| failed > 0).map(|e| e.to_string());
        lease.wait_for_removals(self.options.wait).await?;
        lease.advance(lease.state().done()).await?;
        self.options.handle.ends();
        let kept = lease.state().lists.iter().map(|list| list.id.clone()).collect();
        if let Err(error) = repository.forget_lists(&kept, epoch).await {
            tracing::warn!(%error, "earlier lists of garbage stay until the next collection");
        }
        Ok(report)
    }

    /// Makes sure that nothing is condemned that a ref leads to, now or later; the list of what is left, and how many objects it names.
    async fn fence(&mut self, lease: &mut Lease<'_>, epoch: u64, nonce: &str, first: &str, condemned: u64) -> Result<(String, u64)> {
        self.raise_refs(lease, epoch).await?;
        self.final_list(nonce, epoch, first, condemned).await
    }

    /// Writes what is condemned, as far as is known now; its name, and how many objects it names.
    async fn write_list(&self, id: String) -> Result<(String, u64)> {
        let mut list = ListWriter::new(self.repository.refs(), id);
        for shard in self.listing.shards() {
            let rows: Vec<_> = self.listing.unreached(shard, &self.marker)?.into_iter().map(|(row, _)| row).collect();
            list.add(shard, &rows).await?;
        }
        list.finish().await
    }

    /// The list of what is still condemned: the first one, if nothing has fallen out of it.
    async fn final_list(&self, nonce: &str, epoch: u64, first: &str, condemned: u64) -> Result<(String, u64)> {
        let mut left = 0;
        for shard in self.listing.shards() {
            left += self.listing.unreached(shard, &self.marker)?.len() as u64;
        }
        if left == condemned || left == 0 {
            return Ok((first.to_owned(), left));
        }
        self.write_list(format!("{epoch}-{nonce}-final")).await
    }

    /// Raises every ref there is now to the epoch, and marks what it leads to then.
    async fn raise_refs(&mut self, lease: &mut Lease<'_>, epoch: u64) -> Result<()> {
        let repository = self.repository.clone();
        let refs = repository.refs();
        let mut found = repository.all_refs("no garbage is collected").await?;
        found.retain(|(name, _)| holds(GcRule::ListAgain) || name.name.as_str() == MAIN);
        let raised = found.into_iter().map(|(name, found)| async move {
            if !holds(GcRule::Raise) {
                return Ok((name, vec![found.record]));
            }
            let values = refs.raise(&name, epoch).await.map_err(|e| unreadable(&name, e))?;
            Ok::<_, Error>((name, values))
        });
        let mut raised = futures::stream::iter(raised).buffer_unordered(READS);
        while let Some((name, values)) = raised.try_next().await? {
            for record in values.iter().filter(|_| holds(GcRule::MarkAgain)) {
                self.marker.mark_ref(&repository, &name, record).await?;
            }
            lease.renew().await?;
        }
        Ok(())
    }
}

impl Repository {
    /// Removes lists of collections until `epoch` that are not `kept`: those of collections that were given up or lost the race, and those
    /// that the register has forgotten. Whoever still looks for one counts everything as condemned.
    async fn forget_lists(&self, kept: &BTreeSet<String>, epoch: u64) -> Result<()> {
        let mut doomed = Vec::new();
        let mut listed = self.storage().list(LISTS);
        while let Some(meta) = listed.try_next().await? {
            let Some((id, name)) = ObjectName::parse_list(&meta.name) else { continue };
            if !kept.contains(&id) && epoch_of_list(&id).is_some_and(|of| of <= epoch) {
                doomed.push(name);
            }
        }
        for batch in doomed.chunks(BATCH) {
            // What cannot be removed now is removed by a later collection. No other list ever gets one of these names.
            drop(self.storage().delete_many(batch, &RemovalPermit::endless()).await);
        }
        Ok(())
    }
}

/// The collection that has written a list.
fn epoch_of_list(id: &str) -> Option<u64> {
    id.split('-').next()?.parse().ok()
}

/// Says with an error that the collection has to be ended by the next one, unless another process does that already.
fn left_behind(error: Error, handle: &GcHandle) -> Error {
    if error.kind() == ErrorKind::Locked {
        handle.ends();
    }
    if handle.is_unfinished() { error.about(ErrorDetail::UnfinishedCollection) } else { error }
}

fn without_retention(error: Error) -> Error {
    error.context("no garbage is collected while it is not known which versions have expired")
}

fn busy() -> Error {
    Error::new(ErrorKind::Locked, "another process has begun to collect garbage there; try again when it has ended")
}

/// A name that no other collection uses.
fn nonce() -> Result<String> {
    if !holds(GcRule::OwnLists) {
        return Ok("shared".to_owned());
    }
    // Two numbers, so that no two collectors of one repository ever draw the same.
    Ok(format!("{:016x}{:016x}", random()?, random()?))
}
