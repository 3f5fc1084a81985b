//! Which versions there are: from the refs along parents and histories.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use super::finding::{Finding, FindingKind, VERSIONS};
use super::{Verifier, is_damage};
use crate::error::Result;
use crate::format::{Commit, HistoryEntry, MOST_SNAPSHOT, SnapshotObject};
use crate::history::Line;
use crate::id::SnapshotId;
use crate::map::{Map, Span};
use crate::refs::{MAIN, Ref, RefKind, RefName, is_lost_main};
use crate::storage::{Extent, ObjectName, layout};
use crate::time::Timestamp;

/// How many refs or snapshots are read at once.
const WIDE: usize = 32;

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

/// What came of a snapshot that something names.
enum Opened {
    /// It was read, and what its history lists, if that was looked at.
    Here(Arc<Commit>, Vec<Named>),
    Lost(Finding),
    /// It is absent, and was not imported with the child that names it.
    NotImported,
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
        let mut names = Vec::new();
        for (kind, folder) in [(RefKind::Branch, layout::BRANCHES), (RefKind::Tag, layout::TAGS)] {
            let mut listed = self.repository.storage().list(folder);
            while let Some(meta) = listed.try_next().await? {
                let name = meta.name.strip_prefix(folder).and_then(|name| name.strip_suffix(layout::REF_SUFFIX));
                // A file whose name is no ref name was not written by this program.
                if let Some(Ok(name)) = name.map(RefName::new) {
                    names.push(Ref { kind, name });
                }
            }
        }
        let reads: Vec<_> = names.iter().map(|name| self.ref_root(name).boxed()).collect();
        let mut roots: Vec<Named> = stream::iter(reads).buffer_unordered(WIDE).try_concat().await?;
        roots.sort_unstable();
        roots.dedup();
        Ok(roots)
    }

    /// Every repository has a branch `main`. Without it, snapshots that no ref keeps were probably published.
    pub(super) async fn check_main(&self, versions: &Versions) -> Result<()> {
        let main = Ref::branch(MAIN.parse()?);
        match self.repository.refs().try_read(&main).await {
            Ok(state) if is_lost_main(&main, state.as_ref().map(|state| &state.record)) => {}
            Ok(_) => return Ok(()),
            // It was reported when it was read as a root.
            Err(e) if is_damage(&e) => return Ok(()),
            Err(e) => return Err(e),
        }
        let mut unkept = Vec::new();
        let mut listed = self.repository.storage().list(layout::SNAPSHOTS);
        while let Some(meta) = listed.try_next().await? {
            let id = meta.name.rsplit('/').next().and_then(|name| name.parse::<SnapshotId>().ok());
            unkept.extend(id.filter(|id| !versions.is_known(id)));
        }
        unkept.sort_unstable();
        let count = unkept.len();
        let mut finding = Finding::new(
            FindingKind::Missing,
            main.register(),
            format!(
                "the branch that every repository has does not exist: its record was lost, or the creation was interrupted; \
                 snapshots that no branch or tag keeps: {count}"
            ),
        );
        finding.versions = unkept.into_iter().take(VERSIONS).collect();
        self.findings.add(finding);
        Ok(())
    }

    /// What one ref keeps.
    async fn ref_root(&self, name: &Ref) -> Result<Vec<Named>> {
        let register = name.register();
        let refs = self.repository.refs();
        let record = match refs.try_read(name).await {
            Ok(Some(state)) => state.record,
            Ok(None) => return Ok(Vec::new()),
            Err(e) if is_damage(&e) => {
                self.findings.add(Finding::new(FindingKind::Corrupt, &register, e.to_string()));
                return Ok(Vec::new());
            }
            Err(e) => return Err(e),
        };
        self.refs_read.fetch_add(1, Ordering::Relaxed);
        self.highest_epoch.fetch_max(record.epoch, Ordering::Relaxed);
        let tip = record.tip;
        let moves = match refs.moves_back_to(&record, |_| false).await {
            Ok(moves) => moves,
            Err(e) if is_damage(&e) => {
                self.lost_moves(&register, record.older.as_ref(), e.to_string()).await?;
                record.moves
            }
            Err(e) => return Err(e),
        };
        let shown = moves.iter().flat_map(|m| [m.from, m.to]);
        Ok(shown.chain([tip]).flatten().map(|id| (id, None)).collect())
    }

    /// The chain of earlier moves is broken; the message names the block.
    async fn lost_moves(&self, register: &impl std::fmt::Display, first: Option<&crate::id::Cid>, message: String) -> Result<()> {
        let first = first.map(ObjectName::moves);
        let (kind, object) = match first {
            Some(first) if message.contains(first.as_str()) => {
                (if self.exists(&first).await? { FindingKind::Corrupt } else { FindingKind::Missing }, first.to_string())
            }
            _ => (FindingKind::Corrupt, register.to_string()),
        };
        self.findings.add(Finding::new(kind, object, format!("earlier moves of {register} are lost: {message}")));
        Ok(())
    }

    /// Reads `roots` and everything behind them: parents, and whatever their histories list. Many snapshots are read at once.
    pub(super) async fn reach(&self, roots: &[Named]) -> Result<Versions> {
        let mut versions = Versions::default();
        let mut todo: Vec<Named> = roots.to_vec();
        let (mut asked, mut again) = (HashSet::new(), Vec::<Named>::new());
        let mut reads = FuturesUnordered::new();
        loop {
            while reads.len() < WIDE
                && let Some((id, child)) = todo.pop()
            {
                if asked.insert(id) {
                    let named_by = child.and_then(|child| versions.commits.get(&child).cloned());
                    reads.push(self.open(id, child, named_by).boxed());
                } else if let Some(at) = versions.lost.get(&id) {
                    self.findings.reach(*at, child.unwrap_or(id));
                } else if !versions.commits.contains_key(&id) {
                    // It is being read.
                    again.push((id, child));
                }
            }
            let Some((id, child, opened)) = reads.try_next().await? else { return Ok(versions) };
            match opened {
                Opened::Here(commit, listed) => {
                    todo.extend(commit.parents.iter().map(|parent| (*parent, Some(id))));
                    todo.extend(listed);
                    versions.commits.insert(id, commit);
                }
                Opened::Lost(finding) => {
                    let at = self.findings.add(finding.version(child.unwrap_or(id)));
                    versions.lost.insert(id, at);
                }
                // Whether it is a loss to another child is not known.
                Opened::NotImported => drop(asked.remove(&id)),
            }
            todo.extend(again.extract_if(.., |named| named.0 == id));
        }
    }

    async fn open(
        &self,
        id: SnapshotId,
        child: Option<SnapshotId>,
        named_by: Option<Arc<Commit>>,
    ) -> Result<(SnapshotId, Option<SnapshotId>, Opened)> {
        let mut opened = self.read_snapshot(id, child, named_by).await?;
        if let (Opened::Here(commit, listed), None) = (&mut opened, child) {
            *listed = self.listed(id, commit).await?;
        }
        Ok((id, child, opened))
    }

    async fn read_snapshot(&self, id: SnapshotId, child: Option<SnapshotId>, named_by: Option<Arc<Commit>>) -> Result<Opened> {
        let name = ObjectName::snapshot(&id);
        let found = match self.repository.storage().get(&name, Extent::Whole { at_most: MOST_SNAPSHOT }).await {
            // It is not even of a length that it can have.
            Err(e) if is_damage(&e) => Some(Err(e)),
            found => found?.map(Ok),
        };
        let (kind, message) = if let Some(bytes) = found {
            match bytes.and_then(|bytes| SnapshotObject::decode_verified(&bytes, id)) {
                Ok(object) => return Ok(Opened::Here(object.commit.into(), Vec::new())),
                Err(e) if is_damage(&e) => (FindingKind::Corrupt, e.to_string()),
                Err(e) => return Err(e),
            }
        } else {
            if let (Some(child), Some(commit)) = (child, &named_by)
                && self.was_left_out(id, child, commit).await?
            {
                return Ok(Opened::NotImported);
            }
            let named = child.map_or_else(|| "a ref names it".to_owned(), |child| format!("{child} follows it"));
            (FindingKind::Missing, format!("snapshot {id} does not exist, though {named}"))
        };
        Ok(Opened::Lost(Finding::new(kind, name, message)))
    }

    /// Whether an absent snapshot was not imported with `child`, which names it: then it is not lost.
    async fn was_left_out(&self, id: SnapshotId, child: SnapshotId, commit: &Commit) -> Result<bool> {
        if !self.exists(&ObjectName::shallow(&child)).await? {
            return Ok(false);
        }
        if commit.parents.iter().skip(1).any(|parent| *parent == id) {
            return Ok(true);
        }
        // The history came with a later import, and with it everything that it lists.
        match (Line { objects: &self.objects, id: child, commit }).ends_with_parent().await {
            Err(e) if is_damage(&e) => Ok(true),
            is_here => is_here.map(|is_here| !is_here),
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
                Err(e) if is_damage(&e) => {}
                Err(e) => return Err(e),
            }
        }
    }
}
