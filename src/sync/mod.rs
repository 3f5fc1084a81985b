//! Copying versions between repositories: push, pull and clone.
//!
//! 1. [`plan`] decides for every branch and tag what becomes of it, before anything is copied.
//! 2. [`versions`] finds the versions that the target lacks: a version is there only if a branch or a tag of the target keeps it. What has
//!    expired there is there without its data, and what has expired here is copied without it.
//! 3. [`copy`] copies them, earliest first, each as what its parents have not. Every object is verified before it is sent. [`saves`] names
//!    what has arrived on a branch of the target, so that a run that was stopped goes on where it was.
//! 4. What was copied without its data is recorded as expired in the target. [`publish`] moves the branches and tags, last, each only if it still is what was planned.

mod chunks;
mod clone;
mod copy;
mod marks;
mod options;
mod plan;
mod publish;
mod saves;
#[cfg(test)]
mod tests;
mod versions;

pub use options::{RefOutcome, SyncOptions, SyncRef, SyncReport, SyncedRef};

use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::refs::MoveOp;
use crate::refs::collection::CollectionWait;

use copy::Copier;
use marks::SyncMarks;
use options::SyncDone;
use plan::PlannedRef;
use publish::Again;
use versions::SyncKnown;

/// How often the target may change while versions are copied, before a run is given up. A wait for a garbage collection counts as none.
const ATTEMPTS: u32 = 16;

impl Repository {
    /// Copies branches and tags of this repository to `target`, with everything behind them that `target` lacks.
    ///
    /// A branch of the target only moves forward: to a version that has its tip behind it. One that has that version already stays. A
    /// branch that does not exist is created, and so is a tag; a tag never moves. [`SyncOptions::force`] lifts both. Branches and tags
    /// are moved last, and each move is recorded.
    ///
    /// Everything is hashed before it is sent, and the nodes of maps are compared with what their parents say. Many objects are on their
    /// way at once. Memory is bounded, but for about 200 bytes for each node of a map that changed between two versions, and about 400 bytes
    /// for each version that is copied. What a version
    /// shares with its parents is not sent again, whatever its size; a copy within the repository is found if its bytes are worth the search.
    ///
    /// A version that has [expired](Self::expire) here, and that the target lacks, is copied as expired: without its data, and with the
    /// reason that was given here. One that has expired in the target stays so there, unless a branch or a tag is pointed at it.
    ///
    /// What has arrived is noted on a branch of the target after each step ([`SyncOptions::steps`]), whose name begins with `pushing-`; the
    /// same call goes on from there if it was stopped. It is deleted at the end. Smaller runs make none.
    ///
    /// # Errors
    ///
    /// After an error no branch or tag has changed, except those before the one whose move failed; the same call goes on with the others. What was copied stays, and so does the
    /// record of what was copied as expired.
    ///
    /// - `Conflict`, before anything is copied: a branch of the target has commits that are not behind its new tip, or a tag exists with
    ///   another version. Later: another run saves at the same time.
    /// - `Unsupported`: the repositories have different hashes.
    /// - `Expired`: a version that is to be shown has expired here meanwhile.
    /// - `NotFound`: a branch, a tag or a version does not exist here.
    /// - `Corrupt`: something here is damaged or missing, perhaps because it was collected as garbage meanwhile.
    /// - `Invalid`: two branches are to become one, a new name cannot be given in the target, a version is stamped more than 10 minutes after the clock, or [`SyncOptions::no_chunks`] was given and chunks are lacking.
    /// - `Unavailable`: the target changes all the time, or a garbage collection there does not end. A run that needs what a collection is
    ///   removing waits until that has ended.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves objects that nothing leads to, and perhaps the branch of the saves: repeat the call. Branches and tags may
    /// have been moved, or may be moved a moment later, if they were being moved.
    pub async fn push(&self, target: &Self, options: &SyncOptions) -> Result<SyncReport> {
        Box::pin(SyncRun { from: self, to: target, options, op: MoveOp::Push }.run()).await
    }

    /// Copies branches and tags of `source` to this repository, as [`push`](Self::push) does from the other side. Fails, and is cancelled,
    /// like it.
    pub async fn pull(&self, source: &Self, options: &SyncOptions) -> Result<SyncReport> {
        Box::pin(SyncRun { from: source, to: self, options, op: MoveOp::Pull }.run()).await
    }
}

/// One run.
#[derive(Debug, Clone, Copy)]
struct SyncRun<'a> {
    from: &'a Repository,
    to: &'a Repository,
    options: &'a SyncOptions,
    op: MoveOp,
}

impl SyncRun<'_> {
    async fn run(&self) -> Result<SyncReport> {
        let (from, to) = (self.from.storage(), self.to.storage());
        let (ours, theirs) = (self.from.hash(), self.to.hash());
        if ours != theirs {
            let why = format!("{from} has ids of hash {ours}, {to} of {theirs}; versions keep their ids, so they cannot be copied");
            return Err(Error::unsupported(why));
        }
        if !self.options.dry_run {
            self.to.require_writable()?;
        }
        let (mut done, mut changes) = (SyncDone::default(), 0);
        while changes < ATTEMPTS {
            match Box::pin(self.attempt(&mut done)).await? {
                Ok(report) => return Ok(report),
                Err(Again::Condemned) if self.wait_for_collection().await? => {}
                Err(_) => {
                    self.to.pause_after_lost_race(changes).await;
                    changes += 1;
                }
            }
        }
        Err(Error::unavailable(format!("{to} changed {ATTEMPTS} times while versions were copied to it; try again")))
    }

    /// Waits until the garbage collection of the target has ended that is under way; whether there was one.
    async fn wait_for_collection(&self) -> Result<bool> {
        let refs = self.to.refs();
        let begun = refs.collection().await?.state;
        let (mut state, mut waiting) = (begun.clone(), CollectionWait::new());
        while state.is_running() && state.epoch == begun.epoch {
            waiting.pause(refs, &state).await?;
            state = refs.collection().await?.state;
        }
        Ok(begun.is_running())
    }

    /// Runs once; tells why when the target has changed in between so that it must be looked at again.
    async fn attempt(&self, done: &mut SyncDone) -> Result<std::result::Result<SyncReport, Again>> {
        // In this order or at the same time: what is read of the refs is complete as far as the collections before tell.
        let state = self.to.refs().collection().await?.state;
        let kept = self.to.kept_roots().await?;
        let known = state.finished().min(kept.epoch);
        let planned = self.plan().await?;
        // After the refs of the source: what one of those shows is whole, whatever has expired.
        let given_up = self.from.known_retention().await.map_err(|e| e.context(self.from.storage()))?;
        let tips: Vec<_> = planned.iter().filter(|planned| planned.is_change()).map(|planned| planned.tip).collect();
        let marks = SyncMarks::of(self.from);
        let asked = SyncKnown { kept: &kept, given_up: &given_up, marks: &marks };
        let lacking = self.versions(asked, tips.into_iter()).await?;
        if self.options.dry_run {
            let refs = planned.iter().map(PlannedRef::outcome).collect();
            return Ok(Ok(SyncReport { refs, versions: lacking.versions.len() as u64, ..SyncReport::default() }));
        }
        let mut run = Copier::begin(*self, known, lacking.there).await?;
        for version in &lacking.versions {
            match run.version(version).await {
                Err(_) if run.is_overtaken() => return Ok(Err(Again::Condemned)),
                sent => sent?,
            }
        }
        let copied = run.finish().await?;
        done.add(&copied.report, &lacking.versions);
        self.record_expired(&lacking.versions, &given_up, &kept).await?;
        for planned in planned.iter().filter(|planned| planned.is_change()) {
            if let Err(again) = self.publish(planned, &copied).await? {
                return Ok(Err(again));
            }
            done.moved(planned);
        }
        if let Some(saves) = &copied.saves
            && let Err(error) = self.to.delete_saves(saves).await
        {
            // Everything has arrived; the next run finds the branch.
            tracing::warn!(%error, branch = %saves.branch, "the branch of a run that has ended is left");
        }
        Ok(Ok(done.report(&planned)))
    }
}
