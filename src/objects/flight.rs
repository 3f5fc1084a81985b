//! Reads of nodes under way: readers that want the same node at the same time share one read.
//!
//! A read runs in a task of its own, so it makes progress whichever of its readers is polled: a scan that holds a node half loaded,
//! and is not asked for its next entry, must not stop a lookup that waits for the same node. The read is cancelled when no
//! reader waits for it any more. An error goes to the readers that waited, and is not kept for later ones.
//!
//! Only readers on one runtime share a read, because its task makes progress only while that runtime runs. A reader without a
//! runtime, or whose task was cancelled with its runtime, reads by itself.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::runtime::{Handle, Id};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::id::NodeId;

/// The result of a read; `None` when its task was cancelled.
type FlightOutcome<T> = Option<Result<T, Arc<Error>>>;
type FlightRead<T> = BoxFuture<'static, FlightOutcome<T>>;
/// By the runtime that drives them.
type Table<T> = HashMap<(Id, NodeId), WeakShared<FlightRead<T>>>;

/// The reads of one kind of node that are under way.
pub(super) struct Flights<T: Clone>(Mutex<Table<T>>);

impl<T: Clone> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// Waits for the read of `id` that is under way, or for `read`, which becomes it.
    pub(super) async fn join<F>(&self, id: NodeId, read: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let Ok(runtime) = Handle::try_current() else { return read().await };
        let flight = self.flight(runtime, id, &read);
        match flight.await {
            Some(outcome) => outcome.map_err(|error| shared(&error)),
            None => read().await,
        }
    }

    fn flight<F>(&self, runtime: Handle, id: NodeId, read: impl Fn() -> F) -> Shared<FlightRead<T>>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (runtime.id(), id);
        if let Some(flight) = flights.get(&key).and_then(WeakShared::upgrade).filter(|flight| flight.peek().is_none()) {
            return flight;
        }
        let read = read();
        let task = async move {
            let mut task = Task(runtime.spawn(read));
            match (&mut task.0).await {
                Ok(outcome) => Some(outcome.map_err(Arc::new)),
                Err(e) if e.is_cancelled() => None,
                Err(e) => Some(Err(Arc::new(Error::internal(format!("the read of node {id} did not run to its end")).caused_by(e)))),
            }
        };
        let flight = task.boxed().shared();
        // So the table never holds more than what is under way, and this one.
        flights.retain(|_, flight| flight.upgrade().is_some_and(|flight| flight.peek().is_none()));
        if let Some(flight) = flight.downgrade() {
            flights.insert(key, flight);
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

/// A copy of an error that several readers receive.
fn shared(error: &Arc<Error>) -> Error {
    let copy = error.copied();
    if error.source().is_some() { copy.caused_by(Cause(Arc::clone(error))) } else { copy }
}

/// The cause of an error that several readers receive.
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
