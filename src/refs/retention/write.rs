//! Recording that versions have expired: one act, one replace of the register.

use bytes::Bytes;

use super::lists::{ActRecord, MOST_ROWS, RetentionList, version_row};
use super::register::MOST_LISTS;
use super::{ListName, RetentionHeld, RetentionState, WithdrawnRecord};
use crate::error::{Error, Result};
use crate::id::{NodeId, SnapshotId};
use crate::refs::Refs;
use crate::refs::verbs::ATTEMPTS;
use crate::storage::{Expected, ObjectName, RegisterName, Replaced};
use crate::time::Timestamp;

/// What is to be recorded.
#[derive(Debug, Clone)]
pub(crate) struct Retiring {
    pub(crate) author: Option<String>,
    pub(crate) reason: String,
    /// What was kept, in words.
    pub(crate) rules: String,
    pub(crate) time: Timestamp,
    pub(crate) versions: Vec<SnapshotId>,
    /// When the latest of them was committed.
    pub(crate) latest: Timestamp,
}

/// What became of one replace.
enum RetentionReplaced {
    Done,
    /// The register has been replaced by another value since it was read, perhaps by what followed ours.
    Changed(RetentionHeld),
}

impl Refs {
    /// Records that the data of these versions has expired; the number of the act. Versions that have expired already stay as they were.
    ///
    /// An error means that the store cannot be asked, or that nothing was recorded; to do it again then does no harm.
    pub(crate) async fn retire(&self, retiring: &Retiring) -> Result<u32> {
        let nonce = crate::ambient::random()?;
        if retiring.versions.is_empty() || retiring.versions.len() as u64 > MOST_ROWS {
            return Err(Error::invalid(format!("{} versions cannot expire in one act, only 1 to {MOST_ROWS}", retiring.versions.len())));
        }
        if retiring.reason.trim().is_empty() {
            return Err(Error::invalid("say why the versions expire: everybody who asks for one reads it"));
        }
        for attempt in 0..ATTEMPTS {
            let before = self.retention().await?;
            let (next, number) = self.with_act(&before.state, retiring, nonce).await?;
            match self.replace_retention(&before, &next).await? {
                RetentionReplaced::Done => return Ok(number),
                RetentionReplaced::Changed(now) => {
                    let retired = self.retired(&now.state).await?;
                    if retired.acts().any(|act| act.number == number && act.nonce == nonce) {
                        return Ok(number);
                    }
                    self.patience.wait(attempt.min(3)).await;
                }
            }
        }
        Err(Error::unavailable(format!("{} changes too fast to be replaced", RegisterName::retention())))
    }

    /// Writes the list of the act and makes it durable; the register that names it.
    async fn with_act(&self, state: &RetentionState, retiring: &Retiring, nonce: u64) -> Result<(RetentionState, u32)> {
        let number = state.acts.checked_add(1).ok_or_else(|| Error::unsupported("more than 2^32 acts of retention"))?;
        let Retiring { author, reason, rules, time, versions, latest } = retiring.clone();
        let act = ActRecord { number, time, author, reason, rules, versions: versions.len() as u64, nonce };
        if !act.has_proper_texts() {
            return Err(Error::invalid("a reason, an author and rules have at most 4,096 bytes each"));
        }
        let mut list = RetentionList { acts: vec![act], rows: versions.iter().map(|id| version_row(id.digest(), number)).collect() };
        list.rows.sort_unstable();
        list.rows.dedup();
        let mut lists = state.lists.clone();
        // Each list stays more than twice as long as the next, so that there are few and each row is rarely written again.
        while let Some(last) = lists.last()
            && last.rows <= 2 * list.rows.len() as u64
            && last.rows + list.rows.len() as u64 <= MOST_ROWS
        {
            let older = self.read_list(last).await?;
            if !list.has_room_for(&older) {
                break;
            }
            list.absorb(&older);
            lists.pop();
        }
        if lists.len() >= MOST_LISTS {
            return Err(Error::unsupported(format!("more than {MOST_LISTS} lists of expired versions")));
        }
        let bytes = list.encode();
        let id = NodeId::of(self.objects.hash(), &bytes).cid();
        lists.push(ListName { id, rows: list.rows.len() as u64 });
        let next = state.with_lists(number, lists, latest)?;
        self.storage.put(&ObjectName::retention(&id), &[bytes.into()]).await?;
        self.storage.barrier().await?;
        Ok((next, number))
    }

    /// Records that a version is withdrawn, or is not any more.
    ///
    /// An error means that the store cannot be asked, or that nothing was recorded; to do it again then does no harm.
    pub(crate) async fn record_withdrawn(&self, id: SnapshotId, record: Option<WithdrawnRecord>) -> Result<()> {
        let (mut before, mut attempt) = (self.retention().await?, 0);
        let first = before.state.withdrawn(id).cloned();
        while attempt < ATTEMPTS {
            if before.state.withdrawn(id) == record.as_ref() {
                return Ok(());
            }
            if before.state.withdrawn(id) != first.as_ref() {
                // Perhaps after ours, whose answer was lost.
                return Err(Error::conflict(format!(
                    "somebody else has changed meanwhile what is said of snapshot {id}; look at it again"
                )));
            }
            let next = before.state.with_withdrawn(id, record.clone())?;
            match self.replace_retention(&before, &next).await? {
                RetentionReplaced::Done => return Ok(()),
                RetentionReplaced::Changed(now) => before = now,
            }
            self.patience.wait(attempt.min(3)).await;
            attempt += 1;
        }
        Err(Error::unavailable(format!("{} changes too fast to be replaced", RegisterName::retention())))
    }

    /// Replaces the register, if it still is what was read, and finds out whether that happened.
    async fn replace_retention(&self, before: &RetentionHeld, next: &RetentionState) -> Result<RetentionReplaced> {
        let register = RegisterName::retention();
        // The register was read, so the store has told its time. An act is for ever, and so is its moment.
        self.require_agreeing_clocks(&register)?;
        let expected = before.version.clone().map_or(Expected::Absent, Expected::Is);
        let value = Bytes::from(next.encode());
        let mut trouble = None;
        for attempt in 0..self.patience.attempts {
            match self.storage.replace(&register, &expected, value.clone()).await {
                Replaced::Done(_) => return Ok(RetentionReplaced::Done),
                Replaced::Refused => {}
                Replaced::Rejected(error) | Replaced::Unanswered(error) | Replaced::NotSent(error) => trouble = Some(error),
            }
            match self.retention().await {
                // Not applied yet: the same replace is sent again.
                Ok(now) if now.version == before.version => {}
                Ok(now) => return Ok(RetentionReplaced::Changed(now)),
                Err(error) => trouble = Some(error),
            }
            self.patience.wait(attempt).await;
        }
        Err(trouble.unwrap_or_else(|| Error::unavailable(format!("{register} cannot be replaced"))))
    }
}
