//! Walking a map node by node, parents before children, with a bounded number of loads ahead.
//!
//! The walk keeps a queue of what comes next, in order: runs of children that were not requested yet, nodes on their way, and nodes
//! that arrived. The first few of the queue are always on their way; a branch among them makes room for its children, so that the next
//! branch is loaded while the last leaves of this one are still being read.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;

use super::NodeSource;
use super::load::{self, CONCURRENT, Due, NodeHandle};
use super::span::{Edge, Span};
use crate::error::Result;
use crate::format::{Node, Value};
use crate::id::NodeId;
use crate::key::MapKey;

/// A node as the walk meets it.
pub(crate) struct Visit<V> {
    /// Its id.
    pub(crate) id: NodeId,
    /// What its parent says of it; `None` for the root.
    pub(super) due: Option<Due>,
    /// Whether it is the last of its level.
    pub(super) is_last: bool,
    /// The node, which is what its parent says by level, first and last key; or why it could not be loaded.
    pub(crate) node: Result<Arc<Node<V>>>,
}

/// Visits the nodes that may hold keys of a span, a node as often as it is linked.
pub(crate) struct Walk<'a, V: Value, S> {
    source: NodeHandle<'a, S>,
    span: Span,
    is_backward: bool,
    /// How many nodes of the queue are loaded ahead.
    window: usize,
    queue: VecDeque<Slot<V>>,
    flights: FuturesUnordered<Flight<'a, V>>,
    next_ticket: u64,
}

/// `None` when a seek has passed the node.
type Flight<'a, V> = BoxFuture<'a, Option<(u64, Result<Arc<Node<V>>>)>>;

enum Slot<V> {
    Run(WalkRun<V>),
    Awaited { ticket: u64, spot: WalkSpot, abort: AbortHandle },
    Here(Visit<V>),
}

/// Neighbouring children of one branch.
struct WalkRun<V> {
    branch: Arc<Node<V>>,
    low: Option<MapKey>,
    is_last: bool,
    children: Range<usize>,
}

/// Where a node is in the map.
struct WalkSpot {
    id: NodeId,
    due: Option<Due>,
    is_last: bool,
}

impl<V: Value, S: NodeSource<V> + 'static> Walk<'static, V, S> {
    /// Visits every node of a map in a source that the walk keeps.
    pub(crate) fn shared(source: Arc<S>, root: NodeId) -> Self {
        Self::new(NodeHandle::Shared(source), root, Span::all(), false)
    }
}

impl<'a, V: Value, S: NodeSource<V>> Walk<'a, V, S> {
    /// Begins at the root. The number of loads ahead grows from one as leaves are taken, so that a short walk loads
    /// little; [`eager`](Self::eager) lifts that.
    pub(super) fn new(source: NodeHandle<'a, S>, root: NodeId, span: Span, is_backward: bool) -> Self {
        let mut walk =
            Self { source, span, is_backward, window: 1, queue: VecDeque::new(), flights: FuturesUnordered::new(), next_ticket: 0 };
        let slot = walk.launch(WalkSpot { id: root, due: None, is_last: true });
        walk.queue.push_back(slot);
        walk
    }

    /// Loads as many nodes ahead as are allowed from the start.
    pub(crate) fn eager(mut self) -> Self {
        self.window = CONCURRENT;
        self
    }

    /// The span that is left.
    pub(super) const fn span(&self) -> &Span {
        &self.span
    }

    /// The next node.
    pub(crate) async fn next(&mut self) -> Option<Visit<V>> {
        loop {
            self.pump();
            match self.queue.pop_front()? {
                Slot::Here(visit) => {
                    if matches!(visit.node.as_deref(), Ok(Node::Leaf(_))) {
                        self.window = (self.window * 2).min(CONCURRENT);
                    }
                    return Some(visit);
                }
                Slot::Run(_) => {}
                slot @ Slot::Awaited { .. } => {
                    self.queue.push_front(slot);
                    if let Some((ticket, loaded)) = self.flights.next().await? {
                        self.land(ticket, loaded);
                    }
                }
            }
        }
    }

    /// Goes on at `edge` without visiting what lies between, unless that is behind.
    pub(super) fn seek(&mut self, edge: Edge) {
        if self.is_backward {
            self.span.lower(edge);
        } else {
            self.span.raise(edge);
        }
        let span = &self.span;
        let lies_within = |due: &Option<Due>| due.as_ref().is_none_or(|due| !span.misses(due.low.as_ref(), &due.child.last));
        self.queue.retain_mut(|slot| match slot {
            Slot::Run(run) => {
                if let Node::Branch(branch) = &*run.branch {
                    let within = span.of_branch(branch);
                    run.children = run.children.start.max(within.start)..run.children.end.min(within.end);
                }
                !run.children.is_empty()
            }
            Slot::Here(visit) => lies_within(&visit.due),
            Slot::Awaited { spot, abort, .. } => {
                let is_wanted = lies_within(&spot.due);
                if !is_wanted {
                    abort.abort();
                }
                is_wanted
            }
        });
        self.window = 1;
    }

    /// Sends for the first nodes of the queue.
    fn pump(&mut self) {
        let (mut at, mut ahead) = (0, 0);
        while ahead < self.window {
            match self.queue.get_mut(at) {
                None => return,
                // A branch that is here has its children behind it.
                Some(Slot::Here(visit)) => ahead += usize::from(!matches!(visit.node.as_deref(), Ok(Node::Branch(_)))),
                Some(Slot::Awaited { .. }) => ahead += 1,
                // What comes next never waits for what comes later, or for what a seek has passed.
                Some(Slot::Run(_)) if ahead > 0 && self.flights.len() >= CONCURRENT => return,
                Some(Slot::Run(run)) => {
                    let Some(spot) = run.take(self.is_backward) else {
                        self.queue.remove(at);
                        continue;
                    };
                    let awaited = self.launch(spot);
                    self.queue.insert(at, awaited);
                    ahead += 1;
                }
            }
            at += 1;
        }
    }

    fn launch(&mut self, spot: WalkSpot) -> Slot<V> {
        let (ticket, source, id) = (self.next_ticket, self.source.clone(), spot.id);
        self.next_ticket += 1;
        let (abort, registration) = AbortHandle::new_pair();
        let load = async move { (ticket, source.load(id).await) };
        self.flights.push(Box::pin(async move { Abortable::new(load, registration).await.ok() }));
        Slot::Awaited { ticket, spot, abort }
    }

    /// Puts a loaded node in its place, and the children of a branch behind it.
    fn land(&mut self, ticket: u64, loaded: Result<Arc<Node<V>>>) {
        let is_it = |slot: &Slot<V>| matches!(slot, Slot::Awaited { ticket: t, .. } if *t == ticket);
        // A node that a seek passed while it arrived has no place any more.
        let Some(at) = self.queue.iter().position(is_it) else { return };
        let Some(Slot::Awaited { spot: WalkSpot { id, due, is_last }, .. }) = self.queue.remove(at) else { return };
        let node = loaded.and_then(|node| {
            match &due {
                Some(due) => load::admit(&node, &due.child, due.level, due.low.as_ref())?,
                None => load::admit_root(id, &node)?,
            }
            Ok(node)
        });
        if let Ok(node) = &node
            && let Node::Branch(branch) = &**node
        {
            let low = due.as_ref().and_then(|due| due.low.clone());
            let children = self.span.of_branch(branch);
            self.queue.insert(at, Slot::Run(WalkRun { branch: Arc::clone(node), low, is_last, children }));
        }
        self.queue.insert(at, Slot::Here(Visit { id, due, is_last, node }));
    }
}

impl<V: Value> WalkRun<V> {
    /// Takes the next child.
    fn take(&mut self, is_backward: bool) -> Option<WalkSpot> {
        let Node::Branch(branch) = &*self.branch else { return None };
        let at = if is_backward { self.children.next_back()? } else { self.children.next()? };
        let due = Due::of(branch, at, self.low.as_ref())?;
        Some(WalkSpot { id: due.child.id, due: Some(due), is_last: self.is_last && at + 1 == branch.children.len() })
    }
}
