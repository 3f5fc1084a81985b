//! Reading entries in order: all, a range, a prefix, backwards, and past whole directories.

use std::ops::Range;
use std::sync::Arc;

use futures::{Stream, stream};

use super::load::NodeHandle;
use super::span::{Edge, Span};
use super::walk::Walk;
use super::{Map, NodeSource};
use crate::error::Result;
use crate::format::{Leaf, Node, Value};
use crate::id::NodeId;
use crate::key::{MapKey, Prefix};

impl<'a, V: Value, S: NodeSource<V>> Map<'a, V, S> {
    /// The entries of `span` in order. Nothing is loaded before the first is asked for; from then on leaves are loaded
    /// ahead, the more the further the scan gets, at most 16.
    pub(crate) fn scan(&self, span: Span) -> Scan<'a, V, S> {
        Scan::new(Walk::new(NodeHandle::Borrowed(self.source), self.root, span, false), false)
    }

    /// The entries of `span` from the last to the first, loaded ahead as by [`scan`](Self::scan).
    pub(crate) fn scan_back(&self, span: Span) -> Scan<'a, V, S> {
        Scan::new(Walk::new(NodeHandle::Borrowed(self.source), self.root, span, true), true)
    }
}

/// A place in a map from which entries are read one after another.
pub(crate) struct Scan<'a, V: Value, S> {
    walk: Walk<'a, V, S>,
    is_backward: bool,
    /// The leaf being read, and which of its entries are left.
    leaf: Option<Arc<Node<V>>>,
    left: Range<usize>,
}

impl<V: Value, S: NodeSource<V> + 'static> Scan<'static, V, S> {
    /// The entries of `span` of the map with this root, from a source that the scan keeps; otherwise as [`Map::scan`].
    pub(crate) fn shared(source: Arc<S>, root: NodeId, span: Span) -> Self {
        Self::new(Walk::new(NodeHandle::Shared(source), root, span, false), false)
    }

    /// As [`shared`](Self::shared), from the last entry to the first.
    pub(crate) fn shared_back(source: Arc<S>, root: NodeId, span: Span) -> Self {
        Self::new(Walk::new(NodeHandle::Shared(source), root, span, true), true)
    }
}

impl<'a, V: Value, S: NodeSource<V>> Scan<'a, V, S> {
    fn new(walk: Walk<'a, V, S>, is_backward: bool) -> Self {
        Self { walk, is_backward, leaf: None, left: 0..0 }
    }

    /// The next entry; `None` after the last. After an error the scan goes on behind the node that failed.
    pub(crate) async fn next(&mut self) -> Result<Option<(MapKey, V)>> {
        Ok(self.next_ref().await?.cloned())
    }

    /// The next entry, without a copy.
    pub(crate) async fn next_ref(&mut self) -> Result<Option<&(MapKey, V)>> {
        while self.left.is_empty() {
            let Some(visit) = self.walk.next().await else { return Ok(None) };
            let node = visit.node?;
            if let Node::Leaf(leaf) = &*node {
                self.left = self.walk.span().of_leaf(leaf);
                self.leaf = Some(node);
            }
        }
        let at = if self.is_backward { self.left.next_back() } else { self.left.next() };
        Ok(at.and_then(|at| self.current()?.entries.get(at)))
    }

    /// Goes on at `edge` (backwards: before it) without loading what lies between; an edge behind is ignored.
    pub(crate) fn seek(&mut self, edge: Edge) {
        self.walk.seek(edge);
        if let Some(leaf) = self.current() {
            let within = self.walk.span().of_leaf(leaf);
            self.left = self.left.start.max(within.start)..self.left.end.min(within.end);
        }
    }

    /// Goes on behind everything below `prefix`, without loading it.
    pub(crate) fn skip(&mut self, prefix: &Prefix) {
        self.seek(if self.is_backward { Edge::before_prefix(prefix) } else { Edge::after_prefix(prefix) });
    }

    /// The rest as a stream, which ends after an error.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<(MapKey, V)>> + Send + 'a
    where
        S: 'a,
    {
        stream::try_unfold(self, |mut scan| async move { Ok(scan.next().await?.map(|entry| (entry, scan))) })
    }

    fn current(&self) -> Option<&Leaf<V>> {
        match self.leaf.as_deref() {
            Some(Node::Leaf(leaf)) => Some(leaf),
            _ => None,
        }
    }
}
