//! Finds the snapshot that a ref showed at a moment T.
//!
//! Let i be the last move that is not later than T. If there is none, the ref did not exist yet; if move i deleted the ref, it did not
//! exist at T. `start` is the snapshot to which move i pointed the ref. `end` is the snapshot that the ref showed when move i + 1 came,
//! or shows now. The answer is the latest commit of `end`'s line that is not later than T, but nothing older than `start`.
//!
//! Moves are ordered by their sequence numbers, and "last" is meant in that order. Their times increase with them, with one exception:
//! a move after one that a wrong clock stamped in the future carries the present time again. The stamp in the future then has no
//! effect: for every time until the present the answer is the same as before, and afterwards the later move decides.

use super::ancestry::Line;
use crate::error::{Error, Result};
use crate::format::{history_key, parse_history_key};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::objects::Objects;
use crate::refs::{MoveOp, Ref, RefRecord, Refs, absent, future_limit};
use crate::time::Timestamp;

/// The snapshot that a ref showed at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AsOf {
    /// The snapshot.
    pub id: SnapshotId,
    /// Whether the answer is final: no later commit or move can change it.
    pub is_final: bool,
}

/// Finds the answer for a ref. If the ref did not exist at `time`, the error is `NotFound` and says when it was created or deleted.
pub(super) async fn as_of(refs: &Refs, objects: &Objects, name: &Ref, record: &RefRecord, time: Timestamp, now: Timestamp) -> Result<AsOf> {
    let moves = refs.moves_back_to(record, |m| m.time <= time).await?;
    let Some((index, last)) = moves.iter().enumerate().rfind(|(_, m)| m.time <= time) else {
        return Err(match moves.first() {
            Some(first) if first.op == MoveOp::Repair => Error::not_found(format!(
                "what {name} showed at {time} is not known: its record was damaged and was replaced at {}",
                first.time
            )),
            Some(first) => Error::not_found(format!("{name} was created at {}, after {time}", first.time)),
            None => absent(name, Some(record)),
        });
    };
    let Some(start) = last.to else {
        return Err(Error::not_found(format!("{name} was deleted at {}", last.time)));
    };
    let end = moves.get(index + 1).map_or(record.tip, |m| m.from);
    let Some(end) = end else {
        return Err(match moves.get(index + 1) {
            Some(next) if next.op == MoveOp::Repair => Error::not_found(format!(
                "what {name} showed at {time} is not known: its record was damaged and was replaced at {}",
                next.time
            )),
            _ => Error::corrupt(format!("{name} has a move at {time} that came from nowhere")),
        });
    };
    let is_final = time <= now && time <= last_sure_event(refs, objects, record, now).await?;

    let end_commit = objects.commit(&end).await?;
    if end_commit.time <= time {
        return Ok(AsOf { id: end, is_final });
    }
    let start_time = objects.commit(&start).await?.time;
    let line = Line { objects, id: end, commit: &end_commit };
    // No reader saw a commit before `start`, so it does not matter if the history before `start` is not known.
    if line.is_shallow().await? {
        return Ok(AsOf { id: start, is_final });
    }
    let id = match line.history().floor(history_key(time).as_str()).await? {
        Some((key, entry)) if parse_history_key(&key)? >= start_time => entry.id,
        _ => start,
    };
    Ok(AsOf { id, is_final })
}

/// The time of the last event of a ref that is not stamped in the future. Every later move must be stamped after it.
async fn last_sure_event(refs: &Refs, objects: &Objects, record: &RefRecord, now: Timestamp) -> Result<Timestamp> {
    let limit = future_limit(now);
    let mut last = refs.last_event_until(record, limit).await?.unwrap_or(Timestamp::MIN);
    if let Some(tip) = record.tip
        && let Ok(commit) = objects.commit(&tip).await
        && commit.time > limit
        && let Ok(Some((time, _))) = (Line { objects, id: tip, commit: &commit }).floor(limit).await
    {
        last = last.max(time);
    }
    Ok(last)
}

impl Repository {
    /// A time later than every event of a ref that is not stamped in the future, also those below a tip that is: a move that was
    /// stamped earlier would change what the ref showed at a time whose answer is final.
    pub(crate) async fn after_sure_events(&self, name: &Ref) -> Result<Timestamp> {
        let Some(found) = self.refs().read_to_change(name).await? else { return Ok(Timestamp::MIN) };
        Ok(last_sure_event(self.refs(), self.objects(), &found.state.record, self.clock().now()).await?.next())
    }
}
