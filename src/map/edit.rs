//! Editing by a sorted stream: level by level, only where the edits touch.
//!
//! At each level the pass goes to the first node that an edit touches, and cuts its rows anew together with the edits. When the end of
//! an old node is also a new boundary, everything up to the next edit stays as it is: cutting begins afresh at a boundary. The nodes
//! that were removed and those that were made are the edits of the level above. Memory holds one batch of edits and two rows for each
//! leaf that changes.

mod feed;
mod old;

use std::cmp::Ordering;

use super::build::{Built, Upper, store_empty};
use super::page::{Made, MapTotals, Page, Row};
use super::{Map, NodeSink, NodeSource, Shape};
use crate::error::{Error, Result};
use crate::format::{NodeChild, Value};
use crate::id::NodeId;
use crate::key::MapKey;
use feed::Feed;
use old::Old;

pub(crate) use feed::{Edit, Edits};

/// A map after an edit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Edited<V> {
    /// The root: the same that building the resulting entries anew would give.
    pub root: NodeId,
    /// What the map holds now.
    pub totals: MapTotals,
    /// What was under each key of the batch before.
    pub replaced: Vec<Option<V>>,
}

impl<V: Value, S: NodeSource<V>> Map<'_, V, S> {
    /// [`edit_stream`](Self::edit_stream) for a few edits, all of them in memory and what they replace as well.
    pub(crate) async fn edit<K: NodeSink<V>>(&self, batch: &[Edit<V>], shape: Shape, sink: &mut K) -> Result<Edited<V>> {
        let mut replaced = Vec::with_capacity(batch.len());
        let keep = |_: &MapKey, old: Option<&V>, _: Option<&V>| {
            replaced.push(old.cloned());
            Ok(())
        };
        let Built { root, totals } = self.edit_stream(batch.to_vec(), keep, shape, sink).await?;
        Ok(Edited { root, totals, replaced })
    }

    /// Sets (`Some`) and removes (`None`) the keys of `edits`, which must ascend (`Invalid` otherwise). Removing what is
    /// not there changes nothing. Shows `seen` every edit: its key, what was there before, what is there now.
    ///
    /// Loads the touched paths, and beyond them only the nodes that the new cuts run into; stores the nodes of the new
    /// map that the old one lacks as they are made, children before parents.
    pub(crate) async fn edit_stream<K: NodeSink<V>>(
        &self,
        edits: impl Edits<V>,
        seen: impl FnMut(&MapKey, Option<&V>, Option<&V>) -> Result<()> + Send,
        shape: Shape,
        sink: &mut K,
    ) -> Result<Built> {
        let mut old = Old::open(self.source, self.root).await?;
        let before = Built { root: self.root, totals: old.totals() };
        let outcome = Pass::<V, (MapKey, V), _, _>::new(shape, 0, edits, seen).run(&mut old, sink).await?;
        Ok(match raise(&mut old, shape, outcome, sink).await? {
            Some(root) => Built { root: root.id, totals: MapTotals { entries: root.entries, bytes: root.bytes } },
            None => before,
        })
    }
}

/// What became of a level.
enum Outcome {
    /// It has no rows any more: the map is empty.
    Empty,
    /// It has become this one node: the root.
    Root(NodeChild),
    /// It would hold this row only. The child, an old node of the level below, is the root, unless it has a single child
    /// itself.
    Only(NodeChild),
    /// The old top level has become these nodes, two or more.
    Top(Vec<NodeChild>),
    /// What changes in the level above; nothing when the map is as it was.
    Above(Vec<Edit<NodeChild>>),
}

/// Carries what changed among the leaves up to the root; `None` when nothing did.
async fn raise<V: Value, S: NodeSource<V>, K: NodeSink<V>>(
    old: &mut Old<'_, V, S>,
    shape: Shape,
    mut outcome: Outcome,
    sink: &mut K,
) -> Result<Option<NodeChild>> {
    let mut level = 0_u8;
    loop {
        match outcome {
            Outcome::Empty => {
                let id = store_empty(shape, sink).await?;
                return Ok(Some(NodeChild { last: MapKey::new(""), id, entries: 0, bytes: 0 }));
            }
            Outcome::Root(child) => return Ok(Some(child)),
            Outcome::Only(child) => return old.collapse(child, level.saturating_sub(1)).await.map(Some),
            Outcome::Top(children) => {
                let mut upper = Upper::above(shape, level);
                for child in children {
                    upper.push(child, sink).await?;
                }
                return upper.finish(sink).await.map(Some);
            }
            Outcome::Above(edits) if edits.is_empty() => return Ok(None),
            Outcome::Above(edits) => {
                level += 1;
                let unseen = |_: &MapKey, _: Option<&NodeChild>, _: Option<&NodeChild>| Ok(());
                outcome = Pass::<V, NodeChild, _, _>::new(shape, level, edits, unseen).run(old, sink).await?;
            }
        }
    }
}

/// The edits of one level, being applied from left to right.
struct Pass<V: Value, R: Row<V>, E, F> {
    level: u8,
    page: Page<V, R>,
    edits: Feed<R::Payload, E>,
    /// Called with every edit.
    seen: F,
    /// The old nodes whose rows were cut anew.
    gone: Vec<NodeChild>,
    /// The nodes that they became.
    made: Vec<NodeChild>,
}

impl<V, R, E, F> Pass<V, R, E, F>
where
    V: Value,
    R: Row<V>,
    E: Edits<R::Payload>,
    F: FnMut(&MapKey, Option<&R::Payload>, Option<&R::Payload>) -> Result<()> + Send,
{
    fn new(shape: Shape, level: u8, edits: E, seen: F) -> Self {
        Self { level, page: Page::new(shape, level), edits: Feed::new(edits), seen, gone: Vec::new(), made: Vec::new() }
    }

    /// Applies the edits; returns what became of the level.
    async fn run<S: NodeSource<V>, K: NodeSink<V>>(mut self, old: &mut Old<'_, V, S>, sink: &mut K) -> Result<Outcome> {
        while self.fill(old).await? {
            let Some(key) = self.edits.peek().cloned() else { break };
            let mut cursor = old.seek(self.level, &key).await?;
            loop {
                let (child, node) = old.take(&cursor).await?;
                self.gone.extend(child);
                let rows = R::rows(&node).ok_or_else(|| Error::corrupt("a leaf and a branch lie on one level of a map"))?;
                let is_last = !cursor.has_next();
                self.merge(rows, is_last, old, sink).await?;
                // An old boundary that is a new one too: what follows was cut as it would be cut now.
                if self.page.rows().is_empty() || is_last {
                    break;
                }
                old.advance(&mut cursor).await?;
            }
        }
        self.finish(old, sink).await
    }

    /// Makes the next edit visible; `false` after the last. The leaves that a new batch touches are sent for together.
    async fn fill<S: NodeSource<V>>(&mut self, old: &mut Old<'_, V, S>) -> Result<bool> {
        if self.edits.is_dry() && self.edits.fetch().await? && self.level == 0 {
            old.prefetch(self.edits.keys()).await?;
        }
        Ok(!self.edits.is_dry())
    }

    /// Cuts the rows of an old node together with the edits among them, and, in the last node, behind them.
    async fn merge<S, K>(&mut self, rows: &[R], is_last: bool, old: &mut Old<'_, V, S>, sink: &mut K) -> Result<()>
    where
        S: NodeSource<V>,
        K: NodeSink<V>,
    {
        for row in rows {
            let mut is_replaced = false;
            while !is_replaced && (!self.edits.is_dry() || self.fill(old).await?) {
                let order = self.edits.peek().map_or(Ordering::Greater, |key| key.cmp(row.key()));
                if order == Ordering::Greater {
                    break;
                }
                is_replaced = order == Ordering::Equal;
                self.apply(is_replaced.then(|| row.payload()), sink).await?;
            }
            if !is_replaced {
                self.push(row.clone(), sink).await?;
            }
        }
        while is_last && self.fill(old).await? {
            self.apply(None, sink).await?;
        }
        Ok(())
    }

    /// Applies the next edit, which finds `before` under its key.
    async fn apply<K: NodeSink<V>>(&mut self, before: Option<&R::Payload>, sink: &mut K) -> Result<()> {
        let Some((key, new)) = self.edits.take() else { return Ok(()) };
        (self.seen)(&key, before, new.as_ref())?;
        match new {
            Some(new) => self.push(R::make(key, new), sink).await,
            None => Ok(()),
        }
    }

    async fn push<K: NodeSink<V>>(&mut self, row: R, sink: &mut K) -> Result<()> {
        match self.page.push(row)? {
            Some(made) => self.keep(made, sink).await,
            None => Ok(()),
        }
    }

    /// Stores a node, unless the old map has it: then it is the node whose end was just reached.
    async fn keep<K: NodeSink<V>>(&mut self, (child, node): Made<V>, sink: &mut K) -> Result<()> {
        if self.gone.last().is_none_or(|old| old.id != child.id) {
            sink.store(child.id, node).await?;
        }
        self.made.push(child);
        Ok(())
    }

    async fn finish<S: NodeSource<V>, K: NodeSink<V>>(&mut self, old: &mut Old<'_, V, S>, sink: &mut K) -> Result<Outcome> {
        let touched = self.gone.iter().fold(0_u64, |sum, child| sum.saturating_add(child.entries));
        let is_whole = touched >= old.totals().entries;
        if let ([only], true, []) = (self.page.rows(), is_whole, self.made.as_slice())
            && let Some(child) = only.as_child()
        {
            return Ok(Outcome::Only(child.clone()));
        }
        if let Some(made) = self.page.end() {
            self.keep(made, sink).await?;
        }
        Ok(match self.made.as_slice() {
            [] if is_whole && touched > 0 => Outcome::Empty,
            [only] if is_whole => Outcome::Root(only.clone()),
            [_, _, ..] if self.level == old.top() => Outcome::Top(std::mem::take(&mut self.made)),
            _ => Outcome::Above(net(&self.gone, &self.made)),
        })
    }
}

/// The edits that turn the old nodes of a level into the new ones: none for a node that is in both.
fn net(gone: &[NodeChild], made: &[NodeChild]) -> Vec<Edit<NodeChild>> {
    let (mut gone, mut made) = (gone.iter().peekable(), made.iter().peekable());
    let mut edits = Vec::new();
    loop {
        let order = match (gone.peek(), made.peek()) {
            (None, None) => return edits,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.last.cmp(&new.last),
        };
        let old = if order == Ordering::Greater { None } else { gone.next() };
        let new = if order == Ordering::Less { None } else { made.next() };
        if let Some(NodeChild { last, .. }) = new.or(old).filter(|_| old != new) {
            edits.push((last.clone(), new.cloned()));
        }
    }
}
