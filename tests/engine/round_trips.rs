//! How many round trips a change of a ref takes among many refs: requests that wait for each other, not requests.

use std::sync::Arc;

use firnline::storage::fault::{Call, Fault, Faulty};
use firnline::storage::{Observed, Storage};
use firnline::{OpenOptions, RefName, Repository};
use tokio::sync::watch;

use crate::support::{World, key};

/// How many branches there are, each with a commit of its own.
const BRANCHES: u64 = 100;

/// A network on which every request takes one tick.
struct Network {
    ticks: Arc<watch::Sender<u64>>,
    observed: Arc<Observed>,
    repository: Repository,
}

impl Network {
    async fn new(world: &World) -> Self {
        let ticks = Arc::new(watch::Sender::new(0));
        let clock = ticks.clone();
        let plan = move |_: &Call<'_>| {
            let mut now = clock.subscribe();
            let sent = *now.borrow_and_update();
            Fault::Wait(Box::pin(async move { drop(now.wait_for(|now| *now > sent).await) }))
        };
        let observed = Arc::new(Observed::new(Arc::new(Faulty::new(world.storage.clone(), plan))));
        let storage: Arc<dyn Storage> = observed.clone();
        let options = OpenOptions::default().clock(world.clock.clone()).without_pauses();
        let open = tokio::spawn(Repository::open_storage(storage, options));
        Self::drive(&ticks, open).await.0.map(|repository| Self { ticks, observed, repository }).unwrap()
    }

    /// Runs a task to its end; lets time pass only when no task can go on without it. Returns the ticks it took.
    async fn drive<T>(ticks: &watch::Sender<u64>, task: tokio::task::JoinHandle<T>) -> (T, u64) {
        let before = *ticks.borrow();
        while !task.is_finished() {
            for _ in 0..2_000 {
                tokio::task::yield_now().await;
            }
            ticks.send_modify(|now| *now += 1);
        }
        (task.await.unwrap(), *ticks.borrow() - before)
    }
}

/// The refs, and the snapshots that they name, used to be read one after another: two round trips for each of them.
#[tokio::test]
async fn a_ref_among_many_is_changed_in_a_few_round_trips() {
    let world = World::new().await;
    let first = world.put("a", "1").await;
    world.put("a", "2").await;
    for n in 0..BRANCHES {
        let name: RefName = format!("b/{n}").parse().unwrap();
        world.repository.create_branch(&name, &first).await.unwrap();
        let session = world.repository.write(name.as_str()).await.unwrap();
        session.set(&key("own"), format!("{n}")).await.unwrap();
        session.commit("its own").await.unwrap();
    }
    let network = Network::new(&world).await;
    let before = network.observed.counts();
    let repository = network.repository.clone();
    let work = tokio::spawn(async move {
        let target = repository.read("main~1").await.unwrap();
        repository.create_branch(&"new".parse().unwrap(), &target).await.unwrap();
    });
    let ((), round_trips) = Network::drive(&network.ticks, work).await;
    let requests = network.observed.counts().since(&before).requests();
    assert!(requests > BRANCHES, "every ref is read: {requests} requests");
    assert!(round_trips < 30, "{round_trips} round trips for {requests} requests");

    let repository = network.repository.clone();
    let listing = tokio::spawn(async move { repository.branches().await.unwrap().len() as u64 });
    let (listed, round_trips) = Network::drive(&network.ticks, listing).await;
    assert_eq!(listed, BRANCHES + 2);
    assert!(round_trips < 15, "{round_trips} round trips for a listing");
}
