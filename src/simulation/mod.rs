//! A deterministic simulation: several processes on one store, in which everything that can go wrong does.
//!
//! One seed is one world. Its processes run on one thread, with the code that everybody runs; the clock, the network and chance are the
//! world's. Whatever happens is compared at that moment with what must be true ([`oracle`]), and what processes are told with what has
//! happened ([`operations`]).
//!
//! | variable | |
//! |---|---|
//! | `FIRN_SIMULATIONS` | how many worlds |
//! | `FIRN_SIMULATION_SEED` | only this one, and everything that happens in it is printed |

mod actors;
mod coverage;
mod network;
mod operations;
mod oracle;
mod process;
mod readers;
mod store;
mod tests;
mod world;

use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Builder;

use self::actors::{Actor, Remembered, Role, key, value};
use self::coverage::Coverage;
use self::network::{Line, Weather};
use self::oracle::Oracle;
use self::store::Objects;
use self::world::{SkewedClock, Surroundings, World};
use crate::ambient::install;
use crate::handle::{CreateOptions, OpenOptions, Repository};

/// What a world began as.
#[derive(Debug, Clone, Default)]
struct Beginning {
    store: Objects,
    oracle: Oracle,
    now: u64,
}

/// What became of a world.
#[derive(Debug)]
struct Ended {
    /// The first thing that was wrong.
    violation: Option<String>,
    /// The hash of everything that happened.
    trace: u64,
    coverage: Coverage,
}

/// Runs `main` in a world until it ends, or something is wrong.
fn run(world: &Arc<World>, main: impl Future<Output = ()> + Send) {
    let hook = Arc::clone(world);
    let runtime = Builder::new_current_thread().on_thread_park(move || hook.step()).build().unwrap();
    let _installed = install(Surroundings::new(world));
    runtime.block_on(async {
        let mut main = pin!(main);
        std::future::poll_fn(|context| {
            let is_wrong = {
                let state = &mut *world.lock();
                state.waiter = Some(context.waker().clone());
                state.oracle.violation.is_some()
            };
            if is_wrong { Poll::Ready(()) } else { main.as_mut().poll(context) }
        })
        .await;
    });
}

/// A repository with two branches, one of which has had so many moves that the next one needs a block, and some garbage. Made once.
fn beginning() -> Beginning {
    static MADE: OnceLock<Mutex<Beginning>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let world = World::new(0, Objects::default(), Oracle::default(), Weather::default(), 1);
        run(&world, make(Arc::clone(&world)));
        let state = &mut *world.lock();
        assert_eq!(state.oracle.violation, None);
        state.oracle.landed.clear();
        Mutex::new(Beginning { store: state.store.clone(), oracle: state.oracle.clone(), now: state.now })
    });
    made.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn make(world: Arc<World>) {
    let line = Line { world: Arc::clone(&world), process: 0, life: 0 };
    let clock = Arc::new(SkewedClock { world: Arc::clone(&world), ahead: 0 });
    let options = CreateOptions::from(OpenOptions::default().clock(clock));
    let repository = Repository::create_storage(Arc::new(line), options).await.unwrap();
    let mut versions = Vec::new();
    for byte in 20..22 {
        let session = repository.write("main").await.unwrap();
        session.set(&key("s/0"), value(byte)).await.unwrap();
        versions.push(session.commit("first").await.unwrap());
    }
    let side = "side".parse().unwrap();
    repository.create_branch(&side, &versions[0]).await.unwrap();
    for turn in 1..15 {
        repository.reset(&side, &versions[turn % 2]).await.unwrap();
    }
    for byte in 21..24 {
        let session = repository.write("main").await.unwrap();
        session.set(&key("left"), value(byte)).await.unwrap();
        session.flush().await.unwrap();
    }
}

/// What a world has more of than others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Emphasis {
    /// Everything.
    Everything,
    /// Collectors that stand still and take over from each other.
    TakeOvers,
    /// Refs that are made, moved and deleted.
    Moves,
    /// Requests that arrive late.
    Lateness,
}

/// How bad the network is in a world. Each kind of trouble is absent in some worlds, and frequent in others.
fn weather(random: &mut SmallRng, emphasis: Emphasis) -> Weather {
    let mut rate = |most: u32| match random.random_range(0..4) {
        0 | 1 => 0,
        2 => most.div_ceil(4),
        _ => most,
    };
    let weather = Weather {
        before: rate(15),
        after: rate(25),
        late: rate(25),
        twice: rate(40),
        echo: rate(60),
        busy: rate(15),
        rejected: rate(20),
        not_sent: rate(30),
        slow: rate(150),
        stale: rate(500),
        pause: rate(10),
        cut_off: rate(100),
    };
    match emphasis {
        Emphasis::Everything | Emphasis::Moves => weather,
        Emphasis::TakeOvers => Weather { pause: 25, echo: 60, before: 0, busy: 0, cut_off: 0, ..weather },
        Emphasis::Lateness => Weather { late: 80, echo: 150, slow: 150, before: 0, busy: 0, pause: 0, ..weather },
    }
}

/// Lives of a process that end early: at which await.
fn ends(random: &mut SmallRng) -> Vec<u64> {
    let lives = [0, 0, 1, 2][random.random_range(0..4)];
    (0..lives).map(|_| random.random_range(0..200)).collect()
}

/// Runs the world of a seed.
fn simulate(seed: u64, prints: bool) -> Ended {
    let emphasis = match seed % 8 {
        0..4 => Emphasis::Everything,
        4 | 5 => Emphasis::TakeOvers,
        6 => Emphasis::Moves,
        _ => Emphasis::Lateness,
    };
    simulate_with(seed, emphasis, prints)
}

/// Runs the world of a seed with some emphasis.
fn simulate_with(seed: u64, emphasis: Emphasis, prints: bool) -> Ended {
    let Beginning { store, oracle, now } = beginning();
    let mut random = SmallRng::seed_from_u64(seed ^ 0x5eed);
    let weather = weather(&mut random, emphasis);
    let (writers, collectors) = match emphasis {
        Emphasis::TakeOvers => (random.random_range(1..=2), random.random_range(2..=3)),
        _ => (random.random_range(1..=3), random.random_range(1..=2)),
    };
    let mut roles = vec![Role::Writer; writers];
    roles.extend(vec![Role::Collector; collectors]);
    if random.random_range(0..3) == 0 {
        roles.push(if random.random_range(0..4) == 0 { Role::Verifier } else { Role::Reader });
    }
    let world = World::new(seed, store, oracle, weather, roles.len() + 1);
    {
        let state = &mut *world.lock();
        (state.now, state.prints) = (now, prints);
    }
    let lives: Vec<_> = roles
        .iter()
        .enumerate()
        .map(|(process, role)| {
            let turns = match role {
                Role::Writer => random.random_range(2..=6),
                Role::Collector => random.random_range(1..=3),
                Role::Reader | Role::Verifier => 2,
            };
            let remembered = Remembered::new(random.random(), turns, (emphasis == Emphasis::Moves, emphasis == Emphasis::TakeOvers));
            process::run(Arc::clone(&world), process, *role, remembered, ends(&mut random))
        })
        .collect();
    run(&world, live(Arc::clone(&world), lives, roles.len(), seed.is_multiple_of(4)));
    let state = &mut *world.lock();
    state.coverage.worlds = 1;
    let violation = state.oracle.violation.take().map(|what| format!("seed {seed}, after {} µs: {what}", state.now));
    Ended { violation, trace: state.trace(), coverage: std::mem::take(&mut state.coverage) }
}

/// Lets all processes live, then whatever is on its way arrive. At last a collection ends what others have left, and everything is verified.
async fn live(world: Arc<World>, lives: Vec<impl Future<Output = ()> + Send + 'static>, last: usize, verifies: bool) {
    let lives: Vec<_> = lives.into_iter().map(tokio::spawn).collect();
    for life in lives {
        if let Err(ended) = life.await {
            world.lock().oracle.violated(format!("a process panicked: {ended}"));
        }
    }
    world.lock().weather = Weather::default();
    world.sleep(120_000_000).await;
    if !verifies {
        return;
    }
    let actor = Actor { world: Arc::clone(&world), process: last, life: 0, remembered: Remembered::new(0, 3, (false, false)) };
    for role in [Role::Collector, Role::Verifier] {
        actor.memory(|remembered| remembered.left = 1);
        actor.clone().live(role).await;
    }
    actor.memory(|remembered| remembered.left = 4);
    actor.live(Role::Reader).await;
}
