//! Several maps at once: the entries of all of them, each with the maps that have it.
//!
//! Versions of one map share most of their nodes. The union reads every node once, however many of the maps it belongs to: first the
//! branches, which tell the maps of every leaf, then the leaves in the order of their keys. (A leaf that is the whole of one map and a
//! part of another is read for both.)

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt as _, Stream, StreamExt as _, stream};

use super::load::{self, CONCURRENT, Due};
use super::{NodeSource, Spans};
use crate::error::{Error, Result};
use crate::format::{Leaf, Node, Value};
use crate::id::NodeId;
use crate::key::MapKey;

/// Which of several maps, by their places in the list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MapNumbers(Vec<Range<usize>>);

impl MapNumbers {
    /// Sorted ranges that neither overlap nor touch.
    pub(crate) fn ranges(&self) -> &[Range<usize>] {
        &self.0
    }

    fn add(&mut self, others: &Self) {
        self.0.extend_from_slice(&others.0);
    }

    /// Sorts the ranges, and joins those that overlap or touch.
    fn tidy(&mut self) {
        self.0.sort_unstable_by_key(|range| range.start);
        self.0.dedup_by(|next, kept| {
            let touches = next.start <= kept.end;
            if touches {
                kept.end = kept.end.max(next.end);
            }
            touches
        });
    }
}

/// The values that a key has in some of the maps, and which have each.
pub(crate) type UnionEntry<V> = (MapKey, Vec<(V, MapNumbers)>);

/// Says which entries are wanted.
pub(crate) type Wanted<V> = Box<dyn Fn(&MapKey, &V) -> bool + Send + Sync>;

/// The entries of several maps, in the order of their keys.
pub(crate) struct Union<V: Value, S> {
    source: Arc<S>,
    spans: Arc<Spans>,
    wanted: Wanted<V>,
    /// The leaves that were not sent for, in the order of the keys before them.
    leaves: VecDeque<UnionLeaf>,
    flights: FuturesOrdered<BoxFuture<'static, Result<Arc<Node<V>>>>>,
    /// What the leaves on their way belong to, and the keys before them.
    flying: VecDeque<(Option<MapKey>, MapNumbers)>,
    /// Entries of leaves that were read, which another leaf may have as well.
    open: BTreeMap<MapKey, Vec<(V, MapNumbers)>>,
}

/// A leaf, and which maps have it.
struct UnionLeaf {
    due: Due,
    numbers: MapNumbers,
}

/// A node that was found and not yet looked at, or a leaf.
struct UnionSpot {
    /// `None` for a root.
    due: Option<Due>,
    /// Its children, by their places in the list of all nodes.
    children: Vec<usize>,
    /// Known once it was read, or a parent told it.
    level: Option<u8>,
    numbers: MapNumbers,
    /// Whether its entries were taken already: it is the whole of a map.
    is_taken: bool,
}

impl<V: Value, S: NodeSource<V> + 'static> Union<V, S> {
    /// The entries inside `spans` that are `wanted`, of the maps with these roots.
    ///
    /// Reads every branch that leads there before it returns. Keeps about 200 bytes for each node.
    pub(crate) async fn open(source: Arc<S>, roots: impl IntoIterator<Item = NodeId>, spans: Spans, wanted: Wanted<V>) -> Result<Self> {
        let mut begun = Branches { source, spans: Arc::new(spans), spots: Vec::new(), places: HashMap::new() };
        let mut union = Self {
            source: Arc::clone(&begun.source),
            spans: Arc::clone(&begun.spans),
            wanted,
            leaves: VecDeque::new(),
            flights: FuturesOrdered::new(),
            flying: VecDeque::new(),
            open: BTreeMap::new(),
        };
        for (number, root) in roots.into_iter().enumerate() {
            let at = begun.place(root, None);
            if let Some(spot) = begun.spots.get_mut(at) {
                match spot.numbers.0.last_mut().filter(|last| last.end == number) {
                    Some(last) => last.end += 1,
                    None => spot.numbers.0.push(number..number + 1),
                }
            }
        }
        begun.read(&mut union).await?;
        union.leaves = begun.into_leaves().into();
        Ok(union)
    }

    /// The next key with its values, which may be none that is wanted; `None` after the last.
    async fn next(&mut self) -> Result<Option<UnionEntry<V>>> {
        loop {
            while self.flights.len() < CONCURRENT
                && let Some(UnionLeaf { due, numbers }) = self.leaves.pop_front()
            {
                self.flying.push_back((due.low.clone(), numbers));
                let source = Arc::clone(&self.source);
                self.flights.push_back(async move { due.load::<V, S>(&source).await }.boxed());
            }
            // Every key of the leaves that are left follows this one.
            let horizon = self.flying.front().map(|(low, _)| low);
            let is_done = match (self.open.first_key_value(), horizon) {
                (None, None) => return Ok(None),
                (Some(_), None) => true,
                (Some((key, _)), Some(low)) => low.as_ref().is_some_and(|low| key <= low),
                (None, Some(_)) => false,
            };
            if is_done {
                return Ok(self.open.pop_first());
            }
            let (Some(node), Some((_, numbers))) = (self.flights.next().await, self.flying.pop_front()) else { continue };
            if let Node::Leaf(leaf) = &*node? {
                self.take(leaf, &numbers);
            }
        }
    }

    /// Adds the entries of a leaf to those that are open.
    fn take(&mut self, leaf: &Leaf<V>, numbers: &MapNumbers) {
        for (key, value) in &leaf.entries {
            if !self.spans.hold(key) || !(self.wanted)(key, value) {
                continue;
            }
            let values = self.open.entry(key.clone()).or_default();
            match values.iter_mut().rev().find(|(known, _)| known == value) {
                Some((_, known)) => known.add(numbers),
                None => values.push((value.clone(), numbers.clone())),
            }
        }
    }

    /// The entries as a stream, which ends after an error.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<UnionEntry<V>>> + Send + use<V, S> {
        stream::try_unfold(self, |mut union| async move {
            let next = union.next().await?;
            Ok(next.map(|(key, mut values)| {
                for (_, numbers) in &mut values {
                    numbers.tidy();
                }
                ((key, values), union)
            }))
        })
    }
}

/// The branches of all maps, as far as they were read.
struct Branches<S> {
    source: Arc<S>,
    spans: Arc<Spans>,
    spots: Vec<UnionSpot>,
    places: HashMap<NodeId, usize>,
}

impl<S> Branches<S> {
    /// The place of a node in the list; puts it there if it is new.
    fn place(&mut self, id: NodeId, due: Option<Due>) -> usize {
        let next = self.spots.len();
        let at = *self.places.entry(id).or_insert(next);
        if at == next {
            let level = due.as_ref().map(|due| due.level);
            self.spots.push(UnionSpot { due, children: Vec::new(), level, numbers: MapNumbers::default(), is_taken: false });
        } else if let Some(spot) = self.spots.get_mut(at)
            && spot.due.is_none()
        {
            spot.due = due;
        }
        at
    }

    /// Reads the roots and every branch below them, each once.
    async fn read<V: Value>(&mut self, union: &mut Union<V, S>) -> Result<()>
    where
        S: NodeSource<V> + 'static,
    {
        let mut roots: HashMap<usize, NodeId> = self.places.iter().map(|(id, at)| (*at, *id)).collect();
        let mut todo: VecDeque<usize> = (0..self.spots.len()).collect();
        let mut flights = FuturesOrdered::new();
        loop {
            while flights.len() < CONCURRENT
                && let Some(at) = todo.pop_front()
            {
                let (source, root) = (Arc::clone(&self.source), roots.remove(&at));
                let due = self.spots.get(at).and_then(|spot| spot.due.clone());
                flights.push_back(async move {
                    let node = match (root, due) {
                        (Some(root), _) => load::root(&*source, root).await?,
                        (None, Some(due)) => due.load::<V, S>(&source).await?,
                        (None, None) => return Err(Error::internal("a node of a union has no parent")),
                    };
                    Ok((at, node))
                });
            }
            let Some(read) = flights.next().await else { return Ok(()) };
            let (at, node) = read?;
            self.look(at, &node, union, &mut todo)?;
        }
    }

    /// Notes the children of a node that was read; the entries of a leaf are taken.
    fn look<V: Value>(&mut self, at: usize, node: &Node<V>, union: &mut Union<V, S>, todo: &mut VecDeque<usize>) -> Result<()>
    where
        S: NodeSource<V> + 'static,
    {
        let Some(spot) = self.spots.get_mut(at) else { return Ok(()) };
        // A root may have turned out to be a part of another map while it was read.
        if let Some(due) = &spot.due {
            load::admit(node, &due.child, due.level, due.low.as_ref())?;
        }
        spot.level = Some(node.level());
        let branch = match node {
            Node::Leaf(leaf) => {
                spot.is_taken = true;
                union.take(leaf, &spot.numbers);
                return Ok(());
            }
            Node::Branch(branch) => branch,
        };
        let low = spot.due.as_ref().and_then(|due| due.low.clone());
        let mut children = Vec::new();
        for due in (0..branch.children.len()).filter_map(|n| Due::of(branch, n, low.as_ref())) {
            if !self.spans.meet(due.low.as_ref(), &due.child.last) {
                continue;
            }
            let (is_new, level, id) = (!self.places.contains_key(&due.child.id), due.level, due.child.id);
            let child = self.place(id, Some(due));
            if let Some(other) = self.spots.get(child).and_then(|spot| spot.level).filter(|known| *known != level) {
                return Err(Error::corrupt(format!("node {id} has level {other}, its parent says {level}")));
            }
            if is_new && level > 0 {
                todo.push_back(child);
            }
            children.push(child);
        }
        if let Some(spot) = self.spots.get_mut(at) {
            spot.children = children;
        }
        Ok(())
    }

    /// Hands the numbers of the maps down, and gives the leaves in the order of the keys before them.
    fn into_leaves(self) -> Vec<UnionLeaf> {
        let mut spots = self.spots;
        let mut order: Vec<usize> = (0..spots.len()).collect();
        order.sort_by_key(|at| spots.get(*at).map(|spot| std::cmp::Reverse(spot.level)));
        let mut leaves = Vec::new();
        // What a leaf that was taken as the whole of a map belongs to besides.
        let mut handed: HashMap<usize, MapNumbers> = HashMap::new();
        for at in order {
            let Some(spot) = spots.get_mut(at) else { continue };
            let (children, due, is_taken) = (std::mem::take(&mut spot.children), spot.due.take(), spot.is_taken);
            let mut numbers = if is_taken { MapNumbers::default() } else { std::mem::take(&mut spot.numbers) };
            if let Some(more) = handed.remove(&at) {
                numbers.add(&more);
            }
            numbers.tidy();
            for child in &children {
                handed.entry(*child).or_default().add(&numbers);
            }
            if let (Some(0), Some(due), false) = (spot.level, due, numbers.0.is_empty()) {
                leaves.push(UnionLeaf { due, numbers });
            }
        }
        leaves.sort_by(|a, b| a.due.low.cmp(&b.due.low));
        leaves
    }
}
