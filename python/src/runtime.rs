//! The Tokio runtime of this process, and waiting for futures on the calling thread.
//!
//! # After a fork
//!
//! `os.fork` copies memory, but of all threads only the one that called it. The runtime of the parent has no threads in the child,
//! and a lock that another thread held at that moment stays locked for ever. So the child gets a runtime of its own, the parent's is
//! never touched again (nor dropped), and nothing that the engine opened in the parent is used: repositories and read-only sessions
//! are opened anew from their descriptions (`repository`, `session`).
//!
//! The locks of this crate are of two kinds. Those that are taken only by a thread that holds the interpreter's lock cannot be held by
//! another thread during `os.fork`, because the forking thread holds that lock. The others belong to a generation ([`generation`]).

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::intern;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::logs;
use crate::progress::Watch;

/// How often a waiting call looks for signals, and reports progress.
const TICK: Duration = Duration::from_millis(50);

/// How many forks lie between the process that loaded this module and this one.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The runtime, and the generation it belongs to. Locked only while the interpreter's lock is held.
static RUNTIME: Mutex<Option<(u64, &'static Runtime)>> = Mutex::new(None);

/// A number that differs between a process and those that it forked.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Tells the module that this process was forked. `os.register_at_fork` calls it in the child.
#[pyfunction]
pub(crate) fn forked() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Something that is used, and dropped, only in the process that made it. In a process that was forked it stays where it is: to drop it
/// could wait for a lock that a thread of the parent held.
pub(crate) struct OfProcess<T> {
    value: Option<T>,
    generation: u64,
}

impl<T> OfProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), generation: generation() }
    }

    /// The value; `None` in another process.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.generation == generation())
    }

    /// The value, whatever process this is.
    pub(crate) fn of_any_process(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if self.generation != generation() {
            std::mem::forget(self.value.take());
        }
    }
}

/// The runtime of this process, made on first use. It is leaked, because the one of a parent process can never be dropped.
pub(crate) fn handle(_py: Python<'_>) -> PyResult<&'static Handle> {
    let mut current = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((generation, runtime)) = *current
        && generation == self::generation()
    {
        return Ok(runtime.handle());
    }
    let built = Builder::new_multi_thread().enable_all().thread_name("firnline").build();
    let built = built.map_err(|e| PyRuntimeError::new_err(format!("the threads of firnline cannot be started: {e}")))?;
    let runtime: &'static Runtime = Box::leak(Box::new(built));
    *current = Some((generation(), runtime));
    Ok(runtime.handle())
}

/// Waits for a future on this thread, without the interpreter's lock.
///
/// On the main thread a signal whose handler raises, such as Ctrl-C, drops the future and is raised.
pub(crate) fn wait<F>(py: Python<'_>, future: F) -> PyResult<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    wait_watching(py, future, None)
}

/// Like [`wait`], and tells `watch` at the start and now and then how far the operation has come. An exception of its callback drops the future. Once the
/// outcome is known, an exception does not replace it: it goes to `sys.unraisablehook`.
pub(crate) fn wait_watching<F>(py: Python<'_>, future: F, watch: Option<&Watch>) -> PyResult<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    let handle = handle(py)?;
    if let Some(watch) = watch {
        watch.tell(py)?;
    }
    let outcome = py.detach(|| firnline::block_on(handle, attended(future, watch)));
    // A callback that ended the call is not called again.
    let watch = watch.filter(|_| outcome.is_ok());
    let told = logs::deliver(py).and_then(|()| watch.map_or(Ok(()), |watch| watch.tell(py)));
    if let Err(error) = told {
        set_aside(py, error);
    }
    outcome
}

/// Keeps an exception that comes after the outcome of an operation from replacing it. Ctrl-C is raised by the next line of Python.
fn set_aside(py: Python<'_>, error: PyErr) {
    let is_again = error.is_instance_of::<PyKeyboardInterrupt>(py)
        && py.import("_thread").and_then(|thread| thread.call_method0("interrupt_main")).is_ok();
    if !is_again {
        error.write_unraisable(py, None);
    }
}

/// Adds a line to what an exception prints. Without it the exception is still the right one.
pub(crate) fn note(py: Python<'_>, exception: &PyErr, line: &str) {
    let _ = exception.value(py).call_method1(intern!(py, "add_note"), (line,));
}

/// Runs `future`; between its steps looks for signals and reports progress.
async fn attended<F: Future>(future: F, watch: Option<&Watch>) -> PyResult<F::Output> {
    let mut future = pin!(future);
    // Most reads are ready at once, and need no timer.
    let first = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
    if let Poll::Ready(output) = first {
        return Ok(output);
    }
    loop {
        tokio::select! {
            biased;
            output = &mut future => return Ok(output),
            () = tokio::time::sleep(TICK) => Python::attach(|py| {
                logs::deliver(py)?;
                py.check_signals()?;
                watch.map_or(Ok(()), |watch| watch.tell(py))
            })?,
        }
    }
}

/// Polls a future once on this thread, as a task of the runtime would. A future that is not ready is woken by its next poll only.
pub(crate) fn poll_once<F: Future + Unpin>(handle: &Handle, future: &mut F) -> Poll<F::Output> {
    let _entered = handle.enter();
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}
