//! The nodes of a map that some other maps of the same source have not: what has to be copied to where the others are.
//!
//! Level by level, as in a diff: nodes that the others have at a level are struck out, the rest are given and opened. The others are
//! opened only where they differ, so the cost is that of the difference. What the others have in the leaves that were not struck out is
//! given first, so that the caller can tell which values of the new leaves are new.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, FuturesOrdered};
use futures::{FutureExt as _, StreamExt as _};

use super::load::{self, CONCURRENT, Due};
use super::{NodeSource, Walk};
use crate::error::Result;
use crate::format::{Node, Value};
use crate::id::NodeId;

/// A node that was met.
#[derive(Debug)]
pub(crate) enum Lacked<V> {
    /// A leaf of the others in a place where the map has another.
    Old(Arc<Node<V>>),
    /// A node of the map that none of the others has.
    New(NodeId, Arc<Node<V>>),
}

/// The nodes of a map that others have not, parents before children. Keeps about 200 bytes for each node that differs at one level; without
/// others, a path of nodes.
pub(crate) struct Lacking<V: Value, S: 'static>(Search<V, S>);

enum Search<V: Value, S: 'static> {
    /// There are no others.
    Whole(Walk<'static, V, S>),
    Beside(Beside<V, S>),
}

struct Beside<V, S> {
    source: Arc<S>,
    gives_old: bool,
    /// The level that is being read.
    level: u8,
    /// Nodes of the map at this level that were not sent for, and those on their way.
    waiting: VecDeque<LackingSpot<V>>,
    flights: FuturesOrdered<LackingFlight<V>>,
    /// Their children.
    below: Vec<LackingSpot<V>>,
    /// Nodes of the others by level, the roots among them, that were not opened.
    others: BTreeMap<u8, Vec<LackingSpot<V>>>,
    /// Leaves of the others that are to be given, and those on their way.
    old: VecDeque<LackingSpot<V>>,
    old_flights: FuturesOrdered<BoxFuture<'static, Result<Arc<Node<V>>>>>,
}

type LackingFlight<V> = BoxFuture<'static, Result<(LackingSpot<V>, Arc<Node<V>>)>>;

struct LackingSpot<V> {
    id: NodeId,
    /// `None` for a root.
    due: Option<Due>,
    /// The node, if it was read.
    node: Option<Arc<Node<V>>>,
}

impl<V: Value> LackingSpot<V> {
    async fn load<S: NodeSource<V>>(&self, source: &S) -> Result<Arc<Node<V>>> {
        match (&self.node, &self.due) {
            (Some(node), _) => Ok(node.clone()),
            (None, Some(due)) => due.load(source).await,
            (None, None) => load::root(source, self.id).await,
        }
    }

    /// The children of the node, which was read from this spot.
    fn children(&self, node: &Node<V>) -> Vec<Self> {
        let Node::Branch(branch) = node else { return Vec::new() };
        let low = self.due.as_ref().and_then(|due| due.low.as_ref());
        let dues = (0..branch.children.len()).filter_map(|at| Due::of(branch, at, low));
        dues.map(|due| Self { id: due.child.id, due: Some(due), node: None }).collect()
    }
}

impl<V: Value, S: NodeSource<V> + 'static> Lacking<V, S> {
    /// The nodes of the map `root` that the maps `others` have not. `gives_old` says whether leaves of the others are wanted.
    pub(crate) async fn open(source: Arc<S>, root: NodeId, others: &[NodeId], gives_old: bool) -> Result<Self> {
        if others.is_empty() {
            return Ok(Self(Search::Whole(Walk::shared(source, root).eager())));
        }
        let mut beside = Beside {
            source,
            gives_old,
            level: 0,
            waiting: VecDeque::new(),
            flights: FuturesOrdered::new(),
            below: Vec::new(),
            others: BTreeMap::new(),
            old: VecDeque::new(),
            old_flights: FuturesOrdered::new(),
        };
        if others.contains(&root) {
            return Ok(Self(Search::Beside(beside)));
        }
        let ids: HashSet<NodeId> = others.iter().copied().collect();
        for id in ids {
            let node = load::root(&*beside.source, id).await?;
            beside.others.entry(node.level()).or_default().push(LackingSpot { id, due: None, node: Some(node) });
        }
        let node = load::root(&*beside.source, root).await?;
        beside.level = node.level();
        beside.below = vec![LackingSpot { id: root, due: None, node: Some(node) }];
        while let Some((level, spots)) = beside.others.pop_last() {
            if level <= beside.level {
                beside.others.insert(level, spots);
                break;
            }
            beside.open_others(level, spots).await?;
        }
        beside.begin_level();
        Ok(Self(Search::Beside(beside)))
    }

    /// The next node; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Lacked<V>>> {
        match &mut self.0 {
            Search::Whole(walk) => match walk.next().await {
                Some(visit) => Ok(Some(Lacked::New(visit.id, visit.node?))),
                None => Ok(None),
            },
            Search::Beside(beside) => beside.next().await,
        }
    }
}

impl<V: Value, S: NodeSource<V> + 'static> Beside<V, S> {
    async fn next(&mut self) -> Result<Option<Lacked<V>>> {
        loop {
            while self.old_flights.len() < CONCURRENT
                && let Some(spot) = self.old.pop_front()
            {
                let source = Arc::clone(&self.source);
                self.old_flights.push_back(async move { spot.load(&*source).await }.boxed());
            }
            if let Some(node) = self.old_flights.next().await {
                return Ok(Some(Lacked::Old(node?)));
            }
            while self.flights.len() < CONCURRENT
                && let Some(spot) = self.waiting.pop_front()
            {
                let source = Arc::clone(&self.source);
                self.flights.push_back(
                    async move {
                        let node = spot.load(&*source).await?;
                        Ok((spot, node))
                    }
                    .boxed(),
                );
            }
            if let Some(read) = self.flights.next().await {
                let (spot, node) = read?;
                self.below.extend(spot.children(&node));
                return Ok(Some(Lacked::New(spot.id, node)));
            }
            if self.level == 0 || self.below.is_empty() {
                return Ok(None);
            }
            if let Some(spots) = self.others.remove(&self.level) {
                self.open_others(self.level, spots).await?;
            }
            self.level -= 1;
            self.begin_level();
        }
    }

    /// Strikes out what the others have of the nodes `below`, which are at the present level, and begins with the rest.
    fn begin_level(&mut self) {
        let mut theirs = self.others.remove(&self.level).unwrap_or_default();
        let known: HashSet<NodeId> = theirs.iter().map(|spot| spot.id).collect();
        let (shared, new): (Vec<_>, Vec<_>) = std::mem::take(&mut self.below).into_iter().partition(|spot| known.contains(&spot.id));
        let shared: HashSet<NodeId> = shared.into_iter().map(|spot| spot.id).collect();
        let mut seen = HashSet::new();
        theirs.retain(|spot| !shared.contains(&spot.id) && seen.insert(spot.id));
        self.waiting = new.into();
        if self.level == 0 && self.gives_old && !self.waiting.is_empty() {
            self.old = theirs.into();
        } else {
            self.others.insert(self.level, theirs);
        }
    }

    /// Replaces nodes of the others by their children.
    async fn open_others(&mut self, level: u8, spots: Vec<LackingSpot<V>>) -> Result<()> {
        let mut below = Vec::new();
        let source = &*self.source;
        let loads = spots.into_iter().map(|spot| async move {
            let node = spot.load(source).await?;
            Ok::<_, crate::error::Error>(spot.children(&node))
        });
        let mut loads = stream::iter(loads).buffered(CONCURRENT);
        while let Some(children) = loads.next().await {
            below.extend(children?);
        }
        drop(loads);
        if let Some(level) = level.checked_sub(1) {
            self.others.entry(level).or_default().extend(below);
        }
        Ok(())
    }
}
