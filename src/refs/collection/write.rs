//! What only a collector does: it changes the register, raises refs, and writes lists.

use bytes::Bytes;

use super::lists::{ListCounts, encode_index, encode_shard};
use super::rules::{GcRule, holds};
use super::{CondemnedRow, GcHeld, GcState};
use crate::error::{Error, Result};
use crate::refs::{Ref, RefRecord, Refs, Settled};
use crate::storage::layout::SHARDS;
use crate::storage::{Expected, Object, ObjectName, RegisterName, Replaced};

/// About how many bytes of shards are sent together.
const BATCH: usize = 8 << 20;

/// What became of a change of the register.
#[derive(Debug)]
pub(crate) enum Advanced {
    /// It happened.
    Won(GcHeld),
    /// Another collector was first.
    Lost,
}

impl Refs {
    /// Replaces the state of garbage collection by `next`, if it still is what was read, and finds out whether that happened.
    ///
    /// An error means that the store cannot be asked: the change may have happened, or may still. The collector stops, and another one
    /// goes on from whatever the state is.
    pub(crate) async fn advance(&self, before: &GcHeld, next: GcState) -> Result<Advanced> {
        let register = RegisterName::gc_state();
        let expected = before.version.clone().map_or(Expected::Absent, Expected::Is);
        let value = Bytes::from(next.encode());
        let mut trouble = None;
        for attempt in 0..self.patience.attempts {
            match self.storage.replace(&register, &expected, value.clone()).await {
                Replaced::Done(version) => return Ok(Advanced::Won(GcHeld { state: next, version: Some(version) })),
                Replaced::Refused => {}
                Replaced::Rejected(error) | Replaced::Unanswered(error) | Replaced::NotSent(error) => trouble = Some(error),
            }
            match self.collection().await {
                Ok(now) if now.state == next => return Ok(Advanced::Won(now)),
                // Not applied yet: the same replace is sent again.
                Ok(now) if now.version == before.version => {}
                Ok(_) => return Ok(Advanced::Lost),
                Err(error) => trouble = Some(error),
            }
            self.patience.wait(attempt).await;
        }
        Err(trouble.unwrap_or_else(|| Error::unavailable(format!("{register} cannot be replaced"))))
    }

    /// Raises the epoch of a ref to at least `epoch`, and never lowers it. Returns every value of the ref that has to be marked: the one
    /// that was raised, and the one that is there then.
    ///
    /// The one that was raised counts even if it has been replaced already: a ref may have been pointed at what it keeps, by a writer who
    /// saw that it was raised, before it let that go.
    pub(crate) async fn raise(&self, name: &Ref, epoch: u64) -> Result<Vec<RefRecord>> {
        let mut values: Vec<RefRecord> = Vec::new();
        for attempt in 0..super::super::verbs::ATTEMPTS {
            let before = self
                .try_read(name)
                .await?
                .ok_or_else(|| Error::corrupt(format!("{name} was removed by something other than this program")))?;
            let Some(next) = before.record.raised(epoch) else {
                if !values.iter().any(|value| before.record.shows_the_same(value)) {
                    values.push(before.record);
                }
                return Ok(values);
            };
            // Whoever raises it writes the same, so that what is read decides.
            let landed = |now: RefRecord| futures::future::ready(Ok(now.epoch >= epoch));
            match self.replace_settled(name, Some(&before), &next, landed).await? {
                Settled::Won => values.extend(Some(next).filter(|_| holds(GcRule::MarkRaised))),
                Settled::Lost(_) => self.patience.wait(attempt.min(3)).await,
            }
        }
        Err(Error::unavailable(format!("{name} changes too fast to be raised to epoch {epoch}")))
    }
}

/// Writes one list.
#[derive(Debug)]
pub(crate) struct ListWriter<'r> {
    refs: &'r Refs,
    id: String,
    counts: ListCounts,
    batch: Vec<Object>,
    held: usize,
}

impl<'r> ListWriter<'r> {
    /// Begins the list `id`, which no other collector uses.
    pub(crate) fn new(refs: &'r Refs, id: String) -> Self {
        Self { refs, id, counts: vec![0; SHARDS], batch: Vec::new(), held: 0 }
    }

    /// Adds a shard, whose rows are sorted, each once.
    pub(crate) async fn add(&mut self, shard: usize, rows: &[CondemnedRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(rows.len()).map_err(|_| Error::unsupported("more than 2^32 objects in one folder"))?;
        if let Some(slot) = self.counts.get_mut(shard) {
            *slot = count;
        }
        let bytes = encode_shard(self.refs.objects.hash(), shard, rows)?;
        self.held += bytes.len();
        self.batch.push((ObjectName::list_shard(&self.id, shard), vec![bytes]));
        if self.held >= BATCH { self.send().await } else { Ok(()) }
    }

    async fn send(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.held = 0;
        self.refs.storage.put_many(&batch).await.into_iter().collect()
    }

    /// Writes the rest, and makes the list durable. Returns its name, and how many objects it names.
    pub(crate) async fn finish(mut self) -> Result<(String, u64)> {
        self.send().await?;
        let index = encode_index(self.refs.objects.hash(), &self.counts);
        self.refs.storage.put(&ObjectName::list_index(&self.id), &[index]).await?;
        self.refs.storage.barrier().await?;
        Ok((self.id, self.counts.iter().map(|count| u64::from(*count)).sum()))
    }
}
