//! Versions whose data has expired: which they are, and what is said to those who ask for one.

use std::collections::HashSet;

use super::{Snapshot, Withdrawal};
use crate::error::{Error, ErrorDetail, ErrorKind, ExpiredVersion, Result};
use crate::format::{Commit, HistoryEntry, history_key, parse_history_key};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::map::{Map, Span};
use crate::refs::retention::{ActRecord, RetentionHeld, RetentionState, RetiredVersions};
use crate::refs::{MAIN, Ref, RefKind};
use crate::time::Timestamp;

/// By whom, when and why the data of versions was given up: one act.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expiration {
    /// Acts are counted from 1.
    pub number: u32,
    /// When.
    pub time: Timestamp,
    /// By whom, if that was said.
    pub author: Option<String>,
    /// Why.
    pub reason: String,
    /// Which versions were kept, in words.
    pub rules: String,
    /// How many versions expired.
    pub versions: u64,
}

impl Expiration {
    fn of(act: &ActRecord) -> Self {
        let ActRecord { number, time, author, reason, rules, versions, .. } = act.clone();
        Self { number, time, author, reason, rules, versions }
    }
}

/// Which versions of a repository have expired, and which are withdrawn, as it was read at one moment.
///
/// A version that a branch or a tag points at counts as kept, also if it is on record as expired: one can be pointed at it at the same time.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    retired: RetiredVersions,
    tips: HashSet<SnapshotId>,
    withdrawn: Vec<Withdrawal>,
}

impl Retention {
    /// The act by which the data of a version expired; `None` if it is kept.
    pub fn expired(&self, id: SnapshotId) -> Option<Expiration> {
        self.act_of(id).map(Expiration::of)
    }

    /// Whether the data of a version has expired.
    pub fn is_expired(&self, id: SnapshotId) -> bool {
        self.act_of(id).is_some()
    }

    /// By whom, when and why a version was withdrawn; `None` if it was not.
    pub fn withdrawn(&self, id: SnapshotId) -> Option<&Withdrawal> {
        self.withdrawn.iter().find(|withdrawal| withdrawal.id == id)
    }

    /// Every version that is withdrawn, in the order of the ids.
    pub fn withdrawals(&self) -> &[Withdrawal] {
        &self.withdrawn
    }

    /// Every act, in the order in which they happened.
    pub fn expirations(&self) -> Vec<Expiration> {
        let mut all: Vec<_> = self.retired.acts().map(Expiration::of).collect();
        all.sort_by_key(|act| act.number);
        all
    }

    fn act_of(&self, id: SnapshotId) -> Option<&ActRecord> {
        self.retired.act_of(id).filter(|_| !self.tips.contains(&id))
    }
}

impl Repository {
    /// Reads which versions have expired, and which are withdrawn: one request where none has; else also the lists of expired versions, 37
    /// bytes for each, and all branches and tags. `Corrupt` when what is on record cannot be read. Only reads.
    pub async fn retention(&self) -> Result<Retention> {
        let state = self.refs().retention().await?.state;
        let tips = if state.is_empty() { Vec::new() } else { self.tips().await? };
        self.retention_of(&state, tips).await
    }

    /// As [`retention`](Self::retention), for those who read versions: where the record is damaged or may not be read, nothing counts as
    /// expired, because every object that is read is compared with its id. Where branches and tags cannot be listed, a version that a ref
    /// points at may be told as expired, if it was pointed at it at the moment at which the version expired.
    pub async fn known_retention(&self) -> Result<Retention> {
        let state = self.retention_to_read().await?;
        let tips = if state.is_empty() { Vec::new() } else { self.listed_tips().await? };
        match self.retention_of(&state, tips).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(storage = %self.storage(), %error, "which versions have expired is not known");
                Ok(Retention::default())
            }
            retention => retention,
        }
    }

    async fn retention_of(&self, state: &RetentionState, tips: Vec<(Ref, SnapshotId)>) -> Result<Retention> {
        let withdrawn = state.all_withdrawn().iter().map(Withdrawal::of).collect();
        let retired = self.refs().retired(state).await?;
        Ok(Retention { retired, tips: tips.into_iter().map(|(_, tip)| tip).collect(), withdrawn })
    }

    /// The tips, as far as this reader may list them: web servers list nothing.
    async fn listed_tips(&self) -> Result<Vec<(Ref, SnapshotId)>> {
        match self.tips().await {
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NoPermission | ErrorKind::Denied) => Ok(Vec::new()),
            tips => tips,
        }
    }

    /// What the branches and tags that can be read point at, `main` first.
    pub(crate) async fn tips(&self) -> Result<Vec<(Ref, SnapshotId)>> {
        let mut tips = Vec::new();
        for kind in [RefKind::Branch, RefKind::Tag] {
            for (name, state) in self.refs().list(kind).await? {
                let tip = state.ok().and_then(|state| state.record.tip);
                tips.extend(tip.map(|tip| (Ref { kind, name }, tip)));
            }
        }
        tips.sort_by_key(|(name, _)| name.kind != RefKind::Branch || name.name.as_str() != MAIN);
        Ok(tips)
    }

    /// The register of retention for a reader, whom a damaged one, or one that it may not read, does not stop: every object that it reads
    /// is compared with its id. Some stores refuse to tell a reader that an object does not exist.
    pub(crate) async fn retention_to_read(&self) -> Result<RetentionState> {
        match self.refs().retention().await {
            Err(error) if matches!(error.kind(), ErrorKind::NoPermission | ErrorKind::Denied) => {
                tracing::debug!(storage = %self.storage(), %error, "which versions have expired cannot be read");
                Ok(RetentionState::absent())
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(storage = %self.storage(), %error, "which versions have expired is not known");
                Ok(RetentionState::absent())
            }
            read => read.map(|held| held.state),
        }
    }

    /// Refuses a version whose data has expired, `state` being the register. Looks at the refs only for a version that is on record.
    pub(crate) async fn require_unexpired(&self, id: SnapshotId, commit: &Commit, state: &RetentionState) -> Result<()> {
        if !state.may_list(commit.time) {
            return Ok(());
        }
        // Boxed, as few versions are old enough to come here.
        match Box::pin(self.expiry_of(id, commit, state)).await {
            Ok(expired) => expired.map_or(Ok(()), Err),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(storage = %self.storage(), %error, "which versions have expired is not known");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// What is said to those who ask for a version, if its data has expired.
    async fn expiry_of(&self, id: SnapshotId, commit: &Commit, state: &RetentionState) -> Result<Option<Error>> {
        if self.refs().retired(state).await?.act_of(id).is_none() {
            return Ok(None);
        }
        let retention = self.retention_of(state, self.listed_tips().await?).await?;
        match retention.act_of(id) {
            Some(act) => Ok(Some(self.expired_error(id, commit, act, &retention).await)),
            None => Ok(None),
        }
    }

    async fn expired_error(&self, id: SnapshotId, commit: &Commit, act: &ActRecord, retention: &Retention) -> Error {
        let nearest = self.nearest_kept(id, commit.time, retention).await.unwrap_or_default();
        let by = act.author.as_ref().map_or_else(String::new, |author| format!(" by {author}"));
        let later =
            nearest.map_or_else(String::new, |(near, time)| format!("; the nearest later version that is kept is {near} of {time}"));
        let message = format!("the data of snapshot {id} of {} expired at {}{by}: {}{later}", commit.time, act.time, act.reason);
        let detail = ExpiredVersion {
            id,
            committed: commit.time,
            expired: act.time,
            author: act.author.clone(),
            reason: act.reason.clone(),
            nearest,
        };
        Error::expired(message).about(ErrorDetail::ExpiredVersion(Box::new(detail)))
    }

    /// The first version after `id` whose data is kept, on the line of the first branch or tag that has it.
    async fn nearest_kept(&self, id: SnapshotId, time: Timestamp, retention: &Retention) -> Result<Option<(SnapshotId, Timestamp)>> {
        for (_, tip) in self.tips().await? {
            let Ok(commit) = self.objects().commit(&tip).await else { continue };
            let history = Map::<HistoryEntry, _>::new(self.objects(), commit.history);
            if !matches!(history.find(history_key(time).as_str()).await, Ok(Some(entry)) if entry.id == id) {
                continue;
            }
            let mut scan = history.scan(Span::since(history_key(time.next())));
            while let Some((key, entry)) = scan.next().await? {
                if !retention.is_expired(entry.id) {
                    return Ok(Some((entry.id, parse_history_key(&key)?)));
                }
            }
            return Ok(Some((tip, commit.time)));
        }
        Ok(None)
    }
}

impl Snapshot {
    /// What a reader is told who found a part of the snapshot missing or damaged: that its data has expired, if it has.
    pub(crate) async fn explained(&self, error: Error) -> Error {
        if !error.is_damage() {
            return error;
        }
        match Box::pin(self.expiry()).await {
            Ok(()) => error,
            Err(expired) => expired.caused_by(error),
        }
    }

    /// `Expired` if the data of the snapshot has expired, as far as that can be found out.
    pub(crate) async fn expiry(&self) -> Result<()> {
        let Ok(RetentionHeld { state, .. }) = self.repository().refs().retention().await else { return Ok(()) };
        match self.repository().require_unexpired(self.id(), self.record(), &state).await {
            Err(error) if error.kind() == ErrorKind::Expired => Err(error),
            _ => Ok(()),
        }
    }
}
