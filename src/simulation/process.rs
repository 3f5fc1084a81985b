//! Processes that end at any await, and begin again.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::future::BoxFuture;

use super::actors::{Actor, Remembered, Role};
use super::coverage::Fired;
use super::operations::Answer;
use super::world::World;
use crate::session::PublishState;

/// A future that is dropped at one of its awaits.
struct Mortal {
    inner: BoxFuture<'static, ()>,
    /// How many awaits are left; `None`: it lives to its end.
    left: Option<u64>,
}

impl Future for Mortal {
    /// Whether it has come to its end.
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        if self.inner.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        match &mut self.left {
            Some(0) => Poll::Ready(false),
            Some(left) => {
                *left -= 1;
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }
}

/// Runs a process, which ends at these awaits of its first lives, until it has done everything.
pub(super) async fn run(world: Arc<World>, process: usize, role: Role, remembered: Arc<Mutex<Remembered>>, ends: Vec<u64>) {
    let mut ends = ends.into_iter();
    loop {
        let life = world.lock().processes[process].life;
        let actor = Actor { world: Arc::clone(&world), process, life, remembered: Arc::clone(&remembered) };
        let has_ended = Mortal { inner: Box::pin(actor.clone().live(role)), left: ends.next() }.await;
        if has_ended {
            world.lock().processes[process].operation = None;
            return;
        }
        end_life(&world, &actor);
        world.sleep(u64::from(actor.draw(5_000)) * 1_000).await;
    }
}

/// What its end leaves: requests on their way, and perhaps a commit whose outcome is not known.
fn end_life(world: &World, actor: &Actor) {
    let state = &mut *world.lock();
    state.note(format_args!("process {} ends", actor.process));
    let committing = actor.memory(|remembered| remembered.committing.take()).map(|(at, handle)| (at, handle.state()));
    state.fired(if matches!(committing, Some((_, PublishState::Sent(_)))) { Fired::CrashWhileSent } else { Fired::Crash });
    let process = &mut state.processes[actor.process];
    process.life += 1;
    (process.paused_until, process.cut_off_until, process.operation) = (0, 0, None);
    match committing {
        None => {}
        Some((at, PublishState::NotSent)) => state.oracle.answered(at, Answer::Refused),
        Some((at, PublishState::Committed(id))) => state.oracle.answered(at, Answer::Committed(id)),
        Some((at, PublishState::Sent(pending))) => actor.memory(|remembered| remembered.unsettled = Some((at, pending))),
    }
}
