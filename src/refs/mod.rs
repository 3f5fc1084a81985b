//! Branches and tags: the only mutable state of a repository.
//!
//! A ref is one register, replaced by compare-and-swap and never removed. Every change that is not a plain commit onto its tip is
//! recorded in it as a move, so that the snapshot that it showed at any time can be found later.

pub(crate) mod collection;
mod doubt;
#[cfg(feature = "testing")]
pub(crate) mod fuzzed;
mod moves;
mod name;
#[cfg(feature = "testing")]
pub mod protocol;
mod record;
pub(crate) mod retention;
mod salvage;
mod settle;
mod verbs;

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use crate::error::{Error, ErrorDetail, ErrorKind, Result};
use crate::id::SnapshotId;
use crate::objects::Objects;
use crate::storage::{Expected, RegisterName, Storage, Version, Versioned, layout};
use crate::time::{Clock, FUTURE, Timestamp};

pub(crate) use collection::Vouched;
pub(crate) use name::is_like_an_id;
pub use name::{Ref, RefKind, RefName};
pub(crate) use record::RefRecord;
pub use record::{Move, MoveOp, TagInfo};
pub(crate) use settle::{Patience, Settled};
pub(crate) use verbs::{MoveTo, lower_case, require_unlike};

/// How many refs, or snapshots that they name, are read at once.
pub(crate) const READS: usize = 32;

/// The branch that every repository begins with. Its register is never removed.
pub(crate) const MAIN: &str = "main";

/// A ref as it was read: its value and the version that a replace must name.
#[derive(Debug, Clone)]
pub(crate) struct RefState {
    pub(crate) record: RefRecord,
    pub(crate) version: Version,
}

impl RefState {
    /// What a replace of exactly this value expects.
    pub(crate) fn expected(&self) -> Expected {
        Expected::Is(self.version.clone())
    }
}

/// A ref that is about to be changed.
#[derive(Debug)]
pub(crate) struct Changeable {
    /// What was read; for a damaged record, what replaces it (see [`RefRecord::salvaged`]).
    pub(crate) state: RefState,
    /// Whether the record could not be decoded.
    pub(crate) is_damaged: bool,
}

/// The refs of one repository.
#[derive(Debug, Clone)]
pub(crate) struct Refs {
    storage: Arc<dyn Storage>,
    objects: Objects,
    clock: Arc<dyn Clock>,
    patience: Patience,
    read_lists: retention::ReadLists,
}

impl Refs {
    pub(crate) fn new(objects: Objects, clock: Arc<dyn Clock>, patience: Patience) -> Self {
        Self { storage: objects.storage().clone(), objects, clock, patience, read_lists: retention::ReadLists::default() }
    }

    /// Reads the register of `name`; `None` when there has never been one.
    pub(crate) async fn try_read(&self, name: &Ref) -> Result<Option<RefState>> {
        self.read_register(&name.register()).await
    }

    /// Reads a ref in order to change it, also when its record is damaged; `None` when there has never been one.
    ///
    /// A record that this build cannot read because it is of a newer version is an error of kind `Unsupported`.
    pub(crate) async fn read_to_change(&self, name: &Ref) -> Result<Option<Changeable>> {
        let register = name.register();
        let loaded = self.storage.load(&register).await.map_err(|e| unreadable(name, e))?;
        let Some(Versioned { value, version }) = loaded else { return Ok(None) };
        match RefRecord::decode(&value, register.as_str()) {
            Ok(record) => Ok(Some(Changeable { state: RefState { record, version }, is_damaged: false })),
            Err(e) if e.kind() == ErrorKind::Corrupt => {
                let mut record = RefRecord::salvaged(&value, self.latest_clock());
                // Only a snapshot that can be read proves that its id was not damaged as well.
                if let Some(tip) = record.tip
                    && let Err(e) = self.objects.commit(&tip).await
                {
                    // A tip that is there, but cannot be opened, may be whole: it is not given up.
                    if !is_lost_or_damaged(&e) {
                        return Err(unreadable_tip(name, e));
                    }
                    record.tip = None;
                }
                Ok(Some(Changeable { state: RefState { record, version }, is_damaged: true }))
            }
            Err(e) => Err(e),
        }
    }

    /// This machine's time or that of the store, whichever is later.
    fn latest_clock(&self) -> Timestamp {
        let now = self.clock.now();
        self.storage.clock().map_or(now, |theirs| now.max(theirs))
    }

    /// Reads a ref that exists: neither deleted nor only begun.
    pub(crate) async fn read(&self, name: &Ref) -> Result<(RefState, SnapshotId)> {
        let state = self.try_read(name).await?;
        let tip = state.as_ref().and_then(|s| s.record.tip);
        match (state, tip) {
            (Some(state), Some(tip)) => Ok((state, tip)),
            (state, _) => Err(absent(name, state.as_ref().map(|state| &state.record))),
        }
    }

    async fn read_register(&self, register: &RegisterName) -> Result<Option<RefState>> {
        let Some(found) = self.storage.load(register).await? else { return Ok(None) };
        let record = RefRecord::decode(&found.value, register.as_str())?;
        Ok(Some(RefState { record, version: found.version }))
    }

    /// The names of every ref of a kind that has ever been made, sorted. Reads no ref.
    pub(crate) async fn names(&self, kind: RefKind) -> Result<Vec<RefName>> {
        let folder = match kind {
            RefKind::Branch => layout::BRANCHES,
            RefKind::Tag => layout::TAGS,
        };
        let names = self.storage.list(folder).try_collect::<Vec<_>>().await?;
        let names = names.iter().filter_map(|meta| meta.name.strip_prefix(folder)?.strip_suffix(layout::REF_SUFFIX));
        // Names that are not valid for a ref were not written by this crate.
        let mut names: Vec<_> = names.filter_map(|name| RefName::new(name).ok()).collect();
        names.sort();
        Ok(names)
    }

    /// A register among the refs that this build knows neither as a branch nor as a tag, if there is one: a later build has made it.
    pub(crate) async fn unknown_ref(&self) -> Result<Option<String>> {
        let mut listed = self.storage.list(layout::REFS);
        while let Some(meta) = listed.try_next().await? {
            let Some(name) = meta.name.strip_suffix(layout::REF_SUFFIX) else { continue };
            let known = [layout::BRANCHES, layout::TAGS].iter().find_map(|folder| name.strip_prefix(folder));
            if known.is_none_or(|name| RefName::new(name).is_err()) {
                return Ok(Some(meta.name));
            }
        }
        Ok(None)
    }

    /// Reads every ref of a kind, tombstones included, sorted by name; many at a time.
    ///
    /// A ref that cannot be read is listed with its error. Fails when the store cannot be asked.
    pub(crate) async fn list(&self, kind: RefKind) -> Result<Vec<(RefName, Result<RefState>)>> {
        let reads = futures::stream::iter(self.names(kind).await?).map(|name| async move {
            let reference = Ref { kind, name };
            match self.try_read(&reference).await {
                Ok(Some(state)) => Ok((reference.name, Ok(state))),
                // None is ever removed, so what it showed is not known.
                Ok(None) => {
                    let e = Error::corrupt(format!("{reference} was removed by something other than this program"));
                    Ok((reference.name, Err(e)))
                }
                Err(e) if is_unreadable(&e) => {
                    let e = e.context(&reference);
                    Ok((reference.name, Err(e)))
                }
                Err(e) => Err(e),
            }
        });
        reads.buffered(READS).try_collect().await
    }

    /// When the ref was last changed: the later of its last move and the commit it points at.
    pub(crate) async fn last_event(&self, record: &RefRecord) -> Result<Option<Timestamp>> {
        let moved = record.moves.last().map(|m| m.time);
        Ok(moved.max(self.tip_time(record).await?))
    }

    /// Like [`last_event`](Self::last_event), without moves and commits that are stamped after `limit`.
    pub(crate) async fn last_event_until(&self, record: &RefRecord, limit: Timestamp) -> Result<Option<Timestamp>> {
        let moved = record.moves.iter().rev().map(|m| m.time).find(|time| *time <= limit);
        Ok(moved.max(self.tip_time(record).await?.filter(|time| *time <= limit)))
    }

    async fn tip_time(&self, record: &RefRecord) -> Result<Option<Timestamp>> {
        let Some(tip) = record.tip else { return Ok(None) };
        match self.objects.commit(&tip).await {
            Ok(commit) => Ok(Some(commit.time)),
            // The time of a tip that cannot be read is not known, but its ref must still be movable away from it.
            Err(e) if is_unreadable(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Whether the error says that something stored is lost, damaged, of a newer version, or cannot be opened: the store itself can be asked.
pub(crate) fn is_unreadable(error: &Error) -> bool {
    is_lost_or_damaged(error) || error.is_of_one_object()
}

/// The same without what is there and could not be opened this time.
fn is_lost_or_damaged(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported)
}

/// Says of which ref the record could not be read. That a ref does not exist is not damage.
pub(crate) fn unreadable(name: &Ref, error: Error) -> Error {
    let reference = name.to_string();
    if error.is_of_one_object() {
        return error.about(ErrorDetail::BlockedRef { reference });
    }
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::Unsupported => error.about(ErrorDetail::UnreadableRef { reference }),
        _ => error,
    }
}

/// The error about a ref that does not exist, of which `record` was read.
pub(crate) fn absent(name: &Ref, record: Option<&RefRecord>) -> Error {
    if is_lost_main(name, record) {
        let message =
            format!("{name} does not exist, although every repository has it: its record was lost, or the creation was interrupted");
        return Error::not_found(message).about(ErrorDetail::LostMain);
    }
    let existed = record.is_some_and(|record| !record.moves.is_empty());
    Error::not_found(format!("{name} does not exist")).about(ErrorDetail::NoRef { reference: name.to_string(), existed })
}

/// Whether `name` is the branch `main`, of which `record` was read, and has never been made as far as that tells. Its record is made
/// with the repository and never removed, so it was lost, or the creation of the repository was interrupted.
pub(crate) fn is_lost_main(name: &Ref, record: Option<&RefRecord>) -> bool {
    name.kind == RefKind::Branch
        && name.name.as_str() == MAIN
        && record.is_none_or(|record| record.tip.is_none() && record.moves.is_empty())
}

/// Says of which ref the tip could not be read. A tip that does not exist is damage, not a wrong request.
pub(crate) fn unreadable_tip(name: &Ref, error: Error) -> Error {
    let error = error.context(format!("{name} points at a snapshot that cannot be read"));
    let error = if error.kind() == ErrorKind::NotFound { Error::corrupt(error.to_string()) } else { error };
    if is_unreadable(&error) { error.about(ErrorDetail::UnreadableRef { reference: name.to_string() }) } else { error }
}

/// The latest time that is not wrong by this machine's clock.
pub(crate) fn future_limit(now: Timestamp) -> Timestamp {
    now.plus(FUTURE)
}
