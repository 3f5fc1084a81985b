//! Branches and tags, as the repository offers them.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::{Move, MoveOp, MoveTo, Ref, RefKind, RefName, TagInfo};
use crate::snapshot::Snapshot;
use crate::time::Timestamp;

/// A branch or a tag as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefInfo {
    /// Its name.
    pub name: RefName,
    /// The snapshot it points at.
    pub tip: SnapshotId,
    /// When that snapshot was committed.
    pub time: Timestamp,
    /// What a tag says of itself.
    pub tag: Option<TagInfo>,
}

/// What a tag says of itself. A plain string is a message.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TagOptions {
    /// Why the tag is made, for people.
    pub message: String,
    /// Who makes it. Default: nobody is named.
    pub author: Option<String>,
    /// Anything else, by name. Default: nothing.
    pub meta: BTreeMap<String, String>,
}

impl<T: Into<String>> From<T> for TagOptions {
    fn from(message: T) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

impl Repository {
    /// The branches that exist, by name.
    pub async fn branches(&self) -> Result<Vec<RefInfo>> {
        self.list_refs(RefKind::Branch).await
    }

    /// The tags that exist, by name.
    pub async fn tags(&self) -> Result<Vec<RefInfo>> {
        self.list_refs(RefKind::Tag).await
    }

    async fn list_refs(&self, kind: RefKind) -> Result<Vec<RefInfo>> {
        let mut found = Vec::new();
        for (name, state) in self.refs().list(kind).await? {
            if let Some(tip) = state.record.tip {
                let time = self.objects().commit(&tip).await.map_err(|e| e.context(&name))?.time;
                found.push(RefInfo { name, tip, time, tag: state.record.about });
            }
        }
        Ok(found)
    }

    /// The recorded moves of a ref, oldest first: everything that happened to it but plain commits.
    pub async fn moves(&self, name: &Ref) -> Result<Vec<Move>> {
        let state = self.refs().try_read(name).await?.ok_or_else(|| Error::not_found(format!("{name} does not exist")))?;
        self.refs().moves_back_to(&state.record, |_| false).await
    }

    /// Makes a branch at `target`; `Conflict` when it exists.
    pub async fn create_branch(&self, name: &RefName, target: &Snapshot) -> Result<Move> {
        let create = MoveTo { to: Some(target.id()), op: MoveOp::Create, about: None, not_before: target.commit().time };
        self.create_ref(&Ref::branch(name.clone()), target, create).await
    }

    /// Makes a tag at `target`; `Conflict` when it exists.
    pub async fn create_tag(&self, name: &RefName, target: &Snapshot, options: impl Into<TagOptions>) -> Result<Move> {
        let TagOptions { message, author, meta } = options.into();
        let time = self.clock().now().max(target.commit().time);
        let about = Some(TagInfo { message, time, author, meta });
        let create = MoveTo { to: Some(target.id()), op: MoveOp::Create, about, not_before: time };
        self.create_ref(&Ref::tag(name.clone()), target, create).await
    }

    async fn create_ref(&self, name: &Ref, target: &Snapshot, create: MoveTo) -> Result<Move> {
        self.require_writable()?;
        self.require_rooted(target).await?;
        self.refs().create(name, create).await
    }

    /// Points a branch elsewhere. What it showed until now stays readable at its times, and can be reset to.
    pub async fn reset(&self, branch: &RefName, target: &Snapshot) -> Result<Move> {
        self.require_writable()?;
        let to = MoveTo { to: Some(target.id()), op: MoveOp::Reset, about: None, not_before: Timestamp::MIN };
        self.refs().change(&Ref::branch(branch.clone()), to, || self.require_rooted(target)).await
    }

    /// Deletes a branch. What it showed until now stays readable at its times.
    pub async fn delete_branch(&self, name: &RefName) -> Result<Move> {
        self.delete_ref(&Ref::branch(name.clone())).await
    }

    /// Deletes a tag.
    pub async fn delete_tag(&self, name: &RefName) -> Result<Move> {
        self.delete_ref(&Ref::tag(name.clone())).await
    }

    async fn delete_ref(&self, name: &Ref) -> Result<Move> {
        self.require_writable()?;
        let to = MoveTo { to: None, op: MoveOp::Delete, about: None, not_before: Timestamp::MIN };
        self.refs().change(name, to, || async { Ok(()) }).await
    }

    /// Refuses a target that no ref keeps: a later collection could delete it while a ref is being pointed at it.
    ///
    /// Kept is what a ref points at, what its moves came from and led to, and everything before those.
    async fn require_rooted(&self, target: &Snapshot) -> Result<()> {
        let id = target.id();
        if self.keeps(id, target.commit().time).await? {
            return Ok(());
        }
        Err(Error::invalid(format!("snapshot {id} is kept by no branch or tag of this repository, so none can be pointed at it")))
    }
}
