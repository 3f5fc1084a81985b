//! Work that occupies a thread, done where it delays no other task.
//!
//! File work and long computations must not run on a thread of the executor: while they run, no other task of that thread
//! makes progress. Everything of this kind in the crate goes through [`blocking`], or through [`brief`] if a caller of
//! [`block_on`] should do it on its own thread.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use crate::ambient::is_simulated;
use crate::error::{Error, Result};

/// Runs `work` on a thread that may block, starting now. Awaiting the result gives what `work` returned.
///
/// `what` names the work in errors: a panic in it is `Internal`, and the end of the runtime before the work ran is
/// `Unavailable`. Dropping the result does not stop the work. Works on every Tokio runtime, also on one of a single
/// thread; without a runtime, `work` runs before this function returns.
pub(crate) fn blocking<T: Send + 'static>(what: &'static str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Blocking<T> {
    match Handle::try_current() {
        Ok(runtime) if !is_simulated() => Blocking { what, state: State::Running(runtime.spawn_blocking(work)) },
        _ => Blocking::done(what, work),
    }
}

/// Like [`blocking`], for brief work that waits for no other task: inside [`block_on`] the calling thread does it, because a switch
/// of threads takes longer than reading a small file.
pub(crate) fn brief<T: Send + 'static>(what: &'static str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Blocking<T> {
    if MAY_BLOCK.get() { Blocking::done(what, work) } else { blocking(what, work) }
}

thread_local! {
    /// Whether this thread is inside [`block_on`].
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Waits on this thread for a future of this crate, and does brief file work and hashing on it.
///
/// For callers that are not async: a read of a local file needs no switch of threads, so a loop of small reads is several times faster
/// than with [`Handle::block_on`]. `runtime` does the rest: requests to servers, uploads and long computations. It must be
/// driven by other threads than this one, as a multi-threaded runtime is.
///
/// The file work of one call runs one piece after the other. To read many values at once, use `Handle::block_on`.
///
/// Do not call this from an async function: the thread makes no other progress until the future is ready. A panic of the future
/// is a panic of this call.
pub fn block_on<F: Future>(runtime: &Handle, future: F) -> F::Output {
    let _context = runtime.enter();
    let _marked = Marked(MAY_BLOCK.replace(true));
    let woken = Arc::new(Unpark { thread: thread::current(), is_woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        // What the future did meanwhile may have parked this thread, too, and taken the token of the wake-up.
        while !woken.is_woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

/// Restores whether the thread may block.
struct Marked(bool);

impl Drop for Marked {
    fn drop(&mut self) {
        MAY_BLOCK.set(self.0);
    }
}

/// Wakes a thread that waits in [`block_on`].
struct Unpark {
    thread: Thread,
    is_woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Work that was started by [`blocking`].
#[derive(Debug)]
#[must_use = "the result of the work is lost unless it is awaited"]
pub(crate) struct Blocking<T> {
    what: &'static str,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Running(JoinHandle<Result<T>>),
    Done(Option<Result<T>>),
}

impl<T> Blocking<T> {
    /// Work that this thread does now.
    fn done(what: &'static str, work: impl FnOnce() -> Result<T>) -> Self {
        let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(what, &*panic)));
        Self { what, state: State::Done(Some(done)) }
    }
}

/// The result is only moved, never pinned.
impl<T> Unpin for Blocking<T> {}

impl<T> Future for Blocking<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let what = self.what;
        match &mut self.state {
            State::Running(handle) => Pin::new(handle).poll(context).map(|ended| ended.unwrap_or_else(|e| Err(not_finished(what, e)))),
            State::Done(done) => Poll::Ready(done.take().unwrap_or_else(|| Err(Error::internal(format!("{what} was awaited twice"))))),
        }
    }
}

/// Why a task did not run to its end: `Internal` if it panicked, `Unavailable` if its runtime ended first.
pub(crate) fn not_finished(what: &str, ended: JoinError) -> Error {
    match ended.try_into_panic() {
        Ok(panic) => panicked(what, &*panic),
        Err(e) => Error::unavailable(format!("{what} was stopped, because its runtime ended")).caused_by(e),
    }
}

/// The error for `what`, which panicked.
pub(crate) fn panicked(what: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::internal(format!("{what} panicked: {}", text.unwrap_or("no message")))
}

/// Drops `value` on a thread that may block: for values whose drop deletes files or frees much memory.
pub(crate) fn drop_elsewhere<T: Send + 'static>(value: T) {
    match Handle::try_current() {
        Ok(runtime) if !is_simulated() => drop(runtime.spawn_blocking(move || drop(value))),
        _ => drop(value),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;
    use crate::error::ErrorKind;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn work_runs_beside_the_only_thread_of_a_runtime() {
        runtime().block_on(async {
            let (sender, receiver) = mpsc::channel();
            // The work waits for the executor's thread, which must not be its own.
            let mut work =
                blocking("the work", move || receiver.recv_timeout(Duration::from_mins(1)).map_err(|e| Error::internal(e.to_string())));
            assert!((&mut work).now_or_never().is_none());
            sender.send(7).unwrap();
            assert_eq!(work.await.unwrap(), 7);
        });
    }

    #[test]
    fn work_is_done_without_a_runtime() {
        let work = blocking("the work", || Ok(7));
        assert_eq!(work.now_or_never().expect("it has ended").unwrap(), 7);
    }

    #[test]
    fn a_thread_that_may_block_does_brief_work_itself() {
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let who = || Ok(thread::current().id());
        let here = thread::current().id();
        let (own, nested, others, spawned) = block_on(threads.handle(), async {
            // Tasks of the runtime are not inside `block_on`.
            let spawned = tokio::spawn(async move { brief("the work", who).await });
            let nested = block_on(threads.handle(), brief("the work", who));
            (brief("the work", who).await, nested, blocking("the work", who).await, spawned.await.unwrap())
        });
        assert_eq!((own.unwrap(), nested.unwrap()), (here, here));
        assert_ne!(others.unwrap(), here, "long work");
        assert_ne!(spawned.unwrap(), here);
        let after = threads.block_on(async { brief("the work", who).await });
        assert_ne!(after.unwrap(), here, "after the call");
    }

    #[test]
    fn a_thread_that_waits_is_woken() {
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let slow = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            7
        };
        assert_eq!(block_on(threads.handle(), slow), 7);
        // A wake-up that comes during the poll.
        let mut polls = 0;
        let eager = std::future::poll_fn(|context| {
            polls += 1;
            context.waker().wake_by_ref();
            if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        });
        block_on(threads.handle(), eager);
        assert_eq!(polls, 3);
        // A wake-up whose token is taken by something else that parks the thread.
        let mut is_first = true;
        let nested = std::future::poll_fn(|context| {
            if !std::mem::take(&mut is_first) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            thread::park();
            Poll::Pending
        });
        block_on(threads.handle(), nested);
    }

    #[test]
    fn a_panic_ends_the_permission_to_block() {
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let panics = catch_unwind(|| block_on(threads.handle(), async { panic!("in a future") }));
        assert!(panics.is_err());
        assert!(!MAY_BLOCK.get());
    }

    /// A panic on a worker thread was reported as `Unavailable`, which told the caller to try again.
    #[test]
    fn a_panic_is_internal_and_keeps_its_message() {
        let fails = || async { blocking::<()>("the work", || panic!("at entry {}", 3)).await };
        for error in [runtime().block_on(fails()), futures::executor::block_on(fails())].map(Result::unwrap_err) {
            assert_eq!(error.kind(), ErrorKind::Internal);
            assert_eq!(error.to_string(), "the work panicked: at entry 3");
        }
    }

    #[test]
    fn work_whose_runtime_has_ended_may_be_tried_again() {
        let ended = runtime();
        let handle = ended.handle().clone();
        drop(ended);
        let work = {
            let _guard = handle.enter();
            blocking("the work", || Ok(()))
        };
        assert_eq!(runtime().block_on(work).unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
