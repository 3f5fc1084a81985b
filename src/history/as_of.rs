//! What a reader of a ref saw at a moment.
//!
//! i = the last move not later than T: none means that the ref did not exist yet, one that deleted it that it did
//! not exist then. `start` is where it led, `end` where the ref stood when move i + 1 came, or stands now. The answer
//! is the latest commit of `end`'s line not later than T, but nothing older than `start`.

use super::ancestry::Line;
use crate::error::{Error, Result};
use crate::id::SnapshotId;
use crate::objects::Objects;
use crate::refs::{Ref, RefRecord, Refs};
use crate::time::Timestamp;

/// The snapshot that a ref showed at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsOf {
    /// The snapshot.
    pub id: SnapshotId,
    /// Whether nothing that happens from now on can change the answer.
    pub is_final: bool,
}

/// Answers for a ref; `NotFound` says when it was created or deleted if it did not exist at `time`.
pub(super) async fn as_of(refs: &Refs, objects: &Objects, name: &Ref, record: &RefRecord, time: Timestamp, now: Timestamp) -> Result<AsOf> {
    let moves = refs.moves_back_to(record, |m| m.time <= time).await?;
    let next = moves.partition_point(|m| m.time <= time);
    let Some(last) = next.checked_sub(1).and_then(|i| moves.get(i)) else {
        return Err(match moves.first() {
            Some(first) => Error::not_found(format!("{name} was created at {}, after {time}", first.time)),
            None => Error::not_found(format!("{name} does not exist")),
        });
    };
    let Some(start) = last.to else {
        return Err(Error::not_found(format!("{name} was deleted at {}", last.time)));
    };
    let end = moves.get(next).map_or(record.tip, |m| m.from);
    let end = end.ok_or_else(|| Error::corrupt(format!("{name} has a move at {time} that came from nowhere")))?;
    let is_final = time <= now && refs.last_event(record).await?.is_some_and(|last| time <= last);

    let end_commit = objects.commit(&end).await?;
    if end_commit.time <= time {
        return Ok(AsOf { id: end, is_final });
    }
    let line = Line { objects, id: end, commit: &end_commit };
    // Nothing before `start` was visible, so a history that is not known further back does not matter either.
    if line.is_shallow().await? {
        return Ok(AsOf { id: start, is_final });
    }
    let found = line.history().floor(super::history_key(time).as_str()).await?;
    let id = match found.map(|(key, entry)| super::ancestry::parse_history_key(&key).map(|at| (at, entry.id))).transpose()? {
        // A move is never earlier than what it shows, so what came after the move needs no look at it.
        Some((at, id)) if at >= last.time || at >= objects.commit(&start).await?.time => id,
        _ => start,
    };
    Ok(AsOf { id, is_final })
}
