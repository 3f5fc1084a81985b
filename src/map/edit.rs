//! Editing by a sorted batch: level by level, only where the batch touches.
//!
//! At each level the pass goes to the first node that an edit touches, and cuts its rows anew together with the edits.
//! When the end of an old node is also a new boundary, everything up to the next edit stays as it is: cutting begins
//! afresh at a boundary. The nodes that went and the nodes that came are the batch of edits for the level above.

mod old;

use std::cmp::Ordering;

use super::build::{Upper, check_ascending, store_empty};
use super::page::{Made, Page, Row, Totals};
use super::{Map, NodeSink, NodeSource, Shape};
use crate::error::{Error, Result};
use crate::format::{Child, Value};
use crate::id::NodeId;
use crate::key::MapKey;
use old::Old;

/// A map after an edit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Edited<V> {
    /// The root: the same that building the resulting entries anew would give.
    pub root: NodeId,
    /// What the map holds now.
    pub totals: Totals,
    /// What was under each key of the batch before.
    pub replaced: Vec<Option<V>>,
}

impl<V: Value, S: NodeSource<V>> Map<'_, V, S> {
    /// Sets (`Some`) and removes (`None`) the keys of `batch`, which must ascend (`Invalid` otherwise). Removing what is
    /// not there changes nothing.
    ///
    /// Loads the touched paths, and beyond them only the nodes that the new cuts run into; stores the nodes of the new
    /// map that the old one lacks, children before parents.
    pub(crate) async fn edit<K: NodeSink<V>>(&self, batch: &[(MapKey, Option<V>)], shape: Shape, sink: &mut K) -> Result<Edited<V>> {
        check_ascending(batch.iter().map(|(key, _)| key))?;
        let mut old = Old::open(self.source, self.root).await?;
        let before = old.totals();
        if batch.is_empty() {
            return Ok(Edited { root: self.root, totals: before, replaced: Vec::new() });
        }
        old.prefetch(batch.iter().map(|(key, _)| key.clone()).collect()).await?;
        let (outcome, replaced) = Pass::<V, (MapKey, V)>::new(shape, 0, batch).run(&mut old, sink).await?;
        let (root, totals) = match raise(&mut old, shape, outcome, sink).await? {
            Some(root) => (root.id, Totals { entries: root.entries, bytes: root.bytes }),
            None => (self.root, before),
        };
        Ok(Edited { root, totals, replaced })
    }
}

/// What became of a level.
enum Outcome {
    /// It has no rows any more: the map is empty.
    Empty,
    /// It has become this one node: the root.
    Root(Child),
    /// It would hold this row only. The child, an old node of the level below, is the root, unless it has a single child
    /// itself.
    Only(Child),
    /// The old top level has become these nodes, two or more.
    Top(Vec<Child>),
    /// What changes in the level above; nothing when the map is as it was.
    Above(Vec<(MapKey, Option<Child>)>),
}

/// Carries what changed among the leaves up to the root; `None` when nothing did.
async fn raise<V: Value, S: NodeSource<V>, K: NodeSink<V>>(
    old: &mut Old<'_, V, S>,
    shape: Shape,
    mut outcome: Outcome,
    sink: &mut K,
) -> Result<Option<Child>> {
    let mut level = 0_u8;
    loop {
        match outcome {
            Outcome::Empty => {
                let id = store_empty(shape, sink).await?;
                return Ok(Some(Child { last: MapKey::new(""), id, entries: 0, bytes: 0 }));
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
                outcome = Pass::<V, Child>::new(shape, level, &edits).run(old, sink).await?.0;
            }
        }
    }
}

/// The edits of one level, being applied from left to right.
struct Pass<'e, V: Value, R: Row<V>> {
    level: u8,
    page: Page<V, R>,
    edits: &'e [(MapKey, Option<R::Payload>)],
    /// How many of the edits are done.
    done: usize,
    /// What the edits that are done found under their keys.
    replaced: Vec<Option<R::Payload>>,
    /// The old nodes whose rows were cut anew.
    gone: Vec<Child>,
    /// The nodes that they became.
    made: Vec<Child>,
}

impl<'e, V: Value, R: Row<V>> Pass<'e, V, R> {
    fn new(shape: Shape, level: u8, edits: &'e [(MapKey, Option<R::Payload>)]) -> Self {
        let replaced = Vec::with_capacity(edits.len());
        Self { level, page: Page::new(shape, level), edits, done: 0, replaced, gone: Vec::new(), made: Vec::new() }
    }

    /// Applies the edits; returns what became of the level and what the edits replaced.
    async fn run<S: NodeSource<V>, K: NodeSink<V>>(
        mut self,
        old: &mut Old<'_, V, S>,
        sink: &mut K,
    ) -> Result<(Outcome, Vec<Option<R::Payload>>)> {
        while let Some((key, _)) = self.edits.get(self.done) {
            let mut cursor = old.seek(self.level, key).await?;
            loop {
                let (child, node) = old.take(&cursor).await?;
                self.gone.extend(child);
                let rows = R::rows(&node).ok_or_else(|| Error::corrupt("a leaf and a branch lie on one level of a map"))?;
                let is_last = !cursor.has_next();
                self.merge(rows, is_last, sink).await?;
                // An old boundary that is a new one too: what follows was cut as it would be cut now.
                if self.page.rows().is_empty() || is_last {
                    break;
                }
                old.advance(&mut cursor).await?;
            }
        }
        let outcome = self.finish(old, sink).await?;
        Ok((outcome, self.replaced))
    }

    /// Cuts the rows of an old node together with the edits among them, and, in the last node, behind them.
    async fn merge<K: NodeSink<V>>(&mut self, rows: &[R], is_last: bool, sink: &mut K) -> Result<()> {
        let edits = self.edits;
        for row in rows {
            let mut is_replaced = false;
            while let Some((key, new)) = edits.get(self.done).filter(|_| !is_replaced) {
                let order = key.cmp(row.key());
                if order == Ordering::Greater {
                    break;
                }
                is_replaced = order == Ordering::Equal;
                self.replaced.push(is_replaced.then(|| row.payload().clone()));
                self.done += 1;
                if let Some(new) = new {
                    self.push(R::make(key, new), sink).await?;
                }
            }
            if !is_replaced {
                self.push(row.clone(), sink).await?;
            }
        }
        for (key, new) in edits.iter().skip(self.done).take_while(|_| is_last) {
            self.replaced.push(None);
            self.done += 1;
            if let Some(new) = new {
                self.push(R::make(key, new), sink).await?;
            }
        }
        Ok(())
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
fn net(gone: &[Child], made: &[Child]) -> Vec<(MapKey, Option<Child>)> {
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
        if let Some(Child { last, .. }) = new.or(old).filter(|_| old != new) {
            edits.push((last.clone(), new.cloned()));
        }
    }
}
