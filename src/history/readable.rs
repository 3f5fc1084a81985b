//! The snapshots of a line that can be read, also when its ref, its tip or its history cannot.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};

use super::ancestry::Line;
use crate::error::Result;
use crate::format::parse_history_key;
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::map::Span;
use crate::refs::{READS, Ref, RefRecord, absent, is_lost_main, is_unreadable};
use crate::storage::layout;
use crate::time::Timestamp;

/// A snapshot that can be read, as a search for it found it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadableSnapshot {
    /// The snapshot.
    pub id: SnapshotId,
    /// When it was committed.
    pub time: Timestamp,
    /// The first line of its message, at most 72 bytes.
    pub summary: String,
    /// What names it.
    pub found_in: FoundIn,
}

/// What names a snapshot that a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FoundIn {
    /// The ref points at it.
    Tip,
    /// A recorded move of the ref came from it or led to it.
    Moves,
    /// The history of one of those lists it.
    History,
    /// Nothing that can be read: it was found by listing all snapshots of the repository. It may never have been
    /// published, for example because its writer was interrupted.
    Listing,
}

impl FoundIn {
    /// The word in which it is printed: `tip`, `moves`, `history` or `listing`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tip => "tip",
            Self::Moves => "moves",
            Self::History => "history",
            Self::Listing => "listing",
        }
    }
}

/// Snapshots that something names, by time and id.
type Candidates = BTreeMap<(Timestamp, SnapshotId), FoundIn>;

impl Repository {
    /// The latest `limit` snapshots of the line of a ref that can be read, latest first.
    ///
    /// Works also when the record of the ref, the snapshot it points at, or a part of its history is damaged: use it to
    /// find the snapshot to which [`reset`](Self::reset) can point a damaged branch. Follows the tip, the moves and their
    /// histories, and reads each snapshot that it returns. Only when one of those cannot be read, it also lists and reads
    /// every snapshot of the repository, and keeps the ones that have a known snapshot of the line in their history.
    ///
    /// Versions whose data has expired are left out. A snapshot that can be read may refer to nodes or chunks that cannot; [`verify`](Self::verify) tells.
    pub async fn readable_snapshots(&self, name: &Ref, limit: usize) -> Result<Vec<ReadableSnapshot>> {
        let (mut candidates, roots, mut is_complete) = self.named_snapshots(name).await?;
        // Where it is not known what has expired, all are listed.
        let retention = self.retention().await.unwrap_or_default();
        candidates.retain(|(_, id), _| !retention.is_expired(*id));
        loop {
            let (found, all_readable) = self.latest_readable(&candidates, limit).await?;
            if is_complete && all_readable {
                return Ok(found);
            }
            for (place, found_in) in self.listed_snapshots(&roots).await? {
                if !retention.is_expired(place.1) {
                    candidates.entry(place).or_insert(found_in);
                }
            }
            is_complete = true;
            if !all_readable {
                return Ok(self.latest_readable(&candidates, limit).await?.0);
            }
        }
    }

    /// What the ref and the histories behind it name, the snapshots at which these begin, and whether all of it was readable.
    async fn named_snapshots(&self, name: &Ref) -> Result<(Candidates, Vec<(SnapshotId, Timestamp)>, bool)> {
        let (record, mut is_complete) = match self.refs().read_to_change(name).await {
            // The branch that every repository has was lost.
            Ok(found) if is_lost_main(name, found.as_ref().map(|found| &found.state.record)) => (RefRecord::placeholder(), false),
            Ok(Some(found)) => (found.state.record, !found.is_damaged),
            Ok(None) => return Err(absent(name, None)),
            // It is there, and nothing of it can be read.
            Err(e) if e.is_of_one_object() => (RefRecord::placeholder(), false),
            Err(e) => return Err(e),
        };
        let moves = match self.refs().moves_back_to(&record, |_| false).await {
            Ok(moves) => moves,
            Err(e) if is_unreadable(&e) => {
                is_complete = false;
                record.moves.clone()
            }
            Err(e) => return Err(e),
        };
        let mut starts: BTreeMap<_, _> = moves.iter().flat_map(|m| [m.from, m.to]).flatten().map(|id| (id, FoundIn::Moves)).collect();
        starts.extend(record.tip.map(|tip| (tip, FoundIn::Tip)));
        let (mut candidates, mut roots) = (Candidates::new(), Vec::new());
        for (id, found_in) in starts {
            match self.objects().commit(&id).await {
                Ok(commit) => {
                    roots.push((id, commit.time));
                    candidates.insert((commit.time, id), found_in);
                    let line = Line { objects: self.objects(), id, commit: &commit };
                    is_complete &= add_history(line, &mut candidates).await?;
                }
                Err(e) if is_unreadable(&e) => is_complete = false,
                Err(e) => return Err(e),
            }
        }
        Ok((candidates, roots, is_complete))
    }

    /// Every snapshot in the store that has one of `roots` in its history, or all if there are none.
    async fn listed_snapshots(&self, roots: &[(SnapshotId, Timestamp)]) -> Result<Candidates> {
        let names: Vec<_> = self.storage().list(layout::SNAPSHOTS).try_collect().await?;
        let ids: BTreeSet<SnapshotId> = names.iter().filter_map(|meta| meta.name.rsplit('/').next()?.parse().ok()).collect();
        let mut looks = futures::stream::iter(ids).map(|id| self.is_on_line(id, roots)).buffer_unordered(READS);
        let mut found = Candidates::new();
        while let Some(look) = looks.try_next().await? {
            found.extend(look.map(|place| (place, FoundIn::Listing)));
        }
        Ok(found)
    }

    async fn is_on_line(&self, id: SnapshotId, roots: &[(SnapshotId, Timestamp)]) -> Result<Option<(Timestamp, SnapshotId)>> {
        let commit = match self.objects().commit(&id).await {
            Ok(commit) => commit,
            Err(e) if is_unreadable(&e) => return Ok(None),
            Err(e) => return Err(e),
        };
        let line = Line { objects: self.objects(), id, commit: &commit };
        let mut is_on_line = roots.is_empty();
        for (root, time) in roots.iter().filter(|(_, time)| *time <= commit.time) {
            is_on_line = is_on_line
                || match line.contains(*root, *time).await {
                    Ok(contains) => contains,
                    // Its history is lost.
                    Err(e) if is_unreadable(&e) => true,
                    Err(e) => return Err(e),
                };
        }
        Ok(is_on_line.then_some((commit.time, id)))
    }

    /// The latest candidates that can be read, and whether all that were tried could be.
    async fn latest_readable(&self, candidates: &Candidates, limit: usize) -> Result<(Vec<ReadableSnapshot>, bool)> {
        // Collected, because a closure over references keeps the future from being `Send`.
        let latest: Vec<_> = candidates.iter().rev().map(|((_, id), found_in)| (*id, *found_in)).collect();
        let mut reads = futures::stream::iter(latest)
            .map(|(id, found_in)| async move { (id, found_in, self.objects().commit(&id).await) })
            .buffered(READS);
        let (mut found, mut all_readable) = (Vec::new(), true);
        while found.len() < limit
            && let Some((id, found_in, commit)) = reads.next().await
        {
            match commit {
                Ok(commit) => found.push(ReadableSnapshot { id, time: commit.time, summary: commit.summary().to_owned(), found_in }),
                Err(e) if is_unreadable(&e) => all_readable = false,
                Err(e) => return Err(e),
            }
        }
        Ok((found, all_readable))
    }
}

/// Adds what the history behind `line` lists, as far as it can be read; tells whether all of it could.
async fn add_history(line: Line<'_>, candidates: &mut Candidates) -> Result<bool> {
    if is_without_history(line).await? {
        return Ok(true);
    }
    let mut scan = line.history().scan_back(Span::all());
    loop {
        match scan.next().await {
            Ok(Some((key, entry))) => drop(candidates.entry((parse_history_key(&key)?, entry.id)).or_insert(FoundIn::History)),
            Ok(None) => return Ok(true),
            Err(e) if is_unreadable(&e) => return Ok(false),
            Err(e) => return Err(e),
        }
    }
}

/// Whether the version was imported without its history, rather than lost the parent that proved it.
async fn is_without_history(line: Line<'_>) -> Result<bool> {
    let is_shallow = async {
        if !line.is_shallow().await? {
            return Ok(false);
        }
        let Some(parent) = line.commit.parents.first() else { return Ok(true) };
        if line.objects.commit(parent).await.is_ok() {
            return Ok(true);
        }
        match line.ends_with_parent().await {
            Err(e) if is_unreadable(&e) => Ok(true),
            ends_with_parent => Ok(!ends_with_parent?),
        }
    };
    match is_shallow.await {
        Err(e) if is_unreadable(&e) => Ok(false),
        answer => answer,
    }
}
