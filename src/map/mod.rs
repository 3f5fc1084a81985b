//! The canonical Merkle map: ordered, cut into nodes whose boundaries depend only on the content.
//!
//! The same entries give the same nodes and the same root id, whatever the order of the edits, their batching or the
//! machine. An edit loads only the paths it touches and yields exactly the root that building anew would yield.

use std::future::Future;
use std::sync::Arc;

use crate::error::Result;
use crate::format::{Node, Value};
use crate::id::{HashAlgorithm, NodeId};

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
