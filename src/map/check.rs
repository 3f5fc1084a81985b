//! Checks that a map is canonical: every node fits its parent, and ends where the cut rule ends it.
//!
//! Each node is checked by itself, with what its parent says and whether it is the last of its level. Cutting begins afresh at every
//! boundary; therefore, if every node ends where it must, the map is the one that building it anew would give.

use super::boundary::Cutter;
use super::load::{self, Due, NodeHandle};
use super::page::{MapTotals, Row};
use super::span::Span;
use super::walk::Walk;
use super::{Map, NodeSource, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Node, Value};
use crate::id::NodeId;

/// More findings than this are counted, not kept: a damaged map must not fill the memory.
const MAX_FINDINGS: usize = 1000;

/// The result of a check.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// How many nodes were reached, with those that could not be loaded.
    pub nodes: u64,
    /// What the leaves that could be loaded hold.
    pub totals: MapTotals,
    /// What is wrong, in the order of the walk: at most 1,000 errors, `Corrupt` or `NotFound`, each naming its node.
    pub findings: Vec<Error>,
    /// How many findings there were in all. Zero: the map is canonical.
    pub found: u64,
}

impl<V: Value, S: NodeSource<V>> Map<'_, V, S> {
    /// Loads every node and checks it, 16 at a time. What lies below a node that cannot be loaded is not reached. An
    /// error that is neither `Corrupt` nor `NotFound` ends the check.
    pub(crate) async fn check(&self, shape: Shape) -> Result<Checked> {
        let mut walk = Walk::<V, S>::new(NodeHandle::Borrowed(self.source), self.root, Span::all(), false).eager();
        let mut checked = Checked::default();
        while let Some(visit) = walk.next().await {
            checked.nodes += 1;
            let error = match visit.node {
                Ok(node) => {
                    if let Node::Leaf(_) = &*node {
                        let sums = MapTotals::of(&node).unwrap_or_default();
                        checked.totals.entries = checked.totals.entries.saturating_add(sums.entries);
                        checked.totals.bytes = checked.totals.bytes.saturating_add(sums.bytes);
                    }
                    check_node(visit.id, &node, visit.due.as_ref(), visit.is_last, shape).err()
                }
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => Some(error),
                Err(error) => return Err(error),
            };
            if let Some(error) = error {
                checked.found += 1;
                if checked.findings.len() < MAX_FINDINGS {
                    checked.findings.push(error);
                }
            }
        }
        Ok(checked)
    }
}

/// The properties of a node that do not depend on its place in the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged {
    /// What it says that it and everything below it hold.
    pub totals: MapTotals,
    /// Whether the cut rule ends a node after its last row.
    pub is_cut: bool,
}

/// Checks one node without its place: order, sums, and no row after one that ends a node.
pub(crate) fn judge<V: Value>(id: NodeId, node: &Node<V>, shape: Shape) -> Result<Judged> {
    let totals = load::admit_rows(id, node)?;
    let check = |is_last| match node {
        Node::Leaf(leaf) => check_cuts::<V, _>(id, &leaf.entries, 0, is_last, shape),
        Node::Branch(branch) => check_cuts::<V, _>(id, &branch.children, branch.level, is_last, shape),
    };
    check(true)?;
    Ok(Judged { totals, is_cut: check(false).is_ok() })
}

/// Checks one node in its place; the error says what is wrong first.
fn check_node<V: Value>(id: NodeId, node: &Node<V>, due: Option<&Due>, is_last: bool, shape: Shape) -> Result<()> {
    match due {
        Some(due) => load::admit_fully(node, &due.child)?,
        None => load::admit_rows(id, node).map(drop)?,
    }
    match node {
        Node::Leaf(leaf) => check_cuts::<V, _>(id, &leaf.entries, 0, is_last, shape),
        Node::Branch(branch) if due.is_none() && branch.children.len() < 2 => {
            Err(Error::corrupt(format!("node {id} is a root with a single child")))
        }
        Node::Branch(branch) => check_cuts::<V, _>(id, &branch.children, branch.level, is_last, shape),
    }
}

/// Checks that the rule cuts after the last row, or that no more rows follow, and nowhere before.
fn check_cuts<V: Value, R: Row<V>>(id: NodeId, rows: &[R], level: u8, is_last: bool, shape: Shape) -> Result<()> {
    let mut cutter = Cutter::new(shape, level);
    let cut = rows.iter().position(|row| cutter.push(&row.measure()));
    match cut {
        Some(at) if at + 1 < rows.len() => {
            let key = rows.get(at).map(|row| row.key().as_str()).unwrap_or_default();
            Err(Error::corrupt(format!("node {id} goes on after {key:?}, where the cut rule ends it")))
        }
        None if !is_last => Err(Error::corrupt(format!("node {id} ends where the cut rule does not end it"))),
        _ => Ok(()),
    }
}
