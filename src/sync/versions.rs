//! The versions that the target lacks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use futures::{StreamExt as _, stream};

use super::SyncRun;
use crate::error::{Error, Result};
use crate::format::Commit;
use crate::history::{KeptPart, KeptRoots, Line};
use crate::id::SnapshotId;
use crate::map::Span;
use crate::refs::READS;
use crate::refs::retention::Retiring;
use crate::snapshot::{Expiration, Retention};
use crate::storage::{Extent, ObjectName};
use crate::time::Timestamp;

/// After how many lacking versions in a row the line is read ahead, and how far at most.
const PATIENCE: usize = 4;
const MOST_AHEAD: usize = 256;

/// A version to be copied.
#[derive(Debug)]
pub(super) struct LackingVersion {
    pub(super) id: SnapshotId,
    pub(super) commit: Arc<Commit>,
    /// Whether its data is copied, too.
    pub(super) data: CopiedData,
}

/// What becomes of the data of a version.
#[derive(Debug)]
pub(super) enum CopiedData {
    Copied,
    /// It has expired in the source, and is going to be recorded as expired in the target.
    Expired(Expiration),
    /// It is on record as expired in the target.
    Recorded,
}

/// A version that the target has, or is going to have.
#[derive(Debug, Clone)]
pub(super) struct ThereVersion {
    /// As the source has it; `None` if the source was left without it.
    pub(super) commit: Option<Arc<Commit>>,
    pub(super) time: Timestamp,
    /// Whether the target has the versions before it.
    pub(super) has_history: bool,
    /// The versions with which those after it are compared, because both sides have their data: this one, or, if it has expired, those
    /// before it that are known.
    pub(super) bases: Vec<Arc<Commit>>,
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

impl SyncRun<'_> {
    /// The versions behind `tips`, those included, that no ref of the target keeps; of these only the tips, if no more is wanted. A
    /// version whose history the target was left without counts as kept.
    ///
    /// A tip of which the target has given up the data is lacking, although it is kept: what a ref shows is whole.
    pub(super) async fn versions(
        &self,
        kept: &KeptRoots,
        given_up: &Retention,
        tips: impl Iterator<Item = SnapshotId>,
    ) -> Result<LackingVersions> {
        let mut found = LackingVersions::default();
        let mut todo: VecDeque<(SnapshotId, Option<SnapshotId>)> = tips.map(|tip| (tip, None)).collect();
        // Each with the version that led there.
        let (mut seen, mut in_a_row, mut ahead) = (HashMap::new(), 0, PATIENCE);
        while let Some((id, child)) = todo.pop_front() {
            if seen.contains_key(&id) {
                continue;
            }
            seen.insert(id, child);
            let is_tip = child.is_none();
            let commit = self.from.objects().try_commit(&id).await.map_err(|e| e.context(self.from.storage()))?;
            if !(is_tip && kept.has_expired(id))
                && let Some(there) = self.there(kept, given_up, id, commit.as_ref()).await?
            {
                found.there.insert(id, there);
                continue;
            }
            if self.options.shallow && !is_tip {
                continue;
            }
            let Some(commit) = commit else {
                if is_tip {
                    return Err(Error::not_found(format!("snapshot {id} is not in {}", self.from.storage())));
                }
                // The source was left without it, and so will be the target.
                self.require_left_out(id, &seen).await?;
                continue;
            };
            in_a_row += 1;
            if in_a_row >= ahead {
                ahead = self.read_ahead(id, &commit, ahead).await;
                in_a_row = 0;
            }
            todo.extend(commit.parents.iter().map(|parent| (*parent, Some(id))));
            let data = self.data_of(kept, given_up, id, is_tip).await?;
            found.versions.push(LackingVersion { id, commit, data });
        }
        found.versions.sort_by_key(|version| (version.commit.time, version.id));
        Ok(found)
    }

    /// What becomes of the data of a version that the target lacks.
    async fn data_of(&self, kept: &KeptRoots, given_up: &Retention, id: SnapshotId, is_tip: bool) -> Result<CopiedData> {
        match given_up.expired(id) {
            // A ref showed it that has been moved since.
            Some(_) if is_tip => {
                self.from.read_revision(&id.into()).await.map_err(|e| e.context(self.from.storage()))?;
                Ok(CopiedData::Copied)
            }
            _ if !is_tip && kept.is_recorded(id) => Ok(CopiedData::Recorded),
            Some(act) => Ok(CopiedData::Expired(act)),
            None => Ok(CopiedData::Copied),
        }
    }

    /// `Corrupt` if a version that is not in the source should be: if no version that led there was copied to the source in part.
    async fn require_left_out(&self, id: SnapshotId, led: &HashMap<SnapshotId, Option<SnapshotId>>) -> Result<()> {
        let mut child = led.get(&id).copied().flatten();
        let first = child;
        while let Some(by) = child {
            if self.from.storage().get(&ObjectName::shallow(&by), Extent::Range(0..0)).await?.is_some() {
                return Ok(());
            }
            child = led.get(&by).copied().flatten();
        }
        let by = first.map(|by| format!(", a parent of {by},")).unwrap_or_default();
        Err(Error::corrupt(format!("snapshot {id}{by} is missing in {}; look with: firn verify --all", self.from.storage())))
    }

    /// What the target has of a version; `None` if no ref of it keeps the version.
    async fn there(
        &self,
        kept: &KeptRoots,
        given_up: &Retention,
        id: SnapshotId,
        ours: Option<&Arc<Commit>>,
    ) -> Result<Option<ThereVersion>> {
        let Some(time) = (match ours {
            Some(commit) => Some(commit.time),
            None => self.to.objects().try_commit(&id).await?.map(|commit| commit.time),
        }) else {
            return Ok(None);
        };
        if !self.to.is_kept_by(kept, id, time, KeptPart::Record).await? {
            // One that is not known to be kept is sent again, which does no harm. But one that has expired here is recorded as expired
            // there, so it must be known not to be kept.
            let is_kept = given_up.is_expired(id) && Box::pin(self.to.is_behind_any(id)).await?;
            if !is_kept {
                return Ok(None);
            }
        }
        let theirs = self.to.objects().commit(&id).await.map_err(|e| e.context(self.to.storage()))?;
        let has_history = !Line { objects: self.to.objects(), id, commit: &theirs }.is_shallow().await?;
        // Differences are found in the source, so that must have the data as well.
        let has_data = !kept.has_expired(id) && !given_up.is_expired(id);
        let bases = ours.filter(|_| has_data).cloned().into_iter().collect();
        Ok(Some(ThereVersion { commit: ours.cloned(), time, has_history, bases }))
    }

    /// Records in the target what was copied without its data, before any ref leads to it: by the acts of the source, under their reasons.
    pub(super) async fn record_expired(&self, versions: &[LackingVersion]) -> Result<()> {
        let mut acts = BTreeMap::<u32, (&Expiration, Vec<&LackingVersion>)>::new();
        for version in versions {
            if let CopiedData::Expired(act) = &version.data {
                acts.entry(act.number).or_insert_with(|| (act, Vec::new())).1.push(version);
            }
        }
        for (act, expired) in acts.into_values() {
            let retiring = Retiring {
                author: act.author.clone(),
                reason: act.reason.clone(),
                rules: act.rules.clone(),
                time: act.time,
                versions: expired.iter().map(|version| version.id).collect(),
                latest: expired.iter().map(|version| version.commit.time).max().unwrap_or(Timestamp::MIN),
            };
            self.to.refs().retire(&retiring).await.map_err(|e| e.context(self.to.storage()))?;
        }
        Ok(())
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
