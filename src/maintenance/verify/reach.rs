//! Which versions there are: from the refs along parents and histories.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::TryStreamExt;

use super::finding::{Finding, FindingKind};
use super::{Verifier, is_damage};
use crate::error::Result;
use crate::format::{Commit, HistoryEntry, MOST_SNAPSHOT, SnapshotObject};
use crate::history::Line;
use crate::id::SnapshotId;
use crate::map::{Map, Span};
use crate::refs::{Ref, RefKind, RefName};
use crate::storage::{Extent, ObjectName, layout};
use crate::time::Timestamp;

/// A version to look at, and the one that names it; `None`: a ref or the caller.
type Named = (SnapshotId, Option<SnapshotId>);

/// The versions that were reached.
#[derive(Debug, Default)]
pub(super) struct Versions {
    pub(super) commits: HashMap<SnapshotId, Arc<Commit>>,
    /// Those that came here without their history.
    pub(super) shallow: HashSet<SnapshotId>,
    /// Those whose history is not what it should be, so that nothing follows from it.
    pub(super) unsure: HashSet<SnapshotId>,
    /// The findings about snapshots that could not be read.
    lost: HashMap<SnapshotId, usize>,
}

impl Versions {
    /// Whether the snapshot is here, or lost.
    pub(super) fn is_known(&self, id: &SnapshotId) -> bool {
        self.commits.contains_key(id) || self.lost.contains_key(id)
    }

    /// Every version, parents before children.
    pub(super) fn oldest_first(&self) -> Vec<SnapshotId> {
        let by_time: BTreeSet<(Timestamp, SnapshotId)> = self.commits.iter().map(|(id, commit)| (commit.time, *id)).collect();
        by_time.into_iter().map(|(_, id)| id).collect()
    }
}

impl Verifier<'_> {
    /// What the refs keep: tips, and where their moves came from and led to.
    pub(super) async fn ref_roots(&self) -> Result<Vec<Named>> {
        let mut roots = Vec::new();
        for (kind, folder) in [(RefKind::Branch, layout::BRANCHES), (RefKind::Tag, layout::TAGS)] {
            let listed: Vec<_> = self.repository.storage().list(folder).try_collect().await?;
            for meta in listed {
                let name = meta.name.strip_prefix(folder).and_then(|name| name.strip_suffix(layout::REF_SUFFIX));
                // What is no ref name was not put there by us.
                if let Some(Ok(name)) = name.map(RefName::new) {
                    self.ref_root(&Ref { kind, name }, &mut roots).await?;
                }
            }
        }
        roots.sort_unstable();
        roots.dedup();
        Ok(roots)
    }

    async fn ref_root(&self, name: &Ref, roots: &mut Vec<Named>) -> Result<()> {
        let register = name.register();
        let refs = self.repository.refs();
        let record = match refs.try_read(name).await {
            Ok(Some(state)) => state.record,
            Ok(None) => return Ok(()),
            Err(e) if is_damage(e.kind()) => {
                self.findings.add(Finding::new(FindingKind::Corrupt, &register, e.to_string()));
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        self.refs_read.fetch_add(1, Ordering::Relaxed);
        roots.extend(record.tip.map(|tip| (tip, None)));
        let moves = match refs.moves_back_to(&record, |_| false).await {
            Ok(moves) => moves,
            Err(e) if is_damage(e.kind()) => {
                self.lost_moves(&register, record.older.as_ref(), e.to_string()).await?;
                record.moves
            }
            Err(e) => return Err(e),
        };
        roots.extend(moves.iter().flat_map(|m| [m.from, m.to]).flatten().map(|id| (id, None)));
        Ok(())
    }

    /// The chain of earlier moves is broken; the message names the block.
    async fn lost_moves(&self, register: &impl std::fmt::Display, first: Option<&crate::id::Cid>, message: String) -> Result<()> {
        let first = first.map(ObjectName::moves);
        let (kind, object) = match first {
            Some(first) if message.contains(first.as_str()) => {
                let exists = self.repository.storage().get(&first, Extent::Range(0..0)).await?.is_some();
                (if exists { FindingKind::Corrupt } else { FindingKind::Missing }, first.to_string())
            }
            _ => (FindingKind::Corrupt, register.to_string()),
        };
        self.findings.add(Finding::new(kind, object, format!("earlier moves of {register} are lost: {message}")));
        Ok(())
    }

    /// Reads `roots` and everything behind them: parents, and whatever their histories list.
    pub(super) async fn reach(&self, roots: &[Named]) -> Result<Versions> {
        let mut versions = Versions::default();
        let mut todo: Vec<Named> = roots.to_vec();
        while let Some((id, child)) = todo.pop() {
            if versions.commits.contains_key(&id) {
                continue;
            }
            if let Some(at) = versions.lost.get(&id) {
                self.findings.reach(*at, child.unwrap_or(id));
                continue;
            }
            if let Some(commit) = self.read_snapshot(&mut versions, id, child).await? {
                todo.extend(commit.parents.iter().map(|parent| (*parent, Some(id))));
                if child.is_none() {
                    todo.extend(self.listed(id, &commit).await?);
                }
                versions.commits.insert(id, commit.into());
            }
        }
        Ok(versions)
    }

    async fn read_snapshot(&self, versions: &mut Versions, id: SnapshotId, child: Option<SnapshotId>) -> Result<Option<Commit>> {
        let name = ObjectName::snapshot(&id);
        let found = match self.repository.storage().get(&name, Extent::Whole { at_most: MOST_SNAPSHOT }).await {
            // It is not even of a length that it can have.
            Err(e) if is_damage(e.kind()) => Some(Err(e)),
            found => found?.map(Ok),
        };
        let (kind, message) = if let Some(bytes) = found {
            match bytes.and_then(|bytes| SnapshotObject::decode_verified(&bytes, id)) {
                Ok(object) => return Ok(Some(object.commit)),
                Err(e) if is_damage(e.kind()) => (FindingKind::Corrupt, e.to_string()),
                Err(e) => return Err(e),
            }
        } else {
            if let Some(child) = child
                && self.was_left_out(versions, id, child).await?
            {
                return Ok(None);
            }
            let named = child.map_or_else(|| "a ref names it".to_owned(), |child| format!("{child} follows it"));
            (FindingKind::Missing, format!("snapshot {id} does not exist, though {named}"))
        };
        let at = self.findings.add(Finding::new(kind, name, message).version(child.unwrap_or(id)));
        versions.lost.insert(id, at);
        Ok(None)
    }

    /// Whether an absent snapshot was not imported with `child`, which names it: then it is not lost.
    async fn was_left_out(&self, versions: &Versions, id: SnapshotId, child: SnapshotId) -> Result<bool> {
        if self.repository.storage().get(&ObjectName::shallow(&child), Extent::Range(0..0)).await?.is_none() {
            return Ok(false);
        }
        let Some(commit) = versions.commits.get(&child) else { return Ok(false) };
        if commit.parents.iter().skip(1).any(|parent| *parent == id) {
            return Ok(true);
        }
        // The history came with a later import, and with it everything that it lists.
        match (Line { objects: &self.objects, id: child, commit }).is_shallow().await {
            Err(e) if is_damage(e.kind()) => Ok(true),
            answer => answer,
        }
    }

    /// What a history lists, as far as it can be read: behind a snapshot that is lost, nothing else tells.
    async fn listed(&self, id: SnapshotId, commit: &Commit) -> Result<Vec<Named>> {
        let mut found = Vec::new();
        let mut scan = Map::<HistoryEntry, _>::new(&self.objects, commit.history).scan(Span::all());
        loop {
            match scan.next().await {
                Ok(Some((_, entry))) => found.push((entry.id, Some(id))),
                Ok(None) => return Ok(found),
                // The walk of the history reports it.
                Err(e) if is_damage(e.kind()) => {}
                Err(e) => return Err(e),
            }
        }
    }
}
