//! The canonical Merkle map: ordered, cut into nodes whose boundaries depend only on the content.
//!
//! The same entries give the same nodes and the same root id, whatever the order of the edits, their batching or the
//! machine. An edit loads only the paths it touches, stores only nodes that are new, and yields exactly the root that
//! building anew would yield.

mod boundary;
mod build;
mod check;
mod diff;
mod edit;
mod find;
mod lacking;
mod load;
mod page;
mod scan;
mod span;
mod union;
mod walk;

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::error::Result;
use crate::format::{Node, Value};
use crate::id::{HashAlgorithm, NodeId};

pub(crate) use build::build;
pub(crate) use check::judge;
pub(crate) use diff::{Diff, MapChange};
pub(crate) use edit::{Edit, Edits};
pub(crate) use lacking::{Lacked, Lacking};
pub(crate) use page::MapTotals;
pub(crate) use scan::Scan;
pub(crate) use span::{Span, Spans};
pub(crate) use union::{MapNumbers, Union};
pub(crate) use walk::Walk;

/// The constants of the cut rule. Those of format v1 are stored nowhere and tuned by nobody; tests inject others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The hash of node ids.
    pub hash: HashAlgorithm,
    /// The base-2 logarithm of the weight at which a node tends to end.
    pub target: u32,
    /// The sum of encoded sizes at which a node ends in any case, in bytes.
    pub limit: usize,
}

impl Shape {
    /// The shape of format v1.
    pub(crate) const fn v1(hash: HashAlgorithm) -> Self {
        Self { hash, target: 13, limit: 1 << 19 }
    }
}

/// Finds nodes by id: a repository, a CAR file, a test's hash map.
pub(crate) trait NodeSource<V: Value>: Send + Sync {
    /// Loads a node, checked against its id; a node that is not there is `NotFound` or `Corrupt`, never `None`.
    fn load(&self, id: NodeId) -> impl Future<Output = Result<Arc<Node<V>>>> + Send;
}

/// Takes the nodes that a build or an edit makes, children before parents.
pub(crate) trait NodeSink<V: Value>: Send {
    /// Takes one node. Waits when too much is under way.
    fn store(&mut self, id: NodeId, node: Arc<Node<V>>) -> impl Future<Output = Result<()>> + Send;
}

/// Takes nodes that are wanted for their ids only.
pub(crate) struct Nowhere;

impl<V: Value> NodeSink<V> for Nowhere {
    async fn store(&mut self, _: NodeId, _: Arc<Node<V>>) -> Result<()> {
        Ok(())
    }
}

/// A map by its root, over the nodes of a source. Copying it copies the id.
///
/// Its methods lie in the files of their verbs. Nodes that do not fit together are `Corrupt`, whatever the method.
pub(crate) struct Map<'a, V, S> {
    source: &'a S,
    root: NodeId,
    value: PhantomData<fn() -> V>,
}

impl<V, S> Clone for Map<'_, V, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V, S> Copy for Map<'_, V, S> {}

impl<V, S> fmt::Debug for Map<'_, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({})", self.root)
    }
}

impl<'a, V: Value, S: NodeSource<V>> Map<'a, V, S> {
    /// The map with this root; nothing is loaded yet.
    pub(crate) const fn new(source: &'a S, root: NodeId) -> Self {
        Self { source, root, value: PhantomData }
    }

    /// How many entries the map holds and the sum of their sizes. Loads the root only.
    pub(crate) async fn totals(&self) -> Result<MapTotals> {
        let root = self.load_root().await?;
        load::sums(self.root, &root)
    }

    async fn load_root(&self) -> Result<Arc<Node<V>>> {
        load::root(self.source, self.root).await
    }
}
