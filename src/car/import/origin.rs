//! The claims of an imported commit about the commits before it.
//!
//! A CAR file holds neither parents nor history: the commit names both by id only. Claims that cannot be true are refused. Claims that
//! this repository can check are checked. The others are kept as claims: a marker records that the version is shallow, its history
//! is never shown, and `verify` lists it as shallow.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::{Commit, HistoryEntry};
use crate::handle::Repository;
use crate::history::{Behind, KeptPart, Line};
use crate::id::SnapshotId;
use crate::map::{NodeSink, Nowhere, build};
use crate::objects::Uploads;
use crate::time::Timestamp;

/// What this repository has, and a ref keeps, of the line behind an imported version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImportOrigin {
    /// The history map, proved to be the line of the first parent.
    pub(super) has_history: bool,
    /// All parents.
    pub(super) has_parents: bool,
    /// The parents that the version leads to, and when they were committed.
    pub(super) linked: Vec<(SnapshotId, Timestamp)>,
    /// The lowest epoch of the refs that were asked.
    pub(super) epoch: u64,
}

impl ImportOrigin {
    /// Whether nothing is missing.
    pub(super) const fn is_whole(&self) -> bool {
        self.has_history && self.has_parents
    }
}

impl Repository {
    /// Checks what `commit` says of the commits before it, and stores its history map if this repository can prove it.
    ///
    /// `Corrupt` when the claims contradict each other or the parents that are here. A history is stored only behind a parent that a
    /// branch or a tag keeps, so that nothing is linked that a garbage collection may delete.
    pub(super) async fn prove_origin(&self, commit: &Commit, uploads: &mut Uploads) -> Result<ImportOrigin> {
        self.check_claims(commit).await?;
        let mut origin = ImportOrigin { has_history: true, has_parents: true, linked: Vec::new(), epoch: u64::MAX };
        let Some((first, others)) = commit.parents.split_first() else { return Ok(origin) };
        origin.has_history = false;
        for id in others {
            let Some(parent) = self.parent(id).await? else {
                origin.has_parents = false;
                continue;
            };
            require_earlier(&parent, commit)?;
            if !self.link(*id, parent.time, &mut origin).await? {
                origin.has_parents = false;
            }
        }
        let Some(parent) = self.parent(first).await? else {
            origin.has_parents = false;
            return Ok(origin);
        };
        require_earlier(&parent, commit)?;
        if let Some(place) = parent.places.iter().find(|place| !commit.places.contains(place)) {
            return Err(Error::corrupt(format!("its places lack {place}, which its parent {first} lists")));
        }
        let line = Line { objects: self.objects(), id: *first, commit: &parent };
        let is_kept = self.link(*first, parent.time, &mut origin).await?;
        let is_proved = if is_kept { follows(line, commit, uploads).await? } else { follows(line, commit, &mut Nowhere).await? };
        origin.has_history = is_proved && is_kept;
        Ok(origin)
    }

    /// Notes that the version leads to a parent, if a ref keeps it.
    async fn link(&self, parent: SnapshotId, time: Timestamp, origin: &mut ImportOrigin) -> Result<bool> {
        let Some(epoch) = self.keeps(parent, time, KeptPart::Record).await? else { return Ok(false) };
        origin.epoch = origin.epoch.min(epoch);
        origin.linked.push((parent, time));
        Ok(true)
    }

    /// Refuses claims that contradict each other, whatever this repository holds.
    async fn check_claims(&self, commit: &Commit) -> Result<()> {
        for container in &commit.containers {
            let place = container.place().map_err(|e| Error::corrupt(format!("container {}", container.name)).caused_by(e))?;
            if !commit.places.contains(&place) {
                return Err(Error::corrupt(format!("its places lack {place}, the place of container {}", container.name)));
            }
        }
        let empty = build::<HistoryEntry, _>(futures::stream::empty(), self.objects().shape(), &mut Nowhere).await?.root;
        match (commit.parents.first(), commit.since) {
            (None, None) if commit.history == empty => Ok(()),
            (None, _) => Err(Error::corrupt("it has a history, but no parent")),
            (Some(parent), _) if commit.history == empty => {
                Err(Error::corrupt(format!("its history is empty, although it has the parent {parent}")))
            }
            (Some(_), Some(since)) if since >= commit.time => {
                Err(Error::corrupt(format!("its history begins at {since}, although it is stamped {}", commit.time)))
            }
            _ => Ok(()),
        }
    }

    /// The commit of a parent; `None` when it is not here, or damaged, which is not the fault of what is being imported.
    async fn parent(&self, id: &SnapshotId) -> Result<Option<Arc<Commit>>> {
        match self.objects().try_commit(id).await {
            Err(e) if e.is_damage() => Ok(None),
            found => found,
        }
    }
}

/// Refuses a parent that is not earlier than its child.
fn require_earlier(parent: &Commit, commit: &Commit) -> Result<()> {
    if parent.time < commit.time {
        return Ok(());
    }
    Err(Error::corrupt(format!("it is stamped {}, its parent {}", commit.time, parent.time)))
}

/// Whether the history of `commit` is that of its parent and the parent itself, or begins with the parent: there are no others.
///
/// `Ok(false)` when this repository cannot tell, because the parent itself is shallow here or its history is damaged; `Corrupt` when it is
/// neither. Gives the nodes of the history to `sink`.
async fn follows(parent: Line<'_>, commit: &Commit, sink: &mut impl NodeSink<HistoryEntry>) -> Result<bool> {
    let claimed = Behind::of(commit);
    let begins_here = parent.begins_history(claimed.since);
    if !begins_here && claimed.since != parent.commit.since {
        let shown = |time: Option<Timestamp>| time.map_or_else(|| "the beginning".to_owned(), |time| time.to_string());
        return Err(Error::corrupt(format!(
            "it says that its history reaches back to {}; that of its parent {} reaches back to {}",
            shown(claimed.since),
            parent.id,
            shown(parent.commit.since)
        )));
    }
    let found = async {
        let is_shallow = !begins_here && parent.is_shallow().await?;
        parent.behind_child(claimed.since, is_shallow, sink).await
    };
    match found.await {
        Ok(None) => Ok(false),
        Ok(Some(found)) if found == claimed => Ok(true),
        Ok(_) => Err(Error::corrupt(format!("its history {} is not that of its parent {} and that parent", claimed.root, parent.id))),
        Err(e) if e.is_damage() => Ok(false),
        Err(e) => Err(e),
    }
}
