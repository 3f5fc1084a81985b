//! Loads nodes and compares them with what their parents say of them.
//!
//! A source compares a node with its id. This module checks that the node fits its parent, so that a well-formed node in a wrong place
//! gives `Corrupt` and never an endless walk.

use std::ops::{Deref, Range};
use std::sync::Arc;

use futures::{StreamExt, stream};

use super::page::MapTotals;
use super::{NodeSource, build::first_disorder};
use crate::error::{Error, Result};
use crate::format::{Branch, Node, NodeChild, Value};
use crate::id::NodeId;
use crate::key::MapKey;

/// How many nodes are loaded at a time.
pub(super) const CONCURRENT: usize = 16;

/// The highest level that a map of fewer than 2^64 entries can have.
const MAX_LEVEL: u8 = 64;

/// A source that is borrowed, or shared, so that what reads from it can outlive the place where it began.
#[derive(Debug)]
pub(crate) enum NodeHandle<'a, S> {
    /// Lives longer than the reader.
    Borrowed(&'a S),
    /// Kept by the reader.
    Shared(Arc<S>),
}

impl<S> Clone for NodeHandle<'_, S> {
    fn clone(&self) -> Self {
        match self {
            Self::Borrowed(source) => Self::Borrowed(source),
            Self::Shared(source) => Self::Shared(Arc::clone(source)),
        }
    }
}

impl<S> Deref for NodeHandle<'_, S> {
    type Target = S;
    fn deref(&self) -> &S {
        match self {
            Self::Borrowed(source) => source,
            Self::Shared(source) => source,
        }
    }
}

/// A node that a parent announces.
#[derive(Debug, Clone)]
pub(super) struct Due {
    /// What the parent says of it.
    pub(super) child: NodeChild,
    /// Its level.
    pub(super) level: u8,
    /// The last key to the left of it: every key below is greater.
    pub(super) low: Option<MapKey>,
}

impl Due {
    /// The child at `at` of a branch that itself lies right of `low`; `None` past the end.
    pub(super) fn of(branch: &Branch, at: usize, low: Option<&MapKey>) -> Option<Self> {
        let child = branch.children.get(at)?.clone();
        let before = at.checked_sub(1).and_then(|i| branch.children.get(i)).map(|c| &c.last);
        Some(Self { child, level: branch.level.checked_sub(1)?, low: before.or(low).cloned() })
    }

    /// Loads the node and compares it with what its parent announces.
    pub(super) async fn load<V: Value, S: NodeSource<V>>(&self, source: &S) -> Result<Arc<Node<V>>> {
        child(source, &self.child, self.level, self.low.as_ref()).await
    }
}

/// Loads a root.
pub(super) async fn root<V: Value, S: NodeSource<V>>(source: &S, id: NodeId) -> Result<Arc<Node<V>>> {
    let node = source.load(id).await?;
    admit_root(id, &node)?;
    Ok(node)
}

/// Loads a child of a node of level `level + 1`; all its keys must be greater than `low`.
pub(super) async fn child<V: Value, S: NodeSource<V>>(
    source: &S,
    child: &NodeChild,
    level: u8,
    low: Option<&MapKey>,
) -> Result<Arc<Node<V>>> {
    let node = source.load(child.id).await?;
    admit(&node, child, level, low)?;
    Ok(node)
}

/// Refuses a node that cannot be a root.
pub(super) fn admit_root<V: Value>(id: NodeId, node: &Node<V>) -> Result<()> {
    if node.level() > MAX_LEVEL {
        return Err(Error::corrupt(format!("node {id} has level {}; at most {MAX_LEVEL} is possible", node.level())));
    }
    match node {
        Node::Branch(branch) if branch.level == 0 || branch.children.is_empty() => {
            Err(Error::corrupt(format!("node {id} is a branch of level {} with {} children", branch.level, branch.children.len())))
        }
        _ => Ok(()),
    }
}

/// Refuses a node that is not what its parent announces, by level, first and last key.
pub(super) fn admit<V: Value>(node: &Node<V>, child: &NodeChild, level: u8, low: Option<&MapKey>) -> Result<()> {
    let id = child.id;
    let is_branch = matches!(node, Node::Branch(_));
    if node.level() != level || is_branch != (level > 0) {
        return Err(Error::corrupt(format!("node {id} has level {}, its parent says {level}", node.level())));
    }
    let Some(last) = node.last_key() else {
        return Err(Error::corrupt(format!("node {id} is empty but not the root of an empty map")));
    };
    if *last != child.last {
        return Err(Error::corrupt(format!("node {id} ends with {last:?}, its parent says {:?}", child.last)));
    }
    match (first_key(node), low) {
        (Some(first), Some(low)) if first <= low => {
            Err(Error::corrupt(format!("node {id} begins with {first:?}, which does not follow {low:?}")))
        }
        _ => Ok(()),
    }
}

/// Refuses a node whose rows are out of order or whose sums are not what the parent says: what an edit relies on.
pub(super) fn admit_fully<V: Value>(node: &Node<V>, child: &NodeChild) -> Result<()> {
    let totals = admit_rows(child.id, node)?;
    if (totals.entries, totals.bytes) == (child.entries, child.bytes) {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "node {} holds {} entries of {} bytes, its parent says {} of {}",
        child.id, totals.entries, totals.bytes, child.entries, child.bytes
    )))
}

/// Refuses a node whose rows are out of order, and sums it up.
pub(super) fn admit_rows<V: Value>(id: NodeId, node: &Node<V>) -> Result<MapTotals> {
    let disorder = match node {
        Node::Leaf(leaf) => first_disorder::<V, _>(&leaf.entries).map(|(key, _)| key),
        Node::Branch(branch) => first_disorder::<V, _>(&branch.children).map(|c| &c.last),
    };
    match disorder {
        Some(key) => Err(Error::corrupt(format!("node {id} is out of order after {key:?}"))),
        None => sums(id, node),
    }
}

/// The sums over a node; `Corrupt` when one passes 2^64.
pub(super) fn sums<V: Value>(id: NodeId, node: &Node<V>) -> Result<MapTotals> {
    MapTotals::of(node).ok_or_else(|| Error::corrupt(format!("node {id} has sums past 2^64")))
}

/// The first key in a leaf, the first child's last key in a branch.
fn first_key<V: Value>(node: &Node<V>) -> Option<&MapKey> {
    match node {
        Node::Leaf(leaf) => leaf.entries.first().map(|(key, _)| key),
        Node::Branch(branch) => branch.children.first().map(|c| &c.last),
    }
}

/// A node that some of a sorted list of keys lead to.
#[derive(Debug, Clone)]
pub(super) struct Touch {
    /// The node.
    pub(super) due: Due,
    /// Which of the keys.
    pub(super) keys: Range<usize>,
    /// Whether keys past the end of the node lead to it too, because it is the last of its level.
    open: bool,
}

/// Follows sorted `keys` down from a branch to the leaves, each node once, siblings concurrently.
///
/// `open`: keys past the end of the map lead to its last leaf. Every branch on the way is shown to `seen`.
pub(super) async fn descend<V: Value, S: NodeSource<V>>(
    source: &S,
    root: &Branch,
    keys: &[MapKey],
    open: bool,
    mut seen: impl FnMut(NodeId, &Arc<Node<V>>) + Send,
) -> Result<Vec<Touch>> {
    let mut front = Vec::new();
    split(root, None, keys, 0..keys.len(), open, &mut front);
    for _ in 1..root.level {
        let mut next = Vec::new();
        let loads = front.into_iter().map(|touch: Touch| async move {
            let node = touch.due.load::<V, S>(source).await?;
            Ok::<_, Error>((touch, node))
        });
        let mut loads = stream::iter(loads).buffered(CONCURRENT);
        while let Some(loaded) = loads.next().await {
            let (touch, node) = loaded?;
            if let Node::Branch(branch) = &*node {
                split(branch, touch.due.low.as_ref(), keys, touch.keys, touch.open, &mut next);
            }
            seen(touch.due.child.id, &node);
        }
        front = next;
    }
    Ok(front)
}

/// Deals the keys out to the children that they lead to.
fn split(branch: &Branch, low: Option<&MapKey>, keys: &[MapKey], range: Range<usize>, open: bool, out: &mut Vec<Touch>) {
    let (mut at, mut start) = (0, range.start);
    while let Some(key) = keys.get(start).filter(|_| start < range.end) {
        let rest = branch.children.get(at..).unwrap_or_default();
        at += rest.partition_point(|c| c.last < *key);
        if at >= branch.children.len() && !open {
            return;
        }
        at = at.min(branch.children.len().saturating_sub(1));
        let Some(due) = Due::of(branch, at, low) else { return };
        let is_open = open && at + 1 == branch.children.len();
        let end = if is_open {
            range.end
        } else {
            start + keys.get(start..range.end).unwrap_or_default().partition_point(|k| *k <= due.child.last)
        };
        out.push(Touch { due, keys: start..end, open: is_open });
        (start, at) = (end, at + 1);
    }
}
