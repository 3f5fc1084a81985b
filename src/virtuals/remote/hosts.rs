//! How many requests are under way at each server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// Counts requests by server, for all readers of one repository.
#[derive(Debug)]
pub(super) struct Hosts {
    limit: usize,
    known: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Hosts {
    /// At most `limit` requests at once for each server.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.clamp(1, Semaphore::MAX_PERMITS), known: Mutex::default() }
    }

    /// Waits until a request may be sent to `host`. The request counts until what is returned is dropped.
    pub(super) async fn enter(&self, host: &str) -> Result<OwnedSemaphorePermit> {
        let host = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            match known.get(host) {
                Some(there) => Arc::clone(there),
                None => Arc::clone(known.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.limit)))),
            }
        };
        host.acquire_owned().await.map_err(|_| Error::internal("the count of requests to a server was closed"))
    }
}
