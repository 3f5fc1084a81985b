//! What differs between two maps, found by loading only the nodes that they do not share.
//!
//! Level by level: nodes that appear in both maps at a level are struck out, the rest are opened. What is left of the leaves is merged.
//! A leaf that is struck out is in both maps, so its entries do not differ.

use std::cmp::Ordering;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, FuturesOrdered};
use futures::{FutureExt as _, StreamExt as _, future};

use super::load::{self, CONCURRENT, Due, NodeHandle};
use super::{Map, NodeSource, Span, Spans};
use crate::error::Result;
use crate::format::{Node, NodeChild, Value};
use crate::id::NodeId;
use crate::key::{MapKey, Prefix};

/// A key whose value differs; at least one side has one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MapChange<V> {
    /// The key.
    pub key: MapKey,
    /// The value in the older map.
    pub old: Option<V>,
    /// The value in the newer map.
    pub new: Option<V>,
}

impl<V: Value> Diff<'static, V> {
    /// The changes inside `span` that lead from the map `old` to the map `new`, each with its source, which the diff keeps.
    pub(crate) async fn shared<S>(old: (Arc<S>, NodeId), new: (Arc<S>, NodeId), span: Span) -> Result<Self>
    where
        S: NodeSource<V> + 'static,
    {
        let held = |(source, id)| (NodeHandle::Shared(source), id);
        Diff::of(held(old), held(new), Spans::one(span)).await
    }
}

impl<'a, V: Value, S: NodeSource<V>> Map<'a, V, S> {
    /// The changes that lead from this map to `newer`, which may lie in another source.
    ///
    /// Loads the branches that differ, siblings concurrently, before it returns, and the leaves that differ as the
    /// changes are taken, at most 16 of each map ahead.
    pub(crate) async fn diff<T: NodeSource<V>>(&self, newer: &Map<'a, V, T>) -> Result<Diff<'a, V>> {
        self.diff_in(newer, Span::all()).await
    }

    /// The changes inside `span`; what lies outside of it is not loaded.
    pub(crate) async fn diff_in<T: NodeSource<V>>(&self, newer: &Map<'a, V, T>, span: Span) -> Result<Diff<'a, V>> {
        self.diff_in_all(newer, Spans::one(span)).await
    }

    /// The changes inside several spans.
    pub(crate) async fn diff_in_all<T: NodeSource<V>>(&self, newer: &Map<'a, V, T>, spans: Spans) -> Result<Diff<'a, V>> {
        Diff::of((NodeHandle::Borrowed(self.source), self.root), (NodeHandle::Borrowed(newer.source), newer.root), spans).await
    }
}

impl<'a, V: Value> Diff<'a, V> {
    async fn of<S, T>(old: (NodeHandle<'a, S>, NodeId), new: (NodeHandle<'a, T>, NodeId), spans: Spans) -> Result<Self>
    where
        S: NodeSource<V>,
        T: NodeSource<V>,
    {
        if old.1 == new.1 {
            return Ok(Diff { old: Box::new(Side::none()), new: Box::new(Side::none()), spans });
        }
        let (mut old, mut new) = future::try_join(Front::open_root(old), Front::open_root(new)).await?;
        while old.level > new.level {
            old.open(&spans).await?;
        }
        while new.level > old.level {
            new.open(&spans).await?;
        }
        loop {
            strike(&mut old.spots, &mut new.spots);
            if old.level == 0 {
                return Ok(Diff { old: Box::new(old.into_side()), new: Box::new(new.into_side()), spans });
            }
            future::try_join(old.open(&spans), new.open(&spans)).await?;
        }
    }
}

/// Changes in the order of their keys.
pub(crate) struct Diff<'a, V> {
    /// Boxed, because a diff is a part of many futures.
    old: Box<Side<'a, V>>,
    new: Box<Side<'a, V>>,
    spans: Spans,
}

impl<V: Value> Diff<'_, V> {
    /// The next change; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<MapChange<V>>> {
        loop {
            let change = self.next_of_leaves().await?;
            // A leaf may reach beyond a span at either end.
            if change.as_ref().is_none_or(|change| self.spans.hold(&change.key)) {
                return Ok(change);
            }
        }
    }

    /// Passes over the changes below `prefix`, in which the last change lay. Leaves of which all keys lie there are not loaded, unless they
    /// were sent for already.
    pub(crate) fn skip(&mut self, prefix: &Prefix) {
        self.old.skip(prefix);
        self.new.skip(prefix);
    }

    async fn next_of_leaves(&mut self) -> Result<Option<MapChange<V>>> {
        loop {
            if self.old.peek().is_none() || self.new.peek().is_none() {
                future::try_join(self.old.fill(), self.new.fill()).await?;
            }
            let order = match (self.old.peek(), self.new.peek()) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let old = if order == Ordering::Greater { None } else { self.old.take() };
            let new = if order == Ordering::Less { None } else { self.new.take() };
            match (old, new) {
                (Some((_, old)), Some((_, new))) if old == new => {}
                (Some((key, old)), new) => {
                    return Ok(Some(MapChange { key: key.clone(), old: Some(old.clone()), new: new.map(|(_, v)| v.clone()) }));
                }
                (None, Some((key, new))) => return Ok(Some(MapChange { key: key.clone(), old: None, new: Some(new.clone()) })),
                (None, None) => return Ok(None),
            }
        }
    }
}

/// The nodes of one level of one map that the other map may lack.
struct Front<'a, V, S> {
    source: NodeHandle<'a, S>,
    level: u8,
    spots: Vec<DiffSpot<V>>,
}

struct DiffSpot<V> {
    due: Due,
    /// The node, if it is loaded already: the root.
    node: Option<Arc<Node<V>>>,
}

impl<V: Value> DiffSpot<V> {
    async fn load<S: NodeSource<V>>(self, source: &S) -> Result<(Option<MapKey>, Arc<Node<V>>)> {
        let node = match self.node {
            Some(node) => node,
            None => self.due.load(source).await?,
        };
        Ok((self.due.low, node))
    }
}

impl<'a, V: Value, S: NodeSource<V>> Front<'a, V, S> {
    async fn open_root((source, id): (NodeHandle<'a, S>, NodeId)) -> Result<Self> {
        let root = load::root(&*source, id).await?;
        let level = root.level();
        let last = root.last_key().cloned().unwrap_or_else(|| MapKey::new(""));
        let due = Due { child: NodeChild { last, id, entries: 0, bytes: 0 }, level, low: None };
        Ok(Self { source, level, spots: vec![DiffSpot { due, node: Some(root) }] })
    }

    /// Replaces the nodes by those of their children that may hold keys of `spans`.
    async fn open(&mut self, spans: &Spans) -> Result<()> {
        let source = &*self.source;
        let loads = std::mem::take(&mut self.spots).into_iter().map(|spot| spot.load(source));
        let mut loads = stream::iter(loads).buffered(CONCURRENT);
        while let Some(loaded) = loads.next().await {
            let (low, node) = loaded?;
            if let Node::Branch(branch) = &*node {
                let dues = (0..branch.children.len()).filter_map(|at| Due::of(branch, at, low.as_ref()));
                let dues = dues.filter(|due| spans.meet(due.low.as_ref(), &due.child.last));
                self.spots.extend(dues.map(|due| DiffSpot { due, node: None }));
            }
        }
        self.level = self.level.saturating_sub(1);
        Ok(())
    }

    fn into_side(self) -> Side<'a, V> {
        let source = self.source;
        let load = move |spot: DiffSpot<V>| {
            let source = source.clone();
            async move { Ok(spot.load(&*source).await?.1) }.boxed()
        };
        Side { load: Some(Box::new(load)), waiting: self.spots.into(), ..Side::none() }
    }
}

/// Strikes out the nodes that are on both sides.
fn strike<V>(old: &mut Vec<DiffSpot<V>>, new: &mut Vec<DiffSpot<V>>) {
    let ids: HashSet<NodeId> = old.iter().map(|spot| spot.due.child.id).collect();
    let mut shared = HashSet::new();
    new.retain(|spot| {
        let is_shared = ids.contains(&spot.due.child.id);
        if is_shared {
            shared.insert(spot.due.child.id);
        }
        !is_shared
    });
    old.retain(|spot| !shared.contains(&spot.due.child.id));
}

/// Sends for a leaf.
type LeafLoad<'a, V> = Box<dyn Fn(DiffSpot<V>) -> BoxFuture<'a, Result<Arc<Node<V>>>> + Send + 'a>;

/// The entries of one map's remaining leaves.
struct Side<'a, V> {
    load: Option<LeafLoad<'a, V>>,
    /// The leaves that were not sent for.
    waiting: VecDeque<DiffSpot<V>>,
    flights: FuturesOrdered<BoxFuture<'a, Result<Arc<Node<V>>>>>,
    leaf: Option<Arc<Node<V>>>,
    at: usize,
    /// Nothing below this is wanted of what follows.
    skipped: Option<Prefix>,
}

impl<V: Value> Side<'_, V> {
    fn none() -> Self {
        Self { load: None, waiting: VecDeque::new(), flights: FuturesOrdered::new(), leaf: None, at: 0, skipped: None }
    }

    fn peek(&self) -> Option<&(MapKey, V)> {
        match self.leaf.as_deref()? {
            Node::Leaf(leaf) => leaf.entries.get(self.at),
            Node::Branch(_) => None,
        }
    }

    fn take(&mut self) -> Option<&(MapKey, V)> {
        self.at += 1;
        match self.leaf.as_deref()? {
            Node::Leaf(leaf) => leaf.entries.get(self.at - 1),
            Node::Branch(_) => None,
        }
    }

    /// Passes over what lies below `prefix` from here on. Every key that follows comes after one that lies there, so a leaf whose
    /// last key lies there has no others.
    fn skip(&mut self, prefix: &Prefix) {
        while self.waiting.front().is_some_and(|spot| prefix.contains(spot.due.child.last.as_str())) {
            self.waiting.pop_front();
        }
        self.skipped = Some(prefix.clone());
        self.pass();
    }

    /// Passes over what is skipped of the leaf at hand.
    fn pass(&mut self) {
        let Some(prefix) = &self.skipped else { return };
        if let Some(Node::Leaf(leaf)) = self.leaf.as_deref() {
            let rest = leaf.entries.get(self.at..).unwrap_or_default();
            self.at += rest.iter().take_while(|(key, _)| prefix.contains(key.as_str())).count();
        }
    }

    /// Makes sure that the next entry, if there is one, can be seen.
    async fn fill(&mut self) -> Result<()> {
        while self.peek().is_none() {
            while let Some(load) = self.load.as_ref().filter(|_| self.flights.len() < CONCURRENT)
                && let Some(spot) = self.waiting.pop_front()
            {
                self.flights.push_back(load(spot));
            }
            let Some(leaf) = self.flights.next().await else { return Ok(()) };
            (self.leaf, self.at) = (Some(leaf?), 0);
            self.pass();
        }
        Ok(())
    }
}
