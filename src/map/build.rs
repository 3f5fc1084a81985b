//! Bulk build: a sorted stream of entries becomes a map, in memory for one node of each level.

use futures::{Stream, StreamExt};
use std::pin::pin;

use super::page::{MapTotals, Page, Row};
use super::{NodeSink, Shape};
use crate::error::{Error, Result};
use crate::format::{Leaf, Node, NodeChild, Value};
use crate::id::NodeId;
use crate::key::MapKey;

/// A map that was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Built {
    /// The root.
    pub root: NodeId,
    /// What the map holds.
    pub totals: MapTotals,
}

/// Takes entries in the order of their keys and hands nodes to a sink as they are cut, children before parents.
pub(crate) struct Builder<'k, V: Value, K> {
    shape: Shape,
    leaf: Page<V, (MapKey, V)>,
    upper: Upper<V>,
    last: Option<MapKey>,
    sink: &'k mut K,
}

impl<'k, V: Value, K: NodeSink<V>> Builder<'k, V, K> {
    /// Begins with an empty map.
    pub(crate) fn new(shape: Shape, sink: &'k mut K) -> Self {
        Self { shape, leaf: Page::new(shape, 0), upper: Upper::above(shape, 0), last: None, sink }
    }

    /// Appends an entry. A key that does not follow the one before is `Invalid`, and so are sizes that add up to more
    /// than 2^64.
    pub(crate) async fn push(&mut self, key: MapKey, value: V) -> Result<()> {
        if let Some(last) = &self.last
            && *last >= key
        {
            let why = if *last == key { "came twice" } else { "came out of order" };
            return Err(Error::invalid(format!("key {key:?} {why} after {last:?}")));
        }
        self.last = Some(key.clone());
        match self.leaf.push((key, value))? {
            Some((child, node)) => {
                self.sink.store(child.id, node).await?;
                self.upper.push(child, self.sink).await
            }
            None => Ok(()),
        }
    }

    /// Ends every level and returns the root, which is stored like every other node.
    pub(crate) async fn finish(mut self) -> Result<Built> {
        if self.last.is_none() {
            let root = store_empty(self.shape, self.sink).await?;
            return Ok(Built { root, totals: MapTotals::default() });
        }
        if let Some((child, node)) = self.leaf.end() {
            self.sink.store(child.id, node).await?;
            self.upper.push(child, self.sink).await?;
        }
        let root = self.upper.finish(self.sink).await?;
        Ok(Built { root: root.id, totals: MapTotals { entries: root.entries, bytes: root.bytes } })
    }
}

/// Builds a map of everything that `entries` yields; stops at the first error.
pub(crate) async fn build<V, K>(entries: impl Stream<Item = Result<(MapKey, V)>> + Send, shape: Shape, sink: &mut K) -> Result<Built>
where
    V: Value,
    K: NodeSink<V>,
{
    let mut builder = Builder::new(shape, sink);
    let mut entries = pin!(entries);
    while let Some(entry) = entries.next().await {
        let (key, value) = entry?;
        builder.push(key, value).await?;
    }
    builder.finish().await
}

/// Stores the leaf without entries and returns its id.
pub(super) async fn store_empty<V: Value, K: NodeSink<V>>(shape: Shape, sink: &mut K) -> Result<NodeId> {
    let node = Node::<V>::Leaf(Leaf { entries: Vec::new() });
    let id = node.id(shape.hash);
    sink.store(id, node.into()).await?;
    Ok(id)
}

/// The branches above a level, made as its nodes arrive from left to right.
pub(super) struct Upper<V: Value> {
    shape: Shape,
    /// The level of the nodes that arrive.
    base: u8,
    levels: Vec<Open<V>>,
}

/// A level that has not ended.
struct Open<V: Value> {
    page: Page<V, NodeChild>,
    /// Whether a node of this level was cut: then the level above exists.
    cut: bool,
}

impl<V: Value> Upper<V> {
    /// Above the nodes of level `base`.
    pub(super) fn above(shape: Shape, base: u8) -> Self {
        Self { shape, base, levels: Vec::new() }
    }

    /// Takes the next node of the base level.
    pub(super) async fn push<K: NodeSink<V>>(&mut self, child: NodeChild, sink: &mut K) -> Result<()> {
        self.push_at(0, child, sink).await
    }

    /// Ends every level and returns the root. At least one node must have been pushed.
    pub(super) async fn finish<K: NodeSink<V>>(mut self, sink: &mut K) -> Result<NodeChild> {
        let mut at = 0;
        loop {
            let open = self.levels.get_mut(at).ok_or_else(|| Error::internal("a map without nodes has no root"))?;
            if let ([only], false) = (open.page.rows(), open.cut) {
                return Ok(only.clone());
            }
            if let Some((child, node)) = open.page.end() {
                open.cut = true;
                sink.store(child.id, node).await?;
                self.push_at(at + 1, child, sink).await?;
            }
            at += 1;
        }
    }

    async fn push_at<K: NodeSink<V>>(&mut self, mut at: usize, mut child: NodeChild, sink: &mut K) -> Result<()> {
        loop {
            if at == self.levels.len() {
                let level = u8::try_from(at + 1 + usize::from(self.base)).map_err(|_| Error::internal("a map of 255 levels"))?;
                self.levels.push(Open { page: Page::new(self.shape, level), cut: false });
            }
            let open = self.levels.get_mut(at).ok_or_else(|| Error::internal("a level of the map is missing"))?;
            let Some((made, node)) = open.page.push(child)? else { return Ok(()) };
            open.cut = true;
            sink.store(made.id, node).await?;
            (child, at) = (made, at + 1);
        }
    }
}

/// Refuses keys that do not ascend, naming the first that does not.
pub(super) fn check_ascending<'k>(keys: impl Iterator<Item = &'k MapKey>) -> Result<()> {
    let mut last: Option<&MapKey> = None;
    for key in keys {
        if last.is_some_and(|last| last >= key) {
            return Err(Error::invalid(format!("key {key:?} is out of order or came twice")));
        }
        last = Some(key);
    }
    Ok(())
}

/// The first of two neighbouring rows whose keys do not ascend.
pub(super) fn first_disorder<V: Value, R: Row<V>>(rows: &[R]) -> Option<&R> {
    rows.iter().zip(rows.iter().skip(1)).find(|(a, b)| a.key() >= b.key()).map(|(a, _)| a)
}
