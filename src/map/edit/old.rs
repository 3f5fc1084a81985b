//! The old map as an edit sees it: the branches on the touched paths, and the touched leaves as they are needed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::error::{Error, Result};
use crate::format::{Node, NodeChild, Value};
use crate::id::NodeId;
use crate::key::MapKey;
use crate::map::NodeSource;
use crate::map::load::{self, CONCURRENT, Due};
use crate::map::page::MapTotals;

/// A map that is being edited.
pub(super) struct Old<'a, V: Value, S> {
    source: &'a S,
    /// The root as a parent would name it; `None` for the empty map.
    root: Option<NodeChild>,
    node: Arc<Node<V>>,
    totals: MapTotals,
    branches: HashMap<NodeId, Arc<Node<V>>>,
    /// The last keys of the touched leaves on their way, in order, at most a few leaves at a time.
    coming: VecDeque<MapKey>,
    leaves: BoxStream<'a, Result<Arc<Node<V>>>>,
}

/// A node of one level, by the branches above it.
pub(super) struct Cursor<V> {
    level: u8,
    /// From the root down to the parent; empty when the node is the root.
    path: Vec<Step<V>>,
}

struct Step<V> {
    branch: Arc<Node<V>>,
    low: Option<MapKey>,
    at: usize,
}

impl<V: Value> Step<V> {
    fn due(&self) -> Result<Due> {
        match &*self.branch {
            Node::Branch(branch) => Due::of(branch, self.at, self.low.as_ref()),
            Node::Leaf(_) => None,
        }
        .ok_or_else(|| Error::corrupt("a path through a map ends too early"))
    }

    fn has_next(&self) -> bool {
        matches!(&*self.branch, Node::Branch(branch) if self.at + 1 < branch.children.len())
    }
}

impl<V: Value> Cursor<V> {
    /// Whether the node has a right neighbour.
    pub(super) fn has_next(&self) -> bool {
        self.path.iter().any(Step::has_next)
    }
}

impl<'a, V: Value, S: NodeSource<V>> Old<'a, V, S> {
    /// Loads the root.
    pub(super) async fn open(source: &'a S, id: NodeId) -> Result<Self> {
        let node = load::root(source, id).await?;
        let totals = load::sums(id, &node)?;
        let root = node.last_key().map(|last| NodeChild { last: last.clone(), id, entries: totals.entries, bytes: totals.bytes });
        let (branches, coming, leaves) = (HashMap::new(), VecDeque::new(), stream::empty().boxed());
        Ok(Self { source, root, node, totals, branches, coming, leaves })
    }

    /// What the map holds.
    pub(super) const fn totals(&self) -> MapTotals {
        self.totals
    }

    /// The level of the root.
    pub(super) fn top(&self) -> u8 {
        self.node.level()
    }

    /// Loads the branches that sorted `keys` lead through, and begins to load the leaves.
    pub(super) async fn prefetch(&mut self, keys: Vec<MapKey>) -> Result<()> {
        let Node::Branch(root) = &*self.node else { return Ok(()) };
        let (source, branches) = (self.source, &mut self.branches);
        let touched = load::descend(source, root, &keys, true, |id, node| {
            branches.insert(id, Arc::clone(node));
        })
        .await?;
        self.coming = touched.iter().map(|touch| touch.due.child.last.clone()).collect();
        let loads = touched.into_iter().map(move |touch| async move { touch.due.load(source).await });
        self.leaves = stream::iter(loads).buffered(CONCURRENT).boxed();
        Ok(())
    }

    /// The node of `level` that an edit of `key` touches: the first that ends at or after it, else the last.
    pub(super) async fn seek(&mut self, level: u8, key: &MapKey) -> Result<Cursor<V>> {
        let mut cursor = Cursor { level, path: Vec::new() };
        if level < self.top() {
            let root = Arc::clone(&self.node);
            self.dive(&mut cursor, root, None, |node| match node {
                Node::Branch(branch) => branch.children.partition_point(|c| c.last < *key).min(branch.children.len().saturating_sub(1)),
                Node::Leaf(_) => 0,
            })
            .await?;
        }
        Ok(cursor)
    }

    /// Goes to the right neighbour.
    pub(super) async fn advance(&mut self, cursor: &mut Cursor<V>) -> Result<()> {
        while cursor.path.last().is_some_and(|step| !step.has_next()) {
            cursor.path.pop();
        }
        let Some(step) = cursor.path.last_mut() else {
            return Err(Error::internal("an edit ran past the end of its map"));
        };
        step.at += 1;
        let due = step.due()?;
        if due.level > cursor.level {
            let node = self.branch(&due).await?;
            self.dive(cursor, node, due.low, |_| 0).await?;
        }
        Ok(())
    }

    /// The node at the cursor, with what its parent says of it; `None` for the leaf of an empty map.
    pub(super) async fn take(&mut self, cursor: &Cursor<V>) -> Result<(Option<NodeChild>, Arc<Node<V>>)> {
        let Some(step) = cursor.path.last() else {
            if let Some(root) = &self.root {
                load::admit_fully(&self.node, root)?;
            }
            return Ok((self.root.clone(), Arc::clone(&self.node)));
        };
        let due = step.due()?;
        let node = if due.level > 0 { self.branch(&due).await? } else { self.leaf(&due).await? };
        load::admit_fully(&node, &due.child)?;
        Ok((Some(due.child), node))
    }

    /// The root of what is left when `child`, an old node of `level`, is the only node of its level.
    pub(super) async fn collapse(&mut self, mut child: NodeChild, mut level: u8) -> Result<NodeChild> {
        while level > 0 {
            let due = Due { child: child.clone(), level, low: None };
            let node = self.branch(&due).await?;
            match &*node {
                Node::Branch(branch) if branch.children.len() == 1 => child = branch.children.first().cloned().unwrap_or(child),
                _ => break,
            }
            level -= 1;
        }
        Ok(child)
    }

    /// Follows `pick` from `node` down to the parent of the cursor's level.
    async fn dive(
        &mut self,
        cursor: &mut Cursor<V>,
        mut node: Arc<Node<V>>,
        mut low: Option<MapKey>,
        pick: impl Fn(&Node<V>) -> usize,
    ) -> Result<()> {
        loop {
            let at = pick(&node);
            let step = Step { branch: node, low, at };
            let due = step.due()?;
            cursor.path.push(step);
            if due.level <= cursor.level {
                return Ok(());
            }
            node = self.branch(&due).await?;
            low = due.low;
        }
    }

    async fn branch(&mut self, due: &Due) -> Result<Arc<Node<V>>> {
        if let Some(node) = self.branches.get(&due.child.id) {
            load::admit(node, &due.child, due.level, due.low.as_ref())?;
            return Ok(Arc::clone(node));
        }
        let node = due.load(self.source).await?;
        self.branches.insert(due.child.id, Arc::clone(&node));
        Ok(node)
    }

    async fn leaf(&mut self, due: &Due) -> Result<Arc<Node<V>>> {
        let missing = || Error::internal("a leaf that was sent for did not come");
        // A batch may begin in the leaf in which the one before ended.
        while self.coming.front().is_some_and(|last| *last < due.child.last) {
            self.coming.pop_front();
            self.leaves.next().await.ok_or_else(missing)??;
        }
        if self.coming.front() != Some(&due.child.last) {
            return due.load(self.source).await;
        }
        self.coming.pop_front();
        self.leaves.next().await.ok_or_else(missing)?
    }
}
