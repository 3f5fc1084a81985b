//! The node under construction: rows go in, and a finished node comes out wherever the cut rule ends one.
//!
//! Leaves and branches differ only in their rows, so everything that cuts is written once, over [`Row`].

use std::sync::Arc;

use super::Shape;
use super::boundary::{Cutter, Measure};
use crate::error::{Error, Result};
use crate::format::{Branch, Leaf, Node, NodeChild, Value, limits};
use crate::key::MapKey;

/// The weight of a branch entry in the cut rule.
const CHILD_WEIGHT: u64 = 40;

/// One entry of a node of any level: a key with a value in a leaf, a child in a branch.
pub(super) trait Row<V: Value>: Clone + Send + Sync + 'static {
    /// What the row holds besides its key.
    type Payload: Clone + Send + Sync;
    /// The row of `payload` under `key`.
    fn make(key: MapKey, payload: Self::Payload) -> Self;
    /// The key by which rows are sorted.
    fn key(&self) -> &MapKey;
    /// What the row holds.
    fn payload(&self) -> &Self::Payload;
    /// What the cut rule looks at.
    fn measure(&self) -> Measure<'_>;
    /// How many entries of the map lie in or below the row.
    fn entries(&self) -> u64;
    /// The sum of their sizes.
    fn bytes(&self) -> u64;
    /// The row as a child, if it is one.
    fn as_child(&self) -> Option<&NodeChild>;
    /// The rows of a node, unless it is of the other sort.
    fn rows(node: &Node<V>) -> Option<&[Self]>;
    /// A node of such rows.
    fn node(level: u8, rows: Vec<Self>) -> Node<V>;
}

impl<V: Value> Row<V> for (MapKey, V) {
    type Payload = V;

    fn make(key: MapKey, payload: V) -> Self {
        (key, payload)
    }

    fn key(&self) -> &MapKey {
        &self.0
    }

    fn payload(&self) -> &V {
        &self.1
    }

    fn measure(&self) -> Measure<'_> {
        let (key, value) = self;
        Measure { key: key.as_str(), weight: value.weight(), text: value.text_len(), file: value.file() }
    }

    fn entries(&self) -> u64 {
        1
    }

    fn bytes(&self) -> u64 {
        self.1.size()
    }

    fn as_child(&self) -> Option<&NodeChild> {
        None
    }

    fn rows(node: &Node<V>) -> Option<&[Self]> {
        match node {
            Node::Leaf(leaf) => Some(&leaf.entries),
            Node::Branch(_) => None,
        }
    }

    fn node(_level: u8, rows: Vec<Self>) -> Node<V> {
        Node::Leaf(Leaf { entries: rows })
    }
}

impl<V: Value> Row<V> for NodeChild {
    type Payload = Self;

    fn make(_key: MapKey, payload: Self) -> Self {
        payload
    }

    fn key(&self) -> &MapKey {
        &self.last
    }

    fn payload(&self) -> &Self {
        self
    }

    fn measure(&self) -> Measure<'_> {
        Measure { key: self.last.as_str(), weight: CHILD_WEIGHT, text: 0, file: None }
    }

    fn entries(&self) -> u64 {
        self.entries
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn as_child(&self) -> Option<&NodeChild> {
        Some(self)
    }

    fn rows(node: &Node<V>) -> Option<&[Self]> {
        match node {
            Node::Leaf(_) => None,
            Node::Branch(branch) => Some(&branch.children),
        }
    }

    fn node(level: u8, rows: Vec<Self>) -> Node<V> {
        Node::Branch(Branch { level, children: rows })
    }
}

/// How many entries there are, and the sum of their sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MapTotals {
    /// How many entries.
    pub entries: u64,
    /// The sum of their sizes.
    pub bytes: u64,
}

impl MapTotals {
    /// Adds a row; `None` when a sum passes the largest number that a reader accepts, 2^63 - 1.
    fn add<V: Value, R: Row<V>>(self, row: &R) -> Option<Self> {
        let sum = |a: u64, b: u64| a.checked_add(b).filter(|sum| *sum <= limits::NUMBER);
        Some(Self { entries: sum(self.entries, row.entries())?, bytes: sum(self.bytes, row.bytes())? })
    }

    /// The sums over a node; `None` when one passes 2^63 - 1.
    pub(super) fn of<V: Value>(node: &Node<V>) -> Option<Self> {
        match node {
            Node::Leaf(leaf) => leaf.entries.iter().try_fold(Self::default(), Self::add::<V, _>),
            Node::Branch(branch) => branch.children.iter().try_fold(Self::default(), Self::add::<V, _>),
        }
    }
}

/// A finished node and the row that its parent keeps of it.
pub(super) type Made<V> = (NodeChild, Arc<Node<V>>);

/// The rows since the last boundary of one level.
pub(super) struct Page<V: Value, R: Row<V>> {
    shape: Shape,
    level: u8,
    cutter: Cutter,
    rows: Vec<R>,
    totals: MapTotals,
    value: std::marker::PhantomData<fn() -> V>,
}

impl<V: Value, R: Row<V>> Page<V, R> {
    pub(super) fn new(shape: Shape, level: u8) -> Self {
        let totals = MapTotals::default();
        Self { shape, level, cutter: Cutter::new(shape, level), rows: Vec::new(), totals, value: std::marker::PhantomData }
    }

    /// The rows that no node holds yet.
    pub(super) fn rows(&self) -> &[R] {
        &self.rows
    }

    /// Appends a row, whose key must follow the last one, and returns the node that ends with it, if one does.
    /// Sums past 2^63 - 1 are `Invalid`.
    pub(super) fn push(&mut self, row: R) -> Result<Option<Made<V>>> {
        self.totals = self.totals.add(&row).ok_or_else(|| {
            Error::invalid(format!("the sizes of the entries up to {:?} add up to more than {} bytes", row.key(), limits::NUMBER))
        })?;
        let ends = self.cutter.push(&row.measure());
        self.rows.push(row);
        Ok(if ends { self.end() } else { None })
    }

    /// Ends the last node of the level, unless the level has just ended with a cut.
    pub(super) fn end(&mut self) -> Option<Made<V>> {
        let last = self.rows.last()?.key().clone();
        // The next node will hold about as many rows as this one.
        let room = Vec::with_capacity(self.rows.len());
        let node = R::node(self.level, std::mem::replace(&mut self.rows, room));
        let MapTotals { entries, bytes } = std::mem::take(&mut self.totals);
        self.cutter.restart();
        let id = node.id(self.shape.hash);
        Some((NodeChild { last, id, entries, bytes }, Arc::new(node)))
    }
}
