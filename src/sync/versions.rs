//! The versions that the target lacks.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use futures::{StreamExt as _, stream};

use super::SyncRun;
use super::marks::SyncMarks;
use crate::error::{Error, Result};
use crate::format::Commit;
use crate::history::{KeptPart, KeptRoots, Line, PastMark, require_earlier};
use crate::id::SnapshotId;
use crate::map::Span;
use crate::refs::READS;
use crate::refs::retention::Retiring;
use crate::snapshot::Retention;
use crate::time::Timestamp;

/// After how many lacking versions in a row the line is read ahead, and how far at most.
const PATIENCE: usize = 4;
const MOST_AHEAD: usize = 256;

/// A version to be copied.
#[derive(Debug)]
pub(super) struct LackingVersion {
    pub(super) id: SnapshotId,
    pub(super) time: Timestamp,
    /// Whether its data is copied, too.
    pub(super) data: CopiedData,
    /// Whether the source came without what is before it.
    pub(super) is_cut: bool,
    /// Whether a ref of the target keeps it all the same, without its data.
    pub(super) is_kept: bool,
}

/// What becomes of the data of a version.
#[derive(Debug, Clone, Copy)]
pub(super) enum CopiedData {
    Copied,
    /// It has expired in the source by the act of this number, and is going to be recorded as expired in the target.
    Expired(u32),
    /// It is on record as expired in the target.
    Recorded,
}

/// A version that the target has, or is going to have.
#[derive(Debug, Clone)]
pub(super) struct ThereVersion {
    pub(super) time: Timestamp,
    /// Whether the target has the versions before it.
    pub(super) has_history: bool,
    /// Whether the source has them.
    pub(super) is_in_source: bool,
    /// The versions with which those after it are compared, because both sides have their data: this one, or, if it has expired, those
    /// before it that are known.
    pub(super) bases: Vec<SnapshotId>,
}

impl ThereVersion {
    /// What of it the target has to keep.
    pub(super) fn part(&self) -> KeptPart {
        if self.bases.is_empty() { KeptPart::Record } else { KeptPart::Data }
    }
}

/// What is to be copied.
#[derive(Debug, Default)]
pub(super) struct LackingVersions {
    /// Earliest first: parents come before children.
    pub(super) versions: Vec<LackingVersion>,
    /// The versions right behind those, which refs of the target keep.
    pub(super) there: HashMap<SnapshotId, ThereVersion>,
}

/// What is asked for every version.
#[derive(Debug, Clone, Copy)]
pub(super) struct SyncKnown<'k> {
    /// What the refs of the target keep.
    pub(super) kept: &'k KeptRoots,
    /// What has expired in the source.
    pub(super) given_up: &'k Retention,
    /// The markers of the source.
    pub(super) marks: &'k SyncMarks<'k>,
}

/// A version that is to be looked at, and the child that led there.
type Lead = (SnapshotId, Option<(SnapshotId, Timestamp)>);

impl SyncRun<'_> {
    /// The versions behind `tips`, those included, that no ref of the target keeps; of these only the tips, if no more is wanted. A
    /// version whose history the target was left without counts as kept. What the source was left without is not followed.
    ///
    /// A tip of which the target has given up the data is lacking, although it is kept: what a ref shows is whole.
    pub(super) async fn versions(&self, known: SyncKnown<'_>, tips: impl Iterator<Item = SnapshotId>) -> Result<LackingVersions> {
        let mut found = LackingVersions::default();
        let mut todo: VecDeque<Lead> = tips.map(|tip| (tip, None)).collect();
        // Each with its time.
        let (mut seen, mut in_a_row, mut ahead) = (HashMap::new(), 0, PATIENCE);
        while let Some((id, child)) = todo.pop_front() {
            if let Some(time) = seen.get(&id) {
                self.require_order(*time, child)?;
                continue;
            }
            let is_tip = child.is_none();
            let commit = self.from.objects().try_commit(&id).await.map_err(|e| e.context(self.from.storage()))?;
            let there = self.there(known, id, commit.as_ref()).await?;
            let is_kept = there.is_some();
            if let Some(there) = there.filter(|_| !(is_tip && known.kept.has_expired(id))) {
                self.require_order(there.time, child)?;
                seen.insert(id, there.time);
                found.there.insert(id, there);
                continue;
            }
            if self.options.shallow && !is_tip {
                continue;
            }
            let commit = commit.ok_or_else(|| self.lost(id, child))?;
            self.require_order(commit.time, child)?;
            seen.insert(id, commit.time);
            in_a_row += 1;
            if in_a_row >= ahead {
                ahead = self.read_ahead(id, &commit, ahead).await;
                in_a_row = 0;
            }
            let mark = known.marks.before(id).await?;
            let followed = match mark {
                PastMark::Whole => commit.parents.len(),
                PastMark::OtherParents => 1,
                PastMark::History => 0,
            };
            let (followed, left) = commit.parents.split_at(followed.min(commit.parents.len()));
            todo.extend(followed.iter().map(|parent| (*parent, Some((id, commit.time)))));
            for parent in left {
                // The target may keep what the source was left without.
                let there = if found.there.contains_key(parent) { None } else { self.there(known, *parent, None).await? };
                if let Some(there) = there {
                    self.require_order(there.time, Some((id, commit.time)))?;
                    found.there.insert(*parent, there);
                }
            }
            let data = self.data_of(known, id, is_tip).await?;
            found.versions.push(LackingVersion { id, time: commit.time, data, is_cut: mark == PastMark::History, is_kept });
        }
        found.versions.sort_by_key(|version| (version.time, version.id));
        Ok(found)
    }

    /// Refuses a parent that is not earlier than the child that led there.
    fn require_order(&self, time: Timestamp, child: Option<(SnapshotId, Timestamp)>) -> Result<()> {
        let Some((id, later)) = child else { return Ok(()) };
        require_earlier(time, later).map_err(|e| e.context(format!("version {id} of {}", self.from.storage())))
    }

    /// What becomes of the data of a version that the target lacks.
    async fn data_of(&self, known: SyncKnown<'_>, id: SnapshotId, is_tip: bool) -> Result<CopiedData> {
        match known.given_up.expired(id) {
            // A ref showed it that has been moved since.
            Some(_) if is_tip => {
                self.from.read_revision(&id.into()).await.map_err(|e| e.context(self.from.storage()))?;
                Ok(CopiedData::Copied)
            }
            _ if !is_tip && known.kept.is_recorded(id) => Ok(CopiedData::Recorded),
            Some(act) => Ok(CopiedData::Expired(act.number)),
            None => Ok(CopiedData::Copied),
        }
    }

    /// The error for a version that is not in the source: no version that led there came without what is before it.
    fn lost(&self, id: SnapshotId, child: Option<(SnapshotId, Timestamp)>) -> Error {
        let place = self.from.storage();
        match child {
            None => Error::not_found(format!("snapshot {id} is not in {place}")),
            Some((by, _)) => {
                Error::corrupt(format!("snapshot {id}, a parent of {by}, is missing in {place}; look with: firn verify --all"))
            }
        }
    }

    /// What the target has of a version; `None` if no ref of it keeps the version.
    async fn there(&self, known: SyncKnown<'_>, id: SnapshotId, ours: Option<&Arc<Commit>>) -> Result<Option<ThereVersion>> {
        let Some(time) = (match ours {
            Some(commit) => Some(commit.time),
            None => self.to.objects().try_commit(&id).await?.map(|commit| commit.time),
        }) else {
            return Ok(None);
        };
        let SyncKnown { kept, given_up, marks } = known;
        if !self.to.is_kept_by(kept, id, time, KeptPart::Record).await? {
            // One that is not known to be kept is sent again, which does no harm. But one that has expired here is recorded as expired
            // there, so it must be known not to be kept.
            let is_kept = given_up.is_expired(id) && Box::pin(self.to.is_behind_any(id)).await?;
            if !is_kept {
                return Ok(None);
            }
        }
        let theirs = self.to.objects().commit(&id).await.map_err(|e| e.context(self.to.storage()))?;
        let has_history = Line { objects: self.to.objects(), id, commit: &theirs }.vouches().await?;
        let is_in_source = ours.is_some() && marks.before(id).await? != PastMark::History;
        // Differences are found in the source, so that must have the data as well.
        let has_data = !kept.has_expired(id) && !given_up.is_expired(id);
        let bases = ours.filter(|_| has_data).map(|_| id).into_iter().collect();
        Ok(Some(ThereVersion { time, has_history, is_in_source, bases }))
    }

    /// Records in the target what was copied without its data, before any ref leads to it: by the acts of the source, under their reasons.
    /// Not what somebody else has brought there since `kept` was read: nothing that the target keeps expires in it by a copy.
    pub(super) async fn record_expired(&self, versions: &[LackingVersion], given_up: &Retention, kept: &KeptRoots) -> Result<()> {
        if versions.iter().all(|version| matches!(version.data, CopiedData::Copied | CopiedData::Recorded)) {
            return Ok(());
        }
        let brought = self.brought_since(kept).await?;
        let mut acts = BTreeMap::<u32, Vec<&LackingVersion>>::new();
        for version in versions {
            if let CopiedData::Expired(number) = version.data
                && !brought.contains(&version.id)
            {
                acts.entry(number).or_default().push(version);
            }
        }
        for expired in acts.into_values() {
            let Some(act) = expired.first().and_then(|version| given_up.expired(version.id)) else { continue };
            let retiring = Retiring {
                author: act.author,
                reason: act.reason,
                rules: act.rules,
                time: act.time,
                versions: expired.iter().map(|version| version.id).collect(),
                latest: expired.iter().map(|version| version.time).max().unwrap_or(Timestamp::MIN),
            };
            self.to.refs().retire(&retiring).await.map_err(|e| e.context(self.to.storage()))?;
        }
        Ok(())
    }

    /// The versions that refs of the target have behind them, over all parents, and did not have when `kept` was read, and perhaps more.
    async fn brought_since(&self, kept: &KeptRoots) -> Result<HashSet<SnapshotId>> {
        let (now, marks) = (self.to.kept_roots().await?, SyncMarks::of(self.to));
        let (mut todo, mut brought) = (now.since(kept).collect::<Vec<_>>(), HashSet::new());
        while let Some(id) = todo.pop() {
            if kept.names(id) || !brought.insert(id) || marks.before(id).await? == PastMark::History {
                continue;
            }
            // What is absent here was left out of a version that has a marker.
            if let Some(commit) = self.to.objects().try_commit(&id).await.map_err(|e| e.context(self.to.storage()))? {
                todo.extend(&commit.parents);
            }
        }
        Ok(brought)
    }

    /// Reads the commits before one on its line, only to be faster. Returns how many lacking ones to wait for until the next call.
    async fn read_ahead(&self, id: SnapshotId, commit: &Commit, before: usize) -> usize {
        let objects = self.from.objects();
        let mut scan = Line { objects, id, commit }.history().scan_back(Span::all());
        let ahead = (before * 2).min(MOST_AHEAD);
        let mut ids = Vec::new();
        while ids.len() < ahead
            && let Ok(Some((_, entry))) = scan.next().await
        {
            ids.push(entry.id);
        }
        let reads = stream::iter(ids).map(|id| async move { drop(objects.try_commit(&id).await) });
        reads.buffer_unordered(READS).collect::<Vec<_>>().await;
        ahead
    }
}
