//! Reads under way, shared by everybody who wants the same node.
//!
//! A read runs in a task of its own, so that it gets on whoever of those that wait for it is being polled: a scan that holds a
//! node half loaded, and is not asked for its next entry, must not stop the lookup that waits for the same node. When
//! nobody waits any more, the read is cut off. An error goes to all who waited, and to nobody who comes later.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::id::NodeId;

type Outcome<T> = Result<T, Arc<Error>>;
type Read<T> = BoxFuture<'static, Outcome<T>>;

/// The reads of one kind of node that are under way.
pub(super) struct Flights<T: Clone>(Mutex<HashMap<NodeId, WeakShared<Read<T>>>>);

impl<T: Clone> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// Waits for the read of `id` that is under way, or for `read`, which becomes it.
    pub(super) async fn join(&self, id: NodeId, read: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let flight = self.flight(id, read);
        flight.await.map_err(|error| shared(&error))
    }

    fn flight(&self, id: NodeId, read: impl Future<Output = Result<T>> + Send + 'static) -> Shared<Read<T>> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&id).and_then(WeakShared::upgrade).filter(|flight| flight.peek().is_none()) {
            return flight;
        }
        let task = async move {
            let mut task = Task(tokio::spawn(read));
            let cut_off = |e| Error::internal(format!("the read of node {id} did not run to its end")).caused_by(e);
            (&mut task.0).await.unwrap_or_else(|e| Err(cut_off(e))).map_err(Arc::new)
        };
        let flight = task.boxed().shared();
        // So the table never holds more than what is under way, and this one.
        flights.retain(|_, flight| flight.upgrade().is_some_and(|flight| flight.peek().is_none()));
        if let Some(flight) = flight.downgrade() {
            flights.insert(id, flight);
        }
        flight
    }
}

/// A task that ends with its owner.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One's own copy of an error that others got as well.
fn shared(error: &Arc<Error>) -> Error {
    let copy = Error::new(error.kind(), error.to_string());
    if error.source().is_some() { copy.caused_by(Cause(Arc::clone(error))) } else { copy }
}

/// What led to an error that others got as well.
#[derive(Debug)]
struct Cause(Arc<Error>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.source().map_or(Ok(()), |cause| fmt::Display::fmt(cause, f))
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source().and_then(StdError::source)
    }
}
