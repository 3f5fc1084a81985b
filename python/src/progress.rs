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
