//! The latest common ancestors of two versions.

use std::collections::{BTreeMap, BTreeSet};

use firnline::storage::{Memory, Observed};
use firnline::{Access, CreateOptions, ErrorKind, ImportTarget, MergeOptions, OnConflict, OpenOptions, Repository, Snapshot, SnapshotId};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::conflicts::Do::Set;
use crate::conflicts::chunk;
use crate::limits::count;
use crate::merging::{commit, is_sound, name, tree};
use crate::support::World;

/// A random graph of commits and merges: the answer against its definition.
#[tokio::test]
async fn common_ancestors_are_those_of_the_graph() {
    let (mut several, mut asked) = (0, 0);
    for seed in 0..count("FIRN_GRAPHS", 6, 100) {
        let mut random = SmallRng::seed_from_u64(seed);
        let world = World::new().await;
        let root = world.repository.read("main").await.unwrap();
        let mut behind: BTreeMap<SnapshotId, BTreeSet<SnapshotId>> = BTreeMap::from([(root.id(), BTreeSet::from([root.id()]))]);
        let branches = ["main", "a", "b", "c"];
        for branch in &branches[1..] {
            world.repository.create_branch(&name(branch), &root).await.unwrap();
        }
        let mut all = vec![root];
        for n in 0..40 {
            let into = branches[random.random_range(0..branches.len())];
            let before = world.repository.read(into).await.unwrap();
            let other = all[random.random_range(0..all.len())].clone();
            let is_merge = random.random_ratio(1, 2) && !behind[&before.id()].contains(&other.id());
            let made = if is_merge {
                // From any base: what is merged does not matter here.
                let options = MergeOptions::default().on_conflict(OnConflict::Ours).base(before.clone());
                world.repository.merge(&name(into), &other, options).await.unwrap().commit().await.unwrap().snapshot
            } else {
                commit(&world.repository, into, &[Set("n", n.to_string())]).await
            };
            assert_eq!(made.record().parents.len(), if is_merge { 2 } else { 1 });
            let mut ancestors = BTreeSet::from([made.id()]);
            made.record().parents.iter().for_each(|parent| ancestors.extend(&behind[parent]));
            behind.insert(made.id(), ancestors);
            all.push(made);
        }
        // Another process, which has read nothing.
        let fresh = world.reopen(Access::default()).await;
        for _ in 0..60 {
            let [a, b] = [0, 1].map(|_| all[random.random_range(0..all.len())].id());
            let common: BTreeSet<_> = behind[&a].intersection(&behind[&b]).copied().collect();
            let latest: BTreeSet<_> =
                common.iter().filter(|id| !common.iter().any(|o| o != *id && behind[o].contains(id))).copied().collect();
            let read = |id: SnapshotId| {
                let fresh = &fresh;
                async move { fresh.read_revision(&id.into()).await.unwrap() }
            };
            let found: BTreeSet<_> = read(a).await.common_ancestors(&read(b).await).await.unwrap().into_iter().collect();
            assert_eq!(found, latest, "seed {seed}");
            several += usize::from(latest.len() > 1);
            asked += 1;
        }
        is_sound(&world.repository).await;
    }
    assert!(several > asked / 50, "{several} of {asked} have several");
}

/// What lies behind the fork is not read, and a version on the line of the other is found without reading any commit between the two.
#[tokio::test]
async fn only_what_lies_on_one_side_is_read() {
    let observed = std::sync::Arc::new(Observed::new(std::sync::Arc::new(Memory::new())));
    let storage: std::sync::Arc<dyn firnline::storage::Storage> = observed.clone();
    let repository = Repository::create_storage(storage.clone(), CreateOptions::default()).await.unwrap();
    for n in 0..300 {
        commit(&repository, "main", &[Set("n", n.to_string())]).await;
    }
    let fork = repository.read("main").await.unwrap();
    repository.create_branch(&name("side"), &fork).await.unwrap();
    for n in 0..3 {
        commit(&repository, "main", &[Set("main", n.to_string())]).await;
        commit(&repository, "side", &[Set("side", n.to_string())]).await;
    }
    let mut costs = Vec::new();
    for (one, two, expected) in [("main", "side", fork.id()), ("main", "main~250", repository.read("main~250").await.unwrap().id())] {
        let fresh = Repository::open_storage(storage.clone(), OpenOptions::default()).await.unwrap();
        let (one, two) = (fresh.read(one).await.unwrap(), fresh.read(two).await.unwrap());
        let before = observed.counts();
        assert_eq!(two.common_ancestors(&one).await.unwrap(), [expected]);
        costs.push(observed.counts().since(&before).requests());
    }
    assert!(costs[0] < 60 && costs[1] < 12, "{costs:?} requests");
}

/// Carries a version, alone, into another repository.
async fn carry(from: &Snapshot, into: &Repository, branch: &str) -> Snapshot {
    let mut file = Vec::new();
    from.export_car(&mut file).await.unwrap();
    into.import_car(file.as_slice(), ImportTarget::Branch(name(branch))).await.unwrap();
    into.read(branch).await.unwrap()
}

/// Versions that came without what was before them are merged where they meet in what is here, and not where they may meet beyond.
#[tokio::test]
async fn a_history_that_is_not_here_is_not_taken_for_one_that_ends() {
    let source = World::new().await;
    source.put("start", "1").await;
    let start = source.put("start", "2").await;
    source.repository.create_branch(&name("side"), &start).await.unwrap();
    let side = commit(&source.repository, "side", &[chunk("side")]).await;
    let main = commit(&source.repository, "main", &[chunk("main")]).await;

    let there = World::new().await;
    let target = &there.repository;
    let (one, two) = (carry(&main, target, "one").await, carry(&side, target, "two").await);
    assert_eq!((one.id(), two.id()), (main.id(), side.id()));
    let refused = target.merge(&name("one"), &two, "merged").await.unwrap_err();
    assert!(refused.kind() == ErrorKind::NotFound && refused.to_string().contains(&start.id().to_string()), "{refused}");
    // Once it is here, they meet in it, although nothing before it is known.
    carry(&start, target, "start").await;
    let merged = target.merge(&name("one"), &two, "merged").await.unwrap().commit().await.unwrap().snapshot;
    assert_eq!(tree(&merged).await.keys().collect::<Vec<_>>(), ["main", "side", "start"]);
    is_sound(target).await;

    // Two repositories that have nothing in common.
    let other = World::new().await;
    let one = other.put("other", "1").await;
    let stranger = carry(&one, target, "stranger").await;
    let refused = target.merge(&name("one"), &stranger, "merged").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "its parents are not here: {refused}");
    let merged =
        target.merge(&name("one"), &stranger, MergeOptions::from("merged").base(target.read("main").await.unwrap())).await.unwrap();
    assert!(tree(&merged.commit().await.unwrap().snapshot).await.contains_key("other"));
    // From here on they have something in common, and what is not here on one side only does not hide that.
    let again = target.merge(&name("one"), &stranger, "merged").await.unwrap();
    assert_eq!(again.base, stranger.id());
    assert!(!again.commit().await.unwrap().is_new && stranger.is_behind(&target.read("one").await.unwrap()).await.unwrap());
    assert_eq!(target.fast_forward(&name("one"), &stranger).await.unwrap(), None);
    for world in [&other, &there] {
        world.clock.advance(std::time::Duration::from_hours(24));
    }
    let later = carry(&other.put("later", "1").await, target, "later").await;
    let merged = target.merge(&name("one"), &later, "merged").await.unwrap();
    assert_eq!(merged.base, stranger.id());
    assert!(tree(&merged.commit().await.unwrap().snapshot).await.contains_key("later"));
    is_sound(target).await;
}
