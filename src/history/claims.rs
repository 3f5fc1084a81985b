//! The claims of a version that comes from elsewhere, about the versions before it.
//!
//! A commit names its parents and its history by id only. Claims that cannot be true are refused, and those that can be checked here are.

use super::ancestry::Line;
use super::behind::Behind;
use crate::error::{Error, Result};
use crate::format::{Commit, HistoryEntry};
use crate::id::SnapshotId;
use crate::map::{NodeSink, Nowhere, build};
use crate::objects::Objects;
use crate::time::Timestamp;

/// What the history of a parent tells of the one that a child names.
#[derive(Debug)]
pub(crate) enum Followed {
    /// It is the history of the parent and the parent itself, or begins with the parent: there are no others.
    Yes,
    /// This repository cannot tell, because it has the parent without its history.
    Unknown,
    /// It cannot tell, because the history of the parent cannot be read.
    Unreadable(Error),
}

/// Refuses claims that contradict each other, whatever is known of other versions: `Corrupt`.
pub(crate) async fn check_claims(objects: &Objects, commit: &Commit) -> Result<()> {
    for container in &commit.containers {
        let place = container.place().map_err(|e| Error::corrupt(format!("container {}", container.name)).caused_by(e))?;
        if !commit.places.contains(&place) {
            return Err(Error::corrupt(format!("its places lack {place}, the place of container {}", container.name)));
        }
    }
    let empty = build::<HistoryEntry, _>(futures::stream::empty(), objects.shape(), &mut Nowhere).await?.root;
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

/// Refuses a parent that is not earlier than its child: `Corrupt`.
pub(crate) fn require_earlier(parent: Timestamp, child: Timestamp) -> Result<()> {
    if parent < child { Ok(()) } else { Err(Error::corrupt(format!("it is stamped {child}, its parent {parent}"))) }
}

/// Refuses a version that does not list the places of its first parent: `Corrupt`.
pub(crate) fn require_places(id: SnapshotId, parent: &Commit, commit: &Commit) -> Result<()> {
    match parent.places.iter().find(|place| !commit.places.contains(place)) {
        None => Ok(()),
        Some(place) => Err(Error::corrupt(format!("its places lack {place}, which its parent {id} lists"))),
    }
}

/// Compares the history of `commit` with that of its first parent. `Corrupt` when it is another. Gives the nodes of the history to `sink`.
///
/// `has_history` tells whether what is before the parent is known to be here.
pub(crate) async fn follows(
    parent: Line<'_>,
    has_history: bool,
    commit: &Commit,
    sink: &mut impl NodeSink<HistoryEntry>,
) -> Result<Followed> {
    let claimed = Behind::of(commit);
    if !parent.begins_history(claimed.since) && claimed.since != parent.commit.since {
        let shown = |time: Option<Timestamp>| time.map_or_else(|| "the beginning".to_owned(), |time| time.to_string());
        return Err(Error::corrupt(format!(
            "it says that its history reaches back to {}; that of its parent {} reaches back to {}",
            shown(claimed.since),
            parent.id,
            shown(parent.commit.since)
        )));
    }
    match parent.behind_child(claimed.since, !has_history, sink).await {
        Ok(None) => Ok(Followed::Unknown),
        Ok(Some(found)) if found == claimed => Ok(Followed::Yes),
        Ok(_) => Err(Error::corrupt(format!("its history {} is not that of its parent {} and that parent", claimed.root, parent.id))),
        Err(e) if e.is_damage() => Ok(Followed::Unreadable(e)),
        Err(e) => Err(e),
    }
}
