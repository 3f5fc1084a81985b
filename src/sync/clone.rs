//! Making a repository that holds what another one does.

use std::sync::Arc;

use super::options::{SyncOptions, SyncReport};
use crate::commit::SavesBranch;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Entry, Leaf, Node, VirtualFile};
use crate::handle::{CreateOptions, OpenOptions, Repository};
use crate::id::SnapshotId;
use crate::refs::{RefKind, is_unreadable};
use crate::storage::{self, Storage};

impl Repository {
    /// Makes a repository at `place` with the hash of this one, and [pulls](Self::pull) branches and tags into it.
    ///
    /// If a call was stopped, the same call goes on where it was: a repository at `place` of which no branch shows anything but the empty
    /// snapshot with which a repository begins is taken as it is. `Conflict` when there is another repository; otherwise fails, and is
    /// cancelled, as [`create`](Self::create) and [`pull`](Self::pull) are.
    pub async fn clone_to(&self, place: &str, open: OpenOptions, options: &SyncOptions) -> Result<(Self, SyncReport)> {
        let create = CreateOptions::from(open.clone()).hash(self.hash());
        let made = match Self::create_with(place, create).await {
            Err(e) if e.kind() == ErrorKind::Conflict => {
                let there = storage::open(place, open.local.clone(), &open.cloud)?;
                Self::begun(there, open, e).await?
            }
            made => made?,
        };
        let report = made.pull(self, options).await?;
        Ok((made, report))
    }

    /// Does the same in any store that keeps the promises of [`storage`].
    pub async fn clone_to_storage(&self, to: Arc<dyn Storage>, open: OpenOptions, options: &SyncOptions) -> Result<(Self, SyncReport)> {
        let create = CreateOptions::from(open.clone()).hash(self.hash());
        let made = match Self::create_storage(to.clone(), create).await {
            Err(e) if e.kind() == ErrorKind::Conflict => Self::begun(to, open, e).await?,
            made => made?,
        };
        let report = made.pull(self, options).await?;
        Ok((made, report))
    }

    /// Opens a repository that a call has made which was stopped; `error` if it is another one.
    async fn begun(to: Arc<dyn Storage>, open: OpenOptions, error: Error) -> Result<Self> {
        let Ok(found) = Self::open_storage(to, open).await else { return Err(error) };
        let (branches, tags) = futures::try_join!(found.refs().list(RefKind::Branch), found.refs().list(RefKind::Tag))?;
        let tips = |state: &Result<crate::refs::RefState>| state.as_ref().ok().and_then(|state| state.record.tip);
        let has_tags = tags.iter().any(|(_, state)| state.is_err() || tips(state).is_some());
        let mut is_blank_still = !has_tags;
        for (name, state) in branches.iter().filter(|(name, _)| !SavesBranch::is_one(name)) {
            is_blank_still &= match tips(state) {
                Some(tip) => is_blank(&found, tip).await?,
                None => state.is_ok() && name.as_str() != crate::refs::MAIN,
            };
        }
        if is_blank_still { Ok(found) } else { Err(error) }
    }
}

/// Whether a version is one with which a repository begins: it holds nothing, and nothing came before it.
pub(super) async fn is_blank(repository: &Repository, id: SnapshotId) -> Result<bool> {
    let commit = match repository.objects().commit(&id).await {
        Err(e) if is_unreadable(&e) => return Ok(false),
        commit => commit?,
    };
    let hash = repository.hash();
    let (keys, files) = (Node::Leaf(Leaf::<Entry> { entries: Vec::new() }), Node::Leaf(Leaf::<VirtualFile> { entries: Vec::new() }));
    let is_empty = commit.manifest == keys.id(hash) && commit.files == files.id(hash);
    Ok(is_empty && commit.parents.is_empty() && commit.containers.is_empty())
}
