//! Finding entries by key: one, many at once, and the nearest at or before a key.

use std::cmp::Ordering;
use std::sync::Arc;

use futures::{StreamExt, stream};

use super::load::{self, CONCURRENT};
use super::{Map, NodeSource};
use crate::error::{Error, Result};
use crate::format::{Branch, Leaf, Node, Value};
use crate::key::{MapKey, order};

impl<V: Value, S: NodeSource<V>> Map<'_, V, S> {
    /// The value under `key`. Loads one node of each level.
    pub(crate) async fn find(&self, key: &str) -> Result<Option<V>> {
        let mut node = self.load_root().await?;
        let mut low: Option<MapKey> = None;
        loop {
            let next = match &*node {
                Node::Leaf(leaf) => return Ok(find_in(leaf, key).cloned()),
                Node::Branch(branch) => {
                    let at = first_reaching(branch, key);
                    let Some(child) = branch.children.get(at) else { return Ok(None) };
                    let before = at.checked_sub(1).and_then(|i| branch.children.get(i)).map(|c| &c.last);
                    let below = load::child(self.source, child, branch.level.saturating_sub(1), before.or(low.as_ref())).await?;
                    if let Some(before) = before {
                        low = Some(before.clone());
                    }
                    below
                }
            };
            node = next;
        }
    }

    /// The value under each of `keys`, which must be sorted (`Invalid` otherwise; equal neighbours are fine). Loads
    /// every node on their paths once, siblings concurrently.
    pub(crate) async fn find_many(&self, keys: &[MapKey]) -> Result<Vec<Option<V>>> {
        if let Some((key, _)) = keys.iter().zip(keys.iter().skip(1)).find(|(a, b)| a > b) {
            return Err(Error::invalid(format!("the keys to find are not sorted after {key:?}")));
        }
        let mut found = vec![None; keys.len()];
        if keys.is_empty() {
            return Ok(found);
        }
        let root = self.load_root().await?;
        let mut fill = |leaf: &Leaf<V>, range: std::ops::Range<usize>| {
            for (slot, key) in found.iter_mut().zip(keys).take(range.end).skip(range.start) {
                *slot = find_in(leaf, key.as_str()).cloned();
            }
        };
        match &*root {
            Node::Leaf(leaf) => fill(leaf, 0..keys.len()),
            Node::Branch(branch) => {
                let touched = load::descend(self.source, branch, keys, false, |_, _| ()).await?;
                let source = self.source;
                let loads = touched.into_iter().map(|touch| async move {
                    let node = touch.due.load::<V, S>(source).await?;
                    Ok::<_, Error>((touch.keys, node))
                });
                let mut loads = stream::iter(loads).buffer_unordered(CONCURRENT);
                while let Some(loaded) = loads.next().await {
                    let (range, node) = loaded?;
                    if let Node::Leaf(leaf) = &*node {
                        fill(leaf, range);
                    }
                }
            }
        }
        Ok(found)
    }

    /// The entry with the greatest key that is not greater than `key`. Loads at most two nodes of each level.
    pub(crate) async fn floor(&self, key: &str) -> Result<Option<(MapKey, V)>> {
        let mut node = self.load_root().await?;
        let mut low: Option<MapKey> = None;
        // The deepest branch on the path that has a child left of the path, and which: there the floor is if `node`
        // has none. That child's last key is the floor's.
        let mut left: Option<(Arc<Node<V>>, usize, Option<MapKey>)> = None;
        loop {
            let next = match &*node {
                Node::Leaf(leaf) => {
                    let after = leaf.entries.partition_point(|(k, _)| order::compare(k.as_str(), key) != Ordering::Greater);
                    match (after.checked_sub(1).and_then(|at| leaf.entries.get(at)), left) {
                        (Some(entry), _) => return Ok(Some(entry.clone())),
                        (None, Some((node, at, low))) => return self.last_below(&node, at, low).await,
                        (None, None) => return Ok(None),
                    }
                }
                Node::Branch(branch) => {
                    let at = first_reaching(branch, key).min(branch.children.len().saturating_sub(1));
                    let due = load::Due::of(branch, at, low.as_ref()).ok_or_else(|| Error::corrupt("a branch has no children"))?;
                    if let Some(before) = at.checked_sub(1) {
                        left = Some((Arc::clone(&node), before, low.take()));
                    }
                    let below = due.load(self.source).await?;
                    low = due.low;
                    below
                }
            };
            node = next;
        }
    }

    /// The last entry below child `at` of a branch.
    async fn last_below(&self, parent: &Arc<Node<V>>, mut at: usize, mut low: Option<MapKey>) -> Result<Option<(MapKey, V)>> {
        let mut node = Arc::clone(parent);
        loop {
            let next = match &*node {
                Node::Leaf(leaf) => return Ok(leaf.entries.last().cloned()),
                Node::Branch(branch) => {
                    let due = load::Due::of(branch, at, low.as_ref()).ok_or_else(|| Error::corrupt("a branch has no children"))?;
                    let below = due.load::<V, S>(self.source).await?;
                    if let Node::Branch(inner) = &*below {
                        at = inner.children.len().saturating_sub(1);
                    }
                    low = due.low;
                    below
                }
            };
            node = next;
        }
    }
}

/// Which child holds `key` if any does: the first that ends at or after it.
fn first_reaching(branch: &Branch, key: &str) -> usize {
    branch.children.partition_point(|c| order::compare(c.last.as_str(), key) == Ordering::Less)
}

fn find_in<'l, V>(leaf: &'l Leaf<V>, key: &str) -> Option<&'l V> {
    let at = leaf.entries.binary_search_by(|(k, _)| order::compare(k.as_str(), key)).ok()?;
    leaf.entries.get(at).map(|(_, value)| value)
}
