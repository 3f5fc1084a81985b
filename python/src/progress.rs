//! How far a long call has come, for a Python callback.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use firnline::{Amount, Progress};
use pyo3::prelude::*;

/// Counts what the engine reports. Its threads only count; the waiting thread calls the callback.
#[derive(Debug, Default)]
struct Counts {
    items: AtomicU64,
    bytes: AtomicU64,
    all_items: AtomicU64,
    all_bytes: AtomicU64,
}

impl Progress for Counts {
    fn expect(&self, total: Amount) {
        self.all_items.store(total.items, Ordering::Relaxed);
        self.all_bytes.store(total.bytes, Ordering::Relaxed);
    }

    fn advance(&self, done: Amount) {
        self.items.fetch_add(done.items, Ordering::Relaxed);
        self.bytes.fetch_add(done.bytes, Ordering::Relaxed);
    }
}

tokio::task_local! {
    /// What the reports of the call that is under way are counted in.
    static OF_CALL: Arc<Counts>;
}

/// Gives each report to the call that it comes from. Repositories are opened with it: to give one of their sessions another receiver
/// would make it a session of another repository.
#[derive(Debug)]
pub(crate) struct ReportsOfCalls;

impl Progress for ReportsOfCalls {
    fn expect(&self, total: Amount) {
        let _ = OF_CALL.try_with(|counts| counts.expect(total));
    }

    fn advance(&self, done: Amount) {
        let _ = OF_CALL.try_with(|counts| counts.advance(done));
    }
}

/// Runs a call, whose reports go to `watch`.
pub(crate) async fn reporting<F: Future>(watch: Option<&Watch>, call: F) -> F::Output {
    match watch {
        Some(watch) => OF_CALL.scope(watch.counts.clone(), call).await,
        None => call.await,
    }
}

/// A callback, and what it is told: `callback(items, all_items, bytes, all_bytes)`, where 0 of all means that the total is not known.
pub(crate) struct Watch {
    counts: Arc<Counts>,
    callback: Py<PyAny>,
}

impl Watch {
    /// Watches for `callback`.
    pub(crate) fn new(callback: Py<PyAny>) -> Self {
        Self { counts: Arc::default(), callback }
    }

    /// What the engine reports to.
    pub(crate) fn sink(&self) -> Arc<dyn Progress> {
        self.counts.clone()
    }

    /// Calls the callback.
    pub(crate) fn tell(&self, py: Python<'_>) -> PyResult<()> {
        let Counts { items, bytes, all_items, all_bytes } = &*self.counts;
        let told = [items, all_items, bytes, all_bytes].map(|count| count.load(Ordering::Relaxed));
        self.callback.call1(py, (told[0], told[1], told[2], told[3])).map(drop)
    }
}
