//! Writers and collectors at random, on a store that lets them run in any order and loses answers.

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::error::ErrorKind;
use crate::storage::fault::{Rates, seeded};

/// What a writer was told: the value of a key of its own in the last commit that was acknowledged.
type Told = Vec<(String, u8, Snapshot)>;

async fn write(world: &World, seed: u64, who: usize) -> Told {
    let mut random = SmallRng::seed_from_u64(seed * 31 + who as u64);
    let rates = Rates { before: 5, after: 5, twice: 5, wait: 300 };
    let faulty = Faulty::new(Arc::new(world.memory.clone()), seeded(seed * 7 + who as u64, rates));
    let repository = Repository::open_storage(Arc::new(faulty), OpenOptions::default().without_pauses()).await;
    let Ok(repository) = repository else { return Vec::new() };
    let mut told = Told::new();
    for turn in 0..12_u32 {
        let branch = if random.random_bool(0.7) { "main" } else { "side" };
        let Ok(session) = repository.write(branch).await else { continue };
        let mut last = None;
        for _ in 0..random.random_range(1..4) {
            // Few values, so that names recur: as garbage, condemned, and needed again.
            let (at, byte) = (format!("{who}/{}", random.random_range(0..3)), random.random_range(20..26));
            if session.set(&key(&at), value(byte)).await.is_ok() {
                last = Some((at, byte));
            }
        }
        if random.random_bool(0.3) {
            // An interrupted writer: its chunks are garbage.
            drop(session.flush().await);
            continue;
        }
        let Some((at, byte)) = last else { continue };
        match session.commit(format!("{who} {turn}")).await {
            Ok(snapshot) => told.push((at, byte, snapshot)),
            Err(failed) => {
                assert!(matches!(failed.kind(), ErrorKind::Conflict | ErrorKind::Unavailable | ErrorKind::OutcomeUnknown), "{failed}");
            }
        }
    }
    told
}

async fn collect(world: &World, seed: u64) -> u64 {
    let rates = Rates { before: 5, after: 5, twice: 5, wait: 200 };
    let faulty = Faulty::new(Arc::new(world.memory.clone()), seeded(seed * 13, rates));
    let repository = Repository::open_storage(Arc::new(faulty), OpenOptions::default().without_pauses()).await;
    let Ok(repository) = repository else { return 0 };
    let mut removed = 0;
    for _ in 0..6 {
        match repository.gc(&world.options()).await {
            Ok(report) => removed += report.removed.values().map(|counts| counts.objects).sum::<u64>(),
            Err(e) => assert!(matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Locked | ErrorKind::OutcomeUnknown), "{e}"),
        }
        settle().await;
    }
    removed
}

#[tokio::test]
async fn no_acknowledged_commit_is_lost_beside_collections() {
    let (mut commits, mut removed) = (0, 0);
    for seed in 0..u64::from(crate::testing::property_cases(120)) {
        let world = World::new().await;
        world.repository.create_branch(&name("side"), &world.repository.read("main").await.unwrap()).await.unwrap();
        let (told, other, third, gone) =
            tokio::join!(write(&world, seed, 0), write(&world, seed, 1), write(&world, seed, 2), collect(&world, seed));
        // The last collection may have been interrupted.
        world.gc().await;
        world.verify().await;
        let fresh = Repository::open_storage(Arc::new(world.memory.clone()), OpenOptions::default()).await.unwrap();
        for (at, byte, snapshot) in told.iter().chain(&other).chain(&third) {
            let read = fresh.read(&snapshot.id().to_string()).await.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_eq!(read.get(&key(at)).await.unwrap().as_deref(), Some(value(*byte).as_slice()), "seed {seed}: {at}");
        }
        commits += told.len() + other.len() + third.len();
        removed += gone;
    }
    assert!(commits > 50 && removed > 50, "{commits} commits, {removed} objects removed");
}
