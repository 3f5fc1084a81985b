//! Sessions that are forked for other processes, and merged into one commit.

use std::collections::BTreeMap;

use firnline::{
    Access, CreateOptions, Entry, ErrorDetail, ErrorKind, ForkSession, Key, OpenOptions, Prefix, Repository, Snapshot, WriteSession,
};
use futures::TryStreamExt as _;

use crate::support::{World, key};

/// Another process: its own handle, made from bytes alone.
async fn resumed(world: &World, bytes: &[u8]) -> ForkSession {
    world.reopen(Access::default()).await.resume_fork(bytes).await.unwrap()
}

/// Forks a session, lets another process work in the fork, and returns what it changed.
pub(crate) async fn changes_of(world: &World, session: &WriteSession, work: impl AsyncFnOnce(&ForkSession)) -> Vec<u8> {
    let fork = resumed(world, &session.fork().await.unwrap()).await;
    work(&fork).await;
    fork.finish().await.unwrap().to_vec()
}

async fn values(snapshot: &Snapshot) -> BTreeMap<String, Vec<u8>> {
    let keys: Vec<Key> = snapshot.list(&Prefix::all()).map_ok(|(key, _)| key).try_collect().await.unwrap();
    let values = snapshot.get_many(&keys).await.unwrap();
    keys.into_iter().zip(values).map(|(key, value)| (key.to_string(), value.unwrap().to_vec())).collect()
}

/// What the session shows.
async fn shown(session: &WriteSession) -> Vec<(Key, Entry)> {
    session.list(&Prefix::all()).await.unwrap()
}

/// The names in conflict.
pub(crate) async fn refused(session: &WriteSession, changes: &[u8]) -> Vec<String> {
    let before = shown(session).await;
    let error = session.merge(changes).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    assert_eq!(shown(session).await, before, "a refused merge leaves the session as it was");
    let Some(ErrorDetail::ForkConflicts { named, more: 0 }) = error.detail() else { panic!("{error:?}") };
    assert!(named.iter().all(|name| error.to_string().contains(name)), "{error}");
    assert!(error.to_string().ends_with("give each fork its own keys, or merge it into a session of its own"), "{error}");
    named.clone()
}

#[tokio::test]
async fn forks_read_what_was_staged_and_their_changes_become_one_commit() {
    let world = World::new().await;
    world.put("old", "base").await;
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("a/zarr.json"), "{}").await.unwrap();
    session.set(&key("a/large"), vec![1; 2_000_000]).await.unwrap();
    session.delete(&key("old")).await.unwrap();
    let bytes = session.fork().await.unwrap();
    let mut all = Vec::new();
    for n in 0..3_u8 {
        let fork = resumed(&world, &bytes).await;
        assert_eq!(fork.get(&key("a/zarr.json")).await.unwrap().unwrap(), "{}");
        assert_eq!(fork.get(&key("a/large")).await.unwrap().unwrap().len(), 2_000_000);
        assert_eq!(fork.get(&key("old")).await.unwrap(), None);
        assert!(!fork.has_changes(), "what it inherited is not its own");
        fork.set(&key(&format!("a/c/{n}")), vec![n; 3000]).await.unwrap();
        fork.set(&key(&format!("a/small/{n}")), vec![n; 3]).await.unwrap();
        assert!(fork.has_changes());
        all.push(fork.finish().await.unwrap());
    }
    for changes in [2, 0, 1, 0].map(|n| &all[n]) {
        session.merge(changes).await.unwrap();
    }
    let snapshot = session.commit("together").await.unwrap();
    let found = values(&world.reopen(Access::default()).await.read(&snapshot.id().to_string()).await.unwrap()).await;
    let mut expected = BTreeMap::from([("a/zarr.json".to_owned(), b"{}".to_vec()), ("a/large".to_owned(), vec![1; 2_000_000])]);
    for n in 0..3_u8 {
        expected.insert(format!("a/c/{n}"), vec![n; 3000]);
        expected.insert(format!("a/small/{n}"), vec![n; 3]);
    }
    assert_eq!(found, expected);
    let verified = world.repository.verify(firnline::VerifyScope::Everything).await.unwrap();
    assert_eq!(verified.findings, []);
}

#[tokio::test]
async fn a_key_that_two_forks_set_differently_is_a_conflict_and_equal_values_are_not() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    let one = changes_of(&world, &session, async |fork| {
        fork.set(&key("same"), "equal").await.unwrap();
        fork.set(&key("k/9"), "one").await.unwrap();
        fork.set(&key("k/10"), vec![1; 5000]).await.unwrap();
    })
    .await;
    let two = changes_of(&world, &session, async |fork| {
        fork.set(&key("same"), "equal").await.unwrap();
        fork.set(&key("k/9"), "two").await.unwrap();
        fork.set(&key("k/10"), vec![2; 5000]).await.unwrap();
        fork.set(&key("other"), "two").await.unwrap();
    })
    .await;
    session.merge(&one).await.unwrap();
    assert_eq!(refused(&session, &two).await, ["k/10", "k/9"]);
    session.merge(&one).await.unwrap();
    let snapshot = session.commit("one").await.unwrap();
    assert_eq!(snapshot.get(&key("k/9")).await.unwrap().unwrap(), "one");
    assert_eq!(snapshot.get(&key("other")).await.unwrap(), None);
}

#[tokio::test]
async fn what_the_session_stages_after_the_fork_conflicts_and_what_it_staged_before_does_not() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("before"), "session").await.unwrap();
    session.set(&key("both"), "session").await.unwrap();
    let changes = changes_of(&world, &session, async |fork| {
        fork.set(&key("before"), "fork").await.unwrap();
        fork.set(&key("both"), "fork").await.unwrap();
        fork.set(&key("after"), "fork").await.unwrap();
    })
    .await;
    session.set(&key("after"), "session").await.unwrap();
    session.delete(&key("both")).await.unwrap();
    assert_eq!(refused(&session, &changes).await, ["after", "both"]);
    session.set(&key("after"), "fork").await.unwrap();
    // The session is back at what the fork inherited.
    session.set(&key("both"), "session").await.unwrap();
    session.merge(&changes).await.unwrap();
    for place in ["before", "both", "after"] {
        assert_eq!(session.get(&key(place)).await.unwrap().unwrap(), "fork", "{place}");
    }
}

#[tokio::test]
async fn deleted_prefixes_conflict_with_changes_below_them() {
    let world = World::new().await;
    for (place, value) in [("a/1", "base"), ("a/2", "base"), ("b/1", "base")] {
        world.put(place, value).await;
    }
    let (a, session) = (Prefix::new("a").unwrap(), world.repository.write("main").await.unwrap());
    session.set(&key("a/early"), "staged before the fork").await.unwrap();
    let deletes = changes_of(&world, &session, async |fork| {
        fork.delete_prefix(&a);
        fork.set(&key("a/new"), "after the delete").await.unwrap();
        assert_eq!(fork.list(&a).await.unwrap().len(), 1);
    })
    .await;
    let sets = changes_of(&world, &session, async |fork| fork.set(&key("a/1"), "set").await.unwrap()).await;
    let removes = changes_of(&world, &session, async |fork| assert!(fork.delete(&key("a/2")).await.unwrap())).await;

    session.merge(&removes).await.unwrap();
    session.merge(&deletes).await.unwrap();
    session.merge(&deletes).await.unwrap();
    assert_eq!(refused(&session, &sets).await, ["a/1"]);
    let snapshot = session.commit("deleted").await.unwrap();
    assert_eq!(values(&snapshot).await.into_keys().collect::<Vec<_>>(), ["a/new", "b/1"]);

    // The other way round.
    let session = world.repository.write("main").await.unwrap();
    let deletes = changes_of(&world, &session, async |fork| fork.delete_prefix(&Prefix::all())).await;
    let sets = changes_of(&world, &session, async |fork| fork.set(&key("b/1"), "set").await.unwrap()).await;
    session.merge(&sets).await.unwrap();
    assert_eq!(refused(&session, &deletes).await, ["b/1"]);
}

/// A prefix that was deleted in the session already was not deleted again in the fork, so what another fork set there stayed.
#[tokio::test]
async fn a_prefix_that_is_inherited_as_deleted_can_be_deleted_again() {
    let world = World::new().await;
    world.put("a/b/1", "base").await;
    let session = world.repository.write("main").await.unwrap();
    session.delete_prefix(&Prefix::new("a").unwrap());
    let deletes = changes_of(&world, &session, async |fork| fork.delete_prefix(&Prefix::new("a/b").unwrap())).await;
    let sets = changes_of(&world, &session, async |fork| fork.set(&key("a/b/2"), "set").await.unwrap()).await;
    session.merge(&sets).await.unwrap();
    assert_eq!(refused(&session, &deletes).await, ["a/b/2"]);
}

/// A fork that deleted everything forgot that a part of it had been deleted before, and so was in conflict with that.
#[tokio::test]
async fn a_fork_knows_what_was_deleted_before_it_deleted_more() {
    let world = World::new().await;
    world.put("a/b/1", "base").await;
    let session = world.repository.write("main").await.unwrap();
    session.delete_prefix(&Prefix::new("a/b").unwrap());
    let changes = changes_of(&world, &session, async |fork| {
        fork.delete_prefix(&Prefix::all());
        fork.set(&key("a/b/1"), "fork").await.unwrap();
    })
    .await;
    session.merge(&changes).await.unwrap();
    assert_eq!(values(&session.commit("anew").await.unwrap()).await, [("a/b/1".to_owned(), b"fork".to_vec())].into());
}

/// Deleted prefixes are compared in one pass, which skips what lies between them, before and after them.
#[tokio::test]
async fn many_deleted_prefixes_are_compared_with_what_is_below_each() {
    let world = World::new().await;
    let place = tempfile::tempdir().unwrap();
    let options = OpenOptions::default().clock(world.clock.clone()).staged_bytes(20_000).scratch(place.path());
    let small = Repository::open_storage(world.storage.clone(), options).await.unwrap();
    let session = small.write("main").await.unwrap();
    session.set(&key("g/6/inherited"), "session").await.unwrap();
    let changes = changes_of(&world, &session, async |fork| {
        for n in 0..2000 {
            fork.delete_prefix(&Prefix::new(&format!("g/{}", 2 * n)).unwrap());
        }
        fork.set(&key("g/8/same"), "equal").await.unwrap();
    })
    .await;
    // Every third directory has keys, in runs on disk and in memory. Two keys of those that were deleted are what the fork left.
    let mut expected = Vec::new();
    for n in (0..4100).step_by(3) {
        for at in [format!("g/{n}/0"), format!("g/{n}/9/1"), format!("g/{n}0")] {
            session.set(&key(&at), "session").await.unwrap();
            if n % 2 == 0 && n < 4000 && at.contains(&format!("/{n}/")) {
                expected.push(at);
            }
        }
    }
    session.set(&key("a"), "before all").await.unwrap();
    session.set(&key("z"), "after all").await.unwrap();
    session.set(&key("g/8/same"), "equal").await.unwrap();
    let error = session.merge(&changes).await.unwrap_err();
    let Some(ErrorDetail::ForkConflicts { named, more: 0 }) = error.detail() else { panic!("{error:?}") };
    let mut found = named.clone();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    for at in expected {
        session.delete(&key(&at)).await.unwrap();
    }
    session.merge(&changes).await.unwrap();
    assert_eq!(session.get(&key("g/6/inherited")).await.unwrap(), None);
    assert_eq!(session.get(&key("g/3/0")).await.unwrap().unwrap(), "session");
    assert_eq!(session.get(&key("g/8/same")).await.unwrap().unwrap(), "equal");
}

/// The same changes stage themselves anew once something else has brought their places back.
#[tokio::test]
async fn the_same_changes_are_staged_again_where_another_fork_took_them_back() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("a"), "old").await.unwrap();
    let one = changes_of(&world, &session, async |fork| fork.set(&key("a"), "new").await.unwrap()).await;
    session.merge(&one).await.unwrap();
    let back = changes_of(&world, &session, async |fork| fork.set(&key("a"), "old").await.unwrap()).await;
    session.merge(&back).await.unwrap();
    session.merge(&one).await.unwrap();
    assert_eq!(session.get(&key("a")).await.unwrap().unwrap(), "new");
    session.set(&key("a"), "other").await.unwrap();
    assert_eq!(refused(&session, &one).await, ["a"]);
}

#[tokio::test]
async fn a_fork_can_be_forked_and_merges_the_changes_of_its_forks() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    session.set(&key("a"), "session").await.unwrap();
    let changes = changes_of(&world, &session, async |fork| {
        fork.set(&key("b"), "fork").await.unwrap();
        let inner = changes_of(&world, fork, async |inner| {
            assert_eq!(inner.get(&key("a")).await.unwrap().unwrap(), "session");
            assert_eq!(inner.get(&key("b")).await.unwrap().unwrap(), "fork");
            inner.set(&key("b"), "inner").await.unwrap();
            inner.set(&key("c"), "inner").await.unwrap();
        })
        .await;
        fork.merge(&inner).await.unwrap();
    })
    .await;
    session.merge(&changes).await.unwrap();
    let snapshot = session.commit("three levels").await.unwrap();
    let found = values(&snapshot).await;
    assert_eq!(found, [("a", "session"), ("b", "inner"), ("c", "inner")].map(|(k, v)| (k.to_owned(), v.as_bytes().to_vec())).into());
}

#[tokio::test]
async fn a_merged_session_is_rebased_like_any_other() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    let changes = changes_of(&world, &session, async |fork| fork.set(&key("a/c/0"), vec![1; 2000]).await.unwrap()).await;
    let late = changes_of(&world, &session, async |fork| fork.set(&key("a/c/1"), vec![1; 2000]).await.unwrap()).await;
    session.merge(&changes).await.unwrap();
    world.put("b", "another writer").await;
    let snapshot = session.commit("rebased").await.unwrap();
    assert_eq!(values(&snapshot).await.into_keys().collect::<Vec<_>>(), ["a/c/0", "b"]);

    // The next session has another base.
    let session = world.repository.write("main").await.unwrap();
    let error = session.merge(&late).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("they were made on snapshot"), "{error}");
}

#[tokio::test]
async fn changes_of_something_else_are_refused_by_name() {
    let (world, other) = (World::new().await, World::new().await);
    let session = world.repository.write("main").await.unwrap();
    let fork = session.fork().await.unwrap();
    let changes = changes_of(&world, &session, async |fork| fork.set(&key("a"), "x").await.unwrap()).await;
    let refused = |error: firnline::Error, kind, words: &str| {
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let options = CreateOptions::from(OpenOptions::default().clock(other.clock.clone())).hash(firnline::HashAlgorithm::Blake3);
    let hashed = Repository::create_storage(std::sync::Arc::new(firnline::storage::Memory::new()), options).await.unwrap();
    // The two worlds were created at the same moment, so that even their root snapshots are alike.
    other.clock.advance(std::time::Duration::from_secs(1));
    let other = Repository::create_storage(
        std::sync::Arc::new(firnline::storage::Memory::new()),
        CreateOptions::from(OpenOptions::default().clock(other.clock.clone())),
    )
    .await
    .unwrap();
    refused(
        other.resume_fork(&fork).await.unwrap_err(),
        ErrorKind::Invalid,
        "another repository wrote the description of a fork: it was created at",
    );
    refused(
        other.write("main").await.unwrap().merge(&changes).await.unwrap_err(),
        ErrorKind::Invalid,
        "another repository wrote the changes of a fork",
    );
    refused(hashed.resume_fork(&fork).await.unwrap_err(), ErrorKind::Invalid, "its hash is sha2-256, that of this one blake3");
    refused(world.repository.resume_fork(&changes).await.unwrap_err(), ErrorKind::Invalid, "these bytes are the changes of a fork");
    refused(session.merge(&fork).await.unwrap_err(), ErrorKind::Invalid, "these bytes are the description of a fork");
    refused(session.merge(b"").await.unwrap_err(), ErrorKind::Corrupt, "the changes of a fork");
    refused(session.merge(&changes[..changes.len() - 1]).await.unwrap_err(), ErrorKind::Corrupt, "the changes of a fork");
    let mut newer = changes.clone();
    let version = 1 + 1 + "firnline changes".len();
    assert_eq!(newer[version], 1);
    newer[version] = 2;
    refused(session.merge(&newer).await.unwrap_err(), ErrorKind::Unsupported, "version 2; this build knows 1");
    let main = world.repository.read("main").await.unwrap();
    world.repository.create_branch(&"two".parse().unwrap(), &main).await.unwrap();
    let two = world.repository.write("two").await.unwrap();
    refused(two.merge(&changes).await.unwrap_err(), ErrorKind::Invalid, "they belong on branch main, the session on two");
    let read_only = Repository::open_storage(world.storage.clone(), OpenOptions::default().read_only()).await.unwrap();
    refused(read_only.resume_fork(&fork).await.unwrap_err(), ErrorKind::Invalid, "opened for reading");
    let dry = world.repository.dry_run("main").await.unwrap();
    refused(dry.fork().await.unwrap_err(), ErrorKind::Invalid, "dry run");
}

/// The fork's chunks lie in a copy of the repository, which looks the same in every other way.
#[tokio::test]
async fn changes_whose_chunks_lie_elsewhere_are_refused() {
    let (world, copy) = (World::new().await, World::new().await);
    let session = world.repository.write("main").await.unwrap();
    let there = copy.repository.write("main").await.unwrap();
    let changes = changes_of(&copy, &there, async |fork| fork.set(&key("a"), vec![1; 5000]).await.unwrap()).await;
    let error = session.merge(&changes).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert!(error.to_string().contains("a copy of the repository"), "{error}");
    assert!(session.is_unchanged());
}

#[tokio::test]
async fn many_changes_are_stored_in_the_repository_and_named_in_the_bytes() {
    let world = World::new().await;
    let place = tempfile::tempdir().unwrap();
    let options = OpenOptions::default().clock(world.clock.clone()).staged_bytes(100_000).scratch(place.path());
    let small = Repository::open_storage(world.storage.clone(), options).await.unwrap();
    let session = small.write("main").await.unwrap();
    // Each has 20,000 keys, half of which the other has too.
    let many = |from: usize| (from..from + 20_000).map(move |n| key(&format!("a/c/{}/{n}", n % 3)));
    for at in many(0) {
        session.set(&at, at.to_string()).await.unwrap();
    }
    session.delete_prefix(&Prefix::new("gone").unwrap());
    let bytes = session.fork().await.unwrap();
    assert!(bytes.len() < 2000, "{} bytes", bytes.len());
    let fork = small.resume_fork(&bytes).await.unwrap();
    for at in many(10_000) {
        fork.set(&at, format!("fork {at}")).await.unwrap();
    }
    let changes = fork.finish().await.unwrap();
    assert!(changes.len() < 2000, "{} bytes", changes.len());
    session.merge(&changes).await.unwrap();
    session.merge(&changes).await.unwrap();
    let conflict = changes_of(&world, &session, async |fork| fork.set(&key("a/c/2/20000"), "inherits the merge").await.unwrap()).await;
    session.merge(&conflict).await.unwrap();
    assert_eq!(refused(&session, &changes).await, ["a/c/2/20000"]);
    let snapshot = session.commit("many").await.unwrap();
    let found = values(&snapshot).await;
    let mut expected: BTreeMap<_, _> = many(0).map(|at| (at.to_string(), at.to_string().into_bytes())).collect();
    expected.extend(many(10_000).map(|at| (at.to_string(), format!("fork {at}").into_bytes())));
    expected.insert("a/c/2/20000".to_owned(), b"inherits the merge".to_vec());
    assert_eq!(found, expected);
}

/// A list of conflicts is bounded, and the rest is counted.
#[tokio::test]
async fn many_conflicts_are_listed_up_to_a_limit() {
    let world = World::new().await;
    let session = world.repository.write("main").await.unwrap();
    let of = async |value: &'static str| {
        changes_of(&world, &session, async |fork| {
            for n in 0..10_050 {
                fork.set(&key(&format!("k/{n}")), value).await.unwrap();
            }
        })
        .await
    };
    let (one, two) = (of("one").await, of("two").await);
    session.merge(&one).await.unwrap();
    let error = session.merge(&two).await.unwrap_err();
    let Some(ErrorDetail::ForkConflicts { named, more }) = error.detail() else { panic!("{error:?}") };
    assert_eq!((named.len(), *more), (10_000, 50));
    assert!(error.to_string().contains("and 10042 more"), "{error}");
}

/// A policy keeps or drops a move as a whole, also one that a fork made.
#[tokio::test]
async fn moves_of_a_fork_stay_whole() {
    let world = World::new().await;
    for n in 0..3 {
        world.put(&format!("from/{n}"), "base").await;
    }
    let session = world.repository.write("main").await.unwrap();
    let changes = changes_of(&world, &session, async |fork| {
        assert_eq!(fork.rename("from/", "to/", firnline::Existing::Refuse).await.unwrap().keys, 3);
    })
    .await;
    session.merge(&changes).await.unwrap();
    session.merge(&changes).await.unwrap();
    session.set(&key("own"), "session").await.unwrap();
    world.put("from/1", "another writer").await;
    let options = firnline::CommitOptions::from("moved").on_conflict(firnline::OnConflict::Theirs);
    let snapshot = session.commit(options).await.unwrap();
    assert_eq!(values(&snapshot).await.into_keys().collect::<Vec<_>>(), ["from/0", "from/1", "from/2", "own"]);
}

/// Calls of one session from many tasks: merges wait for each other, and none loses what another stages.
#[test]
fn merges_run_beside_each_other_and_beside_other_calls() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = World::new().await;
        let session = std::sync::Arc::new(world.repository.write("main").await.unwrap());
        let mut all = Vec::new();
        for n in 0..12_u8 {
            let many = if n % 2 == 0 { 3 } else { 400 };
            all.push(
                changes_of(&world, &session, async |fork| {
                    for at in 0..many {
                        fork.set(&key(&format!("f{n}/{at}")), vec![n; 1500]).await.unwrap();
                    }
                })
                .await,
            );
        }
        let merges = all.into_iter().map(|changes| {
            let session = std::sync::Arc::clone(&session);
            tokio::spawn(async move {
                // It gives up only while other calls stage something all the time.
                while let Err(e) = session.merge(&changes).await {
                    assert!(e.kind() == ErrorKind::Conflict && e.detail().is_none(), "{e:?}");
                }
            })
        });
        let merges: Vec<_> = merges.collect();
        for n in 0..300 {
            session.set(&key(&format!("own/{n}")), format!("{n:1500}")).await.unwrap();
            tokio::task::yield_now().await;
        }
        for merge in merges {
            merge.await.unwrap();
        }
        let session = std::sync::Arc::into_inner(session).unwrap();
        let found = values(&session.commit("all").await.unwrap()).await;
        assert_eq!(found.len(), 6 * 3 + 6 * 400 + 300);
        assert!(found.iter().all(|(_, value)| value.len() == 1500));
    });
}
