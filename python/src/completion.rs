//! Results for coroutines.
//!
//! [`start`] polls a future once on the calling thread. If it is ready (nodes in the cache, a value in the manifest, a change that is only
//! staged) the coroutine goes on at once, without a task, another thread or a turn of the event loop. Otherwise the future becomes a task
//! of the runtime, and its result comes through a queue of the event loop ([`LoopQueue`]): the runtime's threads put results there without
//! the interpreter's lock, and one wake-up through a socket lets the loop take all of them.

use std::any::Any;
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures::FutureExt as _;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyWeakrefReference;
use tokio::task::AbortHandle;

use crate::failure::Failure;
use crate::logs;
use crate::runtime::{generation, handle, poll_once, wait};

/// What a call of the engine gives to Python, once the interpreter's lock is held.
pub(crate) type Finish<T> = fn(Python<'_>, T) -> PyResult<Py<PyAny>>;

/// Runs a call of the engine: to its end on this thread, or, if `is_async`, for the running event loop. Then the answer is the result
/// if it is known at once, else a [`Pending`].
pub(crate) fn run<T, F>(py: Python<'_>, is_async: bool, future: F, finish: Finish<T>) -> PyResult<Py<PyAny>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    if is_async {
        return start(py, future, finish);
    }
    match wait(py, future)? {
        Ok(value) => finish(py, value),
        Err(failure) => Err(failure.raise(py)),
    }
}

fn start<T, F>(py: Python<'_>, future: F, finish: Finish<T>) -> PyResult<Py<PyAny>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let runtime = handle(py)?;
    let mut future = Box::pin(AssertUnwindSafe(future).catch_unwind());
    if let Poll::Ready(outcome) = poll_once(runtime, &mut future) {
        return settle(py, outcome, finish);
    }
    let queue = LoopQueue::current(py)?;
    let (number, waiting) = queue.get().wait_for(py)?;
    let shared = queue.get().shared.clone();
    let task = runtime.spawn(async move {
        let outcome = future.await;
        shared.push(number, Box::new(move |py| settle(py, outcome, finish)));
    });
    let pending = Pending { waiting, number, queue, task: task.abort_handle() };
    Ok(Py::new(py, pending)?.into_any())
}

/// The result or the exception of a call. A panic of the engine is an exception too: the loop must not wait for ever.
fn settle<T>(py: Python<'_>, outcome: Result<Result<T, Failure>, Box<dyn Any + Send>>, finish: Finish<T>) -> PyResult<Py<PyAny>> {
    match outcome {
        Ok(Ok(value)) => finish(py, value),
        Ok(Err(failure)) => Err(failure.raise(py)),
        Err(panic) => Err(Failure::panicked(&*panic).raise(py)),
    }
}

/// A call that is under way. `await pending.future` gives its result; after an exception there, call `cancel()`.
#[pyclass(frozen, module = "firnline._firnline")]
pub(crate) struct Pending {
    waiting: Py<PyAny>,
    number: u64,
    queue: Py<LoopQueue>,
    task: AbortHandle,
}

#[pymethods]
impl Pending {
    /// The future of the event loop.
    #[getter]
    fn future(&self, py: Python<'_>) -> Py<PyAny> {
        self.waiting.clone_ref(py)
    }

    /// Drops the engine's future, unless it has ended.
    fn cancel(&self) {
        self.task.abort();
        drop(self.queue.get().waiting().remove(&self.number));
    }
}

type Delivery = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// What the runtime's threads see of a queue. Knows nothing of Python, so an event loop that was closed meanwhile is not touched.
struct SharedQueue {
    arrived: Mutex<Vec<(u64, Delivery)>>,
    /// Whether the loop has been woken and has not looked yet.
    is_woken: AtomicBool,
    bell: UnixStream,
}

impl SharedQueue {
    fn arrived(&self) -> MutexGuard<'_, Vec<(u64, Delivery)>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, number: u64, delivery: Delivery) {
        self.arrived().push((number, delivery));
        if !self.is_woken.swap(true, Ordering::SeqCst) {
            // Fails only if the loop's end is closed, or if so many bytes lie there already that the loop will look.
            let _ = (&self.bell).write(&[1]);
        }
    }
}

/// The results that one event loop waits for.
#[pyclass(frozen, weakref, module = "firnline._firnline")]
pub(crate) struct LoopQueue {
    shared: Arc<SharedQueue>,
    /// The loop's end of the socket.
    ear: UnixStream,
    /// Futures of the loop by number. Locked only while the interpreter's lock is held.
    waiting: Mutex<HashMap<u64, Py<PyAny>>>,
    next: AtomicU64,
    event_loop: Py<PyWeakrefReference>,
    generation: u64,
}

/// The queues by event loop, both held weakly: a loop keeps its queue until it is closed.
fn queues(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static QUEUES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let queues = QUEUES.get_or_try_init(py, || Ok::<_, PyErr>(py.import("weakref")?.call_method0("WeakKeyDictionary")?.unbind()))?;
    Ok(queues.bind(py))
}

impl LoopQueue {
    /// The queue of the event loop that runs on this thread; made when it is first needed.
    fn current(py: Python<'_>) -> PyResult<Py<Self>> {
        static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let event_loop = RUNNING.import(py, "asyncio", "get_running_loop")?.call0()?;
        let known = queues(py)?.call_method1(intern!(py, "get"), (&event_loop,))?;
        if let Ok(known) = known.cast::<PyWeakrefReference>()
            && let Some(queue) = known.upgrade_as::<Self>()?
            && queue.get().serves(py, &event_loop)
        {
            return Ok(queue.unbind());
        }
        let queue = Self::open(&event_loop)?;
        queues(py)?.set_item(&event_loop, PyWeakrefReference::new(queue.bind(py))?)?;
        Ok(queue)
    }

    fn serves(&self, py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> bool {
        self.generation == generation() && self.event_loop.bind(py).upgrade().is_some_and(|ours| ours.is(event_loop))
    }

    fn open(event_loop: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        let py = event_loop.py();
        let (ear, bell) = UnixStream::pair()?;
        ear.set_nonblocking(true)?;
        bell.set_nonblocking(true)?;
        let descriptor = ear.as_raw_fd();
        let shared = Arc::new(SharedQueue { arrived: Mutex::default(), is_woken: AtomicBool::new(false), bell });
        let queue = Self {
            shared,
            ear,
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            event_loop: PyWeakrefReference::new(event_loop)?.unbind(),
            generation: generation(),
        };
        let queue = Py::new(py, queue)?;
        // The loop keeps the queue alive, and with it the socket, for as long as it watches it.
        let take = queue.bind(py).getattr(intern!(py, "_take"))?;
        event_loop.call_method1(intern!(py, "add_reader"), (descriptor, take))?;
        Ok(queue)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Py<PyAny>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new future of the loop, and its number.
    fn wait_for(&self, py: Python<'_>) -> PyResult<(u64, Py<PyAny>)> {
        let event_loop = self.event_loop.bind(py).upgrade().ok_or_else(|| PyRuntimeError::new_err("the event loop is gone"))?;
        let future = event_loop.call_method0(intern!(py, "create_future"))?.unbind();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting().insert(number, future.clone_ref(py));
        Ok((number, future))
    }
}

#[pymethods]
impl LoopQueue {
    /// Hands over what has arrived. The event loop calls it when the socket can be read.
    fn _take(&self, py: Python<'_>) -> PyResult<()> {
        let mut bytes = [0; 64];
        while (&self.ear).read(&mut bytes).is_ok_and(|read| read == bytes.len()) {}
        // Results that come after this line ring again.
        self.shared.is_woken.store(false, Ordering::SeqCst);
        let arrived = std::mem::take(&mut *self.shared.arrived());
        for (number, delivery) in arrived {
            let future = self.waiting().remove(&number);
            // It is not there if the call was cancelled.
            let Some(future) = future else { continue };
            let result = delivery(py);
            if future.call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
                continue;
            }
            match result {
                Ok(value) => future.call_method1(py, intern!(py, "set_result"), (value,))?,
                Err(error) => future.call_method1(py, intern!(py, "set_exception"), (error.into_value(py),))?,
            };
        }
        logs::deliver(py)
    }
}
