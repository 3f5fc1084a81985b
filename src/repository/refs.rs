//! Branches and tags, as the repository offers them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};

use crate::commit::WrittenAlone;
use crate::error::{Error, Result};
use crate::format::Entry;
use crate::handle::Repository;
use crate::history::{Kept, KeptPart, Line};
use crate::id::SnapshotId;
use crate::map::Span;
use crate::refs::collection::GcState;
use crate::refs::{
    Move, MoveOp, MoveTo, READS, Ref, RefKind, RefName, RefRecord, RefState, TagInfo, Vouched, absent, is_unreadable, unreadable,
    unreadable_tip,
};
use crate::snapshot::Snapshot;
use crate::storage::{Extent, ObjectName};
use crate::time::Timestamp;

/// A branch or a tag as a listing shows it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RefInfo {
    /// Its name.
    pub name: RefName,
    /// The snapshot it points at; `None` when its record cannot be read.
    pub tip: Option<SnapshotId>,
    /// When that snapshot was committed; `None` when it cannot be read.
    pub time: Option<Timestamp>,
    /// What a tag says of itself.
    pub tag: Option<TagInfo>,
    /// Why its record or its snapshot cannot be read. A damaged branch can be reset or deleted, a damaged tag deleted.
    pub damage: Option<Arc<Error>>,
}

/// The moves of a ref, as far as they can be read.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReadableMoves {
    /// The latest ones, oldest first.
    pub moves: Vec<Move>,
    /// Why those before them cannot be read, naming the object; `None` when these are all.
    pub damage: Option<Error>,
}

/// What a tag says of itself. A plain string is a message.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TagOptions {
    /// Why the tag is made, for people.
    pub message: String,
    /// Who makes it. Default: none.
    pub author: Option<String>,
    /// Anything else, by name. Default: nothing.
    pub meta: BTreeMap<String, String>,
}

impl<T: Into<String>> From<T> for TagOptions {
    fn from(message: T) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

impl TagOptions {
    /// Names the author.
    #[must_use]
    pub fn author(mut self, author: impl Into<String>) -> Self {
        self.author = Some(author.into());
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn meta(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(name.into(), value.into());
        self
    }
}

/// Where a branch is pointed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MoveTarget<'s> {
    /// At a snapshot that a branch or a tag must keep.
    Kept(&'s Snapshot),
    /// At one that the caller has just written, on top of the branch as it is expected.
    Written(&'s WrittenAlone),
    /// It is deleted.
    Nothing,
}

impl<'s> MoveTarget<'s> {
    const fn snapshot(self) -> Option<&'s Snapshot> {
        match self {
            Self::Kept(target) => Some(target),
            Self::Written(written) => Some(&written.snapshot),
            Self::Nothing => None,
        }
    }
}

impl Repository {
    /// The branches that exist, by name. A branch that cannot be read is listed with [`RefInfo::damage`].
    pub async fn branches(&self) -> Result<Vec<RefInfo>> {
        self.list_refs(RefKind::Branch).await
    }

    /// The tags that exist, by name. A tag that cannot be read is listed with [`RefInfo::damage`].
    pub async fn tags(&self) -> Result<Vec<RefInfo>> {
        self.list_refs(RefKind::Tag).await
    }

    /// One branch or tag as a listing shows it; `NotFound` when it does not exist.
    pub async fn ref_info(&self, name: &Ref) -> Result<RefInfo> {
        let state = match self.refs().try_read(name).await {
            Ok(state) => Ok(state.ok_or_else(|| absent(name, None))?),
            Err(e) if is_unreadable(&e) => Err(e),
            Err(e) => return Err(e),
        };
        let record = state.as_ref().ok().map(|state| state.record.clone());
        let info = self.inform(name.kind, name.name.clone(), state).await?;
        info.ok_or_else(|| absent(name, record.as_ref()))
    }

    async fn list_refs(&self, kind: RefKind) -> Result<Vec<RefInfo>> {
        let refs = futures::stream::iter(self.refs().list(kind).await?);
        let infos = refs.map(|(name, state)| self.inform(kind, name, state)).buffered(READS);
        infos.try_filter_map(|info| async { Ok(info) }).try_collect().await
    }

    /// What a listing shows of a ref; `None` when it was deleted, or its creation has only begun.
    async fn inform(&self, kind: RefKind, name: RefName, state: Result<RefState>) -> Result<Option<RefInfo>> {
        let reference = Ref { kind, name: name.clone() };
        let mut info = RefInfo { name, tip: None, time: None, tag: None, damage: None };
        let record = match state {
            Ok(state) => state.record,
            Err(e) => {
                info.damage = Some(Arc::new(unreadable(&reference, e)));
                return Ok(Some(info));
            }
        };
        let Some(tip) = record.tip else { return Ok(None) };
        (info.tip, info.tag) = (Some(tip), record.about);
        match self.objects().commit(&tip).await {
            Ok(commit) => info.time = Some(commit.time),
            Err(e) if is_unreadable(&e) => info.damage = Some(Arc::new(unreadable_tip(&reference, e))),
            Err(e) => return Err(e.context(reference)),
        }
        Ok(Some(info))
    }

    /// The recorded moves of a ref, oldest first: every change of it except plain commits.
    ///
    /// `Corrupt` when some of them are lost or damaged; [`readable_moves`](Self::readable_moves) tells the others.
    pub async fn moves(&self, name: &Ref) -> Result<Vec<Move>> {
        let ReadableMoves { moves, damage } = self.readable_moves(name).await?;
        damage.map_or(Ok(moves), Err)
    }

    /// The recorded moves of a ref, oldest first, back to the first one behind which they are lost or damaged.
    ///
    /// `NotFound` when there has never been such a ref. Fails when its record is damaged and when the store cannot be asked.
    pub async fn readable_moves(&self, name: &Ref) -> Result<ReadableMoves> {
        let state = self.refs().try_read(name).await.map_err(|e| unreadable(name, e))?.ok_or_else(|| absent(name, None))?;
        let (moves, damage) = self.refs().known_moves_back_to(&state.record, |_| false).await;
        match damage {
            Some(error) if !is_unreadable(&error) => Err(error),
            damage => Ok(ReadableMoves { moves, damage: damage.map(|e| e.context(format!("earlier moves of {name} cannot be read"))) }),
        }
    }

    /// Makes a branch at `target`.
    ///
    /// `Conflict` when it exists. `Invalid` when the name could be read as the beginning of a snapshot's id, when
    /// another branch differs from it only in case, when no branch or tag keeps `target`, and when `target` is stamped
    /// more than 10 minutes after this machine's clock.
    ///
    /// Dropping the future cancels the call. The branch may have been made, or may be made a moment later, if its replace was sent
    /// already: [`ref_info`](Self::ref_info) shows it. Repeat the call to be certain; `Conflict` then means that the branch exists.
    pub async fn create_branch(&self, name: &RefName, target: &Snapshot) -> Result<Move> {
        let create = MoveTo { to: Some(target.id()), op: MoveOp::Create, about: None, not_before: target.record().time };
        self.create_ref(&Ref::branch(name.clone()), target, create).await
    }

    /// Makes a tag at `target`. Fails, and is cancelled, as [`create_branch`](Self::create_branch) is.
    pub async fn create_tag(&self, name: &RefName, target: &Snapshot, options: impl Into<TagOptions>) -> Result<Move> {
        let TagOptions { message, author, meta } = options.into();
        let time = self.clock().now().max(target.record().time);
        let about = Some(TagInfo { message, time, author, meta });
        let create = MoveTo { to: Some(target.id()), op: MoveOp::Create, about, not_before: time };
        self.create_ref(&Ref::tag(name.clone()), target, create).await
    }

    /// Makes a branch that was deleted again, if `last` is still its last move, and records it as `op`; otherwise `Conflict`.
    pub(crate) async fn create_branch_again(&self, name: &RefName, target: &Snapshot, op: MoveOp, last: Option<&Move>) -> Result<Move> {
        self.require_writable()?;
        self.require_present(target)?;
        let create = MoveTo { to: Some(target.id()), op, about: None, not_before: target.record().time };
        let name = &Ref::branch(name.clone());
        // A replace that follows is refused if the branch has changed since it was read, before this look at it.
        let still_there = |state| async move {
            let now = self.refs().try_read(name).await?;
            if now.as_ref().and_then(|now| now.record.moves.last()) != last {
                return Err(Error::conflict(format!("{name} has been made or deleted meanwhile")));
            }
            self.vouch_for(target, state).await
        };
        self.refs().create(name, create, still_there).await
    }

    async fn create_ref(&self, name: &Ref, target: &Snapshot, create: MoveTo) -> Result<Move> {
        self.require_writable()?;
        self.require_present(target)?;
        self.refs().create(name, create, |state| self.vouch_for(target, state)).await
    }

    /// Points a branch at `target`. What it showed until now stays readable at its times, and can be reset to.
    ///
    /// Works also when the branch's record or tip is damaged. A damaged record is replaced; what the branch showed before
    /// is then no longer known, and the move is recorded as [`MoveOp::Repair`].
    /// `Invalid` when no branch or tag keeps `target`, and when `target` is stamped more than 10 minutes after this machine's
    /// clock. While a ref or a snapshot that one names is damaged, `target` may have been kept by that one: then it is enough
    /// that every node of `target` can be read and every chunk exists.
    ///
    /// Dropping the future cancels the call. The branch may have moved, or may move a moment later, if its replace was sent already:
    /// [`moves`](Self::moves) shows it. Repeat the call to be certain.
    pub async fn reset(&self, branch: &RefName, target: &Snapshot) -> Result<Move> {
        self.require_writable()?;
        self.require_present(target)?;
        let name = Ref::branch(branch.clone());
        let not_before = self.after_sure_events(&name).await?;
        let to = MoveTo { to: Some(target.id()), op: MoveOp::Reset, about: None, not_before };
        self.refs().change(&name, to, |state| self.vouch_for(target, state)).await
    }

    /// Deletes a branch, also a damaged one. What it showed until now stays readable at its times.
    ///
    /// Dropping the future cancels the call. The branch may have been deleted, or may be a moment later, if its replace was sent already:
    /// [`moves`](Self::moves) shows it. Repeat the call to be certain; `NotFound` then means that it is deleted.
    pub async fn delete_branch(&self, name: &RefName) -> Result<Move> {
        self.delete_ref(&Ref::branch(name.clone())).await
    }

    /// Deletes a tag, also a damaged one. Cancelled as [`delete_branch`](Self::delete_branch) is.
    pub async fn delete_tag(&self, name: &RefName) -> Result<Move> {
        self.delete_ref(&Ref::tag(name.clone())).await
    }

    /// Deletes a branch if it shows `tip` at that moment; `None` when it shows something else, and `NotFound` when it does not exist.
    pub(crate) async fn delete_branch_at(&self, name: &RefName, tip: SnapshotId) -> Result<Option<Move>> {
        self.move_branch_at(name, tip, MoveTarget::Nothing, MoveOp::Delete).await
    }

    /// Points a branch elsewhere, or deletes it, if it shows `tip` at that moment; `None` when it shows something else, and `NotFound` when
    /// it does not exist.
    pub(crate) async fn move_branch_at(&self, name: &RefName, tip: SnapshotId, target: MoveTarget<'_>, op: MoveOp) -> Result<Option<Move>> {
        self.move_branch_if(name, &|now| now.tip == Some(tip), target, op).await
    }

    /// Points a branch elsewhere, or deletes it, if its record is as expected at that moment; `None` when it is not, and `NotFound` when
    /// the branch does not exist.
    pub(crate) async fn move_branch_if(
        &self,
        name: &RefName,
        is_expected: &(dyn Fn(&RefRecord) -> bool + Send + Sync),
        target: MoveTarget<'_>,
        op: MoveOp,
    ) -> Result<Option<Move>> {
        self.require_writable()?;
        let snapshot = target.snapshot();
        snapshot.map_or(Ok(()), |target| self.require_present(target))?;
        let name = &Ref::branch(name.clone());
        let sure = self.after_sure_events(name).await?;
        let not_before = snapshot.map_or(sure, |target| sure.max(target.record().time));
        let to = MoveTo { to: snapshot.map(Snapshot::id), op, about: None, not_before };
        let moved_on = &AtomicBool::new(false);
        // A replace that follows is refused if the branch has changed since it was read, before this look at it.
        let still_there = |state| async move {
            let (state_now, now) = self.refs().read(name).await?;
            let is_there = is_expected(&state_now.record);
            moved_on.store(!is_there, Ordering::Relaxed);
            if !is_there {
                return Err(Error::conflict(format!("{name} has moved, last to {now}")));
            }
            match target {
                MoveTarget::Kept(target) => self.vouch_for(target, state).await,
                MoveTarget::Written(written) => written.vouch(&state).await,
                MoveTarget::Nothing => Ok(Vouched::Safe),
            }
        };
        match self.refs().change(name, to, still_there).await {
            Err(_) if moved_on.load(Ordering::Relaxed) => Ok(None),
            done => done.map(Some),
        }
    }

    async fn delete_ref(&self, name: &Ref) -> Result<Move> {
        self.require_writable()?;
        let not_before = self.after_sure_events(name).await?;
        let to = MoveTo { to: None, op: MoveOp::Delete, about: None, not_before };
        self.refs().change(name, to, |_| async { Ok(Vouched::Safe) }).await
    }

    /// Whether a ref can be pointed at `target` without a garbage collection removing a part of it meanwhile, `state` having been read
    /// before. `Invalid` for a target that no ref keeps.
    async fn vouch_for(&self, target: &Snapshot, state: GcState) -> Result<Vouched> {
        let id = target.id();
        let (kept, vouched) = self.kept_safely(id, target.record().time, KeptPart::Data, &state).await?;
        if kept == Kept::No {
            Box::pin(target.expiry()).await?;
            return Err(Error::invalid(format!(
                "snapshot {id} is kept by no branch or tag of this repository, so none can be pointed at it"
            )));
        }
        if (kept, vouched) == (Kept::Unknown, Vouched::Safe) {
            // A damaged ref may keep it. Published snapshots are complete, so no ref kept a snapshot that is not.
            target.require_whole().await.map_err(|e| e.context(format!("snapshot {id} is not whole")))?;
        }
        Ok(vouched)
    }
}

impl Snapshot {
    /// Reads every node of the snapshot's maps, and asks for every chunk: a writer that was interrupted may have stored the
    /// snapshot and not all of its chunks.
    async fn require_whole(&self) -> Result<()> {
        let storage = self.repository().storage();
        let mut asked = FuturesUnordered::new();
        let mut manifest = self.manifest().scan(Span::all());
        while let Some((key, entry)) = manifest.next().await? {
            let Entry::Chunk { id, .. } = entry else { continue };
            asked.push(async move {
                match storage.get(&ObjectName::chunk(&id), Extent::Range(0..0)).await? {
                    Some(_) => Ok(()),
                    None => Err(Error::corrupt(format!("{}: chunk {id} does not exist", key.as_str()))),
                }
            });
            if asked.len() >= READS {
                asked.try_next().await?;
            }
        }
        while asked.try_next().await?.is_some() {}
        let mut files = self.file_map().scan(Span::all());
        while files.next().await?.is_some() {}
        let line = Line::of(self);
        if !line.is_shallow().await? {
            let mut history = line.history().scan(Span::all());
            while history.next().await?.is_some() {}
        }
        Ok(())
    }
}
