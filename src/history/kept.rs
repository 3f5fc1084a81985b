//! Which snapshots the refs of a repository keep.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};

use super::ancestry::Line;
use super::marks::PastMark;
use crate::error::{ErrorKind, Result};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::collection::{GcState, vouched};
use crate::refs::retention::RetiredVersions;
use crate::refs::{MAIN, Move, READS, RefKind, RefState, Vouched, is_unreadable};
use crate::time::Timestamp;

/// Whether the refs keep a snapshot: one of them points at it, has a move that came from it or led to it, or has it in
/// the history behind one of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A ref keeps it.
    Yes,
    /// No ref keeps it.
    No,
    /// No readable ref keeps it, but a ref is damaged that may.
    Unknown,
}

/// What of a snapshot is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeptPart {
    /// The snapshot itself and its history: what a descendant names.
    Record,
    /// Its data too: what can be read from it and linked.
    Data,
}

/// What the refs of a repository name, read once, and then what has expired.
#[derive(Debug, Clone)]
pub(crate) struct KeptRoots {
    roots: BTreeSet<SnapshotId>,
    /// What the refs point at: whole, whatever has expired.
    tips: BTreeSet<SnapshotId>,
    retired: RetiredVersions,
    /// The lowest epoch of the refs that can be read; what they keep is known to lose nothing to the collections up to it.
    pub(crate) epoch: u64,
}

impl KeptRoots {
    /// Whether the data of a version has expired, as far as these refs and what was read after them tell.
    pub(crate) fn has_expired(&self, id: SnapshotId) -> bool {
        !self.tips.contains(&id) && self.is_recorded(id)
    }

    /// What these refs name and the refs that were read `before` do not.
    pub(crate) fn since<'k>(&'k self, before: &'k Self) -> impl Iterator<Item = SnapshotId> + 'k {
        self.roots.difference(&before.roots).copied()
    }

    /// Whether a ref names a version itself.
    pub(crate) fn names(&self, id: SnapshotId) -> bool {
        self.roots.contains(&id)
    }

    /// Whether a version is on record as expired, also if a ref points at it, or none has it behind it.
    pub(crate) fn is_recorded(&self, id: SnapshotId) -> bool {
        self.retired.act_of(id).is_some()
    }
}

impl Repository {
    /// Reads all refs, in order to ask of many snapshots whether one of them keeps it. Moves that refs have no more room for are left out.
    pub(crate) async fn kept_roots(&self) -> Result<KeptRoots> {
        self.kept_roots_of(0).await
    }

    /// The same of the refs that garbage collection has raised to `epoch` or further.
    pub(crate) async fn kept_roots_of(&self, epoch: u64) -> Result<KeptRoots> {
        let (branches, tags) = futures::try_join!(self.refs().list(RefKind::Branch), self.refs().list(RefKind::Tag))?;
        let mut found = KeptRoots { roots: BTreeSet::new(), tips: BTreeSet::new(), retired: RetiredVersions::default(), epoch: u64::MAX };
        for (_, state) in branches.into_iter().chain(tags) {
            let RefState { record, .. } = match state {
                Ok(state) => state,
                Err(error) => {
                    // What it may keep is not relied on, so its epoch says nothing.
                    tracing::warn!(%error, "a damaged branch or tag keeps nothing");
                    continue;
                }
            };
            if record.epoch >= epoch && (record.tip.is_some() || !record.moves.is_empty()) {
                found.epoch = found.epoch.min(record.epoch);
                found.roots.extend(ends(&record.moves).chain(record.tip));
                found.tips.extend(record.tip);
            }
        }
        // After the refs, as in `kept_safely`.
        let state = self.refs().retention().await?.state;
        found.retired = self.refs().retired(&state).await?;
        Ok(found)
    }

    /// Whether one of the refs that were read keeps this part of the snapshot `id`, committed at `time`. What cannot be read keeps nothing.
    pub(crate) async fn is_kept_by(&self, found: &KeptRoots, id: SnapshotId, time: Timestamp, part: KeptPart) -> Result<bool> {
        if part == KeptPart::Data && found.has_expired(id) {
            return Ok(false);
        }
        if found.roots.contains(&id) {
            return Ok(true);
        }
        let holds = async |root: SnapshotId| match self.holds(root, id, time).await {
            Err(e) if is_unreadable(&e) => Ok(false),
            answer => answer,
        };
        let answers = futures::stream::iter(found.roots.clone()).map(holds).buffer_unordered(READS);
        std::pin::pin!(answers).try_any(std::future::ready).await
    }

    /// Whether a branch or a tag has a snapshot behind it in any way: also on the side of a merge, and through moves that refs have no more
    /// room for. Costs much more than [`is_kept_by`](Self::is_kept_by) if the snapshot is here. An error where that cannot be told because
    /// a ref is damaged; what a history does not tell because a part of it was left out does not hold.
    pub(crate) async fn is_behind_any(&self, id: SnapshotId) -> Result<bool> {
        if self.objects().try_commit(&id).await?.is_none() {
            return Ok(false);
        }
        let snapshot = self.read_record(&id.into()).await?;
        let (branches, tags) = futures::try_join!(self.refs().list(RefKind::Branch), self.refs().list(RefKind::Tag))?;
        let mut roots = BTreeSet::new();
        for (_, state) in branches.into_iter().chain(tags) {
            let record = state?.record;
            let moves = self.refs().moves_back_to(&record, |_| false).await?;
            roots.extend(ends(&record.moves).chain(ends(&moves)).chain(record.tip));
        }
        for root in roots {
            // Behind a version that came without its history nothing is taken for granted, as in `is_kept_by`.
            if root != id && PastMark::read(&**self.storage(), root).await? == PastMark::History {
                continue;
            }
            let root = self.read_record(&root.into()).await?;
            match snapshot.is_behind(&root).await {
                Ok(true) => return Ok(true),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                told => drop(told?),
            }
        }
        Ok(false)
    }

    /// The lowest epoch of the refs, if a branch or a tag is known to keep the snapshot `id`, committed at `time`: who links what the
    /// snapshot holds knows of no later garbage collection.
    pub(crate) async fn keeps(&self, id: SnapshotId, time: Timestamp, part: KeptPart) -> Result<Option<u64>> {
        let (kept, epoch) = self.kept_since(id, time, part, 0).await?;
        Ok((kept == Kept::Yes).then_some(epoch))
    }

    /// Whether a branch or a tag keeps the snapshot `id`, committed at `time`; of the refs only those count that garbage collection has
    /// raised to `epoch` or further.
    async fn kept(&self, id: SnapshotId, time: Timestamp, part: KeptPart, epoch: u64) -> Result<Kept> {
        Ok(self.kept_since(id, time, part, epoch).await?.0)
    }

    /// Whether the refs keep `id`, and whether garbage collection can remove nothing of it before a ref that is pointed at it now keeps it
    /// too, `state` having been read before this call and after that ref.
    ///
    /// What a ref keeps that is read after an idle state is complete, and no later collection removes anything before it has raised the
    /// ref that is being pointed at the snapshot, which makes that replace fail or makes the collection see it. While a collection is
    /// under way, only the refs that it has raised are known to lose nothing to it.
    ///
    /// Data that has expired is kept by those refs only that point at the version. The register of retention is read after the refs, so
    /// what is not in it then was not in it when any collection that has raised those refs, or has ended, read it.
    pub(crate) async fn kept_safely(&self, id: SnapshotId, time: Timestamp, part: KeptPart, state: &GcState) -> Result<(Kept, Vouched)> {
        if state.is_running() && self.kept(id, time, part, state.epoch).await? == Kept::Yes {
            return Ok((Kept::Yes, vouched(state, true)));
        }
        Ok((self.kept(id, time, part, 0).await?, vouched(state, false)))
    }

    /// Like [`kept`](Self::kept), and the lowest epoch of all refs that were read.
    ///
    /// Reads all refs, and the snapshots that they name, many at a time; fewer when an early answer is yes. Reads the moves that refs
    /// have no more room for only if nothing else keeps the snapshot.
    async fn kept_since(&self, id: SnapshotId, time: Timestamp, part: KeptPart, epoch: u64) -> Result<(Kept, u64)> {
        let (branches, tags) = futures::try_join!(self.refs().list(RefKind::Branch), self.refs().list(RefKind::Tag))?;
        // Every repository has a register `main`, and none is ever removed: without it, refs were lost.
        let is_made =
            |state: &Result<RefState>| state.as_ref().is_ok_and(|state| state.record.tip.is_some() || !state.record.moves.is_empty());
        let mut is_damaged = !branches.iter().any(|(name, state)| name.as_str() == MAIN && is_made(state));
        let (mut roots, mut records, mut lowest) = (BTreeSet::new(), Vec::new(), u64::MAX);
        let mut is_tip = false;
        for (_, state) in branches.into_iter().chain(tags) {
            if is_made(&state) {
                lowest = lowest.min(state.as_ref().map_or(0, |state| state.record.epoch));
            }
            match state {
                Ok(state) if state.record.epoch < epoch => {}
                Ok(state) => {
                    is_tip |= state.record.tip == Some(id);
                    roots.extend(ends(&state.record.moves).chain(state.record.tip));
                    records.push(state.record);
                }
                Err(_) => is_damaged = true,
            }
        }
        if part == KeptPart::Data && !is_tip && Box::pin(self.has_expired(id, time)).await? {
            return Ok((if is_damaged { Kept::Unknown } else { Kept::No }, lowest));
        }
        match self.kept_by(&roots, id, time).await? {
            Kept::Yes => return Ok((Kept::Yes, lowest)),
            Kept::No => {}
            Kept::Unknown => is_damaged = true,
        }
        let mut older = BTreeSet::new();
        for record in records.iter().filter(|record| record.older.is_some()) {
            let (moves, damage) = self.refs().known_moves_back_to(record, |_| false).await;
            older.extend(ends(&moves).filter(|end| !roots.contains(end)));
            match damage {
                Some(e) if !is_unreadable(&e) => return Err(e),
                damage => is_damaged |= damage.is_some(),
            }
        }
        match self.kept_by(&older, id, time).await? {
            Kept::No if is_damaged => Ok((Kept::Unknown, lowest)),
            answer => Ok((answer, lowest)),
        }
    }

    /// Whether the data of a version is on record as expired.
    pub(crate) async fn has_expired(&self, id: SnapshotId, time: Timestamp) -> Result<bool> {
        let state = self.refs().retention().await?.state;
        Ok(state.may_list(time) && self.refs().retired(&state).await?.act_of(id).is_some())
    }

    /// Whether one of `roots` keeps the snapshot.
    async fn kept_by(&self, roots: &BTreeSet<SnapshotId>, id: SnapshotId, time: Timestamp) -> Result<Kept> {
        if roots.contains(&id) {
            return Ok(Kept::Yes);
        }
        let mut kept = Kept::No;
        let mut answers = futures::stream::iter(roots.clone()).map(|root| self.holds(root, id, time)).buffer_unordered(READS);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(true) => return Ok(Kept::Yes),
                Ok(false) => {}
                Err(e) if is_unreadable(&e) => kept = Kept::Unknown,
                Err(e) => return Err(e),
            }
        }
        Ok(kept)
    }

    /// Whether `id`, committed at `time`, is `root` or before it and kept by it. What is behind a version that came without its history is
    /// not: anything of it may be missing, also when the history is here.
    async fn holds(&self, root: SnapshotId, id: SnapshotId, time: Timestamp) -> Result<bool> {
        if root == id {
            return Ok(true);
        }
        let commit = self.objects().commit(&root).await?;
        if commit.time <= time {
            return Ok(false); // Every ancestor is earlier.
        }
        let line = Line { objects: self.objects(), id: root, commit: &commit };
        Ok(line.contains(id, time).await? && PastMark::read(&**self.storage(), root).await? != PastMark::History)
    }
}

/// Where moves came from and led to.
fn ends(moves: &[Move]) -> impl Iterator<Item = SnapshotId> {
    moves.iter().flat_map(|m| [m.from, m.to]).flatten()
}
