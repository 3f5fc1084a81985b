//! Three-way merge: what the other side changed since the base, applied to ours.

use std::cmp::Ordering;

use futures::future;

use super::diff::MapChange;
use super::edit::Edited;
use super::{Map, NodeSink, NodeSource, Shape};
use crate::error::Result;
use crate::format::Value;
use crate::key::MapKey;

/// A key that both sides changed since the base, to different values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Clash<V> {
    /// The key.
    pub key: MapKey,
    /// The value in the base.
    pub base: Option<V>,
    /// Our value.
    pub ours: Option<V>,
    /// Their value.
    pub theirs: Option<V>,
}

/// What a merge would do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MergePlan<V> {
    /// What they changed and we did not: a batch to edit ours by.
    pub changes: Vec<(MapKey, Option<V>)>,
    /// What both changed differently.
    pub clashes: Vec<Clash<V>>,
}

/// A merged map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Merged<V> {
    /// Ours with their changes. Where the sides clash it has our value.
    pub edited: Edited<V>,
    /// What both changed differently, for the caller to judge.
    pub clashes: Vec<Clash<V>>,
}

impl<V: Value, S: NodeSource<V>> Map<'_, V, S> {
    /// Compares what `ours` and `theirs` changed since this map, their base. Changes to the same value agree. Loads
    /// what the two diffs load, and stores nothing.
    pub(crate) async fn plan_merge(&self, ours: &Self, theirs: &Self) -> Result<MergePlan<V>> {
        let (mut we, mut they) = future::try_join(self.diff(ours), self.diff(theirs)).await?;
        let (mut mine, mut other) = future::try_join(we.next(), they.next()).await?;
        let mut plan = MergePlan { changes: Vec::new(), clashes: Vec::new() };
        while let Some(change) = other.take() {
            let order = mine.as_ref().map_or(Ordering::Greater, |m| m.key.cmp(&change.key));
            match order {
                Ordering::Less => {
                    (mine, other) = (we.next().await?, Some(change));
                    continue;
                }
                Ordering::Greater => plan.changes.push((change.key, change.new)),
                Ordering::Equal => {
                    if let Some(MapChange { new: ours, .. }) = mine.take().filter(|mine| mine.new != change.new) {
                        plan.clashes.push(Clash { key: change.key, base: change.old, ours, theirs: change.new });
                    }
                    mine = we.next().await?;
                }
            }
            other = they.next().await?;
        }
        Ok(plan)
    }

    /// Applies to `ours` what `theirs` changed since this map, their base, except where they clash.
    pub(crate) async fn merge<K: NodeSink<V>>(&self, ours: &Self, theirs: &Self, shape: Shape, sink: &mut K) -> Result<Merged<V>> {
        let MergePlan { changes, clashes } = self.plan_merge(ours, theirs).await?;
        let edited = ours.edit(&changes, shape, sink).await?;
        Ok(Merged { edited, clashes })
    }
}
