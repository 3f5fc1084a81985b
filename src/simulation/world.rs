//! One world: a clock that goes on only when nobody can go on, and everything that happens in it, in one order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::BoxFuture;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::coverage::{Coverage, Fired};
use super::network::Weather;
use super::oracle::Oracle;
use super::store::Objects;
use crate::ambient::Ambient;
use crate::maintenance::SimulatedGcClock;
use crate::time::{Clock, Timestamp};

/// The moment at which every world begins, in microseconds since 1970.
const BEGIN: i64 = 1_700_000_000_000_000;
/// How much faster the clocks of collectors run than the world, so that leases and waits take little of its time.
pub(super) const SCALE: u32 = 20;
/// How much happens at most before a world counts as stuck.
const MOST_EVENTS: u64 = 400_000;

type Event = Box<dyn FnOnce(&mut State) + Send>;

/// A world. Handles share it.
pub(super) struct World(Mutex<State>);

/// Everything that is there.
pub(super) struct State {
    /// Microseconds since the beginning.
    pub(super) now: u64,
    next: u64,
    order: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    /// Decides everything that chance decides outside of the processes.
    pub(super) random: SmallRng,
    pub(super) store: Objects,
    pub(super) oracle: Oracle,
    pub(super) coverage: Coverage,
    pub(super) weather: Weather,
    pub(super) processes: Vec<ProcessState>,
    trace: u64,
    happened: u64,
    /// How often in a row there was nothing that could happen.
    idle: u32,
    /// Whether everything is printed.
    pub(super) prints: bool,
    /// Who waits for the end of everything.
    pub(super) waiter: Option<Waker>,
}

/// What the network knows of a process.
#[derive(Debug, Clone, Default)]
pub(super) struct ProcessState {
    /// Raised by each end of the process: handles of earlier lives send nothing any more.
    pub(super) life: u64,
    /// Until when it stands still.
    pub(super) paused_until: u64,
    /// Until when it reaches nothing.
    pub(super) cut_off_until: u64,
    /// The operation that it carries out.
    pub(super) operation: Option<usize>,
}

impl World {
    pub(super) fn new(seed: u64, store: Objects, oracle: Oracle, weather: Weather, processes: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            now: 0,
            next: 0,
            order: BinaryHeap::new(),
            events: BTreeMap::new(),
            random: SmallRng::seed_from_u64(seed),
            store,
            oracle,
            coverage: Coverage::default(),
            weather,
            processes: vec![ProcessState::default(); processes],
            trace: seed,
            happened: 0,
            idle: 0,
            prints: false,
            waiter: None,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the next thing happen: called when nobody can go on.
    pub(super) fn step(&self) {
        let mut state = self.lock();
        if let Some(Reverse((at, number))) = state.order.pop() {
            state.idle = 0;
            state.now = state.now.max(at);
            state.happened += 1;
            if let Some(event) = state.events.remove(&number) {
                event(&mut state);
            }
            if state.happened > MOST_EVENTS {
                state.oracle.violated("the world does not come to an end".to_owned());
            }
        } else {
            state.idle += 1;
        }
        // Whoever waits for the end may have been woken, and not have been asked yet.
        if state.idle > 2 {
            state.oracle.violated("nothing happens any more".to_owned());
        }
        // The thread must not park: there is no other that would wake it.
        if let Some(waiter) = &state.waiter {
            waiter.wake_by_ref();
        }
    }

    /// Waits so many microseconds.
    pub(super) fn sleep(&self, micros: u64) -> BoxFuture<'static, ()> {
        let (sender, receiver) = oneshot::channel();
        self.lock().after(micros, |_| {
            let _gone = sender.send(());
        });
        Box::pin(async move {
            if receiver.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

impl State {
    /// Lets something happen so many microseconds from now.
    pub(super) fn after(&mut self, micros: u64, event: impl FnOnce(&mut Self) + Send + 'static) {
        let number = self.next;
        self.next += 1;
        self.order.push(Reverse((self.now + micros, number)));
        self.events.insert(number, Box::new(event));
    }

    /// Notes that something happened, so that two runs can be compared.
    pub(super) fn note(&mut self, what: fmt::Arguments<'_>) {
        let line = format!("{} {what}", self.now);
        if self.prints {
            eprintln!("{line}");
        }
        self.trace = xxh3_64_with_seed(line.as_bytes(), self.trace);
    }

    /// The hash of everything that was noted.
    pub(super) const fn trace(&self) -> u64 {
        self.trace
    }

    /// Whether a chance of so many of a thousand comes true.
    pub(super) fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.random.random_range(0..1000) < permille
    }

    /// Counts something that went wrong, by what was under way.
    pub(super) fn fired(&mut self, what: Fired) {
        let (commit, collection) = (self.is_committing(), self.is_collecting());
        self.coverage.fired(what, commit, collection);
    }

    fn is_committing(&self) -> bool {
        self.processes.iter().filter_map(|process| process.operation).any(|at| self.oracle.is_commit(at))
    }

    fn is_collecting(&self) -> bool {
        self.store.is_collecting || self.processes.iter().filter_map(|process| process.operation).any(|at| self.oracle.is_collection(at))
    }

    /// The present moment by a clock that is right.
    pub(super) fn time(&self) -> Timestamp {
        Timestamp::from_micros(BEGIN).plus(Duration::from_micros(self.now))
    }
}

/// What the code of the engine takes for its surroundings.
///
/// Has its own source of random numbers, because the oracle uses code of the engine while it holds the world.
pub(super) struct Surroundings {
    world: Arc<World>,
    random: Mutex<SmallRng>,
}

impl Surroundings {
    pub(super) fn new(world: &Arc<World>) -> Arc<Self> {
        let seed = world.lock().random.random();
        Arc::new(Self { world: Arc::clone(world), random: Mutex::new(SmallRng::seed_from_u64(seed)) })
    }
}

impl Ambient for Surroundings {
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.world.sleep(micros(time))
    }

    fn steady(&self) -> Duration {
        Duration::from_micros(self.world.lock().now)
    }

    fn random(&self) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).random()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 2)
}

/// The clock of one process, which is a little wrong.
pub(super) struct SkewedClock {
    pub(super) world: Arc<World>,
    pub(super) ahead: i64,
}

impl fmt::Debug for SkewedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SkewedClock")
    }
}

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.world.lock().time().micros() + self.ahead)
    }
}

/// The clock by which a collector waits.
pub(super) struct ScaledClock(pub(super) Arc<World>);

impl fmt::Debug for ScaledClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScaledClock")
    }
}

impl SimulatedGcClock for ScaledClock {
    fn now(&self) -> Duration {
        Duration::from_micros(self.0.lock().now) * SCALE
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        // One microsecond more, so that rounding never ends a wait too early.
        self.0.sleep(micros(time / SCALE) + 1)
    }
}
