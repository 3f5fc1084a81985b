//! Is everything here, is it what it was, and does it fit together?
//!
//! A walk from the refs (or from one version) that reads every object anew, past all caches, and hashes every byte. What
//! versions share is checked once. Nothing is repaired, and nothing stops the walk but a store that does not answer.
//! External files are not read.

mod changes;
mod chunks;
mod finding;
mod line;
mod reach;
mod registers;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{OnceCell, Semaphore};

use crate::commit::{Wrong, recount};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{ChangeList, Commit, Entry, VirtualFile};
use crate::handle::Repository;
use crate::id::{MapKind, NodeId, SnapshotId};
use crate::objects::Objects;
use crate::snapshot::Snapshot;
use crate::storage::{Extent, ObjectName};

pub use finding::{Finding, FindingKind};

use chunks::Chunks;
use finding::Findings;
use line::ReadLine;
use reach::Versions;
use tree::NodeRecord;

/// How many MiB of objects are read at once.
const READ_MIB: u32 = 32;
/// How many versions are walked at once.
const VERSIONS: usize = 8;

/// What is verified.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum VerifyScope {
    /// One version with all its data, and the commits behind it without theirs.
    Revision(Snapshot),
    /// Every version that any branch or tag shows, has shown or leads back to, with all its data, the refs themselves, and the register of
    /// garbage collection.
    Everything,
}

/// What a verification saw.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// What is wrong, in no particular order; at most 10,000. None: everything reached is as it should be.
    pub findings: Vec<Finding>,
    /// How many findings there were in all.
    pub found: u64,
    /// How many refs were read; none for one revision.
    pub refs: u64,
    /// How many snapshots were read.
    pub snapshots: u64,
    /// How many nodes of maps were read.
    pub nodes: u64,
    /// How many chunks were read.
    pub chunks: u64,
    /// How many bytes of chunks were hashed.
    pub bytes: u64,
    /// How many versions have expired: their data was given up, and was not looked for.
    pub expired: u64,
    /// Versions that were imported without what came before them: no damage.
    pub shallow: Vec<SnapshotId>,
}

impl Repository {
    /// Reads and hashes everything in `scope` again, and tells what is missing, damaged or at odds with the rest.
    ///
    /// Of versions that have expired only the snapshot and the history are read; to verify one of them alone is `Expired`. The list of
    /// changed keys beside a version is compared with what differs between it and its first parent where the data of both is verified, so
    /// not of one revision.
    ///
    /// Any other error means that the store did not answer, not that something is wrong with what it holds: that is a finding. Changes
    /// nothing, so it can be cancelled at any moment.
    ///
    /// Takes at most about 100 MB of memory for reads and caches, 30 MB for remembered chunks where there are hundreds of thousands, about
    /// 300 bytes for each node of a map and 1 KB for each commit. At most 32 MiB are being read at once; a chunk of more than 8 MiB
    /// is read by ranges and never held as a whole.
    pub async fn verify(&self, scope: VerifyScope) -> Result<Verified> {
        if let VerifyScope::Revision(snapshot) = &scope {
            snapshot.expiry().await?;
        }
        Verifier::new(self).run(scope).await
    }
}

/// A version of which everything has been read that is to be read.
struct Walked {
    id: SnapshotId,
    commit: Arc<Commit>,
    line: ReadLine,
    /// The virtual-file manifest and the manifest, if its data is verified.
    data: Option<(Arc<NodeRecord>, Arc<NodeRecord>)>,
    /// The list of its changed keys, if its data is verified and there is one.
    changes: Option<ChangeList>,
}

/// What became of a node. There are many, so the cell goes once it is full.
#[derive(Clone)]
enum NodeSlot {
    Busy(Arc<OnceCell<Arc<NodeRecord>>>),
    Read(Arc<NodeRecord>),
}

/// One verification under way.
struct Verifier<'r> {
    repository: &'r Repository,
    /// Nodes for comparing maps; its cache holds nothing from before.
    objects: Objects,
    findings: Findings,
    /// What became of each node, so that it is read once, also where several versions come to it at the same time.
    nodes: Mutex<HashMap<(MapKind, NodeId), NodeSlot>>,
    chunks: Chunks,
    permits: Semaphore,
    refs_read: AtomicU64,
    /// The latest collection that a ref knows of.
    highest_epoch: AtomicU64,
    nodes_read: AtomicU64,
}

impl<'r> Verifier<'r> {
    fn new(repository: &'r Repository) -> Self {
        Self {
            repository,
            objects: Objects::new(repository.storage().clone(), repository.hash(), 64 << 20),
            findings: Findings::default(),
            nodes: Mutex::default(),
            chunks: Chunks::default(),
            permits: Semaphore::new(READ_MIB as usize),
            refs_read: AtomicU64::new(0),
            highest_epoch: AtomicU64::new(0),
            nodes_read: AtomicU64::new(0),
        }
    }

    async fn run(self, scope: VerifyScope) -> Result<Verified> {
        let mut versions = match &scope {
            VerifyScope::Revision(snapshot) => self.reach(&[(snapshot.id(), None)]).await?,
            VerifyScope::Everything => {
                let roots = self.ref_roots().await?;
                let versions = self.reach(&roots).await?;
                self.check_main(&versions).await?;
                self.check_collection().await?;
                versions
            }
        };
        let retention = self.read_retention().await?;
        let mut expired = 0;
        let deep: HashSet<SnapshotId> = match scope {
            VerifyScope::Revision(snapshot) => [snapshot.id()].into(),
            VerifyScope::Everything => {
                let kept: HashSet<_> = versions.commits.keys().copied().filter(|id| !retention.is_expired(*id)).collect();
                expired = (versions.commits.len() - kept.len()) as u64;
                kept
            }
        };
        let commits = versions.oldest_first().into_iter().filter_map(|id| Some((id, versions.commits.get(&id)?.clone())));
        let walks: Vec<_> = commits.map(|(id, commit)| self.walk(id, commit, deep.contains(&id)).boxed()).collect();
        let mut walks = stream::iter(walks).buffered(VERSIONS);
        let (mut clean, mut whole) = (HashSet::new(), HashSet::new());
        let mut miscounts = HashMap::new();
        while let Some(Walked { id, commit, line, data, changes }) = walks.try_next().await? {
            self.check_line(&mut versions, id, &commit, line).await?;
            if let Some(data) = data {
                let parent = commit.parents.first().filter(|parent| clean.contains(*parent));
                let parent = parent.and_then(|parent| versions.commits.get(parent)).cloned();
                if data.0.is_whole && data.1.is_whole {
                    whole.insert(id);
                }
                if let Some(list) = changes {
                    self.check_changes(&versions, &whole, id, &list).await?;
                }
                if self.check_data(id, &commit, parent.as_deref(), &data, &mut miscounts).await? {
                    clean.insert(id);
                }
            }
        }
        drop(walks);
        Ok(Verified { expired, ..self.report(&versions) })
    }

    /// Whether there is anything under the name of an object, also if it is damaged.
    async fn exists(&self, name: &ObjectName) -> Result<bool> {
        match self.repository.storage().get(name, Extent::Range(0..0)).await {
            Err(e) if is_damage(&e) => Ok(true),
            found => Ok(found?.is_some()),
        }
    }

    /// Reads the maps of a version, and its chunks if it is looked at in full. Several versions are walked at once.
    async fn walk(&self, id: SnapshotId, commit: Arc<Commit>, is_deep: bool) -> Result<Walked> {
        let data = async {
            if !is_deep {
                return Ok(None);
            }
            futures::try_join!(self.map::<VirtualFile>(id, commit.files), self.map::<Entry>(id, commit.manifest)).map(Some)
        };
        let changes = async { if is_deep { self.read_changes(id).await } else { Ok(None) } };
        let (line, data, changes) = futures::try_join!(self.read_line(id, &commit), data, changes)?;
        Ok(Walked { id, commit, line, data, changes })
    }

    fn report(self, versions: &Versions) -> Verified {
        let (findings, found) = self.findings.into_parts();
        let (chunks, bytes) = self.chunks.counts();
        Verified {
            findings,
            found,
            refs: self.refs_read.load(Ordering::Relaxed),
            snapshots: versions.commits.len() as u64,
            nodes: self.nodes_read.load(Ordering::Relaxed),
            chunks,
            bytes,
            expired: 0,
            shallow: versions.oldest_first().into_iter().filter(|id| versions.shallow.contains(id)).collect(),
        }
    }

    /// Checks that the two manifests of a version, which have been read, agree; `true` when their counts can be built on.
    async fn check_data(
        &self,
        id: SnapshotId,
        commit: &Commit,
        parent: Option<&Commit>,
        (files, manifest): &(Arc<NodeRecord>, Arc<NodeRecord>),
        miscounts: &mut HashMap<(NodeId, NodeId), Vec<usize>>,
    ) -> Result<bool> {
        if !files.is_whole || !manifest.is_whole {
            return Ok(false);
        }
        if let Some(known) = miscounts.get(&(commit.manifest, commit.files)) {
            for at in known {
                self.findings.reach(*at, id);
            }
            return Ok(false);
        }
        let object = ObjectName::node(MapKind::Files, &commit.files);
        let counted = match recount(&self.objects, parent, commit).await {
            // Once more from nothing: what has not changed since the parent has keys too.
            Ok(wrong) if !wrong.is_empty() && parent.is_some() => recount(&self.objects, None, commit).await,
            counted => counted,
        };
        let wrong = match counted {
            Ok(wrong) => wrong,
            Err(e) if is_damage(&e) => {
                self.findings.add(Finding::new(FindingKind::Corrupt, &object, e.to_string()).version(id));
                return Ok(false);
            }
            Err(e) => return Err(e),
        };
        let mut known = Vec::new();
        for miscount in &wrong {
            let kind = match miscount.wrong {
                Wrong::Miscounted { .. } => FindingKind::Miscounted,
                Wrong::PastEnd { .. } => FindingKind::PastEnd,
                Wrong::Unplaced(_) => FindingKind::Unplaced,
            };
            let mut finding = Finding::new(kind, &object, miscount.to_string()).version(id);
            finding.keys = miscount.keys.iter().map(ToString::to_string).collect();
            known.push(self.findings.add(finding));
        }
        if known.is_empty() {
            return Ok(true);
        }
        miscounts.insert((commit.manifest, commit.files), known);
        Ok(false)
    }
}

/// Whether an error says something of what is stored, rather than of the store.
fn is_damage(error: &Error) -> bool {
    error.is_of_one_object()
        || matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported | ErrorKind::Invalid)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
