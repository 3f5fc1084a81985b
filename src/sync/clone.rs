//! Making a repository that holds what another one does.

use std::collections::HashSet;
use std::sync::Arc;

use super::SyncRun;
use super::options::{SyncOptions, SyncReport};
use crate::commit::SavesBranch;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Entry, Leaf, Node, VirtualFile};
use crate::handle::{CreateOptions, OpenOptions, Repository};
use crate::id::SnapshotId;
use crate::refs::{MAIN, MoveOp, Ref, RefKind, RefName, is_unreadable};
use crate::storage::{self, Storage};

impl Repository {
    /// Makes a repository at `place` with the hash of this one, and [pulls](Self::pull) branches and tags into it.
    ///
    /// If a call was stopped, the same call goes on where it was: a repository at `place` is taken as it is if each of its branches and tags
    /// shows what this repository shows under that name, or nothing but the empty snapshot with which a repository begins. `Conflict` when
    /// there is another repository; `NotFound`, and nothing is made, when a branch or a tag that is named does not exist here. Otherwise
    /// fails, and is cancelled, as [`create`](Self::create) and [`pull`](Self::pull) are.
    pub async fn clone_to(&self, place: &str, open: OpenOptions, options: &SyncOptions) -> Result<(Self, SyncReport)> {
        self.require_named(options).await?;
        let create = CreateOptions::from(open.clone()).hash(self.hash());
        let made = match Self::create_with(place, create).await {
            Err(e) if e.kind() == ErrorKind::Conflict => {
                let there = storage::open(place, open.local.clone(), &open.cloud)?;
                self.begun(there, open, options, e).await?
            }
            made => made?,
        };
        let report = made.pull(self, options).await?;
        Ok((made, report))
    }

    /// Does the same in any store that keeps the promises of [`storage`].
    pub async fn clone_to_storage(&self, to: Arc<dyn Storage>, open: OpenOptions, options: &SyncOptions) -> Result<(Self, SyncReport)> {
        self.require_named(options).await?;
        let create = CreateOptions::from(open.clone()).hash(self.hash());
        let made = match Self::create_storage(to.clone(), create).await {
            Err(e) if e.kind() == ErrorKind::Conflict => self.begun(to, open, options, e).await?,
            made => made?,
        };
        let report = made.pull(self, options).await?;
        Ok((made, report))
    }

    /// Refuses branches and tags that do not exist here.
    async fn require_named(&self, options: &SyncOptions) -> Result<()> {
        for names in &options.refs {
            self.refs().read(&names.source).await.map_err(|e| e.context(self.storage()))?;
        }
        Ok(())
    }

    /// Opens a repository that a call has made which was stopped; `error` if it is another one.
    async fn begun(&self, to: Arc<dyn Storage>, open: OpenOptions, options: &SyncOptions, error: Error) -> Result<Self> {
        let Ok(found) = Self::open_storage(to, open).await else { return Err(error) };
        if found.hash() != self.hash() {
            return Err(error);
        }
        let planned = match (SyncRun { from: self, to: &found, options, op: MoveOp::Pull }).plan().await {
            Err(e) if e.kind() == ErrorKind::Conflict || is_unreadable(&e) => return Err(error),
            planned => planned?,
        };
        let has_arrived: HashSet<&Ref> = planned.iter().filter(|one| one.is_unchanged()).map(|one| &one.names.target).collect();
        for kind in [RefKind::Branch, RefKind::Tag] {
            for (name, state) in found.refs().list(kind).await? {
                let is_saves = kind == RefKind::Branch && SavesBranch::is_one(&name);
                let (Ok(state), reference) = (state, Ref { kind, name }) else { return Err(error) };
                let is_left = match state.record.tip {
                    _ if is_saves || has_arrived.contains(&reference) => true,
                    Some(tip) => kind == RefKind::Branch && is_blank(&found, tip).await?,
                    None => reference != Ref::branch(RefName::new(MAIN)?),
                };
                if !is_left {
                    return Err(error);
                }
            }
        }
        Ok(found)
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
