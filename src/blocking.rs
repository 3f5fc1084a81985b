//! Work that occupies a thread, done where it delays no other task.
//!
//! File work and long computations must not run on a thread of the executor: while they run, no other task of that thread
//! makes progress. Everything of this kind in the crate goes through [`blocking`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use crate::error::{Error, Result};

/// Runs `work` on a thread that may block, starting now. Awaiting the result gives what `work` returned.
///
/// `what` names the work in errors: a panic in it is `Internal`, and the end of the runtime before the work ran is
/// `Unavailable`. Dropping the result does not stop the work. Works on every Tokio runtime, also on one of a single
/// thread; without a runtime, `work` runs before this function returns.
pub(crate) fn blocking<T: Send + 'static>(what: &'static str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Blocking<T> {
    let state = match Handle::try_current() {
        Ok(runtime) => State::Running(runtime.spawn_blocking(work)),
        Err(_) => State::Done(Some(catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(what, &*panic))))),
    };
    Blocking { what, state }
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
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(value))),
        Err(_) => drop(value),
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
