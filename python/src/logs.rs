//! Events of the engine for Python's `logging`.
//!
//! The engine's threads only queue events, because a thread that waits for the interpreter's lock while it holds a lock of the engine
//! could wait for ever. They are delivered by the next call that holds the interpreter's lock: the call that caused them, when it
//! returns or every 50 ms while it waits, or the next result for an event loop.

use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::runtime::generation;

/// How many events wait at most; what comes then is dropped.
const MOST: usize = 1000;
/// A process and the processes that it forked use different queues.
const GENERATIONS: usize = 16;

type Queue = Mutex<Vec<(u8, String)>>;

static QUEUES: [Queue; GENERATIONS] = [const { Mutex::new(Vec::new()) }; GENERATIONS];
/// Whether something was queued, so that looking costs no lock.
static QUEUED: AtomicBool = AtomicBool::new(false);
/// The least level that is recorded, as `logging` numbers levels.
static LEAST: AtomicU8 = AtomicU8::new(20);

fn queue() -> &'static Queue {
    let index = usize::try_from(generation()).unwrap_or(0) % GENERATIONS;
    QUEUES.get(index).unwrap_or(&QUEUES[0])
}

/// Takes the events of this module's copy of the engine. Without effect if that was done before.
pub(crate) fn install() {
    // An error says that they are taken already, as when a second interpreter of this process loads the module.
    let _ = tracing::subscriber::set_global_default(Collector);
}

/// Sets the least level that is recorded, as `logging` numbers levels. Less is not even formatted.
#[pyfunction]
pub(crate) fn set_log_level(level: u8) {
    LEAST.store(level, Ordering::Relaxed);
}

/// Hands what was recorded to the logger `firnline`. What a handler raises is no failure of the call that logged, and goes to
/// `sys.unraisablehook`; only what is no `Exception`, such as Ctrl-C, is raised.
pub(crate) fn deliver(py: Python<'_>) -> PyResult<()> {
    static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if !QUEUED.load(Ordering::Relaxed) {
        return Ok(());
    }
    QUEUED.store(false, Ordering::Relaxed);
    let events = std::mem::take(&mut *queue().lock().unwrap_or_else(PoisonError::into_inner));
    let logger = LOGGER.get_or_try_init(py, || Ok::<_, PyErr>(py.import("logging")?.call_method1("getLogger", ("firnline",))?.unbind()))?;
    for (level, message) in events {
        match logger.call_method1(py, "log", (level, "%s", message)) {
            Err(error) if error.is_instance_of::<PyException>(py) => error.write_unraisable(py, Some(logger.bind(py))),
            result => drop(result?),
        }
    }
    Ok(())
}

struct Collector;

fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        _ => 5,
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("firnline") && number(*metadata.level()) >= LEAST.load(Ordering::Relaxed)
    }

    /// The level can be changed at any time, so no answer is remembered.
    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = EventText::default();
        event.record(&mut text);
        let EventText { mut message, fields } = text;
        message.push_str(&fields);
        let mut queue = queue().lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() < MOST {
            queue.push((number(*event.metadata().level()), message));
            QUEUED.store(true, Ordering::Relaxed);
        }
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// The message of an event, and its fields as ` name=value`.
#[derive(Default)]
struct EventText {
    message: String,
    fields: String,
}

impl Visit for EventText {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
